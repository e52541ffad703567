"""The verbs, in Python: train, resume, diagnose."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console

from ganforge import live
from ganforge.config import Settings, apply_overrides, refuse_changes, run_settings
from ganforge.core.errors import GanforgeError, InputError, RunError
from ganforge.core.game import Game, PerShard
from ganforge.core.store import write_bytes
from ganforge.core.watch import Watcher
from ganforge.diagnose import Context, Diagnosis, diagnose, read_log
from ganforge.domains import is_builtin, module_for
from ganforge.engine.options import BUDGETS, GivenOptions, TrainOptions
from ganforge.engine.run import Run, claim_run, refuse_existing
from ganforge.engine.snapshots import Snapshots
from ganforge.engine.trainer import Trainer
from ganforge.engine.world import leave_world
from ganforge.fitting import lay_out, smaller
from ganforge.model import Model, load
from ganforge.plan import PICTURES, Plan, cautions, estimate, facts, make_plan
from ganforge.progress import ProgressDisplay, patience, span
from ganforge.recipes.recipe import Recipe, recipe_name
from ganforge.report import write_report

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(frozen=True)
class Outcome:
    """How training ended: "budget", "interrupted", or the reason a watcher gave."""

    model: Model
    path: Path
    why: str


def train(
    recipe: str | type[Recipe] = "dcgan",
    data: str | Path = "digits",
    *,
    run: str | Path | None = None,
    root: str | Path = "runs",
    params: Mapping[str, Any] | None = None,
    data_options: Mapping[str, Any] | None = None,
    fork: str | Path | None = None,
    fit: bool = False,
    watchers: Sequence[Watcher] = (),
    quiet: bool = False,
    **options: Unpack[GivenOptions],
) -> Model:
    """Train ``recipe`` on ``data`` and return the model; everything else is left in the run folder.

    What is averaged over training is what generates (``model.path`` is the run). Ctrl-C saves, and the model is then as
    far as training came. One process: for several, ``ganforge train --gpus N``, or torchrun.

    Args:
        recipe: a name ('ganforge recipes' lists them), "my.module:MyRecipe", or a class.
        data: a folder, a file (.zip, .npz, .csv, .parquet, .txt ..), or a built-in set (digits, ring, sentences ..).
        run: the run folder to create. Without, it is ``root``/RECIPE-DATA-NN.
        params: the recipe's parameters, by name ('ganforge recipes NAME' lists them): {"size": 32, "lr": 1e-3}. A
            number may be a ``Schedule``.
        data_options: how data are read, by name: {"resolution": 64, "channels": 1, "mirror": True}.
        fork: start from the weights of this run, with the settings given here.
        fit: lay the recipe's schedules (learning rates ..) out for this run, not for its own budget; of ``minutes``
            it is measured how many samples they are good for. Resumed, the run stays at their ends. For runs that
            have time to learn: far below the budget, rates that fall early do harm.
        watchers: see every event of training, beside those that are there anyway; a verdict of theirs may end it.
        quiet: print nothing. Otherwise progress goes to stderr.
        options: how long, how often, where; all fields of ``ganforge.engine.options.TrainOptions``. Budgets, of which
            the first to be reached ends the run: ``samples`` (real ones, 200_000 or "200k"), ``minutes``, ``rounds``;
            by default the recipe's own. ``seed``; ``device`` ("auto", "cpu", "cuda", "cuda:1", "mps"); ``holdout``
            (real data, or a share such as "0.1", that are kept from training); ``stop="auto"``, ``metric``,
            ``target``, ``evaluate_samples`` (judging as it trains: the best state is kept); ``checkpoint_samples`` ..

    Raises:
        InputError: wrong input, in one line, before anything is written.
        RunError: training cannot go on (a full disk, losses that stay non-finite).

    >>> model = ganforge.train("dcgan", "digits", minutes=2)
    >>> images = model.generate(64, seed=0)  # uint8 [64, 8, 8, 1]
    """
    name = recipe if isinstance(recipe, str) else recipe_name(recipe)
    settings = Settings(name, str(data), dict(params or {}), dict(data_options or {}), dict(options))
    check_places(settings)
    return start(settings, run, root, watchers, console_for(quiet), None if fork is None else Path(fork), fit=fit).model


def check_places(settings: Settings) -> None:
    """InputError for a training option that is a parameter of the recipe, or an option of the data: which it is."""
    strange = settings.train.keys() - {field.name for field in fields(TrainOptions)}
    if not strange:
        return
    recipe, name = settings.recipe_class(), min(strange)
    data = module_for(settings.path, recipe.kinds).OPTIONS
    for place, kind in (("params", recipe), ("data_options", data)):
        if name in {field.name for field in fields(kind)}:
            raise InputError(f"'{name}' belongs to {place}: {place}={{'{name}': {settings.train[name]!r}}}")


def train_whole(settings: Settings, run: Path, quiet: bool = False, goes_on: bool = False) -> Model:
    """Train for who goes on with the model: an interrupted run is saved, and then is a KeyboardInterrupt.

    That there are few images is not told: who trains so knows, and has said what it does about it. ``goes_on``: train
    to its end a run that was interrupted.
    """
    console = console_for(quiet)
    if goes_on:
        outcome = go_on(run, [], {}, (), console)
    else:
        outcome = start(settings, run, "runs", (), console, within=True)
    if outcome.why == "interrupted":
        raise KeyboardInterrupt
    return outcome.model


def resume(
    run: str | Path,
    *,
    data: str | Path | None = None,
    watchers: Sequence[Watcher] = (),
    quiet: bool = False,
    **options: Unpack[GivenOptions],
) -> Model:
    """Go on with a run from its newest whole checkpoint, bit by bit as if it had never stopped; return the model.

    Args:
        run: the run folder.
        data: where its data are now, if they were moved.
        watchers, quiet: as of ``train``.
        options: as of ``train``, but only what leaves the course of training alone: budgets, counted from the run's
            start, cadence, ``device``, ``threads``, ``stop``, ``metric``, ``target``.

    Raises:
        InputError: no such run, other data than it was trained on, or a setting that may not change.
        RunError: training cannot go on, or another process trains this run.
    """
    moved = [] if data is None else [f"data.path={data}"]
    return go_on(Path(run), moved, dict(options), watchers, console_for(quiet)).model


def diagnose_run(run: str | Path) -> Diagnosis:
    """What is wrong with a run, by its log so far: the fault's name, the evidence, and a remedy as a command.

    InputError where it is no run, or has no log yet.
    """
    context, lines = Context.of(Path(run)), read_log(Path(run))
    if not lines:
        raise InputError(f"{Path(run) / 'log.jsonl'} has no lines yet, so nothing can be judged")
    return diagnose(lines, context)


def console_for(quiet: bool) -> Console:
    """Where messages go: stderr, or nowhere."""
    return Console(stderr=True, quiet=quiet)


def start(
    settings: Settings,
    run: str | Path | None,
    root: str | Path,
    watchers: Sequence[Watcher],
    console: Console,
    fork: Path | None = None,
    within: bool = False,
    fit: bool = False,
) -> Outcome:
    """Plan, estimate, create the run folder and train."""
    if run is not None:
        refuse_existing(Path(run))
    old = Run.open(fork) if fork is not None else None
    with memory_errors(), connected():
        plan, game, rounds = prepare(settings, old, say(console), within, fit)
        return work(plan, game, make_run(plan, run, Path(root), old), rounds, watchers, console)


def preview(settings: Settings, console: Console, fork: Path | None = None, fit: bool = False) -> None:
    """Say what a run would take, and leave nothing behind."""
    old = Run.open(fork) if fork is not None else None
    with memory_errors(), connected():
        prepare(settings, old, say(console), fit=fit)


def prepare(
    settings: Settings, old: Run | None, tell: Callable[[str], None], within: bool = False, fit: bool = False
) -> tuple[Plan, Game, int]:
    """The plan of a new run, its game (with the weights of ``old``, if given) and its rounds; says what it takes.

    With ``fit`` the recipe's schedules end with the run.
    """
    with patience(tell, f"reading {settings.path} .."):
        plan = make_plan(settings, tell)
    plan.within = within
    live.check(plan)
    game = plan.build()
    if old is not None:
        adopt(game, old, tell)
    with patience(tell, "measuring how long a round takes .."):
        guess = estimate(plan)
    if fit:
        with patience(tell, "laying schedules out .."):
            guess = lay_out(plan, guess)
        game = plan.build()
        if old is not None:
            adopt(game, old, lambda text: None)
    tell(guess.line())
    for told in (*cautions(plan, guess), smaller(plan, guess)):
        if told:
            tell(told)
    return plan, game, guess.rounds


def make_run(plan: Plan, run: str | Path | None, root: Path, old: Run | None) -> Run:
    """The new run's folder, made by the first process."""
    place = Path()
    if plan.world.rank == 0:
        place = Path(run) if run else claim_run(root, f"{short(plan.settings.recipe)}-{short(plan.settings.path)}")
        Run.create(place, plan.yaml(), facts(plan, str(old.path.resolve()) if old else None))
    return Run.open(Path(plan.world.share_text(str(place))))


def go_on(
    path: Path, overrides: Sequence[str], changes: Mapping[str, Any], watchers: Sequence[Watcher], console: Console
) -> Outcome:
    """Resume the run at ``path``; settings may change only in length and cadence, and in where the same data are."""
    run = Run.open(path)
    old, new = run_settings(path, run.facts), run_settings(path, run.facts)
    apply_overrides(new, overrides)
    if is_path_lost(new.path):
        raise InputError(
            f"no data at '{new.path}', which {path} is trained on: if they were moved, say where they are: "
            f"ganforge resume {shlex.quote(str(path))} --set data.path=PATH"
        )
    old.path = new.path  # that these are the same data is seen by their fingerprint
    new.train |= {k: v for k, v in changes.items() if v is not None}
    if any(changes.get(k) is not None for k in BUDGETS):
        new.train |= {k: changes.get(k) for k in BUDGETS}
    refuse_changes(old, new)
    with memory_errors(), connected():
        with patience(say(console), f"reading {new.path} .."):
            plan = make_plan(new, say(console))
        if run.facts["data"]["fingerprint"] != plan.source.fingerprint:
            raise InputError(
                f"{new.path} no longer holds the data that {path} was trained on: restore it, or start a new run "
                f"from the old weights: ganforge train --fork {shlex.quote(str(path))}"
            )
        live.check(plan)
        game = plan.build()
        if run.facts.get("forked_from") and not run.checkpoints():
            adopt(game, Run.open(Path(run.facts["forked_from"])), say(console))
        return work(plan, game, run, None, watchers, console)


def is_path_lost(path: str) -> bool:
    """Whether data were in a file or folder that is not there any more."""
    return not is_builtin(path) and ":" not in path and not any(c in path for c in "*?[{") and not Path(path).exists()


def work(
    plan: Plan, game: Game, run: Run, expected: int | None, watchers: Sequence[Watcher], console: Console
) -> Outcome:
    """Train a run that exists, from its newest checkpoint if it has one, and write its report."""
    first, tell = plan.world.rank == 0, say(console)
    try:
        if first:
            run.lock()
            write_bytes(run.path / "config.yaml", plan.yaml().encode())  # a resumed run may have another length
        trainer = plan.trainer(game, run, watchers)
        why = play(trainer, plan, run, expected, console)
    finally:
        run.unlock()
    plan.world.barrier()
    if first:
        with patience(tell, "writing the report .."):
            write_report(run)
        announce(run, why, trainer, tell, plan.within and why == "budget")
    return Outcome(load(run.path, str(trainer.device)), run.path, why)


def play(trainer: Trainer, plan: Plan, run: Run, expected: int | None, console: Console) -> str:
    """Train to the end, watched and shown; returns why it ended. An error is told in events.jsonl too."""
    first, tell = plan.world.rank == 0, say(console)
    display = ProgressDisplay(trainer, console)
    try:
        if first:
            trainer.watchers.insert(0, display)
        if trainer.resume():
            tell(f"resumed {run.path} at round {trainer.clock.round:,}")
            if trainer.progress() >= 1.0:
                more = f"ganforge resume {shlex.quote(str(run.path))} --samples {2 * trainer.clock.samples}"
                tell(f"its budget is used up, so nothing is left to train; for more: {more}")
            if expected is None and plan.options.minutes and trainer.seconds:
                expected = round(trainer.clock.round * 60 * plan.options.minutes / trainer.seconds)
        rounds = trainer.total_rounds() or expected or 1000
        if first:
            every = trainer.every(plan.options.snapshot_samples, PICTURES, rounds)
            with patience(tell, "learning the features that samples are judged by .."):  # features, of the real data
                trainer.watchers += live.watchers(trainer, plan, run, rounds)
            trainer.watchers.append(Snapshots(trainer, run.path / "samples", every))
        return trainer.train(expected)
    except GanforgeError as error:
        if first:
            with contextlib.suppress(RunError):  # on a full disk the first error is the one to tell
                run.event({"round": trainer.clock.round, "kind": "error", "message": str(error)})
        raise
    finally:
        display.close()


@contextlib.contextmanager
def connected() -> Iterator[None]:
    """However the block ends, this process leaves the world that it joined, and has its threads back."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        leave_world()


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Turn running out of memory into one clear line."""
    remedy = "lower batch or size, or set train.shards=2 (or more) to play every batch in parts"
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise RunError(f"there is not enough GPU memory: {remedy}") from error
    except MemoryError as error:
        raise RunError(f"this machine has not enough memory: {remedy}") from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise RunError(f"this machine has not enough memory: {remedy}") from error


def announce(run: Run, why: str, trainer: Trainer, tell: Callable[[str], None], goes_on: bool = False) -> None:
    """Say how training ended and where everything is; unless the command ``goes_on``, also what to do next."""
    pictures = sorted((run.path / "samples").glob("*.png"))
    what = {"budget": "done", "interrupted": "interrupted, and saved"}.get(why, f"stopped: {why}")
    rounds = f"{trainer.clock.round:,} {'round' if trainer.clock.round == 1 else 'rounds'}"
    tell(f"{what}: {rounds}, {trainer.clock.samples:,} samples, {span(trainer.seconds)}")
    tell(f"  run      {run.path}")
    if pictures:
        tell(f"  samples  {pictures[-1]}")
    if (best := run.best()) is not None:
        tell(f"  best     {best['metric']} {best['value']:.4g} at {best['samples']:,} samples: the model that is used")
    tell(f"  losses   {run.path / 'losses.png'}")
    tell(f"  report   {run.path / 'report.html'}")
    if goes_on:
        return
    place = shlex.quote(str(run.path))
    use = f"translate {place} INPUT --out OUTPUT" if trainer.game.needs else f"generate {place} -n 64"
    tell(f"  next     ganforge {f'resume {place}' if why == 'interrupted' else use}")


def adopt(game: Game, run: Run, tell: Callable[[str], None]) -> None:
    """Start from another run's weights: all networks and game state, but no optimizer state and nothing per shard.

    Networks that the other run has not (a discriminator, where it had none) start afresh.
    """
    found = run.read_checkpoint(tell)
    if found is None:
        raise InputError(f"{run.path} has no checkpoint to fork from")
    own = {f"{m}.{b}" for m, x in game.named_modules() if isinstance(x, PerShard) for b, _ in x.named_buffers()}
    mine, theirs = game.state_dict(), found[0]["game"]
    fresh = {name.partition(".")[0] for name in mine} - {name.partition(".")[0] for name in theirs}
    own |= {name for name in mine if name.partition(".")[0] in fresh}
    if fresh:
        tell(f"not in {run.path}, so they start afresh: {', '.join(sorted(fresh))}")
    for name in mine:
        if name in own:
            continue
        if name not in theirs or theirs[name].shape != mine[name].shape:
            raise InputError(f"{run.path} cannot be forked: its weights do not fit the new settings (at {name})")
    game.load_state_dict({name: mine[name] if name in own else theirs[name] for name in mine})


def say(console: Console) -> Callable[[str], None]:
    """A function that prints a line, on the first process only."""
    if os.environ.get("RANK", "0") != "0":
        return lambda text: None
    return lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True)


def short(name: str) -> str:
    """A name for use in a folder name."""
    stem = Path(name).stem if Path(name).name != name or "." in name else name
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in stem.rpartition(":")[2])[:40] or "run"
