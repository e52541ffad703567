"""A GAN of video: content that stays, motion that goes on, a judge of frames and a judge of clips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from ganforge.core.errors import InputError
from ganforge.core.game import Game
from ganforge.core.schedule import Scalar, Schedule
from ganforge.domains.domain import Domain
from ganforge.domains.video import VideoDomain
from ganforge.nn.clip_judges import FrameDiscriminator, Judge, clip_discriminator
from ganforge.nn.video import ClipGenerator, Frames
from ganforge.ops.augment import steps
from ganforge.recipes.clip_game import ClipGame
from ganforge.recipes.recipe import Amount, HalfLife, NonNegative, Positive, Recipe, of_kind

SEEN = 16
"""Pixels a side that D_video sees at least."""


@dataclass(frozen=True, kw_only=True)
class Videogan(Recipe):
    """G makes frame t from content z and a motion code m_t, read off a GRU over noise, so clips have any length.

    MoCoGAN's game (eqs. 1 to 4): D_image judges random frames, D_video whole clips, G plays against both. Here with
    relativistic pairs and R1 and R2 penalties, and codes that are velocities (``nn/video.py``). Classes, where there
    are some, are told to G, and D_video reads them.

    For: short clips of small frames; ``ganforge generate RUN --frames 48`` goes on beyond the length of training.

    Measured: moving digits, seed 0, 48,000 clips (4.9 CPU-minutes), read by an independent classifier of frames: 99.8 %
    of clips show one digit in all 16 frames (real clips, of digits that it has not seen, 90 %), and all of 500 clips
    the digit that was asked for (97.4 %). Frame distance 0.006 (real against real 0.007), clip distance 0.6 (0.3),
    motion 13.4 levels a frame (12.9), and by thirds of clips three times as long 13.3, 12.8, 11.6:
    `python bench/video.py --data moving-digits`.
    Colored shapes at 32 pixels, 22,000 clips (3.6 CPU-minutes), schedules fitted: smooth paths, ragged things; frame
    distance 0.032 (0.010), clip distance 0.9 (0.4), motion by thirds 2.4, 2.5, 2.5 (2.9): docs/benchmarks/video.md.

    latent: size of the content z
    motion: size of each frame's noise, and of its motion code
    memory: size of the GRU's state
    content: how z acts in G: carried, it is drawn once a clip and moved about; styled, it scales and shifts each
        frame's feature maps (for things that change shape); joined, it is an input beside the motion code
    judge: D_video sees frames stacked as channels (quick), or factored: (2+1)-D convolutions
    coarse: D_video sees means of so many pixels a side, for D_image sees them all (DVD-GAN, Clark et al. 2019)
    frames_judged: frames of each clip that D_image sees
    steady: weight of a penalty on motion codes that change in kind after the frames of training: in longer clips
    image_weight: weight of D_image's verdict in G's loss
    conditioning: auxiliary: D_video also reads the class, as in the paper; projection, in both; or none
    class_weight: of the auxiliary class loss
    augment: DiffAugment's policy for all that both see, such as translation,cutout (all frames of a clip alike)
    lr: learning rate; may be a schedule
    betas: Adam's
    gamma: of R1 and R2 for frames; may be a schedule
    gamma_video: of R1 and R2 for clips; likewise
    lazy: they are played only every so many rounds, with as many times the weight
    ema_samples: half-life, in real clips, of G's average
    """

    title: ClassVar[str] = "MoCoGAN with relativistic pairs"
    paper: ClassVar[str] = "Tulyakov et al. 2018, https://arxiv.org/abs/1707.04993"
    example: ClassVar[str] = "moving-digits"
    kinds: ClassVar[tuple[str, ...]] = ("video",)
    tiny: ClassVar[dict[str, Any]] = {"memory": 8, "batch": 4}
    size: Positive = 32
    batch: Annotated[int, Field(ge=2)] = 16
    latent: Positive = 48
    motion: Positive = 8
    memory: Positive = 64
    content: Frames = "carried"
    judge: Judge = "stacked"
    coarse: Positive = 1
    frames_judged: Positive = 2
    steady: NonNegative = 0.2
    image_weight: NonNegative = 1.0
    conditioning: Literal["none", "projection", "auxiliary"] = "none"
    class_weight: NonNegative = 2.0
    augment: str = ""
    lr: Annotated[float, Field(gt=0)] | Schedule = 1e-3
    betas: tuple[Scalar, Scalar] = (0.0, 0.99)
    gamma: Amount = 0.1
    gamma_video: Amount = 2.0
    lazy: Positive = 4
    ema_samples: HalfLife = 4_000.0

    def __post_init__(self) -> None:
        steps(self.augment)

    @classmethod
    def defaults_for(cls, domain: Domain) -> dict[str, Any]:
        """D_video sees 16 to 31 pixels a side; penalties go with the pixels seen and fall as lr does."""
        height, width = domain.shape[2:] if len(domain.shape) == 4 else (1, 1)
        over, coarse = cls.budget(domain), max(1, min(height, width) // SEEN)
        gamma, clips = 0.1 * max(1.0, height * width / 1024), 3.5 * height * width / coarse**2 / 1024
        return {
            "coarse": coarse,
            "gamma": Schedule(gamma, gamma / 5, over, shape="cosine"),
            "gamma_video": Schedule(clips, clips / 5, over, shape="cosine"),
            "lr": Schedule(1e-3, 5e-5, over, shape="cosine"),
            "conditioning": "auxiliary" if len(domain.classes) > 1 else "none",
        }

    @classmethod
    def budget(cls, domain: Domain) -> int:
        """48,000 clips: about 5 minutes on one CPU core at 24 pixels."""
        return 48_000

    def build(self, domain: Domain) -> Game:
        """The game on clips [frames, channels, height, width]. InputError for other data, or labels that they lack."""
        domain = of_kind(domain, VideoDomain, "videogan learns from clips")
        if self.frames_judged > domain.shape[0]:
            raise InputError(f"frames_judged={self.frames_judged}, but clips have {domain.shape[0]} frames")
        classes = len(domain.classes) if self.conditioning != "none" else 0
        if self.conditioning != "none" and not classes:
            raise InputError(f"conditioning '{self.conditioning}' needs labelled clips: use conditioning=none")
        shape, how = domain.shape, self.conditioning
        G = ClipGenerator(shape[1:], self.latent, self.motion, self.memory, self.size, classes, self.content)
        of_frames = "projection" if how == "projection" else "none"
        frames = FrameDiscriminator(shape[1:], self.size, of_frames, classes)
        seen = (*shape[:2], *(-(-side // self.coarse) for side in shape[2:]))
        return ClipGame(self, G, frames, clip_discriminator(self.judge, seen, self.size, how, classes), domain)
