"""Gated PixelCNN: masked convolutions that see only the pixels before, row by row from the top left.

Two stacks (van den Oord et al. 2016, "Conditional image generation with PixelCNN decoders", section 2.2): a vertical
one sees all rows above, a horizontal one what is to the left in the same row and, through links, the vertical one. So
there is no blind spot.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Choose = Callable[[Tensor, Tensor], Tensor]
"""Outputs for a pixel [n, outputs] and its noise [n, k] to its value [n, channels]."""


def gate(x: Tensor) -> Tensor:
    """tanh(a) sigmoid(b) of the two halves of the channels (equation 2)."""
    a, b = x.chunk(2, 1)
    return torch.tanh(a) * torch.sigmoid(b)


class GatedLayer(nn.Module):
    """One layer of both stacks. The first layer (``first``) sees no pixel of its own place, the others do.

    The vertical convolution reaches ``reach`` rows up and to both sides, the horizontal one ``reach`` columns left.
    """

    def __init__(self, before: int, width: int, reach: int, first: bool) -> None:
        super().__init__()
        self.reach, self.first = reach, first
        rows = reach if first else reach + 1
        self.down = nn.Conv2d(before, 2 * width, (rows, 2 * reach + 1))
        self.across = nn.Conv1d(before, 2 * width, rows)
        self.link = nn.Conv2d(2 * width, 2 * width, 1)
        self.out = nn.Conv1d(width, width, 1)

    def vertical(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """[n, before, height, width] -> the next layer's input, and what the horizontal stack is told."""
        r = self.reach
        if self.first:  # row i sees rows i - r to i - 1
            v = F.pad(v, (r, r, r, 0))[:, :, :-1]
        else:
            v = F.pad(v, (r, r, r, 0))
        h = self.down(v)
        return gate(h), self.link(h)

    def combine(self, seen: Tensor, told: Tensor, h: Tensor) -> Tensor:
        """The next input of the horizontal stack, from what it has seen to the left and has been told of above."""
        out = self.out(gate(seen + told))
        return out if self.first else h + out

    def horizontal(self, h: Tensor, told: Tensor) -> Tensor:
        """[n, before, height, width] -> [n, width, height, width]; rows are sequences of their own."""
        n, _, height, _ = h.shape
        rows = h.transpose(1, 2).flatten(0, 1)
        padded = F.pad(rows, (self.reach, 0))
        seen = self.across(padded[:, :, :-1] if self.first else padded)
        out = self.combine(seen, told.transpose(1, 2).flatten(0, 1), rows)
        return out.unflatten(0, (n, height)).transpose(1, 2)


class PixelCnn(nn.Module):
    """Images [n, channels, height, width] in [-1, 1] to ``outputs`` numbers for each pixel, from those before it."""

    def __init__(self, channels: int, outputs: int, width: int, depth: int, reach: int = 2) -> None:
        super().__init__()
        self.channels, self.depth = channels, depth
        inputs = channels + 1  # with a channel of ones, so that the border is known from mid-grey
        self.layers = nn.ModuleList(
            GatedLayer(inputs if i == 0 else width, width, reach, first=i == 0) for i in range(depth)
        )
        self.head = nn.Sequential(nn.SiLU(), nn.Conv1d(width, width, 1), nn.SiLU(), nn.Conv1d(width, outputs, 1))
        self.rows_seen = reach * depth

    def forward(self, x: Tensor) -> Tensor:
        """[n, channels, height, width] -> [n, outputs, height, width]."""
        v = h = torch.cat([x, torch.ones_like(x[:, :1])], 1)
        for layer in self.layers:
            v, told = layer.vertical(v)  # type: ignore[operator]
            h = layer.horizontal(h, told)  # type: ignore[operator]
        with torch.autocast(x.device.type, enabled=False):  # bf16 does not tell neighboring grey levels apart
            return self.head(h.flatten(2).to(x.dtype)).unflatten(2, x.shape[2:])

    def draw(self, noise: Tensor, choose: Choose) -> Tensor:
        """Images made pixel by pixel, a fixed function of ``noise`` [n, k, height, width].

        The vertical stack is run once a row, on the rows it can see; the horizontal one once a pixel, from what its
        layers have kept (as in Ramachandran et al. 2017): the work of about ``rows_seen`` / 2 passes over the image,
        not of one pass a pixel.
        """
        n, _, height, across = noise.shape
        x = noise.new_zeros(n, self.channels + 1, height, across)
        x[:, -1] = 1
        for i in range(height):
            # the rows that reach this one; what the crop's own edge spoils is further away
            v = x[:, :, max(0, i - self.rows_seen) : i + 1]
            told = []
            for layer in self.layers:
                v, link = layer.vertical(v)  # type: ignore[operator]
                told.append(link[:, :, -1])
            self.draw_row(x[:, :, i], noise[:, :, i], told, choose)
        return x[:, :-1]

    def draw_row(self, row: Tensor, noise: Tensor, told: list[Tensor], choose: Choose) -> None:
        """Fill ``row`` [n, channels + 1, width] from left to right."""
        n, across = row.shape[0], row.shape[2]
        past = [row.new_zeros(n, layer.across.in_channels, layer.reach) for layer in self.layers]  # type: ignore[union-attr, arg-type]
        for j in range(across):
            h = row[:, :, j : j + 1]
            for index, layer in enumerate(self.layers):
                window = past[index] if layer.first else torch.cat([past[index], h], 2)
                seen = layer.across(window)  # type: ignore[operator]
                past[index] = window[:, :, 1:] if not layer.first else past[index]
                h = layer.combine(seen, told[index][:, :, j : j + 1], h)  # type: ignore[operator]
            row[:, :-1, j] = choose(self.head(h)[:, :, 0], noise[:, :, j])
            past[0] = torch.cat([past[0], row[:, :, j : j + 1]], 2)[:, :, 1:]
