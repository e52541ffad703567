"""Ctrl-C and SIGTERM: end after the round in hand, and save."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator

ONE_SIGNAL_SECONDS = 0.5
"""Launchers (torchrun, uv run) pass on a Ctrl-C that their processes have got themselves: two so close are one."""


@contextlib.contextmanager
def interruptible(stopping: threading.Event) -> Iterator[None]:
    """The first signal sets ``stopping``; a second one raises KeyboardInterrupt at once.

    Only the main thread can catch signals: in another one this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    first = 0.0

    def stop(number: int, frame: object) -> None:
        nonlocal first
        if not stopping.is_set():
            first = time.monotonic()
            stopping.set()
        elif time.monotonic() - first > ONE_SIGNAL_SECONDS:
            raise KeyboardInterrupt

    old = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
