"""A GAN of video: content that stays, motion that goes on, a judge of frames and a judge of clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ganforge.core.errors import InputError
from ganforge.core.game import Batch, Clock, Game, Move, Player, Terms
from ganforge.core.schedule import Scalar, Schedule, value_at
from ganforge.domains.domain import Domain
from ganforge.domains.video import VideoDomain
from ganforge.losses.adversarial import relativistic
from ganforge.losses.regularizers import Probe, r1, r2
from ganforge.nn.convnet import ConvDiscriminator
from ganforge.nn.video import ClipGenerator, Frames, Judge, clip_discriminator
from ganforge.ops.nearness import nearness
from ganforge.ops.noise import draw_latents, latents_on
from ganforge.recipes.recipe import Positive, Recipe

LOOK = 8
"""Each so many rounds, fakes are compared with reals for the log."""
NonNegative = Annotated[float, Field(ge=0)]


@dataclass(frozen=True, kw_only=True)
class Videogan(Recipe):
    """G makes frame t from content z and a motion code m_t, read off a GRU over noise, so clips have any length.

    MoCoGAN's game (eqs. 1 to 4): D_image judges random frames, D_video whole clips, G plays against both. Here with
    relativistic pairs and R1 and R2 penalties. Classes, where there are some, are told to all three networks.

    For: short clips of small frames; ``ganforge generate RUN --frames 48`` goes on beyond the length of training.

    Measured: moving digits, seed 0, 16,000 clips (9 minutes on a busy CPU thread): motion 11.2 levels a frame (real
    clips 12.9), 93 % of clips within real ones' middle 90 %, frame distance 0.025 (real against real 0.007), clip
    distance 2.5 (0.3); clips three times as long move alike. But digits change into others as they move, and labels
    are hardly obeyed (`python bench/video.py --data moving-digits`).

    latent: size of the content z
    motion: size of each frame's noise, and of its motion code
    memory: size of the GRU's state
    content: how z acts in G: styled, it scales and shifts feature maps; joined, it is an input beside the motion code
    judge: D_video sees frames stacked as channels (quick), or factored: (2+1)-D convolutions
    frames_judged: frames of each clip that D_image sees
    image_weight: weight of D_image's verdict in G's loss
    conditioning: projection, or none where classes are to be ignored
    lr: learning rate; may be a schedule
    betas: Adam's
    gamma: of R1 and R2 for frames
    gamma_video: of R1 and R2 for clips
    lazy: they are played only every so many rounds, with as many times the weight
    ema_samples: half-life, in real clips, of G's average
    """

    title: ClassVar[str] = "MoCoGAN with relativistic pairs"
    paper: ClassVar[str] = "Tulyakov et al. 2018, https://arxiv.org/abs/1707.04993"
    example: ClassVar[str] = "moving-digits"
    kinds: ClassVar[tuple[str, ...]] = ("video",)
    tiny: ClassVar[dict[str, Any]] = {"memory": 8, "batch": 4}
    size: Positive = 32
    batch: Annotated[int, Field(ge=2)] = 8
    latent: Positive = 48
    motion: Positive = 8
    memory: Positive = 64
    content: Frames = "styled"
    judge: Judge = "stacked"
    frames_judged: Positive = 2
    image_weight: NonNegative = 1.0
    conditioning: Literal["none", "projection"] = "none"
    lr: Annotated[float, Field(gt=0)] | Schedule = 5e-4
    betas: tuple[Scalar, Scalar] = (0.0, 0.99)
    gamma: NonNegative = 0.1
    gamma_video: NonNegative = 0.2
    lazy: Positive = 4
    ema_samples: float | None = 4_000.0

    @classmethod
    def defaults_for(cls, domain: Domain) -> dict[str, Any]:
        """Penalties in proportion to the pixels, a learning rate that falls over the budget, and classes if any."""
        pixels = max(1.0, domain.shape[2] * domain.shape[3] / 1024) if len(domain.shape) == 4 else 1.0
        return {
            "gamma": 0.1 * pixels,
            "gamma_video": 0.2 * pixels,
            "lr": Schedule(5e-4, 5e-5, cls.budget(domain), shape="cosine"),
            "conditioning": "projection" if len(domain.classes) > 1 else "none",
        }

    @classmethod
    def budget(cls, domain: Domain) -> int:
        """16,000 clips: about 10 minutes on one CPU core at 32 pixels."""
        return 16_000

    def build(self, domain: Domain) -> Game:
        """The game on clips [frames, channels, height, width]. InputError for other data, or labels that they lack."""
        if not isinstance(domain, VideoDomain):
            raise InputError(f"this recipe learns from clips, but the data are {domain.kind}")
        if self.frames_judged > domain.shape[0]:
            raise InputError(f"frames_judged={self.frames_judged}, but clips have {domain.shape[0]} frames")
        classes = len(domain.classes) if self.conditioning != "none" else 0
        if self.conditioning != "none" and not classes:
            raise InputError("conditioning 'projection' needs labelled clips: use conditioning=none")
        G = ClipGenerator(domain.shape[1:], self.latent, self.motion, self.memory, self.size, classes, self.content)
        frames = ConvDiscriminator(
            domain.shape[1:], self.size, "none", self.conditioning, classes, minibatch_stddev=True
        )  # fmt: skip
        clips = clip_discriminator(self.judge, domain.shape, self.size, self.conditioning, classes)
        return VideoGame(self, G, frames, clips, domain)


class VideoGame(Game):
    """G against a judge of frames and a judge of clips. G moves first, and both judge the same fakes."""

    def __init__(
        self, recipe: Videogan, G: nn.Module, frame_judge: nn.Module, clip_judge: nn.Module, domain: VideoDomain
    ) -> None:
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

    def label(self, batch: Batch) -> Tensor | None:
        """The classes, if the game is conditional."""
        return batch["label"] if self.conditions else None

    def fake(self, batch: Batch) -> Tensor:
        """As many clips as the batch has, of the same classes."""
        n, recipe = len(batch["data"]), self.recipe
        z = latents_on(self.device, n, recipe.latent)
        noise = torch.randn(n, 1 + self.frames, recipe.motion, device=self.device)
        return self.G(z, noise, self.label(batch)).float()

    def some_frames(self, clips: Tensor, label: Tensor | None, real: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The same random frames of fake and real clips, [n * frames_judged, ...], and their classes."""
        n, count = len(clips), self.recipe.frames_judged
        chosen = torch.rand(n, self.frames, device=clips.device).argsort(1)[:, :count]
        rows = torch.arange(n, device=clips.device)[:, None]
        labels = None if label is None else label.repeat_interleave(count)
        return clips[rows, chosen].flatten(0, 1), real[rows, chosen].flatten(0, 1), labels

    def logits(self, judge: nn.Module, fake: Tensor, real: Tensor, label: Tensor | None) -> tuple[Tensor, Tensor]:
        """A judge's logits of fakes and of reals, fp32."""
        return judge(fake, label).float(), judge(real, label).float()

    def generate(self, batch: Batch) -> Terms:
        """G's payoff from both judges; its fakes are kept for them."""
        label, fake = self.label(batch), self.fake(batch)
        self.made[self.shard] = fake.detach()
        f, r = self.logits(self.clip_judge, fake, batch["data"], label)
        terms = {"loss": relativistic.generator(r, f)}
        if self.recipe.image_weight:
            stills, real, labels = self.some_frames(fake, label, batch["data"])
            f, r = self.logits(self.frame_judge, stills, real, labels)
            terms["frames"] = self.recipe.image_weight * relativistic.generator(r, f)
        return terms

    def judge(self, batch: Batch) -> Terms:
        """Both judges' payoffs."""
        real, label = batch["data"], self.label(batch)
        fake = self.made.pop(self.shard, None)
        fake = self.fake(batch) if fake is None else fake
        if self.clock.round % LOOK == 0 and len(real) > 1:
            for name, value in nearness(fake, real).items():
                self.note(f"fake/{name}", value)
            self.note("fake/motion", (fake[:, 1:] - fake[:, :-1]).abs().mean())
            self.note("real/motion", (real[:, 1:] - real[:, :-1]).abs().mean())
        f, r = self.logits(self.clip_judge, fake, real, label)
        self.note("D/real", r)
        self.note("D/fake", f)
        self.note("D/pair_right", (r.detach() > f.detach()).float())
        stills, real_stills, labels = self.some_frames(fake, label, real)
        still_f, still_r = self.logits(self.frame_judge, stills, real_stills, labels)
        self.note("D/frame_pair_right", (still_r.detach() > still_f.detach()).float())
        return {"loss": relativistic.discriminator(r, f), "frames": relativistic.discriminator(still_r, still_f)}

    def regularize(self, batch: Batch) -> Terms:
        """R1 and R2 of both judges."""
        real, label, fake = batch["data"], self.label(batch), self.fake(batch)
        stills, real_stills, labels = self.some_frames(fake, label, real)
        return {
            **self.penalties("clips", self.clip_judge, fake, real, label, self.recipe.gamma_video),
            **self.penalties("frames", self.frame_judge, stills, real_stills, labels, self.recipe.gamma),
        }

    def penalties(
        self, name: str, judge: nn.Module, fake: Tensor, real: Tensor, label: Tensor | None, gamma: Scalar
    ) -> Terms:
        """A judge's weighted penalties at reals and at fakes."""
        fake, real = fake.detach().requires_grad_(), real.detach().requires_grad_()
        f, r = self.logits(judge, fake, real, label)
        probe, weight = Probe(partial(judge, label=label), real, fake, r, f), value_at(gamma, self.clock.samples)
        return {f"{name}_{p.name}": weight * p.penalty(probe) for p in (r1(gamma), r2(gamma))}

    def look(self, held: Batch) -> None:
        """How often D_video ranks a clip that it was not trained on above a fake."""
        f, r = self.logits(self.clip_judge, self.fake(held), held["data"], self.label(held))
        self.note("D/held_real", r)
        self.note("D/held_pair_right", (r > f).float())

    def draw(self, n: int, generator: torch.Generator, truncation: float = 1.0, frames: int | None = None) -> Batch:
        """``z`` [n, latent] and ``motion`` [n, 1 + frames, motion]; more frames begin with those of fewer."""
        z = draw_latents(n, self.recipe.latent, "normal", generator, truncation)
        own = torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=generator)))
        steps = [torch.randn(n, self.recipe.motion, generator=own) for _ in range(1 + (frames or self.frames))]
        return {"z": z, "motion": torch.stack(steps, 1)}

    def sample(self, inputs: Batch) -> Batch:
        """``data`` [n, frames, channels, height, width], as many frames as ``motion`` has steps."""
        return {**inputs, "data": self.G(inputs["z"], inputs["motion"], self.label(inputs)).float()}
