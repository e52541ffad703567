"""What several verbs take, and how they say things. Imports nothing heavy."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ganforge.core.errors import InputError

INTERRUPTED = 130

RunPath = Annotated[Path, typer.Argument(help="A run folder, as 'ganforge runs' lists them.", metavar="RUN")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same samples.")]
Label = Annotated[str | None, typer.Option(help="A class, by name or index (conditional models).")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Allow = Annotated[
    str | None,
    typer.Option("--allow", help="A module of your own that the recipe may be imported from.", metavar="MODULE"),
]
Out = Annotated[Path | None, typer.Option(help="Where to write; the suffix decides the format.")]


def say(text: str) -> None:
    """Print a plain line."""
    typer.echo(text)


def allow(module: str | None) -> None:
    """Import the user's own module, if one is named: only what is imported already may be a run's recipe."""
    if not module:
        return
    sys.path.insert(0, os.getcwd())
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"--allow {module}: {error}") from error
