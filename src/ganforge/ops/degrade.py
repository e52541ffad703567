"""Making images worse on purpose, so that a network can learn the way back: noise, fewer pixels, holes, no colors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ganforge.core.errors import InputError, nearest

PRESETS = {"denoise": "noise:25", "super-resolution": "shrink:4", "inpaint": "holes:0.25"}

STEPS: dict[str, tuple[float | None, float, float]] = {
    "grey": (None, 0, 0),
    "edges": (None, 0, 0),
    "noise": (25.0, 0.0, 255.0),
    "blur": (1.5, 0.1, 32.0),
    "shrink": (2.0, 2.0, 16.0),
    "holes": (0.25, 0.01, 0.9),
}
"""Step -> its usual amount (None: it takes none), and the least and the most that it takes."""

LUMA = (0.299, 0.587, 0.114)
"""How bright red, green and blue are (ITU-R BT.601)."""


@dataclass(frozen=True)
class Step:
    """One degradation: ``low`` and ``high`` bound its amount, which differs from image to image when they do."""

    name: str
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True)
class Degradation:
    """Steps, in order. Call it on images [n, channels, height, width] in [-1, 1]."""

    steps: tuple[Step, ...]

    @property
    def scale(self) -> int:
        """How many times smaller the images that users have are than those that they want."""
        return math.prod(int(s.low) for s in self.steps if s.name == "shrink")

    @property
    def holes(self) -> bool:
        """Whether parts are missing: the input then has one channel more, 1 in holes and -1 elsewhere."""
        return any(s.name == "holes" for s in self.steps)

    @property
    def keeps_luma(self) -> bool:
        """Whether the input is the wanted image's brightness, exactly, so that its colors alone are missing."""
        return [s.name for s in self.steps] == ["grey"]

    @property
    def keeps_colors(self) -> bool:
        """Whether input and output show the same colors, so that a grey image must stay grey."""
        return not any(s.name in ("grey", "edges") for s in self.steps)

    def channels(self, channels: int) -> int:
        """Channels of the input for images of so many."""
        return (channels if self.keeps_colors else 1) + self.holes

    def __call__(self, x: Tensor) -> Tensor:
        """The degraded images [n, channels(c), height, width]. Noise comes from torch's global generator."""
        hole = None
        for step in self.steps:
            if step.name == "holes":
                hole = random_holes(x, step.low, step.high)
            else:
                x = APPLY[step.name](x, step)
        return x if hole is None else with_hole(x, hole)


def with_hole(x: Tensor, hole: Tensor) -> Tensor:
    """Images with mid-grey where ``hole`` [n, 1, h, w] is 1, and the hole as one more channel, 1 and -1."""
    return torch.cat([x * (1 - hole), 2 * hole - 1], 1)


def keep_known(x: Tensor, made: Tensor) -> Tensor:
    """``made`` [n, c, h, w] in the holes of inputs that mark them (``with_hole``), the inputs' own pixels elsewhere."""
    hole = (x[:, -1:] + 1) / 2
    return x[:, : made.shape[1]] * (1 - hole) + made * hole


def with_luma(x: Tensor, made: Tensor) -> Tensor:
    """``made`` [n, 3, h, w] with the brightness of ``x`` [n, 1, h, w]: the same is added to red, green and blue.

    Strong colors of nearly black or white pixels may leave [-1, 1]; decoding clips them.
    """
    return made + (x - luma(made))


def parse(spec: str) -> Degradation:
    """``name``, ``name:amount`` or ``name:low-high``, several with commas; or a preset's name.

    InputError for an unknown name, or an amount that makes no sense.
    """
    steps: list[Step] = []
    for part in PRESETS.get(spec.strip(), spec).split(","):
        name, _, text = (piece.strip() for piece in part.partition(":"))
        expanded = PRESETS.get(name, name)
        if expanded != name:
            expanded, _, usual = expanded.partition(":")
            name, text = expanded, text or usual
        if name not in STEPS:
            raise InputError(f"degrade '{spec}': unknown step '{name}': {nearest(name, {*STEPS, *PRESETS})}")
        usual_amount, least, most = STEPS[name]
        if usual_amount is None:
            if text:
                raise InputError(f"degrade '{spec}': {name} takes no amount")
            steps.append(Step(name))
            continue
        steps.append(Step(name, *_amounts(spec, name, text or str(usual_amount), least, most)))
    if sum(s.name == "holes" for s in steps) > 1:
        raise InputError(f"degrade '{spec}': holes may be made once")
    return Degradation(tuple(steps))


def _amounts(spec: str, name: str, text: str, least: float, most: float) -> tuple[float, float]:
    low, dash, high = text.partition("-")
    try:
        bounds = float(low), float(high if dash else low)
    except ValueError:
        bounds = (math.nan, math.nan)
    whole = name != "shrink" or (bounds[0] == bounds[1] and bounds[0].is_integer())
    if not (least <= bounds[0] <= bounds[1] <= most) or not whole:
        what = f"a whole number from {least:g} to {most:g}" if name == "shrink" else f"{least:g} to {most:g}"
        raise InputError(f"degrade '{spec}': {name} wants {what}, not '{text}'")
    return bounds


def luma(x: Tensor) -> Tensor:
    """Brightness [n, 1, h, w] of images with 1 channel, or 3 or 4 (whose alpha is left out)."""
    if x.shape[1] < 3:
        return x[:, :1]
    return (x[:, :3] * x.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


def edges(x: Tensor) -> Tensor:
    """A drawing of the images' contours: dark lines on white, [n, 1, h, w], from Sobel's gradient of the luma."""
    grey = F.pad(luma(x), (1, 1, 1, 1), mode="replicate")
    across = grey.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 4
    kernels = torch.stack([across, across.T])[:, None]
    strength = F.conv2d(grey, kernels).square().sum(1, keepdim=True).sqrt()
    return 1 - 2 * (3 * strength - 0.5).clamp(0, 1)


def bicubic(x: Tensor, height: int, width: int) -> Tensor:
    """Resized with the antialiased bicubic filter (a = -1/2), as Pillow does it, within [-1, 1]."""
    return F.interpolate(x, (height, width), mode="bicubic", antialias=True).clamp_(-1, 1)


def shrink(x: Tensor, factor: int) -> Tensor:
    """Fewer pixels, in 8 bits, and enlarged again: what a small image has left."""
    height, width = x.shape[2:]
    small = bicubic(x, max(1, height // factor), max(1, width // factor))
    return bicubic(((small + 1) * 127.5).round() / 127.5 - 1, height, width)


def blur(x: Tensor, sigma: float) -> Tensor:
    """A Gaussian of ``sigma`` pixels, cut at 3 sigma; the border is repeated."""
    reach = max(1, math.ceil(3 * sigma))
    line = torch.exp(-(torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype) ** 2) / (2 * sigma**2))
    line = (line / line.sum()).expand(x.shape[1], 1, 1, -1)
    x = F.pad(x, (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(x, line, groups=x.shape[1]), line.transpose(2, 3), groups=x.shape[1])


def noise(x: Tensor, low: float, high: float) -> Tensor:
    """White Gaussian noise; its standard deviation, in levels of 255, is drawn for each image from low to high."""
    sigma = low + (high - low) * torch.rand(len(x), 1, 1, 1, device=x.device)
    return x + sigma / 127.5 * torch.randn_like(x)


def random_holes(x: Tensor, low: float, high: float) -> Tensor:
    """Holes [n, 1, h, w], 1 inside: two rectangles and four brush strokes, about the wanted share of each image."""
    n, (height, width) = len(x), x.shape[2:]
    share = low + (high - low) * torch.rand(n, 1, 1, 1, device=x.device)
    y = ((torch.arange(height, device=x.device) + 0.5) / height)[:, None]
    across = (torch.arange(width, device=x.device) + 0.5) / width
    aspect = torch.exp2(2 * torch.rand(n, 2, 1, 1, device=x.device) - 1).sqrt()
    half = (share / 4).sqrt() / 2  # two rectangles take half of the share, strokes the rest
    center = torch.rand(2, n, 2, 1, 1, device=x.device)
    rectangle = ((y - center[0]).abs() < half * aspect) & ((across - center[1]).abs() < half / aspect)
    ends = torch.rand(4, n, 4, 1, 1, device=x.device)
    dy, dx = ends[2] - ends[0], ends[3] - ends[1]
    along = ((y - ends[0]) * dy + (across - ends[1]) * dx) / (dy.square() + dx.square()).clamp_min(1e-6)
    along = along.clamp(0, 1)
    distance = ((y - ends[0] - along * dy).square() + (across - ends[1] - along * dx).square()).sqrt()
    stroke = distance < share / 8  # four strokes about half as long as the image
    return torch.cat([rectangle, stroke], 1).any(1, keepdim=True).to(x.dtype)


APPLY = {
    "grey": lambda x, step: luma(x),
    "edges": lambda x, step: edges(x),
    "noise": lambda x, step: noise(x, step.low, step.high),
    "blur": lambda x, step: blur(x, step.low),
    "shrink": lambda x, step: shrink(x, int(step.low)),
}
