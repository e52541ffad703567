"""What answers say: the fooling rate with its interval, and how many answers are still needed.

The fooling rate is the share of pairs in which the generated image was taken for the real one (two-alternative forced
choice): 0 % when people always can tell, 50 % when they cannot. Zhou et al. 2019 (HYPE, https://arxiv.org/abs/1904.01121)
report the same kind of error for single images.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ganforge.measure.intervals import Score, Z, student, wilson

ATTENTIVE = 0.8
"""Who takes noise for real in more than a fifth of the catch trials does not look: those answers do not count."""

WIDTH = 0.05
POWER_Z = 0.8416212335729143
"""The standard normal's 80 % quantile."""
POWER = 0.8
MOST_EXACT = 2000

Side = Literal["left", "right"]
Kind = Literal["practice", "pair", "catch"]


@dataclass(frozen=True)
class Answer:
    """One answer: in trial ``number``, ``who`` took the image at ``choice`` for real; the real one was at ``real``.

    ``ms`` is the time from the images' appearance to the answer; ``views`` how often they were shown (more than 1 after
    a reload of the page).
    """

    who: str
    number: int
    trial: Kind
    real: Side
    choice: Side
    ms: float
    views: int = 1

    @property
    def right(self) -> bool:
        """The real image was found."""
        return self.choice == self.real


@dataclass(frozen=True)
class Person:
    """One person's answers. ``rate`` is None before the first pair."""

    who: str
    answers: int
    fooled: int
    rate: Score | None
    median_ms: float | None
    catches: int
    catches_right: int

    @property
    def attentive(self) -> bool:
        """Found the real image beside noise often enough."""
        return self.catches_right >= ATTENTIVE * self.catches


@dataclass(frozen=True)
class Report:
    """A study's result, over the people who were attentive.

    ``rate`` is the fooling rate with Wilson's 95 % interval, which takes all answers as independent; ``over_people``
    the mean of the people's own rates with Student's interval, from two people on: it covers that people differ.
    ``more_for_width`` answers are still needed for an interval of +- 5 points, ``more_to_tell`` for telling a rate such
    as this from 50 % with 80 % power (None: it is 50 %).
    """

    answers: int
    fooled: int
    rate: Score | None
    over_people: Score | None
    median_ms: float | None
    chose_left: Score | None
    fifty_within: bool | None
    more_for_width: int
    more_to_tell: int | None
    people: tuple[Person, ...]
    inattentive: tuple[Person, ...]
    seen_again: int
    seconds: float | None
    about: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"format": 1, **asdict(self)}

    def lines(self) -> list[str]:
        """For people."""
        shown = "untimed" if self.seconds is None else f"each pair shown for {self.seconds:g} s"
        out = [f"study of {self.about.get('what', '?')} against {self.about.get('against', '?')}, {shown}"]
        if self.rate is None:
            out.append("no answers of attentive people yet")
        else:
            out += [
                f"fooling rate {percent(self.rate)}  ({self.fooled} of {self.answers} generated images taken for real)",
                self.verdict(),
                f"median answer time {self.median_ms:,.0f} ms; left chosen in {percent(self.chose_left)}",
                needed(self.more_for_width, self.more_to_tell),
            ]
            if self.over_people is not None:
                out.append(f"mean of {len(self.people)} people's rates {percent(self.over_people)}")
            out += [f"  {line(person)}" for person in self.people]
        if self.inattentive:
            out.append("left out, since they took noise for real too often:")
            out += [f"  {line(person)}" for person in self.inattentive]
        if self.seen_again:
            out.append(f"{self.seen_again} pairs were shown more than once (the page was reloaded)")
        return out

    def verdict(self) -> str:
        """Whether 50 % is within the interval, in words."""
        if self.rate is None or self.fifty_within is None:
            return ""
        if self.fifty_within:
            return "50 % is within the interval: these answers do not show that people can tell generated from real"
        if (self.rate.value or 0.0) < 0.5:
            return "50 % is not within the interval: people can tell generated from real"
        return "50 % is not within the interval: people take generated images for real more often than real ones"


def percent(score: Score | None) -> str:
    """A share with its interval."""
    if score is None or score.value is None or score.low is None or score.high is None:
        return "-"
    return f"{100 * score.value:.1f} % [{100 * score.low:.1f}, {100 * score.high:.1f}]"


def line(person: Person) -> str:
    """One person, in a line."""
    time = "" if person.median_ms is None else f", median {person.median_ms:,.0f} ms"
    return (
        f"{person.who:16} {percent(person.rate)}  {person.fooled} of {person.answers}{time}, "
        f"catch trials {person.catches_right} of {person.catches}"
    )


def needed(width: int, tell: int | None) -> str:
    """How many answers are still needed, in words."""
    first = f"{width:,} more answers" if width else "no more answers"
    second = "no number of answers" if tell is None else f"{tell:,} more" if tell else "none"
    return f"needed: {first} for +- {100 * WIDTH:.0f} points; {second} for telling such a rate from 50 % (80 % power)"


def answers_for_width(share: float, half: float = WIDTH) -> int:
    """The fewest answers with which Wilson's interval is at most +- ``half`` wide, at this rate."""

    def wide(n: int) -> bool:
        found = wilson(share * n, n)
        return (found.high or 0.0) - (found.low or 0.0) > 2 * half

    low, high = 1, 2
    while wide(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if wide(middle) else (low, middle)
    return high


def answers_to_tell(share: float) -> int | None:
    """The fewest answers with which Wilson's interval leaves out 50 % in at least 80 % of studies at this rate.

    Exact by the binomial up to 2,000 answers; beyond, n = ((z_0.975 / 2 + z_0.8 sqrt(p (1 - p))) / (p - 1/2))^2 (Fleiss
    et al. 2003, eq. 2.14, without correction). None for a rate of 50 %.
    """
    if abs(share - 0.5) < 1e-9:
        return None
    about = math.ceil(((Z / 2 + POWER_Z * math.sqrt(share * (1 - share))) / (share - 0.5)) ** 2)
    if about > MOST_EXACT:
        return about
    return next(n for n in range(max(about // 2, 1), 2 * MOST_EXACT) if power(n, share) >= POWER)


def power(n: int, share: float) -> float:
    """How likely it is that Wilson's interval of ``n`` answers leaves out 50 %: that |k - n / 2| > z sqrt(n) / 2."""
    if share in (0.0, 1.0):
        return float(n > Z**2)
    logs = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(n + 1)]
    sure = (k for k in range(n + 1) if abs(k - n / 2) > Z * math.sqrt(n) / 2)
    return sum(math.exp(logs[k] + k * math.log(share) + (n - k) * math.log1p(-share)) for k in sure)


def person(who: str, answers: Sequence[Answer]) -> Person:
    """What one person's answers say."""
    pairs = [a for a in answers if a.trial == "pair"]
    catches = [a for a in answers if a.trial == "catch"]
    fooled = sum(not a.right for a in pairs)
    return Person(
        who, len(pairs), fooled, wilson(fooled, len(pairs), "higher") if pairs else None,
        statistics.median(a.ms for a in pairs) if pairs else None, len(catches), sum(a.right for a in catches),
    )  # fmt: skip


def report(answers: Sequence[Answer], seconds: float | None = None, about: dict[str, Any] | None = None) -> Report:
    """The result of a study's answers (practice does not count)."""
    everyone = [person(who, [a for a in answers if a.who == who]) for who in dict.fromkeys(a.who for a in answers)]
    kept = tuple(p for p in everyone if p.attentive and p.answers)
    names = {p.who for p in kept}
    pairs = [a for a in answers if a.trial == "pair" and a.who in names]
    n, fooled = len(pairs), sum(not a.right for a in pairs)
    rate = wilson(fooled, n, "higher") if n else None
    share = fooled / n if n else 0.5
    tell = answers_to_tell(share)
    return Report(
        answers=n,
        fooled=fooled,
        rate=rate,
        over_people=across([p.fooled / p.answers for p in kept]) if len(kept) > 1 else None,
        median_ms=statistics.median(a.ms for a in pairs) if n else None,
        chose_left=wilson(sum(a.choice == "left" for a in pairs), n) if n else None,
        fifty_within=None if rate is None else (rate.low or 0.0) <= 0.5 <= (rate.high or 0.0),
        more_for_width=max(answers_for_width(share) - n, 0),
        more_to_tell=None if tell is None else max(tell - n, 0),
        people=kept,
        inattentive=tuple(p for p in everyone if not p.attentive),
        seen_again=sum(a.views > 1 for a in pairs),
        seconds=seconds,
        about=about or {},
    )


def across(rates: Sequence[float]) -> Score:
    """The mean of people's rates with Student's interval."""
    spread = student(len(rates)) * statistics.stdev(rates) / math.sqrt(len(rates))
    mean = statistics.fmean(rates)
    return Score(mean, max(mean - spread, 0.0), min(mean + spread, 1.0), f"Student, {len(rates)} people", "higher")
