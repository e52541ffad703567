"""The game of clips: G against a judge of frames and a judge of whole clips (MoCoGAN, Tulyakov et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ganforge.core.game import Batch, Clock, Game, Move, Player, Terms
from ganforge.core.schedule import Scalar, value_at
from ganforge.domains.video import VideoDomain
from ganforge.losses.adversarial import relativistic
from ganforge.losses.auxiliary import auxiliary_classification
from ganforge.losses.regularizers import Probe, r1, r2
from ganforge.nn.conditioning import Discriminator
from ganforge.nn.video import ClipGenerator
from ganforge.ops.nearness import nearness
from ganforge.ops.noise import draw_latents, latents_on

if TYPE_CHECKING:
    from ganforge.recipes.videogan import Videogan

LOOK = 8
"""Each so many rounds, fakes are compared with reals for the log."""
PAYOFF = {"clips": "loss", "frames": "frames"}
"""What the payoff from each judge is called in the log: D_video's is the loss that curves and diagnosis look at."""


class ClipGame(Game):
    """G moves first, and both judges, which are one player, look at the same fakes."""

    def __init__(
        self, recipe: Videogan, G: ClipGenerator, frame_judge: Discriminator, clip_judge: Discriminator,
        domain: VideoDomain,
    ) -> None:  # fmt: skip
        super().__init__()
        self.recipe, self.G, self.frame_judge, self.clip_judge = recipe, G, frame_judge, clip_judge
        self.frames = domain.shape[0]
        self.conditions = ("label",) if recipe.conditioning != "none" else ()
        self.players = {
            "G": Player([G], lr=recipe.lr, betas=recipe.betas, ema_samples=recipe.ema_samples),
            "D": Player([frame_judge, clip_judge], lr=recipe.lr, betas=recipe.betas),
        }
        self.clock = Clock()
        self.made: dict[int, Tensor] = {}

    def moves(self, clock: Clock) -> Sequence[Move]:
        """G, then both judges, then now and then their penalties."""
        self.clock = clock
        paid = self.recipe.gamma > 0 or self.recipe.gamma_video > 0
        lazy = [Move("D", self.regularize, every=self.recipe.lazy, order=2)] if paid else []
        return [Move("G", self.generate), Move("D", self.judge), *lazy]

    # ---- what the moves need

    def label(self, batch: Batch) -> Tensor | None:
        """The classes, if the game is conditional."""
        return batch["label"] if self.conditions else None

    def fake(self, batch: Batch) -> Tensor:
        """As many clips as the batch has, of the same classes."""
        n, recipe = len(batch["data"]), self.recipe
        z = latents_on(self.device, n, recipe.latent)
        noise = torch.randn(n, 1 + self.frames, recipe.motion, device=self.device)
        return self.G(z, noise, self.label(batch)).float()

    def sides(self, batch: Batch, fake: Tensor) -> dict[str, tuple[Discriminator, Tensor, Tensor, Tensor | None]]:
        """What each judge sees: itself, fakes, reals and their classes. D_image sees the same random frames of both."""
        real, label, count = batch["data"], self.label(batch), self.recipe.frames_judged
        chosen = torch.rand(len(fake), self.frames, device=fake.device).argsort(1)[:, :count]
        rows = torch.arange(len(fake), device=fake.device)[:, None]
        stills, real_stills = (clips[rows, chosen].flatten(0, 1) for clips in (fake, real))
        labels = None if label is None else label.repeat_interleave(count)
        return {
            "clips": (self.clip_judge, fake, real, label),
            "frames": (self.frame_judge, stills, real_stills, labels),
        }

    def terms(self, name: str, payoff: Tensor, judge: Discriminator, features: Tensor, label: Tensor | None) -> Terms:
        """A judge's payoff and, where it reads the classes off the ``features`` of what it sees, how badly it does."""
        if self.recipe.conditioning != "auxiliary" or label is None:
            return {PAYOFF[name]: payoff}
        wrong = auxiliary_classification(judge.class_logits(features).float(), label)
        return {PAYOFF[name]: payoff, f"{name}_class": self.recipe.class_weight * wrong}

    # ---- moves

    def generate(self, batch: Batch) -> Terms:
        """G's payoff from both judges; its fakes are kept for them."""
        fake = self.fake(batch)
        self.made[self.shard] = fake.detach()
        weights, terms = {"clips": 1.0, "frames": self.recipe.image_weight}, {}
        for name, (judge, made, real, label) in self.sides(batch, fake).items():
            if weights[name]:
                h = judge.features(made, label)
                payoff = relativistic.generator(judge(real, label).float(), judge.logit(h, label).float())
                found = self.terms(name, payoff, judge, h, label)
                terms |= {key: weights[name] * value for key, value in found.items()}
        return terms

    def judge(self, batch: Batch) -> Terms:
        """Both judges' payoffs."""
        fake = self.made.pop(self.shard, None)
        fake = self.fake(batch) if fake is None else fake
        self.look_at(fake, batch["data"])
        terms: Terms = {}
        for name, (judge, made, real, label) in self.sides(batch, fake).items():
            h = judge.features(real, label)
            r, f = judge.logit(h, label).float(), judge(made, label).float()
            self.note("D/pair_right" if name == "clips" else "D/frame_pair_right", (r.detach() > f.detach()).float())
            if name == "clips":
                self.note("D/real", r)
                self.note("D/fake", f)
            terms |= self.terms(name, relativistic.discriminator(r, f), judge, h, label)
        return terms

    def look_at(self, fake: Tensor, real: Tensor) -> None:
        """Now and then, how fakes lie among reals, and how much both move."""
        if self.clock.round % LOOK == 0 and len(real) > 1:
            for name, value in nearness(fake, real).items():
                self.note(f"fake/{name}", value)
            self.note("fake/motion", (fake[:, 1:] - fake[:, :-1]).abs().mean())
            self.note("real/motion", (real[:, 1:] - real[:, :-1]).abs().mean())

    def regularize(self, batch: Batch) -> Terms:
        """R1 and R2 of both judges."""
        weights, terms = {"clips": self.recipe.gamma_video, "frames": self.recipe.gamma}, {}
        for name, (judge, made, real, label) in self.sides(batch, self.fake(batch)).items():
            terms |= {f"{name}_{k}": v for k, v in self.penalties(judge, made, real, label, weights[name]).items()}
        return terms

    def penalties(self, judge: Discriminator, fake: Tensor, real: Tensor, label: Tensor | None, gamma: Scalar) -> Terms:
        """A judge's weighted penalties at reals and at fakes."""
        fake, real = fake.detach().requires_grad_(), real.detach().requires_grad_()
        r, f = judge(real, label).float(), judge(fake, label).float()
        probe, weight = Probe(partial(judge, label=label), real, fake, r, f), value_at(gamma, self.clock.samples)
        return {p.name: weight * p.penalty(probe) for p in (r1(gamma), r2(gamma))}

    def look(self, held: Batch) -> None:
        """How often D_video ranks a clip that it was not trained on above a fake."""
        label = self.label(held)
        r, f = (self.clip_judge(clips, label).float() for clips in (held["data"], self.fake(held)))
        self.note("D/held_real", r)
        self.note("D/held_pair_right", (r > f).float())

    # ---- sampling

    def draw(self, n: int, generator: torch.Generator, truncation: float = 1.0, frames: int | None = None) -> Batch:
        """``z`` [n, latent] and ``motion`` [n, 1 + frames, motion]; more frames begin with those of fewer."""
        z = draw_latents(n, self.recipe.latent, "normal", generator, truncation)
        own = torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=generator)))
        steps = [torch.randn(n, self.recipe.motion, generator=own) for _ in range(1 + (frames or self.frames))]
        return {"z": z, "motion": torch.stack(steps, 1)}

    def sample(self, inputs: Batch) -> Batch:
        """``data`` [n, frames, channels, height, width], as many frames as ``motion`` has steps."""
        return {**inputs, "data": self.G(inputs["z"], inputs["motion"], self.label(inputs)).float()}
