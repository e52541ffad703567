"""The duality gap: what each player of a trained game could still gain if the other stood still.

DG(G, D) = max_D' V(G, D') - min_G' V(G', D), Grnarova et al. 2019, eq. 2 (https://arxiv.org/abs/1811.05512). V is the
zero-sum value that D maximizes: minus its adversarial loss, without penalties. The gap is 0 at an equilibrium and
positive elsewhere, whatever the two losses that are logged look like. Best responses are found by training, in the
trained game itself with one player moving; so the gap that is found is a lower bound of the true one.

Values of a loss without bounds (Wasserstein, hinge, least squares) depend on D's scale: compare gaps of one loss only.
Where G's output has no bounds (points, tables), G may find places far from all data that D never learned to refuse: G's
side is then huge. That is a true gap of this D; max_D V(G, D) alone tells about this G.

Cost: three trainings (D from the checkpoint's weights and from fresh ones, G from the checkpoint's) of ``steps`` rounds
each, in which one player moves: with the default of 1,000 steps, a gap costs about what 2,000 rounds of training do.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ganforge.config import run_settings
from ganforge.core.errors import InputError, RunError
from ganforge.core.game import Batch, Clock, Game
from ganforge.core.store import Folder
from ganforge.domains.domain import Domain, Part, Source
from ganforge.engine.best_response import BestResponse, ZeroSum
from ganforge.engine.options import TrainOptions
from ganforge.engine.rng import generator, reseed
from ganforge.engine.run import Run
from ganforge.engine.stream import Stream
from ganforge.engine.trainer import Trainer
from ganforge.engine.world import World
from ganforge.losses.adversarial import AdversarialLoss
from ganforge.measure.intervals import Score, around, student
from ganforge.plan import make_plan
from ganforge.samples import open_samples, size_of

STEPS = 1000
CHECKS = 8
"""So often a best response is judged while it is trained, on samples of their own; the best one counts."""

SELECT_BATCHES = 16
JUDGE_BATCHES = 128
STARTS = {"D": ("checkpoint", "fresh"), "G": ("checkpoint",)}
"""Where best responses start. A fresh G is no use: far from the data D says anything, and G would just go there."""


@dataclass(frozen=True)
class Response:
    """One player's answer: where it started, how far it was trained, and the step at which it was best.

    ``payoff`` is what the player earned at each check on the samples for choosing: (step, payoff), penalties paid.
    """

    player: str
    start: str
    steps: int
    best_step: int
    seconds: float
    payoff: tuple[tuple[int, float], ...]

    @property
    def still_gaining(self) -> bool:
        """The last check was the best by more than a tenth of all that was gained: more steps would gain more."""
        values = [value for _, value in self.payoff]
        gained = max(values) - values[0]
        return len(values) > 2 and gained > 0 and values[-1] - max(values[:-1]) > 0.1 * gained


@dataclass(frozen=True)
class DualityGap:
    """The gap and its two sides, each with a 95 % interval for the samples that it was judged on.

    ``value`` is V at the checkpoint. ``chosen`` are the best responses (D's, G's), ``tried`` all of them.
    ``equilibrium`` is V where D cannot tell anything (None: not known for this game): how far max_D V(G, D) is above it
    says how far this G is from the data (for the GAN of 2014, twice the Jensen-Shannon divergence).
    """

    gap: Score
    max_d: Score
    min_g: Score
    value: Score
    chosen: tuple[Response, Response]
    tried: tuple[Response, ...]
    batches: int
    batch: int
    equilibrium: float | None = None
    about: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"format": 1, **asdict(self)}

    def lines(self) -> list[str]:
        """For people."""
        d, g = self.chosen
        about = self.about
        out = [f"duality gap {span_of(self.gap)}"]
        if "run" in about:
            out[0] += f"  {about['run']} ({about['recipe']}), checkpoint of {about['samples']:,} samples"
        out += [
            f"  max_D V(G, D)  {span_of(self.max_d)}  D from {named(d)}",
            f"  V(G, D)        {span_of(self.value)}  at the checkpoint",
            f"  min_G V(G, D)  {span_of(self.min_g)}  G from {named(g)}",
            *([] if self.equilibrium is None else [f"  both would be  {self.equilibrium:.4g}  if G made the data"]),
            f"D could still gain {self.max_d.value - self.value.value:.3g} against this G, "  # type: ignore[operator]
            f"G {self.value.value - self.min_g.value:.3g} against this D; 0 and 0 is an equilibrium",  # type: ignore[operator]
            f"judged on {self.batches} batches of {self.batch} real and as many fresh fakes that no best response "
            f"was trained or chosen on; {about.get('data', 'real samples as given')}",
            "a lower bound: longer training may find better responses (--steps); compare gaps of one loss only",
        ]
        for who, response in (("D", d), ("G", g)):
            if response.still_gaining:
                out.append(f"{who} was still improving at its last check: with more --steps the gap will be larger")
        return out


def span_of(score: Score) -> str:
    """A score with its interval."""
    return f"{score.value:.4g} [{score.low:.4g}, {score.high:.4g}]"


def named(response: Response) -> str:
    """A response in words."""
    start = "the checkpoint's weights" if response.start == "checkpoint" else "fresh weights"
    return f"{start}, best at step {response.best_step:,} of {response.steps:,}"


def duality_gap(
    run: str | Path, steps: int | None = None, minutes: float | None = None, *, checkpoint: str | int | None = None,
    holdout: str | None = None, live: bool = False, seed: int = 0, device: str = "auto",
    tell: Callable[[str], None] | None = None,
) -> DualityGap:  # fmt: skip
    """The duality gap of a run's newest checkpoint, or of ``checkpoint`` (its number of samples). The run is only read.

    ``steps`` are rounds of each best response; ``minutes``, if given instead, are shared out to the three of them. All
    real samples come from ``holdout`` (data that the run was not trained on, of the same kind), else from what the run
    held out, else from its data: a half of them trains the responses, a quarter chooses and a quarter judges. ``live``
    takes G as it plays, not its average, which is what generates. InputError: no such run or checkpoint, a game without
    a value, too little data.
    """
    if steps is not None and minutes is not None:
        raise InputError("give --steps or --minutes, not both")
    if (steps is not None and steps < 1) or (minutes is not None and not minutes > 0):
        raise InputError("a best response needs at least 1 step, or more than 0 minutes")
    place, tell = Run.open(Path(run)), tell or (lambda text: None)
    settings = run_settings(place.path, place.facts)
    settings.train["device"] = device
    tensors, numbers = read_state(place, checkpoint, tell)
    threads = torch.get_num_threads()
    try:
        plan = make_plan(settings, tell)
        source, words = plan.source, "real samples from the run's own data, which the checkpoint's D has seen"
        if plan.held is not None:
            source, words = plan.held, "real samples that the run held out"
        if plan.source.fingerprint != place.facts["data"]["fingerprint"]:
            raise InputError(f"{settings.path} no longer holds the data that {run} was trained on: restore it")
        if holdout is not None:
            source, words = open_holdout(holdout, plan.domain, plan.source), f"real samples from {holdout}"

        def make() -> Game:
            reseed(seed, "fresh")
            return plan.recipe.build(plan.domain)

        found = gap_of(
            make, tensors["game"], Clock(int(numbers["round"]), int(numbers["samples"])), plan.domain, source,
            plan.recipe.batch, {} if live else tensors["ema"], int(numbers["shards"]), steps, minutes, seed,
            plan.options.device, tell,
        )  # fmt: skip
    finally:
        torch.set_num_threads(threads)
    about = {
        "run": str(run), "recipe": settings.recipe, "samples": int(numbers["samples"]), "seed": seed, "data": words,
        "generator": "live" if live or not tensors["ema"] else "average",
    }  # fmt: skip
    return replace(found, about=about)


def read_state(
    run: Run, checkpoint: str | int | None, tell: Callable[[str], None]
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The newest whole checkpoint, or the one of so many samples: (tensors by file, numbers)."""
    if checkpoint is None:
        found = run.read_checkpoint(tell)
        if found is None:
            raise InputError(f"{run.path} has no checkpoint yet")
        return found
    there = {int(path.name): path for path in run.checkpoints()}
    wanted = str(checkpoint).replace(",", "").replace("_", "")
    if not wanted.isdigit() or int(wanted) not in there:
        names = ", ".join(map(str, sorted(there))) or "none"
        raise InputError(f"{run.path} has no checkpoint {checkpoint}; it has: {names}")
    folder = Folder(there[int(wanted)])
    return {name: folder.tensors(name) for name in ("game", "ema")}, folder.document("state.json")


def open_holdout(spec: str, domain: Domain, trained: Source) -> Source:
    """Held-out data, which must be of the kind that the run was trained on."""
    found, source = open_samples(spec, *size_of(domain), domain)
    mine, theirs = ((d.kind, d.shape, d.classes) for d in (domain, found))
    if mine != theirs:
        raise InputError(
            f"--holdout {spec} holds {found.kind} of shape {found.shape} with {len(found.classes)} classes; the run's "
            f"data are {domain.kind} of shape {domain.shape} with {len(domain.classes)} classes, which must be the same"
        )
    if source.fingerprint == trained.fingerprint:
        raise InputError("--holdout must be other data than the run was trained on: these are the same")
    return source


def gap_of(
    make: Callable[[], Game], state: Mapping[str, Tensor], clock: Clock, domain: Domain, source: Source, batch: int,
    average: Mapping[str, Tensor] | None = None, shards: int = 1, steps: int | None = None,
    minutes: float | None = None, seed: int = 0, device: str = "auto", tell: Callable[[str], None] | None = None,
) -> DualityGap:  # fmt: skip
    """The duality gap of any zero-sum game. ``make`` gives the game with fresh weights, ``state`` is its state_dict.

    ``average`` are averaged weights by name, that stand in for those of ``state``.
    """
    table = Table(make, dict(state), dict(average or {}), clock, domain, source, batch, shards, seed, device)
    tell = tell or (lambda text: None)
    base = table.judge(table.sit("G", "checkpoint"))
    if not bool(base.isfinite().all()):
        raise RunError("the value at the checkpoint is not finite: this run has diverged")
    budget = None if minutes is None else 60 * minutes / sum(map(len, STARTS.values()))
    tried: list[Response] = []
    chosen: list[tuple[Response, Tensor]] = []
    for mover in ("D", "G"):
        found = []
        for start in STARTS[mover]:
            response, trainer = table.respond(mover, start, steps or STEPS, budget)
            tell(f"{mover} from {named(response)}, {response.seconds:.0f} s")
            tried.append(response)
            found.append((max(v for _, v in response.payoff), response, table.judge(trainer)))
        chosen.append(max(found, key=lambda f: f[0])[1:])
    (d, high), (g, low) = chosen
    how, undecided = f"Student, {len(base)} batches", value_undecided(make())
    return DualityGap(
        scored(high - low, how, "lower"), scored(high, how), scored(low, how), scored(base, how), (d, g), tuple(tried),
        len(base), batch // shards, undecided,
    )  # fmt: skip


def value_undecided(game: Game) -> float | None:
    """The most that V can be where D says the same of everything; None where the loss is not a pair of payoffs."""
    loss = getattr(game, "loss", None)
    if not isinstance(loss, AdversarialLoss):
        return None
    logits = torch.linspace(-2.0, 2.0, 81, dtype=torch.float64)
    return max(-float(loss.discriminator(at.expand(4096), at.expand(4096))) for at in logits)


def scored(values: Tensor, how: str, better: str = "") -> Score:
    """The mean of independent values, with Student's interval."""
    error = float(values.std()) / math.sqrt(len(values))
    return around(float(values.mean()), student(len(values)) * error, how, better)


@dataclass
class Table:
    """Where a trained game is played on: its state, and real samples for training, choosing and judging."""

    make: Callable[[], Game]
    state: dict[str, Tensor]
    average: dict[str, Tensor]
    clock: Clock
    domain: Domain
    source: Source
    batch: int
    shards: int
    seed: int
    device: str

    def __post_init__(self) -> None:
        n, size = len(self.source), self.batch // self.shards
        rows = torch.randperm(n, generator=generator(self.seed, "duality"))
        train, select, judge = (
            Part(self.source, r) for r in (rows[: n // 2], rows[n // 2 : -(n // 4)], rows[-(n // 4) :])
        )
        self.counts = (min(len(select) // size, SELECT_BATCHES), min(len(judge) // size, JUDGE_BATCHES))
        if self.counts[0] < 1 or self.counts[1] < 2:
            raise InputError(
                f"a duality gap in batches of {size} needs at least {8 * size} real samples, there are {n}: "
                "give more data with --holdout"
            )
        self.train, self.select, self.judged = train, select, judge

    def sit(self, mover: str, start: str) -> Trainer:
        """A trainer for ``mover``'s best response, with the checkpoint's weights (or fresh ones for the mover)."""
        game = self.make()
        if not callable(getattr(game, "value", None)) or not {"G", "D"} <= set(game.players):
            raise InputError(
                "a duality gap is of two players, G and D, with one payoff V(G, D), and this run's game has none; "
                "ganforge diagnose and ganforge evaluate judge any run"
            )
        options = TrainOptions(seed=self.seed, shards=self.shards, device=self.device, precision="fp32")
        world = World(shards=self.shards)
        played = BestResponse(game, mover, self.clock)
        trainer = Trainer(played, self.train, self.domain, options, self.batch, world)
        fresh = set() if start == "checkpoint" else owned(game, mover)
        mine = game.state_dict()
        odd = next((n for n in {**mine, **self.state} if (n in mine) != (n in self.state)), "")
        odd = odd or next((n for n in mine if mine[n].shape != self.state[n].shape), "")
        if odd:
            raise InputError(f"the checkpoint does not fit the game (at {odd}): has the recipe's code changed since?")
        game.load_state_dict({n: mine[n] if n in fresh else {**self.state, **self.average}[n] for n in mine})
        played.moves(Clock())
        return trainer

    def respond(self, mover: str, start: str, steps: int, seconds: float | None) -> tuple[Response, Trainer]:
        """Train ``mover``'s best response; the game is left with the best weights that a check found."""
        trainer = self.sit(mover, start)
        learner = trainer.updates.learners[mover]
        began, step, payoffs = time.perf_counter(), 0, [(0, self.payoff(trainer))]
        best, weights, checks = payoffs[0][1], [w.clone() for w in learner.weights], 1
        while True:
            trainer.round()
            trainer.notes, step = {}, step + 1
            spent = time.perf_counter() - began
            done = step / steps if seconds is None else spent / seconds
            if done < checks / CHECKS and done < 1:
                continue
            checks = math.floor(done * CHECKS) + 1
            payoffs.append((step, self.payoff(trainer)))
            if payoffs[-1][1] > best:
                best, weights = payoffs[-1][1], [w.clone() for w in learner.weights]
            if done >= 1:
                break
        for weight, kept in zip(learner.weights, weights, strict=True):
            weight.copy_(kept)
        best_step = next(s for s, value in payoffs if value == best)
        return Response(mover, start, step, best_step, time.perf_counter() - began, tuple(payoffs)), trainer

    def payoff(self, trainer: Trainer) -> float:
        """What the mover earns on the samples for choosing, penalties paid; minus infinity where it is not finite."""
        game = cast(BestResponse, trainer.game)
        trainer.updates.set_mover(game.mover)
        costs = self.over(trainer, self.select, self.counts[0], lambda b: torch.stack([*game.cost(b).values()]).sum())
        mean = float(costs.mean())
        return -mean if math.isfinite(mean) else -math.inf

    @torch.no_grad()
    def judge(self, trainer: Trainer) -> Tensor:
        """V on each batch for judging: float64 [batches]. The same samples and latents for every game."""
        game = cast(ZeroSum, cast(BestResponse, trainer.game).game)
        return self.over(trainer, self.judged, self.counts[1], game.value)

    def over(self, trainer: Trainer, part: Part, count: int, what: Callable[[Batch], Tensor]) -> Tensor:
        """``what`` on each of ``count`` batches of a part; forward passes leave no trace in the game."""
        stream = Stream(part, self.domain, self.batch // self.shards, self.seed, trainer.device)
        buffers = {buffer: buffer.clone() for buffer in trainer.game.buffers()}
        trainer.game.shard = cast(BestResponse, trainer.game).game.shard = 0
        values = []
        for index in range(count):
            batch = stream.take(index)
            reseed(self.seed, "duality", index)
            values.append(what(batch).detach().double())
        with torch.no_grad():
            for buffer, value in buffers.items():
                buffer.copy_(value)
        trainer.game.__dict__.pop("noted", None)
        return torch.stack(values).cpu()


def owned(game: Game, player: str) -> set[str]:
    """The names of all weights and buffers of a player's networks."""
    mine = {id(t) for net in game.players[player].networks for t in net.state_dict(keep_vars=True).values()}
    return {name for name, tensor in game.state_dict(keep_vars=True).items() if id(tensor) in mine}
