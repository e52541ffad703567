"""A study's statistics against scipy and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ganforge.study.pairs import BLOCK, PRACTICE, trials
from ganforge.study.statistics import Answer, answers_for_width, answers_to_tell, report


def answers(who: str, fooled: int, total: int, catches: int = 5, missed: int = 0, ms: float = 800.0) -> list[Answer]:
    """A person's answers: ``fooled`` of ``total`` pairs wrong, ``missed`` of ``catches`` catch trials."""
    out = [Answer(who, i, "pair", "left", "right" if i < fooled else "left", ms + i) for i in range(total)]
    return out + [
        Answer(who, total + i, "catch", "right", "left" if i < missed else "right", 300.0) for i in range(catches)
    ]


@pytest.mark.parametrize(("fooled", "total"), [(0, 10), (3, 10), (50, 100), (41, 100), (1000, 1000), (1, 1)])
def test_rate_has_wilsons_interval(fooled: int, total: int) -> None:
    found = report(answers("a", fooled, total))
    truth = stats.binomtest(fooled, total).proportion_ci(method="wilson")
    assert found.rate.value == fooled / total
    assert (found.rate.low, found.rate.high) == pytest.approx((truth.low, truth.high), abs=1e-12)
    assert found.fifty_within == (truth.low <= 0.5 <= truth.high)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.37, 0.5, 0.9, 1.0])
def test_answers_needed_for_the_width(share: float) -> None:
    """The fewest n at which scipy's interval is at most 10 points wide."""

    def width(n: int) -> float:
        z = stats.norm.ppf(0.975)
        return 2 * z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)

    n = answers_for_width(share)
    assert width(n) <= 0.1 < width(n - 1)
    if share == 0.5:
        assert n == math.ceil(stats.norm.ppf(0.975) ** 2 * (1 / 0.1**2 - 1))


def exact_power(n: int, share: float) -> float:
    """The probability, by scipy, that Wilson's interval of n answers leaves out 50 %."""
    ends = [stats.binomtest(k, n).proportion_ci(method="wilson") for k in range(n + 1)]
    told = np.array([not e.low <= 0.5 <= e.high for e in ends])
    return float((stats.binom.pmf(np.arange(n + 1), n, share) * told).sum())


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.4, 0.6, 0.8, 1.0])
def test_answers_needed_to_tell_are_the_fewest_with_the_power(share: float) -> None:
    n = answers_to_tell(share)
    assert exact_power(n, share) >= 0.8
    assert all(exact_power(m, share) < 0.8 for m in range(max(n - 3, 1), n))
    assert answers_to_tell(0.5) is None


def test_answers_needed_beyond_the_exact_ones_go_on_smoothly() -> None:
    """Near 50 % a formula takes over; where both are at hand they agree to a few per cent."""
    z, b = stats.norm.ppf(0.975), stats.norm.ppf(0.8)
    for share, error in ((0.49, 0.001), (0.53, 0.03)):
        formula = ((z / 2 + b * math.sqrt(share * (1 - share))) / (share - 0.5)) ** 2
        assert answers_to_tell(share) == pytest.approx(formula, rel=error)


def test_who_does_not_look_does_not_count() -> None:
    given = answers("ann", 40, 100, missed=1) + answers("bob", 50, 100) + answers("eve", 100, 100, missed=2)
    found = report(given)
    assert (found.answers, found.fooled) == (200, 90)
    assert [p.who for p in found.people] == ["ann", "bob"] and [p.who for p in found.inattentive] == ["eve"]
    mean, half = 0.45, stats.t.ppf(0.975, 1) * np.std([0.4, 0.5], ddof=1) / math.sqrt(2)
    assert found.over_people.value == pytest.approx(mean)
    assert (found.over_people.low, found.over_people.high) == pytest.approx((0.0, mean + half), abs=1e-3) or half > mean
    text = "\n".join(found.lines())
    assert "90 of 200" in text and "left out" in text and "eve" in text


def test_times_places_and_words() -> None:
    found = report(answers("a", 0, 21), seconds=0.5)
    assert found.median_ms == 810.0 and found.chose_left.value == 1.0 and found.over_people is None
    assert found.more_to_tell == 0 and found.more_for_width == answers_for_width(0.0) - 21
    assert "people can tell" in found.verdict() and "shown for 0.5 s" in found.lines()[0]
    assert "do not show" in report(answers("a", 50, 100)).verdict()
    assert "more often" in report(answers("a", 90, 100)).verdict()
    empty = report([])
    assert empty.rate is None and "no answers" in "\n".join(empty.lines())


def test_practice_does_not_count_and_reloads_are_told() -> None:
    shown = [Answer("a", 0, "practice", "left", "right", 1.0), Answer("a", 1, "pair", "left", "left", 1.0, views=2)]
    found = report(shown)
    assert (found.answers, found.fooled, found.seen_again) == (1, 0, 1)


def test_plan_holds_a_catch_in_each_block_and_grows_at_its_end() -> None:
    plan, longer = trials(3, "ann", 40), trials(3, "ann", 77)
    kinds = [t.kind for t in plan]
    assert kinds[:PRACTICE] == ["practice"] * PRACTICE
    assert kinds.count("pair") == 40 and kinds.count("catch") == 40 // BLOCK
    assert [t.number for t in longer] == list(range(len(longer))) and longer[: len(plan)] == plan
    places = {tuple(i for i, t in enumerate(trials(3, who, 40)) if t.kind == "catch") for who in "abcdef"}
    assert len(places) > 3, "catch trials are where nobody expects them"
