"""Pictures of samples as training goes on, always of the same latents, so that they can be compared."""

from __future__ import annotations

from pathlib import Path

import torch

from ganforge.core.game import Batch
from ganforge.core.watch import Event, Verdict
from ganforge.engine.rng import generator
from ganforge.engine.trainer import Trainer


class Snapshots:
    """Draws samples/<samples>.png at the start, at about each ``every`` rounds (at a tick), and at the end."""

    def __init__(self, trainer: Trainer, folder: Path, every: int) -> None:
        self.trainer, self.folder, self.every = trainer, folder, every
        self.count = trainer.domain.shown
        self.next = 0
        self.real = self.real_samples()

    def real_samples(self) -> object:
        """Some of the training data, for comparison."""
        source, domain = self.trainer.stream.source, self.trainer.domain
        rows = torch.randperm(len(source), generator=generator("real samples"))[: self.count]
        return domain.decode(domain.encode(source.take(rows)))

    def see(self, event: Event) -> Verdict | None:
        """Draw when it is time."""
        last = event.kind == "end"
        if event.kind in ("start", "tick", "end") and (event.clock.round >= self.next or last):
            self.next = (event.clock.round // self.every + 1) * self.every
            path = self.folder / f"{event.clock.samples:010d}.png"
            if not path.exists() or last:
                self.draw(path, last)
        return None

    def inputs(self) -> Batch:
        """The inputs of all pictures: one class after the other where the game obeys labels."""
        inputs = self.trainer.draw(self.count, "snapshot")
        if "label" in inputs and "label" in self.trainer.game.conditions:
            inputs["label"] = torch.arange(self.count, device=inputs["label"].device) % len(self.trainer.domain.classes)
        return inputs

    def draw(self, path: Path, last: bool = False) -> None:
        """One picture (of what moves, the last one as a .gif too); none while samples are not finite, which is the
        trainer's business to mend."""
        with self.trainer.sampling():
            samples = self.trainer.game.sample(self.inputs())
        if bool(samples["data"].isfinite().all()):
            decoded = self.trainer.domain.decode(samples)
            self.trainer.domain.show(decoded, path, self.real)
            if last and self.trainer.domain.moving:
                self.trainer.domain.animate(decoded, path.with_suffix(".gif"), 1)
