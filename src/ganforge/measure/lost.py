"""How far samples are from real ones, on one scale for all scores: what a diagnosis goes by, whatever the data are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ganforge.measure.intervals import Score
from ganforge.measure.kinds import Tells, tells_of

LEAST_SPAN = 0.05
"""Where real data score so near to what has learned nothing, as a share of either, the score tells nothing."""


@dataclass(frozen=True)
class Lost:
    """What a score tells: the ``fault`` that it would be, and how bad it is: 0 as real data, 1 and more a fault.

    ``low`` is how bad at least, by the intervals of both. ``joint``: see ``Tells``.
    """

    fault: str
    value: float
    low: float
    joint: bool


def lost_shares(scores: Mapping[str, Score], floors: Mapping[str, Score], kind: str) -> dict[str, Lost]:
    """What the scores of a kind of data tell, by their names; those that tell nothing are left out."""
    found = {}
    for told in tells_of(kind).values():
        for name, tells in told.items():
            if name in scores and (lost := lost_share(scores[name], floors.get(name), tells, scores)) is not None:
                found[name] = lost
    return found


def lost_share(score: Score, floor: Score | None, tells: Tells, scores: Mapping[str, Score]) -> Lost | None:
    """The way from the best score, that of real data, to that of a generator that has learned nothing."""
    if isinstance(tells.lost, str):
        other = scores.get(tells.lost)
        nothing = None if other is None else other.value
    else:
        nothing = tells.lost
    best = tells.best if tells.best is not None else (floor.value if floor is not None else None)
    if score.value is None or nothing is None or best is None:
        return None
    span = nothing - best
    if abs(span) <= LEAST_SPAN * max(abs(nothing), abs(best)):
        return None
    ends = [end for end in (score.low, score.high) if end is not None] or [score.value]
    starts = [best]
    if tells.best is None and floor is not None:
        starts += [end for end in (floor.low, floor.high) if end is not None]
    value = (score.value - best) / span
    low = min((end - start) / span for end in ends for start in starts)
    return Lost(tells.fault, max(value, 0.0) / tells.bad, max(low, 0.0) / tells.bad, tells.joint)
