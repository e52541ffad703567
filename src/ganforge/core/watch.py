"""Watchers read what training reports and give verdicts; they never touch the game."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ganforge.core.game import Clock


@dataclass(frozen=True)
class Event:
    """What training reports: at its ``start``, each ``tick`` (numbers since the last), and at its ``end``.

    ``message`` tells of something out of the ordinary (kind ``message``: a skipped step, a rollback), or says in a line
    what a watcher thinks (kind ``verdict``, to which none answers). An ``evaluation`` holds scores, by the names of the
    log.
    """

    kind: Literal["start", "tick", "evaluation", "message", "verdict", "end"]
    clock: Clock
    seconds: float
    values: Mapping[str, float] = field(default_factory=dict)
    message: str = ""


@dataclass(frozen=True)
class Verdict:
    """What a watcher thinks: training should ``stop``, the user be warned, or this state be kept as the best so far.

    Evidence and remedy are sentences; ``values`` are what best.json says of a state that is kept.
    """

    action: Literal["stop", "warn", "keep_best"]
    reason: str
    evidence: str = ""
    remedy: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


class Watcher(Protocol):
    """Anything that sees events."""

    def see(self, event: Event) -> Verdict | None:
        """Look at an event; a verdict is recorded in events.jsonl, and obeyed."""
        ...
