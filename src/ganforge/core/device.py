"""Where tensors live, and what that takes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import psutil
import torch

from ganforge.core.errors import InputError

SMALL_BATCH = 16_384
"""Numbers in a batch (samples x values of each): 64 digits of 8 x 8 are 4,096, 64 of MNIST's 50,176."""


def pick_device(name: str, rank: int = 0) -> torch.device:
    """The device that ``name`` means here; InputError when there is none."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{rank % max(torch.cuda.device_count(), 1)}"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError("device cuda was asked for, but PyTorch sees no CUDA GPU here: use --device cpu")
    if name == "mps" and not torch.backends.mps.is_available():
        raise InputError("device mps was asked for, but PyTorch sees no Apple GPU here: use --device cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"unknown device '{name}': auto, cpu, cuda, cuda:1 or mps") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {name} was asked for, but PyTorch sees only {torch.cuda.device_count()} GPUs here")
    return device


def fast_bf16(device: torch.device) -> bool:
    """Whether matrix work in bfloat16 is quicker than in float32 there: on CUDA GPUs, and on CPUs with AMX.

    avx512_bf16 alone is not enough: 3 x 3 convolutions took 1.3 to 1.6 times as long as in float32.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    amx = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return device.type == "cpu" and amx is not None and bool(amx())


def threads_for(numbers: int) -> int:
    """CPU threads for a batch of so many numbers: one when it is small.

    A second thread then gains 4 to 19 % on a quiet machine, and costs a factor of 10 on a busy one: every short
    operation waits for all threads to be scheduled.
    """
    return 1 if numbers < SMALL_BATCH else torch.get_num_threads()


@contextlib.contextmanager
def few_threads(numbers: int) -> Iterator[None]:
    """Meanwhile PyTorch takes as many CPU threads as suit a batch of so many numbers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(threads_for(numbers))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def deterministic(device: torch.device, wanted: bool = True) -> Iterator[None]:
    """CUDA gives the same numbers each time meanwhile; PyTorch warns of operations that cannot.

    cuDNN tries no algorithms by the clock and takes none that adds up in any order. CPUs need none of this.
    """
    if not wanted or device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it is first used
    cudnn: Any = torch.backends.cudnn
    filling: Any = torch.utils.deterministic
    before = cudnn.deterministic, cudnn.benchmark, filling.fill_uninitialized_memory
    strict, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        cudnn.deterministic, cudnn.benchmark = True, False
        filling.fill_uninitialized_memory = False  # nobody reads what was not written
        torch.use_deterministic_algorithms(True, warn_only=True)
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark, filling.fill_uninitialized_memory = before
        torch.use_deterministic_algorithms(strict, warn_only=warns)


def settle(device: torch.device) -> None:
    """Wait until a GPU has done what it was asked to do: before a clock is read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def peak_memory(device: torch.device) -> int:
    """Bytes: the peak on a GPU, the resident set of this process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return psutil.Process().memory_info().rss
