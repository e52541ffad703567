"""All metrics by their names: what each takes of the two sides that are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ganforge.core.errors import InputError, nearest
from ganforge.core.game import Batch
from ganforge.domains.domain import Domain, Source
from ganforge.measure.classifier import Classifier, train_classifier
from ganforge.measure.features import Extractor
from ganforge.measure.intervals import Score, groups, jackknife, need, wilson
from ganforge.measure.kinds import all_names
from ganforge.measure.metrics import tstr as learning
from ganforge.measure.metrics.bias import Bias, bias
from ganforge.measure.metrics.birthday import Support, birthday, calibrate
from ganforge.measure.metrics.discriminator import held_out_discriminator
from ganforge.measure.metrics.frechet import fid, fid_infinity, least_for_infinity
from ganforge.measure.metrics.inception_score import inception_score
from ganforge.measure.metrics.kernel import kid
from ganforge.measure.metrics.likelihood import LIKELIHOOD
from ganforge.measure.metrics.manifold import manifold
from ganforge.measure.metrics.memorization import memorization
from ganforge.measure.metrics.modes import class_coverage, mode_coverage
from ganforge.measure.metrics.ppl import Latents, no_latents, ppl
from ganforge.measure.metrics.vendi import vendi
from ganforge.measure.metrics.wasserstein import sliced_wasserstein
from ganforge.measure.sides import Probe, Side
from ganforge.measure.statistics import Reservoir

DEFAULTS = ("fid", "fid_infinity", "kid", "prdc", "is", "birthday", "memorization", "vendi", "swd", "modes")
"""What is measured of features, where it applies, when nothing is asked for."""

METRICS = (*DEFAULTS, LIKELIHOOD, "bias", "tstr", "held_out_discriminator", "ppl")

LEARNED = 512 * 2**20
"""Bytes of generated samples, as the classifier sees them, that are kept to train on."""


@dataclass
class Context:
    """What metrics may need beside the sides: the data, which rows of it are compared, and the generator itself."""

    domain: Domain
    source: Source
    held: Source | None
    extract: Extractor
    seed: int
    first: Tensor
    second: Tensor
    latents: Latents | None = None
    target: str | None = None
    gallery: Reservoir | None = None
    audits: dict[str, Bias] = field(default_factory=dict)

    @cached_property
    def classifier(self) -> Classifier:
        """The judge of the data's own classes."""
        return train_classifier(self.domain, self.source, self.held, self.seed)

    def take_test(self, count: int | None = None) -> Batch:
        """The real samples that stand for new ones: held-out data, or the rest of the source."""
        return (self.held or self.source).take(self.second[:count])


@dataclass(frozen=True)
class Pair:
    """A real side and what is compared with it; ``held`` is real data that no model has seen, if there is any.

    ``floor`` says that the other side is real too.
    """

    real: Side
    other: Side
    options: Any
    context: Context
    held: Side | None = None
    floor: bool = False

    @property
    def domain(self) -> Domain:
        """The data's domain."""
        return self.context.domain

    @cached_property
    def real_rows(self) -> Tensor:
        return self.real.rows.part(self.options.rows).rows

    @cached_property
    def other_rows(self) -> Tensor:
        return self.other.rows.part(self.options.rows).rows

    @cached_property
    def fid(self) -> Score:
        return fid(self.real.moments, self.other.moments, self.real_rows, self.other_rows)

    @cached_property
    def support(self) -> Support:
        few = self.options.pairs
        return birthday(self.other.rows.part(few).rows, calibrate(self.real.rows.part(few).rows))


def _fid_infinity(pair: Pair) -> dict[str, Score]:
    spread = (pair.fid.high - pair.fid.low) / 2 if pair.fid.high is not None and pair.fid.low is not None else 0.0
    return {"fid_infinity": fid_infinity(pair.real_rows, pair.other_rows, spread, seed=pair.options.seed)}


def _inception_score(pair: Pair) -> dict[str, Score]:
    if pair.other.shares is None:
        raise InputError("the Inception Score needs features with class logits: inception, classifier or squeezenet")
    return inception_score(pair.other.shares)


def _memorization(pair: Pair) -> dict[str, Score]:
    if pair.held is None:
        raise InputError("memorization needs real data that the model has not seen: --holdout DATA")
    few = pair.options.pairs
    rows = [side.rows.part(few).rows for side in (pair.held, pair.other)]
    if pair.held is pair.other:  # the floor: one half of the held-out data as if it were generated
        rows = [rows[0][0::2], rows[0][1::2]]
    return memorization(pair.real.rows.rows, rows[0], rows[1], seed=pair.options.seed).scores


def _modes(pair: Pair) -> dict[str, Score]:
    stack = getattr(pair.context.source, "stack", None)
    if stack is not None:
        return stacked_modes(pair.other.seen["mode"], stack.modes)
    mixture = pair.domain.mixture
    if mixture is None:
        raise InputError(
            "modes can be counted only where they are known: the built-in sets ring and grid, stacked:DATA"
        )
    points = torch.from_numpy(pair.domain.decode({"data": pair.other_rows}))
    need("the count of modes", "generated", len(points), len(mixture.centers))
    found = mode_coverage(points, mixture.centers, mixture.sd)
    return {
        "modes": Score(found.found, None, None, f"of {found.modes}", "higher"),
        "high_quality": wilson(found.high_quality * len(points), len(points), "higher"),
        "reverse_kl": Score(found.reverse_kl, None, None, f"over {found.modes} modes", "lower"),
    }


def stacked_modes(modes: Tensor, count: int) -> dict[str, Score]:
    """How many of ``count`` equal modes the samples' ``modes`` (int64 [n]) hit, and KL(q || uniform) of their shares q.

    Stacked MNIST's protocol (Metz et al. 2017; Lin et al. 2018, sec. 4.2): a classifier of single digits names each
    channel; 26,000 samples. Perfect samples score a KL of about (count - 1) / 2n: 0.019 for 1,000 modes.
    """
    need("the count of modes", "generated", len(modes), count)
    found = class_coverage(modes, count)
    parts = groups(len(modes))

    def left_out(group: int) -> float:
        keep = torch.ones(len(modes), dtype=torch.bool)
        keep[parts[group]] = False
        return class_coverage(modes[keep], count).kl

    return {
        "modes": Score(found.found, None, None, f"of {count:,}, {len(modes):,} samples", "higher"),
        "reverse_kl": jackknife(found.kl, [left_out], "lower"),
    }


def _bias(pair: Pair) -> dict[str, Score]:
    context = pair.context
    judge, domain = context.classifier, context.domain
    predicted, true, judged = pair.other.seen.get("class"), judge.true, judge.judged
    if pair.floor:  # the classifier's own test samples: those that give the confusion, and the others as samples
        predicted, true, judged = judged[0::2], true[1::2], judged[1::2]
    assert predicted is not None
    found = bias(predicted, domain.counts, true, judged, domain.classes, context.seed)
    if not pair.floor:
        context.audits["bias"] = found
    return found.scores


def _tstr(pair: Pair) -> dict[str, Score]:
    context, domain = pair.context, pair.context.domain
    if pair.floor:
        return {}  # trtr is the floor, and stands beside it
    gallery = context.gallery
    assert gallery is not None
    made: Batch = {"data": gallery.rows}
    if bool((pair.other.seen["label"] >= 0).all()):
        made["label"] = pair.other.seen["label"][gallery.numbers]
    real, test = context.source.take(context.first[: len(gallery.rows)]), context.take_test()
    if domain.columns and test["data"].dim() == 2:
        rows = learning.Rows(list(domain.columns), context.target, real["data"])
        sides = [rows(raw["data"]) for raw in (made, real, test)]
        return learning.tstr(sides[0], sides[1], sides[2], len(rows.values), context.seed)
    sides = [learning.images(domain, raw, who) for raw, who in ((made, "generated"), (real, "real"), (test, "real"))]
    return learning.tstr(sides[0], sides[1], sides[2], len(domain.classes), context.seed)


def _discriminator(pair: Pair) -> dict[str, Score]:
    unseen = None
    if pair.held is not None and pair.held is not pair.other:
        unseen = pair.held.rows.part(pair.options.rows).rows
    return held_out_discriminator(pair.real_rows, pair.other_rows, unseen, pair.options.seed)


class Encoded:
    """The samples as networks see them: what path lengths in points and tables are measured in."""

    name = sha256 = "encoded"
    resizer = "none"

    def __call__(self, raw: Batch) -> tuple[Tensor, None]:
        return raw["data"].flatten(1).float().cpu(), None


def _ppl(pair: Pair) -> dict[str, Score]:
    if pair.floor:
        return {}  # real data have no latents
    if pair.context.latents is None:
        raise no_latents()
    extract = pair.context.extract if pair.domain.plain_images else Encoded()
    count = min(pair.options.paths, pair.other.moments.count)
    return ppl(pair.context.latents, extract, count, seed=pair.options.seed)


MEASURES: dict[str, Callable[[Pair], dict[str, Score]]] = {
    "fid": lambda pair: {"fid": pair.fid},
    "fid_infinity": _fid_infinity,
    "kid": lambda pair: kid(pair.real_rows, pair.other_rows, seed=pair.options.seed),
    "prdc": lambda pair: manifold(pair.real_rows, pair.other_rows, pair.options.neighbors),
    "is": _inception_score,
    "birthday": lambda pair: {"support": pair.support.score},
    "memorization": _memorization,
    "vendi": lambda pair: {"vendi": vendi(pair.other_rows)},
    "swd": lambda pair: {"swd": sliced_wasserstein(pair.real_rows, pair.other_rows, seed=pair.options.seed)},
    "modes": _modes,
    "bias": _bias,
    "tstr": _tstr,
    "held_out_discriminator": _discriminator,
    "ppl": _ppl,
}


def choose(names: Sequence[str]) -> tuple[str, ...]:
    """The metrics of these names; InputError names the nearest one to a name that is unknown."""
    known = {*MEASURES, LIKELIHOOD, *all_names()}
    for name in names:
        if name not in known:
            raise InputError(f"unknown metric '{name}': {nearest(name, known)}")
    return tuple(dict.fromkeys(names))


def applicable(pair: Pair) -> list[str]:
    """The default metrics but those that other features or more data would be needed for."""
    names: list[str] = list(DEFAULTS)
    if pair.other.shares is None:
        names.remove("is")
    if pair.held is None:
        names.remove("memorization")
    if pair.domain.mixture is None and "mode" not in pair.other.seen:
        names.remove("modes")
    if min(len(pair.real_rows), len(pair.other_rows)) < least_for_infinity(pair.real.moments.dim):
        names.remove("fid_infinity")
    return names


def probes(asked: Sequence[str], context: Context) -> dict[str, tuple[str, Probe]]:
    """What must be known of every sample for these metrics, each with a mark of what says it.

    ``class``: the classifier's; ``mode``: the combination of the channels' classes, of stacked images.
    """
    found: dict[str, tuple[str, Probe]] = {}
    stack = getattr(context.source, "stack", None)
    if stack is not None and (not asked or "modes" in asked):
        judge = train_classifier(stack.domain, stack.source, None, context.seed)
        found["mode"] = (judge.key, lambda raw: _mode(judge, stack.domain, raw["data"]))
    if "bias" in asked:
        classifier, domain = context.classifier, context.domain
        found["class"] = (classifier.key, lambda raw: classifier.predict(domain.encode({"data": raw["data"]})["data"]))
    return found


def _mode(judge: Classifier, domain: Domain, data: Tensor) -> Tensor:
    """The combination of classes of stacked images [n, digits, h, w], as ``StackedSource.modes`` numbers it."""
    digits, classes = data.shape[1], len(judge.classes)
    single = data.reshape(-1, 1, *data.shape[2:])
    labels = judge.predict(domain.encode({"data": single})["data"]).view(-1, digits)
    return (labels * classes ** torch.arange(digits)).sum(1)


def label_of(raw: Batch) -> Tensor:
    """The samples' own labels, -1 where they have none: int64 [n]."""
    return raw.get("label", torch.full((len(raw["data"]),), -1)).cpu()


def only_probes(named: Mapping[str, tuple[str, Probe]]) -> dict[str, Probe]:
    """The probes without their marks."""
    return {name: probe for name, (_, probe) in named.items()}
