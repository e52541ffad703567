"""The command ``ganforge evaluate``: a run, or anyone's samples, judged by real data."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ganforge.app.arguments import (
    Allow,
    Device,
    Generated,
    Json,
    JudgeSeed,
    Kind,
    Quiet,
    Weights,
    allow_module,
    listed,
    telling,
)
from ganforge.app.written import Overwrite, refuse_others, remember
from ganforge.core.errors import InputError, nearest_path

if TYPE_CHECKING:
    from ganforge.domains.domain import Domain, Source

METRICS = (
    "fid", "fid_infinity", "kid", "prdc", "is", "birthday", "memorization", "vendi", "swd", "modes",
    "likelihood", "bias", "tstr", "held_out_discriminator", "ppl",
)  # fmt: skip
ON_REQUEST = METRICS[11:]
FEATURES = ("auto", "pixels", "values", "classifier", "self-supervised", "inception", "squeezenet", "onnx:FILE")
"""As in ganforge.measure, which is imported only when it is used; a test compares them."""


def evaluate(
    what: Annotated[
        str, typer.Argument(help="A run, or samples: a folder, .zip, .npz, .csv, .txt.", metavar="RUN|SAMPLES")
    ],
    against: Annotated[
        str | None,
        typer.Option(
            help="The real data: a folder, .zip, .npz, .parquet, .csv or built-in set. Default: those of the run."
        ),
    ] = None,
    holdout: Annotated[str | None, typer.Option(help="Real data that the model has not seen.")] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help=f"Some of {', '.join(METRICS)}, comma-separated; the last {len(ON_REQUEST)} run only if named. "
            "Tables, text and other kinds of data have metrics of their own, which are their default."
        ),
    ] = None,
    features: Annotated[str, typer.Option(help=f"One of {', '.join(FEATURES)}.")] = "auto",
    weights: Weights = None,
    n: Generated = None,
    real: Annotated[int | None, typer.Option(min=1, help="Use at most this many real samples on each side.")] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Compare with all real samples, not with half of them.")
    ] = False,
    neighbors: Annotated[
        int, typer.Option(min=1, help="Nearest neighbors for precision, recall, density and coverage.")
    ] = 5,
    resizer: Annotated[str, typer.Option(help="bicubic or bilinear, both antialiased.")] = "bicubic",
    domain: Kind = None,
    resolution: Annotated[str | None, typer.Option(help="Read images at this size: 64, or HEIGHTxWIDTH.")] = None,
    channels: Annotated[int | None, typer.Option(help="Read images with 1, 3 or 4 channels.")] = None,
    target: Annotated[
        str | None, typer.Option(help="For tables: the column that f1 (a class), r2 (a number) and tstr predict.")
    ] = None,
    seed: JudgeSeed = 0,
    truncation: Annotated[float, typer.Option(help="For a run: below 1, less variety.")] = 1.0,
    json: Json = False,
    out: Annotated[Path | None, typer.Option(help="Folder for evaluation.json and duplicates.png; or a .json.")] = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    allow: Allow = None,
    quiet: Quiet = False,
) -> None:
    """Judge a run, or samples from any tool: metrics with intervals, beside what real data score against real data."""
    from ganforge import judge

    names = listed(metrics)
    allow_module(allow)
    keep = bool(out and out.suffix != ".json")
    refuse_others([out] if out else [], overwrite)
    with telling(quiet or json) as tell:
        opened = unseen = None
        if against is None:
            against, real_domain, source, unseen = own_data(what)
            opened = real_domain, source
            tell(f"judging by the data that it was trained on, {against}; --against DATA chooses other data")
        result, real_domain, source = judge.compare(
            what, against, holdout=holdout, metrics=names, features=features, weights=weights, n=n, real=real,
            whole=whole, neighbors=neighbors, resizer=resizer, resolution=resolution, channels=channels, seed=seed,
            truncation=truncation, device=device, keep=keep, tell=tell, target=target, opened=opened,
            unseen=unseen, kind=domain,
        )  # fmt: skip
    if not result.scores:
        raise InputError(f"nothing can be scored: {'; '.join(result.obstacles()) or 'no metric applies'}")
    if out is not None:
        written = judge.write(result, real_domain, source, out)
        remember(written)
        for path in written:
            if not json:
                typer.echo(f"wrote {path}")
    typer.echo(json_text.dumps(result.to_dict(), indent=2) if json else "\n".join(result.lines()))


def own_data(what: str) -> tuple[str, Domain, Source, Source | None]:
    """The data that a run was trained on, and what was held out. InputError for samples in files: nobody knows what
    they are made after."""
    from ganforge.appraisal import own_data as of_run
    from ganforge.domains import is_builtin

    if not (Path(what) / "run.json").is_file():
        if not Path(what).exists() and not is_builtin(what):
            raise InputError(f"{what} does not exist; 'ganforge runs' lists runs{nearest_path(Path(what))}")
        raise InputError(f"which real data is {what} to be judged by? give --against DATA")
    return of_run(Path(what))
