"""The game of pix2pix and restore: images from images, learned from pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ganforge.core.game import Batch, Clock, Game, Move, Player, Terms
from ganforge.domains.paired import PairedDomain
from ganforge.losses.perceptual import feature_l1
from ganforge.nn.patch import PatchDiscriminator
from ganforge.nn.resnet import Restorer
from ganforge.nn.squeezenet import trained_squeezenet
from ganforge.nn.unet import UNet
from ganforge.ops.augment import augment_together
from ganforge.ops.degrade import keep_known, with_luma

if TYPE_CHECKING:
    from ganforge.recipes.pix2pix import Pix2pix


class PairGame(Game):
    """G makes images from inputs; D judges them, beside the inputs if it sees those. G moves first, and D judges the
    same outputs."""

    needs = ("input", "truth")

    def __init__(self, recipe: Pix2pix, G: UNet | Restorer, D: PatchDiscriminator | None, domain: PairedDomain) -> None:
        super().__init__()
        self.recipe, self.G, self.D = recipe, G, D
        self.noise_channels = G.noise_channels
        self.holes = domain.degradation is not None and domain.degradation.holes
        self.colors = domain.degradation is not None and domain.degradation.keeps_luma and domain.shape[0] == 3
        self.directions = domain.directions
        self.players = {"G": Player([G], lr=recipe.lr, betas=recipe.betas, ema_samples=recipe.ema_samples)}
        if D is not None:
            lr = recipe.lr if recipe.lr_discriminator is None else recipe.lr_discriminator
            self.players["D"] = Player([D], lr=lr, betas=recipe.betas)
        self.made: dict[int, Tensor] = {}

    def moves(self, clock: Clock) -> Sequence[Move]:
        """G, then D if there is one."""
        self.clock = clock
        return [Move("G", self.generate), *([Move("D", self.judge)] if self.D is not None else [])]

    def fake(self, given: Tensor) -> Tensor:
        """Outputs [n, c, h, w] from inputs and fresh noise."""
        n, channels = len(given), self.noise_channels
        return self.make(given, torch.rand(n, channels, device=given.device) if channels else None)

    def make(self, given: Tensor, noise: Tensor | None) -> Tensor:
        """Outputs [n, c, h, w], fp32, from inputs and noise; what is known of them is kept."""
        made = self.G(given, noise).float()
        if self.colors:  # G would come near it only, and each level off costs sharpness
            return with_luma(given, made)
        return keep_known(given, made) if self.holes else made

    def seen(self, given: Tensor, *outputs: Tensor) -> list[Tensor]:
        """What D sees of inputs and of each of the outputs that they may have: all of them augmented together, so that
        maps of the truth and of what G makes can be compared."""
        beside = self.recipe.sees_input
        images = [given, *outputs] if beside else list(outputs)
        if self.recipe.augment:
            images = augment_together(images, self.recipe.augment)
        return [torch.cat([images[0], output], 1) for output in images[1:]] if beside else images

    def generate(self, batch: Batch) -> Terms:
        """G's payoff: the verdict, and the distance to the truth."""
        given, real, recipe = batch["input"], batch["data"], self.recipe
        fake = self.fake(given)
        terms = {"l1": self.now(recipe.l1) * (fake - real).abs().mean()}
        perceptual = self.now(recipe.perceptual or 0.0)
        if perceptual and recipe.feature_weights:
            network = trained_squeezenet(recipe.feature_weights, fake.device)
            terms["perceptual"] = perceptual * feature_l1(network.looks(real), network.looks(fake))
        if self.D is not None:
            self.made[self.shard] = fake.detach()
            matched = bool(perceptual) and not recipe.feature_weights
            seen, truth = self.seen(given, fake, real)
            maps = self.D.features(seen)
            real_maps = self.D.features(truth) if matched or recipe.loss.paired else maps
            verdict = recipe.loss.generator(self.D.logits(real_maps), self.D.logits(maps))
            terms["loss"] = self.now(recipe.adversarial) * verdict
            if matched:
                terms["perceptual"] = perceptual * feature_l1(real_maps, maps, relative=True)
        return terms

    def judge(self, batch: Batch) -> Terms:
        """D's payoff; halved, as in the paper, which slows D down (section 3.3)."""
        assert self.D is not None
        given, real = batch["input"], batch["data"]
        fake = self.made.pop(self.shard, None)
        fake = self.fake(given).detach() if fake is None else fake
        real_logits, fake_logits = (self.D(seen) for seen in self.seen(given, real, fake))
        for name, logits in (("real", real_logits), ("fake", fake_logits)):
            self.note(f"D/{name}", logits.mean())
            self.note(f"D/{name}_right", ((logits > 0) == (name == "real")).float().mean())
        self.note("D/pair_right", (real_logits > fake_logits).float().mean())
        return {"loss": 0.5 * self.recipe.loss.discriminator(real_logits, fake_logits)}

    def look(self, held: Batch) -> None:
        """The mean absolute error on pairs that are not trained on, on the scale from -1 to 1."""
        self.note("held/l1", (self.fake(held["input"]) - held["data"]).abs().mean())

    def draw(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Batch:
        """``noise`` [n, noise_channels], uniform; nothing for a G without noise."""
        return {"noise": torch.rand(n, self.noise_channels, generator=generator)} if self.noise_channels else {}

    def sample(self, inputs: Batch) -> Batch:
        """``data`` [n, *shape] from ``input`` and ``noise``."""
        return {**inputs, "data": self.make(inputs["input"], inputs.get("noise"))}

    def translate(self, inputs: Batch, direction: str) -> Tensor:
        """Outputs [n, c, h, w] of any size from ``input`` and ``noise``."""
        return self.sample(inputs)["data"]
