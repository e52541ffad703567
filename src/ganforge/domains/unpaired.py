"""Two sets of images without pairs, such as horses and zebras."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch
from ganforge.domains import image, image_packing
from ganforge.domains.image_packing import ImageOptions, Progress
from ganforge.domains.packed import About, PackedSource
from ganforge.domains.sides import (
    SidesDomain,
    Sized,
    check_alike,
    fingerprint,
    part_of,
    read_sides,
    signs_of_sides,
    wanted_one,
)

HINT = "give folders trainA and trainB (or A and B), or set B with data.target=PATH"


@dataclass(frozen=True)
class UnpairedOptions(ImageOptions):
    """How two sets are read, besides what images take.

    ``target``: where set B is, when the data hold set A only.
    """

    target: str | None = None
    ELSEWHERE: ClassVar[tuple[str, ...]] = ("target",)


@dataclass(frozen=True, kw_only=True)
class UnpairedDomain(SidesDomain):
    """Set A as ``input`` [n, *input_shape] and set B as ``data`` [n, *shape]; ``other`` is set B once more."""

    kind: ClassVar[str] = "unpaired"
    rows: ClassVar[tuple[tuple[str, str], ...]] = (
        ("input", "A"), ("data", "A to B"), ("back", "and back"),
        ("other", "B"), ("other_data", "B to A"), ("other_back", "and back"),
    )  # fmt: skip

    def encode(self, raw: Batch) -> Batch:
        """Levels to [-1, 1]."""
        pair = {key: self.scaled(raw[key]) for key in ("data", "input") if key in raw}
        return {**raw, **pair, "other": pair["data"]}

    def augment(self, batch: Batch) -> Batch:
        """Each image is flipped for itself; here A and B share a coin, which changes nothing: they are no pairs."""
        flipped = self.flipped(batch, ("data", "input"))
        return {**flipped, "other": flipped["data"]}

    def decode(self, batch: Batch) -> Any:
        """As of images, A and B alike."""
        return super().decode(batch)


class TwoSets:
    """Row i is image i of A and image i of B, the smaller set from its start again: the larger makes an epoch."""

    def __init__(self, a: PackedSource, b: PackedSource) -> None:
        self.a, self.b = a, b
        self.messages = (f"{len(a):,} images in A, {len(b):,} in B", *a.messages, *b.messages)
        self.fingerprint = fingerprint(a.fingerprint, b.fingerprint)

    def __len__(self) -> int:
        return max(len(self.a), len(self.b))

    def take(self, rows: Tensor) -> Batch:
        """``input`` of A and ``data`` of B, levels [n, c, h, w]."""
        given = self.a.take(rows % len(self.a))["data"]
        return {"input": given, "data": self.b.take(rows % len(self.b))["data"]}


DOMAIN = UnpairedDomain
OPTIONS = UnpairedOptions
PRIORITY = -2
ASKED = True
READS = "two sets of images: folders trainA and trainB, or one set and data.target=the other"


def accepts(spec: str) -> bool:
    """Whether ``spec`` is a built-in set, or holds images that may be two sets."""
    return spec in BUILTIN or image.accepts(part_of(spec, None)[0])


def looks(spec: str) -> str:
    """What tells that images have two sides that are no pairs; empty if nothing does."""
    return signs_of_sides(spec, paired=False)


def open(spec: str, options: UnpairedOptions, progress: Progress | None = None) -> tuple[UnpairedDomain, TwoSets]:
    """Read both sets; InputError where one is missing, or where they have different sizes."""
    spec, split = part_of(spec, options.split)
    options = replace(options, split=split)
    its = options.of_images()
    a, b = built_in(spec, its) if spec in BUILTIN else two_sets(spec, options, its, progress)
    return domain_of(spec, a, b, options), TwoSets(a, b)


def domain_of(spec: str, a: Sized, b: Sized, options: UnpairedOptions) -> UnpairedDomain:
    """The domain of two sets. InputError where they have different sizes."""
    check_alike(spec, a, b, "set")
    (ca, h, w), (cb, _, _) = a.shape, b.shape
    return UnpairedDomain(shape=(cb, h, w), input_shape=(ca, h, w), bits=a.bits, mirror=options.mirror)


def two_sets(
    spec: str, options: UnpairedOptions, its: ImageOptions, progress: Progress | None
) -> tuple[PackedSource, PackedSource]:
    """Both sets of a folder or archive, or of two. InputError where one is missing."""
    found = read_sides(spec, options.target, its, progress)
    if found is None:
        hint = wanted_one(spec, options.split) or "there are no two sets of images"
        raise InputError(f"{spec}: {hint}: {HINT}")
    return found[0][0], found[1][0]


def built_in(spec: str, options: ImageOptions) -> tuple[PackedSource, PackedSource]:
    """Half of the built-in digits, and the other half changed, so that the right answer is known."""
    packed = image_packing.pack("digits", ImageOptions(labels="none", resolution=options.resolution))
    levels = packed.take(torch.arange(len(packed)))["data"].numpy()
    half, (plain, changed) = len(levels) // 2, BUILTIN[spec]
    parts = []
    for name, part in (("digits", plain(levels[:half])), (spec.replace("-", " "), changed(levels[half:]))):
        array = np.ascontiguousarray(part)
        about = About(name, array.shape, str(array.dtype), (), (), (), fingerprint(packed.fingerprint, name), "")
        parts.append(PackedSource(array, None, about))
    return parts[0], parts[1]


def orange(levels: np.ndarray) -> np.ndarray:
    """Grey levels [n, 1, h, w] as light of one color on black [n, 3, h, w]."""
    return (levels * np.array([1.0, 0.55, 0.1])[:, None, None]).round().astype(np.uint8)


BUILTIN: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    "orange-digits": (lambda levels: levels.repeat(3, axis=1), orange),
    # hard: at this size strokes and the gaps between them are too alike to tell which is ink
    "inverted-digits": (lambda levels: levels, lambda levels: 255 - levels),
}
"""What becomes of half of the digits [n, 1, h, w] (A), and of the other half (B)."""
