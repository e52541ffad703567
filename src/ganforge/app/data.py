"""ganforge data: look at images before training on them, write shards, and see what the cache holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ganforge.app.arguments import Json, Kind, count_to_stderr
from ganforge.app.written import Overwrite, refuse_others, remember

data_app = typer.Typer(
    help="Look at data, write them as shards, or clear the cache.", no_args_is_help=True, rich_markup_mode=None
)


@data_app.command(
    epilog="Examples: ganforge data shards photos/ --out shards/ | ganforge data shards faces.zip --out s64/ "
    "--resolution 64 | ganforge train r3gan --data s64/"
)
def shards(
    path: Annotated[
        str,
        typer.Argument(help="A folder, .zip, .npz, .parquet, hf:name or a built-in set of images.", metavar="DATA"),
    ],
    out: Annotated[Path, typer.Option(help="The folder to make.")],
    mebibytes: Annotated[int, typer.Option(min=1, max=1_048_576, help="Size of a shard, in MiB.")] = 128,
    prefix: Annotated[str, typer.Option(help="What the names of the shards start with.")] = "train",
    seed: Annotated[int, typer.Option(help="Seed of the order.")] = 0,
    resolution: Annotated[
        str | None, typer.Option(help="Resize to 64, or HEIGHTxWIDTH. Default: files are kept as they are.")
    ] = None,
    channels: Annotated[int | None, typer.Option(help="Image channels: 1, 3 or 4.")] = None,
    label_column: Annotated[str | None, typer.Option(help="The column of metadata.csv that holds the class.")] = None,
    split: Annotated[str | None, typer.Option(help="Only this split, such as train.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at a corrupt file instead of leaving it out.")] = False,
) -> None:
    """Write images and their classes as .tar shards (WebDataset), to be streamed from disk or a store."""
    from ganforge.config import checked, quantity
    from ganforge.core.errors import InputError
    from ganforge.domains.image import ImageOptions
    from ganforge.domains.streamed_write import write_shards

    if not prefix or not all(c.isalnum() or c in "-_." for c in prefix):
        raise InputError(f"--prefix '{prefix}': letters, digits, -, _ and . only")
    size = None if resolution is None else quantity(resolution)
    given = {"resolution": size, "channels": channels, "label_column": label_column, "split": split, "strict": strict}
    options = checked(ImageOptions, {k: v for k, v in given.items() if v is not None}, "data")
    written = write_shards(path, out, options, mebibytes, prefix, seed, count_to_stderr("images"))
    typer.echo(f"{written.count:,} images in {len(written.paths):,} shard{'s' * (len(written.paths) != 1)}: {out}")
    if written.skipped:
        name, reason = written.skipped[0]
        typer.echo(f"left out {len(written.skipped):,} that cannot be read, the first: {name}: {reason}", err=True)


@data_app.command(
    epilog="Examples: ganforge data inspect photos/ | ganforge data inspect faces.zip --out audit.png --json"
)
def inspect(
    path: Annotated[
        str,
        typer.Argument(
            help="A folder, .zip, .npz, .parquet, .tar shards, .csv, .txt, .smi, or a built-in set.", metavar="DATA"
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Where to write the contact sheet (default ./contact-sheet.png).")
    ] = None,
    label_column: Annotated[str | None, typer.Option(help="The column of metadata.csv that holds the class.")] = None,
    split: Annotated[str | None, typer.Option(help="Only this split, such as trainA.")] = None,
    domain: Kind = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Count and check images: sizes, modes, corrupt and duplicate files, class balance, a contact sheet. For a table,
    text, molecules ..: how training would read them, with a picture."""
    from ganforge.config import checked
    from ganforge.domains.audit import inspect_images
    from ganforge.domains.image import ImageDomain, ImageOptions
    from ganforge.domains.survey import as_kind, other_kinds, readers, survey

    given = {k: v for k, v in {"label_column": label_column, "split": split}.items() if v is not None}
    sheet = out or Path("contact-sheet.png")
    refuse_others([sheet], overwrite)
    able = readers(path) if domain is None else [as_kind(path, domain)]
    if able[0].DOMAIN.kind == ImageDomain.kind:
        options = checked(ImageOptions, given, "data")
        audit = inspect_images(path, options, sheet, None if as_json else count_to_stderr("images"))
    else:
        checked(able[0].OPTIONS, given, "data")  # InputError: of this kind, data have no such
        audit = survey(path, able, sheet)
    remember([sheet])
    if as_json:
        typer.echo(json.dumps(audit.to_dict(), indent=2))
    else:
        typer.echo("\n".join(audit.lines()))
        for line in other_kinds(path, able[0].DOMAIN.kind) if domain is None else ():
            typer.echo(line)
        typer.echo(f"contact sheet: {sheet}")


@data_app.command(epilog="Examples: ganforge data cache | ganforge data cache --clear all")
def cache(
    clear: Annotated[
        str | None, typer.Option(help="Remove one kind, or everything that can be computed again.", metavar="KIND|all")
    ] = None,
) -> None:
    """Show what ganforge has cached on this disk, or remove it."""
    from ganforge.domains import cache as store

    for each in store.clear(clear) if clear else store.kept():
        typer.echo(f"{each.kind:16} {each.size / 2**20:9.1f} MiB in {each.files:5,} files  {each.what}: {each.path}")
    if clear:
        typer.echo("removed; running trainings keep what they have open")
