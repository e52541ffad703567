"""The Gumbel-softmax GAN: text that gradients pass through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from ganforge.core.game import Batch, Clock, Game, Move, Player, Terms
from ganforge.core.schedule import Schedule, value_at
from ganforge.domains.domain import Domain
from ganforge.domains.text import TextDomain
from ganforge.losses.adversarial import ADVERSARIAL
from ganforge.nn.sequence import TextCnn
from ganforge.recipes.lm import Lm, Rate, Writing, lines_of, text_domain
from ganforge.recipes.recipe import Positive
from ganforge.recipes.seqgan import note_verdicts


@dataclass(frozen=True, kw_only=True)
class Gsgan(Lm):
    """G writes y = argmax(logits + Gumbel noise), and its gradient is that of softmax((logits + noise) / temperature).

    SeqGAN's twin: the same G, D and start by maximum likelihood, but D's gradient in place of a reward. The loss is
    relativistic and the temperature falls, as in RelGAN (Nie et al. 2019).

    pretrain: real samples by which G learns by maximum likelihood, before D is there
    temperature: of the softmax; lower is nearer to the pieces, but its gradient is noisier
    straight_through: D sees pieces, and only the gradient is soft (Jang et al. 2017, sec. 2.2)
    loss: relativistic, non-saturating, hinge ..
    discriminator_steps: moves of D for one of G
    lr: learning rate of G while it learns by maximum likelihood
    lr_play: learning rate of G once it plays
    lr_discriminator: learning rate of D
    features: of D's convolutions of each reach
    dropout_discriminator: share of D's features that are left out at random

    For: text where gradients are wanted instead of rewards. No better than lm so far.
    Measured: COCO captions, 100 rounds of play forked from seqgan's start (28,000 samples): BLEU-4 .304 to .266,
    self-BLEU-4 .290 to .246, perplexity of held-out lines 40.7 to 40.3 (ganforge train gsgan --fork RUN --data
    train.txt --samples 6400 --set pretrain=0 --set 'temperature={start: 1.0, end: 0.2, over: 6400, shape:
    exponential}'; RUN is seqgan, stopped at 28,000; one seed).
    """

    title: ClassVar[str] = "Gumbel-softmax GAN for text"
    paper: ClassVar[str] = (
        "Kusner & Hernandez-Lobato 2016, https://arxiv.org/abs/1611.04051; Jang et al. 2017, "
        "https://arxiv.org/abs/1611.01144"
    )
    tiny: ClassVar[Mapping[str, Any]] = {"pretrain": 8, "features": 8}
    lr: Annotated[float, Field(gt=0)] = 4e-3
    pretrain: Annotated[int, Field(ge=0)] = 80_000
    temperature: Rate = 0.5
    straight_through: bool = True
    loss: Literal["relativistic", "non-saturating", "hinge", "wasserstein", "least-squares"] = "relativistic"
    discriminator_steps: Positive = 2
    lr_play: Annotated[float, Field(gt=0)] = 1e-4
    lr_discriminator: Annotated[float, Field(gt=0)] = 5e-4
    features: Positive = 64
    dropout_discriminator: Annotated[float, Field(ge=0, lt=1)] = 0.25

    @classmethod
    def defaults_for(cls, domain: Domain) -> dict[str, Any]:
        """8 times all lines for G before D plays, and a temperature that falls from 1 to 0.2 from then on."""
        lines = lines_of(domain)
        falls = Schedule(1.0, 0.2, over=cls.budget(domain) - 8 * lines, begin=8 * lines, shape="exponential")
        return {"pretrain": 8 * lines, "temperature": falls}

    @classmethod
    def budget(cls, domain: Domain) -> int:
        """What G takes before they play, and 4 times all lines of play."""
        return 12 * lines_of(domain)

    def build(self, domain: Domain) -> Game:
        """The game on the text's pieces."""
        return GumbelGame(self, text_domain(domain))


class GumbelGame(Writing):
    """G writes softly, D judges."""

    recipe: Gsgan

    def __init__(self, recipe: Gsgan, domain: TextDomain) -> None:
        super().__init__(recipe, domain, Schedule(recipe.lr, recipe.lr_play, over=1, begin=recipe.pretrain - 1))
        self.loss = ADVERSARIAL[recipe.loss]
        self.D = TextCnn(domain.tokens, recipe.size, features=recipe.features)
        self.players = {**self.players, "D": Player([self.D], lr=recipe.lr_discriminator, betas=(0.9, 0.99))}
        self.clock = Clock()
        self.made: dict[int, Tensor] = {}

    def moves(self, clock: Clock) -> list[Move]:
        """G imitates until the clock says play; then G, and D."""
        self.clock = clock
        if clock.samples < self.recipe.pretrain:
            return [Move("G", self.imitate)]
        return [Move("G", self.write), Move("D", self.judge, times=self.recipe.discriminator_steps)]

    def lines(self, n: int) -> tuple[Tensor, Tensor]:
        """What D sees of ``n`` fresh lines, with a gradient [n, length, pieces], and without."""
        temperature = value_at(self.recipe.temperature, self.clock.samples)
        weights, tokens = self.G.draw_soft(n, self.length, temperature, self.recipe.straight_through)
        return weights, tokens if self.recipe.straight_through else weights.detach()

    def write(self, batch: Batch) -> Terms:
        """G's payoff; the lines are kept for D."""
        weights, self.made[self.shard] = self.lines(len(batch["data"]))
        real = self.logits(batch["data"]) if self.loss.paired else None
        return {"loss": self.loss.generator(real, self.logits(weights))}

    def judge(self, batch: Batch) -> Terms:
        """D's payoff."""
        fake = self.made.pop(self.shard, None)
        fake = self.lines(len(batch["data"]))[1] if fake is None else fake
        real_logits, fake_logits = self.logits(batch["data"]), self.logits(fake)
        note_verdicts(self, real_logits, fake_logits)
        return {"loss": self.loss.discriminator(real_logits, fake_logits)}

    def logits(self, lines: Tensor) -> Tensor:
        """D's logits [n], with dropout."""
        return self.D(lines, self.recipe.dropout_discriminator).float()
