"""Every command that the pages and docstrings show is one: its script, its options, its recipe, its settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import typer

from ganforge.app.cli import app
from ganforge.domains import modules
from ganforge.engine.options import TrainOptions
from ganforge.recipes.recipe import find_recipe, recipe_names

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.py")]
CODE = re.compile(r"```.*?\n(.*?)```|`([^`]+)`", re.DOTALL)
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
SET = re.compile(r"""--set ['"]?([a-z_.0-9]+)=""")


def shown(page: Path) -> Iterator[str]:
    """The commands of a page, one line each."""
    for block, inline in CODE.findall(page.read_text(encoding="utf-8")):
        text = re.sub(r"\\\n\s*", " ", block) if block else " ".join(inline.split())
        for line in text.splitlines():
            for part in re.split(r"\s#|&&|\s\|\s|;\s", line):
                command = re.search(r"(?:python bench/|ganforge )\w.*", part.strip())
                if command and part.strip().startswith(("python", "ganforge", "OMP_NUM_THREADS")):
                    yield command[0]


@cache
def options_of(script: str) -> frozenset[str]:
    """The options of a script of bench/."""
    path = ROOT / "bench" / script
    assert path.is_file(), f"no bench/{script}"
    return frozenset(re.findall(r'"(--[a-z-]+)"', path.read_text(encoding="utf-8")))


@cache
def commands() -> dict[str, frozenset[str]]:
    """The options of each command of ganforge, by its words."""
    found: dict[str, frozenset[str]] = {}
    places = [("", typer.main.get_command(app))]
    while places:
        words, command = places.pop()
        found[words] = frozenset(name for p in command.params for name in (*p.opts, *p.secondary_opts)) | {"--help"}
        places += [(f"{words} {name}".strip(), c) for name, c in getattr(command, "commands", {}).items()]
    return found


@cache
def settings() -> frozenset[str]:
    """All that --set may name, of any recipe and any kind of data."""
    recipes = {field for name in recipe_names() for field in find_recipe(name).__dataclass_fields__}
    data = {f"data.{field}" for m in modules() for field in m.OPTIONS.__dataclass_fields__}
    return frozenset(recipes | data | {f"train.{field}" for field in TrainOptions.__dataclass_fields__} | {"name"})


def wrong(page: Path) -> list[str]:
    """What is wrong with the commands of a page."""
    text = page.read_text(encoding="utf-8")
    found = []
    for line in shown(page):
        found += [f"nothing is called {key}: {line}" for key in SET.findall(line) if key not in settings()]
        words = line.split()[1:]
        if line.startswith("python"):
            known = options_of(words[0].removeprefix("bench/"))
        else:
            name = next((n for n in (" ".join(words[:2]), words[0]) if n in commands()), None)
            if name is None:
                found += [f"no command {words[0]}: {line}"] if words[0].islower() else []
                continue
            known = commands()[name] | commands()[""]
            recipe = words[1] if name == "train" and len(words) > 1 else "-"
            if recipe not in recipe_names() and not (recipe[0] == "-" or recipe.isupper() or ":" in recipe):
                own = f"recipes/{recipe.replace('-', '_')}.py" in text  # the page says how to write it
                found += [] if own else [f"no recipe {recipe}: {line}"]
        found += [f"no {option}: {line}" for option in OPTION.findall(line) if option not in known]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_are_known(page: Path) -> None:
    assert wrong(page) == []


def test_a_slip_in_a_page_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "`ganforge trane dcgan`, `ganforge train dcgn` and `ganforge generate RUN --lable 3`\n```\n"
        "python bench/curve.py --minuets 3   # or more\nganforge train dcgan \\\n    --set sizes=8\n```\n"
    )
    assert [text.split(":")[0] for text in wrong(page)] == [
        "no command trane", "no recipe dcgn", "no --lable", "no --minuets", "nothing is called sizes",
    ]  # fmt: skip
    assert sum(len(list(shown(page))) for page in PAGES) > 200
