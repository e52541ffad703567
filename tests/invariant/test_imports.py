"""The house rule: imports point down only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "ganforge"

ALLOWED = {
    "core": set(),
    "ops": {"core"},
    "losses": {"core", "ops"},
    "nn": {"core", "ops"},
    "domains": {"core", "ops"},
    "engine": {"core", "domains"},
    "measure": {"core", "domains", "ops", "nn"},
    "recipes": {"core", "domains", "losses", "nn", "ops"},
    "config": {"core", "domains", "engine", "recipes"},
    "choices": {"core"},
    "translation": {"core", "domains", "ops", "engine.rng"},
    "model": {"core", "domains", "ops", "recipes", "config", "engine.rng", "translation", "choices"},
    "diagnose": {"core", "domains"},
    "samples": {"core", "domains", "engine.rng", "measure", "config", "model"},
    "judge": {"core", "domains", "measure", "model", "samples"},
    "latent": {"core", "domains", "measure", "model", "samples"},
    "duality": {"core", "domains", "losses", "engine", "measure", "config", "plan", "samples"},
    "study": {"core", "domains", "engine.rng", "measure", "config", "model", "samples"},
    "progress": {"core", "engine"},
    "card": {"domains", "recipes"},
    "plan": {"core", "domains", "engine", "recipes", "config", "progress", "card"},
    "fitting": {"core", "domains", "recipes", "config", "plan"},
    "report": {"core", "domains", "engine", "diagnose"},
    "appraisal": {"core", "domains", "engine", "measure", "config", "model", "plan", "samples", "judge", "report"},
    "comparison": {"core", "domains", "engine", "measure", "model", "diagnose", "report", "appraisal"},
    "live": {"core", "domains", "engine", "measure", "diagnose", "plan", "samples", "judge"},
    "examine": {"core", "measure", "diagnose", "model", "live", "appraisal"},
    "api": {
        "live",
        "core",
        "domains",
        "engine",
        "measure",
        "recipes",
        "config",
        "model",
        "progress",
        "report",
        "plan",
        "fitting",
        "judge",
        "diagnose",
    },
    "race": {"core", "domains", "config", "model", "plan", "fitting", "judge", "api"},
    "contest": {"core", "domains", "config", "plan", "api", "race"},
    "augmentation": {"core", "domains", "measure", "recipes", "config", "model", "api"},
    "app": {
        "augmentation",
        "contest",
        "core",
        "domains",
        "engine",
        "measure",
        "recipes",
        "config",
        "model",
        "progress",
        "report",
        "plan",
        "api",
        "samples",
        "judge",
        "latent",
        "duality",
        "study",
        "diagnose",
        "appraisal",
        "comparison",
        "examine",
    },
    "__main__": {"app"},
}
"""Layer -> what it may import, besides itself and the version."""


def imported(path: Path) -> set[str]:
    """All modules of the package that a file imports, at any depth, without the package's own name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ganforge"):
            base = (node.module or "").removeprefix("ganforge").removeprefix(".")
            found |= {base} if base else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("ganforge.")]
            found |= {name.removeprefix("ganforge.") for name in names}
    return found - {"__version__"}


def layer(path: Path) -> str:
    """The layer of a source file: its folder, or its own name at the top."""
    relative = path.relative_to(SOURCE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_down(path: Path) -> None:
    own = layer(path)
    if own == "__init__":
        return
    allowed = ALLOWED[own] | {own}
    wrong = {m for m in imported(path) if not any(m == a or m.startswith(a + ".") for a in allowed)}
    assert not wrong, f"{own} may not import {sorted(wrong)}"


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_package_imports_without_torch() -> None:
    assert run("import sys, ganforge; print('torch' in sys.modules)") == "False"


def test_model_loads_without_the_trainer() -> None:
    assert run("import sys, ganforge.model; print('ganforge.engine.trainer' in sys.modules)") == "False"


def test_torchvision_is_never_needed() -> None:
    for path in SOURCE.rglob("*.py"):
        assert not any(m.startswith("torchvision") for m in imported(path)), path
