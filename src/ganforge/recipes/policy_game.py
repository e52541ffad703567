"""The game of policy gradients on text: G writes, and D's verdict on finished lines is the reward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor

from ganforge.core.game import Batch, Clock, Game, Move, Player, Terms
from ganforge.domains.text import TextDomain
from ganforge.losses.adversarial import non_saturating
from ganforge.losses.policy import advantages, policy_gradient
from ganforge.nn.sequence import END, State, TextCnn, going_on, log_probs
from ganforge.recipes.lm import Writing, falling
from ganforge.recipes.recipe import Positive

if TYPE_CHECKING:
    from ganforge.recipes.gsgan import Gsgan
    from ganforge.recipes.seqgan import Seqgan

Reaches = Annotated[tuple[Positive, ...], Field(min_length=1)]
EMBEDDED = 32
"""D's numbers for a character, at most: there are few of them."""


class PolicyGame(Writing):
    """G writes for D's verdict, which reaches it as a reward."""

    recipe: Seqgan

    def __init__(self, recipe: Seqgan, domain: TextDomain) -> None:
        super().__init__(recipe, domain, falling(recipe.lr, recipe.lr_policy, recipe.pretrain))
        self.D = judge_of(recipe, domain)
        self.players = {**self.players, "D": Player([self.D], lr=recipe.lr_discriminator, betas=(0.9, 0.99))}
        self.turns = (recipe.pretrain, recipe.pretrain + recipe.warm_up)

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


def judge_of(recipe: Seqgan | Gsgan, domain: TextDomain) -> TextCnn:
    """D."""
    width = recipe.size if domain.level == "word" else min(recipe.size, EMBEDDED)
    return TextCnn(domain.tokens, width, recipe.reaches, recipe.features)


def note_verdicts(game: Game, real: Tensor, fake: Tensor) -> None:
    """What the diagnosis looks at: D's logits, and how often it is right."""
    real, fake = real.detach(), fake.detach()
    for name, values in (("real", real), ("fake", fake)):
        game.note(f"D/{name}", values)
    game.note("D/pair_right", (real > fake).float())
    game.note("D/real_right", (real > 0).float())
    game.note("D/fake_right", (fake < 0).float())
