"""One pass over samples, all metrics, each with its interval and beside it the same number of real against real."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.domains.domain import Domain, Source
from ganforge.measure.distances import Points
from ganforge.measure.distances import nearest as nearest_rows
from ganforge.measure.features import Extractor
from ganforge.measure.intervals import Score
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


@dataclass(frozen=True)
class Options:
    """metrics: which (empty: all that apply). count, real_count: samples of each side at most. seed: of the split and
    of all random choices. rows: how many are kept for metrics that compare samples one by one, ``pairs`` for the
    birthday test and memorization. neighbors: of precision and recall. whole: compare with all real samples even
    without held-out ones; the floor is then that of two halves. paths: of the perceptual path length. target: the
    column of a table that train-on-synthetic-test-on-real predicts."""

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
    extract: Extractor,
    options: Options | None = None,
    held: Source | None = None,
    versions: dict[str, str] | None = None,
    numbers: Tensor | None = None,
    gallery: bool = False,
    tell: Callable[[str], None] = lambda text: None,
    latents: Latents | None = None,
) -> Evaluation:
    """Judge the samples of ``draw`` (of which there are ``available``; None: as many as one likes) by the real ones.

    With ``held``, samples are compared with all of ``source``, and the floor is ``held`` against it. Without,
    ``source`` is split at random: samples are compared with one half, and the floor is the other half against it, so
    that both have the same counts. ``numbers`` are the samples' own, in the order in which they are drawn; ``latents``
    is the generator behind them, where there is one. Raises
    InputError for what is wrong, and when a metric that was asked for cannot be had; of the default ones those are
    left out, with a note.
    """
    options = options or Options()
    asked = choose(options.metrics)
    split = split_real(source, held, options)
    default = STACKED if hasattr(source, "stack") and (not asked or "modes" in asked) else GENERATED
    most = min(default, len(split.reference if options.whole else split.rest))
    count = options.count or (most if available is None else min(most, available))
    if available is not None and count > available:
        raise InputError(f"there are {available} generated samples, {count} were asked for")
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

    notes = []
    if len(second) < count:
        notes.append(f"the floor is of {len(second)} samples, the scores of {count}: compare them with care")
    floor_real = real
    if held is None and options.whole:
        floor_real = real_side(source, split.half, extract, options.rows, options.seed)
        notes.append("the floor is of two halves of the real data, the scores of all of it")
    unseen = other if held is not None else None
    pair = Pair(real, fake, options, context, unseen)
    floor = Pair(floor_real, other, options, context, unseen, floor=True)
    scores: dict[str, Score] = {}
    floors: dict[str, Score] = {}
    for name in asked or applicable(pair):
        tell(name)
        try:
            scores |= MEASURES[name](pair)
        except InputError as error:
            if asked:
                raise
            notes.append(f"left out: {error}")
            continue
        try:
            floors |= MEASURES[name](floor)
        except InputError as error:
            notes.append(f"no floor for {name}: {error}")
    duplicates = _duplicates(pair, first) if "support" in scores else ()
    protocol = Protocol(
        extract.name,
        extract.sha256,
        extract.resizer,
        {"real": len(first), "generated": count, "floor": len(second)},
        split.name,
        {"real": source.fingerprint} | ({"held_out": held.fingerprint} if held is not None else {}),
        options.seed,
        {"rows": options.rows, "pairs": options.pairs, "neighbors": options.neighbors},
        versions or {},
        quality=getattr(extract, "quality", ""),
    )
    pictures: dict[int, Tensor] = {}
    if shown is not None:
        places = {number: i for i, number in enumerate(shown.numbers.tolist())}
        members = {number for pair in duplicates for number in (pair.first, pair.second)}
        pictures = {_named(number, numbers): shown.rows[places[number]] for number in members}
    duplicates = tuple(
        replace(pair, first=_named(pair.first, numbers), second=_named(pair.second, numbers)) for pair in duplicates
    )
    return Evaluation(scores, floors, protocol, tuple(notes), duplicates, pictures, context.audits)


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
