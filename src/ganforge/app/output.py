"""Where samples go. A folder notes which files are samples, so that new ones replace those, and nothing else."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ganforge.core.errors import GanforgeError, InputError
from ganforge.core.store import disk_errors, read_json, write_json
from ganforge.domains.image_pictures import make_folder

NOTE = "samples.json"
IGNORED = ("thumbs.db", "desktop.ini")
"""What systems leave in folders by themselves."""


def is_folder(out: Path) -> bool:
    """Whether samples go to a folder: one that is there, or a name without a suffix such as .npz."""
    return out.is_dir() or not re.fullmatch(r"\.[A-Za-z]\w*", out.suffix)


def strangers(folder: Path) -> list[str]:
    """Names of the files in a folder that were not written here before, sorted."""
    if not folder.is_dir():
        return []
    own = {NOTE, *noted(folder)}
    found = (p.name for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    return sorted(name for name in found if name not in own and name.lower() not in IGNORED)


def noted(folder: Path) -> list[str]:
    """The files that a folder's note names, as far as they are in it; none where there is no such note."""
    try:
        names = read_json(folder / NOTE)["files"]
    except (GanforgeError, KeyError, TypeError):
        return []
    plain = [n for n in names if isinstance(n, str) and n == Path(n).name] if isinstance(names, list) else []
    return [name for name in plain if (folder / name).is_file()]


def refuse_strangers(folder: Path) -> None:
    """InputError when a folder holds files that are no samples of before: they would be mixed with the new ones."""
    others = strangers(folder)
    if others:
        more = f" and {len(others) - 1:,} more" if len(others) > 1 else ""
        raise InputError(
            f"{folder} holds files that generate did not write there ({others[0]}{more}): give a new folder, or "
            "--overwrite, which writes beside them (and over those of the same name)"
        )


def refuse_data(out: Path, run: Path) -> None:
    """InputError when ``out`` is a file that the run has learned from: samples would take the place of the data."""
    from ganforge.config import run_settings

    if not out.is_file() or not (run / "config.yaml").is_file():
        return
    facts = run / "run.json"
    settings = run_settings(run, read_json(facts) if facts.is_file() else {})
    used = (settings.path, settings.data.get("target"), settings.train.get("holdout"))
    if any(isinstance(path, str) and Path(path).is_file() and out.samefile(path) for path in used):
        raise InputError(f"--out {out} is what {run} has learned from: samples would take the place of the data")


def fill(folder: Path, write: Callable[[Path], Any], about: Mapping[str, Any], all_old: bool = False) -> list[Path]:
    """Have ``write`` fill a new folder, then move its files to ``folder``; returns them, sorted.

    Samples of before (with ``all_old``, all files there) give way once the new ones are whole. ``about`` goes into the
    note. When anything fails, ``folder`` is as it was.
    """
    made = not folder.exists()
    make_folder(folder)
    with disk_errors(folder):
        work = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))
    try:
        write(work)
        names = sorted(p.name for p in work.iterdir())
        old = [*noted(folder), *(strangers(folder) if all_old else [])]
        write_json(folder / NOTE, {**about, "files": [*names, *(n for n in old if n not in names)]})
        with disk_errors(folder):
            for name in set(old) - set(names):
                (folder / name).unlink(missing_ok=True)
            for name in names:
                os.replace(work / name, folder / name)
        write_json(folder / NOTE, {**about, "files": names})
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()  # only when nothing came into it
    return [folder / name for name in names]
