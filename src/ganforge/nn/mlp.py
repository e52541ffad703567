"""Fully connected generator and discriminator, for flat data (points, tables) or small images.

They have the methods of those of ``convnet`` and share their arguments, so that a recipe can swap them.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from ganforge.nn.conditioning import Conditioning, Discriminator, Generator
from ganforge.nn.layers import (
    NORMALIZES,
    FourierFeatures,
    MinibatchDiscrimination,
    MinibatchStddev,
    Norm,
    normalized,
    normalizer,
)
from ganforge.nn.spectral import prepare_weights

Activation = Literal["relu", "leaky_relu", "silu", "tanh"]


def _activation(name: str) -> nn.Module:
    known = {"relu": nn.ReLU(), "leaky_relu": nn.LeakyReLU(0.2), "silu": nn.SiLU(), "tanh": nn.Tanh()}
    if name not in known:
        raise ValueError(f"unknown activation '{name}': use {', '.join(known)}")
    return known[name]


class MlpGenerator(Generator):
    """Latents [batch, latent] to data [batch, *shape] through ``depth`` hidden layers of ``width`` units.

    ``output`` is ``linear`` by default, for data without bounds; images in [-1, 1] want ``tanh``.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        latent: int,
        width: int = 256,
        depth: int = 3,
        norm: Norm = "none",
        activation: Activation = "relu",
        conditioning: Conditioning = "none",
        classes: int = 0,
        output: Literal["tanh", "linear"] = "linear",
        init: str = "auto",
    ) -> None:
        super().__init__(shape, latent, conditioning, classes, output)
        bias = norm not in NORMALIZES and conditioning != "projection"
        sizes = [self.inputs] + [width] * depth
        self.hidden = nn.ModuleList(nn.Linear(a, b, bias=bias) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(self._norm(norm, width, spatial=False) for _ in range(depth))
        self.activation = _activation(activation)
        self.last = nn.Linear(sizes[-1], math.prod(shape))
        prepare_weights(self, init, norm)

    def synthesize(self, inputs: Tensor, label: Tensor | None) -> Tensor:
        x = inputs
        for layer, norm in zip(self.hidden, self.norms, strict=True):
            x = self.activation(normalized(norm, layer(x), label))
        return self.last(x).reshape(len(x), *self.shape)


class MlpDiscriminator(Discriminator):
    """Data [batch, *shape] to logits [batch / pack] through ``depth`` hidden layers of ``width`` units.

    Normalized but for the first layer. ``minibatch_stddev`` adds its feature and one more hidden layer,
    ``minibatch_discrimination`` its features to the last hidden layer. ``fourier`` > 0 gives the first layer that many
    octaves of sines and cosines of each input as well.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        width: int = 256,
        depth: int = 3,
        norm: Norm = "none",
        activation: Activation = "leaky_relu",
        conditioning: Conditioning = "none",
        classes: int = 0,
        pack: int = 1,
        minibatch_stddev: bool = False,
        minibatch_discrimination: bool = False,
        fourier: int = 0,
        init: str = "auto",
    ) -> None:
        # flat within: a label or a further sample of a pack is then simply more inputs
        super().__init__((math.prod(shape),), conditioning, classes, pack)
        self.shape = tuple(shape)
        layers: list[nn.Module] = [FourierFeatures(fourier)] if fourier else []
        features = self.inputs * (1 + 2 * fourier)
        for i in range(depth):
            layers.append(nn.Linear(features, width, bias=i == 0 or norm not in NORMALIZES))
            if i > 0:
                layers.append(normalizer(norm, width, spatial=False))
            layers.append(_activation(activation))
            features = width
        if minibatch_stddev:
            layers += [MinibatchStddev(), nn.Linear(features + 1, width), _activation(activation)]
            features = width
        if minibatch_discrimination:
            discrimination = MinibatchDiscrimination(features)
            layers.append(discrimination)
            features = discrimination.outputs
        self.layers = nn.Sequential(*layers)
        self._add_heads(features)
        prepare_weights(self, init, norm)

    def features(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        return super().features(x.flatten(1), label)

    def encode(self, x: Tensor) -> Tensor:
        return self.layers(x)
