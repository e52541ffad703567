"""The game with its averaged weights in place: what snapshots, metrics and the saved model are made with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganforge.core.game import Batch, Game
from ganforge.engine.rng import reseed

MOMENT_BATCHES = 16


@contextlib.contextmanager
def averaged(
    game: Game,
    averages: Sequence[tuple[Sequence[Tensor], Sequence[Tensor]]],
    inputs: Callable[[int], Batch],
    known: dict[int, Tensor],
) -> Iterator[None]:
    """Within the block, ``game`` has its averaged weights and is in evaluation mode; afterwards it is as before.

    ``averages`` pairs each player's parameters with their averages. BatchNorm's moments belong to the live weights,
    so they are estimated afresh for the averaged ones ("standing statistics", Brock et al. 2019, app. C), on batches
    that ``inputs`` draws. ``known`` takes what that changed, by the buffers' order: given again with the same weights,
    nothing is estimated a second time.
    """
    buffers = {b: b.clone() for b in game.buffers()}
    norms = [m for m in game.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta = [m.momentum for m in norms]
    swap(averages)
    try:
        with torch.no_grad():
            if averages and norms and not known:
                estimate_moments(game, norms, inputs)
                known |= {i: b.clone() for i, (b, old) in enumerate(buffers.items()) if not torch.equal(b, old)}
            for index, buffer in enumerate(buffers):
                if index in known:
                    buffer.copy_(known[index])
            game.eval()
            yield
    finally:
        swap(averages)
        with torch.no_grad():
            for buffer, value in buffers.items():
                buffer.copy_(value)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        game.train()


def swap(averages: Sequence[tuple[Sequence[Tensor], Sequence[Tensor]]]) -> None:
    """Exchange weights and averages without copying."""
    for parameters, means in averages:
        for parameter, mean in zip(parameters, means, strict=True):
            parameter.data, mean.data = mean.data, parameter.data


def estimate_moments(game: Game, norms: Sequence[nn.Module], inputs: Callable[[int], Batch]) -> None:
    """Set BatchNorm's moments to the mean over a few batches; norms that sampling never reaches keep theirs."""
    before = [(n.running_mean.clone(), n.running_var.clone()) for n in norms]  # type: ignore[union-attr, operator]
    for norm in norms:
        norm.reset_running_stats()  # type: ignore[operator]
        norm.momentum = None  # type: ignore[assignment]
    for index in range(MOMENT_BATCHES):
        reseed("moments", index)
        game.sample(inputs(index))
    for norm, (mean, variance) in zip(norms, before, strict=True):
        if norm.num_batches_tracked == 0:
            norm.running_mean.copy_(mean)  # type: ignore[union-attr, operator]
            norm.running_var.copy_(variance)  # type: ignore[union-attr, operator]
