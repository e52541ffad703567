"""Images of any size, color and transparency through a model that makes images from images."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch, Game
from ganforge.domains.domain import Domain
from ganforge.domains.sides import SidesDomain
from ganforge.engine.rng import generator, reseed
from ganforge.ops.degrade import Degradation, bicubic, luma, with_hole

TOGETHER, PIXELS = 16, 2**20
"""Images of one size that go through the network at once: so many, and with so many pixels in all."""
TILE = 512
"""Pixels: larger images are translated in tiles of this side."""
OVERLAP = 0.25
"""Share of a tile that the next one covers too."""


def directions(game: Game, domain: Domain, recipe: str) -> tuple[str, ...]:
    """The ways in which a model translates. InputError: it does not."""
    if not isinstance(domain, SidesDomain) or not hasattr(game, "translate"):
        raise InputError(f"this {recipe} makes samples from noise, not images from images: ganforge generate RUN")
    return tuple(domain.directions)


def translate(
    game: Game, domain: SidesDomain, images: Sequence[Any], direction: str, seed: int, degrade: bool, tile: int,
    wanted: Tensor | None = None,
) -> list[np.ndarray]:  # fmt: skip
    """What ``Model.translate`` does, on a list of images [height, width(, channels)] of any sizes."""
    work = Work(game, domain, direction, degrade, tile, wanted)
    plans = (work.plan(np.asarray(image), generator("translate", seed, i)) for i, image in enumerate(images))
    made: list[np.ndarray] = []
    for group in alike(plans):  # only a group is held as floats, however many images there are
        reseed("translate", seed, group[0].index)
        work.run(group)
        made += [plan.levels(domain) for plan in group]
    return made


def values_asked(domain: Domain, to: float | Sequence[float] | None) -> list[Tensor | None]:
    """What ``to`` asks for, as networks see it, an entry for each value. InputError: nothing can, or must, be asked."""
    wanted = getattr(domain, "wanted", None)
    if wanted is None:
        if to is not None:
            raise InputError("to: this model was not trained on images with a number each, which it could change")
        return [None]
    if to is None:
        raise InputError(f"this model changes {domain.column}: say to which, such as --to {domain.asked[-1]:g}")  # type: ignore[attr-defined]
    return [wanted(value) for value in (to if isinstance(to, list | tuple) else [to])]


class Plan:
    """One image on its way: the network's inputs ``x`` [k, c, h, w], and how its answer becomes an image again."""

    def __init__(self, index: int, x: Tensor, draws: Batch) -> None:
        self.index, self.x, self.draws = index, x, draws
        self.alpha: Tensor | None = None
        self.to_grey = False
        self.made = torch.empty(0)

    def levels(self, domain: SidesDomain) -> np.ndarray:
        """The image [height, width, channels], levels of 8 or 16 bits. Consumes what was made."""
        made = self.made.reshape(1, -1, *self.made.shape[2:])  # channels that went separately come together again
        self.made = torch.empty(0)
        if self.to_grey:
            made = made.mean(1, keepdim=True)
        if self.alpha is not None:
            alpha = self.alpha if self.alpha.shape[2:] == made.shape[2:] else bicubic(self.alpha, *made.shape[2:])
            made = torch.cat([made.expand(-1, 3, -1, -1) if made.shape[1] == 1 else made, alpha], 1)
        half = domain.levels / 2
        made = made.contiguous().nan_to_num_(0.0).clamp_(-1, 1).add_(1).mul_(half).round_()  # in place: it may be large
        return made[0].permute(1, 2, 0).numpy().astype(np.uint8 if domain.levels == 255 else np.uint16)


class Work:
    """How one model translates."""

    def __init__(
        self, game: Game, domain: SidesDomain, direction: str, degrade: bool, tile: int, wanted: Tensor | None = None
    ) -> None:
        self.game, self.domain, self.direction = game, domain, direction
        self.tile, self.wanted = sys.maxsize if domain.whole else tile, wanted
        self.degrade = degrade
        self.degradation: Degradation | None = getattr(domain, "degradation", None)
        backwards = direction == "BtoA" and len(domain.directions) == 2
        shape, given = (domain.input_shape, domain.shape) if backwards else (domain.shape, domain.input_shape)
        self.holes = self.degradation is not None and self.degradation.holes
        self.wants, self.makes = given[0] - self.holes, shape[0]
        self.keeps_colors = self.degradation is not None and self.degradation.keeps_colors
        if degrade and self.degradation is None:
            raise InputError("degrade: this model was trained on inputs as they are, not on degraded ones")
        self.count = 0

    def plan(self, levels: np.ndarray, seeded: torch.Generator) -> Plan:
        """An image as the network wants it: its channels, its holes, its size."""
        x, alpha = in_range(levels)
        marked = self.holes and not self.degrade
        if marked and alpha is None:
            raise InputError("inpainting needs to know where: give images with transparency, clear in the holes")
        hole = (alpha < 0).to(x.dtype) if marked and alpha is not None else None
        keep = alpha if self.wants != 4 and not marked else None
        if keep is not None:
            x = (x + 1) * (keep + 1) / 2 - keep  # over white
        grey = x.shape[1] == 1
        apart = x.shape[1] == 3 and self.wants == self.makes == 1 and self.keeps_colors
        if not apart and not (self.degrade and not self.keeps_colors):  # else the degradation gives what is wanted
            x = with_channels(x, alpha, self.wants)
        if self.degrade and self.degradation is not None:
            reseed("degrade", int(torch.randint(2**31, (1,), generator=seeded)))
            x = self.degradation(x)
            if self.holes:
                x, hole = x[:, :-1], (x[:, -1:] + 1) / 2
        elif self.degradation is not None and self.degradation.scale > 1:
            x = bicubic(x, x.shape[2] * self.degradation.scale, x.shape[3] * self.degradation.scale)
        if apart:
            x = x.transpose(0, 1)
        if hole is not None:
            x = with_hole(x, hole.expand(len(x), -1, -1, -1))
        draws = self.game.draw(1, seeded)
        if self.wanted is not None:
            draws["wanted"] = self.wanted
        plan = Plan(self.count, x, {k: v.expand(len(x), *v.shape[1:]) for k, v in draws.items()})
        plan.alpha = keep
        plan.to_grey = grey and self.keeps_colors and self.makes == 3
        self.count += 1
        return plan

    @torch.no_grad()
    def run(self, group: list[Plan]) -> None:
        """Translate images of one size together."""
        x, device = group[0].x if len(group) == 1 else torch.cat([p.x for p in group]), self.game.device
        draws = {k: torch.cat([p.draws[k] for p in group]).to(device) for k in group[0].draws}

        def network(part: Tensor) -> Tensor:
            return self.game.translate({"input": part.to(device), **draws}, self.direction).float().cpu()  # type: ignore[operator]

        made = in_tiles(network, x, self.tile)
        for plan, its in zip(group, made.split([len(p.x) for p in group]), strict=True):
            plan.made, plan.x = its, torch.empty(0)


def alike(plans: Iterable[Plan]) -> Iterator[list[Plan]]:
    """Plans in runs of the same input shape, neither too many nor too large together."""
    group: list[Plan] = []
    for plan in plans:
        most = min(TOGETHER, PIXELS // (len(plan.x) * plan.x.shape[2] * plan.x.shape[3]))
        if group and (len(group) >= most or group[0].x.shape != plan.x.shape):
            yield group
            group = []
        group.append(plan)
    if group:
        yield group


def in_range(levels: np.ndarray) -> tuple[Tensor, Tensor | None]:
    """Colors [1, 1 or 3, h, w] and transparency [1, 1, h, w], in [-1, 1], of an image of 8 or 16 bits."""
    if levels.ndim == 2:
        levels = levels[..., None]
    if levels.ndim != 3 or levels.shape[2] not in (1, 2, 3, 4) or levels.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"an image is uint8 or uint16 [height, width] or [height, width, 1 to 4], not {levels.dtype} "
            f"{list(levels.shape)}"
        )
    top = 255 if levels.dtype == np.uint8 else 65535
    x = torch.from_numpy(levels.astype(np.float32)).permute(2, 0, 1)[None] / (top / 2) - 1
    return (x[:, :-1], x[:, -1:]) if x.shape[1] in (2, 4) else (x, None)


def with_channels(x: Tensor, alpha: Tensor | None, wanted: int) -> Tensor:
    """Colors [1, 1 or 3, h, w] as 1, 3 or 4 channels. InputError for another number."""
    if wanted == 1:
        return luma(x)
    if wanted not in (3, 4):
        raise InputError(f"this model takes inputs of {wanted} channels, which images do not have")
    x = x.expand(-1, 3, -1, -1)
    return x if wanted == 3 else torch.cat([x, torch.ones_like(x[:, :1]) if alpha is None else alpha], 1)


def in_tiles(network: Callable[[Tensor], Tensor], x: Tensor, side: int) -> Tensor:
    """``network`` on [n, c, h, w] of any size: at once up to ``side`` x ``side``, else in tiles that blend.

    Neighbors overlap by a quarter; there the weight of a tile falls linearly towards its border.
    """
    height, width = x.shape[2:]
    if height <= side and width <= side:
        return network(x)
    h, w = min(side, height), min(side, width)
    total, down, across = torch.empty(0), ramps(h, height)[:, None], ramps(w, width)
    for top in starts(height, h):
        for left in starts(width, w):
            made = network(x[:, :, top : top + h, left : left + w])
            if not total.numel():
                total = made.new_zeros(len(x), made.shape[1], height, width)
            total[:, :, top : top + h, left : left + w] += made * (down * across)
    # the sum of weights is a product too: tiles are a grid
    return total.div_(summed(height, h)[:, None]).div_(summed(width, w))


def summed(length: int, tile: int) -> Tensor:
    """The sum of all tiles' weights at each pixel of a line."""
    total = torch.zeros(length)
    for start in starts(length, tile):
        total[start : start + tile] += ramps(tile, length)
    return total


def starts(length: int, tile: int) -> list[int]:
    """Where tiles of a line begin: evenly, so that neighbors overlap by ``OVERLAP`` at least."""
    if tile >= length:
        return [0]
    count = -(-(length - tile) // max(1, int(tile * (1 - OVERLAP)))) + 1
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def ramps(tile: int, length: int) -> Tensor:
    """Weights [tile] that rise from both ends over the overlap; 1 where there is one tile only."""
    if tile >= length:
        return torch.ones(tile)
    place = torch.arange(tile, dtype=torch.float32) + 0.5
    return torch.minimum(place, tile - place).clamp(max=tile * OVERLAP)
