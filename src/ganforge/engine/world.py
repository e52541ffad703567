"""One process or many: who plays which shard, and how gradients are summed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from ganforge.core.device import pick_device
from ganforge.core.errors import InputError
from ganforge.engine.options import TrainOptions


@dataclass(frozen=True)
class World:
    """``size`` processes play ``shards`` shards of every batch; the sum over shards is what one process would get."""

    rank: int = 0
    size: int = 1
    shards: int = 1

    def __post_init__(self) -> None:
        if self.shards % self.size:
            raise InputError(
                f"{self.shards} shards cannot be dealt out evenly to {self.size} processes: set shards to a multiple"
            )

    @property
    def my_shards(self) -> range:
        """The shards that this process plays."""
        return range(self.rank, self.shards, self.size)

    def reduce(self, tensors: Sequence[Tensor]) -> None:
        """Sum ``tensors`` over all processes, in place, by one flat all-reduce per dtype."""
        if self.size == 1 or not tensors:
            return
        for dtype in dict.fromkeys(t.dtype for t in tensors):
            some = [t for t in tensors if t.dtype == dtype]
            flat = torch.cat([t.reshape(-1) for t in some])
            dist.all_reduce(flat)
            for tensor, part in zip(some, flat.split([t.numel() for t in some]), strict=True):
                tensor.copy_(part.view(tensor.shape))

    def agree(self, number: float) -> float:
        """The largest ``number`` that any process has: how they agree on flags and times."""
        if self.size == 1:
            return number
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        shared = torch.tensor(number, dtype=torch.float64, device=device)
        dist.all_reduce(shared, op=dist.ReduceOp.MAX)
        return float(shared)

    def share_text(self, text: str) -> str:
        """The first process's ``text``, on all of them."""
        if self.size == 1:
            return text
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        content = torch.zeros(4096, dtype=torch.uint8, device=device)
        raw = torch.tensor(list(text.encode()), dtype=torch.uint8, device=device)
        content[: len(raw)] = raw
        dist.broadcast(content, 0)
        return bytes(content.tolist()).rstrip(b"\0").decode()

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            dist.barrier()


def launched() -> bool:
    """Whether torchrun (or another launcher that sets its variables) started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def join_world(device_type: str, shards: int | None, timeout_minutes: float = TrainOptions.timeout_minutes) -> World:
    """The world this process belongs to; ``shards`` defaults to one for each process.

    A process that waits for the others longer than ``timeout_minutes`` gives up: PyTorch's own 10 to 30 minutes are
    less than the first process may take to evaluate, for which the others wait.
    """
    if not launched():
        return World(shards=shards or 1)
    size = int(os.environ["WORLD_SIZE"])
    rank, on_gpus = int(os.environ["RANK"]), device_type == "cuda"
    if size > 1 and not dist.is_initialized():
        if on_gpus:  # else all processes would agree on flags by way of the first GPU, which NCCL refuses
            torch.cuda.set_device(pick_device("cuda", rank))
        dist.init_process_group("nccl" if on_gpus else "gloo", timeout=timedelta(minutes=timeout_minutes))
    return World(rank=rank, size=size, shards=shards or size)


def leave_world() -> None:
    """Close the connection to the other processes, if there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
