"""Judging a run: scores now and then as it trains, the best state kept, when to stop; and the same once, afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ganforge.core.errors import InputError, nearest
from ganforge.core.game import Batch
from ganforge.core.watch import Event, Verdict, Watcher
from ganforge.diagnose import Context, Diagnoser, Plateau, Target, read_log
from ganforge.diagnose.signals import WORST, flat_scores
from ganforge.domains import modules
from ganforge.domains.domain import Damage, Domain, Source, damage_of
from ganforge.engine.run import Run
from ganforge.engine.trainer import Trainer
from ganforge.judge import VERSIONS
from ganforge.measure import kinds
from ganforge.measure.evaluate import Options
from ganforge.measure.evaluate import evaluate as measure
from ganforge.measure.features import Extractor, find_extractor
from ganforge.measure.result import Evaluation
from ganforge.plan import Plan
from ganforge.samples import as_raw, decoded_by_model, from_model

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
CHUNK = 64
TOLD = 300
"""Generated samples for metrics of one kind of data, which may be slow."""
REAL = 20_000
"""Real samples for these, at most."""


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
    if plan.options.target is not None and not plan.domain.scored:
        known = sorted({m.DOMAIN.kind for m in modules() if m.DOMAIN.scored})
        raise InputError(
            f"train.target: data of kind '{plan.domain.kind}' have no score to follow (only {', '.join(known)})"
        )


class Now:
    """The game as it is now, for the judge: what it asks of a model."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.game, self.domain = trainer, trainer.game, trainer.domain

    def inputs(self, n: int, seed: int = 0, truncation: float = 1.0) -> Iterator[Batch]:
        """The same latents each time."""
        for start in range(0, n, CHUNK):
            yield self.trainer.draw(CHUNK, "evaluate", start)


class Evaluator:
    """A watcher that judges the averaged weights by real data: metrics.jsonl, and events of kind ``evaluation``.

    Always the same latents and the same real samples, so that scores differ by what was learned. Says keep_best when
    the followed score, where the data have one, is the best so far. ``every`` is in rounds; ``share`` bounds the time
    that it takes (None: none). ``extract`` is None where scores of features mean nothing.
    """

    def __init__(
        self, trainer: Trainer, run: Run, extract: Extractor | None, every: int, share: float | None, held: Any = None
    ) -> None:
        self.trainer, self.run, self.extract, self.every, self.share, self.held = (
            trainer, run, extract, every, share, held,
        )  # fmt: skip
        options = trainer.options
        self.score = options.metric
        extra = ["prdc", "birthday"] + ["memorization"] * (held is not None)
        extra += ["bias"] * (extract is not None and extract.name == "classifier")
        metrics = tuple(dict.fromkeys([metric_of(self.score), *extra]))
        few = max(options.evaluate_count, 1000)  # what is compared pair by pair costs its square
        self.options = Options(metrics, options.evaluate_count, max(few, 5000), rows=few, pairs=few, strict=False)
        known = kinds.names_of(trainer.domain.kind)
        self.own = tuple(
            name for name in kinds.tells_of(trainer.domain.kind) if name in known or not trainer.domain.scored
        )
        self.kept: dict[str, Any] = {}
        self.next = (trainer.clock.round // every + 1) * every
        self.spent, self.unable = 0.0, ""
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
            scores, result = self.measure()
        except InputError as error:  # values that are not finite are the trainer's business to mend
            if str(error) != self.unable:  # too few samples are as few the next time
                self.trainer.tell("message", message=f"not evaluated: {error}")
            self.unable = str(error)
            return None
        finally:
            self.spent += time.perf_counter() - started
        self.run.metrics(
            {
                "round": event.clock.round,
                "samples": event.clock.samples,
                "seconds": round(event.seconds, 3),
                "metrics": scores,
                "protocol": result.protocol.to_dict(),
            }
        )
        self.trainer.tell("evaluation", flat_scores(scores))
        score = result.scores.get(self.score)
        if score is None or score.value is None:
            return None
        if self.best is not None and (score.value < self.best) == (self.score in HIGHER):
            return None
        self.best = score.value
        value = {"metric": self.score, "value": score.value, "low": score.low, "high": score.high}
        return Verdict("keep_best", f"{self.score} {score.value:.4g}", values=value)

    def measure(self) -> tuple[dict[str, Any], Evaluation]:
        """The scores of the state that training is in, those of its kind of data first."""
        found: list[Evaluation] = []
        with self.trainer.sampling():
            if self.own:
                now, source = Now(self.trainer), self.trainer.stream.source
                found.append(tell_own(now, source, self.held, self.own, self.extract, self.kept))
            scored = self.trainer.domain.scored
            made = torch.cat(list(self.samples(self.trainer.options.evaluate_count))) if scored else None
        if made is not None:
            found.append(self.by_features(made))
        return {name: facts for result in found for name, facts in result.brief().items()}, found[-1]

    def by_features(self, made: Tensor) -> Evaluation:
        """The scores of features, as far as the data allow. InputError: the followed one cannot be had."""
        left = [made]

        def draw(n: int) -> Batch:
            now, left[0] = left[0][:n], left[0][n:]
            return {"data": now}

        found = measure(
            draw, len(made), self.trainer.domain, self.trainer.stream.source, self.extract, self.options, self.held,
            VERSIONS,
        )  # fmt: skip
        if self.score not in found.scores:
            raise InputError("; ".join(found.obstacles()))
        return found

    def samples(self, count: int) -> Iterator[Tensor]:
        """``count`` samples as a Source gives them, of the same latents each time."""
        for start in range(0, count, CHUNK):
            inputs = self.trainer.draw(CHUNK, "evaluate", start)
            yield as_raw(self.trainer.domain, self.trainer.game.sample(inputs))[: count - start]


def features_for(domain: Domain, source: Source, held: Source | None, device: torch.device) -> Extractor | None:
    """The features by which samples are judged: a classifier's where there are classes; None where none are needed."""
    general = set(kinds.tells_of(domain.kind)) - set(kinds.names_of(domain.kind))
    if not domain.scored and not general:
        return None
    labelled = domain.plain_images and len(domain.classes) > 1
    return find_extractor("classifier" if labelled else "auto", domain, source, held, device=device)


def tell_own(
    model: Any, source: Source, held: Source | None, metrics: tuple[str, ...], extract: Extractor | None = None,
    kept: dict[str, Any] | None = None, tell: Callable[[str], None] = lambda text: None,
) -> Evaluation:  # fmt: skip
    """Judge ``model`` (or the game as it is now) by ``metrics``, as far as the data allow; what cannot be had is noted.

    ``kept`` is filled with what metrics learn from the real samples.
    """
    unseen = held or source
    told = kinds.most(model.domain.kind, metrics, "TOLD", TOLD)
    count = min(told, len(unseen)) if model.game.needs else told
    options = Options(metrics, count, REAL, rows=1000, pairs=1000, strict=False, kept={} if kept is None else kept)
    draw = from_model(model, 0, 1.0, unseen)
    give = decoded_by_model(model, 0, 1.0, unseen)
    available = len(unseen) if model.game.needs else None
    with torch.enable_grad():  # some judges learn from the real samples
        return measure(draw, available, model.domain, source, extract, options, held, VERSIONS, give=give, tell=tell)


class Damaged:
    """A watcher that tells of images which a streamed source could not decode, each time their number has doubled; and
    of the first file with several frames.
    """

    def __init__(self, damage: Damage) -> None:
        self.damage, self.told = damage, damage.known

    def see(self, event: Event) -> Verdict | None:
        """Compare the count with what was told."""
        found = self.damage.count
        if event.kind != "tick":
            return None
        if found < max(1, 2 * self.told):
            return several(self.damage)
        self.told = found
        name, reason = self.damage.first[min(self.damage.known, len(self.damage.first) - 1)]
        return Verdict(
            "warn", f"{found:,} images cannot be read", f"the first: {name}: {reason}; the next ones took their places",
            "repair or remove them, or stop at the first with --strict",
        )  # fmt: skip


def several(damage: Damage) -> Verdict | None:
    """What to say of a file of which only the first frame is read."""
    if (file := damage.untold()) is None:
        return None
    return Verdict(
        "warn", f"{file[0]} has {file[1]:,} frames", "only the first is read, of all such files",
        "videogan learns from all frames of files in a folder",
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
    domain = plan.domain
    context = replace(Context.of(run.path, domain), within=plan.within)
    diagnoser = Diagnoser(context, automatic, read_log(run.path))
    if not options.evaluates or not (domain.scored or automatic or options.evaluate_samples):
        return [diagnoser]  # a judge of other kinds may have to learn first: only where it is asked for
    extract = features_for(domain, plan.source, plan.held, trainer.device)
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
        followed = (name, 5, lower) if domain.scored else (WORST, 5, True)
        found.append(Plateau(*followed, kind="evaluation", lines=seen))
    return found
