"""Rules that need no nearness of batches: what scores tell, players that stand still, errors on held-out data.

They go by names and shares alone, so that they hold for every kind of data: a kind's metrics say what its scores tell
(``measure.kinds.Tells``), on one scale. The thresholds were chosen on seed 0 of ``bench/diagnosis.py --domains``.
"""

from __future__ import annotations

from ganforge.diagnose.signals import OBJECTIVE, Told, Window
from ganforge.diagnose.verdict import Diagnosis, found, ranked, say, scores

STILL = 1e-7
"""A step below this share of the weights, from the start on: this player does not learn at all."""
LARGE, HUGE = 0.031, 0.045
"""A pace (``Window.pace``) above this is too large: LARGE where samples are bad and get no better, HUGE where nothing
judges them. In 60 healthy runs of all kinds 0.034 at most, and those get better."""
SETTLED = 150
"""Rounds after which steps are no longer large only because weights are new."""
SMALL = 1e-3
"""Below, a loss that does not fall is not the steps' fault."""
NEARS = 0.25
"""The share by which batches of fakes clearly get nearer to reals within a window."""
HALF = 0.5
"""On the scale of scores, where 1 is a fault: from here on a run is not done."""
COPIES = "memorization"
GRAVE = ("poor samples", "condition ignored", "mode collapse (partial)", "rare cases lost", "no better than its input")
"""What scores tell, the gravest first."""
FEW, OFTEN = 100, 50
"""So few samples, each seen so often: what is made are copies or their mixtures, unless held-out data refute it."""
EVALUATIONS = 4
"""So many evaluations in the window tell whether scores get better."""
APART = 1.6
"""A quantity of fakes so many times that of reals, or so many times less."""
RISES = 1.25
"""An error on held-out data so many times its least."""


def stands_still(w: Window) -> Diagnosis | None:
    """A player's steps are nothing, from the start on: it does not learn."""
    still = {}
    for player in w.players:
        start, highest = w.start(f"{player}/update_ratio"), w.highest(f"{player}/update_ratio")
        if start is not None and highest is not None and max(start, highest) <= STILL:
            still[player] = highest
    if not still:
        return None
    fault = "discriminator too weak" if all(player.startswith("D") for player in still) else "player stands still"
    told = ", ".join(say(f"{player}'s steps, relative to its weights,", step, ".1g") for player, step in still.items())
    return found(w, fault, "warn", told, scores(w))


def copies(w: Window) -> Diagnosis | None:
    """Scores tell of copies of training data."""
    bad = [t for t in w.told if t.fault == COPIES and t.low >= 1]
    return found(w, COPIES, "warn", scores(w, {t.name for t in bad})) if bad else None


def tells(those: list[Told]) -> bool:
    """Whether what scores tell of one fault is beyond doubt: any of them, or all of those that only count together."""
    alone, joint = [t for t in those if not t.joint], [t for t in those if t.joint]
    return any(t.low >= 1 for t in alone) or (bool(joint) and all(t.low >= 1 for t in joint))


def improves(w: Window, those: list[Told]) -> bool | None:
    """Whether it still gets better: the scores that are bad; where too few evaluations tell, the loss of an only
    player, errors on held-out data, and the nearness of batches, whose trend is a hint everywhere. None: not known."""
    lasting = []
    for t in those:
        values = w.values(f"lost/{t.fault}/{t.name}")
        if len(values) >= EVALUATIONS:
            half = len(values) // 2
            lasting.append(sum(values[-half:]) / half < 0.95 * sum(values[:half]) / half)
    if lasting:
        return any(lasting)
    return True if nears(w) or any(falling(w, name) for name in (*w.held, OBJECTIVE)) else None


def nears(w: Window) -> bool:
    """The fakes clearly get better: D teaches G something, whatever it ranks."""
    return w.improvement is not None and w.improvement - w.improvement_error >= NEARS


def falling(w: Window, name: str) -> bool:
    """A number falls within the window, by more than its noise."""
    trend, swing, third = w.trend(name), w.swing(name), len(w.values(name)) // 3
    return trend is not None and swing is not None and -trend > 3 * swing * (2 / third) ** 0.5


def hasty(w: Window) -> Diagnosis | None:
    """Steps are so large that samples stay bad; where nothing judges samples, far larger than any that work."""
    fast = max(w.pace.values(), default=0.0)
    bad = [t for t in w.told if t.value >= HALF and t.fault != COPIES]
    blind = not w.told and not w.context.near and w.rounds >= SETTLED
    if not (fast >= HUGE and blind) and not (fast >= LARGE and bad and not improves(w, bad)):
        return None
    return found(w, "learning rate too high", "warn", moved(w), scores(w, {t.name for t in bad}))


def moved(w: Window) -> str:
    """How large the players' steps are, in words."""
    steps = {player: w.level(f"{player}/update_ratio") or 0.0 for player in w.pace}
    return ", ".join(f"a step of {player} changes its weights by {step:.1%}" for player, step in steps.items())


def judged(w: Window) -> Diagnosis | None:
    """Samples are judged to be bad: named by what the players did, where that is plain, else by what is bad."""
    for fault in GRAVE:
        those = [t for t in w.told if t.fault == fault]
        if not tells(those):
            continue
        told = scores(w, {t.name for t in w.told if t.value >= HALF and t.fault != COPIES})
        better = improves(w, those)
        if better:
            return found(w, "undertrained", "info", told, "it still gets better", course(w))
        right = w.level("D/pair_right")
        if right is not None and right <= 0.53 and fault != "condition ignored":
            return found(w, "discriminator too weak", "warn", told, ranked(w))
        still = (
            "they no longer get better" if better is False else "one evaluation does not tell whether they get better"
        )
        return found(w, fault, "stop" if better is False else "warn", told, still, ranked(w) if right else "")
    return None


def drifts(w: Window) -> Diagnosis | None:
    """A quantity that is measured of both, such as motion, is another one of fakes than of reals, and stays so."""
    for name in (n.removeprefix("real/") for n in w.names if n.startswith("real/")):
        real, fake = w.now(f"real/{name}"), w.now(f"fake/{name}")
        if real is None or fake is None or real <= 0 or max(fake / real, real / max(fake, 1e-9)) < APART:
            continue
        values = w.values(f"fake/{name}")
        third = len(values) // 3
        before = sum(values[:third]) / third if third else fake
        if abs(fake - real) >= 0.9 * abs(before - real):
            return found(w, "poor samples", "warn", f"{name} of fakes {fake:.3g}, of real data {real:.3g}", scores(w))
    return None


def forgets(w: Window) -> Diagnosis | None:
    """An error on samples that are not trained on has risen, and stays up: the rest is learned by heart."""
    for name in w.held:
        now, start, values = w.now(name), w.start(name), w.values(name)
        third = len(values) // 3
        if now is None or start is None or third < 2:
            continue
        least = min([sorted(values[i : i + third])[third // 2] for i in range(0, len(values) - third, third)] + [start])
        if now >= RISES * least and now > 0:
            told = f"{name} rose from {least:.3g} to {now:.3g} on data that are not trained on"
            return found(w, COPIES, "warn", told, scores(w))
    return None


def too_few(w: Window) -> Diagnosis | None:
    """So few samples were seen so often that a player knows them by heart, and nothing shows that it does not."""
    count, epochs = w.context.count, w.epochs
    if count is None or epochs is None or count > FEW or epochs < OFTEN or w.held:
        return None
    if any(t.fault == COPIES for t in w.told) or w.level("D/held_pair_right") is not None:
        return None
    return found(w, COPIES, "warn", f"{count} samples, each seen about {epochs:.0f} times: expect copies", scores(w))


def alone(w: Window) -> Diagnosis | None:
    """Of a game with one player, whose loss means what it says: it must fall, and not rise again."""
    now, start, swing = w.now(OBJECTIVE), w.start(OBJECTIVE), w.swing(OBJECTIVE)
    if now is None or start is None or swing is None or now < start - swing or falling(w, OBJECTIVE):
        return None
    player = w.players[0]
    step = w.level(f"{player}/update_ratio")
    fault = "learning rate too high" if step is not None and step >= SMALL else "no progress"
    return found(
        w, fault, "warn", course(w), say(f"{player}'s steps, relative to its weights,", step, ".1g"), scores(w)
    )


def course(w: Window) -> str:
    """How the loss of the only player went, in words; nothing where there are several."""
    now, start = w.now(OBJECTIVE), w.start(OBJECTIVE)
    return "" if now is None or start is None else f"the loss went from {start:.4g} to {now:.4g}"


def verdict(w: Window) -> Diagnosis:
    """No rule has found a fault: what can be said depends on what has been seen."""
    if not w.told:
        told = "the samples have not been judged, and the log shows no fault"
        return found(w, "undecided", "info", told, course(w), ranked(w) if w.level("D/pair_right") else "")
    worst = max((t.value for t in w.told if not t.joint), default=0.0)
    rests = w.rounds >= SETTLED and w.trend(OBJECTIVE) is not None and not falling(w, OBJECTIVE)
    fault = "healthy" if worst < HALF else "plateau" if rests else "undertrained"
    return found(w, fault, "info", scores(w), course(w), ranked(w) if w.level("D/pair_right") else "")
