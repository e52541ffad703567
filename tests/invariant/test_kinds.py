"""The house rule: kinds of data are told apart in domains/ only; elsewhere a domain is asked what it can do."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
import torch

from ganforge.core.errors import InputError
from ganforge.domains import modules, open_data

SOURCE = Path(__file__).resolve().parents[2] / "src" / "ganforge"
KINDS = {m.DOMAIN.kind for m in modules()}


def kinds_named(code: str) -> list[int]:
    """The lines of comparisons of an attribute ``kind`` with the name of a kind of data, or with several."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            named = {c.value for side in sides for c in ast.walk(side) if isinstance(c, ast.Constant)}
            if any(isinstance(s, ast.Attribute) and s.attr == "kind" for s in sides) and named & KINDS:
                found.append(node.lineno)
    return found


def test_the_check_finds_what_it_is_for() -> None:
    code = 'a = domain.kind == "image"\nb = "points" != domain.kind\nc = d.kind in ("table", "x")\nd = e.kind == "tick"'
    assert kinds_named(code) == [1, 2, 3]


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_kind_of_data_is_named(path: Path) -> None:
    if path.parent.name != "domains":
        assert not kinds_named(path.read_text(encoding="utf-8"))


def test_kinds_say_what_they_can_do() -> None:
    domains = {m.DOMAIN.kind: m.DOMAIN for m in modules()}
    assert {kind for kind, domain in domains.items() if domain.plain_images} == {"image"}
    assert {kind for kind, domain in domains.items() if domain.nearness} == {"image", "points"}
    assert {kind for kind, domain in domains.items() if domain.scored} == {
        "image", "points", "table", "paired", "unpaired",
    }  # fmt: skip
    assert {kind for kind, domain in domains.items() if domain.endless} == {"points"}


def test_fresh_samples_are_others_in_the_same_units() -> None:
    domain, source = open_data("ring")
    fresh = domain.fresh(500, seed=1)
    assert len(fresh) == 500 and fresh.fingerprint != source.fingerprint
    points = domain.encode(fresh.take(torch.arange(500)))["data"]
    assert points.mean(0).abs().max() < 0.15 and 0.9 < points.std() < 1.1
    digits, _ = open_data("digits")
    with pytest.raises(NotImplementedError, match="image"):
        digits.fresh(5, 0)


def test_other_data_are_opened_alike() -> None:
    for module in modules():
        if hasattr(module, "open_like"):
            assert list(inspect.signature(module.open_like).parameters) == ["spec", "like", "split"], module.__name__
        else:
            assert not module.DOMAIN.coded, module.__name__


def test_kinds_without_parts_refuse_one() -> None:
    for kind in ("text", "table"):
        module = next(m for m in modules() if m.DOMAIN.kind == kind)
        like, _ = module.open(module.BUILTIN[0], module.OPTIONS())
        with pytest.raises(InputError, match=f"{module.BUILTIN[0]} has no part 'test'"):
            module.open_like(module.BUILTIN[0], like, "test")
