"""The game of images and captions: G draws what a caption says, D judges both together, and a reader tells captions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganforge.core.game import Batch, Clock, Game, Move, Player, Terms
from ganforge.domains.captions import CaptionDomain
from ganforge.losses.matching import conditioning_kl, excess, matching_aware, mismatched, redescription, word_costs
from ganforge.losses.regularizers import Probe, in_use, pay, r1, r2
from ganforge.nn.textimage import TextDiscriminator, TextGenerator, TextReader
from ganforge.ops.augment import diff_augment
from ganforge.ops.noise import draw_latents

if TYPE_CHECKING:
    from ganforge.recipes.text2image import Text2image


class TextGame(Game):
    """G makes images from z and captions. The reader learns from reals, then G moves, and D judges the same fakes."""

    conditions = ("caption",)

    def __init__(self, recipe: Text2image, domain: CaptionDomain) -> None:
        super().__init__()
        self.recipe = recipe
        alike: dict[str, Any] = {
            "shape": domain.shape, "size": recipe.size,
            "tokens": domain.tokens, "length": domain.length, "width": recipe.words,
        }  # fmt: skip
        self.G = TextGenerator(latent=recipe.latent, **alike)
        self.D = TextDiscriminator(minibatch_stddev=recipe.minibatch_stddev, **alike)
        self.reader = TextReader(**alike)
        self.players = {
            "G": Player([self.G], lr=recipe.lr, betas=recipe.betas, ema_samples=recipe.ema_samples),
            "D": Player([self.D], lr=recipe.lr_discriminator, betas=recipe.betas_discriminator),
            "reader": Player([self.reader], lr=recipe.lr_reader, betas=recipe.betas),
        }
        self.made: dict[int, Tensor] = {}
        self.costs: dict[int, Tensor] = {}

    def moves(self, clock: Clock) -> list[Move]:
        """The reader, G, D, and now and then D's penalties."""
        self.clock = clock
        recipe = self.recipe
        lazy = [Move("D", self.penalize, every=recipe.lazy, order=2)] if in_use(r1(recipe.r1), r2(recipe.r2)) else []
        return [Move("reader", self.read), Move("G", self.generate), Move("D", self.judge), *lazy]

    def fake(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """An image for each caption of the batch, and its sentence's mean and log standard deviation."""
        z = torch.randn(len(batch["data"]), self.recipe.latent + self.recipe.words, device=self.device)
        return self.G(z, batch["caption"])

    def noisy(self, images: Tensor) -> Tensor:
        """Images as the reader sees them: through noise, so that it reads strokes, and specks do not please it."""
        return images + self.now(self.recipe.noise) * torch.randn_like(images)

    def told(self, images: Tensor, caption: Tensor, name: str) -> Tensor:
        """How badly the reader tells each word of the captions from noisy images, [n, length]; for the log, too."""
        costs = word_costs(self.reader(self.noisy(images), caption), caption)
        self.note(name, redescription(costs, caption))
        return costs

    def generate(self, batch: Batch) -> Terms:
        """G's payoff: a word costs what it costs more than in the real image. The fakes are kept for D."""
        caption = batch["caption"]
        fake, mean, log_sd = self.fake(batch)
        self.made[self.shard] = fake.detach().float()
        score = self.scorer(caption)
        with torch.no_grad():
            real = score(batch["data"])
            right = self.costs.pop(self.shard, None)
            right = word_costs(self.reader(self.noisy(batch["data"]), caption), caption) if right is None else right
        costs = excess(self.told(fake, caption, "G/told"), right)
        return {
            "loss": self.recipe.loss.generator(real, score(fake)),
            "redescription": self.now(self.recipe.redescription) * redescription(costs, caption),
            "kl": self.now(self.recipe.kl) * conditioning_kl(mean.float(), log_sd.float()),
        }

    def scorer(self, caption: Tensor) -> Callable[[Tensor], Tensor]:
        """D's logits of images with these captions."""
        _, sentence, _ = self.D.text(caption)
        return lambda images: self.D.logit(self.D.features(self.shown(images)), sentence).float()

    def shown(self, images: Tensor) -> Tensor:
        """Images as D sees them."""
        return diff_augment(images, self.recipe.augment) if self.recipe.augment else images

    def judge(self, batch: Batch) -> Terms:
        """D's payoff: texts that match against those that do not, and against fakes."""
        real, caption = batch["data"], batch["caption"]
        fake = self.made.pop(self.shard, None)
        fake = self.fake(batch)[0].detach().float() if fake is None else fake
        _, sentence, _ = self.D.text(caption)
        real_h, fake_h = self.D.features(self.shown(torch.cat([real, fake]))).chunk(2)
        right, made = (self.D.logit(h, sentence).float() for h in (real_h, fake_h))
        rows, differs = mismatched(caption)
        wrong = self.D.logit(real_h, sentence[rows]).float()
        wrong = torch.where(differs, wrong, right)  # a pair of equal texts has nothing to teach
        for name, values in (("real", right), ("fake", made), ("wrong", wrong)):
            self.note(f"D/{name}", values)
        self.note("D/pair_right", (right > made).float())
        self.note("D/match_right", (right > wrong).float())
        return {"loss": matching_aware(self.recipe.loss, right, wrong, made)}

    def read(self, batch: Batch) -> Terms:
        """The reader learns the captions of real images; what their words cost is kept for G."""
        costs = self.told(batch["data"], batch["caption"], "reader/told")
        self.costs[self.shard] = costs.detach()
        return {"loss": redescription(costs, batch["caption"])}

    def penalize(self, batch: Batch) -> Terms:
        """R1 and R2 of D, at real images and at fakes with the same captions."""
        real = batch["data"].detach().requires_grad_()
        fake = self.fake(batch)[0].detach().float().requires_grad_()
        score = self.scorer(batch["caption"])
        probe = Probe(score, real, fake, score(real), score(fake))
        return pay((r1(self.recipe.r1), r2(self.recipe.r2)), probe, self.clock.samples)

    def look(self, held: Batch) -> None:
        """How well the reader tells captions of real images that it is not trained on."""
        self.told(held["data"], held["caption"], "reader/held_told")

    def draw(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Batch:
        """``z`` [n, latent + words]; the last numbers are the conditioning augmentation's noise."""
        return {"z": draw_latents(n, self.recipe.latent + self.recipe.words, "normal", generator, truncation)}

    def sample(self, inputs: Batch) -> Batch:
        """``data`` [n, *shape] from ``z`` and ``caption``."""
        return {**inputs, "data": self.G(inputs["z"], inputs["caption"])[0]}
