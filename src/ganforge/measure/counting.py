"""How far what a judge has to learn first is: said to whoever waits for it, without every function passing it on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

EVERY = 5.0
"""Seconds between two words."""

_tell: ContextVar[Callable[[str], None] | None] = ContextVar("tell", default=None)


@contextmanager
def told_to(tell: Callable[[str], None] | None) -> Iterator[None]:
    """Within the block, ``counted`` says to ``tell`` how far it is (None: to nobody)."""
    before = _tell.set(tell)
    try:
        yield
    finally:
        _tell.reset(before)


def counted(steps: int, doing: str) -> Iterator[int]:
    """0 to ``steps`` - 1; says now and then what is being done, how far it is, and how many seconds are left."""
    tell = _tell.get()
    began = last = time.monotonic()
    for step in range(steps):
        now = time.monotonic()
        if tell is not None and step and now - last >= EVERY:
            last, left = now, (now - began) * (steps - step) / step
            tell(f"{doing}: {step / steps:.0%}, {left:.0f} s left")
        yield step
