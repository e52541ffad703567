"""Ctrl-C and SIGTERM: the round in hand is ended and saved; a second one ends at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from command import newest
from ganforge.engine.trainer import Trainer
from test_trainer import make


def once_training(trainer: Trainer, act: Callable[[], None], seconds: float = 0.05) -> None:
    """Do something beside the first round: from then on signals are caught, however long the start has taken."""
    play = trainer.round

    def begin() -> None:
        trainer.round = play  # type: ignore[method-assign]
        threading.Timer(seconds, act).start()
        play()

    trainer.round = begin  # type: ignore[method-assign]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_round_in_hand_and_saves(tmp_path: Path, number: int) -> None:
    trainer = make(tmp_path / "run", rounds=10**6, tick_samples=16 * 100)
    before = signal.getsignal(number)
    once_training(trainer, lambda: os.kill(os.getpid(), number))
    assert trainer.train() == "interrupted"
    assert signal.getsignal(number) is before
    assert int(newest(tmp_path / "run").name) == trainer.clock.samples > 0
    again = make(tmp_path / "run", rounds=trainer.clock.round + 3)
    assert again.resume() and again.train() == "budget"


def test_a_signal_that_comes_twice_at_once_is_one(tmp_path: Path) -> None:
    """torchrun passes on a Ctrl-C that its processes have got already."""
    trainer = make(tmp_path / "run", rounds=10**6)

    def twice() -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.001)

    once_training(trainer, twice)
    assert trainer.train() == "interrupted"


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    trainer = make(tmp_path / "run", rounds=10**6)
    slow = trainer.round

    def later() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.7)
        os.kill(os.getpid(), signal.SIGINT)

    def endless() -> None:
        slow()
        if trainer.clock.round == 3:
            threading.Timer(0.05, later).start()
            time.sleep(20)

    trainer.round = endless  # type: ignore[method-assign]
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert time.monotonic() - began < 5


def test_training_in_a_thread_leaves_signals_alone() -> None:
    trainer, why = make(rounds=3), []
    thread = threading.Thread(target=lambda: why.append(trainer.train()))
    thread.start()
    thread.join()
    assert why == ["budget"]
