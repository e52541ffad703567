"""Watchers read what training reports and give verdicts; they never touch the game."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from ganforge.core.game import Clock


@dataclass(frozen=True)
class Event:
    """What training reports: at its ``start``, each ``tick`` (numbers since the last), and at its ``end``.

    ``message`` tells of something out of the ordinary (kind ``message``): a skipped step, a rollback.
    """

    kind: Literal["start", "tick", "message", "end"]
    clock: Clock
    seconds: float
    values: Mapping[str, float] = field(default_factory=dict)
    message: str = ""


@dataclass(frozen=True)
class Verdict:
    """What a watcher thinks: training should ``stop``, or the user be warned. Evidence and remedy are sentences."""

    action: Literal["stop", "warn"]
    reason: str
    evidence: str = ""
    remedy: str = ""


class Watcher(Protocol):
    """Anything that sees events."""

    def see(self, event: Event) -> Verdict | None:
        """Look at an event; a verdict is recorded in events.jsonl, and obeyed."""
        ...
