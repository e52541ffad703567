"""The command ``ganforge translate``: images from images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ganforge.app.arguments import Allow, Device, RunPath, Seed, allow_module, count_to_stderr, say, telling
from ganforge.app.written import Overwrite, refuse_others, remember
from ganforge.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np

TRANSLATE_EXAMPLES = (
    "Examples: ganforge translate RUN labels/ --out photos/ | ganforge translate RUN zebra.jpg --out horse.png "
    "--direction BtoA | ganforge translate RUN good.png --degrade --out back.png | ganforge translate RUN faces/ --out "
    "aged/ --to 20,40,60"
)


def translate(
    run: RunPath,
    input_: Annotated[Path, typer.Argument(help="An image, or a folder or .zip of images.", metavar="INPUT")],
    out: Annotated[
        Path, typer.Option(help="A .png for one image; for several, a folder, which keeps their names (as .png).")
    ],
    direction: Annotated[str | None, typer.Option(help="AtoB or BtoA, if the model has both.")] = None,
    seed: Seed = 0,
    degrade: Annotated[
        bool, typer.Option("--degrade", help="The input is good: degrade it first, as in training.")
    ] = False,
    tile: Annotated[
        int, typer.Option(help="Images larger than this many pixels are translated in overlapping tiles of this size.")
    ] = 512,
    to: Annotated[
        str | None,
        typer.Option(help="For models that change a number: the value to give it, such as 70, or several: 20,40,60."),
    ] = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    allow: Allow = None,
) -> None:
    """Make images from images of any size; file names, transparency and grey are kept."""
    from ganforge.domains.image_frames import only_first
    from ganforge.model import load

    allow_module(allow)
    if not input_.exists():
        raise InputError(f"no image and no folder at {input_}")
    single = input_.is_file() and input_.suffix.lower() != ".zip"
    if single and out.suffix.lower() not in ("", ".png"):
        raise InputError(f"cannot write '{out.name}': one image becomes a .png, or goes into a folder")
    if not single and out.suffix:
        raise InputError(f"--out {out}: several images go into a folder")
    check_apart(input_, out)
    model = load(run, device)
    values = None if to is None else numbers(to)
    model.translate([], direction, tile=tile, to=values)  # says what is wrong before anything is read
    made, skipped, several, written = 0, [], {}, []
    heard = count_to_stderr("images")
    names, found = images(input_, single, skipped.append, several)
    refuse_others((path for name in names.values() for path in places(out, single, name, values)), overwrite)
    try:
        with telling(quiet=not single, doing=f"translating {input_.name}"):  # of several, they are counted
            for group in groups(found):
                done = model.translate([levels for _, levels in group], direction, seed, degrade, tile, values)
                each = [done] if values is None else done
                for (name, _), *versions in zip(group, *each, strict=True):
                    written += put(places(out, single, name, values), versions)
                    made += 1
                    heard(made + len(skipped), len(names))
    finally:  # what was written before something went wrong is ours, too
        remember(written)
    if not made:
        raise InputError(f"{input_}: no image that can be read" + (f" ({': '.join(skipped[0])})" if skipped else ""))
    for name, reason in skipped:
        typer.echo(f"skipped {name}: {reason}", err=True)
    if several:
        typer.echo(f"{only_first(several, 'translated')}; a folder of its frames is translated whole", err=True)
    apart = values is not None and len(values) > 1 and not (single and out.suffix)
    of_each = f" for each of {len(values)} values" if values is not None and apart else ""
    say(f"{made:,} {'image' if made == 1 else 'images'}{of_each}: {written[-1] if single and not apart else out}")


def check_apart(given: Path, out: Path) -> None:
    """InputError where what is made would take the place of what it is made from, or lie among it."""
    given, place = given.resolve(), out.resolve()
    if given.is_dir() and (place == given or given in place.parents):
        where = "the input" if place == given else "in the input"
        raise InputError(f"--out {out} is {where}: the results would be mixed with the inputs")
    if not given.is_dir() and given in (place, place / f"{given.stem}.png"):
        raise InputError(f"--out {out}: the result would replace {given.name}, the input")


def numbers(text: str) -> list[float]:
    """What --to says: '70', or '20,40,60'. InputError names what is no number."""
    found = []
    for part in text.split(","):
        try:
            found.append(float(part))
        except ValueError:
            raise InputError(f"--to {text}: '{part.strip()}' is not a number; several are given as 20,40,60") from None
    return found


def places(out: Path, single: bool, name: str, values: list[float] | None) -> list[Path]:
    """Where an image's versions go: side by side to one .png, or to a folder for each value where there are several."""
    if single and out.suffix:
        return [out]
    if values is None or len(values) == 1:
        return [out / name]
    return [out / f"{value:g}" / name for value in values]


def put(paths: list[Path], versions: list[np.ndarray]) -> list[Path]:
    """Write the versions of an image, side by side where there is one path only. Returns the paths."""
    import numpy as np

    from ganforge.domains.image_pictures import make_folder, png, write

    for path, image in zip(paths, versions if len(paths) > 1 else [np.concatenate(versions, 1)], strict=True):
        make_folder(path.parent)
        write(path, png(storable(image)))
    return paths


def storable(image):  # type: ignore[no-untyped-def]
    """As PNG can hold it: 16 bits only for grey without transparency."""
    return image if image.dtype.itemsize == 1 or image.shape[2] == 1 else (image >> 8).astype("uint8")


def images(
    path: Path, single: bool, skip: Callable[[tuple[str, str]], None], several: dict[str, int]
) -> tuple[dict[str, str], Iterator[tuple[str, np.ndarray]]]:
    """The .png to write for each name; and (.png, levels [height, width, channels]) of each image that can be read.

    ``skip`` is told of the others, ``several`` takes how many frames files have that are read to the first one only.
    """
    from ganforge.domains.image_decode import Entry, Fit, decode, in_order
    from ganforge.domains.image_files import open_files
    from ganforge.domains.image_frames import frames

    if single:
        entries = [Entry(path.name, path.read_bytes)]
    else:
        files = open_files(path)
        entries = [Entry(name, lambda name=name: files.read(name)) for name in files.images]
    names = png_names([entry.name for entry in entries])

    def read(entry: Entry) -> tuple[np.ndarray, int]:
        content = entry.load()
        return decode(content, Fit(), 100_000_000), frames(content)

    def found() -> Iterator[tuple[str, np.ndarray]]:
        for entry, given in in_order(read, iter(entries), None):
            if isinstance(given, str):
                skip((entry.name, given))
                continue
            planes, count = given
            if count > 1:
                several[entry.name] = count
            yield names[entry.name], planes.transpose(1, 2, 0)

    return names, found()


def png_names(names: list[str]) -> dict[str, str]:
    """a/b.jpg becomes a/b.png; where two would share a name, they keep their suffixes: b.jpg.png."""
    stems = Counter(os.path.splitext(name)[0] for name in names)
    found = {n: (os.path.splitext(n)[0] if stems[os.path.splitext(n)[0]] == 1 else n) + ".png" for n in names}
    return found if len(set(found.values())) == len(found) else {n: f"{n}.png" for n in names}


def groups(
    found: Iterator[tuple[str, np.ndarray]], size: int = 64, values: int = 2**24
) -> Iterator[list[tuple[str, np.ndarray]]]:
    """A few at a time, so that neither a big folder nor big images fill the memory."""
    group: list[tuple[str, np.ndarray]] = []
    for one in found:
        group.append(one)
        if len(group) == size or sum(levels.size for _, levels in group) >= values:
            yield group
            group = []
    if group:
        yield group
