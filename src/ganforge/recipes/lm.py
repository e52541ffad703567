"""A language model by maximum likelihood: what every GAN for text is to be compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from ganforge.core.game import Batch, Clock, Game, Move, Player, Terms
from ganforge.core.schedule import Scalar, Schedule
from ganforge.domains.domain import Domain
from ganforge.domains.text import UNKNOWN, TextDomain
from ganforge.nn.sequence import Writer, going_on, log_probs
from ganforge.recipes.recipe import HalfLife, Positive, Recipe, of_kind

Rate = Annotated[float, Field(gt=0)] | Schedule
MANY = 500_000
"""Characters that are much text."""


@dataclass(frozen=True, kw_only=True)
class Lm(Recipe):
    """G maximizes log p(x) = sum over pieces of log p(x_i | pieces before i): an LSTM, trained on real lines.

    Generating takes a temperature: --truncation 0.7 draws by p^(1 / 0.7), for better lines and fewer different ones.

    lr: learning rate
    betas: Adam's
    dropout: share of G's inputs and outputs that are left out at random while it reads real lines
    ema_samples: half-life, in real samples, of G's average, which is what generates (null: no average)

    For: text, and exact probabilities of text. GANs for text seldom come up to it, at any temperature.
    Measured: COCO captions, 35,000 samples: perplexity 40.9 of held-out lines; BLEU-4 .298 beside self-BLEU-4 .283,
    real lines .372 and .354 (python bench/text.py --recipes lm --samples 35000 --set 'lr={start: 0.006, end: 0.0001,
    over: 35000, shape: cosine}'; 25 s of CPU, one seed). Characters of tinyshakespeare, half the budget: perplexity
    4.68, 76 % of words known (real text: 96), 90 % at --truncation 0.7 (python bench/text.py --data tinyshakespeare.txt
    --level char --by char word --share 0.5 --set dropout=0.1; 75 s of CPU, one seed); without dropout: 4.57.
    """

    title: ClassVar[str] = "Language model by maximum likelihood"
    paper: ClassVar[str] = "Mikolov et al. 2010; Press & Wolf 2017, https://arxiv.org/abs/1608.05859"
    example: ClassVar[str] = "sentences"
    kinds: ClassVar[tuple[str, ...]] = ("text",)
    abilities: ClassVar[tuple[str, ...]] = ("log_prob",)
    size: Positive = 128
    lr: Rate = 2e-3
    betas: tuple[Scalar, Scalar] = (0.9, 0.99)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    ema_samples: HalfLife = None

    @classmethod
    def defaults_for(cls, domain: Domain) -> dict[str, Any]:
        """A learning rate that falls over the whole budget; for characters what ``of_level`` says."""
        return {**of_level(domain), "lr": Schedule(4e-3, 4e-5, cls.budget(domain), shape="cosine")}

    @classmethod
    def budget(cls, domain: Domain) -> int:
        """12 times all lines, 60,000 at least."""
        return 12 * lines_of(domain, 5000)

    def build(self, domain: Domain) -> Game:
        """The game on the text's pieces."""
        return Writing(self, text_domain(domain))


def lines_of(domain: Domain, least: int = 4000) -> int:
    """How many lines of training text there are, ``least`` at least; of what is no text, ``least``."""
    return max(domain.lines, least) if isinstance(domain, TextDomain) else least


def in_characters(domain: Domain) -> bool:
    """Whether it is text that is written by characters."""
    return isinstance(domain, TextDomain) and domain.level == "char"


def of_level(domain: Domain) -> dict[str, Any]:
    """For much text in characters a larger G, which then leaves out nothing; little text it would learn by heart."""
    much = in_characters(domain) and lines_of(domain, 0) * domain.shape[0] >= MANY
    return {"size": 256, "dropout": 0.0} if much else {}


def falling(lr: float, then: float, pretrain: int) -> Schedule:
    """G's learning rate: from ``lr`` down to ``then`` while it imitates ``pretrain`` real samples; then of play."""
    return Schedule(lr, then, over=max(pretrain, 1), begin=min(pretrain - 1, 0), shape="cosine")


def text_domain(domain: Domain) -> TextDomain:
    """InputError for what is no text."""
    return of_kind(domain, TextDomain, "this recipe writes text")


class Writing(Game):
    """G writes, and learns from real lines: the game of the model by maximum likelihood, and the start of the GANs'."""

    likelihood = "exact"

    def __init__(self, recipe: Lm, domain: TextDomain, lr: Scalar | None = None) -> None:
        super().__init__()
        self.recipe, self.length = recipe, domain.shape[0]
        self.G = Writer(domain.tokens, recipe.size, unwritten=(UNKNOWN,))
        rate = recipe.lr if lr is None else lr
        self.players: Mapping[str, Player] = {
            "G": Player([self.G], lr=rate, betas=recipe.betas, ema_samples=recipe.ema_samples)
        }

    def moves(self, clock: Clock) -> list[Move]:
        """G imitates."""
        return [Move("G", self.imitate)]

    def imitate(self, batch: Batch) -> Terms:
        """The cross-entropy of real pieces, in nats a piece."""
        lines, dropout = batch["data"], self.recipe.dropout
        counts = going_on(lines)
        if lines.device.type == "cpu":  # half the work; elsewhere, to find out how many places count costs a wait
            return {"nll": F.cross_entropy(self.G(lines, dropout, counts).float(), lines[counts])}
        return {"nll": -log_probs(self.G(lines, dropout), lines).sum() / counts.sum()}

    def log_prob(self, batch: Batch) -> Tensor:
        """log P of each line [n], exact, its end included; a rare word counts as the unknown one."""
        return log_probs(self.G(batch["data"]), batch["data"]).sum(1)

    def draw(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Batch:
        """``noise`` uniform in [0, 1) [n, length], and the ``temperature`` [n], which is the truncation."""
        noise = torch.rand(n, self.length, generator=generator)
        return {"noise": noise, "temperature": torch.full((n,), truncation)}

    def sample(self, inputs: Batch) -> Batch:
        """``data`` [n, length], written piece by piece; never an unknown word."""
        return {**inputs, "data": self.G.draw(inputs["noise"], inputs["temperature"])}
