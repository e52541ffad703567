"""Made-up captioned pictures whose factors are known: two colored digits beside each other, and colored shapes.

Some combinations of factors are never in the training part, so that what is learned of words can be told from what is
known by heart: ``unseen`` are combinations whose every object has been seen, ``unseen-objects`` hold an object (a color
and a digit, or a shape) that never has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ganforge.core.game import Batch

Part = Literal["train", "unseen", "unseen-objects"]

COLORS = {
    "red": (235, 50, 50), "green": (40, 200, 60), "blue": (60, 90, 255),
    "yellow": (240, 220, 40), "purple": (190, 60, 220), "white": (240, 240, 240),
}  # fmt: skip
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SHAPES = ("circle", "square", "triangle", "star")
SIZES = ("small", "large")
PLACES = ("top left", "top right", "bottom left", "bottom right", "center")
HELD = 10
"""One in so many combinations is left out of training, and one in so many objects."""


class Grammar(Protocol):
    """What can be in a picture, and how it is said.

    ``factors`` are (name, values) of each; ``combinations`` int64 [m, factors] all there are, and ``objects`` int64 [m,
    k] what they show; ``captions`` are the ways to say each of them (equally many).
    """

    factors: tuple[tuple[str, tuple[str, ...]], ...]
    combinations: np.ndarray
    objects: np.ndarray

    def captions(self, combination: Sequence[int]) -> tuple[str, ...]:
        """The ways to say one combination [factors]."""
        ...

    def draw(self, rows: np.ndarray, held: bool, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Pictures of combinations ``rows`` [n]: which glyphs [n, k], and the places of their corners [n, k, 2]."""
        ...

    def colors(self, rows: np.ndarray) -> np.ndarray:
        """The colors of their objects, [n, k, 3]."""
        ...


@dataclass(frozen=True)
class Glyphs:
    """Small grey pictures, uint8 [n, side, side], of so many ``kinds`` int64 [n]; those ``held`` (bool [n]) are kept
    for the parts that are not trained on."""

    levels: np.ndarray
    kinds: np.ndarray
    held: np.ndarray

    @classmethod
    def of(cls, images: Tensor, kinds: Tensor, side: int) -> Glyphs:
        """From images, uint8 [n, 1, h, w]: a fifth, chosen by a fixed seed, is held."""
        parts = [
            F.interpolate(part.float(), (side, side), mode="bilinear", antialias=True, align_corners=False)
            for part in images.split(4096)
        ]
        levels = torch.cat(parts)[:, 0].clamp(0, 255)
        levels = levels * (255 / levels.amax((1, 2), keepdim=True).clamp_min(1))  # thin strokes fade when they shrink
        levels = levels.round().to(torch.uint8).numpy()
        held = np.random.default_rng(5).permutation(len(levels)) < len(levels) // 5
        return cls(levels, kinds.numpy(), held)

    def choose(self, kinds: np.ndarray, held: bool, rng: np.random.Generator) -> np.ndarray:
        """One glyph of each of ``kinds`` (any shape), at random."""
        found = np.zeros(kinds.shape, dtype=np.int64)
        for kind in np.unique(kinds):
            able = np.flatnonzero((self.kinds == kind) & (self.held == held))
            at = kinds == kind
            found[at] = able[rng.integers(len(able), size=int(at.sum()))]
        return found


class Scenes:
    """Two colored digits (or glyphs of any ``names``), left and right or above and below: "a red seven left of a blue
    two", which is as much as "a blue two right of a red seven"."""

    def __init__(self, glyphs: Glyphs, names: Sequence[str], size: int) -> None:
        self.glyphs, self.size = glyphs, size
        spoken = tuple(NUMBERS[int(n)] if n.isdigit() and int(n) < 10 else n.lower() for n in names)
        colors = tuple(COLORS)
        self.factors = (
            ("layout", ("beside", "above")),
            ("first color", colors), ("first thing", spoken), ("second color", colors), ("second thing", spoken),
        )  # fmt: skip
        c, k = len(colors), len(spoken)
        self.combinations = np.array(list(product(range(2), range(c), range(k), range(c), range(k))))
        self.objects = self.combinations[:, [1, 3]] * k + self.combinations[:, [2, 4]]

    def captions(self, combination: Sequence[int]) -> tuple[str, ...]:
        layout, *values = (int(i) for i in combination)
        a, b, c, d = (self.factors[i + 1][1][v] for i, v in enumerate(values))
        there, back = (("left of", "right of"), ("above", "below"))[layout]
        return f"a {a} {b} {there} a {c} {d}", f"a {c} {d} {back} a {a} {b}"

    def draw(self, rows: np.ndarray, held: bool, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        chosen = self.combinations[rows]
        which = self.glyphs.choose(chosen[:, [2, 4]], held, rng)
        side, half = self.glyphs.levels.shape[1], self.size // 2
        along = np.array([0, half]) + rng.integers(half - side + 1, size=(len(rows), 2))
        wander = self.size // 10
        across = (self.size - side) // 2 + rng.integers(-wander, wander + 1, size=(len(rows), 2))
        beside = (chosen[:, 0] == 0)[:, None]
        return which, np.stack([np.where(beside, across, along), np.where(beside, along, across)], 2)

    def colors(self, rows: np.ndarray) -> np.ndarray:
        return np.array(list(COLORS.values()))[self.combinations[rows][:, [1, 3]]]


class Figures:
    """One colored shape: "a small red star in the top left corner"."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.factors = (
            ("size", SIZES), ("color", tuple(COLORS)), ("shape", SHAPES), ("place", PLACES),
        )  # fmt: skip
        self.combinations = np.array(list(product(*(range(len(values)) for _, values in self.factors))))
        self.objects = self.combinations[:, 1:2] * len(SHAPES) + self.combinations[:, 2:3]
        side = size // 2
        levels = np.stack([figure(name, side, share) for share in (0.58, 1.0) for name in SHAPES])
        kinds = np.arange(len(levels))
        self.glyphs = Glyphs(levels, kinds, np.zeros(len(levels), dtype=bool))

    def captions(self, combination: Sequence[int]) -> tuple[str, ...]:
        size, color, shape, place = (self.factors[i][1][int(v)] for i, v in enumerate(combination))
        what = f"a {size} {color} {shape}"
        where = "in the center" if place == "center" else f"in the {place} corner"
        return f"{what} {where}", f"{where} is {what}"

    def draw(self, rows: np.ndarray, held: bool, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        chosen = self.combinations[rows]
        which = chosen[:, :1] * len(SHAPES) + chosen[:, 2:3]
        half = self.size // 2
        corners = np.array([[0, 0], [0, half], [half, 0], [half, half], [half // 2, half // 2]])[chosen[:, 3]]
        wander = self.size // 16
        places = corners + rng.integers(-wander, wander + 1, size=corners.shape)
        return which, places.clip(0, self.size - half)[:, None]

    def colors(self, rows: np.ndarray) -> np.ndarray:
        return np.array(list(COLORS.values()))[self.combinations[rows][:, 1:2]]


def figure(name: str, side: int, share: float) -> np.ndarray:
    """A white shape in the middle of a black square, uint8 [side, side]; its radius is ``share`` of the most."""
    fine = 8 * side  # each pixel is the mean of 8 x 8 points
    y, x = np.mgrid[:fine, :fine] / (fine - 1) * 2 - 1
    x, y = x / share, y / share
    if name == "circle":
        inside = x**2 + y**2 <= 0.85**2
    elif name == "square":
        inside = np.maximum(abs(x), abs(y)) <= 0.75
    else:
        outer, inner, points = (0.95, 0.95 * 0.5, 3) if name == "triangle" else (0.95, 0.4, 5)
        notch = np.pi / points
        turn = np.arctan2(x, -y) % (2 * notch)
        turn = np.minimum(turn, 2 * notch - turn)  # from a tip to the notch beside it: a straight edge
        across, below = np.hypot(x, y) * np.sin(turn), outer - np.hypot(x, y) * np.cos(turn)
        inside = across * (outer - inner * np.cos(notch)) <= below * inner * np.sin(notch)
    return (inside.reshape(side, 8, side, 8).mean((1, 3)) * 255).round().astype(np.uint8)


def parts(grammar: Grammar) -> dict[str, np.ndarray]:
    """The rows of ``grammar.combinations`` that belong to each part: always the same."""
    rng = np.random.default_rng(11)
    colors = len(COLORS)
    kinds = int(grammar.objects.max() + 1) // colors
    # one object of each color at most, each of another kind: all words are in the training part
    many = max(1, min(colors * kinds // HELD, colors, kinds))
    held = rng.permutation(colors)[:many] * kinds + rng.permutation(kinds)[:many]
    odd = np.isin(grammar.objects, held).any(1)
    seen = rng.permutation(np.flatnonzero(~odd))
    aside = len(seen) // HELD
    return {"train": seen[aside:], "unseen": seen[:aside], "unseen-objects": np.flatnonzero(odd)}


class MadeSource:
    """``count`` pictures with captions, each a function of its row and the seed; they are drawn when they are taken.

    ``factors`` are for tests and benchmarks; a GAN does not see them.
    """

    def __init__(
        self, grammar: Scenes | Figures, rows: np.ndarray, held: bool, count: int, seed: int, tokens: Tensor
    ) -> None:
        """Of the combinations ``rows``, as equally many each as can be, of glyphs that are ``held`` or not; ``tokens``
        int64 [combinations, ways, length] are the captions."""
        self.grammar, self.tokens = grammar, tokens
        rng = np.random.default_rng([seed, 2016])
        rounds = [rng.permutation(rows) for _ in range(-(-count // len(rows)))]
        self.rows = np.concatenate(rounds)[:count]
        self.which, self.places = grammar.draw(self.rows, held and bool(grammar.glyphs.held.any()), rng)
        self.messages = [f"{count:,} made pictures of {len(rows):,} combinations"]
        seen = hashlib.sha256(grammar.glyphs.levels.tobytes())
        for array in (self.rows, self.which, self.places, tokens.numpy()):
            seen.update(array.tobytes())
        self.fingerprint = seen.hexdigest()

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Tensor) -> Batch:
        """``data`` uint8 [n, 3, size, size], ``captions`` int64 [n, ways, length]."""
        at = rows.numpy()
        glyphs = self.grammar.glyphs.levels[self.which[at]]
        data = compose(glyphs, self.grammar.colors(self.rows[at]), self.places[at], self.grammar.size)
        return {"data": torch.from_numpy(data), "captions": self.tokens[torch.from_numpy(self.rows[at])]}

    def factors(self, rows: Tensor) -> Tensor:
        """The true factors of ``rows``: int64 [n, factors], as ``grammar.factors`` names them."""
        return torch.from_numpy(self.grammar.combinations[self.rows[rows.numpy()]])


def compose(glyphs: np.ndarray, colors: np.ndarray, places: np.ndarray, size: int) -> np.ndarray:
    """Glyphs [n, k, side, side] in colors [n, k, 3] on black, their corners at places [n, k, 2]: uint8 [n, 3, size,
    size]."""
    n, objects, side, _ = glyphs.shape
    canvas = np.zeros((n, size, size, 3), dtype=np.uint8)
    reach, row = np.arange(side), np.arange(n)[:, None, None]
    for i in range(objects):
        y, x = (places[:, i, axis, None] + reach for axis in (0, 1))
        paint = (glyphs[:, i, :, :, None] * (colors[:, i, None, None] / 255)).round().astype(np.uint8)
        at = (row, y[:, :, None], x[:, None])
        canvas[at] = np.maximum(canvas[at], paint)
    return np.ascontiguousarray(canvas.transpose(0, 3, 1, 2))
