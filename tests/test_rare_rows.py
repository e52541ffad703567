"""What is rare in tables: is it seen when tails are cut, and when a rare class is not what it was?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ganforge.core.errors import InputError
from ganforge.domains.table import TableDomain
from ganforge.measure.kinds import RARE, Samples, Trial
from ganforge.measure.lost import lost_shares
from ganforge.measure.metrics.rows import METRICS
from ganforge.measure.rare_rows import ClassRule, auc, rare_categories, reach, tails

Table = dict[str, np.ndarray]


def claims(rows: int, seed: int) -> Table:
    """A long-tailed claim, and 2 % of frauds, which lie at two opposite corners."""
    draw = np.random.default_rng(seed)
    fraud = draw.random(rows) < 0.02
    corner = np.where(draw.random(rows) < 0.5, 2.0, -2.0)
    x, y = (draw.normal(size=rows) + np.where(fraud, corner, 0) for _ in range(2))
    claim = np.exp(draw.normal(5, 1, rows))
    return {"x": x, "y": y, "claim": claim, "fraud": np.where(fraud, "yes", "no").astype(object)}


def judged(made: Table, **more: Any) -> tuple[dict, dict, dict]:
    """Scores, floors and what they tell of made rows."""
    real, unseen = claims(4000, 0), claims(4000, 1)
    trial = Trial(Samples(made), Samples(real), Samples(unseen), TableDomain.fit(real), **more)
    floor = Trial(Samples(unseen), Samples(real), Samples(unseen), trial.domain, floor=True, kept=trial.kept)
    scores = {**METRICS["tails"](trial), **METRICS["rare"](trial)}
    floors = {**METRICS["tails"](floor), **METRICS["rare"](floor)}
    return scores, floors, lost_shares(scores, floors, "table")


def test_auc_is_sklearns() -> None:
    draw = np.random.default_rng(3)
    scores, positive = draw.integers(0, 30, 500) / 7.0, draw.random(500) < 0.1
    area, error = auc(scores, positive)
    assert area == pytest.approx(roc_auc_score(positive, scores))
    draws = [draw.choice(500, 500) for _ in range(300)]
    spread = np.std([auc(scores[some], positive[some])[0] for some in draws])
    assert error == pytest.approx(spread, rel=0.2)  # Hanley and McNeil's error is near the bootstrap's
    assert auc(scores, np.zeros(500, dtype=bool)) == (0.5, 0.0)


def test_reach_and_tails_by_hand() -> None:
    x = np.arange(1.0, 1001.0)
    assert reach(x, 500.5, 0.01, 1) == pytest.approx(995.0 - 500.5)  # of 991 .. 1000, 1000 is left out
    assert reach(np.append(x, np.nan), 500.5, 0.01, -1) == pytest.approx(500.5 - 6.0)
    half = {"x": 500.5 + (x - 500.5) / 2}
    assert tails({"x": x}, {"x": x}) == {("x", 1): 1.0, ("x", -1): 1.0}
    assert list(tails({"x": x}, half).values()) == pytest.approx([0.5, 0.5])
    zeros = {"x": np.where(x > 800, x, 0.0)}
    assert list(tails(zeros, zeros)) == [("x", 1)]  # the lower end is the median itself


def test_a_rule_finds_classes_that_no_line_parts() -> None:
    rule = ClassRule(claims(4000, 0), "fraud", "yes")
    there = rule.auc(claims(4000, 1))[0]
    assert there > 0.85
    blurred = claims(4000, 2)
    blurred["fraud"] = np.random.default_rng(0).permutation(blurred["fraud"])
    assert abs(rule.auc(blurred)[0] - 0.5) < 0.1
    found = rare_categories(claims(4000, 0), {"fraud": ["no", "yes"]}, 50)
    assert found[0][:2] == ("fraud", "yes") and found[0][2] == pytest.approx(0.02, abs=0.006)
    assert not rare_categories(claims(1000, 0), {"fraud": ["no", "yes"]}, 50)


def test_good_rows_lose_nothing_rare() -> None:
    scores, floors, told = judged(claims(4000, 2))
    assert set(told) == {"tail_reach", "rare_auc", "rare_share"}
    assert all(t.fault == RARE and t.low < 0.5 for t in told.values())
    assert abs(scores["rare_auc"].value - floors["rare_auc"].value) < 0.08
    assert "fraud=yes" in scores["rare_auc"].how


def broken(what: str) -> Table:
    made = claims(4000, 2)
    if what == "tail_reach":
        made["claim"] = made["claim"].clip(max=np.quantile(made["claim"], 0.9))
    if what == "rare_auc":
        made["fraud"] = np.random.default_rng(0).permutation(made["fraud"])
    if what == "rare_share":
        kept = (made["fraud"] == "no") | (np.arange(4000) % 15 == 0)
        made = {k: v[kept] for k, v in made.items()}
    return made


@pytest.mark.parametrize("what", ["tail_reach", "rare_auc", "rare_share"])
def test_what_is_lost_is_told(what: str) -> None:
    """Cut tails, a rare class that is anywhere, one that is too rare: just that score is a fault beyond doubt."""
    _, _, told = judged(broken(what))
    assert told[what].fault == RARE and told[what].low >= 1
    assert what == "rare_share" or all(told[name].low < 1 for name in set(told) - {what})


def test_a_class_that_is_not_made_at_all() -> None:
    made = claims(4000, 2)
    made["fraud"] = np.full(4000, "no", dtype=object)
    scores, _, told = judged(made)
    assert scores["rare_auc"].value == 0.5 and scores["rare_share"].value == 0
    assert told["rare_auc"].low >= 1 and told["rare_share"].low >= 1


def test_tables_without_anything_rare() -> None:
    draw = np.random.default_rng(0)
    table = {"n": draw.normal(size=500), "b": draw.choice(np.array(["u", "v"], dtype=object), 500)}
    trial = Trial(Samples(table), Samples(table), Samples(table), TableDomain.fit(table))
    with pytest.raises(InputError, match="no category of 50 rows"):
        METRICS["rare"](trial)
    named = {"b": table["b"], "c": table["b"]}
    with pytest.raises(InputError, match="no column of numbers"):
        METRICS["tails"](Trial(Samples(named), Samples(named), Samples(named), TableDomain.fit(named)))
