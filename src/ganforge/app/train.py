"""ganforge train and ganforge resume."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from ganforge.app.arguments import INTERRUPTED, Allow, RunPath, Silent, allow_module
from ganforge.app.launch import launch
from ganforge.core.errors import GanforgeError, InputError

if TYPE_CHECKING:
    from ganforge.api import Outcome
    from ganforge.config import Settings

TRAIN_EXAMPLES = (
    "Examples: ganforge train dcgan --data digits | ganforge train r3gan --data photos.zip --resolution 64 "
    "--size 16 --minutes 30 | ganforge train cgan --data mnist/ --set conditioning=auxiliary --samples 500k"
)
RESUME_EXAMPLE = "Example: ganforge resume runs/dcgan-digits-01 --samples 1M"


class Interrupted(GanforgeError):
    """A second Ctrl-C."""

    exit_code = INTERRUPTED


def given(**options: Any) -> dict[str, Any]:
    """Those options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def budget(samples: str | None, minutes: float | None, rounds: int | None) -> dict[str, Any]:
    """The budgets that were given."""
    return given(samples=count(samples, "--samples"), minutes=minutes, rounds=rounds)


def count(text: str | None, option: str) -> int | float | None:
    """A number as people write it (200k); InputError names the option."""
    from ganforge.config import quantity

    number = quantity(text) if text is not None else None
    if not isinstance(number, str):
        return number
    if not number.isdigit():
        raise InputError(f"{option} wants a number such as 200000, 200k or 1.5M, not '{text}'")
    return int(number)


def carry_out(work: Callable[[], Outcome]) -> NoReturn:
    """Train, and end with the right exit code; also after a second Ctrl-C, which leaves no time to save."""
    try:
        why = work().why
    except KeyboardInterrupt:
        text = "interrupted, not saved; 'ganforge resume' goes on from the last checkpoint, if there is one"
        raise Interrupted(text) from None
    raise typer.Exit(INTERRUPTED if why == "interrupted" else 0)


def train(
    recipe: Annotated[
        str | None, typer.Argument(help="Which GAN: 'ganforge recipes' lists them.", metavar="RECIPE")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="A folder, .zip, .npz, .npy, .parquet, .tar shards, .csv, .txt, .smi, or built-in (digits, ring ..)."
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A config.yaml; other options override it.")] = None,
    run: Annotated[
        Path | None, typer.Option("--run", "--out", help="The run folder to create (default runs/RECIPE-DATA-NN).")
    ] = None,
    samples: Annotated[str | None, typer.Option(help="Stop after this many real samples: 200k, 1.5M.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after this many minutes.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Stop after this many rounds.")] = None,
    fit: Annotated[
        bool,
        typer.Option(
            "--fit",
            help="Fit learning rates and other schedules to the length of this run, not to the recipe's own budget.",
        ),
    ] = False,
    size: Annotated[int | None, typer.Option(help="Width of the networks.")] = None,
    batch: Annotated[int | None, typer.Option(help="Real samples per round.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, data order and noise.")] = None,
    resolution: Annotated[str | None, typer.Option(help="Image size: 64, or HEIGHTxWIDTH.")] = None,
    channels: Annotated[int | None, typer.Option(help="Image channels: 1, 3 or 4.")] = None,
    mirror: Annotated[
        bool | None, typer.Option("--mirror/--no-mirror", help="Flip images left to right at random.")
    ] = None,
    strict: Annotated[
        bool | None, typer.Option("--strict", help="Stop at a corrupt file instead of skipping it.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any setting: lr=0.001, data.labels=none, train.keep=5.", metavar="NAME=VALUE"),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = None,
    gpus: Annotated[
        int | None, typer.Option(min=1, help="Train with this many processes, one per GPU (or on CPUs).")
    ] = None,
    stop: Annotated[
        str | None, typer.Option(help="auto: also stop when the metric no longer improves, or the run is hopeless.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="The score to follow: fid, kid, recall, swd, modes ..")] = None,
    target: Annotated[float | None, typer.Option(help="Stop once the metric reaches this value.")] = None,
    evaluate: Annotated[
        str | None, typer.Option(help="Evaluate each time this many real samples were seen: 50k.")
    ] = None,
    holdout: Annotated[
        str | None,
        typer.Option(help="Real data to judge by, not trained on: a path, or a share of the data such as 0.1."),
    ] = None,
    fork: Annotated[Path | None, typer.Option(help="Start from the weights (and settings) of this run.")] = None,
    allow: Allow = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only estimate time and memory; train nothing.")] = False,
    quiet: Silent = False,
) -> None:
    """Train a GAN on your data."""
    if gpus and gpus > 1 and "RANK" not in os.environ:
        launch(gpus)
    allow_module(allow)
    from ganforge import api
    from ganforge.config import apply_overrides
    from ganforge.engine.options import BUDGETS

    settings = starting_from(recipe, config, fork)
    settings.path = data or settings.path
    limits = budget(samples, minutes, rounds)
    if limits:
        settings.train |= dict.fromkeys(BUDGETS)
    settings.train |= limits
    settings.params |= given(size=size, batch=batch)
    settings.data |= given(resolution=resolution, channels=channels, mirror=mirror, strict=strict)
    settings.train |= given(
        seed=seed, device=device, holdout=holdout, stop=stop, metric=metric, target=target,
        evaluate_samples=count(evaluate, "--evaluate"),
    )  # fmt: skip
    apply_overrides(settings, set_ or [])
    if dry_run:
        api.preview(settings, api.console_for(quiet), fork, fit)
    else:
        carry_out(lambda: api.start(settings, run, "runs", (), api.console_for(quiet), fork, fit=fit))


def starting_from(recipe: str | None, config: Path | None, fork: Path | None) -> Settings:
    """The settings before any option: those of the run to fork (of the same recipe), of the config, or none.

    InputError where nothing names a recipe.
    """
    from ganforge.config import Settings, read_settings, run_settings
    from ganforge.engine.run import Run

    settings = Settings("", "")
    if fork is not None:
        theirs = run_settings(fork, Run.open(fork).facts)
        settings = theirs if recipe in (None, theirs.recipe) else settings
    settings = read_settings(config) if config else settings
    if recipe:
        if settings.recipe not in ("", recipe):
            settings.params = {}
        settings.recipe, settings.trusted = recipe, True
        if ":" in recipe:
            sys.path.insert(0, os.getcwd())
    if not settings.recipe:
        raise InputError("no recipe given: ganforge train RECIPE --data DATA; 'ganforge recipes' lists them")
    if fork is not None and config is None:
        settings.forget_defaults()
    return settings


def resume(
    run: RunPath,
    samples: Annotated[str | None, typer.Option(help="New budget in real samples, from the run's start.")] = None,
    minutes: Annotated[float | None, typer.Option(help="New budget in minutes, from the run's start.")] = None,
    rounds: Annotated[int | None, typer.Option(help="New budget in rounds, from the run's start.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Only length and cadence may change: train.keep=5.", metavar="NAME=VALUE"),
    ] = None,
    stop: Annotated[str | None, typer.Option(help="auto or budget, as in 'ganforge train'.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="Train with this many processes.")] = None,
    allow: Allow = None,
    quiet: Silent = False,
) -> None:
    """Go on with a run, bit by bit as if it had never stopped."""
    if gpus and gpus > 1 and "RANK" not in os.environ:
        launch(gpus)
    allow_module(allow)
    from ganforge import api

    changes = {**budget(samples, minutes, rounds), "device": device, "stop": stop}
    carry_out(lambda: api.go_on(run, set_ or [], changes, (), api.console_for(quiet)))
