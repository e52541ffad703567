"""Directions of latent space that change samples most, and pictures along them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch
from ganforge.judge import unrounded
from ganforge.latent.spaces import Space, chunks_of, first_layer, first_linear_map, inputs_of, output_of
from ganforge.measure.features import Extractor
from ganforge.measure.intervals import Score, mean_score
from ganforge.measure.metrics.ppl import unrounded as smooth
from ganforge.model import CHUNK, Model

Kind = Literal["principal", "coordinate", "features", "closed-form"]
POINTS = 128
"""Latents at which the sample's change is measured."""
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


def gram(model: Model, inputs: Batch, probes: int = PROBES, seed: int = 0, space: Space | None = None) -> Tensor:
    """E[J^T J] over latents, J = d sample / d z: float64 [size, size]; or by the points of another ``space``.

    Estimated with Gaussian vectors u of sample space, since E[u u^T] = 1: each backward pass gives one J^T u for every
    latent of a chunk. InputError for samples that are no differentiable function of z (text).
    """
    space = space or Space(model)
    points, seeded = space.at(inputs), torch.Generator().manual_seed(seed)
    total, seen = torch.zeros(points.shape[1], points.shape[1], dtype=torch.float64), 0
    for start in range(0, len(points), CHUNK):
        part = {key: value[start : start + CHUNK] for key, value in inputs.items()}
        for _ in range(probes):
            with torch.enable_grad():
                z = points[start : start + CHUNK].detach().clone().requires_grad_()
                made = space.make(part, z)
                if not made.requires_grad:
                    raise InputError(
                        f"samples of {model.facts['recipe']} do not change smoothly with {space.name}: no directions"
                    )
                u = torch.randn(made.shape, generator=seeded).to(made.device, made.dtype)
                (gradient,) = torch.autograd.grad((made * u).sum(), z)
            rows = gradient.cpu().double()
            total += rows.T @ rows
            seen += len(rows)
    return total / seen


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
    first layer (SeFa, Shen & Zhou 2021, eq. 6). ``layer`` names the space (see ``Space``) for all kinds but the last.
    Signs are chosen so that the largest entry is positive. InputError for more directions than latents have numbers.
    """
    if kind == "closed-form" and layer is not None:
        raise InputError("directions in closed form are those of z: they take no layer")
    space = Space(model, layer)
    inputs = inputs_of(model, max(points, FEATURES) if kind == "features" else points, seed, label)
    latents = space.at(inputs).cpu().double()
    size = latents.shape[1]
    if not 1 <= count <= size:
        raise InputError(f"a latent of {size} numbers has 1 to {size} directions, not {count}")
    if kind == "features":
        strengths, vectors, whole = components(model, inputs, latents, count, layer is not None)
        names = [f"feature {i + 1}" for i in range(len(vectors))]
    else:
        matrix = first_linear_map(model) if kind == "closed-form" else gram(model, inputs, seed=seed, space=space)
        whole = float(matrix.trace())
        if kind == "coordinate":
            strengths, order = matrix.diagonal().sort(descending=True)
            vectors, names = torch.eye(size, dtype=torch.float64)[order], [f"{space.name}[{i}]" for i in order.tolist()]
        else:
            values, columns = torch.linalg.eigh(matrix)
            strengths, vectors = values.flip(0), columns.T.flip(0)
            names = [f"{kind} {i + 1}" for i in range(size)]
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
    if not own:  # z - mean = coordinates @ vectors, by least squares; the columns of scores are orthonormal
        vectors = scores.T @ (latents - latents.mean(0)) / values.clamp_min(1e-12)[:, None]
    vectors = vectors[:rank] / vectors[:rank].norm(dim=1, keepdim=True).clamp_min(1e-12)
    if count > rank:
        raise InputError(f"features vary in {rank} directions only, not {count}")
    return variances[:rank], vectors, float(variances.sum())


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
    ``extract``, or, without one and for what is no plain image, pixels in [0, 1] or standardized values. InputError for
    fewer than 2 steps, a reach that is not above 0, and what ``directions`` refuses.
    """
    if steps < 2 or not reach > 0:
        raise InputError(f"a traversal needs at least 2 steps and a reach above 0, not {steps} and {reach:g}")
    if points < 2:
        raise InputError(f"a traversal needs at least 2 latents to measure with, not {points}")
    found = directions(model, count, kind, seed, label, points)
    inputs = inputs_of(model, points, seed, label)
    space = Space(model)
    distances = torch.linspace(-reach, reach, steps)
    rows, moves = [], []
    for direction in found:
        vector = direction.vector.to(inputs["z"])
        way = inputs["z"][:1] + distances.to(vector)[:, None] * vector
        rest = {key: value[:1].expand(steps, *value.shape[1:]) for key, value in inputs.items()}
        rows.append(space.made(rest, way))
        ends = [space.made(inputs, inputs["z"] + sign * reach * vector) for sign in (-1, 1)]
        low, high = (_features(model, end, extract) for end in ends)
        moves.append(mean_score((high - low).norm(dim=1), how=f"normal, {points} latents"))
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
    """A picture (PNG), one row per direction."""
    model.domain.animate(found.samples, path, found.steps)
