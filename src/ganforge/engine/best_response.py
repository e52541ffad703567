"""A trained game in which one player goes on learning while the other stands still: what a duality gap is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol, cast

from torch import Tensor

from ganforge.core.game import Batch, Clock, Game, Move, Terms


class ZeroSum(Protocol):
    """A game with a value: any Game that defines it, with players "G" (who minimizes it) and "D"."""

    def value(self, batch: Batch) -> Tensor:
        """V(G, D) on a real batch and as many fakes: a scalar, differentiable in the weights of both players."""
        ...


class BestResponse(Game):
    """A trained game in which one player goes on learning while the other stands still.

    D learns by its own moves, penalties and clipping included, since they say what a discriminator of this game may
    be; G minimizes the value itself. Everything that a schedule rules stays as it was at ``since``, but learning rates
    start anew.
    """

    def __init__(self, game: Game, mover: str, since: Clock) -> None:
        super().__init__()
        self.game, self.mover, self.since = game, mover, since
        self.players = {name: replace(player, ema_samples=None) for name, player in game.players.items()}

    def moves(self, clock: Clock) -> Sequence[Move]:
        """The mover's part of a round."""
        theirs = self.game.moves(Clock(self.since.round + clock.round, self.since.samples))
        if self.mover == "G":
            theirs = [Move("G", lambda batch: {"loss": cast(ZeroSum, self.game).value(batch)})]
        return [replace(m, play=partial(self.play, m.play)) for m in theirs if m.player == self.mover]

    def play(self, theirs: Callable[[Batch], Terms], batch: Batch) -> Terms:
        """One of the trained game's moves; what it notes is not wanted here."""
        self.game.shard = self.shard
        terms = theirs(batch)
        self.game.__dict__.pop("noted", None)
        return terms

    def cost(self, batch: Batch) -> Terms:
        """What the mover minimizes, all its moves together."""
        return {f"{i}/{k}": v for i, m in enumerate(self.moves(Clock())) for k, v in m.play(batch).items()}
