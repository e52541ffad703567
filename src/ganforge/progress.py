"""What the terminal shows while training: a bar with speed, losses and ETA, or plain lines without a terminal."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ganforge.core.watch import Event, Verdict

if TYPE_CHECKING:
    from ganforge.engine.trainer import Trainer

LINE_SECONDS = 10.0


def span(seconds: float) -> str:
    """A duration in words: 45 s, 3 min 20 s, 2 h 05 min."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def rate(per_second: float) -> str:
    """A number a second in words: 1,234, 9.7, 0.019."""
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.2g}"


@contextlib.contextmanager
def patience(tell: Callable[[str], None], text: str, seconds: float = 2.0) -> Iterator[None]:
    """Says ``text`` once if the block takes longer than ``seconds``: silence looks like a fault."""
    timer = threading.Timer(seconds, tell, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def losses_of(values: Mapping[str, float], players: Sequence[str]) -> str:
    """The players' losses in a few words; where none is called so (a language model's nll), the first terms."""
    losses = {name: value for name, value in values.items() if name.endswith("/loss")}
    if losses:
        return "loss " + " ".join(f"{name.removesuffix('/loss')} {value:.3f}" for name, value in losses.items())
    measured = ("grad_norm", "update_ratio")
    terms = [n for n in values if n.partition("/")[0] in players and n.partition("/")[2] not in measured]
    return " ".join(f"{name} {values[name]:.3f}" for name in terms[:3])


class ProgressDisplay:
    """A watcher that prints. Rounds, images/s, the players' losses, and the time left."""

    def __init__(self, trainer: Trainer, console: Console) -> None:
        self.trainer, self.console = trainer, console
        self.bar: Progress | None = None
        self.printed, self.first = time.monotonic(), trainer.progress()
        self.began = time.monotonic()

    def see(self, event: Event) -> Verdict | None:
        """Show an event."""
        if event.kind == "start":
            self.began, self.first = time.monotonic(), self.trainer.progress()
            if self.console.is_terminal:
                columns = (
                    TextColumn("{task.description}"),
                    BarColumn(24),
                    TimeElapsedColumn(),
                    TextColumn("{task.fields[text]}"),
                )
                self.bar = Progress(*columns, console=self.console)
                self.bar.start()
                task = self.bar.add_task("training", total=1.0, text="")
                self.bar.update(task, completed=self.first)
        elif event.kind == "tick":
            self.show(event)
        elif event.kind == "message":
            self.console.print(f"[yellow]{escape(event.message)}[/yellow]", soft_wrap=True)
        elif event.kind == "verdict":
            color = "green" if event.message.startswith("keep best") else "yellow"
            self.console.print(f"[{color}]{escape(event.message)}[/{color}]", highlight=False, soft_wrap=True)
        elif event.kind == "end":
            self.close()
        return None

    def show(self, event: Event) -> None:
        """One tick."""
        done = self.trainer.progress()
        elapsed = time.monotonic() - self.began
        left = elapsed * (1 - done) / (done - self.first) if done > self.first else 0.0
        speed = rate(event.values["samples_per_second"])
        losses = losses_of(event.values, list(self.trainer.game.players))
        text = f"round {event.clock.round:,} | {speed} samples/s | {losses} | {span(left)} left"
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=done, text=text)
        elif time.monotonic() - self.printed > LINE_SECONDS or done >= 1.0:
            self.printed = time.monotonic()
            self.console.print(f"{done:4.0%} | {text}", highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def now_and_then(tell: Callable[[str], None], what: str, seconds: float = 5.0) -> Callable[[int, int], None]:
    """Says how many of how many there are, at most once in ``seconds``: silence looks like a fault."""
    last = time.monotonic()

    def heard(done: int, total: int) -> None:
        nonlocal last
        if done < total and time.monotonic() - last >= seconds:
            last = time.monotonic()
            tell(f"{done:,} of {total:,} {what}")

    return heard
