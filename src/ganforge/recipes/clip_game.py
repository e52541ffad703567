"""The game of clips: G against a judge of frames and a judge of whole clips (MoCoGAN, Tulyakov et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ganforge.core.game import Batch, Clock, Game, Move, Player, Terms
from ganforge.core.schedule import Scalar
from ganforge.domains.video import VideoDomain
from ganforge.losses.adversarial import relativistic
from ganforge.losses.auxiliary import auxiliary_classification
from ganforge.losses.regularizers import Probe, pay, r1, r2
from ganforge.nn.clip_judges import averaged_down
from ganforge.nn.conditioning import Discriminator
from ganforge.nn.video import ClipGenerator, unsteadiness
from ganforge.ops.augment import augment_clips
from ganforge.ops.nearness import nearness
from ganforge.ops.noise import draw_latents, latents_on

if TYPE_CHECKING:
    from ganforge.recipes.videogan import Videogan

LOOK = 8
"""Each so many rounds, fakes are compared with reals for the log."""
LONG = 3
"""Motion is kept steady in clips of up to so many times the length in training."""
PAYOFF = {"clips": "loss", "frames": "frames"}
"""What the payoff from each judge is called in the log: D_video's is the loss that curves and diagnosis look at."""


SURE = 8.0
"""Class logits are so many times cosines: the loss of a clip that is taken for another class is at most twice that."""


def cosines(features: Tensor, classes: Tensor) -> Tensor:
    """Of features [n, d] with each class's direction [classes, d]: [n, classes] (ReACGAN, Kang et al. 2021)."""
    return F.normalize(features, dim=1) @ F.normalize(classes, dim=1).T


ENOUGH = 16
"""Pixels a side of a grid whose median color stands for that of whole frames: sorting takes time."""


def usual_color(clips: Tensor) -> Tensor:
    """The median color of first frames, [1, 1, channels, 1, 1]: judges see what differs from it.

    Where most of a frame is one color, which need not be 0, a judge otherwise first learns to see beside it, and sees
    edges where frames are padded: it took about twice as long to tell small things apart. (Sorted, as the median is
    not deterministic on every device.)
    """
    apart = max(1, min(clips.shape[3:]) // ENOUGH)
    levels = clips[:, 0, :, ::apart, ::apart].transpose(0, 1).flatten(1).sort(1).values
    return levels[:, (levels.shape[1] - 1) // 2][None, None, :, None, None]


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
        self.made: dict[int, Tensor] = {}

    def moves(self, clock: Clock) -> Sequence[Move]:
        """G, then both judges, then now and then their penalties."""
        self.clock = clock
        paid = self.recipe.gamma or self.recipe.gamma_video
        lazy = [Move("D", self.regularize, every=self.recipe.lazy, order=2)] if paid else []
        return [Move("G", self.generate), Move("D", self.judge), *lazy]

    # ---- what the moves need

    def label(self, batch: Batch) -> Tensor | None:
        """The classes, if the game is conditional."""
        return batch["label"] if self.conditions else None

    def fake(self, batch: Batch, ahead: int = 0) -> tuple[Tensor, Tensor]:
        """As many clips as the batch has, of the same classes, and their motion codes, ``ahead`` frames more."""
        n, recipe = len(batch["data"]), self.recipe
        z = latents_on(self.device, n, recipe.latent)
        noise = torch.randn(n, 1 + self.frames + ahead, recipe.motion, device=self.device)
        codes = self.G.path(noise, self.label(batch))
        return self.G.shown(z, codes[:, : 1 + self.frames], self.label(batch)).float(), codes

    def fakes(self, batch: Batch) -> Tensor:
        """The fakes that G was paid for in this round."""
        if self.shard not in self.made:
            self.made[self.shard] = self.fake(batch)[0].detach()
        return self.made[self.shard]

    def sides(self, batch: Batch, fake: Tensor) -> dict[str, tuple[Discriminator, Tensor, Tensor, Tensor | None]]:
        """What each judge sees: itself, fakes, reals and their classes. D_image sees the same random frames of both,
        and frames of the same augmented clips."""
        label, count = self.label(batch), self.recipe.frames_judged
        zero = usual_color(batch["data"])
        fake, real = self.shown(fake, zero), self.shown(batch["data"], zero)
        chosen = torch.rand(len(fake), self.frames, device=fake.device).argsort(1)[:, :count]
        rows = torch.arange(len(fake), device=fake.device)[:, None]
        stills, real_stills = ((clips[rows, chosen] - zero).flatten(0, 1) for clips in (fake, real))
        clips, real_clips = (averaged_down(clips, self.recipe.coarse) - zero for clips in (fake, real))
        labels = None if label is None else label.repeat_interleave(count)
        return {
            "clips": (self.clip_judge, clips, real_clips, label),
            "frames": (self.frame_judge, stills, real_stills, labels),
        }

    def shown(self, clips: Tensor, zero: Tensor) -> Tensor:
        """Clips as the judges see them: what is moved in or cut out has the usual color, ``zero``."""
        policy = self.recipe.augment
        return augment_clips(clips - zero, policy) + zero if policy else clips

    def terms(self, name: str, payoff: Tensor, judge: Discriminator, features: Tensor, label: Tensor | None) -> Terms:
        """A judge's payoff and, where it reads the classes off the ``features`` of what it sees, how badly it does."""
        if judge.conditioning != "auxiliary" or label is None:
            return {PAYOFF[name]: payoff}
        wrong = auxiliary_classification(cosines(features.float(), judge.to_classes.weight) * SURE, label)
        return {PAYOFF[name]: payoff, f"{name}_class": self.recipe.class_weight * wrong}

    # ---- moves

    def generate(self, batch: Batch) -> Terms:
        """G's payoff from both judges, and motion that goes on as it began; the fakes are kept for the judges."""
        steady = self.recipe.steady
        fake, codes = self.fake(batch, (LONG - 1) * self.frames if steady else 0)
        self.made[self.shard] = fake.detach()
        weights, terms = {"clips": 1.0, "frames": self.recipe.image_weight}, {}
        if steady:
            terms["steady"] = steady * unsteadiness(codes[:, 1:], self.frames)
        for name, (judge, made, real, label) in self.sides(batch, fake).items():
            if weights[name]:
                h = judge.features(made, label)
                payoff = relativistic.generator(judge(real, label).float(), judge.logit(h, label).float())
                found = self.terms(name, payoff, judge, h, label)
                terms |= {key: weights[name] * value for key, value in found.items()}
        return terms

    def judge(self, batch: Batch) -> Terms:
        """Both judges' payoffs."""
        terms: Terms = {}
        for name, (judge, made, real, label) in self.sides(batch, self.fakes(batch)).items():
            h = judge.features(real, label)
            r, f = judge.logit(h, label).float(), judge(made, label).float()
            self.note("D/pair_right" if name == "clips" else "D/frame_pair_right", (r.detach() > f.detach()).float())
            if name == "clips":
                self.note("D/real", r)
                self.note("D/fake", f)
                self.look_at(self.fakes(batch), batch["data"])
            terms |= self.terms(name, relativistic.discriminator(r, f), judge, h, label)
        return terms

    def look_at(self, fake: Tensor, real: Tensor) -> None:
        """Now and then, how fakes lie among reals, and how much both move."""
        if self.clock.round % LOOK == 0 and len(real) > 1:
            zero = usual_color(real)
            fake, real = (averaged_down(clips, self.recipe.coarse) - zero for clips in (fake, real))
            for name, value in nearness(fake, real).items():
                self.note(f"fake/{name}", value)
            self.note("fake/motion", (fake[:, 1:] - fake[:, :-1]).abs().mean())
            self.note("real/motion", (real[:, 1:] - real[:, :-1]).abs().mean())

    def regularize(self, batch: Batch) -> Terms:
        """R1 and R2 of both judges."""
        weights, terms = {"clips": self.recipe.gamma_video, "frames": self.recipe.gamma}, {}
        for name, (judge, made, real, label) in self.sides(batch, self.fakes(batch)).items():
            terms |= {f"{name}_{k}": v for k, v in self.penalties(judge, made, real, label, weights[name]).items()}
        return terms

    def penalties(self, judge: Discriminator, fake: Tensor, real: Tensor, label: Tensor | None, gamma: Scalar) -> Terms:
        """A judge's weighted penalties at reals and at fakes."""
        fake, real = fake.detach().requires_grad_(), real.detach().requires_grad_()
        r, f = judge(real, label).float(), judge(fake, label).float()
        probe = Probe(partial(judge, label=label), real, fake, r, f)
        return pay((r1(gamma), r2(gamma)), probe, self.clock.samples)

    def look(self, held: Batch) -> None:
        """How often D_video ranks a clip that it was not trained on above a fake."""
        judge, made, real, label = self.sides(held, self.fake(held)[0])["clips"]
        r, f = (judge(clips, label).float() for clips in (real, made))
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
