"""Schedules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganforge.core.schedule import Schedule, value_at


@pytest.mark.parametrize("shape", ["linear", "cosine", "exponential"])
def test_ends_and_middle(shape: str) -> None:
    schedule = Schedule(1.0, 0.01, over=100, begin=10, shape=shape)  # type: ignore[arg-type]
    assert [schedule(s) for s in (0, 10)] == [1.0, 1.0]
    assert [schedule(s) for s in (110, 1e9)] == pytest.approx([0.01, 0.01])
    middle = {"linear": 0.505, "cosine": 0.505, "exponential": 0.1}[shape]
    assert schedule(60) == pytest.approx(middle)


@given(
    st.floats(1e-6, 1e3), st.floats(1e-6, 1e3), st.floats(0, 1e6), st.sampled_from(["linear", "cosine", "exponential"])
)
def test_stays_between_its_ends(start: float, end: float, samples: float, shape: str) -> None:
    value = Schedule(start, end, over=1e5, shape=shape)(samples)  # type: ignore[arg-type]
    assert min(start, end) * (1 - 1e-9) <= value <= max(start, end) * (1 + 1e-9)


def test_numbers_are_their_own_schedule() -> None:
    assert value_at(0.3, 1e9) == 0.3


@pytest.mark.parametrize("wrong", [{"over": 0}, {"over": 1, "shape": "exponential", "end": 0.0}])
def test_impossible_schedules_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError):
        Schedule(**{"start": 1.0, "end": 0.5, **wrong})
