"""Judging a run as it trains: scores now and then, the best state kept, and when to stop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from ganforge import __version__
from ganforge.core.errors import InputError, nearest
from ganforge.core.game import Batch
from ganforge.core.watch import Event, Verdict, Watcher
from ganforge.diagnose import Context, Diagnoser, Plateau, Target, read_log
from ganforge.diagnose.signals import flat_scores
from ganforge.domains.domain import Damage, Source, damage_of
from ganforge.engine.run import Run
from ganforge.engine.trainer import Trainer
from ganforge.judge import as_raw
from ganforge.measure.evaluate import Options
from ganforge.measure.evaluate import evaluate as measure
from ganforge.measure.features import Extractor, find_extractor
from ganforge.measure.intervals import Score
from ganforge.measure.result import Evaluation
from ganforge.plan import Plan

TIMES = 20
"""Evaluations a run, where the user sets no cadence."""
SHARE = 0.05
"""They then take at most this share of the time."""
SCORES = {
    "fid": ("fid",),
    "kid": ("kid",),
    "prdc": ("precision", "recall", "density", "coverage"),
    "swd": ("swd",),
    "modes": ("modes", "high_quality", "reverse_kl"),
}
"""What a run may follow: the scores that each metric gives."""
HIGHER = frozenset(["precision", "recall", "density", "coverage", "modes", "high_quality"])
"""The scores of which a higher one is better."""
SCORED = ("image", "points", "table", "paired", "unpaired")
"""The kinds of data that evaluations during training know."""
CHUNK = 64


def metric_of(score: str) -> str:
    """The metric that gives a score. InputError for one that cannot be followed."""
    for metric, names in SCORES.items():
        if score in names:
            return metric
    known = [name for names in SCORES.values() for name in names]
    raise InputError(f"train.metric: a run cannot follow '{score}': {nearest(score, known)}")


def check(plan: Plan) -> None:
    """InputError for evaluations that these data cannot have: before a run is made."""
    metric_of(plan.options.metric)
    asked = plan.options.target is not None or plan.options.evaluate_samples is not None
    if asked and plan.domain.kind not in SCORED:
        raise InputError(
            f"train.target, train.evaluate_samples: data of kind '{plan.domain.kind}' have no score to follow (only "
            f"{', '.join(SCORED)})"
        )


class Evaluator:
    """A watcher that judges the averaged weights by real data: metrics.jsonl, and events of kind ``evaluation``.

    Always the same latents and the same real samples, so that scores differ by what was learned. Says keep_best when
    the followed score is the best so far. ``every`` is in rounds; ``share`` bounds the time that it takes (None: none).
    """

    def __init__(
        self, trainer: Trainer, run: Run, extract: Extractor, every: int, share: float | None, held: Any = None
    ) -> None:
        self.trainer, self.run, self.extract, self.every, self.share, self.held = (
            trainer, run, extract, every, share, held,
        )  # fmt: skip
        options = trainer.options
        self.score = options.metric
        extra = ["prdc", "birthday"] + ["memorization"] * (held is not None) + ["bias"] * (extract.name == "classifier")
        metrics = tuple(dict.fromkeys([metric_of(self.score), *extra]))
        few = max(options.evaluate_count, 1000)  # what is compared pair by pair costs its square
        self.options = Options(metrics, options.evaluate_count, max(few, 5000), seed=0, rows=few, pairs=few)
        self.next = (trainer.clock.round // every + 1) * every
        self.spent = 0.0
        self.best: float | None = (run.best() or {}).get("value")

    def see(self, event: Event) -> Verdict | None:
        """Evaluate when it is time, and at the end of training."""
        if event.kind != "tick":
            return None
        last = self.trainer.progress() >= 1
        rests = self.share is not None and self.spent > self.share * max(event.seconds, 1.0)
        if not last and (rests or event.clock.round < self.next):
            return None
        self.next = (event.clock.round // self.every + 1) * self.every
        started = time.perf_counter()
        try:
            result = self.measure()
        except InputError as error:  # values that are not finite are the trainer's business to mend
            self.trainer.tell("message", message=f"not evaluated: {error}")
            return None
        finally:
            self.spent += time.perf_counter() - started
        self.run.metrics(
            {
                "round": event.clock.round,
                "samples": event.clock.samples,
                "seconds": round(event.seconds, 3),
                "metrics": line_scores(result),
                "protocol": result.protocol.to_dict(),
            }
        )
        self.trainer.tell("evaluation", flat_scores(line_scores(result)))
        score = result.scores[self.score]
        if score.value is None or (self.best is not None and (score.value < self.best) == (self.score in HIGHER)):
            return None
        self.best = score.value
        value = {"metric": self.score, "value": score.value, "low": score.low, "high": score.high}
        return Verdict("keep_best", f"{self.score} {score.value:.4g}", values=value)

    def measure(self) -> Evaluation:
        """The scores of the state that training is in."""
        trainer = self.trainer
        count = trainer.options.evaluate_count
        with trainer.sampling():
            made = torch.cat(list(self.samples(count)))
        left = [made]

        def draw(n: int) -> Batch:
            now, left[0] = left[0][:n], left[0][n:]
            return {"data": now}

        return measure(
            draw, count, trainer.domain, trainer.stream.source, self.extract, self.options, self.held,
            {"ganforge": __version__, "torch": torch.__version__},
        )  # fmt: skip

    def samples(self, count: int) -> Iterator[Tensor]:
        """``count`` samples as a Source gives them, of the same latents each time."""
        for start in range(0, count, CHUNK):
            inputs = self.trainer.draw(CHUNK, "evaluate", start)
            yield as_raw(self.trainer.domain, self.trainer.game.sample(inputs))[: count - start]


def facts(score: Score, floor: Score | None) -> dict[str, Any]:
    """A score as metrics.jsonl holds it."""
    told = asdict(score)
    return {**{key: told[key] for key in ("value", "low", "high", "better")}, "floor": floor.value if floor else None}


def line_scores(result: Evaluation) -> dict[str, Any]:
    """The scores as a line of metrics.jsonl holds them."""
    return {name: facts(score, result.floors.get(name)) for name, score in result.scores.items()}


class Damaged:
    """A watcher that tells of images which a streamed source could not decode, each time their number has doubled."""

    def __init__(self, damage: Damage) -> None:
        self.damage, self.told = damage, damage.known

    def see(self, event: Event) -> Verdict | None:
        """Compare the count with what was told."""
        found = self.damage.count
        if event.kind != "tick" or found < max(1, 2 * self.told):
            return None
        self.told = found
        name, reason = self.damage.first[min(self.damage.known, len(self.damage.first) - 1)]
        return Verdict(
            "warn", f"{found:,} images cannot be read", f"the first: {name}: {reason}; the next ones took their places",
            "repair or remove them, or stop at the first with --strict",
        )  # fmt: skip


def watchers(trainer: Trainer, plan: Plan, run: Run, rounds: int) -> list[Watcher]:
    """What watches over a run of ``rounds`` rounds: the diagnosis always, evaluations and stopping where asked for."""
    return [*damaged(plan.source), *judges(trainer, plan, run, rounds)]


def damaged(source: Source) -> list[Watcher]:
    """The watcher of a source that finds out as it is read what cannot be, and none of any other."""
    damage = damage_of(source)
    return [] if damage is None else [Damaged(damage)]


def judges(trainer: Trainer, plan: Plan, run: Run, rounds: int) -> list[Watcher]:
    """The watchers that judge the samples, and the course of the losses."""
    options = plan.options
    automatic = options.stop == "auto"
    diagnoser = Diagnoser(Context.of(run.path), automatic, read_log(run.path), plan.domain.kind == "image")
    if not options.evaluates or plan.domain.kind not in SCORED:
        return [diagnoser]
    labelled = plan.domain.kind == "image" and len(plan.domain.classes) > 1
    extract = find_extractor(
        "classifier" if labelled else "auto", plan.domain, plan.source, plan.held, device=trainer.device
    )
    every = trainer.every(options.evaluate_samples, TIMES, rounds)
    share = None if options.evaluate_samples else SHARE
    evaluator = Evaluator(trainer, run, extract, every, share, plan.held)
    lower = options.metric not in HIGHER
    found: list[Watcher] = [evaluator, diagnoser]
    name = f"metric/{options.metric}"
    seen = [flat_scores(line["metrics"]) for line in run.lines("metrics") if isinstance(line.get("metrics"), dict)]
    if options.target is not None:
        found.append(Target(name, options.target, lower, ticks=1, kind="evaluation"))
    if automatic:
        found.append(Plateau(name, 5, lower, kind="evaluation", lines=seen))
    return found
