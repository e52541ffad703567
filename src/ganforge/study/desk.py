"""Who is shown what, and what became of it: the study without the web."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from typing import Any

from ganforge.core.errors import InputError
from ganforge.study.journal import Journal
from ganforge.study.pairs import Stimuli, Trial, trials
from ganforge.study.statistics import Answer, Side, person

LONGEST_NAME = 40
MOST_PEOPLE = 1000
LONGEST_MS = 3_600_000.0


class Stale(InputError):
    """An answer to a pair that is no longer shown."""


@dataclass
class Showing:
    """A trial on somebody's screen. Its names are random: they say nothing about what is where."""

    who: str
    trial: Trial
    token: str
    real: Side
    images: dict[str, bytes]
    views: int = 1


class Desk:
    """Deals out trials and takes answers. The browser learns neither what is real nor which trials are catches."""

    def __init__(self, stimuli: Stimuli, journal: Journal, pairs: int, seconds: float | None, who: str = "") -> None:
        self.stimuli, self.journal, self.pairs, self.seconds = stimuli, journal, pairs, seconds
        self.fixed = named(who) if who else ""
        self.showing: dict[str, Showing] = {}
        self.last: dict[str, tuple[str, dict[str, Any]]] = {}

    def start(self, who: str) -> dict[str, Any]:
        """Sit somebody down, where they left off; shown once more, a trial keeps its places."""
        who = self.fixed or named(who)
        if who in self.showing:
            self.showing[who].views += 1
        elif len(self.showing) >= MOST_PEOPLE:
            raise InputError("too many people at once")
        return self.state(who)

    def state(self, who: str) -> dict[str, Any]:
        """What ``who`` is to see now."""
        plan = trials(self.stimuli.seed, who, self.pairs)
        mine = [a for a in self.journal.answers if a.who == who]
        given, practiced = {a.number for a in mine}, any(a.trial != "practice" for a in mine)
        left = [t for t in plan if t.number not in given and not (practiced and t.kind == "practice")]
        if not left:
            self.showing.pop(who, None)
            found = person(who, mine)
            return {"done": True, "who": who, "answers": found.answers, "fooled": found.fooled}
        if who not in self.showing or self.showing[who].trial != left[0]:
            self.showing[who] = self.lay_out(who, left[0])
        now = self.showing[who]
        of_kind = [t for t in plan if (t.kind == "practice") == (now.trial.kind == "practice")]
        names = list(now.images)
        return {
            "done": False,
            "who": who,
            "practice": now.trial.kind == "practice",
            "number": of_kind.index(now.trial) + 1,
            "of": len(of_kind),
            "token": now.token,
            "left": names[0],
            "right": names[1],
            "seconds": self.seconds,
        }

    def lay_out(self, who: str, trial: Trial) -> Showing:
        """Both images of a trial, in random places. Both are made before either is asked for: no delay tells."""
        real, other = self.stimuli.shown(who, trial)
        side: Side = "left" if secrets.randbelow(2) else "right"
        pair = (real, other) if side == "left" else (other, real)
        return Showing(who, trial, secrets.token_urlsafe(12), side, {secrets.token_urlsafe(12): p for p in pair})

    def image(self, name: str) -> bytes | None:
        """An image that is on somebody's screen now."""
        return next((s.images[name] for s in self.showing.values() if name in s.images), None)

    def answer(self, token: str, choice: Any, ms: Any) -> dict[str, Any]:
        """Store an answer, and say what comes next. The same answer sent twice counts once, and is answered alike.

        InputError for what is no answer, Stale for a pair that is no longer shown, RunError when it cannot be stored.
        """
        if choice not in ("left", "right"):
            raise InputError("an answer is left or right")
        if isinstance(ms, bool) or not isinstance(ms, int | float) or not (math.isfinite(ms) and 0 <= ms <= LONGEST_MS):
            raise InputError("an answer takes 0 to 3,600,000 ms")
        for sent, reply in self.last.values():
            if secrets.compare_digest(sent.encode(), token.encode()):
                return reply
        now = next((s for s in self.showing.values() if secrets.compare_digest(s.token.encode(), token.encode())), None)
        if now is None:
            raise Stale("this pair is no longer shown: reload the page")
        answer = Answer(now.who, now.trial.number, now.trial.kind, now.real, choice, round(float(ms), 1), now.views)
        self.journal.add(answer)
        told = {"right": answer.right} if now.trial.kind == "practice" else {}
        reply = {**told, "next": self.state(now.who)}
        self.last[now.who] = (token, reply)
        return reply


def named(who: Any) -> str:
    """A person's name as it is stored. InputError when it is none."""
    text = " ".join(who.split()) if isinstance(who, str) else ""
    if not text or len(text) > LONGEST_NAME or not text.isprintable():
        raise InputError(f"a name has 1 to {LONGEST_NAME} printable characters")
    return text
