"""Directions of latent space that change samples most, and pictures along them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch, Game
from ganforge.latent.spaces import (
    Space,
    chunks_of,
    first_layer,
    first_linear_map,
    inputs_of,
    linear_maps_of,
    output_of,
)
from ganforge.measure.counting import counted
from ganforge.measure.features import Extractor
from ganforge.measure.intervals import Score, mean_score
from ganforge.measure.metrics.ppl import unrounded as smooth
from ganforge.model import CHUNK, Model
from ganforge.samples import unrounded

Kind = Literal["principal", "coordinate", "features", "closed-form"]
POINTS, FEW = 128, 32
"""Latents at which the sample's change is measured; and at which moves are, where samples take so long that a game has
drafts of them."""
DIRECTIONS = 8
"""That are walked along where nobody says how many, if a latent has so many numbers."""
FEATURES = 1024
"""Latents whose features make principal components, at least."""
PROBES = 8
"""Random directions of sample space at each of them."""


@dataclass(frozen=True)
class Direction:
    """One direction of latent space: ``name``, unit ``vector`` [size], and ``share``, the part that lies along it of
    all change: of samples (the trace of E[J^T J]), or of the layer whose features or weights gave the direction.

    ``scale`` is the standard deviation of latents along it, in which edits are measured.
    """

    name: str
    vector: Tensor
    share: float
    scale: float = 1.0


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


def slopes(model: Model, inputs: Batch, probes: int = PROBES, seed: int = 0, space: Space | None = None) -> Tensor:
    """J^T u for ``probes`` normal vectors u of sample space at each latent, J = d sample / d z: float64 [rows, size].

    The mean of their outer products is E[J^T J], since E[u u^T] = 1. By z, or by the points of another ``space``.
    Of drafts, where a game has them. InputError for samples that are no differentiable function of z (text).
    """
    space = space or Space(model)
    points, seeded = space.at(inputs), torch.Generator().manual_seed(seed)
    rows = []
    progress = counted(probes * -(-len(points) // CHUNK), "measuring what changes samples")
    for start in range(0, len(points), CHUNK):
        part = {key: value[start : start + CHUNK] for key, value in inputs.items()}
        with torch.enable_grad(), model.game.draft():
            z = points[start : start + CHUNK].detach().clone().requires_grad_()
            made = space.make(part, z)
        if not made.requires_grad:
            raise InputError(
                f"samples of {model.facts['recipe']} do not change smoothly with {space.name}: no directions"
            )
        for _ in range(probes):
            next(progress)
            u = torch.randn(made.shape, generator=seeded).to(made.device, made.dtype)
            rows.append(torch.autograd.grad(made, z, u, retain_graph=True)[0].cpu().double())
    return torch.cat(rows)


def main_axes(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, largest first, and eigenvectors [k, size] of the mean of r r^T over ``rows`` r, [n, size].

    Where a row has more numbers than there are rows, by the matrix of their inner products, which has the same ones.
    """
    if rows.shape[1] <= len(rows):
        values, columns = torch.linalg.eigh(rows.T @ rows / len(rows))
        return values.flip(0), columns.T.flip(0)
    values, columns = torch.linalg.eigh(rows @ rows.T / len(rows))
    kept = values > 1e-12 * values[-1]
    vectors = columns[:, kept].T.flip(0) @ rows
    return values[kept].flip(0), vectors / vectors.norm(dim=1, keepdim=True)


def directions(
    model: Model, count: int = 8, kind: Kind = "principal", seed: int = 0, label: int | str | None = None,
    points: int = POINTS, layer: str | None = None,
) -> tuple[Direction, ...]:  # fmt: skip
    """The ``count`` directions of latent space along which samples change most, strongest first.

    ``principal``: eigenvectors of E[J^T J] (the active subspace of the latent-to-sample map, Constantine 2015; the
    local form of Ramesh et al. 2018). ``coordinate``: the axes of z, in the order of the same matrix's diagonal.
    ``features``: principal components of activations over latents (GANSpace, Härkönen et al. 2020): with ``layer``
    those of that layer's output, which are directions there (section 3.1: w of StyleGAN); without, those of the first
    layer, carried back to z by least squares (section 3.2). ``closed-form``: eigenvectors of A^T A, where A is the
    first layer; with ``layer``, all linear layers that take its output, as StyleGAN's styles take w (SeFa, Shen & Zhou
    2021, eq. 6 and section 3.2). ``layer`` names the space (see ``Space``).
    Signs are chosen so that the largest entry is positive. InputError for more directions than latents have numbers.
    """
    space = Space(model, layer)
    inputs = inputs_of(model, max(points, FEATURES) if kind == "features" else points, seed, label)
    latents = space.at(inputs).cpu().double()
    size = latents.shape[1]
    if not 1 <= count <= size:
        raise InputError(f"a latent of {size} numbers has 1 to {size} directions, not {count}")
    if kind == "features":
        strengths, vectors, whole = components(model, inputs, latents, count, layer is not None)
        names = [f"feature {i + 1}" for i in range(len(vectors))]
    elif kind == "closed-form":
        matrix = first_linear_map(model) if layer is None else linear_maps_of(model, layer)
        whole, (values, columns) = float(matrix.trace()), torch.linalg.eigh(matrix)
        strengths, vectors = values.flip(0), columns.T.flip(0)
        names = [f"{kind} {i + 1}" for i in range(size)]
    else:
        rows = slopes(model, inputs, seed=seed, space=space)
        whole = float(rows.square().sum() / len(rows))
        if kind == "coordinate":
            strengths, order = rows.square().mean(0).sort(descending=True)
            vectors = F.one_hot(order[:count], size).double()
            names = [f"{space.name}[{i}]" for i in order.tolist()]
        else:
            strengths, vectors = main_axes(rows)
            names = [f"{kind} {i + 1}" for i in range(len(vectors))]
            if whole > 0 and count > len(vectors):
                raise InputError(f"{len(vectors)} directions can be told apart by {len(rows)} slopes, not {count}")
    if not whole > 0:
        raise InputError(f"samples do not change with {space.name} at all: the model has collapsed")
    if kind != "coordinate":
        largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
        vectors = vectors * largest.sign()
    scales = (latents @ vectors[:count].T).std(0)
    return tuple(
        Direction(names[i], vectors[i].float(), max(float(strengths[i]), 0.0) / whole, float(scales[i]))
        for i in range(min(count, len(vectors)))
    )


def components(model: Model, inputs: Batch, latents: Tensor, count: int, own: bool) -> tuple[Tensor, Tensor, float]:
    """Variances [k], directions [k, size] and the whole variance of principal components of features."""
    if own:
        features = latents
    else:
        layer = first_layer(model)[1]
        with torch.no_grad():
            features = torch.cat([output_of(model, layer, part).cpu().double() for part in chunks_of(inputs)])
    features = features - features.mean(0)
    scores, values, vectors = torch.linalg.svd(features, full_matrices=False)  # features = scores * values @ vectors
    variances = values.square() / (len(features) - 1)
    rank = max(1, int((values > 1e-6 * values[0]).sum()))
    if not own:  # z - mean = scores @ vectors, by least squares: the columns of scores are orthonormal
        vectors = scores.T @ (latents - latents.mean(0))
    vectors = vectors[:rank] / vectors[:rank].norm(dim=1, keepdim=True).clamp_min(1e-12)
    if count > rank:
        raise InputError(f"features vary in {rank} directions only, not {count}")
    return variances[:rank], vectors, float(variances.sum())


@torch.no_grad()
def traverse(
    model: Model,
    count: int | None = None,
    steps: int = 9,
    reach: float = 3.0,
    kind: Kind = "principal",
    seed: int = 0,
    label: int | str | None = None,
    extract: Extractor | None = None,
    points: int = POINTS,
    layer: str | None = None,
) -> Traversal:
    """Walk from -``reach`` to ``reach`` along each of ``count`` directions (8, or as many as there are), in units of z
    or of the output of ``layer``, through the first latent of the seed.

    Each direction's move is the mean Euclidean distance of features between both ends over ``points`` latents (``FEW``
    of them where samples take long): those of ``extract``, or, without one and for what is no plain image, pixels in
    [0, 1] or standardized values. InputError for fewer than 2 steps, a reach that is not above 0, and what
    ``directions`` refuses.
    """
    if steps < 2 or not reach > 0:
        raise InputError(f"a traversal needs at least 2 steps and a reach above 0, not {steps} and {reach:g}")
    if points < 2:
        raise InputError(f"a traversal needs at least 2 latents to measure with, not {points}")
    count = min(DIRECTIONS, Space(model, layer).size) if count is None else count
    found = directions(model, count, kind, seed, label, points, layer)
    measured = points if type(model.game).draft is Game.draft else min(points, FEW)
    inputs = inputs_of(model, measured, seed, label)
    space = Space(model, layer)
    at = space.at(inputs)
    distances = torch.linspace(-reach, reach, steps)
    rows, moves = [], []
    progress = counted(2 * len(found), "walking along the directions")
    for direction in found:
        vector = direction.vector.to(at)
        way = at[:1] + distances.to(vector)[:, None] * vector
        rest = {key: value[:1].expand(steps, *value.shape[1:]) for key, value in inputs.items()}
        rows.append(space.made(rest, way))
        ends = [space.made(inputs, at + sign * reach * vector) for sign in (-1, 1) if next(progress) >= 0]
        low, high = (_features(model, end, extract) for end in ends)
        moves.append(mean_score((high - low).norm(dim=1), how=f"normal, {measured} latents"))
    encoded = "values" if model.domain.limits is None else "pixels"
    named = extract.name if extract is not None and model.domain.plain_images else encoded
    samples = model.domain.decode({"data": torch.cat(rows)})
    return Traversal(found, tuple(distances.tolist()), samples, tuple(moves), named)


def _features(model: Model, made: Tensor, extract: Extractor | None) -> Tensor:
    """float64 [n, d]."""
    if extract is not None and model.domain.plain_images:
        return smooth(extract)({"data": unrounded(model.domain, made)})[0].cpu().double()
    low, high = model.domain.limits or (0.0, 1.0)
    return made.flatten(1).double() / (high - low)


def draw(model: Model, found: Traversal, path: Path) -> None:
    """A picture (.png, or a .gif that moves), one row per direction, with the direction's name and share."""
    rows = [f"{each.name}  {each.share:.0%}" for each in found.directions]
    model.domain.strips(found.samples, path, [f"{x:.3g}" for x in found.distances], rows)
