"""Adaptive discriminator augmentation (Karras et al. 2020, arXiv 2006.06676): as much augmentation as D needs.

Each change is made to an image with probability p, on reals and fakes alike, differentiably; p follows how often D is
right about real images (section 3.1). Below about 0.8 the generator does not learn the changes themselves (section
2.2). Images are ``[n, channels, height, width]`` in [-1, 1]; random numbers come from torch's global generator on the
images' device, a set for each image. All changes are linear in the image, so penalties differentiate them twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.core.errors import InputError, nearest
from ganforge.ops.augment import steps

CATEGORIES = ("blit", "geometric", "color", "filter", "corrupt")
"""The groups of appendix B, in their order."""

DEFAULT = CATEGORIES[:3]
"""What the paper recommends (section 2.3: filtering and corruptions add little)."""

LIMIT = 0.8
"""p goes no higher: beyond, changes may leak into the generator's images (section 2.2)."""

EVERY = 4
"""p is set anew each so many rounds (section 3.1)."""

SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466,
    0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578,
    0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
"""Daubechies' least asymmetric wavelet with 6 vanishing moments: orthogonal, so that doubling and halving with it give
back the very same image."""

CENTER = sum(i * tap for i, tap in enumerate(SYM6)) / sum(SYM6)
"""Where the filter puts coarse detail, in taps: 5.10, not the middle 5.5."""

ROOT3 = math.sqrt(3.0)
SYM2 = tuple(a / (4 * math.sqrt(2)) for a in (1 - ROOT3, 3 - ROOT3, 3 + ROOT3, 1 + ROOT3))

BAND_POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)
"""The expected power of natural images in each band (appendix B)."""


def categories(policy: str) -> tuple[str, ...]:
    """The groups that ``ada`` (the default ones) or ``ada:blit,color,...`` names; () for another policy.

    Raises InputError for an unknown word.
    """
    name, colon, rest = policy.partition(":")
    if name.strip() != "ada":
        return ()
    words = [word.strip() for word in rest.split(",") if word.strip()] if colon else list(DEFAULT)
    for word in words:
        if word not in CATEGORIES:
            raise InputError(f"unknown augmentation '{word}' in '{policy}': {nearest(word, CATEGORIES)}")
    if not words:
        raise InputError(f"'{policy}' names no augmentation: use ada, or ada: and some of {', '.join(CATEGORIES)}")
    return tuple(word for word in CATEGORIES if word in words)


def check_policy(policy: str) -> None:
    """InputError for what is neither ``ada`` with its groups nor DiffAugment's policy."""
    if not categories(policy):
        steps(policy, adaptive=["ada"])


class AdaptiveAugment(nn.Module):
    """The pipeline, with p as its state. ``samples``: how many real ones take p from 0 to 1 at the fastest."""

    p: Tensor
    seen: Tensor

    def __init__(self, chosen: Sequence[str] = DEFAULT, target: float = 0.6, samples: float = 500_000.0) -> None:
        super().__init__()
        self.chosen, self.target, self.samples = tuple(chosen), target, samples
        self.register_buffer("p", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(2))  # whole numbers, exact in float32, which all devices have

    def forward(self, x: Tensor) -> Tensor:
        """``x`` augmented, as float32."""
        if x.device.type == "cpu" and not self.p:
            return x  # nothing would change; on a GPU, asking would make it wait
        with torch.autocast(x.device.type, enabled=False):
            return augment(x.float(), self.p, self.chosen)

    def follow(self, round_: int, batch: int, count: float, right: float) -> None:
        """D was ``right`` about so many of ``count`` real samples: r_t = E sign(D(x)) = 2 right / count - 1 (eq. 1).

        p rises where r_t, over ``EVERY`` rounds, is above the target, else it falls.
        """
        self.seen += torch.tensor([count, right], dtype=self.seen.dtype).to(self.seen.device)
        if round_ % EVERY:
            return
        judged, correct = self.seen.tolist()
        step = math.copysign(EVERY * batch / self.samples, 2 * correct / max(judged, 1.0) - 1 - self.target)
        self.p.add_(step).clamp_(0, LIMIT)
        self.seen.zero_()


def augment(x: Tensor, p: Tensor | float, chosen: Sequence[str] = DEFAULT) -> Tensor:
    """``x`` [n, c, h, w] float32 with the changes of the groups ``chosen``, each with probability ``p`` an image."""
    p = torch.as_tensor(p, device=x.device)
    if "blit" in chosen or "geometric" in chosen:
        x = moved(x, p, "blit" in chosen, "geometric" in chosen)
    if "color" in chosen:
        x = colored(x, p)
    if "filter" in chosen:
        x = filtered(x, p)
    return corrupted(x, p) if "corrupt" in chosen else x


@lru_cache(maxsize=64)
def constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers [n] on a device, copied there once: for each copy a GPU would make the host wait."""
    return torch.tensor(values).to(device)


# ---- random numbers, one an image


def _chance(n: int, p: Tensor) -> Tensor:
    return torch.rand(n, device=p.device) < p


def _uniform(n: int, p: Tensor, low: float, high: float) -> Tensor:
    return torch.rand(n, device=p.device) * (high - low) + low


def _lognormal(n: int, p: Tensor, octaves: float) -> Tensor:
    return torch.exp2(torch.randn(n, device=p.device) * octaves)


def _matrix(rows: Sequence[Sequence[Tensor | float]], like: Tensor) -> Tensor:
    """[n, k, k] from entries that are numbers or [n]."""
    entries = [[e if isinstance(e, Tensor) else torch.full_like(like, e) for e in row] for row in rows]
    return torch.stack([torch.stack(row, 1) for row in entries], 1)


# ---- pixel blitting and general geometric transformations


def moved(x: Tensor, p: Tensor, blit: bool, geometric: bool) -> Tensor:
    """Flips, quarter turns and whole-pixel shifts; scalings, rotations and shifts; all as one transformation.

    The image is doubled with an orthogonal wavelet, continued by reflection, sampled bilinearly and halved again
    (appendix B, figure 12). Images that nothing was chosen for stay the very same.
    """
    n, _, height, width = x.shape
    one = torch.ones(n, device=x.device)
    changed = torch.zeros(n, dtype=torch.bool, device=x.device)
    inverse = _matrix([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], one)

    def then(on: Tensor, *rows: Sequence[Tensor | float]) -> None:
        nonlocal inverse, changed
        changed = changed | on
        step = _matrix([*rows, [0.0, 0.0, 1.0]], one)
        inverse = inverse @ torch.where(on[:, None, None], step, torch.eye(3, device=x.device))

    def turn(on: Tensor, angle: Tensor) -> None:
        then(on, [angle.cos(), -angle.sin(), 0.0], [angle.sin(), angle.cos(), 0.0])

    if blit:
        flip = torch.randint(0, 2, (n,), device=x.device) * 2.0 - 1
        then(_chance(n, p), [flip, 0.0, 0.0], [0.0, one, 0.0])
        quarter = torch.randint(0, 4, (n,), device=x.device)
        cosine, sine = constant((1.0, 0.0, -1.0, 0.0), x.device), constant((0.0, 1.0, 0.0, -1.0), x.device)
        c, s = cosine[quarter], sine[quarter]
        then(_chance(n, p), [c, -s, 0.0], [s, c, 0.0])
        right, down = ((_uniform(n, p, -0.125, 0.125) * size).round() for size in (width, height))
        then(_chance(n, p), [one, 0.0, right], [0.0, one, down])
    if geometric:
        scale = 1 / _lognormal(n, p, 0.2)
        then(_chance(n, p), [scale, 0.0, 0.0], [0.0, scale, 0.0])
        rotated = 1 - (1 - p).clamp_min(0).sqrt()  # of two chances, at least one with p
        turn(_chance(n, rotated), _uniform(n, p, -math.pi, math.pi))
        stretch = _lognormal(n, p, 0.2)
        then(_chance(n, p), [1 / stretch, 0.0, 0.0], [0.0, stretch, 0.0])
        turn(_chance(n, rotated), _uniform(n, p, -math.pi, math.pi))
        right, down = (torch.randn(n, device=x.device) * 0.125 * size for size in (width, height))
        then(_chance(n, p), [one, 0.0, right], [0.0, one, down])
    return torch.where(changed[:, None, None, None], transformed(x, inverse), x)


def transformed(x: Tensor, inverse: Tensor) -> Tensor:
    """``x`` [n, c, h, w] where ``inverse`` [n, 3, 3] says from which place each place takes its color.

    Places are (right, down, 1) in pixels from the middle of the image.
    """
    n, _, height, width = x.shape
    up_h, up_w = (_doubling(size, x.device) for size in (height, width))
    down_h, down_w = (_halving(size, x.device) for size in (height, width))
    fine = up_h @ x @ up_w.t()
    places = [(torch.arange(2 * s + 10, device=x.device) - CENTER) / 2 + 0.5 - s / 2 for s in (width, height)]
    right, down = torch.meshgrid(*places, indexing="xy")
    at = torch.stack([right, down, torch.ones_like(right)], 2).flatten(0, 1)  # [places, 3]
    source = 2 * (at @ inverse[:, :2].transpose(1, 2)) + (CENTER - 5.5)  # ``fine`` has lost 5 places, and begins at 1/2
    source = source / constant((float(width), float(height)), x.device)
    sampled = Sampling.apply(fine, source.reshape(n, *right.shape, 2))
    return down_h @ sampled @ down_w.t()


class Sampling(torch.autograd.Function):
    """Bilinear sampling at fixed places, reflected at the edges. PyTorch's own differentiates only once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.shape = x.shape
        return F.grid_sample(x, places, mode="bilinear", padding_mode="reflection", align_corners=False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        return Scattering.apply(gradients[0], places, ctx.shape), None


class Scattering(torch.autograd.Function):
    """The transpose of ``Sampling``, whose own transpose is ``Sampling``."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, places: Tensor, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(places)
        like = y.new_empty(1).expand(shape)  # only its shape is looked at
        bilinear, reflection = 0, 2
        given = torch.ops.aten.grid_sampler_2d_backward(y, like, places, bilinear, reflection, False, [True, False])
        return given[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (places,) = ctx.saved_tensors
        return Sampling.apply(gradients[0], places), None, None


def _fold(index: int, size: int) -> int:
    """The place of a pixel beyond the edge, in the image continued by reflection."""
    index %= 2 * size
    return index if index < size else 2 * size - 1 - index


@lru_cache(maxsize=64)
def _doubling(size: int, device: torch.device) -> Tensor:
    """[2 size, size]: zeros inserted, filtered with ``SYM6``, the image continued by reflection."""
    matrix = torch.zeros(2 * size, size, dtype=torch.float64)
    for pixel in range(-6, size + 6):
        for tap, value in enumerate(SYM6):
            row = 2 * pixel + tap - 5
            if 0 <= row < 2 * size:
                matrix[row, _fold(pixel, size)] += value
    return matrix.float().to(device)


@lru_cache(maxsize=64)
def _halving(size: int, device: torch.device) -> Tensor:
    """[size, 2 size + 10]: the transposed filter, every second place kept. Its input begins 5 places early."""
    matrix = torch.zeros(size, 2 * size + 10)
    for pixel in range(size):
        matrix[pixel, 2 * pixel : 2 * pixel + 12] = torch.tensor(SYM6)
    return matrix.to(device)


# ---- color


def colored(x: Tensor, p: Tensor) -> Tensor:
    """Brightness, contrast, luma flip, hue and saturation, as one matrix on (red, green, blue, 1).

    Grey images take its mean; of others, the first 3 of 4 channels are taken as colors, and any other number of
    channels gets brightness and contrast alone.
    """
    n, channels = x.shape[:2]
    one = torch.ones(n, device=x.device)
    matrix = torch.eye(4, device=x.device).expand(n, 4, 4)
    grey = constant((1.0, 1.0, 1.0, 0.0), x.device) / ROOT3
    onto_grey, whole = torch.outer(grey, grey), torch.eye(4, device=x.device)

    def then(step: Tensor) -> None:
        nonlocal matrix
        matrix = torch.where(_chance(n, p)[:, None, None], step @ matrix, matrix)

    brightness, contrast = torch.randn(n, device=x.device) * 0.2, _lognormal(n, p, 0.5)
    then(_matrix([[1.0, 0.0, 0.0, brightness], [0.0, 1.0, 0.0, brightness], [0.0, 0.0, 1.0, brightness],
                  [0.0, 0.0, 0.0, 1.0]], one))  # fmt: skip
    then(torch.diag_embed(torch.stack([contrast, contrast, contrast, one], 1)))
    if channels in (1, 3, 4):
        flip = torch.randint(0, 2, (n, 1, 1), device=x.device)
        then(whole - 2 * onto_grey * flip)
    if channels in (3, 4):
        angle = _uniform(n, p, -math.pi, math.pi)[:, None, None]
        a = 1 / ROOT3  # Rodrigues' rotation about grey
        upper = (0.0, -a, a, 0.0, 0.0, 0.0, -a, 0.0, *(0.0,) * 8)
        b = constant(upper, x.device).reshape(4, 4)
        cross, color = b - b.t(), torch.diag(constant((1.0, 1.0, 1.0, 0.0), x.device))
        then(whole + angle.sin() * cross + (1 - angle.cos()) * (onto_grey - color))
        saturation = _lognormal(n, p, 1.0)[:, None, None]
        then(whole + (saturation - 1) * (color - onto_grey))
    if channels in (3, 4):
        mixed = torch.einsum("nij,njhw->nihw", matrix[:, :3, :3], x[:, :3]) + matrix[:, :3, 3, None, None]
        return mixed if channels == 3 else torch.cat([mixed, x[:, 3:]], 1)
    line = matrix[:, :3].mean(1)
    return x * line[:, :3].sum(1)[:, None, None, None] + line[:, 3][:, None, None, None]


# ---- image-space filtering, and corruptions


@lru_cache(maxsize=64)
def _bands(size: int, device: torch.device) -> Tensor:
    """Four filters that add up to the identity, coarse to fine, as matrices [4, size, size] on reflected images.

    From ``SYM2``: low(z) + high(z) = 1, and each step splits the low band by the same filters at half the rate.
    """
    low = _squared(torch.tensor(SYM2, dtype=torch.float64))
    high = _squared(torch.tensor(SYM2, dtype=torch.float64) * torch.tensor([1.0, -1.0, 1.0, -1.0]))
    bank = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(3):
        spread = torch.zeros(len(bank), 2 * bank.shape[1] - 1, dtype=torch.float64)
        spread[:, ::2] = bank
        wide = torch.stack([_convolved(row, low) for row in spread])
        finest = F.pad(high, ((wide.shape[1] - len(high)) // 2,) * 2)
        bank = torch.cat([wide, finest[None]])
    matrices, reach = torch.zeros(4, size, size, dtype=torch.float64), bank.shape[1] // 2
    for row in range(size):
        for tap in range(bank.shape[1]):
            matrices[:, row, _fold(row + tap - reach, size)] += bank[:, tap]
    return matrices.float().to(device)


def _convolved(a: Tensor, b: Tensor) -> Tensor:
    return F.conv1d(a[None, None], b.flip(0)[None, None], padding=len(b) - 1)[0, 0]


def _squared(taps: Tensor) -> Tensor:
    """H(z) H(1 / z) / 2."""
    return _convolved(taps, taps.flip(0)) / 2


def filtered(x: Tensor, p: Tensor) -> Tensor:
    """Each of four frequency bands amplified or weakened, the expected power of natural images kept."""
    n, _, height, width = x.shape
    gains, changed = torch.ones(n, 4, device=x.device), torch.zeros(n, dtype=torch.bool, device=x.device)
    power = constant(BAND_POWER, x.device)
    for band in range(4):
        on, amount = _chance(n, p), torch.ones(n, 4, device=x.device)
        amount[:, band] = torch.where(on, _lognormal(n, p, 1.0), amount[:, band])
        gains = gains * amount / (power * amount.square()).sum(1, keepdim=True).sqrt()
        changed = changed | on
    down, across = (torch.einsum("nb,bij->nij", gains, _bands(size, x.device)) for size in (height, width))
    both = down[:, None] @ x @ across[:, None].transpose(2, 3)
    return torch.where(changed[:, None, None, None], both, x)


def corrupted(x: Tensor, p: Tensor) -> Tensor:
    """Noise with standard deviation |N(0, 0.1)| on every value, and a hidden (0) rectangle of half the sides."""
    n, _, height, width = x.shape
    sigma = torch.where(_chance(n, p), torch.randn(n, device=x.device).abs() * 0.1, 0.0)
    x = x + torch.randn_like(x) * sigma[:, None, None, None]
    on, hidden = _chance(n, p)[:, None, None], torch.ones((), dtype=torch.bool, device=x.device)
    for size, shape in ((height, (1, -1, 1)), (width, (1, 1, -1))):
        middle = torch.rand(n, device=x.device)[:, None]
        place = (torch.arange(size, device=x.device) + 0.5) / size
        hidden = hidden & ((place - middle).abs() < 0.25).reshape(n, *shape[1:])
    return x * (~(hidden & on))[:, None]
