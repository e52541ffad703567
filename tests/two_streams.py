"""Trains on streamed shards in two processes.

python two_streams.py RECIPE DATA RUN [RECIPE DATA RUN ..]

The imports are paid for once: both are forks. This process never runs a backward pass, which forbids forking.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from unittest import mock

import torch

from ganforge.config import Settings
from ganforge.domains import streamed, streamed_source
from ganforge.engine.run import Run
from ganforge.engine.trainer import Trainer
from ganforge.plan import make_plan

ROUNDS = 4
SMALL = {
    "text2image": {"size": 8, "words": 16, "latent": 8, "batch": 8},
    "age": {"size": 8, "batch": 8, "blocks": 1},
}


def begin(recipe: str, data: str, run: Run | None = None) -> Trainer:
    """A trainer that plays on two shards of each batch, in windows of two blocks; at the last checkpoint of ``run``."""
    asked = {"rounds": ROUNDS, "device": "cpu", "threads": 1, "shards": 2}
    options = {"shuffle": "window", "window": 4}
    with mock.patch.object(streamed_source, "BLOCK", 2048), mock.patch.object(streamed, "BLOCK", 2**21):
        plan = make_plan(Settings(recipe, data, SMALL[recipe], options, asked), lambda line: None)
        trainer = plan.trainer(plan.build(), run)
    if run is not None and run.checkpoints():
        trainer.resume()
    return trainer


def main() -> None:
    torch.set_num_threads(1)
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])  # the first optimizer imports much more of PyTorch
    for at in range(1, len(sys.argv), 3):
        if code := in_two(sys.argv[at], sys.argv[at + 1], Path(sys.argv[at + 2])):
            sys.exit(f"status {code}")


def in_two(recipe: str, data: str, path: Path) -> int:
    """Train in two processes; the exit code of the worse."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    Run.create(path, "", {"data": {}, "world": {}, "versions": {}})
    ranks = []
    for rank in range(2):
        pid = os.fork()
        if pid == 0:
            os.environ["RANK"] = str(rank)
            code = 1
            try:
                trainer = begin(recipe, data, Run.open(path))
                trainer.train()
                code = int(trainer.world.size != 2)
            finally:
                os._exit(code)
        ranks.append(pid)
    return max(os.waitpid(pid, 0)[1] for pid in ranks)


if __name__ == "__main__":
    main()
