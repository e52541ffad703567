"""One move, played by the shards of a batch and learned by its player: forward, backward, reduce, step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ganforge.core import foreach
from ganforge.core.errors import InputError
from ganforge.core.game import Batch, Clock, Game, Move, PerShard
from ganforge.engine.learner import Learner
from ganforge.engine.rng import reseed
from ganforge.engine.run import Tensors
from ganforge.engine.world import World

LOOK = 8
"""Each so many rounds, the size of a step is measured for the log."""

Precision = tuple[str, torch.dtype] | None


def check_owners(game: Game) -> None:
    """Every parameter of the game has exactly one owner; ValueError names the one that has none or two."""
    owner: dict[int, str] = {}
    for name, player in game.players.items():
        for parameter in player.parameters():
            if owner.setdefault(id(parameter), name) != name:
                raise ValueError(f"players {owner[id(parameter)]} and {name} both own a parameter")
    for name, parameter in game.named_parameters():
        if id(parameter) not in owner:
            raise ValueError(f"no player owns the parameter {name}")


class Updates:
    """Plays moves on a game. Holds what one update needs; knows nothing of files, time or progress."""

    def __init__(self, game: Game, world: World, seed: int, precision: Precision = None) -> None:
        check_owners(game)
        self.game, self.world, self.seed, self.precision = game, world, seed, precision
        for module in game.modules():
            if isinstance(module, PerShard):
                module.allocate(world.shards)
        game.requires_grad_(False)
        self.learners = {name: Learner(name, player, game) for name, player in game.players.items()}
        self.moving = ""
        own = [n for player in game.players.values() for n in player.networks]
        buffers = dict.fromkeys(b for net in own for b in net.buffers())
        self.floats = [b for b in buffers if b.is_floating_point()]
        self.counters = [b for b in buffers if not b.is_floating_point()]
        self.shares: tuple[list[tuple[str, int, int]], dict[str, float]] = ([], {})

    def state(self) -> dict[str, Tensors]:
        """All tensors that a bit-exact resume needs, by the file that they go to. All processes must call it."""
        self.gather_shards()
        averages, optimizers = {}, {}
        for learner in self.learners.values():
            average, optimizer = learner.state()
            averages |= average
            optimizers |= optimizer
        return {"game": dict(self.game.state_dict()), "ema": averages, "optim": optimizers}

    @torch.no_grad()
    def gather_shards(self) -> None:
        """Give every process all slots of buffers that have one for each shard."""
        sharded = [b for m in self.game.modules() if isinstance(m, PerShard) for b in m.buffers(recurse=False)]
        others = [s for s in range(self.world.shards) if s not in self.world.my_shards]
        for buffer in sharded if others else []:
            buffer[others] = 0
        self.world.reduce(sharded)

    def restore(self, tensors: Mapping[str, Tensors]) -> None:
        """Take up a state that ``state`` gave. InputError where it is another game's."""
        self.check_fit(tensors)
        self.game.load_state_dict(tensors["game"])
        optimizers: dict[str, Tensors] = {}
        for name, value in tensors["optim"].items():
            parameter, _, key = name.rpartition("/")
            optimizers.setdefault(parameter, {})[key] = value
        for learner in self.learners.values():
            learner.restore(tensors["ema"], optimizers)
        self.game.__dict__.pop("noted", None)

    def check_fit(self, tensors: Mapping[str, Tensors]) -> None:
        """InputError when a checkpoint's tensors are not those of this game."""
        shapes = {name: value.shape for name, value in tensors["game"].items()}
        mine = {name: value.shape for name, value in self.game.state_dict().items()}
        odd = next((n for n in {**mine, **shapes} if mine.get(n) != shapes.get(n)), "")
        averaged = [n for x in self.learners.values() if x.average is not None for n in x.parameter_names]
        odd = odd or next((n for n in averaged if n not in tensors["ema"]), "")
        if odd:
            raise InputError(f"the checkpoint does not fit the game (at {odd}): has the recipe's code changed since?")

    def lazy_shares(self, moves: Sequence[Move]) -> dict[str, float]:
        """Of each player, main steps / all steps of an average round: k / (k + 1) with one lazy move (StyleGAN2)."""
        plan = [(m.player, m.every, m.times) for m in moves]
        if plan != self.shares[0]:
            main = {p: sum(t for q, e, t in plan if q == p and e == 1) for p, _, _ in plan}
            every = {p: sum(t / e for q, e, t in plan if q == p) for p, _, _ in plan}
            self.shares = (plan, {p: main[p] / every[p] if main[p] else 1.0 for p in main})
        return self.shares[1]

    def set_mover(self, name: str) -> None:
        """Only the moving player's parameters require a gradient."""
        if name != self.moving:
            if self.moving:
                for parameter in self.learners[self.moving].parameters:
                    parameter.requires_grad_(False)
            for parameter in self.learners[name].parameters:
                parameter.requires_grad_(True)
            self.moving = name

    def autocast(self, order: int = 1) -> contextlib.AbstractContextManager[object]:
        """Mixed precision, but not where a gradient is differentiated."""
        if self.precision is None or order > 1:
            return contextlib.nullcontext()
        device, dtype = self.precision
        return torch.autocast(device, dtype)

    def update(self, move: Move, batches: Callable[[int], Batch], tag: tuple[int, ...]) -> None:
        """Play ``move`` on every shard of this process, sum the gradients over all shards, and step.

        ``batches`` gives the batch of a shard; ``tag`` (round, move, repetition) seeds the noise.
        """
        learner = self.learners[move.player]
        self.set_mover(move.player)
        learner.optimizer.zero_grad(set_to_none=True)
        before = foreach.copies(self.floats)
        counted = [c.clone() for c in self.counters] if self.world.shards > 1 else []
        total: list[Tensor] = []
        played = torch.zeros((), device=self.game.device)
        for position, shard in enumerate(self.world.my_shards):
            if position:  # every shard starts from the same state
                foreach.copy_to(self.floats, before)
                for counter, value in zip(self.counters, counted, strict=True):
                    counter.copy_(value)
            reseed(self.seed, *tag, shard)
            self.game.shard = shard
            batch = batches(shard)  # in fp32; what has to be encoded first leaves a seed of its own, by its counter
            with self.autocast(move.order), eager(move.order > 1):
                terms = move.play(batch)
                loss = torch.stack([t.float() for t in terms.values()]).sum()
            with eager(move.order > 1):
                (loss * (move.every / self.world.shards)).backward()
            played += loss.detach()
            for name, term in terms.items():
                self.game.note(f"{move.player}/{name}", term)
            if self.world.shards > 1:
                if total:
                    foreach.add_to(total, self.floats)
                else:
                    total = foreach.copies(self.floats)
        self.world.reduce([*(p.grad for p in learner.parameters if p.grad is not None), *total, played])
        look = tag[0] % LOOK == 0
        weights = foreach.copies(learner.weights) if look else []
        stepped = learner.step(played)
        if stepped is not None:
            norm, good = stepped
            self.game.note(f"{move.player}/grad_norm", norm)
            if look:
                self.game.note(f"{move.player}/update_ratio", learner.moved(weights))
            self.fold_buffers(before, total, good)
        if move.after is not None:
            with torch.no_grad():
                move.after()

    @torch.no_grad()
    def look(self, held: Batch, round_: int) -> None:
        """Let the game look at real data that it is not trained on; all state stays as it is."""
        before, counted = foreach.copies(self.floats), [c.clone() for c in self.counters]
        reseed(self.seed, round_, "look")
        with self.autocast():
            self.game.look(held)
        foreach.copy_to(self.floats, before)
        for counter, value in zip(self.counters, counted, strict=True):
            counter.copy_(value)

    @torch.no_grad()
    def fold_buffers(self, before: list[Tensor], total: list[Tensor], good: Tensor) -> None:
        """What forward passes changed (BatchNorm's moments): the mean over all shards, or as before a bad step."""
        if total:
            foreach.scale(total, 1.0 / self.world.shards)
            foreach.copy_to(self.floats, total)
        foreach.copy_to(self.floats, [torch.where(good, n, o) for n, o in zip(self.floats, before, strict=True)])

    def round(
        self,
        clock: Clock,
        moves: Sequence[Move],
        batches: Callable[[int, int], Batch],
        batch: int,
        lr_factor: float = 1.0,
    ) -> Clock:
        """All moves of one round. ``batches(repetition, shard)`` gives data; ``batch`` is the size over all shards."""
        shares = self.lazy_shares(moves)
        for name, learner in self.learners.items():
            learner.set_rates(clock.samples, lr_factor, shares.get(name, 1.0))
        for index, move in enumerate(moves):
            if clock.round % move.every == 0:
                for repetition in range(move.times):
                    self.update(move, lambda shard, r=repetition: batches(r, shard), (clock.round, index, repetition))
        after = replace(clock, round=clock.round + 1, samples=clock.samples + batch)
        for learner in self.learners.values():
            learner.follow(after.samples, batch)
        return after


@contextlib.contextmanager
def eager(wanted: bool) -> Iterator[None]:
    """Run compiled networks eagerly: torch.compile refuses double backward."""
    if wanted:
        with torch.compiler.set_stance("force_eager"):
            yield
    else:
        yield


def summarize(noted: Mapping[str, list[Tensor]], world: World) -> dict[str, tuple[float, float]]:
    """(count, sum) of everything noted, over all processes. One host sync."""
    names = sorted(noted)
    if not names:
        return {}
    device = noted[names[0]][0].device
    wide = torch.float32 if device.type == "mps" else torch.float64  # of which mps has none
    sums = torch.stack([torch.stack([v.to(wide).sum() for v in noted[n]]).sum() for n in names])
    counts = torch.tensor([float(sum(v.numel() for v in noted[n])) for n in names], dtype=wide, device=sums.device)
    world.reduce([sums, counts])
    return {n: (c, s) for n, c, s in zip(names, counts.tolist(), sums.tolist(), strict=True)}


def use_channels_last(modules: Sequence[nn.Module]) -> None:
    """Use channels_last for 4-D weights, which is quicker for convolutions on CPUs and GPUs alike."""
    for module in modules:
        if any(p.dim() == 4 for p in module.parameters()):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
