"""Trains a tiny game on streamed shards in two processes, and kills both once they have saved.

python killed_stream.py DATA RUN

The imports are paid for once: both are forks. This process never runs a backward pass, which forbids forking.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

import torch

from ganforge.config import Settings
from ganforge.engine.run import Run
from ganforge.plan import make_plan


def settings(data: str) -> Settings:
    """Endless, with a checkpoint every 16th round."""
    train = {"rounds": 10**6, "device": "cpu", "threads": 1, "shards": 2, "checkpoint_samples": 256, "tick_samples": 64}
    return Settings("gan", data, {"size": 8, "batch": 16}, {"shuffle": "window", "window": 4}, train)


def main() -> None:
    torch.set_num_threads(1)
    data, path = sys.argv[1], Path(sys.argv[2])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    Run.create(path, "", {"data": {}, "world": {}, "versions": {}})
    ranks = []
    for rank in range(2):
        pid = os.fork()
        if pid == 0:
            os.environ["RANK"] = str(rank)
            plan = make_plan(settings(data), print)
            plan.trainer(plan.build(), Run.open(path)).train()
            os._exit(0)
        ranks.append(pid)
    end = time.monotonic() + 60
    while len(list((path / "checkpoints").glob("[0-9]*"))) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    for pid in ranks:
        os.kill(pid, signal.SIGKILL)
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL, "it ended by itself"


if __name__ == "__main__":
    main()
