"""One pass over samples, all metrics, each with its interval and beside it the same number of real against real."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.domains.domain import Domain, Source
from ganforge.measure import kinds
from ganforge.measure.distances import Points
from ganforge.measure.distances import nearest as nearest_rows
from ganforge.measure.features import Extractor
from ganforge.measure.intervals import Elsewhere, Score, TooFew
from ganforge.measure.lost import lost_shares
from ganforge.measure.measures import (
    LEARNED,
    MEASURES,
    METRICS,
    Context,
    Pair,
    applicable,
    choose,
    label_of,
    only_probes,
    probes,
)
from ganforge.measure.metrics.bias import Bias
from ganforge.measure.metrics.likelihood import LIKELIHOOD, Likelihood, bits_per_dim, no_likelihood, unseen_rows
from ganforge.measure.metrics.ppl import Latents
from ganforge.measure.protocol import Protocol
from ganforge.measure.result import Duplicate, Evaluation
from ganforge.measure.sides import Sampler, Side, collect, from_source, real_side
from ganforge.measure.statistics import Reservoir

__all__ = ["METRICS", "Options", "Sampler", "Side", "choose", "collect", "evaluate", "from_source"]

GENERATED = 10_000
"""Generated samples by default, where there are as many real ones to compare with."""

STACKED = 26_000
"""The same where modes of stacked images are counted: PacGAN's protocol."""

COPYABLE = 50_000
"""Training rows that are searched for copies."""

Giver = Callable[[int, Tensor], kinds.Samples]
"""So many samples that are to be judged, decoded; the rows of the unseen real samples are what a translation starts
from."""

Found = Callable[[], dict[str, Score]]


@dataclass(frozen=True)
class Options:
    """metrics: which (empty: all that apply). count, real_count: samples of each side at most. seed: of the split and
    of all random choices. rows: how many are kept for metrics that compare samples one by one, ``pairs`` for the
    birthday test and memorization. neighbors: of precision and recall. whole: compare with all real samples even
    without held-out ones; the floor is then that of two halves. paths: of the perceptual path length. target: the
    column of a table that train-on-synthetic-test-on-real predicts. strict: a metric that was asked for and cannot be
    had is an InputError, not a note. kept: what metrics have learned from the same real samples, for the next time."""

    metrics: tuple[str, ...] = ()
    count: int | None = None
    real_count: int | None = None
    seed: int = 0
    rows: int = 10_000
    pairs: int = 5_000
    neighbors: int = 5
    whole: bool = False
    paths: int = 2_000
    target: str | None = None
    strict: bool = True
    kept: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Split:
    """Rows of the real data: the ``reference`` of the scores, the ``rest`` that stands for a perfect generator in the
    floor, and the ``half`` that is the floor's own reference where the scores' is all there is."""

    name: str
    reference: Tensor
    rest: Tensor
    half: Tensor


def split_real(source: Source, held: Source | None, options: Options) -> Split:
    """How the real data are used: see ``evaluate``. ``rest`` are rows of ``held``, if that is given."""

    def shuffled(data: Source) -> Tensor:
        return torch.randperm(len(data), generator=torch.Generator().manual_seed(options.seed))

    order, most = shuffled(source), options.real_count
    middle = (len(order) + 1) // 2
    half, other = order[:middle][:most], order[middle:][:most]
    if held is not None:
        return Split("all against held-out data", order[:most], shuffled(held)[:most], order[:most])
    if options.whole:
        return Split("all", order[:most], other, half)
    return Split("random halves", half, other, half)


def evaluate(
    draw: Sampler,
    available: int | None,
    domain: Domain,
    source: Source,
    extract: Extractor | None,
    options: Options | None = None,
    held: Source | None = None,
    versions: dict[str, str] | None = None,
    numbers: Tensor | None = None,
    gallery: bool = False,
    tell: Callable[[str], None] = lambda text: None,
    latents: Latents | None = None,
    give: Giver | None = None,
    likelihood: Likelihood | None = None,
) -> Evaluation:
    """Judge the samples of ``draw`` (of which there are ``available``; None: as many as one likes) by the real ones.

    With ``held``, samples are compared with all of ``source``, and the floor is ``held`` against it. Without,
    ``source`` is split at random: samples are compared with one half, and the floor is the other half against it, so
    that both have the same counts. ``numbers`` are the samples' own, in the order in which they are drawn; ``latents``
    is the generator behind them, where there is one, ``likelihood`` its own. ``give`` gives so many samples decoded,
    for metrics of one kind of data, and gets the rows of the unseen real samples, which a translation starts from;
    without it, there are none of these. ``extract`` is None where no metric of features is wanted. Raises InputError
    for what is wrong, and when a metric that was asked for cannot be had; of the default ones those are left out, with
    a note.
    """
    options = options or Options()
    asked = choose(options.metrics)
    own, general = kinds.pick(asked, domain.kind) if give is not None else ([], list(asked) or None)
    featured = needs_features(general)
    if featured and extract is None:
        raise InputError("metrics of features need features to compare")
    case = Case(domain, source, held, split_real(source, held, options), options, bool(asked) and options.strict, tell)
    count = case.count(available, general)
    few = count if options.count else min(count, kinds.most(domain.kind, own, "SAMPLES", count))
    count = count if featured else few if own else 0
    judged = Judged(case.halved)
    if own and give is not None:
        judge_kind(judged, case, own, give, few)
    if featured and extract is not None:
        names = tuple(name for name in general or () if name != LIKELIHOOD)
        by_features(judged, case, names, draw, count, extract, numbers, gallery, latents)
    if LIKELIHOOD in asked or (likelihood is not None and not asked):
        likely(judged, case, likelihood)
    floored = len(case.split.rest[:count])
    if floored < count:
        told = f"the floor is of {floored} samples, the scores of {count}: compare them with care"
        judged.notes.insert(0, told)
    protocol = case.protocol(extract if featured else None, count, floored, few if own else None, versions or {})
    return Evaluation(
        judged.scores, judged.floors, protocol, tuple(judged.notes), judged.duplicates, judged.pictures, judged.audits,
        lost_shares(judged.scores, judged.floors, domain.kind),
    )  # fmt: skip


def needs_features(general: Sequence[str] | None) -> bool:
    """Whether there is a metric of features among those that ``kinds.pick`` gives."""
    return general is None or any(name != LIKELIHOOD for name in general)


@dataclass(frozen=True)
class Case:
    """What samples are judged by: the real data, how they are used; ``strict``: what was asked for must be had."""

    domain: Domain
    source: Source
    held: Source | None
    split: Split
    options: Options
    strict: bool
    tell: Callable[[str], None]

    def halved(self, error: TooFew) -> str:
        """What to do, where there are too few samples only because half of the real ones are kept for the floor."""
        total, half = len(self.source), len(self.split.rest)
        if self.held is not None or self.options.whole or error.have < half or total < error.least:
            return ""
        return (
            f"of {total:,} real samples, half are kept for the floor (real against real): --holdout DATA takes others "
            "for the floor, 'ganforge evaluate --whole' compares with all of them"
        )

    def count(self, available: int | None, general: Sequence[str] | None) -> int:
        """How many generated samples are judged. InputError: there are fewer than were asked for."""
        stacked = hasattr(self.source, "stack") and (general is None or "modes" in general)
        compared = self.split.reference if self.options.whole else self.split.rest
        most = min(STACKED if stacked else GENERATED, len(compared))
        count = self.options.count or (most if available is None else min(most, available))
        if available is not None and count > available:
            raise InputError(f"there are {available} generated samples, {count} were asked for")
        return count

    def protocol(
        self, extract: Extractor | None, count: int, floored: int, decoded: int | None, versions: dict[str, str]
    ) -> Protocol:
        """How ``count`` samples were judged (``floored`` real ones in their place), ``decoded`` so many of them."""
        options, held = self.options, self.held
        return Protocol(
            extract.name if extract else "none",
            extract.sha256 if extract else "",
            extract.resizer if extract else "none",
            {"real": len(self.split.reference), "generated": count, "floor": floored},
            self.split.name,
            {"real": self.source.fingerprint} | ({"held_out": held.fingerprint} if held is not None else {}),
            options.seed,
            {"rows": options.rows, "pairs": options.pairs, "neighbors": options.neighbors}
            | ({"decoded": decoded} if decoded is not None else {}),
            versions,
            quality=getattr(extract, "quality", ""),
        )


@dataclass
class Judged:
    """What has been found so far; ``halved`` tells what to say of too few samples where the real data were halved."""

    halved: Callable[[TooFew], str] = lambda error: ""
    scores: dict[str, Score] = field(default_factory=dict)
    floors: dict[str, Score] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    duplicates: tuple[Duplicate, ...] = ()
    pictures: dict[int, Tensor] = field(default_factory=dict)
    audits: dict[str, Bias] = field(default_factory=dict)

    def measure(self, name: str, strict: bool, score: Found, floor: Found) -> None:
        """A metric's scores and its floor's. One that cannot be had is noted (but for one that is not meant for such
        data); if ``strict``, it is an InputError.
        """
        try:
            self.scores |= score()
        except InputError as error:
            halved = self.halved(error) if isinstance(error, TooFew) else ""
            if strict:
                raise InputError(f"{error}{'; ' if halved else ''}{halved}") from None
            if isinstance(error, Elsewhere):
                return
            self.notes.append(f"left out: {error}")
            if halved and halved not in self.notes:
                self.notes.insert(0, halved)
            return
        try:
            self.floors |= floor()
        except InputError as error:
            self.notes.append(f"no floor for {name}: {error}")


def judge_kind(judged: Judged, case: Case, names: Sequence[str], give: Giver, count: int) -> None:
    """The metrics of this kind of data, of decoded samples."""
    domain, split, options = case.domain, case.split, case.options
    few = options.real_count or kinds.most(domain.kind, names, "REAL", kinds.REAL)
    rest = split.rest[:count]
    case.tell(f"real samples: {len(split.reference[:few]):,}")
    kept = options.kept
    if "samples: real" not in kept:
        kept["samples: real"] = kinds.from_source(domain, case.source, split.reference[:few], options.seed)
        kept["samples: unseen"] = kinds.from_source(domain, case.held or case.source, rest, options.seed + 1)
    real, unseen = kept["samples: real"], kept["samples: unseen"]
    case.tell(f"generated samples: {count:,}")
    trial = kinds.Trial(give(count, rest), real, unseen, domain, options.seed, False, options.target, kept)
    floor = replace(trial, made=unseen, floor=True)
    found = kinds.names_of(domain.kind)
    for name in names:
        case.tell(name)
        judged.measure(name, case.strict, partial(found[name], trial), partial(found[name], floor))


def likely(judged: Judged, case: Case, likelihood: Likelihood | None) -> None:
    """The model's likelihood of real samples: new ones, where there are any."""
    source = case.held or case.source
    case.tell(LIKELIHOOD)

    def found() -> dict[str, Score]:
        if likelihood is None:
            raise no_likelihood()
        raw, new = unseen_rows(likelihood, case.domain, source, case.split.rest, case.options.seed)
        scores = bits_per_dim(likelihood, raw)
        if not new:
            judged.notes.append(
                f"bits_per_dim is of {len(raw['data'])} samples of --against: where the model was trained on them, "
                "they are likelier than new ones; --holdout DATA takes others"
            )
        return scores

    judged.measure(LIKELIHOOD, case.strict, found, dict)


def by_features(
    judged: Judged,
    case: Case,
    asked: tuple[str, ...],
    draw: Sampler,
    count: int,
    extract: Extractor,
    numbers: Tensor | None,
    gallery: bool,
    latents: Latents | None,
) -> None:
    """The metrics of features: one pass over each side. None ``asked`` for: all that apply."""
    domain, source, held, split, options, tell = (
        case.domain, case.source, case.held, case.split, case.options, case.tell
    )  # fmt: skip
    first, second = split.reference, split.rest[:count]
    capacity = max(options.rows, COPYABLE) if held is not None else options.rows
    context = Context(domain, source, held, extract, options.seed, first, second, latents, options.target)
    sought = probes(asked, context)
    modes = {name: probe for name, probe in sought.items() if name == "mode"}  # of real samples too: their floor
    tell(f"real samples: {len(first):,}")
    real = real_side(source, first, extract, capacity, options.seed)
    tell(f"real samples for the floor: {len(second):,}")
    other = real_side(held or source, second, extract, options.rows, options.seed, modes)
    tell(f"generated samples: {count:,}")
    wanted = only_probes(sought)
    shown = Reservoir(options.pairs, options.seed) if gallery else None
    if "tstr" in asked:
        size = 4 * int(torch.tensor(domain.shape).prod())
        context.gallery = Reservoir(max(1, min(count, len(first), LEARNED // size)), options.seed)
        wanted["label"] = label_of
    fake = collect(
        draw, count, extract, options.rows, options.seed, "generated",
        [r for r in (shown, context.gallery) if r is not None], wanted,
    )  # fmt: skip
    if fake.moments.dim != real.moments.dim:
        raise InputError(f"generated samples have {fake.moments.dim} features, real ones {real.moments.dim}")
    floor_real = real
    if held is None and options.whole:
        floor_real = real_side(source, split.half, extract, options.rows, options.seed)
        judged.notes.append("the floor is of two halves of the real data, the scores of all of it")
    unseen = other if held is not None else None
    pair = Pair(real, fake, options, context, unseen)
    floor = Pair(floor_real, other, options, context, unseen, floor=True)
    for name in asked or applicable(pair):
        tell(name)
        judged.measure(name, case.strict, partial(MEASURES[name], pair), partial(MEASURES[name], floor))
    found = _duplicates(pair, first) if "support" in judged.scores else ()
    if shown is not None:
        places = {number: i for i, number in enumerate(shown.numbers.tolist())}
        members = {number for pair in found for number in (pair.first, pair.second)}
        judged.pictures = {_named(number, numbers): shown.rows[places[number]] for number in members}
    judged.duplicates = tuple(
        replace(pair, first=_named(pair.first, numbers), second=_named(pair.second, numbers)) for pair in found
    )
    judged.audits = context.audits


def _named(number: int, numbers: Tensor | None) -> int:
    return number if numbers is None else int(numbers[number])


def _duplicates(pair: Pair, real_rows: Tensor) -> tuple[Duplicate, ...]:
    """The closest pairs of the birthday test with their nearest real samples, by their numbers and rows."""
    kept = pair.other.rows.part(pair.options.pairs)
    closest = pair.support.closest
    if not closest:
        return ()
    known = Points(pair.real.rows.rows)
    asked = Points(kept.rows[[i for i, _, _ in closest]], known.center)
    distances, rows = nearest_rows(asked, known)
    numbers = real_rows[pair.real.rows.numbers[rows]].tolist()
    return tuple(
        Duplicate(int(kept.numbers[i]), int(kept.numbers[j]), distance, number, float(far))
        for (i, j, distance), number, far in zip(closest, numbers, distances, strict=True)
    )
