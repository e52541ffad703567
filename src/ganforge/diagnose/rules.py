"""Rules: from a window of the log to a named fault with evidence and a remedy. Pure functions, in order of precedence.

Two things are judged apart: how the fakes lie among the reals (``fake/*``: the outcome) and how the players stand
(``D/pair_right``, gradients, steps: the cause). A cause without a bad outcome is no fault: a discriminator that is
always right is normal as long as fakes get better. The thresholds were chosen on seeds 0 to 2 of bench/diagnosis.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ganforge.diagnose import scored
from ganforge.diagnose.scored import HUGE, LARGE, nears
from ganforge.diagnose.signals import FEWEST, Context, Line, Window
from ganforge.diagnose.verdict import Diagnosis, Rule, Severity, found, outcome, ranked, say, scores, sight

ROUNDS = 60
"""Below so many rounds nothing but non-finite numbers is judged."""
STALL_ROUNDS, STALL_TICKS = 150, 30
"""Before so many rounds and ticks nothing is called a standstill."""

FAR, FAR_FOR_IMAGES = 0.25, 0.6
"""Distances (missing + stray) above which fakes are clearly not among the reals. Two images are about as far apart as
any two: the unit is small there."""
SOMEWHAT, FAIR, NEAR = 0.3, 0.2, 0.15
"""Lesser distances; below NEAR the fakes lie among the reals."""
IMPROVES = 0.12
"""The share by which the distance must fall within a window of 40 ticks to count as progress; in fewer, less."""
LEAPS = 0.5
"""So much nearer within a window, no step is too large."""
BARELY = 2e-5
"""A step below this share of the weights moves a player so little that it stands still (usual: 1e-4 to 1e-2)."""
SLOW, REACH = 2e-4, 0.1
"""Steps below SLOW of the weights, of all players, which together come to less than REACH of them: far too small a
rate. The quickest player of a healthy run makes steps of 7e-4 or more (progan; most 2e-3)."""
SOFT = 0.1
"""Stray below minus this, and below missing by as much: so no healthy run ends (one had -0.13, but missing -0.08)."""
LOPSIDED = 0.35
"""Missing minus stray: above, the fakes lie among a part of the reals, and that part is small."""
OPENS = 0.1
"""By so much within a window of 40 ticks the spread of fakes grows that find more of the data, as in young runs."""
BY_HEART = 0.4
"""ADA's r_v: on digits 0.7 to 1.1 with 64 training samples, at most 0.01 with 1,600."""
COPIED = -5.0
"""C_T, a z-score, below which samples are copies of training data (Meehan et al. 2020 call below -3 clear)."""
MISSED = 0.9
"""Class coverage (of an evaluation of a labelled set) up to which modes are missing."""
EARLY_ON = 0.1
"""The share of the recipe's own budget below which a run is young (training warns of it, too): after 0.06 of it,
batches of faces of 64 pixels lay among the reals (missing 0.07, stray 0.02, D right about 78 % of pairs), and each face
was full of holes."""
ENORMOUS = 1e6
"""A gradient norm that no loss has that works."""


def is_far(w: Window) -> bool:
    """The fakes are measured to be off."""
    return w.distance is not None and w.distance >= (FAR_FOR_IMAGES if w.context.images else FAR)


def stalls(w: Window, sure: bool = True) -> bool:
    """The fakes are measured not to get better: beyond the noise of the measurement, if it is to be ``sure``."""
    if w.improvement is None or w.rounds < STALL_ROUNDS or w.ticks < STALL_TICKS:
        return False
    margin = w.improvement_error if sure else -w.improvement_error
    return w.improvement + margin < IMPROVES * min(1.0, len(w.late) / 40)


# ---- the rules


def diverged(w: Window) -> Diagnosis | None:
    """Numbers that are not finite; or gradients and logits that grow without bound, or have done so at once."""
    broken = w.broken()
    if broken >= 0.25 or w.context.rollbacks:
        what = f"{broken:.0%} of the window's ticks with non-finite numbers or steps left out"
        back = f"{w.context.rollbacks} rollbacks or errors" if w.context.rollbacks else ""
        return found(w, "divergence", "stop" if broken >= 0.5 else "warn", what, back)
    growth = {name: r for name in ("G/grad_norm", "D/grad_norm") if (r := w.ratio(name)) is not None}
    logits = max((abs(v) for name in ("D/real", "D/fake") if (v := w.now(name)) is not None), default=0.0)
    if max(growth.values(), default=0.0) >= 10 and logits >= 100:
        told = ", ".join(f"{name} grew {r:.0f} times" for name, r in growth.items())
        lost = is_far(w) and stalls(w)
        return found(w, "divergence", "stop" if lost else "warn", told, f"logits of size {logits:.3g}", outcome(w))
    norms = {name: v for p in w.players if (v := w.level(name := f"{p}/grad_norm")) is not None}
    if max(norms.values(), default=0.0) >= ENORMOUS:
        return found(w, "divergence", "warn", ", ".join(f"{name} {v:.2g}" for name, v in norms.items()), outcome(w))
    return None


def vanishing(w: Window) -> Diagnosis | None:
    """G is far from the data, and its gradient has gone."""
    if len(w.players) < 2:
        return None  # a gradient that fades is what one player's end looks like
    step, norm, ratio = w.now("G/update_ratio"), w.now("G/grad_norm"), w.ratio("G/grad_norm")
    if norm is None or norm >= ENORMOUS or not (w.distance is None or (is_far(w) and stalls(w))):
        return None
    gone = norm <= 1e-7 or (ratio is not None and ratio <= 1e-3)
    faded = ratio is not None and ratio <= 0.1 and (w.level("D/pair_right") or 0.0) >= 0.98
    if not gone and not faded:
        return None
    severity: Severity = "stop" if gone and (step is None or step <= BARELY) else "warn"
    told = f"G's gradient norm is {norm:.2g}" + (
        f", {ratio:.2g} of what it was at the start" if ratio is not None else ""
    )
    return found(
        w, "vanishing gradient", severity, told, say("G's steps, relative to its weights,", step, ".1g"), outcome(w)
    )


def too_weak(w: Window) -> Diagnosis | None:
    """Fakes are far from the data, or all near its mean, and D cannot tell: it teaches G nothing."""
    right, spread = w.level("D/pair_right"), w.now("fake/spread")
    blurred = right is not None and right <= 0.53 and spread is not None and spread <= 0.5
    if right is None or right > 0.65 or not ((is_far(w) and not nears(w)) or blurred):
        return None
    step = w.now("D/update_ratio")
    return found(
        w,
        "discriminator too weak",
        "warn",
        ranked(w),
        say("D's steps, relative to its weights,", step, ".1g"),
        outcome(w),
    )


def overfitted(w: Window) -> Diagnosis | None:
    """D knows its training samples by heart: it fails on real ones that it has not seen, or there are but a few."""
    right, held, repeats = w.level("D/pair_right"), w.level("D/held_pair_right"), w.level("fake/repeats")
    seen = f"each sample seen about {w.epochs:.0f} times" if w.epochs is not None else ""
    share = w.known_by_heart
    if right is not None and held is not None and (right - held >= 0.15 or (share or 0.0) >= BY_HEART):
        told = f"D ranks {right:.1%} of pairs rightly with training samples, {held:.1%} with held-out ones"
        more = say("held-out samples lie, for D, this far towards the fakes (0 best, 1 worst):", share)
        return found(w, "overfitting of the discriminator", "warn", told, more, seen)
    if repeats is not None and repeats >= 0.5 and (right or 0.0) >= 0.8:
        told = f"{repeats:.0%} of the real samples stand twice in their batch"
        return found(w, "overfitting of the discriminator", "warn", told, seen, ranked(w), outcome(w))
    return None


def memorized(w: Window) -> Diagnosis | None:
    """Samples lie nearer to the training data than unseen real data do: copies."""
    nearer, own = w.now("metric/c_t"), w.now("metric/authenticity")
    usual = w.now("metric/authenticity/floor")
    if nearer is None or nearer > COPIED:
        return None
    told = f"samples lie nearer to the training data than held-out ones do (C_T {nearer:.1f}, 0 is usual)"
    share = say("share of samples that are not near-copies", own) + (f", {usual:.2f} of held-out ones" if usual else "")
    return found(w, "memorization", "warn", told, share)


def collapsed(w: Window) -> Diagnosis | None:
    """Fakes are alike (full), or keep to some of the data (partial)."""
    classes = w.now("metric/class_coverage")
    if classes is not None and classes <= MISSED and w.rounds >= STALL_ROUNDS and stalls(w):
        told = f"{1 - classes:.0%} of the classes are left out"
        return found(w, "mode collapse (partial)", "warn", told, outcome(w))
    spread, missing, stray = (w.now(f"fake/{n}") for n in ("spread", "missing", "stray"))
    if spread is None or missing is None or stray is None:
        return None
    change = w.trend("fake/spread")
    still = change is not None and change < 0.02
    new = spread <= 0.15 and missing - stray < LOPSIDED and young(w, spread)
    if spread <= 0.15 and still and not new:
        return found(
            w, "mode collapse (full)", "stop", f"the spread of fakes is {spread:.1%} of the reals'", outcome(w)
        )
    if spread <= 0.4 and still and stalls(w) and not new:
        told = f"the spread of fakes is {spread:.0%} of the reals'"
        return found(w, "mode collapse (partial)", "warn", told, outcome(w))
    if change is not None and change >= OPENS * min(1.0, len(w.late) / 40):
        return None
    lopsided = missing >= 0.4 and missing - stray >= LOPSIDED and stalls(w, sure=False)
    if lopsided or (missing >= 0.2 and missing - stray >= 0.1 and stalls(w) and not new):
        return found(w, "mode collapse (partial)", "warn", "fakes lie among the reals, but leave out some", outcome(w))
    return None


def young(w: Window, spread: float) -> bool:
    """The fakes are alike, and far from all reals, as those of new weights are, and have come nearer since."""
    start, missing, stray = (w.start(f"fake/{n}") for n in ("spread", "missing", "stray"))
    if start is None or missing is None or stray is None or spread <= start / 2:
        return False  # they have been less alike
    fell = 1 - (w.distance or 0.0) / max(missing + stray, 1e-6)
    return is_far(w) and (not stalls(w) or fell >= IMPROVES / 4)


def too_slow(w: Window) -> Diagnosis | None:
    """All players' steps, from the start on, are so small that they have got nowhere yet: nothing else can be said."""
    if w.distance is None or not is_far(w) or nears(w) or w.rounds < STALL_ROUNDS:
        return None
    steps = {player: w.steps(player) for player in w.players}
    if not steps or any(step is None or step <= scored.STILL for step in steps.values()):
        return None
    largest = max(step for step in steps.values() if step is not None)
    if largest > SLOW or largest * w.rounds > REACH:
        return None
    told = ", ".join(say(f"{player}'s steps, relative to its weights,", step, ".1g") for player, step in steps.items())
    reach = f"in {w.rounds:,} rounds no player can have changed its weights by more than {largest * w.rounds:.1%}"
    return found(w, "learning rate too low", "warn", told, reach, outcome(w))


def too_strong(w: Window) -> Diagnosis | None:
    """D is always right, and G does not get nearer to the data."""
    right, step = w.level("D/pair_right"), w.now("G/update_ratio")
    if right is None or right < 0.9 or not is_far(w) or not stalls(w):
        return None
    told = say("G's steps, relative to its weights,", step, ".1g")
    return found(w, "discriminator too strong", "warn", ranked(w), told, outcome(w))


def starved(w: Window) -> Diagnosis | None:
    """D is always right, because G hardly moves."""
    step = w.now("G/update_ratio")
    return too_strong(w) if step is not None and step <= BARELY else None


def too_fast(w: Window) -> Diagnosis | None:
    """Steps so large that a player forgets what it has learned, and the fakes are not good."""
    largest = max(w.pace.values(), default=0.0)
    if largest < (LARGE if w.rounds >= scored.SETTLED else HUGE) or w.distance is None or w.distance < SOMEWHAT:
        return None  # the steps of new weights are large, and their fakes far
    fine = not (is_far(w) or stalls(w)) if largest < HUGE else w.improvement is None or w.improvement >= LEAPS
    if fine:
        return None
    return found(w, "learning rate too high", "warn", scored.moved(w), outcome(w))


def oscillates(w: Window) -> Diagnosis | None:
    """The fakes come and go, and do not get nearer."""
    names = ("fake/missing", "fake/stray", "fake/spread", "D/fake", "G/loss")
    periodic = {n: o for n in names if (o := w.oscillation(n)) is not None}
    swing = max((s for n in ("fake/missing", "fake/stray") if (s := w.swing(n)) is not None), default=None)
    if not periodic or swing is None or w.distance is None or w.distance < NEAR or not stalls(w):
        return None
    name = max(periodic, key=lambda n: periodic[n])
    if (swing >= 0.08 and periodic[name] >= 0.4) or swing >= 0.2:
        told = f"missing and stray swing by {swing:.2f}, {name} is {periodic[name]:.0%} periodic"
        return found(w, "oscillation", "warn", told, outcome(w))
    return None


def balanced(w: Window) -> Diagnosis | None:
    """D cannot tell, and rightly so: fakes lie among the reals."""
    right = w.level("D/pair_right")
    if right is not None and abs(right - 0.5) <= 0.1 and w.distance is not None and w.distance <= NEAR:
        return found(w, "at equilibrium", "info", ranked(w), outcome(w))
    return None


def soft(w: Window) -> Diagnosis | None:
    """Pictures nearer to reals than reals are to one another, and D knows them: blurred or plain ones are so."""
    missing, stray, right = w.now("fake/missing"), w.now("fake/stray"), w.level("D/pair_right") or 0.0
    if not w.context.images or missing is None or stray is None or stray > -SOFT or missing - stray < SOFT:
        return None
    if right < 0.65:
        return None
    told = "fakes lie nearer to reals than reals to one another, as blurred or plain pictures do"
    return found(w, "plateau" if stalls(w) else "undertrained", "info", told, outcome(w), ranked(w))


def unfinished(w: Window) -> Diagnosis | None:
    """Fakes are not yet among the reals: they still get nearer, or no longer do."""
    if w.distance is None or w.distance < FAIR:
        return None
    if stalls(w) and is_far(w):
        return found(w, "no progress", "warn", outcome(w), ranked(w))
    if stalls(w):
        return found(w, "plateau", "info", outcome(w), ranked(w))
    return found(w, "undertrained", "info", outcome(w), ranked(w))


def hurried(w: Window) -> Diagnosis | None:
    """Batches lie well, but it is early in the recipe's own budget, and nothing has judged samples: what they lack in
    details, the nearness of batches does not see."""
    budget = w.context.budget
    if not budget or w.samples >= EARLY_ON * budget or w.told:
        return None
    told = f"{w.samples:,} samples are {100 * w.samples / budget:.2g} % of the recipe's own budget of {budget:,}"
    return found(w, "undertrained", "info", told, ranked(w), outcome(w))


FAKES = ("fake/missing", "fake/stray", "fake/spread")
SIGNALS: dict[str, tuple[str, ...]] = {
    "divergence": ("G/grad_norm", "D/grad_norm", "D/real", "D/fake", "skipped_steps"),
    "vanishing gradient": ("G/grad_norm", "G/update_ratio", "D/pair_right", *FAKES),
    "discriminator too weak": ("D/pair_right", "D/update_ratio", *FAKES),
    "overfitting of the discriminator": ("D/pair_right", "D/held_pair_right", "fake/repeats"),
    "learning rate too low": ("G/update_ratio", "D/update_ratio", *FAKES),
    "learning rate too high": ("G/update_ratio", "D/update_ratio", *FAKES),
    "mode collapse (full)": FAKES,
    "mode collapse (partial)": FAKES,
    "discriminator too strong": ("D/pair_right", "G/update_ratio", *FAKES),
    "oscillation": (*FAKES, "D/fake", "G/loss"),
    "at equilibrium": ("D/pair_right", *FAKES),
    "no progress": (*FAKES, "D/pair_right"),
    "plateau": (*FAKES, "D/pair_right"),
    "undertrained": (*FAKES, "D/pair_right"),
    "memorization": ("metric/c_t", "metric/authenticity"),
    "undecided": ("D/pair_right", "G/update_ratio", "G/grad_norm"),
    "player stands still": ("G/update_ratio", "D/update_ratio", "D/pair_right"),
    "poor samples": ("D/pair_right", "G/update_ratio", "D/update_ratio"),
    "condition ignored": ("D/pair_right", "G/update_ratio", "D/update_ratio"),
    "rare cases lost": ("D/pair_right", "G/update_ratio", "D/update_ratio"),
    "no better than its input": ("D/pair_right", "G/update_ratio", "D/update_ratio"),
    "healthy": (*FAKES, "D/pair_right"),
}
"""The names in the log that the rule of a fault looks at: what a picture of its evidence shows."""

RULES: Sequence[Rule] = (
    diverged, vanishing, too_slow, starved, scored.stands_still, memorized, scored.copies, overfitted, too_weak,
    too_fast, collapsed, too_strong, oscillates, scored.hasty, scored.judged, scored.drifts, scored.forgets,
    scored.too_few, scored.alone,
)  # fmt: skip
ENDS: Sequence[Rule] = (balanced, unfinished, soft, hurried)
"""Rules that go by the nearness of batches alone, where it tells how good fakes are."""


def judge(w: Window) -> Diagnosis:
    """The first rule that finds something; else what can be said without a fault, with what was seen and what not."""
    if (first := diverged(w)) is not None:
        return first
    if len(w.late) < FEWEST or w.rounds < ROUNDS:
        told = f"{len(w.late)} ticks and {w.rounds} rounds: at least {FEWEST} and {ROUNDS} are needed to judge"
        return found(w, "undertrained", "info", told)
    near = w.context.near and w.distance is not None
    for rule in (*RULES, *(ENDS if near else ())):
        diagnosis = rule(w)
        if diagnosis is not None:
            return seen(w, diagnosis)
    if not near:
        return seen(w, scored.verdict(w))
    return seen(w, found(w, "healthy", "info", outcome(w), scores(w), ranked(w)))


def seen(w: Window, diagnosis: Diagnosis) -> Diagnosis:
    """A diagnosis without a fault says what it rests on, and what it could not see."""
    if diagnosis.severity != "info":
        return diagnosis
    return replace(diagnosis, evidence=f"{diagnosis.evidence}; {sight(w)}")


def diagnose(lines: Sequence[Line], context: Context | None = None) -> Diagnosis:
    """What is wrong with a run, from the lines of its log so far: the same live and afterwards."""
    return judge(Window.of(lines, context))
