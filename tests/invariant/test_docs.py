"""What the pages name exists: links, files, papers; and what exists is named: recipes, losses, metrics, tutorials."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ganforge.recipes.recipe import recipe_names

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
PACKAGE = ROOT / "src" / "ganforge"
INDEX = (ROOT / "docs" / "paper_index.md").read_text(encoding="utf-8")
FILE = re.compile(r"(?<![\w./-])((?:[\w*]+/)*[\w*]+\.py|[a-z_]+/)(?=$|[\s,;)`])")
CODE = re.compile(r"`([^`\n]+)`")
ARXIV = re.compile(r"arxiv\.org/abs/(\d{4}\.\d{4,5})")
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s#]*)(?:#([^)\s]*))?\)")


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub writes them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links(page: Path) -> None:
    for place, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = page.parent / place if place else page
        assert target.exists(), f"no {place}"
        assert not anchor or anchor in anchors(target), f"no heading #{anchor} in {place or page.name}"


def absent(text: str) -> list[str]:
    """The files and folders of the package that a page names in code, and that are not there."""
    named = [name for code in CODE.findall(text) for name in FILE.findall(code)]
    return [
        n for n in named if not any(found for at in (PACKAGE, ROOT) for found in (*at.glob(n), *at.rglob(f"*/{n}")))
    ]


@pytest.mark.parametrize("page", ["docs/paper_index.md", "docs/architecture.md", "README.md"])
def test_files_that_are_named_exist(page: str) -> None:
    a_run_holds = {"model/"}
    assert set(absent((ROOT / page).read_text(encoding="utf-8"))) <= a_run_holds


def test_a_file_that_is_not_there_is_found() -> None:
    assert absent("`recipes/gan.py`, `nn/gone.py` and `latent/`, `gone/`; `rows.py`, `rose.py`") == [
        "nn/gone.py", "gone/", "rose.py",
    ]  # fmt: skip


def test_the_index_has_every_recipe_loss_and_metric() -> None:
    """Its row says what a file implements, and from which paper."""
    files = [f"recipes/{name.replace('-', '_')}.py" for name in recipe_names()]
    files += [
        f"{place}/{p.name}" for place in ("losses", "measure/metrics") for p in (PACKAGE / place).glob("[!_]*.py")
    ]
    assert [name for name in files if f"`{name}`" not in INDEX] == []


def test_the_index_has_every_paper_that_the_code_links() -> None:
    cited = {paper for path in PACKAGE.rglob("*.py") for paper in ARXIV.findall(path.read_text(encoding="utf-8"))}
    assert len(cited) > 40 and cited - set(ARXIV.findall(INDEX)) == set()


def test_the_readme_has_every_recipe_and_tutorial() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = "".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    assert [name for name in recipe_names() if f"`{name}`" not in table] == []
    tutorials = (ROOT / "docs" / "tutorials").glob("*.md")
    assert [page.name for page in tutorials if f"](docs/tutorials/{page.name})" not in text] == []


def loose(text: str) -> list[str]:
    """Rows of a table that belong to none, as after an empty line: they are shown as text."""
    lines = re.sub(r"```.*?```", "", text, flags=re.DOTALL).split("\n")
    starts = [i for i, line in enumerate(lines) if line.startswith("|") and not lines[i - 1].startswith("|")]
    return [lines[i] for i in starts if not re.match(r"\|[\s:|-]+\|$", lines[i + 1])]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_tables_are_whole(page: Path) -> None:
    assert loose(page.read_text(encoding="utf-8")) == []


def test_a_row_without_a_table_is_found() -> None:
    assert loose("text\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n| 3 | 4 |\n\nend") == ["| 3 | 4 |"]
