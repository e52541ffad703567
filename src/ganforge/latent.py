"""What the latent space of a trained model holds: directions that change its samples most, and pictures along them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch
from ganforge.judge import unrounded
from ganforge.measure.features import Extractor
from ganforge.measure.intervals import Score, mean_score
from ganforge.measure.metrics.ppl import unrounded as smooth
from ganforge.model import CHUNK, Model

Kind = Literal["principal", "coordinate"]
POINTS = 128
"""Latents at which the sample's change is measured."""
PROBES = 8
"""Random directions of sample space at each of them."""


@dataclass(frozen=True)
class Direction:
    """One direction of latent space: ``name``, unit ``vector`` [size], and ``share``, the part of a sample's whole
    first-order change (the trace of E[J^T J]) that lies along it."""

    name: str
    vector: Tensor
    share: float


@dataclass(frozen=True)
class Traversal:
    """Samples along directions: ``samples`` as the model's domain shows them, one row of ``steps`` per direction.

    ``moves``: for each direction, how far features move from one end to the other, mean with its interval.
    """

    directions: tuple[Direction, ...]
    distances: tuple[float, ...]
    samples: Any
    moves: tuple[Score, ...]
    features: str

    @property
    def steps(self) -> int:
        """Samples a row."""
        return len(self.distances)

    def lines(self) -> list[str]:
        """A table for people."""
        ends = f"{self.distances[0]:g} to {self.distances[-1]:g}"
        lines = [f"direction     share of change   move of {self.features} from {ends}, with 95 % interval"]
        for direction, move in zip(self.directions, self.moves, strict=True):
            interval = f"{move.low:.4g} .. {move.high:.4g}"
            lines.append(f"{direction.name:12}  {direction.share:15.2%}   {move.value:.4g}  ({interval})")
        return lines


def inputs_of(model: Model, n: int, seed: int, label: int | str | None) -> Batch:
    """``n`` latents with their conditions. InputError for a model without a latent z."""
    chunks = list(model.inputs(n, seed, label))
    if "z" not in chunks[0] or chunks[0]["z"].dim() != 2:
        raise InputError(f"{model.facts['recipe']} has no latent vector z to walk along")
    return {key: torch.cat([chunk[key] for chunk in chunks]) for key in chunks[0]}


def gram(model: Model, inputs: Batch, probes: int = PROBES, seed: int = 0) -> Tensor:
    """E[J^T J] over latents, J = d sample / d z: float64 [size, size].

    Estimated with Gaussian vectors u of sample space, since E[u u^T] = 1: each backward pass gives one J^T u for every
    latent of a chunk. InputError for samples that are no differentiable function of z (text).
    """
    size, seeded = inputs["z"].shape[1], torch.Generator().manual_seed(seed)
    total, seen = torch.zeros(size, size, dtype=torch.float64), 0
    for start in range(0, len(inputs["z"]), CHUNK):
        part = {key: value[start : start + CHUNK] for key, value in inputs.items()}
        for _ in range(probes):
            with torch.enable_grad():
                z = part["z"].detach().clone().requires_grad_()
                made = model.game.sample({**part, "z": z})["data"]
                if not made.requires_grad:
                    raise InputError(f"samples of {model.facts['recipe']} do not change smoothly with z: no directions")
                u = torch.randn(made.shape, generator=seeded).to(made.device, made.dtype)
                (gradient,) = torch.autograd.grad((made * u).sum(), z)
            rows = gradient.double().cpu()
            total += rows.T @ rows
            seen += len(rows)
    return total / seen


def directions(
    model: Model, count: int = 8, kind: Kind = "principal", seed: int = 0, label: int | str | None = None,
    points: int = POINTS,
) -> tuple[Direction, ...]:  # fmt: skip
    """The ``count`` directions of latent space along which samples change most, strongest first.

    ``principal``: eigenvectors of E[J^T J] (the active subspace of the latent-to-sample map, Constantine 2015; the
    local form of Ramesh et al. 2018). ``coordinate``: the axes of z, in the order of the same matrix's diagonal. Signs
    are chosen so that the largest entry is positive. InputError for more directions than latents have numbers.
    """
    inputs = inputs_of(model, points, seed, label)
    size = inputs["z"].shape[1]
    if not 1 <= count <= size:
        raise InputError(f"a latent of {size} numbers has 1 to {size} directions, not {count}")
    matrix = gram(model, inputs, seed=seed)
    whole = float(matrix.trace())
    if whole <= 0:
        raise InputError("samples do not change with z at all: the model has collapsed")
    if kind == "coordinate":
        strengths, order = matrix.diagonal().sort(descending=True)
        vectors, names = torch.eye(size, dtype=torch.float64)[order], [f"z[{i}]" for i in order.tolist()]
    else:
        values, columns = torch.linalg.eigh(matrix)
        strengths, vectors = values.flip(0), columns.T.flip(0)
        names = [f"principal {i + 1}" for i in range(size)]
        largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
        vectors = vectors * largest.sign()
    return tuple(Direction(names[i], vectors[i].float(), max(float(strengths[i]), 0.0) / whole) for i in range(count))


@torch.no_grad()
def traverse(
    model: Model,
    count: int = 8,
    steps: int = 9,
    reach: float = 3.0,
    kind: Kind = "principal",
    seed: int = 0,
    label: int | str | None = None,
    extract: Extractor | None = None,
    points: int = POINTS,
) -> Traversal:
    """Walk from -``reach`` to ``reach`` along each direction (in units of z), through the first latent of the seed.

    Each direction's move is the mean Euclidean distance of features between both ends over ``points`` latents: those of
    ``extract``, or, without one, pixels in [0, 1] for images and standardized values for other kinds. InputError for
    fewer than 2 steps, a reach that is not above 0, and what ``directions`` refuses.
    """
    if steps < 2 or not reach > 0:
        raise InputError(f"a traversal needs at least 2 steps and a reach above 0, not {steps} and {reach:g}")
    if points < 2:
        raise InputError(f"a traversal needs at least 2 latents to measure with, not {points}")
    found = directions(model, count, kind, seed, label, points)
    inputs = inputs_of(model, points, seed, label)
    distances = torch.linspace(-reach, reach, steps)
    rows, moves = [], []
    for direction in found:
        vector = direction.vector.to(inputs["z"])
        way = inputs["z"][:1] + distances.to(vector)[:, None] * vector
        rest = {key: value[:1].expand(steps, *value.shape[1:]) for key, value in inputs.items()}
        rows.append(_made(model, {**rest, "z": way}))
        ends = [_made(model, {**inputs, "z": inputs["z"] + sign * reach * vector}) for sign in (-1, 1)]
        low, high = (_features(model, end, extract) for end in ends)
        moves.append(mean_score((high - low).norm(dim=1), how=f"normal, {points} latents"))
    named = extract.name if extract is not None else "pixels" if model.domain.kind == "image" else "values"
    samples = model.domain.decode({"data": torch.cat(rows)})
    return Traversal(found, tuple(distances.tolist()), samples, tuple(moves), named)


def _made(model: Model, inputs: Batch) -> Tensor:
    """Samples as networks see them, on the CPU; images within [-1, 1] as their pictures are."""
    parts = [
        model.game.sample({key: value[i : i + CHUNK] for key, value in inputs.items()})["data"].float().cpu()
        for i in range(0, len(inputs["z"]), CHUNK)
    ]
    made = torch.cat(parts)
    return made.clamp(-1, 1) if model.domain.kind == "image" else made


def _features(model: Model, made: Tensor, extract: Extractor | None) -> Tensor:
    """float64 [n, d]."""
    if extract is not None and model.domain.kind == "image":
        return smooth(extract)({"data": unrounded(model.domain, made)})[0].double()
    return made.flatten(1).double() / (2 if model.domain.kind == "image" else 1)


def draw(model: Model, found: Traversal, path: Path) -> None:
    """A picture (PNG), one row per direction."""
    model.domain.animate(found.samples, path, found.steps)
