"""The game of InfoGAN: a third player, Q, reads the codes that G was given from its samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.core.game import Batch, Clock, Move, Player, Terms
from ganforge.domains.domain import Domain
from ganforge.losses.information import categorical_information, uniform_information, view_information
from ganforge.nn.codes import CodeReader
from ganforge.nn.conditioning import Discriminator
from ganforge.ops.noise import draw_latents, latents_on, random_signs
from ganforge.ops.views import view
from ganforge.recipes.two_player_game import TwoPlayer

if TYPE_CHECKING:
    from ganforge.recipes.infogan import Infogan


class Informed(TwoPlayer):
    """G(z, codes) and D, and Q, a player of its own, who reads the codes of samples."""

    recipe: Infogan
    used_by_model = ("G", "Q")

    def __init__(self, recipe: Infogan, G: nn.Module, D: Discriminator, domain: Domain) -> None:
        super().__init__(recipe, G, D, domain)
        sizes = recipe.head, recipe.categories, recipe.continuous
        self.Q = CodeReader(domain.shape, recipe.size, *sizes)
        self.players = {
            **self.players,
            "Q": Player([self.Q], recipe.lr_reader, recipe.betas, optimizer=recipe.optimizer),
        }
        self.choices = {"category": recipe.categories, **({"code": 0} if recipe.continuous else {})}
        self.codes: dict[int, tuple[Tensor, Tensor]] = {}

    def read(self, data: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The codes of samples as the domain encodes them, real ones too, [n, *shape]: as ``CodeReader``."""
        return self.Q(data)

    def paint(self, z: Tensor, category: Tensor, code: Tensor) -> Tensor:
        """G of ``z`` [n, latent], ``category`` int64 [n] and ``code`` [n, continuous] -> [n, *shape]."""
        return self.G(torch.cat([z, F.one_hot(category, self.recipe.categories).to(z.dtype), code], 1))

    # ---- moves

    def moves(self, clock: Clock) -> list[Move]:
        """G, then Q on the same fakes, then D."""
        first, *rest = super().moves(clock)
        return [first, Move("Q", self.learn), *rest]

    def fake(self, batch: Batch) -> Tensor:
        """Fakes with fresh codes, which are kept for the information terms."""
        n, recipe = len(batch["data"]), self.recipe
        z = latents_on(self.device, n, recipe.latent, recipe.prior)
        signs = random_signs(n, recipe.latent_signs, device=self.device)
        category = torch.randint(recipe.categories, (n,), device=self.device)
        code = latents_on(self.device, n, recipe.continuous, "uniform")
        self.codes[self.shard] = category, code
        return self.paint(torch.cat([z, signs], 1), category, code)

    def told(self, logits: Tensor, mean: Tensor, log_sd: Tensor) -> Terms:
        """Minus the weighted bounds, from what Q reads in this shard's newest fakes."""
        recipe, (category, code) = self.recipe, self.codes[self.shard]
        self.note("Q/category_right", (logits.detach().argmax(1) == category).float())
        weight, other = (self.now(w) for w in (recipe.info_weight, recipe.continuous_weight))
        terms = {"category": -weight * categorical_information(logits, category)}
        if recipe.continuous:
            terms["code"] = -other * uniform_information(code, mean, log_sd)
        return terms

    def earned(self, fake: Tensor, batch: Batch) -> Terms:
        """G's payoff, with the information that its fakes carry."""
        return {**super().earned(fake, batch), **self.told(*self.Q(fake))}

    def learn(self, batch: Batch) -> Terms:
        """Q's payoff: the information in the newest fakes, and that in real samples about changed views of them.

        With views, Q learns categories from real samples alone, and G must obey. Paid for those of fakes too, Q would
        come to call by the wrong name what G makes for it by mistake, and G would never mend it.
        """
        fake, real, weight = self.made[self.shard], batch["data"], self.recipe.view_weight
        if not weight:
            return self.told(*self.Q(fake))
        read = self.Q(torch.cat([real, view(real, self.recipe.views), fake]))
        given, changed = read[0][: -len(fake)].chunk(2)
        terms = self.told(*(part[-len(fake) :] for part in read))
        return {**terms, "category": -weight * view_information(given, changed, self.recipe.balance)}

    # ---- sampling

    def draw(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Batch:
        """``z`` [n, latent + latent_signs], ``category`` int64 [n], and ``code`` [n, continuous] within -1 and 1."""
        return {
            **super().draw(n, generator, truncation),
            "category": torch.randint(self.recipe.categories, (n,), generator=generator),
            "code": draw_latents(n, self.recipe.continuous, "uniform", generator, truncation),
        }

    def sample(self, inputs: Batch) -> Batch:
        """``data`` [n, *shape] from ``z``, ``category`` and ``code``, as ``draw`` gives them or as you choose."""
        return {**inputs, "data": self.paint(inputs["z"], inputs["category"], inputs["code"])}
