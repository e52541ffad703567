"""StyleGAN2: a style for each layer, from a mapped latent space that is smooth and can be truncated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ganforge.core.game import Batch, Clock, Game, Move, PerShard, Terms
from ganforge.core.schedule import Scalar
from ganforge.domains.domain import Domain
from ganforge.losses.adversarial import AdversarialLoss, non_saturating
from ganforge.nn.conditioning import Discriminator
from ganforge.nn.stylegan2 import MappedGenerator, StyleDiscriminator, StyleGenerator
from ganforge.ops.noise import latents_on
from ganforge.recipes.r3gan import labelled
from ganforge.recipes.recipe import Amount, HalfLife, Positive, Share
from ganforge.recipes.two_player import TwoPlayer, TwoPlayerRecipe


@dataclass(frozen=True, kw_only=True)
class Stylegan2(TwoPlayerRecipe):
    """D minimizes E softplus(D(G(z))) + E softplus(-D(x)) + R1, G E softplus(-D(G(z))) + path lengths.

    The paper's figure 2 (c) and 7: modulation and demodulation (eqs. 1, 3), images summed over resolutions, a residual
    D; path length regularization E (|J_w^T y| - a)^2 (eq. 4), a following the lengths; R1 each 16th round, path lengths
    each 8th on half of the batch (appendix B). Pure PyTorch: no compiled operations. With augment=ada, StyleGAN2-ADA.

    mapping_layers: of the network from z to w
    mapping_lr: its learning rate, as a share of lr
    style_mixing: share of training images that two w make
    pixel_norm: whether each position's features in G are also scaled to mean square 1, as ProGAN's are
    path_length, path_length_every: weight of the path lengths, and the rounds from one penalty to the next

    For: a latent space to walk in, truncation, styles by layer; with ada, small sets.

    Measured: digits, seed 0, 200,000 samples (about 180 s of one CPU thread): every class within 6.0 % of uniform, KL
    0.0004, no near-copies, Frechet distance in the classifier's features 3.5, held-out real 1.2; without pixel_norm
    10.7, samples of a class being much alike (`python bench/quality.py images --data digits --recipe stylegan2 --seeds
    1`). Without labels runs of minutes keep to few classes.
    """

    title: ClassVar[str] = "StyleGAN2"
    paper: ClassVar[str] = (
        "Karras et al. 2020, https://arxiv.org/abs/1912.04958; ADA: Karras et al. 2020, https://arxiv.org/abs/2006.06676"
    )
    kinds: ClassVar[tuple[str, ...]] = ("image",)
    tiny: ClassVar[dict[str, Any]] = {
        "size": 4, "latent": 8, "mapping_layers": 2, "path_length": 2.0, "path_length_every": 2, "style_mixing": 0.9,
        "lazy": 3,
    }  # fmt: skip
    fixed: ClassVar[tuple[str, ...]] = (
        "network", "depth", "activation", "fourier", "latent_signs", "upsample", "norm_generator", "norm_discriminator",
        "minibatch_discrimination",
    )  # fmt: skip
    loss: ClassVar[AdversarialLoss] = non_saturating
    latent: Positive = 128
    mapping_layers: Positive = 8
    mapping_lr: Annotated[float, Field(gt=0)] = 0.01
    style_mixing: Share = 0.9
    pixel_norm: bool = False
    path_length: Amount = 2.0
    path_length_every: Positive = 8
    lr: Amount = 2.5e-3
    betas: tuple[Scalar, Scalar] = (0.0, 0.99)
    r1: Amount = 1.0
    lazy: Positive = 16
    minibatch_stddev: bool = True
    ema_samples: HalfLife = 20_000.0

    @classmethod
    def defaults_for(cls, domain: Domain) -> dict[str, Any]:
        """Width, gamma (above 32 x 32 in proportion to the pixels) and mapping depth by the size; labels are used.

        Images of up to 32 pixels: neither path lengths nor style mixing, as StyleGAN2-ADA has it for CIFAR-10, and R1
        that is felt from the start: without these, MNIST's first minutes end in one picture; and normalized features.
        Up to 16 pixels twice the learning rate.
        """
        smallest = min(domain.shape[1:])
        labels = {"conditioning": "projection" if labelled(domain) else "none"}
        if smallest > 32:
            return {"size": 32, "mapping_layers": 8, "r1": 0.1 * domain.shape[1] * domain.shape[2] / 1024, **labels}
        small = {"size": 16, "mapping_layers": 2, "r1": 1.0, "lazy": 4, "path_length": 0.0, "style_mixing": 0.0}
        small |= {"pixel_norm": True}
        return {**small, **labels, **({"lr": 5e-3} if smallest <= 16 else {})}

    @classmethod
    def budget(cls, domain: Domain) -> int:
        """200,000 images of up to 16 pixels, a million larger ones."""
        return 200_000 if min(domain.shape[1:]) <= 16 else 1_000_000

    def networks(self, domain: Domain) -> tuple[MappedGenerator, Discriminator]:
        """StyleGAN2's own, for the image's size."""
        self.check(domain)
        alike: dict[str, Any] = {"conditioning": self.conditioning, "classes": len(domain.classes)}
        G = StyleGenerator(
            domain.shape, self.latent, self.size, self.mapping_layers, self.style_mixing, mapping_lr=self.mapping_lr,
            normalize=self.pixel_norm, prior=self.prior, **alike,
        )  # fmt: skip
        return G, StyleDiscriminator(domain.shape, self.size, self.minibatch_stddev, pack=self.pack, **alike)

    def build(self, domain: Domain) -> Game:
        """The game. InputError for labels that the data lack."""
        return StyleGame(self, *self.networks(domain), domain)


class PathMean(PerShard):
    """The mean path length so far, one for each shard."""

    length: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("length", torch.zeros(1))

    def follow(self, shard: int, length: Tensor, share: float = 0.01) -> Tensor:
        """Move towards ``length`` and return the mean; a length that is not finite leaves it as it was."""
        moved = torch.lerp(self.length[shard], length.detach(), share)
        self.length[shard] = torch.where(moved.isfinite(), moved, self.length[shard])
        return self.length[shard].clone()


class StyleGame(TwoPlayer):
    """Two players, path lengths, and truncation in w."""

    recipe: Stylegan2
    G: MappedGenerator

    def __init__(self, recipe: Stylegan2, G: MappedGenerator, D: Discriminator, domain: Domain) -> None:
        super().__init__(recipe, G, D, domain)
        self.paths = PathMean()

    def moves(self, clock: Clock) -> list[Move]:
        """Those of any two players, and the path lengths."""
        recipe = self.recipe
        if recipe.path_length == 0:
            return super().moves(clock)
        paths = Move("G", partial(self.straighten, recipe.path_length), every=recipe.path_length_every, order=2)
        return [*super().moves(clock), paths]

    def straighten(self, weight: Scalar, batch: Batch) -> Terms:
        """Path lengths (eq. 4) of half of a batch: |J_w^T y| with y normal noise, the mean square over layers."""
        n, label = max(1, len(batch["data"]) // 2), self.label(batch)
        z = latents_on(self.device, n, self.recipe.latent, self.recipe.prior)
        w = self.G.styles(z, None if label is None else label[:n])
        image = self.G.paint(w)
        y = torch.randn_like(image) / math.sqrt(image.shape[2] * image.shape[3])
        (gradient,) = torch.autograd.grad((image * y).sum(), w, create_graph=True)
        lengths = (gradient.square().sum(2).mean(1) + 1e-12).sqrt()
        mean = self.paths.follow(self.shard, lengths.mean())
        self.note("G/path_length", lengths)
        return {"paths": self.now(weight) * (lengths - mean).square().mean()}

    def draw(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Batch:
        """``z`` [n, latent] and, below 1, ``truncation`` [n]: w is drawn that near to its mean (Karras 2019, B)."""
        inputs = super().draw(n, generator)
        return inputs if truncation == 1 else {**inputs, "truncation": torch.full((n,), truncation)}

    def sample(self, inputs: Batch) -> Batch:
        """``data`` [n, *shape] from ``z``, ``label`` and ``truncation``."""
        w = self.G.styles(inputs["z"], self.label(inputs))
        if "truncation" in inputs:
            w = self.G.truncate(w, inputs["truncation"])
        return {**inputs, "data": self.G.paint(w)}

    def mixed(self, inputs: Batch, others: Batch, first: int, last: int) -> Batch:
        """``sample`` of ``inputs``, but layers ``first`` to ``last`` - 1 have the styles of ``others``."""
        w, other = (self.G.styles(x["z"], self.label(x)) for x in (inputs, others))
        layer = torch.arange(w.shape[1], device=w.device)[:, None]
        return {**inputs, "data": self.G.paint(torch.where((first <= layer) & (layer < last), other, w))}
