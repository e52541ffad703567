"""Signals and rules on logs made by hand: each fault is found where it is, and nowhere else."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ganforge.diagnose import Context, Diagnosis, Window, diagnose
from ganforge.diagnose.signals import oscillation

TICKS, EVERY = 100, 10
CONTEXT = Context(
    count=1000,
    params={"lr": 2e-4, "lr_discriminator": None, "r1": 0.0, "gp": 0.0, "clip": 0.0, "discriminator_steps": 1}
    | {"minibatch_stddev": False},
    run="runs/x",
)
GOOD = {"healthy", "at equilibrium", "plateau", "undertrained"}


def line_between(start: float, end: float, noise: float = 0.0, seed: int = 0) -> list[float]:
    """TICKS values on a line, with noise relative to them."""
    draw = random.Random(seed)
    return [(start + (end - start) * i / (TICKS - 1)) * (1 + noise * draw.uniform(-1, 1)) for i in range(TICKS)]


def log(**columns: float | list[float]) -> list[dict[str, Any]]:
    """A healthy run's log, but for ``columns`` (``_`` stands for ``/``): a number, or one for each tick."""
    usual: dict[str, float | list[float]] = {
        "D_pair_right": line_between(0.95, 0.8, 0.02),
        "fake_spread": line_between(0.8, 1.0, 0.02),
        "fake_missing": line_between(0.4, 0.05, 0.05, 1),
        "fake_stray": line_between(0.5, 0.05, 0.05, 2),
        "fake_repeats": 0.0,
        "D_grad_norm": line_between(4, 2, 0.2, 3),
        "G_grad_norm": line_between(3, 2, 0.2, 4),
        "D_update_ratio": 2e-3,
        "G_update_ratio": 2e-3,
        "D_loss": line_between(1.0, 1.2, 0.1, 5),
        "G_loss": line_between(1.5, 1.0, 0.1, 6),
        "D_real": 1.0,
        "D_fake": -1.0,
    }
    table = {k.replace("_", "/", 1): v for k, v in {**usual, **columns}.items()}
    return [
        {"round": (i + 1) * EVERY, "samples": (i + 1) * EVERY * 64}
        | {k: v[i] if isinstance(v, list) else v for k, v in table.items()}
        for i in range(TICKS)
    ]


FAR: dict[str, Any] = {"fake_missing": 0.9, "fake_stray": 0.8}

NEARING: dict[str, Any] = {"fake_missing": line_between(1.2, 0.5), "fake_stray": line_between(1.2, 0.4)}

FAULTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "non-finite": ("divergence", "stop", {"G_loss": [1.0] * 60 + [math.nan] * 40}),
    "null": ("divergence", "stop", {"D_grad_norm": [1.0] * 60 + [None] * 40}),
    "exploding": ("divergence", "stop", {**FAR, "D_grad_norm": line_between(1, 1e4), "D_fake": 1e4}),
    "frozen gradient": ("vanishing gradient", "stop", {**FAR, "G_grad_norm": 1e-13, "G_update_ratio": 0.0}),
    "fading gradient": (
        "vanishing gradient", "warn",
        {**FAR, "G_grad_norm": [10 ** (-3 * i / TICKS) for i in range(TICKS)], "D_pair_right": 1.0},
    ),
    "weak": ("discriminator too weak", "warn", {**FAR, "D_pair_right": 0.5}),
    "wrong": ("discriminator too weak", "warn", {**FAR, "D_pair_right": 0.0, "fake_spread": 0.1}),
    "strong": ("discriminator too strong", "warn", {**FAR, "D_pair_right": 1.0}),
    "starved": (
        "discriminator too strong", "warn",
        {**FAR, "D_pair_right": 1.0, "G_update_ratio": 1e-6, "fake_spread": 0.2},
    ),
    "full": ("mode collapse (full)", "stop", {"fake_missing": 0.9, "fake_stray": 0.1, "fake_spread": 0.03}),
    "partial": ("mode collapse (partial)", "warn", {"fake_missing": 0.4, "fake_stray": 0.05, "fake_spread": 0.9}),
    "noisy partial": (
        "mode collapse (partial)", "warn",
        {"fake_missing": line_between(0.75, 0.7, 0.3, 1), "fake_stray": line_between(0.2, 0.2, 0.3, 2)}
        | {"fake_spread": 0.5},
    ),
    "held out": ("overfitting of the discriminator", "warn", {"D_pair_right": 0.97, "D_held_pair_right": 0.7}),
    "repeats": ("overfitting of the discriminator", "warn", {"fake_repeats": 1.0, "D_pair_right": 1.0}),
    "fast": ("learning rate too high", "warn", {**FAR, "G_update_ratio": 0.05}),
    "slow": (
        "learning rate too low", "warn",
        {**FAR, "fake_spread": 0.1, "D_pair_right": 0.05, "D_update_ratio": 6e-6, "G_update_ratio": 2e-5},
    ),
    "slow, and D ranks rightly by chance": (
        "learning rate too low", "warn", {**FAR, "D_pair_right": 1.0, "D_update_ratio": 6e-6, "G_update_ratio": 2e-5}
    ),
    "swings": (
        "oscillation", "warn",
        {
            "fake_missing": [0.35 + 0.25 * math.sin(i / 2) for i in range(TICKS)],
            "fake_stray": [0.35 + 0.2 * math.cos(i / 2) for i in range(TICKS)],
            "fake_spread": 0.9,
        },
    ),
    "stuck": ("no progress", "warn", {"fake_missing": 0.35, "fake_stray": 0.35, "D_pair_right": 0.75}),
    "resting": ("plateau", "info", {"fake_missing": 0.10, "fake_stray": 0.12}),
    "learning": ("undertrained", "info", NEARING),
    "balanced": ("at equilibrium", "info", {"fake_missing": 0.01, "fake_stray": 0.02, "D_pair_right": 0.52}),
    "good": ("healthy", "info", {}),
}  # fmt: skip


@pytest.mark.parametrize(("betas", "fault"), [([0.5, 0.999], "learning rate too high"), ([0.0, 0.99], "undertrained")])
def test_a_step_counts_for_more_with_momentum(betas: list[float], fault: str) -> None:
    """As much as r3gan's G moves, on images, by default: without momentum, steps in turn do not add up."""
    lines = log(fake_missing=line_between(0.4, 0.25), fake_stray=line_between(0.3, 0.2), G_update_ratio=0.034)
    context = replace(CONTEXT, images=True, params={**CONTEXT.params, "betas": betas})
    assert diagnose(lines, context).fault == fault
    pace = Window.of(lines, context).pace["G"]
    random_walk = [0.0] * 20_000
    draw, step = random.Random(0), 0.0
    for i in range(len(random_walk)):  # Adam's first moment of independent gradients, scaled to steps of size 1
        step = betas[0] * step + (1 - betas[0]) * draw.gauss(0, 1)
        random_walk[i] = step / math.sqrt((1 - betas[0]) / (1 + betas[0]))
    far = [sum(random_walk[i : i + 50]) for i in range(0, len(random_walk), 50)]
    spread = math.sqrt(sum(x * x for x in far) / len(far) / 50)
    assert pace == pytest.approx(0.034 * spread, rel=0.1)


def test_blurred_pictures_are_not_healthy() -> None:
    """BigGAN after 103 rounds on 600 photos: grey fog, nearer to most photos than another photo is."""
    fog = log(fake_missing=-0.01, fake_stray=-0.17, fake_spread=0.85, D_pair_right=0.77)
    found = diagnose(fog[:10], replace(CONTEXT, images=True))
    assert found.severity == "info"
    found = diagnose(fog, replace(CONTEXT, images=True))
    assert found.fault == "plateau" and "blurred" in found.evidence
    assert diagnose(fog, CONTEXT).fault == "healthy"  # points have no looks
    good = log(fake_missing=-0.08, fake_stray=-0.13, D_pair_right=0.96)
    assert diagnose(good, replace(CONTEXT, images=True)).fault == "healthy"


@pytest.mark.parametrize(
    "columns",
    [
        {**FAR, "D_update_ratio": 6e-6, "G_update_ratio": 2e-3},  # one player learns
        {**FAR, "D_update_ratio": line_between(2e-3, 1e-6), "G_update_ratio": line_between(2e-3, 1e-6)},  # a schedule
        {**FAR, "D_update_ratio": 1.5e-4, "G_update_ratio": 1.5e-4},  # small steps, but many
        {**NEARING, "D_update_ratio": 2e-5, "G_update_ratio": 2e-5},  # it gets nearer all the same
        {"D_update_ratio": 2e-5, "G_update_ratio": 2e-5},  # it is there already: a fork, say
    ],
)
def test_small_steps_alone_are_no_fault(columns: dict[str, Any]) -> None:
    assert diagnose(log(**columns), CONTEXT).fault != "learning rate too low"


def test_young_runs_that_nothing_has_judged_are_not_called_healthy() -> None:
    young = replace(CONTEXT, budget=1_000_000)  # of which 64,000 have been seen
    found = diagnose(log(), young)
    assert found.fault == "undertrained" and "6.4 % of the recipe's own budget of 1,000,000" in found.evidence
    assert "train longer" in str(found)
    for context in (CONTEXT, replace(CONTEXT, budget=400_000)):
        assert diagnose(log(), context).fault == "healthy"
    judged = {"lost_poor samples/precision": 0.01, "metric_precision": 0.95, "metric_precision/floor": 0.96}
    assert diagnose(log(**judged), young).fault == "healthy"


def test_a_rate_far_too_low_is_raised() -> None:
    found = diagnose(log(**FAULTS["slow"][2]), replace(CONTEXT, params={"lr": 1e-6, "lr_discriminator": None}))
    assert found.remedy.command.endswith("--set lr=0.0001")


def test_how_far_is_far_depends_on_the_data() -> None:
    """Any two images are about as far apart as any others, so that the unit of distance is small there."""
    lines = log(fake_missing=0.25, fake_stray=0.25)
    assert diagnose(lines, CONTEXT).fault == "no progress"
    assert diagnose(lines, replace(CONTEXT, images=True)).fault == "plateau"


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_named(name: str) -> None:
    fault, severity, columns = FAULTS[name]
    found = diagnose(log(**columns), CONTEXT)
    assert (found.fault, found.severity) == (fault, severity)
    assert found.evidence and any(c.isdigit() for c in found.evidence)
    if severity != "info":
        assert found.remedy.text
        assert found.remedy.command.startswith("ganforge train --") and "runs/x" in found.remedy.command


def test_remedies_name_only_settings_that_the_recipe_has() -> None:
    for _, _, columns in FAULTS.values():
        bare = diagnose(log(**columns), Context(params={"lr": 1e-3}, run="runs/x"))
        assert all(word.startswith("lr=") for word in bare.remedy.command.split() if "=" in word)
        assert "train" not in diagnose(log(**columns)).remedy.command  # no run to name: the sentence alone


def test_against_collapse_of_what_keeps_modes_already() -> None:
    """r3gan has both penalties, and statistics of batches: it is not told to train r3gan more slowly."""
    params = {"lr": 1e-3, "betas": [0.0, 0.99], "r1": 0.1, "minibatch_stddev": True, "batch": 64}
    collapse = FAULTS["partial"][2]
    found = diagnose(log(**collapse, G_update_ratio=0.03), replace(CONTEXT, params=params, images=True))
    assert found.fault == "mode collapse (partial)" and "larger batches" in found.remedy.text
    assert found.remedy.command.endswith("--set batch=128")


def test_remedy_scales_a_schedule() -> None:
    params = {"lr": {"start": 1e-1, "end": 1e-2, "over": 1000, "begin": 0.0, "shape": "cosine"}}
    found = diagnose(log(**FAR, G_update_ratio=0.03), Context(params=params, run="runs/a b"))
    assert "start: 0.01," in found.remedy.command and "end: 0.001," in found.remedy.command
    assert "'runs/a b/config.yaml'" in found.remedy.command


def test_without_outcome_signals_only_certain_faults_are_named() -> None:
    lines = [{k: v for k, v in line.items() if not k.startswith("fake/")} for line in log(D_pair_right=1.0)]
    found = diagnose(lines, CONTEXT)
    assert (found.fault, found.severity) == ("undecided", "info")
    dead = [{k: v for k, v in line.items() if not k.startswith("fake/")} for line in log(G_grad_norm=0.0)]
    assert diagnose(dead, CONTEXT).fault == "vanishing gradient"
    assert diagnose([], CONTEXT).fault == "undertrained"


def test_a_strong_discriminator_is_no_fault_while_fakes_get_nearer() -> None:
    found = diagnose(log(D_pair_right=1.0, **NEARING), CONTEXT)
    assert found.fault == "undertrained"


def test_a_critic_whose_logits_mean_no_probability_is_judged_by_ranks() -> None:
    found = diagnose(log(D_real=-40.0, D_fake=-45.0, D_loss=-5.0, G_loss=45.0), CONTEXT)
    assert found.fault == "healthy"


def test_early_collapse_is_only_a_warning() -> None:
    lines = log(fake_missing=0.9, fake_stray=0.1, fake_spread=0.03)[:20]
    assert diagnose(lines, CONTEXT).severity == "warn"
    assert diagnose(lines[:5], CONTEXT).severity == "info"


def test_fakes_of_new_weights_are_alike_and_no_collapse() -> None:
    """As infogan's on MNIST (size 8): alike from the first round on, far from all reals, slowly nearer."""
    alike: dict[str, Any] = {"fake_spread": line_between(0.115, 0.125, 0.03), "D_pair_right": 1.0}
    near = {"fake_missing": line_between(1.87, 1.45, 0.04), "fake_stray": line_between(1.84, 1.38, 0.04, 2)}
    images = replace(CONTEXT, images=True)
    for seen in range(1, TICKS + 1):
        assert "collapse" not in diagnose(log(**alike, **near)[:seen], images).fault
    off: dict[str, Any] = {"fake_missing": line_between(1.7, 1.7, 0.04), "fake_stray": line_between(1.6, 1.6, 0.04, 2)}
    for columns in (
        {**alike, **off},  # from the start, and no nearer
        {**alike, **near, "fake_spread": [0.8] * 20 + [0.12] * 80},  # they were less alike
        {**alike, **near, "fake_stray": line_between(1.5, 0.2, 0.04)},  # among a part of the reals
    ):
        found = diagnose(log(**columns), images)
        assert (found.fault, found.severity) == ("mode collapse (full)", "stop"), found


def test_fakes_that_grow_various_have_not_collapsed() -> None:
    """As dcgan's on digits in its first 250 rounds: they lie among some of the reals, and find more of them."""
    among: dict[str, Any] = {
        "fake_missing": line_between(0.55, 0.5, 0.05),
        "fake_stray": line_between(0.3, 0.25, 0.05, 2),
    }
    images = replace(CONTEXT, images=True)
    grown = log(**among, fake_spread=line_between(0.15, 0.9, 0.02))
    for seen in range(1, TICKS + 1):
        assert "collapse" not in diagnose(grown[:seen], images).fault
    still = log(**among, fake_spread=line_between(0.5, 0.52, 0.02))
    assert diagnose(still, images).fault == "mode collapse (partial)"


def test_rollbacks_count_as_divergence() -> None:
    assert diagnose(log(), Context(rollbacks=1)).fault == "divergence"


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**31),
    st.floats(0.3, 1.2),
    st.floats(0.0, 0.12),
    st.floats(0.5, 1.0),
    st.floats(1e-4, 1e-2),
    st.floats(0.01, 100),
    st.integers(1, TICKS),
)
@example(seed=0, start=1.0, end=0.09375, right=0.5, step=0.0078125, norm=1.0, seen=100)
def test_a_run_that_improves_never_gives_stop(
    seed: int, start: float, end: float, right: float, step: float, norm: float, seen: int
) -> None:
    lines = log(
        fake_missing=line_between(start, end, 0.1, seed),
        fake_stray=line_between(start, end, 0.1, seed + 1),
        fake_spread=line_between(0.3, 1.0, 0.05, seed + 2),
        D_pair_right=line_between(1.0, right, 0.02, seed + 3),
        G_update_ratio=step,
        D_update_ratio=step,
        G_grad_norm=line_between(norm, norm, 0.5, seed + 4),
    )
    found = diagnose(lines[:seen], CONTEXT)
    assert found.severity != "stop"
    if seen == TICKS:
        assert found.fault in GOOD


junk = st.one_of(st.none(), st.floats(allow_nan=True), st.text(max_size=3), st.booleans(), st.integers())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["round", *log()[0]]), junk, max_size=8), max_size=40))
def test_any_log_is_judged(lines: list[dict[str, Any]]) -> None:
    lines = [{**line, "round": i, "samples": i} for i, line in enumerate(lines)]
    found = diagnose(lines, CONTEXT)
    assert isinstance(found, Diagnosis) and "nan" not in found.evidence.split()


def test_signals() -> None:
    window = Window.of(log(G_loss=[float(i) for i in range(TICKS)]), CONTEXT)
    assert len(window.late) == 40 and len(window.early) == 12
    assert window.level("G/loss") == 79.5 and window.start("G/loss") == 5.5
    assert window.trend("G/loss") == pytest.approx(27) and window.swing("G/loss") == pytest.approx(0, abs=1e-9)
    assert window.rounds == 1000 and window.epochs == 64
    assert window.level("not/there") is None and window.trend("not/there") is None
    assert window.improvement is not None and window.improvement > 0.3


def test_oscillation_tells_waves_from_noise_and_trends() -> None:
    draw = random.Random(0)
    wave = [math.sin(i / 2) + 0.1 * i for i in range(60)]
    noise = [draw.gauss(0, 1) for _ in range(60)]
    assert oscillation(wave) > 0.8
    assert oscillation(noise) < 0.6
    assert oscillation([0.5 * i for i in range(60)]) == 0
    assert oscillation([3.0] * 60) == 0
