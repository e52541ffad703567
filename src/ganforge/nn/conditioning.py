"""What all generators and all discriminators have in common: how they take labels, and how they answer.

``none``: labels are ignored. ``concat``: one-hot labels join the input (cGAN, Mirza & Osindero 2014).
``projection``: the generator's normalizers and an inner product in the discriminator depend on the class
(Miyato & Koyama 2018). ``auxiliary``: the generator as with ``concat``; the discriminator also predicts the class
(AC-GAN, Odena et al. 2017).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.core.errors import InputError
from ganforge.nn.layers import ConditionalNorm, normalizer

Conditioning = Literal["none", "concat", "projection", "auxiliary"]


def _check(conditioning: str, classes: int) -> None:
    if conditioning not in ("none", "concat", "projection", "auxiliary"):
        raise ValueError(f"unknown conditioning '{conditioning}': use none, concat, projection or auxiliary")
    if conditioning != "none" and classes < 1:
        raise InputError(f"conditioning '{conditioning}' needs labelled data: add labels, or use conditioning: none")


def _one_hot(label: Tensor, classes: int, like: Tensor) -> Tensor:
    return F.one_hot(label, classes).to(like.dtype)


def _needed(label: Tensor | None, conditioning: str) -> Tensor:
    if label is None:
        raise ValueError(f"a network with conditioning '{conditioning}' needs a label for each sample")
    return label


class Generator(nn.Module):
    """From latents (and labels) to data: ``forward(z, label=None)``, [batch, latent] -> [batch, *shape].

    A subclass gives ``synthesize`` and builds its normalizers with ``_norm``.
    """

    def __init__(self, shape: tuple[int, ...], latent: int, conditioning: str, classes: int, output: str) -> None:
        super().__init__()
        _check(conditioning, classes)
        if output not in ("tanh", "linear"):
            raise ValueError(f"unknown output '{output}': use tanh (data in [-1, 1]) or linear")
        self.shape, self.latent = tuple(shape), latent
        self.conditioning, self.classes, self.output = conditioning, classes, output
        self.inputs = latent + (classes if conditioning in ("concat", "auxiliary") else 0)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """``z`` [batch, latent], ``label`` int64 [batch] -> [batch, *shape]."""
        if self.conditioning != "none":
            known = _needed(label, self.conditioning)
            if self.conditioning in ("concat", "auxiliary"):
                z = torch.cat([z, _one_hot(known, self.classes, z)], 1)
        x = self.synthesize(z, label)
        return torch.tanh(x) if self.output == "tanh" else x

    def synthesize(self, inputs: Tensor, label: Tensor | None) -> Tensor:
        """``inputs`` [batch, self.inputs], latents and perhaps one-hot labels -> [batch, *shape]."""
        raise NotImplementedError(f"{type(self).__name__} synthesizes nothing")

    def _norm(self, norm: str, channels: int, spatial: bool) -> nn.Module:
        if self.conditioning == "projection":
            return ConditionalNorm(norm, channels, self.classes, spatial)
        return normalizer(norm, channels, spatial)


class Discriminator(nn.Module):
    """From data (and labels) to logits: ``forward(x, label=None)``, [batch, *shape] -> [batch / pack].

    ``forward(x, y)`` is ``logit(features(x, y), y)``; whoever needs more (class logits, feature matching)
    calls the parts, so that one pass gives all. With ``pack`` > 1 the discriminator judges that many
    consecutive samples of the batch at once (PacGAN, Lin et al. 2018, section 2.3). A subclass gives
    ``encode`` and calls ``_add_heads``.
    """

    def __init__(self, shape: tuple[int, ...], conditioning: str, classes: int, pack: int) -> None:
        super().__init__()
        _check(conditioning, classes)
        if pack < 1:
            raise InputError(f"pack must be at least 1, not {pack}")
        self.shape, self.conditioning, self.classes, self.pack = tuple(shape), conditioning, classes, pack
        joined = classes if conditioning == "concat" else 0
        self.inputs = pack * (self.shape[0] + joined)

    def _add_heads(self, features: int) -> None:
        self.to_logit = nn.Linear(features, 1)
        if self.conditioning == "projection":
            self.class_vectors = nn.Embedding(self.classes, features)
        if self.conditioning == "auxiliary":
            self.to_classes = nn.Linear(features, self.pack * self.classes)

    def features(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """``x`` [batch, *shape], ``label`` int64 [batch] -> [batch / pack, features].

        Only ``concat`` looks at the labels here. Raises InputError when ``pack`` does not divide the batch.
        """
        if self.conditioning == "concat":
            joined = _one_hot(_needed(label, self.conditioning), self.classes, x)
            joined = joined.reshape(*joined.shape, *[1] * (x.dim() - 2)).expand(-1, -1, *x.shape[2:])
            x = torch.cat([x, joined], 1)
        if self.pack > 1:
            if x.shape[0] % self.pack:
                raise InputError(
                    f"pack {self.pack} does not divide the {x.shape[0]} samples that the discriminator sees at "
                    "once: choose a batch that is a multiple of it"
                )
            x = x.reshape(x.shape[0] // self.pack, self.pack * x.shape[1], *x.shape[2:])
        return self.encode(x)

    def encode(self, x: Tensor) -> Tensor:
        """``x`` packed and joined, [batch / pack, self.inputs, ...] -> [batch / pack, features]."""
        raise NotImplementedError(f"{type(self).__name__} encodes nothing")

    def logit(self, h: Tensor, label: Tensor | None = None) -> Tensor:
        """Features ``h`` [batch / pack, features] -> [batch / pack].

        With projection, <v(y), h> is added (Miyato & Koyama 2018, eq. 3), for each label y of a pack.
        """
        logit = self.to_logit(h).squeeze(1)
        if self.conditioning == "projection":
            vectors = self.class_vectors(_needed(label, self.conditioning))
            if self.pack > 1:
                vectors = vectors.reshape(h.shape[0], self.pack, -1).sum(1)
            logit = logit + (vectors * h).sum(1)
        return logit

    def class_logits(self, h: Tensor) -> Tensor:
        """Features [batch / pack, features] -> class logits of each sample, [batch, classes].

        Raises ValueError without ``auxiliary`` conditioning.
        """
        if self.conditioning != "auxiliary":
            raise ValueError(f"a discriminator with conditioning '{self.conditioning}' does not classify")
        return self.to_classes(h).reshape(-1, self.classes)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """``x`` [batch, *shape], ``label`` int64 [batch] -> logits [batch / pack]."""
        return self.logit(self.features(x, label), label)
