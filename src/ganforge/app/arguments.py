"""What several verbs take, and how they say things. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ganforge.core.errors import InputError, nearest

if TYPE_CHECKING:
    from ganforge.domains.domain import Domain
    from ganforge.model import Model

INTERRUPTED = 130
SOON, STILL, LONG = 2.0, 10.0, 60.0
"""Seconds without a word after which it is said what is done at first; and after which it is said that work goes on,
then twice as many, and so on; the same where it was said how many seconds are left."""

RunPath = Annotated[Path, typer.Argument(help="A run folder, as 'ganforge runs' lists them.", metavar="RUN")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same samples.")]
Label = Annotated[str | None, typer.Option(help="A class, by name or index (conditional models).")]
Code = Annotated[
    list[str] | None,
    typer.Option(
        "--code",
        help="Set a code of the model (InfoGAN): category=3, code1=-1.5; of several values, such as category=0,1,2, "
        "each in turn. May be repeated.",
        metavar="NAME=VALUE",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Allow = Annotated[
    str | None,
    typer.Option("--allow", help="Your own module, from which the recipe may be imported.", metavar="MODULE"),
]
Kind = Annotated[
    str | None,
    typer.Option(
        "--domain",
        help="The kind of data to read files as: image, video, captions, paired, unpaired, attribute, table, "
        "molecules, text. Default: recognized from the files.",
        metavar="KIND",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        help="Where to write; the suffix sets the format. A file that ganforge did not write is not replaced."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the result.")]
Silent = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")]
Weights = Annotated[Path | None, typer.Option(help="Weights of the feature network (safetensors).")]
Generated = Annotated[int | None, typer.Option("-n", "--number", min=1, help="Generated samples (up to 10,000).")]
JudgeSeed = Annotated[int, typer.Option(help="Seed of the samples, the split and all random choices.")]
DirectionKind = Annotated[
    str,
    typer.Option(
        help="principal: what changes samples most; features: principal components of activations (GANSpace); "
        "closed-form: eigenvectors of the weights that read the latent (SeFa); coordinate: the latent's own axes."
    ),
]
Layer = Annotated[
    str | None,
    typer.Option(help="Work in this layer's output instead of z: G.mapping is StyleGAN's w, code is InfoGAN's codes."),
]
DIRECTIONS = ("principal", "coordinate", "features", "closed-form")
"""The kinds of directions of latent space."""


def say(text: str) -> None:
    """Print a plain line."""
    typer.echo(text)


def listed(text: str | None) -> tuple[str, ...]:
    """Names with commas between them; none of None."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def count_to_stderr(what: str) -> Callable[[int, int], None]:
    """Says on stderr now and then how many of how many there are."""
    from ganforge.progress import now_and_then

    return now_and_then(lambda text: typer.echo(f".. {text}", err=True), what)


@contextlib.contextmanager
def telling(
    quiet: bool = False, apart: str | None = None, doing: str = "reading data"
) -> Iterator[Callable[[str], None]]:
    """A function that says on stderr what is done next, and after some time that it is still being done.

    What begins with ``apart`` says itself how far it is. ``doing`` is what is done at first, told if
    it takes some time.
    """
    if quiet:
        yield lambda text: None
        return
    now, since, ended = doing, time.monotonic(), threading.Event()

    def tell(text: str) -> None:
        nonlocal now, since
        now, since = text, time.monotonic()
        typer.echo(f".. {text}", err=True)

    def watch() -> None:
        unsaid = True
        at, wait = since, STILL
        while not ended.wait(min(0.5, STILL / 4)):
            if at != since:
                at, wait = since, LONG if now.endswith(" left") else STILL
            elif now is doing and unsaid and time.monotonic() - at >= SOON:
                unsaid = False
                typer.echo(f".. {now}", err=True)
            elif time.monotonic() - at >= wait and not (apart and now.startswith(apart)):
                typer.echo(f".. {now}: {time.monotonic() - at:.0f} s so far", err=True)
                wait *= 2

    watcher = threading.Thread(target=watch, name="ganforge-telling", daemon=True)
    watcher.start()
    try:
        yield tell
    finally:
        ended.set()
        watcher.join()


def tag(label: str | None, *asked: str | list[str] | None) -> str:
    """What was asked for, as a part of a file's name: other classes or codes make other files."""
    texts = [] if label is None else [f"label{label}"]
    for each in asked:
        texts += [each] if isinstance(each, str) else each or []
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in "".join(f"-{text}" for text in texts))[:100]


def allow_module(module: str | None) -> None:
    """Import the user's own module, if one is named: only what is imported already may be a run's recipe."""
    if not module:
        return
    sys.path.insert(0, os.getcwd())
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"--allow {module}: {error}") from error


def open_run(run: Path, device: str, allowed: str | None, codes: list[str] | None = None) -> Model:
    """The model of a run, whose recipe may come from the module that is ``allowed``; with chosen ``codes``.

    From here on this process takes the CPU threads that suit what the model makes."""
    import torch

    from ganforge.core.device import threads_for
    from ganforge.model import CHUNK, load

    allow_module(allowed)
    model = load(run, device)
    torch.set_num_threads(threads_for(CHUNK * math.prod(model.domain.shape)))
    return model.choose(codes) if codes else model


def check_directions(kind: str) -> None:
    """InputError for an unknown kind of directions."""
    if kind not in DIRECTIONS:
        raise InputError(f"unknown kind '{kind}': {nearest(kind, DIRECTIONS)}")


def check_strips(out: Path | None, domain: Domain | None = None) -> None:
    """InputError for a picture of an unknown format, and for a kind of samples that has no pictures of the kind."""
    if out is not None and out.suffix.lower() not in (".gif", ".mp4", ".png"):
        raise InputError(f"cannot write '{out.name}': give a .gif, an .mp4 or a .png")
    if domain is not None and not domain.animated:
        raise InputError(f"this model makes samples of kind '{domain.kind}', which cannot be drawn side by side")
