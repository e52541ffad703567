"""BigGAN's generator: a part of the latent, and a shared class embedding, at every block (Brock et al. 2019)."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.core.errors import InputError
from ganforge.nn.attention import SelfAttention, attention_level
from ganforge.nn.conditioning import Conditioning, Generator
from ganforge.nn.convnet import channels, grid, middle
from ganforge.nn.initialize import initialize
from ganforge.nn.spectral import normalize_spectrally


class SkipNorm(nn.Module):
    """Batch normalization whose scale and shift are linear in a condition (section 3): 1 + A c, and B c."""

    def __init__(self, size: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(size, affine=False)
        self.scale = nn.Linear(condition, size, bias=False)
        self.shift = nn.Linear(condition, size, bias=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """``x`` [n, size, h, w], ``condition`` [n, condition]."""
        return self.norm(x) * (1 + self.scale(condition))[:, :, None, None] + self.shift(condition)[:, :, None, None]


class SkipUp(nn.Module):
    """Normalize, ReLU, double, 3 x 3 convolution, normalize, ReLU, 3 x 3; beside a doubled 1 x 1 (figure 15 b)."""

    def __init__(self, inputs: int, outputs: int, condition: int) -> None:
        super().__init__()
        self.before, self.between = SkipNorm(inputs, condition), SkipNorm(outputs, condition)
        self.first = nn.Conv2d(inputs, outputs, 3, 1, 1)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.skip = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        y = F.interpolate(F.relu(self.before(x, condition)), scale_factor=2.0, mode="nearest")
        y = self.second(F.relu(self.between(self.first(y), condition)))
        return y + F.interpolate(self.skip(x), scale_factor=2.0, mode="nearest")


class BigGenerator(Generator):
    """Latents [n, latent] to images [n, colors, height, width] in [-1, 1].

    The latent is cut into equal parts: the first makes the coarsest grid, each of the others, joined with the class's
    embedding, sets scales and shifts of one block (appendix B.1). What the cut leaves over goes to the first part. With
    conditioning none there is no embedding, but the parts are used alike.
    """

    def __init__(
        self, shape: tuple[int, ...], latent: int, width: int, embedding: int = 32,
        conditioning: Conditioning = "none", classes: int = 0, attention: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(shape, latent, conditioning, classes, "tanh")
        doublings, *self.base = grid(shape[1], shape[2])
        sizes = channels(width, doublings + 1)[::-1]
        self.part = latent // (doublings + 1)
        if self.part < 1:
            raise InputError(f"latent {latent} is too small to be cut into {doublings + 1} parts: raise it")
        self.embedding = nn.Embedding(classes, embedding) if conditioning == "projection" else None
        condition = self.part + (embedding if self.embedding is not None else 0)
        self.level = attention_level(shape[1], shape[2])
        self.first = nn.Linear(latent - doublings * self.part, sizes[0] * self.base[0] * self.base[1])
        self.blocks = nn.ModuleList(SkipUp(a, b, condition) for a, b in pairwise(sizes))
        self.attention = SelfAttention(sizes[self.level]) if attention else nn.Identity()
        self.norm = nn.BatchNorm2d(sizes[-1])
        self.last = nn.Conv2d(sizes[-1], shape[0], 3, 1, 1)
        initialize(self, "orthogonal", "batch")
        normalize_spectrally(self)

    def synthesize(self, inputs: Tensor, label: Tensor | None) -> Tensor:
        own, *parts = inputs.split([inputs.shape[1] - len(self.blocks) * self.part] + [self.part] * len(self.blocks), 1)
        if self.embedding is not None and label is not None:
            known = self.embedding(label)
            parts = [torch.cat([part, known], 1) for part in parts]
        x = self.first(own).reshape(len(inputs), -1, *self.base)
        for level, (block, part) in enumerate(zip(self.blocks, parts, strict=True)):
            if level == self.level:
                x = self.attention(x)
            x = block(x, part)
        x = self.last(F.relu(self.norm(x)))
        return middle(x, *self.shape[1:])
