"""Stacked images: random ones of a labelled grey set as the channels of one, a data set whose modes can be counted.

``stacked:mnist.zip`` is Stacked MNIST: three random digits as red, green and blue, 1,000 modes (Metz et al. 2017, app.
D; Lin et al. 2018, sec. 4.2). With ``digits=2`` there are 100 modes and 2 channels. Any set of labelled grey images
will do: ``stacked:digits`` is the built-in one of 8 x 8 pixels.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch
from ganforge.domains import image
from ganforge.domains.domain import Source
from ganforge.domains.image import ImageDomain
from ganforge.domains.image_packing import ImageOptions, readable_size

PREFIX = "stacked:"
COUNT = 128_000
"""Stacked images by default, as in PacGAN's experiments."""


@dataclass(frozen=True)
class StackedOptions:
    """How images are stacked.

    ``digits``: how many make one image; 3 (or as many as ``channels``, which is another name for it) by default.
    ``count``: how many stacked images there are. ``seed``: of the choice. ``resolution``: of the images that are
    stacked: one side, or 'HEIGHTxWIDTH'. ``bits``: of their levels, 8 or 16.
    """

    digits: Annotated[int, Field(ge=1, le=4)] | None = None
    channels: Annotated[int, Field(ge=1, le=4)] | None = None
    count: Annotated[int, Field(ge=2, le=10_000_000)] = COUNT
    seed: Annotated[int, Field(ge=0)] = 0
    resolution: Annotated[int | str | None, AfterValidator(readable_size)] = None
    bits: Literal[8, 16] | None = None


@dataclass(frozen=True)
class Stack:
    """What was stacked, ``digits`` at a time: a labelled set of single-channel images."""

    domain: ImageDomain
    source: Source
    digits: int

    @property
    def modes(self) -> int:
        """How many combinations of classes there are."""
        return len(self.domain.classes) ** self.digits


class StackedSource:
    """``count`` stacked images, each a function of its row and the seed; pixels are put together when they are taken.

    ``modes`` [count] are the true combinations: the first channel's class is the lowest place, base classes. They are
    for tests; a GAN does not see them.
    """

    def __init__(self, stack: Stack, count: int, seed: int) -> None:
        self.stack = stack
        draw = np.random.default_rng([seed, stack.digits])
        self._members = torch.from_numpy(draw.integers(0, len(stack.source), size=(count, stack.digits)))
        named = f"stacked {stack.source.fingerprint} {count} {stack.digits} {seed}"
        self.fingerprint = hashlib.sha256(named.encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._members)

    def take(self, rows: Tensor) -> Batch:
        """Stacked images ``rows`` (int64 [n]): ``data`` [n, digits, height, width], as the stacked set gives them."""
        members = self._members[rows]
        taken = self.stack.source.take(members.flatten())["data"]
        return {"data": taken.view(len(rows), self.stack.digits, *taken.shape[2:])}

    def modes(self, rows: Tensor) -> Tensor:
        """The true modes of ``rows``: int64 [n]."""
        members = self._members[rows]
        labels = self.stack.source.take(members.flatten())["label"].view(members.shape)
        return (labels * len(self.stack.domain.classes) ** torch.arange(self.stack.digits)).sum(1)


DOMAIN = ImageDomain
READS = "grey images stacked as colors (stacked:DATA)"
OPTIONS = StackedOptions


def accepts(spec: str) -> bool:
    """Whether ``spec`` is ``stacked:`` and the labelled grey images to stack."""
    return spec.startswith(PREFIX)


def open(spec: str, options: StackedOptions, progress: Any = None) -> tuple[ImageDomain, StackedSource]:
    """Stack the images of ``spec``. InputError for images that are not grey, or have no classes."""
    if options.digits and options.channels and options.digits != options.channels:
        raise InputError(
            f"digits={options.digits} and channels={options.channels} are two names of one thing: give one of them"
        )
    inner = spec.removeprefix(PREFIX)
    if not inner or not image.accepts(inner):
        raise InputError(f"{spec}: stacked: wants labelled grey images after the colon, as in stacked:mnist.zip")
    domain, source = image.open(inner, ImageOptions(resolution=options.resolution, bits=options.bits), progress)
    if domain.shape[0] != 1:
        raise InputError(f"{inner} has {domain.shape[0]} channels: only grey images can be stacked as channels")
    if len(domain.classes) < 2:
        raise InputError(f"{inner} has no classes, so modes could not be counted: use class folders or labels")
    stacked = StackedSource(Stack(domain, source, options.digits or options.channels or 3), options.count, options.seed)
    return ImageDomain(shape=(stacked.stack.digits, *domain.shape[1:]), bits=domain.bits), stacked
