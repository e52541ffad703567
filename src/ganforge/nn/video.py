"""Networks for clips [n, frames, channels, height, width]: frames from content and a recurrent motion, and two ways to
judge a clip as a whole.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.nn.conditioning import Discriminator
from ganforge.nn.convnet import ConvDiscriminator, ConvGenerator, channels, grid, grid_padding, middle
from ganforge.nn.initialize import initialize

Judge = Literal["stacked", "factored"]
Frames = Literal["styled", "joined"]
HIDDEN = 128


class JoinedFrames(nn.Module):
    """Frames by DCGAN's generator from content and motion code, joined, as in MoCoGAN."""

    def __init__(self, shape: tuple[int, ...], content: int, motion: int, width: int) -> None:
        super().__init__()
        self.image = ConvGenerator(shape, content + motion, width)

    def forward(self, what: Tensor, codes: Tensor) -> Tensor:
        """``what`` [n, content], ``codes`` [n, frames, motion] -> [n * frames, *shape]."""
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
        """``what`` [n, content], ``codes`` [n, frames, motion] -> [n * frames, *shape]."""
        hidden, frames = self.what(what), codes.shape[1]
        x = self.where(codes.flatten(0, 1)).unflatten(1, (-1, *self.base))
        for norm, style, layer in zip(self.norms, self.styles, [*self.layers, self.last], strict=True):
            scale, shift = style(hidden).repeat_interleave(frames, 0)[:, :, None, None].chunk(2, 1)
            x = layer(F.relu(norm(x) * (1 + scale) + shift))
        return torch.tanh(middle(x, *self.size))


class ClipGenerator(nn.Module):
    """Content that stays, and motion that goes on, to frames (MoCoGAN, Tulyakov et al. 2018, sec. 3.1).

    A GRU turns fresh noise at each frame into a path of motion codes, of any length. ``frames`` says what makes a frame
    from content and code.
    """

    def __init__(
        self, shape: tuple[int, ...], latent: int, motion: int, memory: int, width: int, classes: int = 0,
        frames: Frames = "styled",
    ) -> None:  # fmt: skip
        super().__init__()
        self.classes = classes
        self.begin = nn.Linear(motion + classes, memory)
        self.walk = nn.GRU(motion + classes, memory, batch_first=True)
        self.code = nn.Linear(memory, motion)
        kind = StyledFrames if frames == "styled" else JoinedFrames
        self.image = kind(shape, latent + classes, motion, width)

    def path(self, noise: Tensor, label: Tensor | None) -> Tensor:
        """Motion codes [n, frames, motion] of ``noise`` [n, 1 + frames, motion], the first row of which begins it."""
        with torch.autocast(noise.device.type, enabled=False):
            if self.classes and label is not None:
                known = F.one_hot(label, self.classes).to(noise.dtype)
                noise = torch.cat([noise, known[:, None].expand(-1, noise.shape[1], -1)], 2)
            first = torch.tanh(self.begin(noise[:, 0]))
            return torch.tanh(self.code(self.walk(noise[:, 1:], first[None])[0]))

    def forward(self, z: Tensor, noise: Tensor, label: Tensor | None = None) -> Tensor:
        """``z`` [n, latent], ``noise`` [n, 1 + frames, motion], ``label`` int64 [n] -> clips in [-1, 1]."""
        codes = self.path(noise, label)
        known = [] if not self.classes or label is None else [F.one_hot(label, self.classes).to(z.dtype)]
        return self.image(torch.cat([z, *known], 1), codes).unflatten(0, codes.shape[:2])


class StackedDiscriminator(ConvDiscriminator):
    """A clip judged as one image, its frames stacked as channels: the first layer sees all times at once."""

    def __init__(self, shape: tuple[int, ...], width: int, conditioning: str = "none", classes: int = 0) -> None:
        frames, colors, *size = shape
        super().__init__(
            (frames * colors, *size), width, "none", conditioning, classes, minibatch_stddev=True  # type: ignore[arg-type]
        )  # fmt: skip

    def features(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """As of any discriminator, of clips [n, frames, channels, height, width]."""
        return super().features(x.flatten(1, 2), label)


class FactoredDiscriminator(Discriminator):
    """A clip judged by (2+1)-D convolutions (Tran et al. 2018): each layer halves frames in space, then in time.

    In time as long as there are 4 frames or more; what is left of frames and places is flattened for the head.
    """

    def __init__(self, shape: tuple[int, ...], width: int, conditioning: str = "none", classes: int = 0) -> None:
        frames, colors, height, breadth = shape
        super().__init__(shape, conditioning, classes, pack=1)
        doublings, base_height, base_width = grid(height, breadth)
        self.padding = grid_padding(height, breadth)
        sizes = [colors, *channels(width, doublings)]
        self.space, self.time = nn.ModuleList(), nn.ModuleList()
        for size, after in pairwise(sizes):
            self.space.append(nn.Conv2d(size, after, 4, 2, 1))
            halves = frames >= 4
            kernel, stride, around = ((4, 1), (2, 1), (1, 0)) if halves else ((1, 1), (1, 1), (0, 0))
            self.time.append(nn.Conv2d(after, after, kernel, stride, around))
            frames = frames // 2 if halves else frames
        self._add_heads(sizes[-1] * frames * base_height * base_width)
        initialize(self, "auto", "none")

    def encode(self, x: Tensor) -> Tensor:
        """Clips [n, frames, channels, height, width] -> features."""
        n = len(x)
        for index, (space, time) in enumerate(zip(self.space, self.time, strict=True)):
            y = x.flatten(0, 1)
            y = F.leaky_relu(space(F.pad(y, self.padding) if index == 0 and any(self.padding) else y), 0.2)
            height, breadth = y.shape[2:]
            y = y.reshape(n, -1, y.shape[1], height * breadth).transpose(1, 2)  # [n, channels, frames, places]
            x = F.leaky_relu(time(y), 0.2).transpose(1, 2).unflatten(3, (height, breadth))
        return x.flatten(1)


def clip_discriminator(judge: Judge, shape: tuple[int, ...], width: int, conditioning: str, classes: int) -> nn.Module:
    """The discriminator of clips called ``judge``; the stacked one is twice as wide, and still quicker."""
    if judge == "stacked":
        return StackedDiscriminator(shape, 2 * width, conditioning, classes)
    return FactoredDiscriminator(shape, width, conditioning, classes)
