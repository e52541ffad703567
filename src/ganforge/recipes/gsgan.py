"""The Gumbel-softmax GAN: text that gradients pass through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from ganforge.core.game import Game
from ganforge.core.schedule import Schedule
from ganforge.domains.domain import Domain
from ganforge.recipes.gumbel_game import GumbelGame
from ganforge.recipes.lm import Lm, Rate, in_characters, lines_of, of_level, text_domain
from ganforge.recipes.policy_game import Reaches
from ganforge.recipes.recipe import Positive


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
    lr: learning rate of G as it begins to learn by maximum likelihood; it falls to lr_play
    lr_play: learning rate of G once it plays
    lr_discriminator: learning rate of D
    reaches: pieces that D's convolutions reach over
    features: of D's convolutions of each reach
    dropout_discriminator: share of D's features that are left out at random

    For: text where gradients are wanted instead of rewards. No better than lm so far.
    Measured: characters of tinyshakespeare, 188 rounds of play: perplexity of held-out text 4.89 to 5.14, words' BLEU-4
    .097 to .086, self-BLEU-4 .089 to .080, known words 73.5 to 68.0 % (python bench/text.py --data tinyshakespeare.txt
    --level char --by char word --share 0.5 --set dropout=0.1; 127 s, one seed). COCO captions, 109 rounds:
    BLEU-4 .279 to .244, self-BLEU-4 .259 to .219 (python bench/text.py --share 0.5).
    """

    title: ClassVar[str] = "Gumbel-softmax GAN for text"
    paper: ClassVar[str] = (
        "Kusner & Hernandez-Lobato 2016, https://arxiv.org/abs/1611.04051; Jang et al. 2017, "
        "https://arxiv.org/abs/1611.01144"
    )
    phases: ClassVar[tuple[str, ...]] = ("pretrain",)
    tiny: ClassVar[Mapping[str, Any]] = {"pretrain": 8, "features": 8}
    lr: Annotated[float, Field(gt=0)] = 4e-3
    pretrain: Annotated[int, Field(ge=0)] = 80_000
    temperature: Rate = 0.5
    straight_through: bool = True
    loss: Literal["relativistic", "non-saturating", "hinge", "wasserstein", "least-squares"] = "relativistic"
    discriminator_steps: Positive = 2
    lr_play: Annotated[float, Field(gt=0)] = 1e-4
    lr_discriminator: Annotated[float, Field(gt=0)] = 5e-4
    reaches: Reaches = (2, 3, 4, 5)
    features: Positive = 64
    dropout_discriminator: Annotated[float, Field(ge=0, lt=1)] = 0.25

    @classmethod
    def defaults_for(cls, domain: Domain) -> dict[str, Any]:
        """8 times all lines for G before D plays, and a temperature that falls from 1 to 0.2 from then on."""
        return cls.defaults_given(domain, {})

    @classmethod
    def defaults_given(cls, domain: Domain, given: Mapping[str, Any]) -> dict[str, Any]:
        """The same, from where play begins with this ``pretrain``."""
        lines, level, begin = lines_of(domain), of_level(domain), given.get("pretrain")
        begin = begin if isinstance(begin, int) and begin >= 0 else 8 * lines
        falls = Schedule(1.0, 0.2, over=2 * lines, begin=begin, shape="exponential")
        found = {"pretrain": 8 * lines, "temperature": falls}
        return {**level, **found, **({"reaches": (2, 4, 6, 8)} if in_characters(domain) else {})}

    @classmethod
    def budget(cls, domain: Domain) -> int:
        """What G takes before they play, and twice all lines of play."""
        return 10 * lines_of(domain)

    def build(self, domain: Domain) -> Game:
        """The game on the text's pieces."""
        return GumbelGame(self, text_domain(domain))
