"""ganforge data inspect: an audit of images before training on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

data_app = typer.Typer(help="Look at data before training on it.", no_args_is_help=True)


@data_app.command(
    epilog="Examples: ganforge data inspect photos/ | ganforge data inspect faces.zip --out audit.png --json"
)
def inspect(
    path: Annotated[str, typer.Argument(help="A folder, .zip, .npz, .parquet, or a built-in set of images.")],
    out: Annotated[
        Path | None, typer.Option(help="Where to write the contact sheet (default ./contact-sheet.png).")
    ] = None,
    label_column: Annotated[str | None, typer.Option(help="The column of metadata.csv that holds the class.")] = None,
    split: Annotated[str | None, typer.Option(help="Only this split, such as trainA.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count, measure and check images: sizes, modes, corrupt and duplicate files, class balance, a contact sheet."""
    from ganforge.config import checked
    from ganforge.core.errors import InputError
    from ganforge.domains import module_for
    from ganforge.domains.audit import inspect_images
    from ganforge.domains.image import ImageDomain, ImageOptions

    module = module_for(path)
    if module.DOMAIN is not ImageDomain:
        raise InputError(f"'{path}' is of kind {module.DOMAIN.kind}: data inspect looks at images")
    given = {"label_column": label_column, "split": split}
    options = checked(ImageOptions, {k: v for k, v in given.items() if v is not None}, "data")
    sheet = out or Path("contact-sheet.png")
    audit = inspect_images(path, options, sheet)
    if as_json:
        typer.echo(json.dumps(audit.to_dict(), indent=2))
    else:
        typer.echo("\n".join(audit.lines()))
        typer.echo(f"contact sheet: {sheet}")
