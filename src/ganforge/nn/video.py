"""Generators of clips [n, frames, channels, height, width]: frames from a content that stays and a recurrent motion."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.nn.convnet import ConvGenerator, channels, grid, middle
from ganforge.nn.initialize import initialize

Frames = Literal["carried", "styled", "joined"]
HIDDEN = 128
FAST, NEAR = 0.15, 0.1
"""How fast motion codes move a layer, in half frames a frame, and how little they scale it."""
CALM = 0.4
"""The first weights of what moves it: slow at first, it hardly turns back, and gradients point where it should go."""
REACH, QUICK = 0.175, 8.0
"""How far from the frame's middle it turns back: first at sigmoid(8 x 0.175) = 0.8 half frames. Learned 8 times as
quickly as other weights: as long as it turns back elsewhere than real things do, D_video tells it by that."""
SEEN, FADES = 4.0, 12.0
"""A mask's first logit in the middle of the layer, and how much less it is at the middle of its sides."""
CHANGE, KEEP = 0.0, 4.0
"""The GRU's first biases towards keeping its state, spread over its units: some change quickly, as things that speed
up and slow down need, and some remember how fast a thing flies (after chrono initialization, Tallec and Ollivier 2018).
"""


DETAIL = 0.1
"""What a background shows beside its mean color is learned at a tenth of the rate. Else G was seen to draw things on
the background, and to hide and show them with a layer of the background's color."""


class JoinedFrames(nn.Module):
    """Frames by DCGAN's generator from content and motion code, joined, as in MoCoGAN."""

    def __init__(self, shape: tuple[int, ...], content: int, motion: int, width: int) -> None:
        super().__init__()
        self.image = ConvGenerator(shape, content + motion, width)

    def forward(self, what: Tensor, codes: Tensor) -> Tensor:
        """``what`` [n, content], ``codes`` [n, 1 + frames, motion], the first unused -> [n * frames, *shape]."""
        codes = codes[:, 1:]
        still = what[:, None].expand(-1, codes.shape[1], -1)
        return self.image(torch.cat([still, codes], 2).flatten(0, 1))


class StyledFrames(nn.Module):
    """Frames whose motion code makes the coarsest feature map (where), while content scales and shifts all feature maps
    (what; Perez et al. 2018): the product of the two, which a few layers on joined inputs hardly learn.
    """

    def __init__(self, shape: tuple[int, ...], content: int, motion: int, width: int) -> None:
        super().__init__()
        colors, height, breadth = shape
        self.size = (height, breadth)
        doublings, *self.base = grid(height, breadth)
        sizes = [*channels(width, doublings)[::-1], max(width // 2, 4)]
        self.what = nn.Sequential(nn.Linear(content, HIDDEN), nn.LeakyReLU(0.2))
        self.where = nn.Sequential(
            nn.Linear(motion, HIDDEN), nn.LeakyReLU(0.2), nn.Linear(HIDDEN, sizes[0] * self.base[0] * self.base[1])
        )
        self.layers = nn.ModuleList([nn.Conv2d(sizes[0], sizes[0], 3, 1, 1)])
        self.layers += [nn.ConvTranspose2d(size, after, 4, 2, 1) for size, after in pairwise(sizes)]
        self.norms = nn.ModuleList(nn.BatchNorm2d(size, affine=False) for size in [sizes[0], *sizes])
        self.styles = nn.ModuleList(nn.Linear(HIDDEN, 2 * size) for size in [sizes[0], *sizes])
        self.last = nn.Conv2d(sizes[-1], colors, 3, 1, 1)
        for part in (self.what, self.where, self.layers, self.last):
            initialize(part, "kaiming", "batch")

    def forward(self, what: Tensor, codes: Tensor) -> Tensor:
        """``what`` [n, content], ``codes`` [n, 1 + frames, motion], the first unused -> [n * frames, *shape]."""
        codes = codes[:, 1:]
        hidden, frames = self.what(what), codes.shape[1]
        x = self.where(codes.flatten(0, 1)).unflatten(1, (-1, *self.base))
        for norm, style, layer in zip(self.norms, self.styles, [*self.layers, self.last], strict=True):
            scale, shift = style(hidden).repeat_interleave(frames, 0)[:, :, None, None].chunk(2, 1)
            x = layer(F.relu(norm(x) * (1 + scale) + shift))
        return torch.tanh(middle(x, *self.size))


class CarriedFrames(nn.Module):
    """Frames of one drawing, carried about: what is drawn once cannot change into something else as it moves.

    Content makes, once a clip, a background, and a layer with a mask that is shifted and scaled along the two axes, as
    in DRAW's attention (Gregor et al. 2015, sec. 3.2, with triangles for Gaussians), and lays it over the background
    (Vondrick et al. 2016, eq. 2). The mask begins as a disc in the middle: a layer that is drawn all over shows another
    part of itself wherever it goes, and was seen to stay in fragments. A background is first of one color. All that is
    done once a frame is linear in a few channels, as it is most of the cost; tanh comes last, so that edges between
    pixels can be sharp.

    A motion code is a velocity: where the layer is, is where it began plus all velocities so far, and it turns back
    where it would leave the frame. So it goes on moving when the codes settle, as they do in clips longer than those of
    training (codes that were places themselves had it come to rest), and noise in codes does not make it jitter. The
    code does nothing else but scale: where it scaled features too, it learned to swap what is drawn.
    """

    def __init__(self, shape: tuple[int, ...], content: int, motion: int, width: int) -> None:
        super().__init__()
        self.colors, height, breadth = shape
        hidden = max(width // 2, 4)
        self.drawing = ConvGenerator((hidden, height, breadth), content, width, upsample="resize", output="linear")
        self.last = nn.Conv2d(hidden, 2 * self.colors + 1, 3, 1, 1)
        self.window = nn.Parameter(disc(height, breadth))
        self.start, self.speed, self.scale = (nn.Linear(motion, 2) for _ in range(3))
        self.reach = nn.Parameter(torch.full((2,), REACH))  # times QUICK
        for part in (self.drawing.convs[-1], self.last):
            initialize(part, "kaiming", "none")
        nn.init.zeros_(self.last.weight[1 + self.colors :])
        for part, spread in ((self.start, CALM), (self.speed, CALM), (self.scale, 1.0)):
            nn.init.normal_(part.weight, std=spread)
            nn.init.zeros_(part.bias)

    def forward(self, what: Tensor, codes: Tensor) -> Tensor:
        """``what`` [n, content], ``codes`` [n, 1 + frames, motion], the first of where it begins -> [n * frames,
        *shape]."""
        drawn = self.last(F.relu(self.drawing(what)))
        mask, layer, still = drawn.tensor_split((1, 1 + self.colors), 1)
        still = torch.lerp(still.mean((2, 3), keepdim=True), still, DETAIL)
        mask = torch.sigmoid(mask + self.window)
        with torch.autocast(codes.device.type, enabled=False):
            zoom, shift = self.places(codes.float())
            down, across = (resampling(zoom[..., i], shift[..., i], mask.shape[2 + i]) for i in range(2))
        hides, seen = carry(torch.cat([mask, mask * layer], 1), down, across).tensor_split((1,), 2)
        return torch.tanh(torch.addcmul(seen + still[:, None], hides, still[:, None], value=-1)).flatten(0, 1)

    def places(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Zoom and shift [n, frames, (down, across)]. The layer's middle cannot leave the frame."""
        begin, codes = codes[:, :1], codes[:, 1:]
        way = self.start(begin) + FAST * self.speed(codes).cumsum(1)
        return NEAR * self.scale(codes), torch.sigmoid(QUICK * self.reach) * bounce(way)


def bounce(way: Tensor) -> Tensor:
    """Where a point on a line is that went ``way`` from 0 and turned back at -1 and at 1: a triangle wave."""
    return 1 - ((way + 1) % 4 - 2).abs()


def disc(height: int, width: int) -> Tensor:
    """A mask's first logits [1, height, width]: of a soft disc in the middle, over half of the frame's sides wide."""
    down, across = (torch.linspace(-1, 1, size) for size in (height, width))
    return (SEEN - FADES * (down[:, None].square() + across.square()))[None]


def resampling(zoom: Tensor, shift: Tensor, size: int) -> Tensor:
    """Matrices [..., size, size] that resample a line of ``size`` pixels: 2^zoom times as large about its middle, and
    moved by ``shift`` times half of it. ``zoom`` and ``shift`` [...]; beyond the ends there is nothing.
    """
    at = torch.arange(size, device=zoom.device, dtype=zoom.dtype)
    center, shrink = (size - 1) / 2, torch.exp2(-zoom)[..., None]
    source = (at - center - shift[..., None] * size / 2) * shrink + center
    reach = shrink.clamp_min(1)  # a pixel that covers several averages them
    apart = (source / reach**2)[..., None] - (at / reach**2)[..., None, :]
    return F.relu(1 / reach[..., None] - apart.abs())  # (1 - |from - at| / reach) / reach, in as few steps as can be


def carry(maps: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Maps [n, c, h, w], resampled by ``down`` [n, frames, h, h] and ``across`` [n, frames, w, w]: [n, frames, c, h,
    w]. Matrix products: gradients are deterministic on every device, which those of ``grid_sample`` are not.
    """
    n, c, height, width = maps.shape
    frames = down.shape[1]
    rows = maps.transpose(1, 2).flatten(2)  # [n, h, c * w]
    x = torch.bmm(down.flatten(1, 2).to(rows.dtype), rows).view(n * frames, height * c, width)
    x = torch.bmm(x, across.flatten(0, 1).transpose(1, 2).to(x.dtype))
    return x.view(n, frames, height, c, width).transpose(2, 3)


KINDS = {"carried": CarriedFrames, "styled": StyledFrames, "joined": JoinedFrames}


class ClipGenerator(nn.Module):
    """Content that stays, and motion that goes on, to frames (MoCoGAN, Tulyakov et al. 2018, sec. 3.1).

    A GRU turns fresh noise at each frame into a path of motion codes, of any length. ``frames`` says what makes a frame
    from content and code.
    """

    def __init__(
        self, shape: tuple[int, ...], latent: int, motion: int, memory: int, width: int, classes: int = 0,
        frames: Frames = "carried",
    ) -> None:  # fmt: skip
        super().__init__()
        self.classes = classes
        self.begin = nn.Linear(motion + classes, memory)
        self.walk = nn.GRU(motion + classes, memory, batch_first=True)
        bias = self.walk.get_parameter("bias_ih_l0")
        with torch.no_grad():
            bias[memory : 2 * memory] = torch.linspace(CHANGE, KEEP, memory)  # its update gate
        self.code = nn.Linear(memory, motion)
        self.image = KINDS[frames](shape, latent + classes, motion, width)

    def path(self, noise: Tensor, label: Tensor | None) -> Tensor:
        """Motion codes [n, 1 + frames, motion] of ``noise`` [n, 1 + frames, motion]: of the state that its first row
        begins with, and of those that the others lead to."""
        with torch.autocast(noise.device.type, enabled=False):
            if self.classes and label is not None:
                known = F.one_hot(label, self.classes).to(noise.dtype)
                noise = torch.cat([noise, known[:, None].expand(-1, noise.shape[1], -1)], 2)
            first = torch.tanh(self.begin(noise[:, 0]))
            states = torch.cat([first[:, None], self.walk(noise[:, 1:], first[None])[0]], 1)
            return torch.tanh(self.code(states))

    def shown(self, z: Tensor, codes: Tensor, label: Tensor | None) -> Tensor:
        """Clips of contents ``z`` [n, latent] that move as ``codes`` [n, 1 + frames, motion] say."""
        known = [] if not self.classes or label is None else [F.one_hot(label, self.classes).to(z.dtype)]
        return self.image(torch.cat([z, *known], 1), codes).unflatten(0, (len(codes), codes.shape[1] - 1))

    def forward(self, z: Tensor, noise: Tensor, label: Tensor | None = None) -> Tensor:
        """``z`` [n, latent], ``noise`` [n, 1 + frames, motion], ``label`` int64 [n] -> clips in [-1, 1]."""
        return self.shown(z, self.path(noise, label), label)


def unsteadiness(codes: Tensor, frames: int) -> Tensor:
    """How much codes [n, steps, motion] after the first ``frames`` differ from those in their second moments: the
    squared distance of the two [motion, motion] by the square of the first, and the same for differences from step to
    step. Gradients go to the later ones only.
    """
    found = torch.zeros((), device=codes.device)
    for steps in (codes, codes[:, 1:] - codes[:, :-1]):
        first, later = (moments(part) for part in (steps[:, :frames], steps[:, frames:]))
        first = first.detach()
        found = found + (later - first).square().sum() / first.square().sum().clamp_min(1e-12)
    return found


def moments(codes: Tensor) -> Tensor:
    """The mean product of each two numbers of codes [n, steps, motion]: [motion, motion]."""
    rows = codes.flatten(0, 1)
    return rows.T @ rows / len(rows)
