"""The latents of given pictures: by the model's encoder, or by search from many random starts."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch, Game
from ganforge.core.store import write_bytes
from ganforge.latent.encoding import Encoder
from ganforge.latent.spaces import Space, inputs_of, mark_of
from ganforge.measure.counting import counted
from ganforge.measure.paired import psnr
from ganforge.model import CHUNK, Model

STEPS = 300
STARTS = 1024
"""Random latents that the search begins with; with classes, shared among them."""
TRIED = 8
"""The best of them, which all are improved in the first quarter of the steps."""
KEPT = 2
"""The best of those, which are improved to the end."""
RATE = 0.1
"""Adam's learning rate, in standard deviations of the prior; it ends at 0 (Karras et al. 2020, appendix D)."""
EDGES = 0.1
"""Weight of absolute beside squared differences."""
GROUP = 8
"""Pictures that are searched for together."""
LISTED = 20
"""Pictures that are told of one by one, at most."""


@dataclass(frozen=True)
class Projection:
    """Latents of pictures: ``inputs`` (one row each, on the CPU) are what sampling takes, ``latents`` [n, size] where
    they lie in ``space`` (z, or a layer's name); ``images`` is what the model makes of them, as ``targets`` are:
    uint8 (or uint16) [n, height, width, channels]. ``psnr`` is in dB, ``how`` "encoder", "search" or both."""

    inputs: Batch
    space: str
    latents: Tensor
    images: np.ndarray
    targets: np.ndarray
    psnr: tuple[float, ...]
    labels: tuple[str, ...]
    how: str
    mark: str = ""
    """``mark_of`` the model."""

    def lines(self, names: Sequence[str] = ()) -> list[str]:
        """A table for people: of many pictures, the ``LISTED`` that came out worst."""
        count, shown = len(self.psnr), list(range(len(self.psnr)))
        of = "of 1 picture:" if count == 1 else f"of {count} pictures: mean"
        lines = [f"PSNR by {self.how} in {self.space}, {of} {np.mean(self.psnr):.2f} dB"]
        if count > LISTED:
            shown = sorted(shown, key=lambda i: self.psnr[i])[:LISTED]
            lines[0] += f"; the worst {LISTED} (--json tells all):"
        for i in shown:
            made = f"  as class {self.labels[i]}" if self.labels else ""
            lines.append(f"{self.psnr[i]:8.2f} dB{made}  {names[i] if i < len(names) else i}")
        return lines

    def pairs(self) -> np.ndarray:
        """Each target with its reconstruction after it: [2 n, height, width, channels]."""
        return np.stack([self.targets, self.images], 1).reshape(-1, *self.images.shape[1:])

    def save(self, path: Path, names: Sequence[str] = ()) -> None:
        """Write an .npz: ``input_z``, ``input_label`` .. (what sampling takes), ``latents``, ``space``, ``psnr``,
        ``names``, ``model`` (its mark). ``ganforge edit --latents`` reads it."""
        buffer = io.BytesIO()
        arrays = {f"input_{key}": value.numpy() for key, value in self.inputs.items()}
        arrays |= {"latents": self.latents.numpy(), "space": np.array(self.space), "psnr": np.array(self.psnr)}
        arrays["model"] = np.array(self.mark)
        np.savez_compressed(buffer, **arrays, names=np.array(list(names), dtype=str))  # type: ignore[arg-type]
        write_bytes(path, buffer.getvalue())


def project(
    model: Model, images: np.ndarray, steps: int | None = None, seed: int = 0, label: int | str | None = None,
    layer: str | None = None, starts: int = STARTS, encoder: Encoder | None = None,
) -> Projection:  # fmt: skip
    """Find latents from which the model makes ``images``, uint8 (or uint16) [n, height, width, channels] of its size.

    Without an encoder (or with a ``layer``, see ``Space``), by optimization as of Zhu et al. 2016 and Karras et al.
    2020 (appendix D): the best of ``starts`` random latents are moved by Adam for ``steps`` (300), so that samples are
    near the pictures at every level of a pyramid; latents keep a norm that the prior gives. A model with classes tries
    each, unless there is a ``label``. An encoder, where there is one (the model's, or an ``encoder`` that learned from
    it), gives the latents. If ``steps`` are asked for, what the model's gives is moved on, and what an ``encoder``
    gives is one more start of the search. The same seed gives the same latents. InputError for models and pictures that
    do not suit.
    """
    check(model, images, steps, starts)
    if encoder is not None and layer is not None:
        raise InputError("an encoder gives z: it takes no layer")
    encodes = encoder is not None or (type(model.game).encode is not Game.encode and layer is None)
    steps = (0 if encodes else STEPS) if steps is None else steps
    raw = torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2)
    targets = model.domain.encode({"data": raw})["data"].to(model.game.device)
    space = Space(model, layer)
    prior = Prior(space, inputs_of(model, max(starts, 2 * CHUNK), seed, label)) if steps or not encodes else None
    pool = [] if encodes and not (encoder and steps) else list(candidates(model, starts, seed, label))
    gaps = gaps_of(space, pool, targets)
    parts = []
    for i, group in enumerate(targets.split(GROUP)):
        of = doing(i * GROUP, len(group), len(targets))
        if encodes:
            told = encoder(group) if encoder else {"z": torch.from_numpy(model.encode(images[i * GROUP :][:GROUP]))}
            told = told if label is None else {"z": told["z"]}
            inputs = inputs_of(model, len(group), seed, label) | {k: v.to(targets.device) for k, v in told.items()}
            if prior is None:
                parts.append((inputs, inputs["z"]))
            elif encoder is None:
                parts.append(refine(space, prior, inputs, inputs["z"], group, steps, of))
            else:
                parts.append(search(space, prior, pool, gaps[i], group, steps, model.domain.classes, inputs, of))
        else:
            assert prior is not None
            parts.append(search(space, prior, pool, gaps[i], group, steps, model.domain.classes, doing=of))
    inputs = {key: torch.cat([part[0][key] for part in parts]) for key in parts[0][0]}
    found = torch.cat([part[1] for part in parts])
    made = model.domain.decode({"data": space.made(inputs, found)})
    shown = model.domain.decode({"data": targets})
    classes = model.domain.classes if "label" in model.game.conditions else ()
    return Projection(
        {key: value.cpu() for key, value in inputs.items()},
        space.name,
        found.cpu(),
        made,
        shown,
        tuple(psnr(a, b) for a, b in zip(made, shown, strict=True)),
        tuple(classes[int(k)] for k in inputs["label"]) if classes else (),
        "encoder and search" if encodes and steps else "encoder" if encodes else "search",
        mark_of(model),
    )


def doing(first: int, count: int, total: int) -> str:
    """What a search says that it does, while it does it."""
    return "searching" if count == total else f"pictures {first + 1:,} to {first + count:,} of {total:,}"


def check(model: Model, images: np.ndarray, steps: int | None, starts: int) -> None:
    """InputError for what cannot be projected."""
    if not model.domain.plain_images:
        raise InputError(f"only pictures can be projected, and this model makes samples of kind '{model.domain.kind}'")
    channels, height, width = model.domain.shape
    wanted = (height, width, channels)
    dtype = np.uint8 if model.domain.levels == 255 else np.uint16
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[1:] != wanted or images.dtype != dtype or not len(images):
        raise InputError(
            f"pictures of shape {list(images.shape)} and {images.dtype} do not suit this model: they are "
            f"{dtype.__name__} [n, {height}, {width}, {channels}]"
        )
    if (steps is not None and steps < 0) or starts < 1:
        raise InputError(f"projecting needs 0 or more steps and at least 1 start, not {steps} and {starts}")


def candidates(model: Model, starts: int, seed: int, label: int | str | None) -> Iterator[Batch]:
    """Random starts, in chunks: of the class asked for, or as many of each class."""
    labels = [label] if label is not None or "label" not in model.game.conditions else list(model.domain.classes)
    each = max(min(starts, 16), -(-starts // len(labels)))
    for one in labels:
        yield from model.inputs(each, seed, one)


class Prior:
    """Where the latents of a space lie, told by random ones: what keeps a search among them.

    Points are x = center + scale * u. In z one scale serves all coordinates, and u keeps to the box of all values
    drawn; coordinates that take two values only (random signs) do not move. In both, |u| stays within 3 standard
    deviations of the norms that were drawn.
    """

    def __init__(self, space: Space, inputs: Batch) -> None:
        x = space.at(inputs)
        low, high = x.min(0).values, x.max(0).values
        self.free = ~((x == low) | (x == high)).all(0)
        if not bool(self.free.any()):
            raise InputError(f"{space.name} takes two values a coordinate only: there is nothing to search")
        z = space.layer is None
        self.center = torch.zeros_like(low) if z else x.mean(0)
        self.scale = x[:, self.free].std().expand_as(low) if z else x.std(0).clamp_min(1e-6)
        norms = self.unit(x)[:, self.free].norm(dim=1)
        self.shortest, self.longest = (float(norms.mean() + k * norms.std()) for k in (-3, 3))
        self.box = float((x[:, self.free] / self.scale[self.free]).abs().max()) if z else math.inf

    def unit(self, x: Tensor) -> Tensor:
        """x to u."""
        return (x - self.center) / self.scale

    def point(self, u: Tensor, start: Tensor) -> Tensor:
        """u to x; what does not move is as in ``start``."""
        return torch.where(self.free, self.center + self.scale * u, start)

    def hold(self, u: Tensor) -> None:
        """Put u back to where the prior is."""
        u.clamp_(-self.box, self.box)
        norm = u[:, self.free].norm(dim=1, keepdim=True)
        u.mul_(norm.clamp(self.shortest, self.longest) / norm.clamp_min(1e-12))


def pyramid(x: Tensor) -> list[Tensor]:
    """Images and their halves, down to 4 pixels or less: [n, pixels] each."""
    levels = [x]
    while min(levels[-1].shape[2:]) > 4:
        levels.append(F.avg_pool2d(levels[-1], 2, ceil_mode=True, count_include_pad=False))
    return [level.flatten(1) for level in levels]


def misfit(made: Tensor, target: Tensor) -> Tensor:
    """Mean squared (and a little absolute) differences, summed over the pyramid: [n]."""
    gaps = [a - b for a, b in zip(pyramid(made), pyramid(target), strict=True)]
    return torch.stack([gap.square().mean(1) + EDGES * gap.abs().mean(1) for gap in gaps]).sum(0)


def far(made: Tensor, target: Tensor) -> Tensor:
    """Mean squared differences summed over the pyramid, of all pairs: [made, targets]."""
    pairs = zip(pyramid(made), pyramid(target), strict=True)
    return torch.stack([torch.cdist(a, b).square() / a.shape[1] for a, b in pairs]).sum(0)


@torch.no_grad()
def gaps_of(space: Space, pool: list[Batch], targets: Tensor) -> list[Tensor]:
    """How far the samples at the starts are from each group of targets: [starts, targets of the group] each. Samples
    are made once for all groups."""
    groups, parts = targets.split(GROUP), []
    for part, _ in zip(pool, counted(len(pool), "trying the starts"), strict=True):
        made = space.made(part, space.at(part)).to(targets.device)
        parts.append([far(made, group) for group in groups])
    return [torch.cat(column) for column in zip(*parts, strict=True)]


def search(
    space: Space, prior: Prior, pool: list[Batch], gaps: Tensor, targets: Tensor, steps: int, classes: Sequence[str],
    guess: Batch | None = None, doing: str = "searching",
) -> tuple[Batch, Tensor]:  # fmt: skip
    """The best inputs for each target, and their points in the space; ``guess``, one for each, is a start, too.

    gaps: how far the samples of the ``pool`` are from the targets, [starts, targets].
    """
    inputs = {key: torch.cat([part[key] for part in pool]) for key in pool[0]}
    tried = min(TRIED, len(gaps))
    rows = torch.stack([best_rows(gap, inputs.get("label"), len(classes), tried) for gap in gaps.T]).flatten()
    chosen = {key: value[rows] for key, value in inputs.items()}
    if guess is not None:
        apart = {key: value.unflatten(0, (len(targets), tried)) for key, value in chosen.items()}
        chosen = {key: torch.cat([value, guess[key][:, None]], 1).flatten(0, 1) for key, value in apart.items()}
        tried += 1
    x = space.at(chosen)
    many = targets.repeat_interleave(tried, 0)
    if steps:
        x = descend(space, prior, chosen, x, many, max(1, steps // 4), f"{doing}, first steps", ends=False)
    for kept, rest in ((min(KEPT, tried), steps - steps // 4), (1, 0)):
        loss = losses(space, chosen, x, many).unflatten(0, (len(targets), -1))
        best = loss.argsort(dim=1, stable=True)[:, :kept] + loss.shape[1] * torch.arange(len(targets))[:, None]
        chosen, x = {key: value[best.flatten()] for key, value in chosen.items()}, x[best.flatten()]
        many = targets.repeat_interleave(kept, 0)
        if rest:
            x = descend(space, prior, chosen, x, many, rest, f"{doing}, last steps")
    return chosen, x


def best_rows(gap: Tensor, label: Tensor | None, classes: int, count: int) -> Tensor:
    """The ``count`` nearest starts, each class's best before any class's next."""
    order = gap.argsort(stable=True)
    if label is None or classes < 2:
        return order[:count]
    seen: dict[int, int] = {}
    turns = []
    for row, k in zip(order.tolist(), label[order].tolist(), strict=True):
        seen[k] = seen.get(k, 0) + 1
        turns.append((seen[k], len(turns), row))
    return torch.tensor([row for _, _, row in sorted(turns)[:count]], device=gap.device)


@torch.no_grad()
def losses(space: Space, inputs: Batch, x: Tensor, targets: Tensor) -> Tensor:
    """The misfit of each point: [n], on the CPU."""
    return misfit(space.made(inputs, x), targets.cpu())


def refine(
    space: Space, prior: Prior, inputs: Batch, x: Tensor, targets: Tensor, steps: int, doing: str
) -> tuple[Batch, Tensor]:
    """Points moved nearer to their targets; those that got no nearer stay."""
    moved = descend(space, prior, inputs, x, targets, steps, doing)
    better = losses(space, inputs, moved, targets) < losses(space, inputs, x, targets)
    return inputs, torch.where(better[:, None].to(x.device), moved, x)


def descend(
    space: Space, prior: Prior, inputs: Batch, start: Tensor, targets: Tensor, steps: int, doing: str,
    ends: bool = True,
) -> Tensor:  # fmt: skip
    """Points moved by Adam from ``start`` [n, size]; with ``ends``, the learning rate falls to 0 as a cosine."""
    u = prior.unit(start).detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([u], lr=RATE, betas=(0.9, 0.999))
    for step in counted(steps, doing):
        rate = RATE * min(1.0, (step + 1) / (0.05 * steps))
        optimizer.param_groups[0]["lr"] = rate * (0.5 + 0.5 * math.cos(math.pi * step / steps) if ends else 1.0)
        optimizer.zero_grad()
        with torch.enable_grad():
            made = space.make(inputs, prior.point(u, start))
            if not made.requires_grad:
                raise InputError(f"samples do not change smoothly with {space.name}: nothing to descend")
            misfit(made, targets).sum().backward()
        optimizer.step()
        with torch.no_grad():
            prior.hold(u)
    return prior.point(u.detach(), start)
