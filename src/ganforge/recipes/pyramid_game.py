"""The game of LAPGAN: a generator and a discriminator for each level of a Laplacian pyramid."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ganforge.core.game import Batch, Clock, Game, Move, Notes, Player, Terms
from ganforge.domains.domain import Domain
from ganforge.nn.mlp import MlpDiscriminator, MlpGenerator
from ganforge.nn.pyramid import DetailDiscriminator, DetailGenerator, enlarge, shrink, sides
from ganforge.ops.ada import AdaptiveAugment, categories
from ganforge.ops.augment import diff_augment
from ganforge.ops.nearness import nearness
from ganforge.ops.noise import draw_latents
from ganforge.recipes.two_player_game import LOOK

if TYPE_CHECKING:
    from ganforge.recipes.lapgan import Lapgan


class PyramidGame(Game):
    """The coarsest pair G and D, and a pair for each finer level, named by its side."""

    used_by_model = ("G", "details")

    def __init__(self, recipe: Lapgan, domain: Domain) -> None:
        super().__init__()
        colors, height, width = domain.shape
        classes = len(domain.classes) if recipe.labels else 0
        self.recipe, self.levels = recipe, sides(height, width, recipe.smallest)
        self.conditions = ("label",) if recipe.labels else ()
        flat: dict[str, Any] = {"width": 8 * recipe.size, "depth": 2, "classes": classes}
        flat["conditioning"] = "concat" if recipe.labels else "none"
        coarse = (colors, *self.levels[-1])
        self.G = MlpGenerator(coarse, recipe.latent, norm="batch", output="tanh", **flat)
        self.D = MlpDiscriminator(coarse, norm="spectral", **flat)
        finer = self.levels[:-1]
        self.details = nn.ModuleList(DetailGenerator(colors, recipe.size, classes) for _ in finer)
        self.judges = nn.ModuleList(DetailDiscriminator(colors, size, recipe.size, classes) for size in finer)
        ema: dict[str, Any] = {"ema_samples": recipe.ema_samples, "betas": recipe.betas}
        self.players = {"G": Player([self.G], lr=recipe.lr, **ema)}
        self.players["D"] = Player([self.D], lr=recipe.lr_discriminator, betas=recipe.betas)
        self.names = [*(f"D{side}" for side, _ in finer), "D"]
        chosen = categories(recipe.augment)
        adapted = (AdaptiveAugment(chosen, recipe.ada_target, recipe.ada_samples) for _ in self.levels if chosen)
        self.ada = nn.ModuleList(adapted)
        for (side, _), detail, judge in zip(finer, self.details, self.judges, strict=True):
            self.players[f"G{side}"] = Player([detail], lr=recipe.lr, **ema)
            self.players[f"D{side}"] = Player([judge], lr=recipe.lr_discriminator, betas=recipe.betas)

    def moves(self, clock: Clock) -> list[Move]:
        """Each level's pair, coarse to fine."""
        found = [Move("G", self.generate), Move("D", partial(self.judge, clock.round % LOOK == 0))]
        for level in reversed(range(len(self.details))):
            side = self.levels[level][0]
            found += [
                Move(f"G{side}", partial(self.refine, level)),
                Move(f"D{side}", partial(self.judge_detail, level)),
            ]
        return found

    def label(self, batch: Batch) -> Tensor | None:
        """The labels, if the game is conditional."""
        return batch["label"] if self.conditions else None

    def shown(self, level: int, *images: Tensor) -> tuple[Tensor, ...]:
        """Images [n, colors, height, width] that belong together, as a level's D sees them: changed alike."""
        if not self.recipe.augment:
            return images
        x = torch.cat(images, 1)
        return (self.ada[level](x) if self.ada else diff_augment(x, self.recipe.augment)).chunk(len(images), 1)

    @property
    def adapts(self) -> bool:
        """Only ada looks at every round."""
        return len(self.ada) > 0

    def adapt(self, clock: Clock, notes: Notes) -> None:
        """Each level's p follows how often its discriminator is right about real images."""
        for name, ada in zip(self.names, self.ada, strict=True):
            assert isinstance(ada, AdaptiveAugment)
            count, right = notes[f"{name}/real_right"]
            ada.follow(clock.round, self.recipe.batch, count, right)
            self.note(f"{name}/ada_p", ada.p.clone())

    # ---- the coarsest level

    def coarse(self, batch: Batch) -> Tensor:
        """As many coarsest fakes as the batch has samples."""
        z = torch.randn(len(batch["data"]), self.recipe.latent, device=self.device)
        return self.G(z, self.label(batch))

    def generate(self, batch: Batch) -> Terms:
        """G's payoff."""
        (fake,) = self.shown(-1, self.coarse(batch))
        return {"loss": self.recipe.loss.generator(None, self.D(fake, self.label(batch)).float())}

    def judge(self, look: bool, batch: Batch) -> Terms:
        """D's payoff on the coarsest images."""
        label, fake = self.label(batch), self.coarse(batch)
        real = shrink(batch["data"], self.levels[-1])
        if look and len(real) > 1:
            for name, value in nearness(fake, real).items():
                self.note(f"fake/{name}", value)
        (real,), (fake,) = self.shown(-1, real), self.shown(-1, fake)
        return self.paid(-1, self.D(real, label).float(), self.D(fake, label).float())

    # ---- details

    def asked(self, level: int, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Real details of a level, the enlarged image that they belong to, and made ones for it."""
        x = shrink(batch["data"], self.levels[level])
        low = enlarge(shrink(x, self.levels[level + 1]), x.shape[2:])
        return x - low, low, self.details[level](torch.randn_like(x[:, :1]), low, self.label(batch))

    def refine(self, level: int, batch: Batch) -> Terms:
        """The payoff of a level's generator."""
        _, low, made = self.asked(level, batch)
        made, low = self.shown(level, made, low)
        return {"loss": self.recipe.loss.generator(None, self.judges[level](made, low, self.label(batch)))}

    def judge_detail(self, level: int, batch: Batch) -> Terms:
        """The payoff of a level's discriminator."""
        real, low, made = self.asked(level, batch)
        judge, label = self.judges[level], self.label(batch)
        known, guess = (judge(*self.shown(level, detail, low), label) for detail in (real, made))
        return self.paid(level, known, guess)

    def paid(self, level: int, real: Tensor, fake: Tensor) -> Terms:
        """What a level's discriminator minimizes; its ranking is noted, and what ada goes by."""
        self.note(f"{self.names[level]}/pair_right", (real.detach() > fake.detach()).float())
        if self.ada:
            self.note(f"{self.names[level]}/real_right", (real.detach() > 0).float())
        return {"loss": self.recipe.loss.discriminator(real, fake)}

    # ---- sampling

    def draw(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Batch:
        """``z`` [n, latent + the pixels of all finer levels]."""
        size = self.recipe.latent + sum(prod(s) for s in self.levels[:-1])
        return {"z": draw_latents(n, size, "normal", generator, truncation)}

    def sample(self, inputs: Batch) -> Batch:
        """``data`` [n, *shape], from coarse to fine."""
        label, finer = self.label(inputs), self.levels[:-1]
        z, *planes = inputs["z"].split([self.recipe.latent, *(prod(s) for s in finer)], 1)
        x = self.G(z, label)
        for level in reversed(range(len(finer))):
            low = enlarge(x, finer[level])
            noise = planes[level].reshape(len(low), 1, *finer[level])
            x = low + self.details[level](noise, low, label)
        return {**inputs, "data": x.clamp(-1, 1)}
