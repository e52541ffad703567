"""A game: players (networks) with payoffs (losses) who play on data. The engine knows nothing else about a GAN."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ganforge.core.schedule import Scalar, value_at

Batch = dict[str, Tensor]
"""Named tensors with one leading batch dimension. ``data`` is the sample itself, ``label`` its class (int64)."""

Terms = dict[str, Tensor]
"""Named scalar losses, already weighted; the engine minimizes their sum."""

Notes = Mapping[str, tuple[float, float]]
"""What the moves noted in this round, over all shards: name -> (count, sum)."""


@dataclass(frozen=True)
class Clock:
    """Where training stands. ``samples`` counts the real samples of finished rounds."""

    round: int = 0
    samples: int = 0


@dataclass(frozen=True)
class Move:
    """One player learns once.

    ``play`` takes a batch of one shard and returns losses; it never calls backward or step. ``every`` > 1 is lazy
    regularization: the engine multiplies the loss by it and corrects Adam's settings (StyleGAN2, app. B).
    ``times`` repeats the move within a round, with fresh data each time. ``order`` = 2 says that the loss holds a
    gradient (R1, gradient penalty): it then runs eagerly and in fp32. ``after`` runs once the step is done.
    """

    player: str
    play: Callable[[Batch], Terms]
    every: int = 1
    times: int = 1
    order: int = 1
    after: Callable[[], None] | None = None


@dataclass(frozen=True)
class Player:
    """Who owns which networks, and how they learn. Every parameter of a game has exactly one owner.

    ``ema_samples`` is the half-life, in real samples, of the moving average that is used for sampling (None: no
    average); it is shortened at the start of training to ``ema_rampup`` of the samples seen so far (StyleGAN2-ADA).
    """

    networks: Sequence[nn.Module]
    lr: Scalar = 2e-4
    betas: tuple[Scalar, Scalar] = (0.5, 0.999)
    eps: float = 1e-8
    optimizer: Literal["adam", "rmsprop"] = "adam"
    ema_samples: Scalar | None = None
    ema_rampup: float | None = 0.05

    def parameters(self) -> list[nn.Parameter]:
        """All parameters of this player, in a fixed order."""
        return [p for net in self.networks for p in net.parameters()]


class PerShard(nn.Module):
    """A module whose buffers have one slot per shard of the batch, ``[shards, ...]``; each shard writes only its own.

    The engine calls ``allocate`` before training, and sums the ranks' slots before it writes a checkpoint.
    """

    def allocate(self, shards: int) -> None:
        """Give every buffer ``shards`` slots, all like the first."""
        for name, buffer in list(self.named_buffers(recurse=False)):
            self.register_buffer(name, buffer[:1].repeat(shards, *[1] * (buffer.dim() - 1)))


class Game(nn.Module):
    """All networks, and all state that must survive a resume, as submodules and buffers.

    A subclass sets ``players`` and ``moves``, and ``draw`` and ``sample`` when it can generate. Inside a move only
    the moving player's parameters require a gradient, so ``self.G(z)`` is a constant in D's move: no ``detach``.
    Randomness comes from torch's global generator, which the engine reseeds for every (round, move, shard); in the
    first move of a shard, for its batch.
    """

    players: Mapping[str, Player]
    used_by_model: tuple[str, ...] = ("G",)
    """The submodules that a trained model needs: what is saved for generating."""

    conditions: tuple[str, ...] = ()
    """The conditions that sampling obeys (``label``); others in the inputs are ignored."""

    needs: tuple[str, ...] = ()
    """What sampling takes from data (``input``, for translation), as keys of an encoded batch."""

    choices: Mapping[str, int] = {}
    """The random inputs that mean something by themselves, so that users choose them (InfoGAN's codes): of each, how
    many whole values it has, 0 for real numbers."""

    likelihood: str = ""
    """What ``log_prob`` gives: "exact" or "lower bound"; empty where a game has none."""

    turns: tuple[int, ...] = ()
    """The real samples after which ``moves`` are others, and take longer or shorter: the time estimate tries each."""

    shard: int = 0
    """The shard of the batch that is being played; the engine sets it."""

    clock: Clock = Clock()
    """Where training stands: what ``moves`` was told last, in a game that keeps it for its moves."""

    def moves(self, clock: Clock) -> Sequence[Move]:
        """The moves of one round, in order. May change with the clock, never with anything else."""
        raise NotImplementedError(f"{type(self).__name__} defines no moves")

    def adapt(self, clock: Clock, notes: Notes) -> None:
        """Change the game's own state, once a round: the only place where that may happen."""

    @property
    def adapts(self) -> bool:
        """Whether ``adapt`` wants the notes of every round, which are read from the device for it."""
        return type(self).adapt is not Game.adapt

    def look(self, held: Batch) -> None:
        """Note what the game makes of real data that it is not trained on. Called now and then, without gradients."""

    def draw(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Batch:
        """The random inputs of ``n`` samples, on the CPU (``z`` [n, latent]). Truncation < 1 trades variety."""
        raise NotImplementedError(f"{type(self).__name__} cannot generate")

    def sample(self, inputs: Batch) -> Batch:
        """Samples as the domain encodes them, a fixed function of ``inputs`` (random inputs and conditions)."""
        raise NotImplementedError(f"{type(self).__name__} cannot generate")

    def draft(self) -> AbstractContextManager[None]:
        """Within it ``sample`` may be cheaper and a little off: enough to tell what changes samples."""
        return nullcontext()

    def log_prob(self, batch: Batch) -> Tensor:
        """log p of each encoded sample, in nats [n]: a probability for pixels, a density in own units for points.

        An optional ability, with ``likelihood``; randomness comes from torch's global generator.
        """
        raise NotImplementedError(f"{type(self).__name__} has no likelihood")

    def encode(self, batch: Batch) -> Tensor:
        """The latents ``z`` [n, latent] of encoded samples, for ``sample``. An optional ability."""
        raise NotImplementedError(f"{type(self).__name__} has no encoder")

    def now(self, scalar: Scalar) -> float:
        """A number that may be a schedule, as it is by ``clock``."""
        return value_at(scalar, self.clock.samples)

    def note(self, name: str, values: Tensor) -> None:
        """Observe ``values`` (small: logits, not images) without a host sync; their mean is logged each tick."""
        self.__dict__.setdefault("noted", {}).setdefault(name, []).append(values.detach())

    @property
    def device(self) -> torch.device:
        """Where the game's weights are."""
        return next(self.parameters()).device


def millions(count: int) -> str:
    """A number of parameters, for people."""
    return f"{count / 1e6:.2f} M" if count >= 1e5 else f"{count / 1e3:.1f} k"
