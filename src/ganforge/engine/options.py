"""How long, how often, where: the settings of training that are no part of the game."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal, TypedDict

from pydantic import AfterValidator, Field

Positive = Annotated[int, Field(gt=0)]


def device_name(name: str) -> str:
    """``name``, if a device may be called so. ValueError where not."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", name):
        raise ValueError("give auto, cpu, cuda, cuda:1 or mps")
    return name


@dataclass(frozen=True)
class TrainOptions:
    """Budgets (whichever ends first), cadence, device. Sample counts are real samples, as in StyleGAN's kimg.

    samples: stop after this many real samples (None: the recipe's own budget, if neither minutes nor rounds is given).
    minutes: stop after this much training time. rounds: stop after this many rounds.
    seed: of the initial weights, the data order and the noise.
    shards: parts that a batch is played in, one after the other or by as many processes (None: one a process).
    device: auto takes CUDA, then CPU. precision: auto is bf16 where convolutions are quicker in it (CUDA, CPUs with
    AMX; text: such CPUs only), else fp32 (and always for points and tables);
    gradient penalties, losses and averages are fp32 anyway. train() and resume() settle auto when a run starts.
    deterministic: on CUDA, only algorithms that give the same bits each time, so that a resume is exact there too;
    without, some steps are quicker. CPUs always do.
    threads: of the CPU (None: one for small batches, else PyTorch's own number). Results depend on it in the last bits.
    tick_samples, snapshot_samples, checkpoint_samples: how often numbers are read, pictures drawn, state saved
    (None: 100, 10 and 5 times a run). checkpoint_minutes: save at least this often.
    timeout_minutes: how long processes wait for one another before they take one for lost; the others wait while the
    first evaluates.
    keep: checkpoints kept. on_nonfinite: what to do when steps keep failing.
    holdout: real data that is not trained on, for judging: other data, or a share (0.1) that is set aside.
    stop: auto ends a run also when its metric stands still, when it is hopeless, and when scores get worse while D
        memorizes its data.
    metric: what evaluations follow, the best of which is what generating uses. target: end the run once it is reached.
    evaluate_samples: how often to evaluate (None: with stop, target or holdout 20 times a run, but for at most a
    20th of the time; else never). evaluate_count: generated samples each time.
    """

    samples: Positive | None = None
    minutes: Annotated[float, Field(gt=0)] | None = None
    rounds: Positive | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    shards: Positive | None = None
    device: Annotated[str, AfterValidator(device_name)] = "auto"
    deterministic: bool = True
    threads: Positive | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    tick_samples: Positive | None = None
    snapshot_samples: Positive | None = None
    checkpoint_samples: Positive | None = None
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 10.0
    timeout_minutes: Annotated[float, Field(gt=0)] = 120.0
    keep: Positive = 3
    on_nonfinite: Literal["rollback", "stop"] = "rollback"
    holdout: str | None = None
    stop: Literal["budget", "auto"] = "budget"
    metric: str = "fid"
    target: float | None = None
    evaluate_samples: Positive | None = None
    evaluate_count: Annotated[int, Field(ge=50)] = 1000

    @property
    def evaluates(self) -> bool:
        """Whether the run is evaluated as it trains."""
        asked = (self.target, self.evaluate_samples, self.holdout)
        return self.stop == "auto" or any(each is not None for each in asked)


class GivenOptions(TypedDict, total=False):
    """Some of ``TrainOptions``, by their names: what train() and resume() take. A count may be text, as in "200k"."""

    samples: int | str | None
    minutes: float | None
    rounds: int | str | None
    seed: int
    shards: int | None
    device: str
    deterministic: bool
    threads: int | None
    precision: Literal["auto", "fp32", "bf16"]
    compile: bool
    tick_samples: int | str | None
    snapshot_samples: int | str | None
    checkpoint_samples: int | str | None
    checkpoint_minutes: float
    timeout_minutes: float
    keep: int
    on_nonfinite: Literal["rollback", "stop"]
    holdout: str | None
    stop: Literal["budget", "auto"]
    metric: str
    target: float | None
    evaluate_samples: int | str | None
    evaluate_count: int | str


BUDGETS = ("samples", "minutes", "rounds")
"""Options that end a run; who gives one of them anew gives all."""

FREE = frozenset(
    [
        *BUDGETS,
        "device",
        "deterministic",
        "threads",
        "tick_samples",
        "snapshot_samples",
        "checkpoint_samples",
        "checkpoint_minutes",
        "timeout_minutes",
        "keep",
        "on_nonfinite",
        "stop",
        "metric",
        "target",
        "evaluate_samples",
        "evaluate_count",
    ]
)
"""Options that may change when a run is resumed: they alter its length and cadence, not its course."""
