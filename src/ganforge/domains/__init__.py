"""Kinds of data, a module each.

A module has ``DOMAIN`` (its Domain class), ``OPTIONS`` (a dataclass), ``accepts(spec)`` and ``open(spec, options)``;
it may have ``BUILTIN`` (names of built-in sets), ``PRIORITY`` (where several accept), ``READS`` (what it reads, in
words, for errors), ``ASKED`` (only recipes that name its kind get it), ``open_like(spec, like, split=None)`` (other
data, or their part ``split``, as the domain ``like`` has them; a must where the domain is ``coded``), ``looks(spec)``
(what tells that files are of this kind, in words, where others read them too; empty: nothing does) and
``open_beside(spec, samples)`` (data that samples in files are judged by, and notes on that). ``OPTIONS`` may have
``ELSEWHERE``: the options that say where a part of the data is, so that they are of these data alone.
A kind may have several modules: a folder and shards of captioned images are read in different ways, with options of
their own, and give the same domain.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ganforge.core.errors import InputError, nearest_path
from ganforge.domains.domain import Domain, Source
from ganforge.domains.image_arrays import npz_shapes

__all__ = ["Domain", "Source", "domain_from_dict", "is_builtin", "module_for", "open_data"]


def modules() -> list[ModuleType]:
    """All domain modules: those of this package that define a ``DOMAIN``."""
    found = (importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__))
    return [m for m in found if hasattr(m, "DOMAIN")]


def is_builtin(name: str) -> bool:
    """Whether ``name`` is that of a built-in set."""
    return any(name in getattr(m, "BUILTIN", ()) for m in modules())


def module_for(spec: str, kinds: Sequence[str] = ()) -> ModuleType:
    """The domain module that reads ``spec`` (a built-in name or a path). InputError when none does.

    ``kinds`` are those that a recipe is for (all, if empty): a folder may be read as images, or as pairs of images.
    """
    wanted = [m for m in modules() if (m.DOMAIN.kind in kinds if kinds else not hasattr(m, "ASKED"))]
    accepting = [m for m in wanted if m.accepts(spec)]
    if accepting:
        return max(accepting, key=lambda m: getattr(m, "PRIORITY", 0))
    if Path(spec).is_file() and not Path(spec).stat().st_size:
        raise InputError(f"{spec} is empty: a file of 0 bytes")
    if kinds and any(m.accepts(spec) for m in modules()):
        builtin = sorted(name for m in wanted for name in getattr(m, "BUILTIN", ()))
        built_in = f"; built in: {', '.join(builtin)}" if builtin else ""
        needs = "; ".join(getattr(m, "READS", m.DOMAIN.kind) for m in wanted)
        raise InputError(f"{spec} does not hold what this recipe needs: {needs}{built_in}")
    asked = next((m for m in modules() if not kinds and m not in wanted and m.accepts(spec)), None)
    if asked is not None:
        raise InputError(f"{spec} is of kind {asked.DOMAIN.kind}, which this recipe is not for: see 'ganforge recipes'")
    if Path(spec).exists():
        raise InputError(f"{spec}: {what_is_wanted(Path(spec))}")
    builtin = sorted(name for m in modules() for name in getattr(m, "BUILTIN", ()))
    hint = nearest_path(Path(spec), builtin) or f": {', '.join(builtin)}"
    raise InputError(f"no data at '{spec}': no file or folder, and not one of the built-in sets{hint}")


def what_is_wanted(path: Path) -> str:
    """Why nothing reads what is there, and what would be read."""
    arrays = npz_shapes(path) if path.suffix.lower() in (".npz", ".npy") else {}
    if arrays:
        have = ", ".join(f"{name} {list(shape)}" for name, shape in arrays.items())
        return (
            f"no array of images in it ([n, height, width] or [n, height, width, channels]), but {have}; points and "
            "other numbers are read from a .csv with a header line"
        )
    return (
        "nothing here that can be read as images (folder, .zip, .npz, .npy, .parquet, .tar shards), as a table "
        "(.csv, .tsv, .parquet) or as text (.txt)"
    )


def open_data(
    spec: str, options: Any | None = None, kinds: Sequence[str] = (), progress: Callable[[int, int], None] | None = None
) -> tuple[Domain, Source]:
    """Read ``spec`` with the module that accepts it; ``options`` is an instance of that module's ``OPTIONS``.

    ``progress`` hears how many of how many samples are read, where that takes long.
    """
    module = module_for(spec, kinds)
    heard = {"progress": progress} if "progress" in inspect.signature(module.open).parameters else {}
    return module.open(spec, options if options is not None else module.OPTIONS(), **heard)


def domain_from_dict(values: dict[str, Any]) -> Domain:
    """The domain that ``Domain.to_dict`` described."""
    kinds = {m.DOMAIN.kind: m.DOMAIN for m in modules()}
    if values.get("kind") not in kinds:
        raise InputError(f"unknown kind of data '{values.get('kind')}': was this written by a newer ganforge?")
    return kinds[values["kind"]].from_dict(values)
