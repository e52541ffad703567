"""What R3GAN's penalties cost: a step with each way to pay them against a plain non-saturating step, and the quality.

    python bench/step_cost.py                                  time alone
    python bench/step_cost.py --data digits --samples 100000   then trains with each way, and judges (bench/curve.py)

All ways play on r3gan's default networks, batch and settings for the data. They take turns; a cost is the median over
turns of the ratio to the plain step of the same turn. The ways:

- plain     non-saturating loss, no penalties: what the others are measured against
- every     R1 and R2 at each step, one backward pass for both, in float32
- bf16      the same in what the forward passes use (bfloat16 where it is quicker)
- lazy      each 4th round, as a step of its own, with 4 times the weight (r3gan's default)
- fused     each 4th round, within D's own step: no forward pass or optimizer step of their own
- part      each step, but only on a quarter of the batch
- finite    each step, by differences along a random direction, without a second derivative
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from curve import DATA, Judge, fit, setting, split
from curve import train as train_and_judge
from ganforge.api import connected
from ganforge.config import Settings
from ganforge.core.game import Batch, Clock, Game, Move, Terms
from ganforge.core.schedule import Scalar, times
from ganforge.domains.domain import Domain
from ganforge.losses.adversarial import AdversarialLoss, non_saturating
from ganforge.losses.regularizers import Regularizer
from ganforge.race import computing
from ganforge.recipes.r3gan import R3gan
from ganforge.recipes.two_player import TwoPlayer

EVERY = 4


class Bf16Game(TwoPlayer):
    """Penalties in the precision of the forward passes."""

    def moves(self, clock: Clock) -> list[Move]:
        """No move asks for float32."""
        return [replace(move, order=1) for move in super().moves(clock)]


class FusedGame(TwoPlayer):
    """Penalties each so many rounds, within D's step."""

    def moves(self, clock: Clock) -> list[Move]:
        """D pays in its own move where it is due."""
        generate, judge = super().moves(clock)[:2]
        if clock.round % EVERY:
            return [generate, judge]
        due = [replace(p, weight=times(p.weight, EVERY), every=1) for p in self.penalties]
        return [generate, replace(judge, play=partial(self.judge, due), order=2)]


class PartGame(TwoPlayer):
    """Penalties at each step, on the first quarter of the batch alone."""

    def moves(self, clock: Clock) -> list[Move]:
        """G and D."""
        generate, judge = super().moves(clock)[:2]
        return [generate, replace(judge, play=self.judge_part, order=1)]

    def judge_part(self, batch: Batch) -> Terms:
        """D's payoff on all, penalties on a part, in float32."""
        n = max(1, len(batch["data"]) // EVERY)
        fake = self.made[self.shard][:n].requires_grad_()
        terms = self.judge([], batch)
        real = batch["data"][:n].detach().requires_grad_()
        label = self.label(batch)
        label = None if label is None else label[:n]
        with torch.autocast(real.device.type, enabled=False):
            both = self.both_features(real, fake, label, label)
            logits = [self.logit(h, label) for h in both]
            return {**terms, **self.penalize(self.penalties, label, real, fake, *logits)}


@dataclass(frozen=True, kw_only=True)
class Plain(R3gan):
    """No penalties, the usual loss."""

    loss: ClassVar[AdversarialLoss] = non_saturating

    def regularizers(self) -> list[Regularizer]:
        """None."""
        return []


@dataclass(frozen=True, kw_only=True)
class Bf16(R3gan):
    """Penalties in bfloat16."""

    def build(self, domain: Domain) -> Game:
        """Its game."""
        return Bf16Game(self, *self.networks(domain), domain)


@dataclass(frozen=True, kw_only=True)
class Fused(R3gan):
    """Lazy penalties within D's step."""

    def build(self, domain: Domain) -> Game:
        """Its game."""
        return FusedGame(self, *self.networks(domain), domain)


@dataclass(frozen=True, kw_only=True)
class Part(R3gan):
    """Penalties on a part."""

    def build(self, domain: Domain) -> Game:
        """Its game."""
        return PartGame(self, *self.networks(domain), domain)


@dataclass(frozen=True, kw_only=True)
class Finite(R3gan):
    """Penalties by differences."""

    def regularizers(self) -> list[Regularizer]:
        """R1 and R2 along random directions."""
        return [finite_r1(self.r1), finite_r2(self.r2)]


def finite_r1(weight: Scalar, sigma: float = 0.01, every: int = 1) -> Regularizer:
    """R1 without a second derivative: (gamma / 2) E ((D(x + sigma v) - D(x)) / sigma)^2 at real samples, v normal.

    As sigma goes to 0 its expectation over v is R1's, since E (v . g)^2 = |g|^2 (Hutchinson 1990); it is noisier, and
    with a larger sigma it asks for smoothness at that scale: "approximated R1" of Lin et al. 2025 (arXiv 2501.08316),
    there without 1 / sigma^2. A D that adds noise or augments at random would differ by that alone: not for such.
    """
    return Regularizer("r1", lambda p: _steepness(p.discriminator, p.real, p.real_logits, sigma), weight, every, "real")


def finite_r2(weight: Scalar, sigma: float = 0.01, every: int = 1) -> Regularizer:
    """R2 without a second derivative, at generated samples: see ``finite_r1``."""
    return Regularizer("r2", lambda p: _steepness(p.discriminator, p.fake, p.fake_logits, sigma), weight, every, "fake")


def _steepness(discriminator: Callable[[Tensor], Tensor], x: Tensor, logits: Tensor | None, sigma: float) -> Tensor:
    x = x.detach()
    logits = discriminator(x) if logits is None else logits
    change = (discriminator(x + sigma * torch.randn_like(x)) - logits) / sigma
    return change.reshape(len(change), -1).sum(1).square().mean() / 2  # of the sum over patches, as R1's slope is


WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("step_cost:Plain", {}),
    "every": ("r3gan", {"lazy": 1}),
    "bf16": ("step_cost:Bf16", {"lazy": 1}),
    "lazy": ("r3gan", {"lazy": EVERY}),
    "fused": ("step_cost:Fused", {"lazy": EVERY}),
    "part": ("step_cost:Part", {"lazy": 1}),
    "finite": ("step_cost:Finite", {"lazy": 1}),
}


def seconds(ways: Sequence[str], data: str, params: dict[str, Any], options: dict[str, Any], turns: int) -> None:
    """Print the cost of a step of each way, in turn."""
    trainers = {}
    for way in ways:
        name, more = WAYS[way]
        plan = fit(Settings(name, data, {**params, **more}, {}, {**options}), 100_000)
        trainers[way] = plan.trainer(plan.build())
    took: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(turns + 1):
        for way in ways:
            started = time.perf_counter(), computing()
            for _ in range(2 * EVERY):
                trainers[way].round()
            trainers[way].notes.clear()
            if turn:  # the first is for warming up
                took[way].append((computing() - started[1]) / (2 * EVERY))
    recipe = trainers[ways[0]].game.recipe
    print(f"batch {recipe.batch}, size {recipe.size}, network {recipe.network}, {options}")
    print(f"{'way':8} {'ms a step':>10} {'against plain':>14}")
    for way in ways:
        ratio = statistics.median(a / b for a, b in zip(took[way], took["plain"], strict=True))
        print(f"{way:8} {1000 * statistics.median(took[way]):10.2f} {ratio:14.2f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits", help="digits, mnist, or labelled images of your own")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--samples", type=int, help="train on so many images with each way, and judge")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=JSON", help="a setting of the recipe")
    args = parser.parse_args()
    params, options = dict(map(setting, args.set)), {"precision": args.precision}
    data, held = args.data, None
    if data == "mnist":
        data, held = str(DATA / "mnist-train.zip"), str(DATA / "mnist-test.zip")
    ways = args.ways if "plain" in args.ways else ["plain", *args.ways]
    with tempfile.TemporaryDirectory() as scratch, connected():
        folder = Path(scratch)
        seconds(ways, data, params, options, args.turns)
        if args.samples:
            train_on, held_out = split(data, held, folder)
            judge = Judge(train_on, str(held_out), 5000)
            print(f"floor {judge.floor:.2f}; {judge.classifier}")
            for way in args.ways:
                name, more = WAYS[way]
                ends = []
                for seed in range(args.seeds):
                    settings = Settings(name, train_on, {**params, **more}, {}, {**options, "seed": seed})
                    ends.append(train_and_judge(settings, args.samples, judge, 1, folder / "some.png")[-1])
                distances = " ".join(f"{end['distance']:.2f}" for end in ends)
                deviation = max(end["deviation"] for end in ends)
                print(f"{way}: distance {distances}, classes at most {deviation:.1%} from even", flush=True)
    return 0


if __name__ == "__main__":
    sys.modules.setdefault("step_cost", sys.modules["__main__"])
    sys.exit(main())
