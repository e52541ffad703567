"""One pass over samples: what it leaves behind for all metrics, and the cache of the real side."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganforge.core.errors import GanforgeError, InputError
from ganforge.core.game import Batch
from ganforge.core.store import Folder, write_folder
from ganforge.domains.domain import Source
from ganforge.domains.packed import cache_folder
from ganforge.measure.features import Extractor
from ganforge.measure.metrics.inception_score import ClassShares
from ganforge.measure.protocol import VERSION
from ganforge.measure.statistics import Moments, Reservoir

Sampler = Callable[[int], Batch]
"""Gives the next n raw samples, as a Source would: ``data`` [n, ...], and ``label`` [n] where they have classes."""

Probe = Callable[[Batch], Tensor]
"""One more number of each sample, from raw samples: int64 [n]. All are kept."""

STEP = 256
"""Samples asked for at once."""

STALE = 24 * 3600.0
"""Seconds after which what a killed process left half written in the cache is removed."""


@dataclass
class Side:
    """What one pass over samples left: moments of all, rows of some, class shares where there are logits, and what
    the probes ``seen`` said of each sample."""

    moments: Moments
    rows: Reservoir
    shares: ClassShares | None = None
    seen: dict[str, Tensor] = field(default_factory=dict)

    def state(self) -> dict[str, Tensor]:
        """Tensors from which ``from_state`` makes the same."""
        parts = {"moments": self.moments.state(), "rows": self.rows.state(), "seen": self.seen}
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
            part("seen"),
        )


def collect(
    draw: Sampler,
    count: int,
    extract: Extractor,
    rows: int,
    seed: int,
    who: str,
    galleries: Sequence[Reservoir] = (),
    probes: Mapping[str, Probe] | None = None,
) -> Side:
    """Draw ``count`` samples and keep what the metrics need; ``galleries`` keep some of the raw samples too.

    InputError for samples or features that are not finite, and when the samples run out.
    """
    side: Side | None = None
    said: dict[str, list[Tensor]] = {name: [] for name in probes or {}}
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
        for gallery in galleries:
            gallery.update(raw["data"])
        for name, probe in (probes or {}).items():
            said[name].append(probe(raw))
        done += len(features)
    if side is None:
        raise InputError(f"no {who} samples to judge")
    side.seen = {name: torch.cat(parts) for name, parts in said.items()}
    return side


def from_source(source: Source, rows: Tensor) -> Sampler:
    """The samples ``rows`` (int64 [n]) of a source, in this order; none when they have run out."""
    left = [rows]

    def draw(n: int) -> Batch:
        now, left[0] = left[0][:n], left[0][n:]
        return source.take(now)

    return draw


def real_side(
    source: Source,
    rows: Tensor,
    extract: Extractor,
    capacity: int,
    seed: int,
    probes: Mapping[str, tuple[str, Probe]] | None = None,
) -> Side:
    """The side of real samples ``rows``, from the cache if the same was asked before.

    ``probes`` are named with a mark (a sha256) of what they say. A side appears in the cache whole or not at all: an
    evaluation that was killed leaves nothing that a later one would read.
    """
    facts: dict[str, Any] = {
        "features": extract.sha256,
        "name": extract.name,
        "resizer": extract.resizer,
        "seed": seed,
        "version": VERSION,
        "data": source.fingerprint,
        "rows": hashlib.sha256(rows.numpy().tobytes()).hexdigest(),
        "capacity": capacity,
    }
    if probes:
        facts["probes"] = {name: mark for name, (mark, _) in probes.items()}
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:40]
    place: Path = cache_folder().parent / "features" / key
    with contextlib.suppress(GanforgeError, KeyError, RuntimeError):  # absent or damaged: computed again
        return Side.from_state(Folder(place).tensors("side"))
    asked = {name: probe for name, (_, probe) in (probes or {}).items()}
    side = collect(from_source(source, rows), len(rows), extract, capacity, seed, "real", (), asked)
    with contextlib.suppress(GanforgeError):  # a cache that cannot be written is only slower
        write_folder(place, {"side": side.state()}, {"about.json": facts})
        remove_stale(place.parent)
    return side


def remove_stale(folder: Path, seconds: float = STALE) -> None:
    """Remove what processes that died left half written in a cache folder so long ago that none can still write it."""
    for left in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > seconds:
                shutil.rmtree(left, ignore_errors=True)
