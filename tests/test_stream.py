"""The order of the data."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ganforge.core.game import Batch
from ganforge.domains.points import PointDomain
from ganforge.engine.rng import reseed
from ganforge.engine.stream import Stream
from ganforge.engine.world import World


class Counted:
    """Samples that are their own numbers."""

    fingerprint = ""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def take(self, rows: Tensor) -> Batch:
        return {"data": rows[:, None].repeat(1, 2).to(torch.float32)}


class Noisy(PointDomain):
    """Points that every batch moves at random."""

    def augment(self, batch: Batch) -> Batch:
        return {**batch, "data": batch["data"] + torch.rand(len(batch["data"]), 1)}


def stream(count: int, shard_size: int, seed: int = 0, domain: PointDomain | None = None) -> Stream:
    return Stream(Counted(count), domain or PointDomain(shape=(2,)), shard_size, seed, torch.device("cpu"))


def drawn(source: Stream, shards: int) -> list[int]:
    """All rows of the first shards, in order."""
    return torch.cat([source.rows(shard) for shard in range(shards)]).tolist()


@settings(max_examples=80, deadline=None)
@given(count=st.integers(1, 40), shard_size=st.integers(1, 100), seed=st.integers(0, 3))
def test_every_sample_once_an_epoch(count: int, shard_size: int, seed: int) -> None:
    """Whatever the sizes: also shards that straddle epochs, and sets smaller than a shard."""
    shards = -(-3 * count // shard_size)
    rows = drawn(stream(count, shard_size, seed), shards)
    assert len(rows) == shards * shard_size
    for epoch in range(3):
        assert sorted(rows[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_order_depends_on_the_seed_alone() -> None:
    reseed("anything")
    first = drawn(stream(50, 8, seed=1), 20)
    torch.rand(3)
    assert first == drawn(stream(50, 8, seed=1), 20)
    assert first != drawn(stream(50, 8, seed=2), 20)
    assert first[:50] != first[50:100], "epochs are shuffled anew"


def test_order_does_not_depend_on_the_shard_size() -> None:
    assert drawn(stream(50, 4), 30) == drawn(stream(50, 12), 10)


def test_any_shard_can_be_asked_for_in_any_order() -> None:
    """A resumed run begins in the middle."""
    whole = [stream(30, 7).rows(i).tolist() for i in range(40)]
    jumping = stream(30, 7)
    for shard in (39, 0, 20, 21, 3, 38):
        assert jumping.rows(shard).tolist() == whole[shard]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_processes_see_disjoint_shards_that_make_up_the_batch(size: int) -> None:
    """A round of 4 shards, dealt out to the processes, is the round of one process."""
    batch = stream(64, 4)
    together: list[int] = []
    for rank in range(size):
        world = World(rank, size, 4)
        mine = [row for shard in world.my_shards for row in batch.rows(shard).tolist()]
        assert len(mine) == 16 // size and not set(mine) & set(together)
        together += mine
    assert sorted(together) == sorted(stream(64, 16).rows(0).tolist())


def test_augmentation_is_a_function_of_the_shard() -> None:
    domain = Noisy(shape=(2,))
    first, again = stream(30, 6, domain=domain), stream(30, 6, domain=domain)
    one = [first.take(shard)["data"] for shard in range(6)]
    other = [again.take(shard)["data"] for shard in reversed(range(6))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.allclose(one[0].frac(), one[5].frac(), atol=1e-3)  # rounding alone would make them unequal


def test_batches_are_encoded_on_the_cpu_where_a_device_has_no_float64() -> None:
    """As Apple's GPUs have none; the meta device stands for one."""
    found = Stream(Counted(10), PointDomain(shape=(2,)), 4, 0, torch.device("meta"))
    encoded: list[torch.device] = []

    class Watched(PointDomain):
        def encode(self, raw: Batch) -> Batch:
            encoded.append(raw["data"].device)
            return super().encode(raw)

    found.domain = Watched(shape=(2,))
    assert found.take(0)["data"].device.type == "meta" and [d.type for d in encoded] == ["cpu"]
