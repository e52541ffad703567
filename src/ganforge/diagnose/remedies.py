"""Remedies: for each fault what to change, as a command. Only settings that the run's recipe has are named."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ganforge.diagnose.signals import Window

GRADIENT_PENALTY: dict[str, str | None] = {"clip": "0", "gp": "10"}
"""What bounds a critic's slope without clipping its weights."""

SAME = "the same command with"
"""How the command begins where a run is trained as a part of another one."""

HASTE = 0.031
"""A pace (``Window.pace``) above which a remedy also slows the players down."""


USUAL = 2e-3
"""A usual step, relative to the weights."""


@dataclass(frozen=True)
class Remedy:
    """What to do, in a sentence, and the command that does it (empty where nothing is to be done)."""

    text: str = ""
    command: str = ""


def scaled(value: Any, factor: float) -> str | None:
    """A number or a schedule, times ``factor``, as --set takes it; None for what is neither."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return f"{value * factor:.3g}"
    if isinstance(value, Mapping) and {"start", "end"} <= value.keys():
        inner = {**value, **{k: float(f"{value[k] * factor:.3g}") for k in ("start", "end")}}
        return "{" + ", ".join(f"{k}: {v}" for k, v in inner.items()) + "}"
    return None


def again(w: Window, **changes: str | None) -> str:
    """The command that trains anew with ``changes``; settings that the recipe lacks are left out."""
    known = {k: v for k, v in changes.items() if v is not None and (k in w.context.params or not w.context.params)}
    if not known or not w.context.run:
        return ""
    start = SAME if w.context.within else f"ganforge train --config {shlex.quote(w.context.run + '/config.yaml')}"
    return " ".join([start, *(f"--set {shlex.quote(f'{k}={v}')}" for k, v in known.items())])


def number(w: Window, name: str) -> float:
    """A hyper-parameter that is a plain number, else 0."""
    value = w.context.params.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def slower(w: Window, factor: float) -> dict[str, str | None]:
    """All learning rates times ``factor``."""
    p = w.context.params
    own = [name for name in p if name.startswith("lr_") and p[name] is not None]
    return {name: scaled(p.get(name), factor) for name in ("lr", *own)}


def steady(w: Window) -> Remedy:
    """Against divergence and oscillation: the player whose steps are too large slows down, D is penalized."""
    pace = max(w.pace.values(), default=0.0)
    factor = min(0.3, max(5.2e-3 / pace, 1e-3)) if pace > 0 else 0.1
    penalty: dict[str, str | None] = {}
    if not any(number(w, name) for name in ("r1", "r2", "gp", "dragan")):
        penalty = GRADIENT_PENALTY if number(w, "clip") else {"r1": "1"}
    if number(w, "lr") * factor > 1e-2:
        factor = 2e-4 / number(w, "lr")
    text = f"the steps are too large: learning rates x {factor:.2g}" + (", and a bound on D's slope" if penalty else "")
    return Remedy(text, again(w, **slower(w, factor), **penalty))


def diversify(w: Window) -> Remedy:
    """Against collapse: slow down if the steps are huge; else let D see several samples at once, and smooth it; where
    it is so already, larger batches."""
    pace = max(w.pace.values(), default=0.0)
    rates = slower(w, max(5.2e-3 / pace, 1e-3)) if pace > HASTE else {}
    seen = {} if w.context.params.get("minibatch_stddev") else {"minibatch_stddev": "true"}
    penalty = {} if any(number(w, n) for n in ("r1", "gp", "dragan")) else {"r1": "1"}
    changes = {**rates, **seen, **penalty}
    if w.context.params and not w.context.params.keys() & changes.keys():
        batch = int(number(w, "batch"))
        larger = {"batch": f"{2 * batch}"} if batch else {}
        return Remedy("larger batches show D more of what is left out", again(w, **larger))
    text = "let D see how much a batch varies, and penalize its slope; or train r3gan, which keeps modes"
    return Remedy(text, again(w, **changes))


def weaken(w: Window) -> Remedy:
    """Against a D that is too strong: equal rates; or its slope penalized and its rate lowered."""
    p, step = w.context.params, w.now("G/update_ratio")
    theirs = w.now("D/update_ratio")
    if step is not None and theirs is not None and theirs > 20 * step and p.get("lr_discriminator") is not None:
        return Remedy(
            "G's steps are far smaller than D's: give it D's rate", again(w, lr=scaled(p["lr_discriminator"], 1))
        )
    rate = p.get("lr") if p.get("lr_discriminator") is None else p["lr_discriminator"]
    factor = min(0.25, max(3e-3 / theirs, 1e-3)) if theirs else 0.25
    penalty = {} if any(number(w, n) for n in ("r1", "gp", "dragan")) else {"r1": "1"}
    lr = {"lr": scaled(p.get("lr"), factor)} if w.pace.get("G", 0.0) > HASTE else {}
    text = f"D's learning rate x {factor:.2g}, and a penalty on its slope"
    return Remedy(text, again(w, lr_discriminator=scaled(rate, factor), **lr, **penalty))


def move(w: Window) -> Remedy:
    """Against a player whose steps are nothing: a learning rate that moves it."""
    p, changes = w.context.params, {}
    rates = [name for name in p if name == "lr" or name.startswith("lr_")]
    usual = max((v for name in rates if isinstance(v := p[name], int | float) and v >= 1e-6), default=2e-4)
    for name in rates:
        value = p[name]
        if isinstance(value, int | float) and not isinstance(value, bool) and value < 1e-6:
            changes[name] = f"{usual:.3g}"
    return Remedy("a player does not learn: give it a learning rate of the usual size", again(w, **changes))


def quicken(w: Window) -> Remedy:
    """Against steps that are far too small for all: rates that give usual ones."""
    largest = max((step for player in w.players if (step := w.steps(player)) is not None), default=0.0)
    factor = float(f"{min(USUAL / largest, 1e4):.0g}") if largest > 0 else 10.0
    return Remedy(
        f"the steps are too small to get anywhere: learning rates x {factor:g}", again(w, **slower(w, factor))
    )


def strengthen(w: Window) -> Remedy:
    """Against a D that is too weak: what holds it back is taken away; else it plays more often."""
    p, step = w.context.params, w.now("D/update_ratio")
    off = {name: "0" for name in ("label_flips", "instance_noise") if p.get(name)}
    if step is not None and step <= 1e-7 and (moved := move(w)).command:
        return moved
    if step is not None and step <= 1e-5 and p.get("lr_discriminator") is not None:
        return Remedy(
            "D's steps are too small to learn: give it G's rate",
            again(w, lr_discriminator=scaled(p.get("lr"), 1), **off),
        )
    if off:
        return Remedy("D is told too little: no wrong labels, no noise", again(w, **off))
    more = int(number(w, "discriminator_steps") or 1) + 2
    if "discriminator_steps" in p or not p:
        return Remedy("let D play more often", again(w, discriminator_steps=str(more)))
    faster = again(w, lr_discriminator=scaled(p.get("lr_discriminator"), 3))
    return Remedy("let D learn more: a higher learning rate, or a wider D", faster)


def revive(w: Window) -> Remedy:
    """Against a vanished gradient: a loss or a bound that gives one."""
    p = w.context.params
    if 0 < number(w, "clip") < 5e-3:
        return Remedy("the clip makes D nearly constant: a gradient penalty instead", again(w, **GRADIENT_PENALTY))
    if p.get("payoff") == "minimax":
        rate = {"lr_discriminator": scaled(p.get("lr"), 1)} if p.get("lr_discriminator") is not None else {}
        return Remedy("G's payoff saturates where D is sure: use the other", again(w, payoff="non-saturating", **rate))
    return weaken(w)


def enlarge(w: Window) -> Remedy:
    """Against a D that knows its few samples by heart."""
    p = w.context.params
    text = "add data; or show D augmented samples, and penalize its slope"
    change = {"augment": "color,translation,cutout"} if w.context.images and not p.get("augment") else {}
    return Remedy(text, again(w, **change, r1=scaled(max(number(w, "r1") * 10, 1.0), 1)))


def go_on(w: Window) -> Remedy:
    """Undertrained: train longer."""
    if not w.context.run:
        return Remedy("train longer")
    start = SAME if w.context.within else f"ganforge resume {shlex.quote(w.context.run)}"
    return Remedy("train longer", f"{start} --samples {max(2 * w.samples, 50_000)}")


def improve(w: Window) -> Remedy:
    """Against bad samples of a run whose players show no fault: undo what was set away from the defaults, go on."""
    on = go_on(w)
    return Remedy("train longer, and compare with the recipe's defaults (leave out what was --set)", on.command)


def ask_judge(w: Window) -> Remedy:
    """Nothing has judged the samples."""
    if not w.context.run or w.context.unable:
        return Remedy("look at the samples, and judge them by real data")
    return Remedy("have samples judged", f"ganforge diagnose {shlex.quote(w.context.run)}")


def refine(w: Window) -> Remedy:
    """Against a standstill: smaller steps, on from where it stands."""
    if not w.context.run:
        return Remedy("go on with a lower learning rate")
    if w.context.within:
        return Remedy("a lower learning rate", again(w, **slower(w, 0.3)))
    rates = " ".join(f"--set {shlex.quote(f'{k}={v}')}" for k, v in slower(w, 0.3).items() if v is not None)
    return Remedy(
        "go on with a lower learning rate", f"ganforge train --fork {shlex.quote(w.context.run)} {rates}".strip()
    )


REMEDIES = {
    "divergence": steady,
    "oscillation": steady,
    "learning rate too high": steady,
    "learning rate too low": quicken,
    "vanishing gradient": revive,
    "discriminator too strong": weaken,
    "discriminator too weak": strengthen,
    "overfitting of the discriminator": enlarge,
    "memorization": enlarge,
    "mode collapse (full)": diversify,
    "mode collapse (partial)": diversify,
    "no progress": refine,
    "plateau": refine,
    "undertrained": go_on,
    "undecided": ask_judge,
    "player stands still": move,
    "poor samples": improve,
    "condition ignored": improve,
    "no better than its input": improve,
    "rare cases lost": go_on,
}


def remedy_for(fault: str, w: Window) -> Remedy:
    """What to do about a fault."""
    return REMEDIES[fault](w) if fault in REMEDIES else Remedy()
