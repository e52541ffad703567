"""The game of the two-player family: G and D, an adversarial loss, and the tricks that ``TwoPlayerRecipe`` names."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ganforge.core import foreach
from ganforge.core.errors import InputError
from ganforge.core.game import Batch, Clock, Game, Move, Notes, Player, Terms
from ganforge.domains.domain import Domain
from ganforge.losses.adversarial import halfway
from ganforge.losses.auxiliary import auxiliary_classification, feature_matching
from ganforge.losses.regularizers import Probe, Regularizer, by_pace, pay
from ganforge.nn.conditioning import Discriminator
from ganforge.nn.layers import MinibatchDiscrimination, MinibatchStddev
from ganforge.ops.ada import AdaptiveAugment, categories
from ganforge.ops.augment import diff_augment
from ganforge.ops.nearness import nearness
from ganforge.ops.noise import add_instance_noise, draw_latents, latents_on, random_signs
from ganforge.ops.replay import Replay

if TYPE_CHECKING:
    from ganforge.recipes.two_player import TwoPlayerRecipe

LOOK = 8
"""Each so many rounds, fakes are compared with reals for the log."""


class TwoPlayer(Game):
    """A generator G and a discriminator D. G moves first, and D's first move of the round judges the same fakes."""

    def __init__(self, recipe: TwoPlayerRecipe, G: nn.Module, D: Discriminator, domain: Domain) -> None:
        super().__init__()
        self.recipe, self.G, self.D = recipe, G, D
        self.loss = recipe.payoffs()
        self.halfway = halfway(self.loss)
        self.penalties = recipe.regularizers()
        self.conditions = ("label",) if recipe.conditioning != "none" else ()
        rates: dict[str, Any] = {"betas": recipe.betas, "optimizer": recipe.optimizer}
        lr_discriminator = recipe.lr if recipe.lr_discriminator is None else recipe.lr_discriminator
        self.players = {
            "G": Player([G], lr=recipe.lr, ema_samples=recipe.ema_samples, **rates),
            "D": Player([D], lr=lr_discriminator, **rates),
        }
        chosen = categories(recipe.augment)
        self.ada = AdaptiveAugment(chosen, recipe.ada_target, recipe.ada_samples) if chosen else None
        self.replay = Replay(recipe.replay_batches, recipe.batch, domain.shape) if recipe.replay else None
        coupled = (MinibatchStddev, MinibatchDiscrimination, nn.modules.batchnorm._BatchNorm)
        self.judges_apart = recipe.pack > 1 or any(isinstance(m, coupled) for m in D.modules())
        self.made: dict[int, Tensor] = {}

    def moves(self, clock: Clock) -> list[Move]:
        """G, then D as often as its steps say, then the lazy penalties."""
        self.clock = clock
        always, lazy = by_pace(self.penalties)
        after = self.clip if self.recipe.clip else None
        judge = Move(
            "D",
            partial(self.judge, always),
            times=self.recipe.discriminator_steps,
            order=2 if always else 1,
            after=after,
        )
        return [
            Move("G", self.generate),
            judge,
            *([Move("D", partial(self.regularize, lazy), self.recipe.lazy, order=2, after=after)] if lazy else []),
        ]

    # ---- what both moves need

    def label(self, batch: Batch) -> Tensor | None:
        """The labels, if the game is conditional."""
        return batch["label"] if self.conditions else None

    def fake(self, batch: Batch) -> Tensor:
        """As many fakes as the batch has samples, of the same classes."""
        n, recipe = len(batch["data"]), self.recipe
        z = latents_on(self.device, n, recipe.latent, recipe.prior)
        if recipe.latent_signs:
            z = torch.cat([z, random_signs(n, recipe.latent_signs, device=self.device)], 1)
        return self.G(z, self.label(batch))

    def features(self, x: Tensor, label: Tensor | None) -> Tensor:
        """D's features of what D is shown: augmented, with instance noise."""
        if self.ada is not None:
            x = self.ada(x)
        elif self.recipe.augment:
            x = diff_augment(x, self.recipe.augment)
        x = add_instance_noise(x, self.now(self.recipe.instance_noise))
        return self.D.features(x, label)

    def logit(self, h: Tensor, label: Tensor | None) -> Tensor:
        """D's logits from its features, [batch / pack]: fp32, for the losses' sake."""
        return self.D.logit(h, label).float()

    def logits(self, x: Tensor, label: Tensor | None) -> Tensor:
        """D's logits, [batch / pack]."""
        return self.logit(self.features(x, label), label)

    def value(self, batch: Batch) -> Tensor:
        """V(G, D) of the duality gap, a scalar: what D's adversarial loss alone earns on reals and fresh fakes."""
        label, fake = self.label(batch), self.fake(batch)
        return -self.loss.discriminator(self.logits(batch["data"], label), self.logits(fake, label))

    # ---- moves

    def generate(self, batch: Batch) -> Terms:
        """G's payoff; its fakes are kept for D."""
        fake = self.fake(batch)
        self.made[self.shard] = fake.detach().float()
        return self.earned(fake, batch)

    def earned(self, fake: Tensor, batch: Batch) -> Terms:
        """What G minimizes for its fakes [n, *shape]."""
        label, matching = self.label(batch), self.recipe.feature_matching
        h = self.features(fake, label)
        real_h = self.features(batch["data"], label) if self.loss.paired or matching != 0 else None
        real = self.logit(real_h, label) if real_h is not None and self.loss.paired else None
        terms = {"loss": self.loss.generator(real, self.logit(h, label))}
        if real_h is not None and matching != 0:
            terms["features"] = self.now(matching) * feature_matching(real_h.float(), h.float())
        if self.recipe.conditioning == "auxiliary":
            right = auxiliary_classification(self.D.class_logits(h).float(), batch["label"])
            terms["class"] = self.recipe.class_weight * right
        return terms

    def judge(self, penalties: Sequence[Regularizer], batch: Batch) -> Terms:
        """D's payoff, and the penalties that it always pays."""
        real, label = batch["data"], self.label(batch)
        fake = self.made.pop(self.shard, None)
        fake = self.fake(batch) if fake is None else fake
        fake_label = label
        if self.clock.round % LOOK == 0 and len(real) > 1:
            for name, value in nearness(fake, real).items():
                self.note(f"fake/{name}", value)
        if self.replay is not None:
            fake, fake_label = self.replay.swap(self.clock.round, self.shard, fake, label, self.recipe.replay)
        if penalties:
            real, fake = real.detach().requires_grad_(), fake.detach().requires_grad_()
        real_h, fake_h = self.both_features(real, fake, label, fake_label)
        real_logits, fake_logits = self.logit(real_h, label), self.logit(fake_h, fake_label)
        self.note("D/real", real_logits)
        self.note("D/fake", fake_logits)
        self.note("D/pair_right", (real_logits.detach() > fake_logits.detach()).float())
        if self.halfway is not None:
            self.note("D/real_right", (real_logits.detach() > self.halfway).float())
            self.note("D/fake_right", (fake_logits.detach() < self.halfway).float())
        terms = {"loss": self.loss.discriminator(real_logits, fake_logits)}
        if self.recipe.conditioning == "auxiliary":
            right = auxiliary_classification(self.D.class_logits(real_h).float(), batch["label"])
            terms["class"] = self.recipe.class_weight * right
        return {**terms, **self.penalize(penalties, label, real, fake, real_logits, fake_logits)}

    def both_features(self, real: Tensor, fake: Tensor, label: Any, fake_label: Any) -> tuple[Tensor, Tensor]:
        """Features of real and fake: in one pass, unless D looks at a batch as a whole."""
        if self.judges_apart:
            return self.features(real, label), self.features(fake, fake_label)
        labels = None if label is None else torch.cat([label, fake_label])
        real_h, fake_h = self.features(torch.cat([real, fake]), labels).split(len(real))
        return real_h, fake_h

    def regularize(self, penalties: Sequence[Regularizer], batch: Batch) -> Terms:
        """Lazy penalties, on their own: D judges only what they look at."""
        label, places = self.label(batch), {p.at for p in penalties}
        real = batch["data"].detach().requires_grad_()
        fake = real if places == {"real"} else self.fake(batch).detach().requires_grad_()  # R1 alone needs no fakes
        real_logits = self.logits(real, label) if "real" in places else None
        fake_logits = self.logits(fake, label) if "fake" in places else None
        return self.penalize(penalties, label, real, fake, real_logits, fake_logits)

    def penalize(
        self,
        penalties: Sequence[Regularizer],
        label: Tensor | None,
        real: Tensor,
        fake: Tensor,
        real_logits: Tensor | None,
        fake_logits: Tensor | None,
    ) -> Terms:
        """The weighted penalties, by name."""
        probe = Probe(lambda x: self.logits(x, label), real, fake, real_logits, fake_logits)
        return pay(penalties, probe, self.clock.samples)

    def clip(self) -> None:
        """Keep D's weights within [-clip, clip] (Arjovsky et al. 2017, alg. 1)."""
        foreach.clamp_within(list(self.D.parameters()), self.recipe.clip)

    @property
    def adapts(self) -> bool:
        """Only ada looks at every round."""
        return self.ada is not None

    def adapt(self, clock: Clock, notes: Notes) -> None:
        """ada's p follows how often D is right: about reals, or pairs where D only compares."""
        if self.ada is not None:
            count, right = notes["D/pair_right" if self.halfway is None else "D/real_right"]
            self.ada.follow(clock.round, self.recipe.batch, count, right)
            self.note("D/ada_p", self.ada.p.clone())

    def look(self, held: Batch) -> None:
        """How often D ranks a real sample that it was not trained on above a fake: its score where that is lower."""
        label = self.label(held)
        real = self.logits(held["data"], label)
        self.note("D/held_real", real)
        self.note("D/held_pair_right", (real > self.logits(self.fake(held), label)).float())

    # ---- sampling

    def draw(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Batch:
        """``z`` [n, latent + latent_signs]. InputError where the prior cannot be truncated so."""
        try:
            z = draw_latents(n, self.recipe.latent, self.recipe.prior, generator, truncation)
        except ValueError as error:
            raise InputError(str(error)) from None
        return {"z": torch.cat([z, random_signs(n, self.recipe.latent_signs, generator)], 1)}

    def sample(self, inputs: Batch) -> Batch:
        """``data`` [n, *shape] from ``z`` and, for a conditional game, ``label``."""
        return {**inputs, "data": self.G(inputs["z"], self.label(inputs))}
