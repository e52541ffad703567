"""The command line: thin verbs over ganforge.api and ganforge.model. Heavy modules are imported where they are used."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ganforge.core.errors import GanforgeError

app = typer.Typer(
    help="Train, judge, understand and use generative adversarial networks on your own data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start here: ganforge train dcgan --data digits --minutes 3",
)
data_app = typer.Typer(help="Look at data before training on it.", no_args_is_help=True)
app.add_typer(data_app, name="data")

INTERRUPTED = 130

RunPath = Annotated[Path, typer.Argument(help="A run folder, as 'ganforge runs' lists them.", metavar="RUN")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same samples.")]
Label = Annotated[str | None, typer.Option(help="A class, by name or index (conditional models).")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Allow = Annotated[str | None, typer.Option(help="A module of your own that the run's recipe may be imported from.")]
Out = Annotated[Path | None, typer.Option(help="Where to write; the suffix decides the format.")]


def say(text: str) -> None:
    """Print a plain line."""
    typer.echo(text)


def allow(module: str | None) -> bool:
    """Import the user's own module, if one is named; whether the run's recipe may be imported."""
    if module:
        import importlib

        sys.path.insert(0, os.getcwd())
        try:
            importlib.import_module(module)
        except ImportError as error:
            from ganforge.core.errors import InputError

            raise InputError(f"--allow {module}: {error}") from error
    return bool(module)


def launch(gpus: int) -> None:
    """Start this same command as ``gpus`` processes by torchrun, and exit as they do."""
    import subprocess

    arguments = []
    skip = False
    for argument in sys.argv[1:]:
        if skip or argument.startswith("--gpus="):
            skip = False
        elif argument == "--gpus":
            skip = True
        else:
            arguments.append(argument)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={gpus}"]
    process = subprocess.Popen([*command, "-m", "ganforge.app.cli", *arguments])
    while True:
        try:
            raise typer.Exit(process.wait())
        except KeyboardInterrupt:
            continue  # torchrun has got the signal too: its processes save, then end


def budget(samples: str | None, minutes: float | None, rounds: int | None) -> dict[str, Any]:
    """The budgets that were given."""
    from ganforge.config import quantity
    from ganforge.core.errors import InputError

    count = quantity(samples) if samples is not None else None
    if isinstance(count, str):
        if not count.isdigit():
            raise InputError(f"--samples wants a number such as 200000, 200k or 1.5M, not '{samples}'")
        count = int(count)
    given = {"samples": count, "minutes": minutes, "rounds": rounds}
    return {k: v for k, v in given.items() if v is not None}


@app.command(epilog="Examples: ganforge train dcgan --data digits | ganforge train r3gan --data photos.zip --resolution 64 "
             "--minutes 30 | ganforge train cgan --data mnist/ --set conditioning=auxiliary --samples 500k")
def train(
    recipe: Annotated[str | None, typer.Argument(help="Which GAN: 'ganforge recipes' lists them.")] = None,
    data: Annotated[str | None, typer.Option(help="Folder, .zip, .npz, .parquet, .csv, or a built-in set (digits, ring ..).")] = None,
    config: Annotated[Path | None, typer.Option(help="A config.yaml; options given here come after it.")] = None,
    run: Annotated[Path | None, typer.Option(help="The run folder to create (default runs/RECIPE-DATA-NN).")] = None,
    samples: Annotated[str | None, typer.Option(help="Stop after this many real samples: 200k, 1.5M.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after this much time.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Stop after this many rounds.")] = None,
    size: Annotated[int | None, typer.Option(help="Width of the networks.")] = None,
    batch: Annotated[int | None, typer.Option(help="Real samples a round.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, data order and noise.")] = None,
    resolution: Annotated[str | None, typer.Option(help="Image size: 64, or HEIGHTxWIDTH.")] = None,
    channels: Annotated[int | None, typer.Option(help="Image channels: 1, 3 or 4.")] = None,
    mirror: Annotated[bool | None, typer.Option("--mirror/--no-mirror", help="Flip images left to right at random.")] = None,
    strict: Annotated[bool | None, typer.Option("--strict", help="Stop at a corrupt file instead of skipping it.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Any setting: lr=0.001, data.labels=none, train.keep=5.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="Train with this many processes, one a GPU (or CPU processes).")] = None,
    fork: Annotated[Path | None, typer.Option(help="Start from the weights of this run.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only estimate time and memory.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
) -> None:
    """Train a GAN on your data."""
    if gpus and gpus > 1:
        launch(gpus)
    from ganforge import api
    from ganforge.config import Settings, apply_overrides, read_settings
    from ganforge.core.errors import InputError

    source = config or (fork / "config.yaml" if fork and not recipe else None)
    settings = read_settings(source) if source else Settings("", "")
    if recipe:
        if settings.recipe not in ("", recipe):
            settings.params = {}
        settings.recipe, settings.trusted = recipe, True
        sys.path.insert(0, os.getcwd()) if ":" in recipe else None
    if not settings.recipe:
        raise InputError("no recipe given: ganforge train RECIPE --data DATA; 'ganforge recipes' lists them")
    settings.path = data or settings.path
    limits = budget(samples, minutes, rounds)
    if limits:
        settings.train |= dict.fromkeys(("samples", "minutes", "rounds"))
    settings.train |= limits
    chosen = {"size": size, "batch": batch}, {"resolution": resolution, "channels": channels, "mirror": mirror, "strict": strict}
    settings.params |= {k: v for k, v in chosen[0].items() if v is not None}
    settings.data |= {k: v for k, v in chosen[1].items() if v is not None}
    settings.train |= {k: v for k, v in {"seed": seed, "device": device}.items() if v is not None}
    apply_overrides(settings, set_ or [])
    outcome = api.start(settings, run, "runs", (), api.console_for(quiet), dry=dry_run, fork=fork)
    raise typer.Exit(INTERRUPTED if outcome.why == "interrupted" else 0)


@app.command(epilog="Example: ganforge resume runs/dcgan-digits-01 --samples 1M")
def resume(
    run: RunPath,
    samples: Annotated[str | None, typer.Option(help="New budget in real samples, from the run's start.")] = None,
    minutes: Annotated[float | None, typer.Option(help="New budget in minutes, from the run's start.")] = None,
    rounds: Annotated[int | None, typer.Option(help="New budget in rounds, from the run's start.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Length and cadence may change: train.keep=5.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="Train with this many processes.")] = None,
    allow_: Annotated[str | None, typer.Option("--allow", help="Module of your own that holds the run's recipe.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
) -> None:
    """Go on with a run, bit by bit as if it had never stopped."""
    if gpus and gpus > 1:
        launch(gpus)
    from ganforge import api

    changes = {**budget(samples, minutes, rounds), "device": device}
    outcome = api.go_on(run, set_ or [], changes, (), api.console_for(quiet), trusted=allow(allow_))
    raise typer.Exit(INTERRUPTED if outcome.why == "interrupted" else 0)


@app.command(epilog="Examples: ganforge generate RUN -n 64 --seed 1 | ganforge generate RUN -n 1000 --label 3 --out threes.npz")
def generate(
    run: RunPath,
    n: Annotated[int, typer.Option("-n", "--number", help="How many samples.")] = 64,
    seed: Seed = 0,
    label: Label = None,
    truncation: Annotated[float, typer.Option(help="Below 1: less variety, better samples.")] = 1.0,
    out: Out = None,
    device: Device = "auto",
    allow_: Allow = None,
) -> None:
    """Make samples: one file each with a grid picture, or one file, as --out says."""
    from ganforge.model import load

    model = load(run, device, trusted=allow(allow_))
    target = out or run / "generated" / f"seed{seed}{f'-label{label}' if label is not None else ''}"
    samples = model.generate(n, seed, label, truncation)
    written = model.domain.save(samples, target)
    if out is None or not out.suffix:
        model.domain.show(samples, target / "grid.png")
        written = [target / "grid.png", *written]
    say(f"{n} samples: {written[0]}" + (f" and {len(written) - 1} more files in {target}" if len(written) > 1 else ""))


@app.command(epilog="Examples: ganforge interpolate RUN --out walk.gif | ganforge interpolate RUN --mode linear --out strip.png")
def interpolate(
    run: RunPath,
    waypoints: Annotated[int, typer.Option(help="Latents to visit.")] = 5,
    steps: Annotated[int, typer.Option(help="Samples from one latent to the next.")] = 8,
    mode: Annotated[str, typer.Option(help="spherical or linear.")] = "spherical",
    seed: Seed = 0,
    label: Label = None,
    out: Out = None,
    device: Device = "auto",
    allow_: Allow = None,
) -> None:
    """Walk through latent space: a GIF, or a strip as PNG."""
    from ganforge.core.errors import InputError, nearest
    from ganforge.model import load

    if mode not in ("spherical", "linear"):
        raise InputError(f"unknown mode '{mode}': {nearest(mode, ('spherical', 'linear'))}")
    model = load(run, device, trusted=allow(allow_))
    samples = model.interpolate(waypoints, steps, seed, label, mode)  # type: ignore[arg-type]
    for target in [out] if out else [run / "generated" / f"interpolation-{mode}-seed{seed}{s}" for s in (".gif", ".png")]:
        model.domain.animate(samples, target, steps)
        say(f"{waypoints} latents, {(waypoints - 1) * steps + 1} samples: {target}")


@app.command(epilog="Example: ganforge recipes wgan-gp")
def recipes(name: Annotated[str | None, typer.Argument(help="Tell all about one.")] = None) -> None:
    """List the recipes, or tell what one is, its parameters with their defaults, and its paper."""
    import dataclasses
    import inspect

    from ganforge.recipes.recipe import find_recipe, recipe_names

    if name is None:
        for each in recipe_names():
            recipe = find_recipe(each)
            say(f"{each:12} {recipe.title}: {recipe.paper}")
        return
    recipe = find_recipe(name)
    say(f"{name}: {recipe.title}\nPaper: {recipe.paper}\n\n{inspect.getdoc(recipe)}\n\nParameters (set with --set name=value):")
    meanings = parameter_meanings(recipe)
    for field in dataclasses.fields(recipe):
        default = f"{field.name} = {'null' if field.default is None else field.default}"
        say(f"  {default:32} {meanings.get(field.name, '')}".rstrip())


def parameter_meanings(recipe: type) -> dict[str, str]:
    """What the docstrings of a recipe and its bases say of each parameter, in lines ``name, name: meaning``."""
    import re

    meanings: dict[str, str] = {}
    for each in reversed(recipe.__mro__):
        for names, meaning in re.findall(r"(?m)^\s+([a-z0-9_]+(?:, [a-z0-9_]+)*): (.+)$", each.__dict__.get("__doc__") or ""):
            meanings |= dict.fromkeys(names.split(", "), meaning)
    return meanings


@app.command()
def runs(root: Annotated[Path, typer.Argument(help="Where to look.")] = Path("runs")) -> None:
    """List the runs in a folder."""
    from ganforge.engine.run import Run

    found = sorted(p.parent for p in root.glob("*/run.json")) if root.is_dir() else []
    if not found:
        say(f"no runs in {root}; start one: ganforge train dcgan --data digits")
    for path in found:
        try:
            run = Run.open(path)
            last = (run.lines("log") or [{}])[-1]
            data = run.facts["data"]["path"]
        except GanforgeError as error:
            say(f"{path}  damaged: {error}")
            continue
        say(f"{path}  {data}  {last.get('round', 0):,} rounds  {last.get('samples', 0):,} samples  {last.get('seconds', 0):,.0f} s")


@app.command()
def report(run: RunPath) -> None:
    """Write report.html of a run anew."""
    from ganforge.engine.run import Run
    from ganforge.report import write_report

    say(str(write_report(Run.open(run))))


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if show:
        from ganforge import __version__

        say(f"ganforge {__version__}")
        raise typer.Exit(0)


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 training could not go on, 2 wrong input, 130 interrupted."""
    try:
        app()
    except GanforgeError as error:
        if os.environ.get("RANK", "0") == "0":
            typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
