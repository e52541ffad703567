"""The verbs, in Python: train, resume, load."""

from __future__ import annotations

import math
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import torch
from rich.console import Console

from ganforge import __version__
from ganforge.config import Settings, apply_overrides, plain, read_settings, refuse_changes, write_settings
from ganforge.core.device import fast_bf16, pick_device
from ganforge.core.errors import GanforgeError, InputError
from ganforge.core.game import Game
from ganforge.core.store import write_bytes
from ganforge.core.watch import Watcher
from ganforge.domains import open_data
from ganforge.domains.domain import Domain, Source
from ganforge.engine.options import TrainOptions
from ganforge.engine.rng import reseed
from ganforge.engine.run import Run, next_run
from ganforge.engine.snapshots import Snapshots
from ganforge.engine.trainer import Trainer, peak_memory
from ganforge.engine.world import World, join_world, leave_world
from ganforge.model import Model, load
from ganforge.progress import ProgressDisplay, span
from ganforge.recipes.recipe import Recipe, recipe_name
from ganforge.report import write_report

WARM_UP_SECONDS = 2.0


@dataclass(frozen=True)
class Outcome:
    """How training ended: "budget", "interrupted", or the reason a watcher gave."""

    model: Model
    path: Path
    why: str


@dataclass
class Plan:
    """All that a run is made from."""

    settings: Settings
    recipe: Recipe
    domain: Domain
    source: Source
    data_options: Any
    options: TrainOptions
    world: World

    def build(self) -> Game:
        """The game with its initial weights, a function of the seed."""
        reseed(self.options.seed, "weights")
        return self.recipe.build(self.domain)

    def trainer(self, game: Game, run: Run | None = None, watchers: Sequence[Watcher] = ()) -> Trainer:
        """A trainer for ``game``."""
        facts = {"recipe": recipe_name(type(self.recipe)), "params": plain(self.recipe), "ganforge": __version__}
        card = model_card(self) if run else ""
        return Trainer(
            game, self.source, self.domain, self.options, self.recipe.batch, self.world, run, watchers, facts, card
        )

    def yaml(self) -> str:
        """The resolved settings."""
        name = recipe_name(type(self.recipe))
        return write_settings(name, self.settings.path, self.recipe, self.data_options, self.options)


@dataclass(frozen=True)
class Estimate:
    """What a run will take: rounds, seconds (None where only time ends it), samples a second, bytes of memory."""

    rounds: int
    seconds: float
    samples_per_second: float
    memory_bytes: int
    parameters: Mapping[str, int]

    def line(self) -> str:
        """One line for people."""
        millions = ", ".join(f"{name} {count / 1e6:.2f} M" for name, count in self.parameters.items())
        return (
            f"estimate: {self.rounds:,} rounds, {span(self.seconds)} at {self.samples_per_second:,.0f} samples/s, "
            f"{self.memory_bytes / 2**30:.2f} GiB of memory; parameters: {millions}"
        )


def make_plan(settings: Settings, tell: Callable[[str], None]) -> Plan:
    """Read the data and resolve all settings. InputError for whatever is wrong with them."""
    settings.recipe_class()
    if not settings.path:
        raise InputError("no data given: --data FOLDER, a file, or a built-in set such as digits")
    options = settings.train_options()
    device = "cpu" if options.device == "auto" and not torch.cuda.is_available() else options.device
    data_options = settings.data_options()
    domain, source = open_data(settings.path, data_options)
    for message in getattr(source, "messages", ()):
        tell(message)
    recipe = settings.build_recipe(domain)
    if options.samples is options.minutes is options.rounds is None:
        options = replace(options, samples=recipe.budget(domain))
    if options.precision == "auto":
        quicker = len(domain.shape) == 3 and fast_bf16(pick_device(device))
        options = replace(options, precision="bf16" if quicker else "fp32")
    world = join_world("cuda" if device in ("auto", "cuda") else device, options.shards)
    return Plan(settings, recipe, domain, source, data_options, replace(options, shards=world.shards), world)


def estimate(plan: Plan) -> Estimate:
    """Measure a few rounds of a throwaway game: the run's time and memory, before anything is written."""
    trainer = plan.trainer(plan.build())
    trainer.round()
    started, rounds = time.perf_counter(), 0
    while rounds < 3 or (time.perf_counter() - started < WARM_UP_SECONDS and rounds < 200):
        trainer.round()
        rounds += 1
    per_round = plan.world.agree((time.perf_counter() - started) / rounds)
    memory = peak_memory(trainer.device)
    total, minutes = trainer.total_rounds(), plan.options.minutes
    by_time = math.ceil(60 * minutes / per_round) if minutes else None
    expected = min(n for n in (total, by_time) if n is not None)
    parameters = {
        name: sum(p.numel() for p in player.parameters()) for name, player in trainer.game.players.items()
    }
    return Estimate(expected, expected * per_round, plan.recipe.batch / per_round, memory, parameters)


def memory_warning(memory: int) -> str | None:
    """A warning when the estimate comes near what this machine has free."""
    free = psutil.virtual_memory().available
    if memory > 0.9 * (free + psutil.Process().memory_info().rss):
        return f"memory: about {memory / 2**30:.1f} GiB needed, {free / 2**30:.1f} GiB free; lower batch or size"
    return None


def train(
    recipe: str = "dcgan",
    data: str | Path = "digits",
    *,
    run: str | Path | None = None,
    root: str | Path = "runs",
    params: Mapping[str, Any] | None = None,
    data_options: Mapping[str, Any] | None = None,
    watchers: Sequence[Watcher] = (),
    quiet: bool = False,
    **options: Any,
) -> Model:
    """Train ``recipe`` on ``data`` and return the model; everything else is left in the run folder.

    ``params`` are the recipe's hyper-parameters, ``data_options`` those of the data's domain, and ``options`` the
    fields of ``TrainOptions`` (samples, minutes, rounds, seed, device ..). Raises InputError for wrong input, RunError
    when training cannot go on.

    >>> model = ganforge.train("dcgan", "digits", minutes=2)
    >>> images = model.generate(64, seed=0)
    """
    settings = Settings(recipe, str(data), dict(params or {}), dict(data_options or {}), dict(options))
    return start(settings, run, root, watchers, console_for(quiet)).model


def resume(run: str | Path, *, quiet: bool = False, watchers: Sequence[Watcher] = (), **options: Any) -> Model:
    """Go on with a run from its newest whole checkpoint; ``options`` may change its length and cadence."""
    return go_on(Path(run), [], dict(options), watchers, console_for(quiet)).model


def console_for(quiet: bool) -> Console:
    """Where messages go: stderr, or nowhere."""
    return Console(stderr=True, quiet=quiet)


def start(
    settings: Settings,
    run: str | Path | None,
    root: str | Path,
    watchers: Sequence[Watcher],
    console: Console,
    dry: bool = False,
    fork: Path | None = None,
) -> Outcome:
    """Plan, estimate, create the run folder and train. ``dry`` ends after the estimate (SystemExit 0)."""
    tell = say(console)
    plan = make_plan(settings, tell)
    try:
        game = plan.build()
        guess = estimate(plan)
        tell(guess.line())
        if (warning := memory_warning(guess.memory_bytes)) is not None:
            tell(warning)
        if dry:
            raise SystemExit(0)
        place = Path(run) if run else next_run(Path(root), f"{short(settings.recipe)}-{short(settings.path)}")
        place = Path(plan.world.share_text(str(place)))
        if plan.world.rank == 0:
            folder = Run.create(place, plan.yaml(), facts(plan))
        plan.world.barrier()
        folder = Run.open(place)
        if fork is not None:
            adopt(game, Run.open(fork), tell)
        return work(plan, game, folder, guess.rounds, watchers, console)
    finally:
        leave_world()


def go_on(
    path: Path, overrides: Sequence[str], changes: Mapping[str, Any], watchers: Sequence[Watcher], console: Console,
    trusted: bool = False,
) -> Outcome:
    """Resume the run at ``path``; settings may change only in length and cadence."""
    run = Run.open(path)
    old, new = read_settings(path / "config.yaml"), read_settings(path / "config.yaml")
    new.trusted = trusted
    apply_overrides(new, overrides)
    new.train |= {k: v for k, v in changes.items() if v is not None}
    if any(changes.get(k) is not None for k in ("samples", "minutes", "rounds")):
        new.train |= {k: changes.get(k) for k in ("samples", "minutes", "rounds")}
    refuse_changes(old, new)
    plan = make_plan(new, say(console))
    try:
        if run.facts["data"]["fingerprint"] != plan.source.fingerprint:
            raise InputError(
                f"{new.path} no longer holds the data that {path} was trained on: restore it, or start a new run "
                f"from the old weights: ganforge train --fork {path}"
            )
        if plan.world.rank == 0:
            run.lock()
            write_bytes(path / "config.yaml", plan.yaml().encode())
            run.unlock()
        plan.world.barrier()
        return work(plan, plan.build(), run, None, watchers, console)
    finally:
        leave_world()


def work(
    plan: Plan, game: Game, run: Run, expected: int | None, watchers: Sequence[Watcher], console: Console
) -> Outcome:
    """Train a run that exists, from its newest checkpoint if it has one, and write its report."""
    first = plan.world.rank == 0
    if first:
        run.lock()
    trainer = plan.trainer(game, run, watchers)
    display = ProgressDisplay(trainer, console)
    try:
        if first:
            trainer.watchers.insert(0, display)
        if trainer.resume():
            say(console)(f"resumed {run.path} at round {trainer.clock.round:,}")
        rounds = trainer.total_rounds() or expected or 1000
        if first:
            every = trainer.every(plan.options.snapshot_samples, 10, rounds)
            trainer.watchers.append(Snapshots(trainer, run.path / "samples", every))
        why = trainer.train(expected)
    except GanforgeError as error:
        if first:
            run.event({"round": trainer.clock.round, "kind": "error", "message": str(error)})
        raise
    finally:
        display.close()
        if first:
            run.unlock()
    plan.world.barrier()
    if first:
        write_report(run)
        announce(run, why, trainer, say(console))
    return Outcome(load(run.path, plan.options.device, trusted=plan.settings.trusted), run.path, why)


def announce(run: Run, why: str, trainer: Trainer, tell: Callable[[str], None]) -> None:
    """Say how training ended and where everything is."""
    pictures = sorted((run.path / "samples").glob("*.png"))
    what = {"budget": "done", "interrupted": "interrupted, and saved"}.get(why, f"stopped: {why}")
    tell(f"{what}: {trainer.clock.round:,} rounds, {trainer.clock.samples:,} samples, {span(trainer.seconds)}")
    tell(f"  run      {run.path}")
    if pictures:
        tell(f"  samples  {pictures[-1]}")
    tell(f"  losses   {run.path / 'losses.png'}")
    tell(f"  report   {run.path / 'report.html'}")
    verb = f"ganforge resume {run.path}" if why == "interrupted" else f"ganforge generate {run.path} -n 64"
    tell(f"  next     {verb}")


def adopt(game: Game, run: Run, tell: Callable[[str], None]) -> None:
    """Start from another run's weights (all networks and game state, but no optimizer state)."""
    found = run.read_checkpoint(tell)
    if found is None:
        raise InputError(f"{run.path} has no checkpoint to fork from")
    mine, theirs = game.state_dict(), found[0]["game"]
    for name in mine:
        if name not in theirs or theirs[name].shape != mine[name].shape:
            raise InputError(f"{run.path} cannot be forked: its weights do not fit the new settings (at {name})")
    game.load_state_dict(theirs)


def say(console: Console) -> Callable[[str], None]:
    """A function that prints a line, on the first process only."""
    if os.environ.get("RANK", "0") != "0":
        return lambda text: None
    return lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True)


def short(name: str) -> str:
    """A name for use in a folder name."""
    stem = Path(name).stem if "/" in name or "." in name else name
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in stem.rpartition(":")[2])[:40] or "run"


def facts(plan: Plan) -> dict[str, Any]:
    """run.json: what the run was made with."""
    return {
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": {"ganforge": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "platform": platform.platform(),
        "command": sys.argv,
        "data": {"path": plan.settings.path, "count": len(plan.source), "fingerprint": plan.source.fingerprint},
        "world": {"processes": plan.world.size, "shards": plan.world.shards, "threads": torch.get_num_threads()},
    }


def model_card(plan: Plan) -> str:
    """card.md: what the model is, what it was trained on, and what is not known about it."""
    recipe, domain = type(plan.recipe), plan.domain
    labels = f", {len(domain.classes)} classes" if domain.classes else ", no labels"
    return (
        f"# {recipe.title} trained on {plan.settings.path}\n\n"
        f"- Recipe: `{recipe_name(recipe)}` ({recipe.paper})\n"
        f"- Data: {len(plan.source):,} samples of kind {domain.kind}, shape {tuple(domain.shape)}{labels}; "
        f"sha256 `{plan.source.fingerprint}`\n"
        f"- Made with ganforge {__version__}, PyTorch {torch.__version__}, seed {plan.options.seed}\n"
        "- Use: `ganforge generate RUN -n 64 --seed 0`, or `ganforge.load(RUN).generate(64)`\n\n"
        "Not known unless you measured it: how close samples are to training data, and which groups are missing or\n"
        "over-represented. The licence of the training data applies.\n"
    )
