"""One pass over samples, all metrics, each with its interval and beside it the same number of real against real."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganforge.core.errors import GanforgeError, InputError, nearest
from ganforge.core.game import Batch
from ganforge.core.store import Folder, write_folder
from ganforge.domains.domain import Domain, Source
from ganforge.domains.packed import cache_folder
from ganforge.measure.distances import Points
from ganforge.measure.distances import nearest as nearest_rows
from ganforge.measure.features import Extractor
from ganforge.measure.intervals import Score, need, wilson
from ganforge.measure.metrics.birthday import Support, birthday, calibrate
from ganforge.measure.metrics.frechet import fid, fid_infinity, least_for_infinity
from ganforge.measure.metrics.inception_score import ClassShares, inception_score
from ganforge.measure.metrics.kernel import kid
from ganforge.measure.metrics.manifold import manifold
from ganforge.measure.metrics.memorization import memorization
from ganforge.measure.metrics.modes import mode_coverage
from ganforge.measure.metrics.vendi import vendi
from ganforge.measure.metrics.wasserstein import sliced_wasserstein
from ganforge.measure.protocol import VERSION, Protocol
from ganforge.measure.result import Duplicate, Evaluation
from ganforge.measure.statistics import Moments, Reservoir

Sampler = Callable[[int], Batch]
"""Gives the next n raw samples, as a Source would: ``data`` [n, ...]."""

STEP = 256
"""Samples asked for at once."""

GENERATED = 10_000
"""Generated samples by default, where there are as many real ones to compare with."""

COPYABLE = 50_000
"""Training rows that are searched for copies."""

METRICS = ("fid", "fid_infinity", "kid", "prdc", "is", "birthday", "memorization", "vendi", "swd", "modes")


@dataclass(frozen=True)
class Options:
    """metrics: which (empty: all that apply). count, real_count: samples of each side at most. seed: of the split and
    of all random choices. rows: how many are kept for metrics that compare samples one by one, ``pairs`` for the
    birthday test and memorization. neighbors: of precision and recall. whole: compare with all real samples even
    without held-out ones; the floor is then that of two halves."""

    metrics: tuple[str, ...] = ()
    count: int | None = None
    real_count: int | None = None
    seed: int = 0
    rows: int = 10_000
    pairs: int = 5_000
    neighbors: int = 5
    whole: bool = False


@dataclass
class Side:
    """What one pass over samples left: moments of all, rows of some, class shares where there are logits."""

    moments: Moments
    rows: Reservoir
    shares: ClassShares | None = None

    def state(self) -> dict[str, Tensor]:
        """Tensors from which ``from_state`` makes the same."""
        parts = {"moments": self.moments.state(), "rows": self.rows.state()}
        if self.shares is not None:
            parts["shares"] = self.shares.state()
        return {f"{part}.{name}": tensor for part, state in parts.items() for name, tensor in state.items()}

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> Side:
        """Restore what ``state`` gave."""

        def part(name: str) -> dict[str, Tensor]:
            return {k.partition(".")[2]: v for k, v in state.items() if k.startswith(f"{name}.")}

        shares = part("shares")
        return cls(
            Moments.from_state(part("moments")),
            Reservoir.from_state(part("rows")),
            ClassShares.from_state(shares) if shares else None,
        )


def collect(
    draw: Sampler, count: int, extract: Extractor, rows: int, seed: int, who: str, gallery: Reservoir | None = None
) -> Side:
    """Draw ``count`` samples and keep what the metrics need; ``gallery`` keeps some of the raw samples too.

    InputError for samples or features that are not finite, and when the samples run out.
    """
    side: Side | None = None
    done = 0
    while done < count:
        raw = draw(min(STEP, count - done))
        if not len(raw["data"]):
            raise InputError(f"there are only {done} {who} samples, {count} were asked for")
        features, logits = extract(raw)
        broken = (~features.isfinite().all(1)).nonzero()
        if len(broken):
            raise InputError(f"the features of {who} sample {done + int(broken[0])} are not finite: is it a number?")
        if side is None:
            shares = None if logits is None else ClassShares(logits.shape[1])
            side = Side(Moments(features.shape[1]), Reservoir(rows, seed), shares)
        side.moments.update(features)
        side.rows.update(features)
        if side.shares is not None and logits is not None:
            side.shares.update(logits)
        if gallery is not None:
            gallery.update(raw["data"])
        done += len(features)
    if side is None:
        raise InputError(f"no {who} samples to judge")
    return side


def from_source(source: Source, rows: Tensor) -> Sampler:
    """The samples ``rows`` (int64 [n]) of a source, in this order; none when they have run out."""
    left = [rows]

    def draw(n: int) -> Batch:
        now, left[0] = left[0][:n], left[0][n:]
        return source.take(now)

    return draw


@dataclass(frozen=True)
class Pair:
    """A real side and what is compared with it; ``held`` is real data that no model has seen, if there is any."""

    real: Side
    other: Side
    options: Options
    domain: Domain
    held: Side | None = None

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
    mixture = getattr(pair.domain, "mixture", None)
    if mixture is None:
        raise InputError("modes can be counted only where they are known: the built-in sets ring and grid")
    points = torch.from_numpy(pair.domain.decode({"data": pair.other_rows}))
    need("the count of modes", "generated", len(points), len(mixture.centers))
    found = mode_coverage(points, mixture.centers, mixture.sd)
    return {
        "modes": Score(found.found, None, None, f"of {found.modes}", "higher"),
        "high_quality": wilson(found.high_quality * len(points), len(points), "higher"),
        "reverse_kl": Score(found.reverse_kl, None, None, f"over {found.modes} modes", "lower"),
    }


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
}


def choose(names: Sequence[str]) -> tuple[str, ...]:
    """The metrics of these names; InputError names the nearest one to a name that is unknown."""
    for name in names:
        if name not in MEASURES:
            raise InputError(f"unknown metric '{name}': {nearest(name, MEASURES)}")
    return tuple(dict.fromkeys(names))


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
) -> Evaluation:
    """Judge the samples of ``draw`` (of which there are ``available``; None: as many as one likes) by the real ones.

    With ``held``, samples are compared with all of ``source``, and the floor is ``held`` against it. Without,
    ``source`` is split at random: samples are compared with one half, and the floor is the other half against it, so
    that both have the same counts. ``numbers`` are the samples' own, in the order in which they are drawn. Raises
    InputError for what is wrong, and when a metric that was asked for cannot be had; of the default ones those are
    left out, with a note.
    """
    options = options or Options()
    asked = choose(options.metrics)
    split = split_real(source, held, options)
    most = min(GENERATED, len(split.reference if options.whole else split.rest))
    count = options.count or (most if available is None else min(most, available))
    if available is not None and count > available:
        raise InputError(f"there are {available} generated samples, {count} were asked for")
    first, second = split.reference, split.rest[:count]
    capacity = max(options.rows, COPYABLE) if held is not None else options.rows
    about = {"features": extract.sha256, "name": extract.name, "resizer": extract.resizer, "seed": options.seed}
    tell(f"real samples: {len(first):,}")
    real = _cached(source, first, extract, capacity, options.seed, about)
    tell(f"real samples for the floor: {len(second):,}")
    other = _cached(held or source, second, extract, options.rows, options.seed, about)
    tell(f"generated samples: {count:,}")
    shown = Reservoir(options.pairs, options.seed) if gallery else None
    fake = collect(draw, count, extract, options.rows, options.seed, "generated", shown)
    if fake.moments.dim != real.moments.dim:
        raise InputError(f"generated samples have {fake.moments.dim} features, real ones {real.moments.dim}")

    notes = []
    if len(second) < count:
        notes.append(f"the floor is of {len(second)} samples, the scores of {count}: compare them with care")
    floor_real = real
    if held is None and options.whole:
        floor_real = _cached(source, split.half, extract, options.rows, options.seed, about)
        notes.append("the floor is of two halves of the real data, the scores of all of it")
    unseen = other if held is not None else None
    pair, floor = Pair(real, fake, options, domain, unseen), Pair(floor_real, other, options, domain, unseen)
    scores: dict[str, Score] = {}
    floors: dict[str, Score] = {}
    for name in asked or _applicable(pair):
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
    )
    pictures: dict[int, Tensor] = {}
    if shown is not None:
        places = {number: i for i, number in enumerate(shown.numbers.tolist())}
        members = {number for pair in duplicates for number in (pair.first, pair.second)}
        pictures = {_named(number, numbers): shown.rows[places[number]] for number in members}
    duplicates = tuple(
        replace(pair, first=_named(pair.first, numbers), second=_named(pair.second, numbers)) for pair in duplicates
    )
    return Evaluation(scores, floors, protocol, tuple(notes), duplicates, pictures)


def _named(number: int, numbers: Tensor | None) -> int:
    return number if numbers is None else int(numbers[number])


def _applicable(pair: Pair) -> list[str]:
    """All metrics but those that other features or more data would be needed for."""
    names = list(METRICS)
    if pair.other.shares is None:
        names.remove("is")
    if pair.held is None:
        names.remove("memorization")
    if getattr(pair.domain, "mixture", None) is None:
        names.remove("modes")
    if min(len(pair.real_rows), len(pair.other_rows)) < least_for_infinity(pair.real.moments.dim):
        names.remove("fid_infinity")
    return names


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


def _cached(source: Source, rows: Tensor, extract: Extractor, capacity: int, seed: int, about: dict[str, Any]) -> Side:
    """The side of real samples ``rows``, from the cache if the same was asked before."""
    chosen = hashlib.sha256(rows.numpy().tobytes()).hexdigest()
    facts = {**about, "version": VERSION, "data": source.fingerprint, "rows": chosen, "capacity": capacity}
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:40]
    place: Path = cache_folder().parent / "features" / key
    with contextlib.suppress(GanforgeError, KeyError, RuntimeError):  # absent or damaged: computed again
        folder = Folder(place)
        return Side.from_state(folder.tensors("side"))
    side = collect(from_source(source, rows), len(rows), extract, capacity, seed, "real")
    with contextlib.suppress(GanforgeError):  # a cache that cannot be written is only slower
        write_folder(place, {"side": side.state()}, {"about.json": facts})
    return side
