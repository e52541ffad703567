"""The first line of a verb. Loading PyTorch takes seconds, on a busy machine many: silence looks like a fault."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

HEAVY = "torch"
SILENT = ("--quiet", "--json")


class Starting(MetaPathFinder):
    """Finds nothing. Says that PyTorch loads as it begins to: a timer could be late, for loading can halt threads."""

    said = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Leaves every module to the other finders."""
        if fullname == HEAVY and not self.said:
            self.said = True
            typer.echo(".. loading PyTorch", err=True)
        return None


@contextlib.contextmanager
def announced() -> Iterator[None]:
    """Within the block, the start of PyTorch is told: on stderr, once, where it is not loaded yet."""
    finder = Starting()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class Verb(TyperCommand):
    """A command that says what it waits for, where someone watches who did not ask for silence or for JSON."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Abort where it is interrupted: of itself, typer would end without a word."""
        try:
            return self.begin(ctx)
        except KeyboardInterrupt as error:
            raise typer.Abort from error
        except RuntimeError as error:  # Python 3.11 hides one that comes while a class is made
            if isinstance(error.__cause__, KeyboardInterrupt):
                raise typer.Abort from error
            raise

    def begin(self, ctx: Any) -> Any:
        """Say that PyTorch loads, where that is of use, and run the command."""
        silent = any(ctx.params.get(p.name) is True for p in self.params if set(SILENT) & set(p.opts))
        if silent or os.environ.get("RANK", "0") != "0" or not sys.stderr.isatty():
            return super().invoke(ctx)
        with announced():
            return super().invoke(ctx)
