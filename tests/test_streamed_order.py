"""Images streamed from tar shards: an order that mixes well and resumes, and blocks that are read once."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ganforge.domains import open_data, streamed, streamed_places, streamed_source
from ganforge.domains.domain import Part
from ganforge.domains.streamed import StreamedOptions
from ganforge.domains.streamed_places import Shard
from ganforge.domains.streamed_source import Index, StreamedSource
from ganforge.engine.stream import Stream
from shard_makers import make, stream

# ---- the order


def indexed(counts: list[int], size: int) -> Index:
    shard = np.repeat(np.arange(len(counts)), counts)
    offset = np.concatenate([512 + size * np.arange(c, dtype=np.int64) for c in counts])
    named = [Shard(str(i), str(i), size * c + 512, "") for i, c in enumerate(counts)]
    return Index(streamed_places.LocalPlace(), named, shard, offset, np.full(len(shard), size), None)


def source_of(counts: list[int], window: int, size: int = 2**20) -> StreamedSource:
    fit = streamed_source.Fit((1, 1), 1, 8)
    return StreamedSource(indexed(counts, size), fit, "", 1, window, workers=1)


@settings(max_examples=60, deadline=None)
@given(counts=st.lists(st.integers(1, 40), min_size=1, max_size=6), window=st.integers(0, 8), seed=st.integers(0, 3))
def test_order_is_a_permutation_within_its_window(counts: list[int], window: int, seed: int) -> None:
    """No image is left out, and no more than ``window`` blocks (and one) are in use at any time."""
    source = source_of(counts, window)
    order = source.order(torch.Generator().manual_seed(seed))
    assert torch.equal(order, source.order(torch.Generator().manual_seed(seed)))
    assert sorted(order.tolist()) == list(range(sum(counts)))
    if source.window:
        used = source.block[order.numpy()]
        first = {b: int(np.flatnonzero(used == b)[0]) for b in set(used.tolist())}
        last = {b: int(np.flatnonzero(used == b)[-1]) for b in set(used.tolist())}
        for at in range(len(used)):
            assert sum(first[b] <= at <= last[b] for b in first) <= window + 1


def test_blocks_stay_in_their_shard() -> None:
    source = source_of([9, 3, 5], 2)
    spans = [source._span(b) for b in range(len(source.starts))]
    assert spans == [(0, 4), (4, 8), (8, 9), (9, 12), (12, 16), (16, 17)]
    assert source.block.tolist() == [b for b, (i, j) in enumerate(spans) for _ in range(i, j)]


def test_a_window_mixes_well() -> None:
    """Places of neighbors in the order are far apart: as far as the window is wide."""
    source = source_of([400] * 4, 16)
    order = source.order(torch.Generator().manual_seed(0)).numpy()
    blocks = source.block[order]
    apart = [len(set(blocks[i : i + 16])) for i in range(200, 1300)]  # of 16 places among 16 to 20 blocks
    assert len(source.starts) == 400 and 9 <= np.mean(apart) <= 14
    assert np.mean(np.abs(np.diff(order)) == 1) < 0.05


def test_a_part_keeps_the_order_of_the_whole() -> None:
    source = source_of([50, 70], 3)
    rows = torch.randperm(120, generator=torch.Generator().manual_seed(1))[:40]
    part = Part(source, rows)
    order = part.order(torch.Generator().manual_seed(5))
    assert sorted(order.tolist()) == list(range(40))
    kept = [r for r in source.order(torch.Generator().manual_seed(5)).tolist() if r in set(rows.tolist())]
    assert rows[order].tolist() == kept


# ---- reading


class Counting(streamed_places.LocalPlace):
    """Counts what is read."""

    remote = True

    def __init__(self) -> None:
        self.reads: list[tuple[str, int, int]] = []

    def read(self, shard: Shard, start: int, length: int) -> bytes:
        self.reads.append((shard.path, start, length))
        return super().read(shard, start, length)


def test_every_block_is_read_once_an_epoch(tmp_path: Path) -> None:
    """Ahead of its use, and never more than the window and what is read ahead is held."""
    make(tmp_path / "s", 4, 60)
    place = Counting()
    with (
        mock.patch.object(streamed_source, "BLOCK", 8192),
        mock.patch.object(streamed, "BLOCK", 2**20),
        mock.patch.object(streamed_places, "LocalPlace", lambda: place),
    ):
        domain, source = open_data(str(tmp_path / "s"), StreamedOptions(window=4, ahead=16))
    assert isinstance(source, StreamedSource) and source.window == 4 and len(source.starts) > 20
    place.reads.clear()
    batches = Stream(source, domain, 8, 0, torch.device("cpu"))
    plain = stream(tmp_path / "s")
    held = 0
    for shard in range(30):
        got = batches.take(shard)
        want = domain.encode(plain.take(batches.rows(shard)))
        assert torch.equal(got["data"], want["data"]) and torch.equal(got["label"], want["label"])
        held = max(held, len(source._blocks))
    epoch = {read for read in place.reads if read[2] > 512}
    assert len(epoch) == len(source.starts) and held <= 4 + 16 // 4 + streamed_source.SLACK
    assert len(place.reads) <= len(source.starts) + 8, "some of the next epoch's, and nothing twice"
    assert len(source._expected) <= 3


def test_what_comes_is_decoded_ahead(tmp_path: Path) -> None:
    domain, source = open_data(str(make(tmp_path / "s")), StreamedOptions(ahead=8))
    assert isinstance(source, StreamedSource)
    two = [Stream(source, domain, 4, 0, torch.device("cpu"), stride=2) for _ in range(2)]
    two[0].take(0)
    expected = set(source._expected)
    assert expected == {two[0].rows(k).numpy().tobytes() for k in (2, 4)}, "this process's shards, not the other's"
    two[1].take(1)
    assert {two[1].rows(3).numpy().tobytes()} <= set(source._expected)
    for shard in range(50):  # what is never taken does not pile up
        source.expect(two[0].rows(1000 + shard))
    assert len(source._expected) <= 2 * 8 // 4 + 2
