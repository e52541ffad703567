"""Trains a tiny game in children that are killed at random moments, until enough died; then lets one come to an end.

python killed.py RUN KILLS SEED    prints a JSON report

The imports are paid for once: each attempt is a fork. This process never runs a backward pass, which forbids forking.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from ganforge.config import Settings
from ganforge.engine.run import Run
from ganforge.model import load
from ganforge.plan import make_plan

ENDLESS = 10**6


def settings(rounds: int, checkpoint_samples: int = 32) -> Settings:
    """A checkpoint every second round."""
    train = {"rounds": rounds, "device": "cpu", "checkpoint_samples": checkpoint_samples, "tick_samples": 16}
    return Settings("gan", "ring", {"size": 8, "batch": 16}, {"count": 500}, train)


def train(path: Path, asked: Settings, begun: Callable[[], None]) -> None:
    """What ``ganforge resume`` does, without pictures and report."""
    plan = make_plan(asked, print)
    game = plan.build()
    run = Run.open(path)
    run.lock()
    trainer = plan.trainer(game, run)
    trainer.resume()
    begun()
    trainer.train()
    run.unlock()


def attempt(path: Path, rounds: int, seconds: float | None, early: bool = False) -> bool:
    """Train in a child; kill it so long after it has begun (``early``: to resume). Whether it came to its end."""
    ready, begun = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if early:
                os.write(begun, b".")
            train(path, settings(rounds), lambda: None if early else os.write(begun, b".") and None)
            code = 0
        finally:
            os._exit(code)
    os.close(begun)
    os.read(ready, 1)
    os.close(ready)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, -signal.SIGKILL), f"the child failed with {code}"
    return code == 0


def main() -> None:
    torch.set_num_threads(1)
    path, kills, chance = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
    plan = make_plan(settings(ENDLESS), print)
    Run.create(path, plan.yaml(), {"data": {}, "world": {}, "versions": {}})
    plan.trainer(plan.build())  # imports what optimizers need
    died = while_writing = 0
    damaged: list[str] = []
    reached = [0]
    while died < kills:
        early = chance.random() < 0.2
        attempt(path, ENDLESS, chance.uniform(0.0, 0.05 if early else 0.25), early)
        run = Run.open(path)
        found = run.read_checkpoint(damaged.append)
        reached.append(found[1]["round"] if found else 0)
        if reached[-1] > 2:  # the second checkpoint is begun when the first's model is whole
            load(path)
        while_writing += any(path.rglob(".*.tmp"))
        run.lines("log")
        died += 1
    finished = attempt(path, reached[-1] + 20, None)
    left = [str(p) for p in path.rglob("*") if p.suffix in (".tmp", ".old") or p.name.startswith("damaged")]
    report = {
        "died": died,
        "while_writing": while_writing,
        "damaged": damaged,
        "reached": reached,
        "rounds": reached[-1] + 20,
    }
    print(json.dumps({**report, "finished": finished, "left": left}))


if __name__ == "__main__":
    main()
