"""SeqGAN: text by policy gradients, D's verdict on finished lines as the reward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from ganforge.core.game import Game
from ganforge.domains.domain import Domain
from ganforge.recipes.lm import Lm, in_characters, lines_of, of_level, text_domain
from ganforge.recipes.policy_game import PolicyGame, Reaches
from ganforge.recipes.recipe import NonNegative, Positive


@dataclass(frozen=True, kw_only=True)
class Seqgan(Lm):
    """G maximizes E sum over t of Q(y_t | y_1 .. y_t-1), by policy gradients (eq. 6 to 8); D tells real lines from G's.

    Q is D's mean verdict on ``rollouts`` lines that G goes on to write after y_t (eq. 4). G first learns by maximum
    likelihood, then D from G's lines, then both in turn. Beyond the paper: rewards less the mean of other lines', and
    divided by their standard deviation.

    pretrain: real samples by which G learns by maximum likelihood, before D is there
    warm_up: real samples by which D then learns, while G rests
    rollouts: ways on from each prefix
    rollout_every: prefixes that are judged so are so many pieces apart
    discriminator_steps: moves of D for one of G
    lr: learning rate of G as it begins to learn by maximum likelihood; it falls to lr_policy
    lr_policy: learning rate of G once it learns from D
    lr_discriminator: learning rate of D
    likelihood: weight of maximum likelihood beside D's reward (0: none, as in the paper)
    reaches: pieces that D's convolutions reach over
    features: of D's convolutions of each reach
    dropout_discriminator: share of D's features that are left out at random

    For: text where a score of whole lines is all there is. On plain text the model that it begins with is as good.
    Measured: characters of tinyshakespeare, 94 rounds of play: perplexity of held-out text 4.87 to 5.15, words' BLEU-4
    .093 to .097, self-BLEU-4 .083 to .094, known words 73.2 to 72.4 % (python bench/text.py --data tinyshakespeare.txt
    --level char --by char word --share 0.5 --set dropout=0.1; 149 s, one seed). COCO captions, 54 rounds: BLEU-4
    .275 to .249, self-BLEU-4 .260 to .225 (python bench/text.py --share 0.5). Neither is better than lm at a
    temperature.
    """

    title: ClassVar[str] = "SeqGAN"
    paper: ClassVar[str] = "Yu et al. 2017, https://arxiv.org/abs/1609.05473"
    phases: ClassVar[tuple[str, ...]] = ("pretrain", "warm_up")
    tiny: ClassVar[Mapping[str, Any]] = {"pretrain": 8, "warm_up": 8, "rollouts": 2, "rollout_every": 3, "features": 8}
    lr: Annotated[float, Field(gt=0)] = 4e-3
    pretrain: Annotated[int, Field(ge=0)] = 80_000
    warm_up: Annotated[int, Field(ge=0)] = 10_000
    rollouts: Positive = 4
    rollout_every: Positive = 1
    discriminator_steps: Positive = 2
    lr_policy: Annotated[float, Field(gt=0)] = 2e-4
    lr_discriminator: Annotated[float, Field(gt=0)] = 5e-4
    likelihood: NonNegative = 0.0
    reaches: Reaches = (2, 3, 4, 5)
    features: Positive = 64
    dropout_discriminator: Annotated[float, Field(ge=0, lt=1)] = 0.25

    @classmethod
    def defaults_for(cls, domain: Domain) -> dict[str, Any]:
        """8 times all lines for G and one for D before they play; lines are judged at about 12 places."""
        lines, level = lines_of(domain), of_level(domain)
        found = {"pretrain": 8 * lines, "warm_up": lines, "rollout_every": -(-domain.shape[0] // 12)}
        return {**level, **found, **({"reaches": (2, 4, 6, 8)} if in_characters(domain) else {})}

    @classmethod
    def budget(cls, domain: Domain) -> int:
        """What G and D take before they play, and all lines once of play."""
        return 10 * lines_of(domain)

    def build(self, domain: Domain) -> Game:
        """The game on the text's pieces."""
        return PolicyGame(self, text_domain(domain))
