"""What an evaluation gives: scores with their floors, the protocol, near-duplicates; as a table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from ganforge.measure.intervals import Score
from ganforge.measure.lost import Lost
from ganforge.measure.metrics.bias import Bias
from ganforge.measure.protocol import Protocol


@dataclass(frozen=True)
class Duplicate:
    """Two generated samples (by their numbers) that are near-duplicates, and the training row nearest to the first."""

    first: int
    second: int
    distance: float
    nearest: int
    nearest_distance: float


@dataclass(frozen=True)
class Evaluation:
    """Scores by name, each with its floor (real against real) where that could be had; how; and what was left out.

    ``gallery`` holds the raw samples of the duplicates by their numbers, if they were asked for; ``audits`` the shares
    of each class, if the bias was.
    """

    scores: dict[str, Score]
    floors: dict[str, Score]
    protocol: Protocol
    notes: tuple[str, ...] = ()
    duplicates: tuple[Duplicate, ...] = ()
    gallery: Mapping[int, Tensor] = field(default_factory=dict, repr=False)
    audits: Mapping[str, Bias] = field(default_factory=dict)
    lost: Mapping[str, Lost] = field(default_factory=dict)
    """What scores tell a diagnosis."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what is unknown is null, never NaN."""
        scores = {
            name: {
                **asdict(score),
                "floor": asdict(self.floors[name]) if name in self.floors else None,
                "lost": asdict(self.lost[name]) if name in self.lost else None,
            }
            for name, score in self.scores.items()
        }
        return {
            "scores": scores,
            "protocol": self.protocol.to_dict(),
            "notes": list(self.notes),
            "duplicates": [asdict(pair) for pair in self.duplicates],
            **{name: audit.to_dict() for name, audit in self.audits.items()},
        }

    def obstacles(self) -> list[str]:
        """Why a metric could not be had: the first that was left out, and whether comparing with the whole helps."""
        left_out = [note.removeprefix("left out: ") for note in self.notes if note.startswith("left out: ")]
        return [*left_out[:1], *(note for note in self.notes if "--whole" in note)]

    def brief(self) -> dict[str, Any]:
        """The scores as a line of metrics.jsonl holds them: numbers, and what they tell."""
        return {
            name: {
                **{key: getattr(score, key) for key in ("value", "low", "high", "better")},
                "floor": self.floors[name].value if name in self.floors else None,
                **({"lost": asdict(self.lost[name])} if name in self.lost else {}),
            }
            for name, score in self.scores.items()
        }

    def lines(self) -> list[str]:
        """A table for people, with the protocol beneath."""
        rows: list[tuple[str, ...]] = [("", "score", "95 % interval", "real vs real", "its interval", "")]
        for name, score in self.scores.items():
            floor = self.floors.get(name)
            better = f"{score.better} is better" if score.better else ""
            rows.append((name, *_shown(score), *(_shown(floor) if floor else ("", "")), better))
        widths = [max(len(row[i]) for row in rows) for i in range(6)]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        audits = [line for audit in self.audits.values() for line in audit.lines()]
        return [*table, *audits, *self.protocol.lines(), *(f"  note: {note}" for note in self.notes)]


def _shown(score: Score) -> tuple[str, str]:
    if score.value is None:
        return f">= {_number(score.low)}", ""
    interval = "" if score.low is None else f"{_number(score.low)} .. {_number(score.high)}"
    return f"{'<= ' if score.at_most else ''}{_number(score.value)}", interval


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
