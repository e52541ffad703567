"""SeqGAN: text by policy gradients, D's verdict on finished lines as the reward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ganforge.core.game import Batch, Clock, Game, Move, Player, Terms
from ganforge.core.schedule import Schedule
from ganforge.domains.domain import Domain
from ganforge.domains.text import TextDomain
from ganforge.losses.adversarial import non_saturating
from ganforge.losses.policy import advantages, policy_gradient
from ganforge.nn.sequence import END, State, TextCnn, going_on, log_probs
from ganforge.recipes.lm import Lm, Writing, lines_of, text_domain
from ganforge.recipes.recipe import Positive

NonNegative = Annotated[float, Field(ge=0)]


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
    lr: learning rate of G while it learns by maximum likelihood
    lr_policy: learning rate of G once it learns from D
    lr_discriminator: learning rate of D
    likelihood: weight of maximum likelihood beside D's reward (0: none, as in the paper)
    features: of D's convolutions of each reach
    dropout_discriminator: share of D's features that are left out at random

    For: text where a score of whole lines is all there is. On plain text the model that it begins with is as good.
    Measured: COCO captions, 75 rounds of play: BLEU-4 .304 to .281, self-BLEU-4 .290 to .250, perplexity of held-out
    lines 40.7 to 40.1; no better than lm at a temperature (python bench/text.py --recipes seqgan --samples 36000 --set
    pretrain=28000 warm_up=3200; one seed).
    """

    title: ClassVar[str] = "SeqGAN"
    paper: ClassVar[str] = "Yu et al. 2017, https://arxiv.org/abs/1609.05473"
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
    features: Positive = 64
    dropout_discriminator: Annotated[float, Field(ge=0, lt=1)] = 0.25

    @classmethod
    def defaults_for(cls, domain: Domain) -> dict[str, Any]:
        """8 times all lines for G and one for D before they play; lines are judged at about 12 places."""
        lines = lines_of(domain)
        return {"pretrain": 8 * lines, "warm_up": lines, "rollout_every": -(-domain.shape[0] // 12)}

    @classmethod
    def budget(cls, domain: Domain) -> int:
        """What G and D take before they play, and twice all lines of play."""
        return 11 * lines_of(domain)

    def build(self, domain: Domain) -> Game:
        """The game on the text's pieces."""
        return PolicyGame(self, text_domain(domain))


class PolicyGame(Writing):
    """G writes for D's verdict, which reaches it as a reward."""

    recipe: Seqgan

    def __init__(self, recipe: Seqgan, domain: TextDomain) -> None:
        rate = Schedule(recipe.lr, recipe.lr_policy, over=1, begin=recipe.pretrain - 1)
        super().__init__(recipe, domain, rate)
        self.D = TextCnn(domain.tokens, recipe.size, features=recipe.features)
        self.players = {**self.players, "D": Player([self.D], lr=recipe.lr_discriminator, betas=(0.9, 0.99))}

    def moves(self, clock: Clock) -> list[Move]:
        """By the clock: G imitates; D judges; both in turn."""
        if clock.samples < self.recipe.pretrain:
            return [Move("G", self.imitate)]
        if clock.samples < self.recipe.pretrain + self.recipe.warm_up:
            return [Move("D", self.judge)]
        return [Move("G", self.write), Move("D", self.judge, times=self.recipe.discriminator_steps)]

    def write(self, batch: Batch) -> Terms:
        """The policy gradient at fresh lines."""
        noise = torch.rand(len(batch["data"]), self.length, device=self.device)
        with torch.no_grad():
            states: list[State] = []
            lines = self.G.draw(noise, states=states)
            rewards = self.rewards(lines, states)
        counts = going_on(lines)
        log_prob = log_probs(self.G.written(self.G(lines)), lines)
        self.note("G/reward", rewards[:, -1])
        terms = {"policy": policy_gradient(log_prob, advantages(rewards, counts), counts)}
        if self.recipe.likelihood:
            terms["nll"] = self.recipe.likelihood * self.imitate(batch)["nll"]
        return terms

    def rewards(self, lines: Tensor, states: list[State]) -> Tensor:
        """Q of each piece of ``lines`` [n, length]: D's mean verdict on what may follow; [n, length].

        A piece between two judged prefixes is given that of the longer one.
        """
        found = self.verdict(lines)[:, None].repeat(1, self.length)
        sizes = (lines != END).sum(1)
        ways, every = self.recipe.rollouts, self.recipe.rollout_every
        for known in range(every, self.length, every):
            open_ = sizes >= known  # the prefix has not ended
            if lines.device.type == "cpu":
                rows = open_.nonzero()[:, 0]
                if not len(rows):
                    break
            else:  # finding out which would wait for the device
                rows = torch.arange(len(lines), device=lines.device)
            from_ = rows.repeat(ways)
            h, c = states[known - 1]
            noise = torch.rand(len(from_), self.length - known, device=lines.device)
            rest = self.G.draw(noise, last=lines[from_, known - 1], state=(h[:, from_], c[:, from_]))
            mean = self.verdict(torch.cat([lines[from_, :known], rest], 1)).view(ways, -1).mean(0)
            places = slice(known - every, known)
            found[rows, places] = torch.where(open_[rows, None], mean[:, None], found[rows, places])
        return found

    def verdict(self, lines: Tensor) -> Tensor:
        """How likely D takes lines for real: [n], 0 to 1."""
        return self.D(lines).float().sigmoid()

    def judge(self, batch: Batch) -> Terms:
        """D's cross-entropy on real lines and fresh ones of G."""
        with torch.no_grad():
            fake = self.G.draw(torch.rand(len(batch["data"]), self.length, device=self.device))
        real_logits, fake_logits = self.logits(batch["data"]), self.logits(fake)
        note_verdicts(self, real_logits, fake_logits)
        return {"loss": non_saturating.discriminator(real_logits, fake_logits)}

    def logits(self, lines: Tensor) -> Tensor:
        """D's logits [n], with dropout."""
        return self.D(lines, self.recipe.dropout_discriminator).float()


def note_verdicts(game: Game, real: Tensor, fake: Tensor) -> None:
    """What the diagnosis looks at: D's logits, and how often it is right."""
    real, fake = real.detach(), fake.detach()
    for name, values in (("real", real), ("fake", fake)):
        game.note(f"D/{name}", values)
    game.note("D/pair_right", (real > fake).float())
    game.note("D/real_right", (real > 0).float())
    game.note("D/fake_right", (fake < 0).float())
