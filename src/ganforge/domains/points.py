"""Points in the plane: the toy distributions on which mode collapse can be seen and counted."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch
from ganforge.core.store import write_bytes
from ganforge.domains.domain import Domain
from ganforge.domains.pictures import figure_png

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class PointOptions:
    """count: how many points are drawn. seed: of the draw."""

    count: Annotated[int, Field(ge=2)] = 100_000
    seed: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True)
class Mixture:
    """Equal Gaussians at ``centers`` [modes, 2] with standard deviation ``sd``: modes can be counted."""

    centers: tuple[tuple[float, float], ...]
    sd: float


def ring() -> Mixture:
    """8 Gaussians on the unit circle, sd 0.01 (PacGAN, sec. 4.1; VEEGAN)."""
    angles = [2 * math.pi * k / 8 for k in range(8)]
    return Mixture(tuple((math.cos(a), math.sin(a)) for a in angles), 0.01)


def grid() -> Mixture:
    """25 Gaussians at -4, -2, .. 4 in both directions, sd 0.05 (PacGAN, sec. 4.1; VEEGAN)."""
    ticks = (-4.0, -2.0, 0.0, 2.0, 4.0)
    return Mixture(tuple((x, y) for x in ticks for y in ticks), 0.05)


def draw_mixture(mixture: Mixture, count: int, draw: np.random.Generator) -> Array:
    """``count`` points of a mixture: float64 [count, 2]."""
    centers = np.asarray(mixture.centers)
    return centers[draw.integers(len(centers), size=count)] + mixture.sd * draw.standard_normal((count, 2))


def draw_swissroll(count: int, draw: np.random.Generator) -> Array:
    """The 2-D swiss roll: t (cos t, sin t) for t uniform in 1.5 pi .. 4.5 pi, scaled by 1/10, noise sd 0.05."""
    t = 1.5 * math.pi * (1 + 2 * draw.random(count))
    return np.stack([t * np.cos(t), t * np.sin(t)], 1) / 10 + 0.05 * draw.standard_normal((count, 2))


def draw_moons(count: int, draw: np.random.Generator) -> Array:
    """Two interleaving half circles of radius 1 with noise sd 0.05."""
    angle, upper = math.pi * draw.random(count), draw.random(count) < 0.5
    x = np.where(upper, np.cos(angle), 1 - np.cos(angle))
    y = np.where(upper, np.sin(angle), 0.5 - np.sin(angle))
    return np.stack([x, y], 1) + 0.05 * draw.standard_normal((count, 2))


MIXTURES: dict[str, Callable[[], Mixture]] = {"ring": ring, "grid": grid}
SHAPES: dict[str, Callable[[int, np.random.Generator], Array]] = {
    "swissroll": draw_swissroll,
    "moons": draw_moons,
}


def draw_points(name: str, count: int, seed: int) -> Array:
    """``count`` points of the built-in distribution ``name``: float32 [count, 2]."""
    draw = np.random.default_rng([seed, *name.encode()])
    points = draw_mixture(MIXTURES[name](), count, draw) if name in MIXTURES else SHAPES[name](count, draw)
    return points.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class PointDomain(Domain):
    """Points [n, features], moved to mean 0 and divided by one scale, so that shapes stay what they are."""

    kind: ClassVar[str] = "points"
    shown: ClassVar[int] = 2500
    scored: ClassVar[bool] = True
    nearness: ClassVar[bool] = True
    endless: ClassVar[bool] = True
    name: str = ""
    mean: tuple[float, ...] = (0.0, 0.0)
    scale: float = 1.0

    @property
    def mixture(self) -> Mixture | None:
        """The modes, for distributions that have them."""
        return MIXTURES[self.name]() if self.name in MIXTURES else None

    def fresh(self, count: int, seed: int) -> PointSource:
        """Points of the same distribution."""
        return PointSource(draw_points(self.name, count, seed))

    def encode(self, raw: Batch) -> Batch:
        """(x - mean) / scale, float32 [n, features]."""
        data = raw["data"].to(torch.float32)
        return {**raw, "data": (data - data.new_tensor(self.mean)) / self.scale}

    def decode(self, batch: Batch) -> Array:
        """Points in the data's own units: float32 [n, features]."""
        points = batch["data"].detach().cpu().to(torch.float64).numpy()
        return (points * self.scale + np.asarray(self.mean)).astype(np.float32)

    def save(self, samples: Array, out: Path) -> list[Path]:
        """Write points to ``out``: .npy, .csv, or a folder that gets points.csv and points.png."""
        if out.suffix == ".npy":
            write_bytes(out, npy_bytes(samples))
        elif out.suffix == ".csv":
            lines = ["x,y" if samples.shape[1] == 2 else ",".join(f"x{i}" for i in range(samples.shape[1]))]
            lines += [",".join(f"{v:.6g}" for v in row) for row in samples]
            write_bytes(out, ("\n".join(lines) + "\n").encode())
        elif out.suffix == ".png":
            self.show(samples, out)
        elif not out.suffix:
            return [*self.save(samples, out / "points.csv"), *self.save(samples, out / "points.png")]
        else:
            raise InputError(f"cannot write points as '{out.suffix}': use .csv, .npy, .png or a folder")
        return [out]

    def show(self, samples: Array, path: Path, real: Array | None = None) -> None:
        """A scatter plot (real points in grey beneath) beside a density picture, as PNG."""
        from matplotlib.figure import Figure

        real = draw_points(self.name, 2500, 1) if real is None and self.name else real
        figure = Figure(figsize=(8, 4), layout="constrained")
        left, right = figure.subplots(1, 2)
        box = samples if real is None else real
        low, high = box.min(0), box.max(0)
        pad = 0.15 * float((high - low).max()) + 1e-6
        extent = ((low[0] - pad, high[0] + pad), (low[1] - pad, high[1] + pad))
        if real is not None:
            left.scatter(real[:, 0], real[:, 1], s=2, c="0.75", label="real")
        left.scatter(samples[:, 0], samples[:, 1], s=2, c="tab:blue", alpha=0.5, label="generated")
        left.legend(loc="upper right", markerscale=4, fontsize="small")
        left.set(xlim=extent[0], ylim=extent[1], aspect="equal", title=f"{len(samples)} generated points")
        counts, _, _ = np.histogram2d(samples[:, 0], samples[:, 1], bins=100, range=extent)
        right.imshow(np.log1p(counts.T), origin="lower", extent=(*extent[0], *extent[1]), cmap="magma")
        right.set(title="log density of generated points")
        write_bytes(path, figure_png(figure))

    def animate(self, samples: Array, path: Path, steps: int) -> None:
        """The way that points take, as one picture."""
        self.draw_ways([samples], samples[::steps], "waypoints", "interpolation", path)

    def strips(self, samples: Array, path: Path, columns: Sequence[str], rows: Sequence[str] = ()) -> None:
        """A way for each row, as one picture."""
        ways = samples.reshape(-1, len(columns), samples.shape[1])
        self.draw_ways(ways, ways[:, 0], f"at {columns[0]}", f"from {columns[0]} to {columns[-1]}", path, rows)

    def draw_ways(
        self,
        ways: Sequence[Array] | Array,
        marked: Array,
        marks: str,
        title: str,
        path: Path,
        names: Sequence[str] = (),
    ) -> None:
        """Lines through the points of each of ``ways``, some points ``marked``, over real points."""
        from matplotlib.figure import Figure

        if path.suffix.lower() not in (".png", ".gif"):
            raise InputError(f"cannot animate as '{path.name}': give a .gif or a .png")
        real = draw_points(self.name, 2500, 1) if self.name else np.concatenate(list(ways))
        figure = Figure(figsize=(5, 5), layout="constrained")
        axes = figure.add_subplot()
        axes.scatter(real[:, 0], real[:, 1], s=2, c="0.75")
        for way, name in itertools.zip_longest(ways, names):
            axes.plot(way[:, 0], way[:, 1], lw=1, marker=".", markersize=4, label=name)
        axes.plot(marked[:, 0], marked[:, 1], "o", label=marks, zorder=3)
        axes.set(aspect="equal", title=title)
        axes.legend()
        write_bytes(path, figure_png(figure, "gif" if path.suffix.lower() == ".gif" else "png"))


def npy_bytes(array: Array) -> bytes:
    """The content of a .npy file."""
    import io

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


class PointSource:
    """Points held in memory."""

    def __init__(self, points: Array) -> None:
        self.points = torch.from_numpy(points)
        self.fingerprint = hashlib.sha256(points.tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.points)

    def take(self, rows: Tensor) -> Batch:
        """``data`` float32 [n, features]."""
        return {"data": self.points[rows]}


DOMAIN = PointDomain
OPTIONS = PointOptions
BUILTIN = (*MIXTURES, *SHAPES)


def accepts(spec: str) -> bool:
    """Whether ``spec`` is one of the built-in distributions."""
    return spec in BUILTIN


def open(spec: str, options: PointOptions) -> tuple[PointDomain, PointSource]:
    """Draw the points of a built-in distribution."""
    points = draw_points(spec, options.count, options.seed)
    mean = points.mean(0, dtype=np.float64)
    scale = float((points - mean).std(dtype=np.float64))
    return PointDomain(shape=(2,), name=spec, mean=tuple(mean.tolist()), scale=scale), PointSource(points)
