"""The training loop: rounds, ticks, checkpoints, and what happens when something goes wrong."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from ganforge.core.device import deterministic, peak_memory, pick_device
from ganforge.core.errors import InputError, RunError
from ganforge.core.game import Batch, Clock, Game, Notes
from ganforge.core.watch import Event, Verdict, Watcher
from ganforge.domains.domain import Domain, Source
from ganforge.engine.averaged import averaged
from ganforge.engine.interrupt import interruptible
from ganforge.engine.options import TrainOptions
from ganforge.engine.rng import generator, reseed
from ganforge.engine.run import Run, Tensors
from ganforge.engine.stream import Stream
from ganforge.engine.update import Updates, summarize, use_channels_last
from ganforge.engine.world import World

ROLLBACKS = 3
"""How often training goes back to a checkpoint, with half the learning rate each time, before it gives up."""

FAILING = 10
"""So many failed steps of one player, in ticks in which half of its steps failed or more, are more than chance."""


class Diverged(RunError):
    """Steps keep failing. All processes of a run raise it alike."""


class Trainer:
    """Trains ``game`` on ``source``. With a ``run`` it logs, saves and can resume; without one it only trains.

    The state after round n depends on the initial weights, the data, the seed, the shards and n, on nothing else.
    """

    def __init__(
        self,
        game: Game,
        source: Source,
        domain: Domain,
        options: TrainOptions,
        batch: int,
        world: World | None = None,
        run: Run | None = None,
        watchers: Sequence[Watcher] = (),
        model: Mapping[str, Any] | None = None,
        card: str = "",
        held: Source | None = None,
    ) -> None:
        self.world = world or World(shards=options.shards or 1)
        if batch % self.world.shards:
            raise InputError(f"batch {batch} cannot be cut into {self.world.shards} equal shards")
        self.device = pick_device(options.device, self.world.rank)
        self.game = game.to(self.device).train()
        self.domain, self.options, self.batch = domain, options, batch
        self.run, self.watchers, self.model, self.card = run, list(watchers), dict(model or {}), card
        networks = [n for player in game.players.values() for n in player.networks]
        use_channels_last(networks)
        precision = (self.device.type, torch.bfloat16) if options.precision == "bf16" else None
        self.updates = Updates(game, self.world, options.seed, precision)
        if options.compile:
            for network in networks:
                network.compile()
        shard_size = batch // self.world.shards
        self.stream = Stream(source, domain, shard_size, options.seed, self.device, self.world.size)
        self.held = None if held is None else Stream(held, domain, self.stream.shard_size, options.seed, self.device)
        self.clock = Clock()
        self.drawn = 0
        self.seconds = 0.0
        self.lr_factor = 1.0
        self.rollbacks = 0
        self.failing: dict[str, float] = {}
        self.worked = False
        self.stopping = threading.Event()
        self.stop_reason = ""
        self.best: Mapping[str, Any] | None = None
        self.started = 0.0
        self.notes: dict[str, list[Tensor]] = {}
        self.adapts = game.adapts
        self.moments: tuple[int, dict[int, Tensor]] = (-1, {})

    # ---- rounds

    def round(self) -> None:
        """One round: every move once (or as often as it says), then the game's own adaptation."""
        shards, drawn = self.world.shards, self.drawn
        taken: dict[tuple[int, int], Batch] = {}

        def batches(repetition: int, shard: int) -> Batch:
            key = (repetition, shard)
            if key not in taken:
                taken[key] = self.stream.take(drawn + repetition * shards + shard)
            return taken[key]

        moves = self.game.moves(self.clock)
        self.clock = self.updates.round(self.clock, moves, batches, self.batch, self.lr_factor)
        self.drawn += max((m.times for m in moves), default=1) * shards
        noted: dict[str, list[Tensor]] = self.game.__dict__.pop("noted", {})
        if self.adapts:
            with torch.no_grad():
                self.game.adapt(self.clock, summarize(noted, self.world))
        for name, values in noted.items():
            self.notes.setdefault(name, []).extend(values)

    def total_rounds(self) -> int | None:
        """The round at which the budgets in rounds and samples end (None: only time ends the run)."""
        rounds, samples = self.options.rounds, self.options.samples
        return min((n for n in (rounds, math.ceil(samples / self.batch) if samples else None) if n), default=None)

    def progress(self) -> float:
        """The share of the budget that is used up, 0 to 1."""
        total = self.total_rounds()
        parts = [self.clock.round / total] if total else []
        if self.options.minutes:
            parts.append(self.seconds / (60 * self.options.minutes))
        return min(max(parts, default=0.0), 1.0)

    def every(self, samples: int | None, times: int, expected: int) -> int:
        """A cadence in rounds: as asked for in samples, or ``times`` a run of ``expected`` rounds."""
        return max(1, round(samples / self.batch) if samples else math.ceil(expected / times))

    def train(self, expected_rounds: int | None = None) -> str:
        """Train until a budget ends, a watcher says stop, or the user interrupts; returns why.

        ``expected_rounds`` sets the cadence of a run that only time ends.
        """
        total = self.total_rounds()
        expected = total or expected_rounds or 1000
        tick = self.every(self.options.tick_samples, 100, expected)
        save = self.every(self.options.checkpoint_samples, 5, expected)
        if self.run is not None and self.world.agree(float(not self.run.checkpoints())):
            self.save()
        self.started = time.perf_counter() - self.seconds
        ticked, saved_at = (self.clock.round, self.seconds), self.seconds
        self.tell("start")
        why = "budget" if self.progress() >= 1.0 else ""
        with interruptible(self.stopping), deterministic(self.device, self.options.deterministic):
            while not why:
                self.round()
                why = self.ended(total)
                at_tick, at_save = self.clock.round % tick == 0, self.clock.round % save == 0
                if at_tick or at_save or why:
                    self.seconds = self.world.agree(time.perf_counter() - self.started)
                    rate = (self.clock.round - ticked[0]) * self.batch / max(self.seconds - ticked[1], 1e-9)
                    if self.tick(rate, why == "budget"):
                        why, at_save = "", False
                    ticked = (self.clock.round, self.seconds)
                    why = why or self.stop_reason
                    at_save = at_save or self.best is not None
                overdue = at_tick and self.seconds - saved_at > 60 * self.options.checkpoint_minutes
                if why or ((at_save or overdue) and not self.failing):
                    self.save()
                    saved_at = self.seconds
                self.best = None  # what is not saved now is no state that could be kept
        self.tell("end", message=why)
        return why

    def ended(self, total: int | None) -> str:
        """Why training must end now: "budget", "interrupted", or "" (all processes say the same)."""
        if total is not None and self.clock.round >= total:
            return "budget"
        minutes, elapsed = self.options.minutes, time.perf_counter() - self.started
        late = minutes is not None and elapsed >= 60 * minutes
        flag = self.world.agree(2.0 if self.stopping.is_set() else 1.0 if late else 0.0)
        return {0.0: "", 1.0: "budget", 2.0: "interrupted"}[flag]

    # ---- ticks

    def tick(self, rate: float, last: bool) -> bool:
        """Read the numbers of the last rounds, report them, and deal with non-finite ones. True: rolled back."""
        if self.held is not None:
            self.updates.look(self.held.take(self.clock.round), self.clock.round)
            for name, noted in self.game.__dict__.pop("noted", {}).items():
                self.notes.setdefault(name, []).extend(noted)
        sums = summarize(self.notes, self.world)
        self.notes = {}
        values = {name: total / count for name, (count, total) in sums.items() if count}
        skipped = self.read_skipped(sums)
        values |= {"samples_per_second": rate, "memory_bytes": float(peak_memory(self.device))}
        if skipped:
            values["skipped_steps"] = skipped
        self.stop_reason = ""
        self.tell("tick", values)
        said = self.world.agree(float(bool(self.stop_reason) + 2 * (self.best is not None)))
        if said % 2:
            self.stop_reason = self.stop_reason or "a watcher on the first process said stop"
        if said >= 2 and self.best is None:
            self.best = {}
        if max(self.failing.values(), default=0.0) >= FAILING or (last and self.failing and not self.worked):
            return self.recover(values)
        if skipped:
            what = "1 step" if skipped == 1 else f"{skipped:.0f} steps"
            self.tell("message", message=f"left out {what} with non-finite gradients")
        return False

    def read_skipped(self, sums: Notes) -> float:
        """How many steps were left out since the last tick; keeps count of the players who keep failing."""
        total = 0.0
        for name, learner in self.updates.learners.items():
            skipped = float(learner.skipped)
            learner.skipped.zero_()
            steps = sums.get(f"{name}/grad_norm", (0.0, 0.0))[0] / self.world.size
            if skipped and skipped >= 0.5 * steps:
                self.failing[name] = self.failing.get(name, 0.0) + skipped
            elif steps:
                self.failing.pop(name, None)
            self.worked = self.worked or skipped < steps
            total += skipped
        return total

    def recover(self, values: Mapping[str, float]) -> bool:
        """Steps keep failing: go back to the last good checkpoint with half the learning rate, or stop."""
        bad = ", ".join(n for n, v in values.items() if not math.isfinite(v)) or "the gradients"
        who = ", ".join(f"{count:.0f} steps of {name}" for name, count in self.failing.items())
        what = f"{who} failed up to round {self.clock.round:,} (not finite: {bad})"
        can_go_back = self.run is not None and bool(self.run.checkpoints())
        if self.options.on_nonfinite == "stop" or not can_go_back or self.rollbacks >= ROLLBACKS:
            after = f", also after {self.rollbacks} rollbacks" if self.rollbacks else ""
            raise Diverged(f"training stopped: {what}{after}; lower the learning rate, or add a gradient penalty")
        rollbacks, factor, spent = self.rollbacks + 1, self.lr_factor / 2, self.seconds
        self.resume()
        self.rollbacks, self.lr_factor, self.seconds = rollbacks, factor, spent
        self.failing, self.worked, self.best = {}, False, None
        self.tell("message", message=f"{what}: back to round {self.clock.round:,}, learning rates x {factor:g}")
        self.save()  # so that a resumed run remembers it
        return True

    def tell(self, kind: Any, values: Mapping[str, float] | None = None, message: str = "") -> None:
        """Report to the log and to the watchers; the first verdict that says stop ends training."""
        if self.world.rank:
            return
        event = Event(kind, self.clock, self.seconds, values or {}, message)
        line: dict[str, Any] = {**asdict(self.clock), "seconds": round(self.seconds, 3)}
        if self.run is not None:
            if kind == "tick":
                finite = {k: v if math.isfinite(v) else None for k, v in event.values.items()}
                self.run.log({**line, **finite})
            elif message and kind != "verdict":
                self.run.event({**line, "kind": kind, "message": message})
        for watcher in self.watchers:
            verdict = watcher.see(event)
            if verdict is not None and kind != "verdict":  # one on a verdict would call for the next
                self.hear(verdict, line)

    def hear(self, verdict: Verdict, line: Mapping[str, Any]) -> None:
        """Record a verdict, show it, and do what it says."""
        if self.run is not None:
            self.run.event({**line, "kind": "verdict", **asdict(verdict)})
        if verdict.action == "stop":
            self.stop_reason = verdict.reason
        elif verdict.action == "keep_best":
            self.best = verdict.values
        parts = [f"{verdict.action.replace('_', ' ')}: {verdict.reason}", verdict.evidence, verdict.remedy]
        self.tell("verdict", message="; ".join(part for part in parts if part))

    # ---- state

    def state(self) -> tuple[dict[str, Tensors], dict[str, Any]]:
        """All that a bit-exact resume needs: (tensors by file, numbers)."""
        numbers = {
            **asdict(self.clock),
            "drawn": self.drawn,
            "seconds": self.seconds,
            "lr_factor": self.lr_factor,
            "rollbacks": self.rollbacks,
            "shards": self.world.shards,
        }
        return self.updates.state(), numbers

    def restore(self, tensors: Mapping[str, Tensors], numbers: Mapping[str, Any]) -> None:
        """Take up a state that ``state`` gave. InputError where it is another game's."""
        self.updates.restore(tensors)
        self.clock = Clock(int(numbers["round"]), int(numbers["samples"]))
        self.drawn, self.seconds = int(numbers["drawn"]), float(numbers["seconds"])
        self.lr_factor, self.rollbacks = float(numbers["lr_factor"]), int(numbers["rollbacks"])
        self.notes, self.moments = {}, (-1, {})

    def resume(self) -> bool:
        """Go on from the newest whole checkpoint of the run; False when it has none."""
        if self.run is None:
            return False
        skipped: list[str] = []
        found = self.run.read_checkpoint(skipped.append)
        if found is None:
            return False
        if found[1]["shards"] != self.world.shards:
            raise InputError(
                f"the run was trained with {found[1]['shards']} shards, not {self.world.shards}: "
                f"set train.shards={found[1]['shards']} (it may be any multiple of the number of processes)"
            )
        self.restore(*found)
        self.world.barrier()  # all have read it
        if self.world.rank == 0:
            self.run.forget_after(self.clock.round, self.clock.samples)
        self.world.barrier()
        for text in skipped:
            self.tell("message", message=text)
        return True

    def save(self) -> None:
        """Write a checkpoint and the model that generating uses: the best so far, where that is measured."""
        tensors, numbers = self.state()
        if self.run is not None and self.world.rank == 0:
            folder = self.run.write_checkpoint(self.clock.samples, tensors, numbers, self.options.keep)
            with self.sampling():
                used = self.game.used_by_model
                weights = {k: v for k, v in self.game.state_dict().items() if k.partition(".")[0] in used}
                facts, described = {**self.model, **asdict(self.clock)}, self.domain.to_dict()
                measured = self.best is not None or self.run.best() is not None
                if self.best is not None or not measured:
                    self.run.write_model(weights, facts, described, self.card)
                if measured:
                    self.run.write_model(weights, facts, described, self.card, "model-last")
            if self.best is not None:
                self.run.write_best({"checkpoint": folder.name, **asdict(self.clock), **self.best})
        self.best = None
        self.world.barrier()

    def draw(self, n: int, *tag: int | str) -> Batch:
        """Inputs for ``n`` samples (latents, conditions, and what the game needs of the data), on the device.

        A function of the run's seed and ``tag``.
        """
        seeded = generator(self.options.seed, "draw", *tag)
        inputs = {**self.game.draw(n, seeded), **self.domain.conditions(n, seeded)}
        if self.game.needs:
            rows = torch.randint(len(self.stream.source), (n,), generator=seeded)
            reseed(self.options.seed, "draw", *tag)  # encoding may add noise
            given = self.domain.encode(self.stream.source.take(rows))
            inputs |= {name: given[name] for name in self.game.needs}
        return {k: v.to(self.device) for k, v in inputs.items()}

    def sampling(self) -> contextlib.AbstractContextManager[None]:
        """The game as its user will see it: averaged weights, matching BatchNorm moments, evaluation mode.

        The moments are estimated once a round, for the picture, the evaluation and the checkpoint alike.
        """
        if self.moments[0] != self.clock.round:
            self.moments = (self.clock.round, {})
        averages = [(x.parameters, x.average) for x in self.updates.learners.values() if x.average is not None]
        return averaged(self.game, averages, lambda i: self.draw(min(self.batch, 256), "moments", i), self.moments[1])
