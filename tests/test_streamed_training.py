"""Training and judging on streamed shards: what a folder gives, also after kill -9 and with two processes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch

from command import finish, ganforge, start_process
from ganforge import live
from ganforge.config import Settings
from ganforge.core.errors import InputError
from ganforge.domains import streamed, streamed_source
from ganforge.domains.domain import Part
from ganforge.engine.run import Run
from ganforge.engine.trainer import Trainer
from ganforge.plan import make_plan
from image_makers import file, noise, put
from shard_makers import make, samples, tar


def trained(data: Path, rounds: int, train: dict[str, object] | None = None, run: Run | None = None, **options: object):
    """A trainer that has played so many rounds, from the run's checkpoint where it has one."""
    asked = {"rounds": rounds, "device": "cpu", "threads": 1, **(train or {})}
    plan = make_plan(Settings("gan", str(data), {"size": 8, "batch": 16}, options, asked), print)
    trainer = plan.trainer(plan.build(), run)
    assert run is None or trainer.resume()
    trainer.watchers += live.damaged(plan.source)
    trainer.train()
    return trainer


def same(one: Trainer, other: Trainer) -> bool:
    """Whether all weights and all state are equal, bit for bit."""
    theirs = other.game.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.game.state_dict().items())


def test_training_from_shards_is_training_from_a_folder(tmp_path: Path) -> None:
    """Bit for bit, where all images are mixed; with a window it is other training."""
    for i in range(60):
        put(tmp_path / "f", {f"{i:05d}.png": file(noise("L", (8, 8), seed=i))})
    make(tmp_path / "s", 3, 20)
    folder, shards = (trained(tmp_path / spec, 12, labels="none") for spec in "fs")
    assert same(folder, shards)
    with mock.patch.object(streamed_source, "BLOCK", 8192), mock.patch.object(streamed, "BLOCK", 2**21):
        assert not same(folder, trained(tmp_path / "s", 12, labels="none", shuffle="window", window=4))


def test_inputs_are_made_from_streamed_images_too(tmp_path: Path) -> None:
    """restore on shards is restore on the folder of their images, to the bit; pairs are not looked for in shards."""
    for i in range(24):
        put(tmp_path / "f", {f"{i:05d}.png": file(noise("L", (8, 8), seed=i))})
    make(tmp_path / "s", 2, 12)
    params = {"size": 8, "batch": 4, "blocks": 1}

    def restored(spec: str, **options: object) -> Trainer:
        asked = {"rounds": 8, "device": "cpu", "threads": 1}
        plan = make_plan(Settings("restore", str(tmp_path / spec), params, options, asked), print)
        trainer = plan.trainer(plan.build(), None)
        trainer.train()
        return trainer

    assert same(*(restored(spec, degrade="denoise") for spec in "fs"))
    with pytest.raises(InputError, match=r"data\.degrade"):
        restored("s")


def test_killed_in_two_processes_and_resumed_in_one(tmp_path: Path) -> None:
    """Two processes that are killed (SIGKILL) go on as one with two shards, to the bits of a whole run."""
    data = make(tmp_path / "s", 4, 30)  # 4 blocks, of which the window holds one
    command = [sys.executable, str(Path(__file__).with_name("killed_stream.py"))]
    said = finish(start_process(data, tmp_path / "a", command=command))
    assert said.code == 0, said.err
    run = Run.open(tmp_path / "a")
    reached = run.read_checkpoint(print)
    assert reached is not None and reached[1]["round"] > 0
    last = reached[1]["round"] + 20  # some epochs
    resumed = trained(data, last, {"shards": 2}, run, shuffle="window", window=4)
    whole = trained(data, last, {"shards": 2}, shuffle="window", window=4)
    assert same(resumed, whole) and not same(whole, trained(data, 1, {"shards": 2}, shuffle="window", window=4))


def test_a_run_tells_of_damage(tmp_path: Path) -> None:
    """Once, and again when there is twice as much; also where a part is held out."""
    files = samples(0, 400)
    for i in (100, 102, 104):
        files[2 * i] = (files[2 * i][0], b"broken")
    tar(tmp_path / "t.tar", files)
    heard: list[str] = []
    with mock.patch.object(Trainer, "hear", lambda self, verdict, line: heard.append(verdict.reason)):
        trainer = trained(tmp_path / "t.tar", 40, {"tick_samples": 16, "holdout": "0.01"})
    assert isinstance(trainer.stream.source, Part) and heard[-1].endswith("images cannot be read")
    assert 1 <= len(heard) <= 2
    with pytest.raises(InputError, match=r"t\.tar: 0010[024]\.png: not an image"):
        trained(tmp_path / "t.tar", 40, strict=True)


def test_other_shards_or_a_folder_can_be_held_out(tmp_path: Path) -> None:
    make(tmp_path / "s", 2, 20)
    make(tmp_path / "t", 1, 10, size=(16, 16))
    for i in range(10):
        put(tmp_path / "f" / str(i % 3), {f"{i}.png": file(noise("L", (8, 8), seed=100 + i))})
    for data, holdout in (("s", "t"), ("s", "f"), ("f", "s")):
        trainer = trained(tmp_path / data, 2, {"holdout": str(tmp_path / holdout)})
        assert trainer.held is not None and len(trainer.held.source) in (10, 40)
    with pytest.raises(InputError, match="holds the same data"):
        trained(tmp_path / "s", 2, {"holdout": f"{tmp_path}/s/*.tar"})


def test_judging_by_shards(tmp_path: Path) -> None:
    """Samples in a folder against real data in shards: the scores that a folder of the same images gives."""
    for i in range(120):
        put(tmp_path / "f", {f"{i:05d}.png": file(noise("L", (8, 8), seed=i))})
    make(tmp_path / "s", 4, 30)
    for i in range(60):
        put(tmp_path / "made", {f"{i}.png": file(noise("L", (8, 8), seed=1000 + i))})
    scores = []
    for spec in ("f", "s"):
        what = ("evaluate", tmp_path / "made", "--against", tmp_path / spec, "--features", "pixels", "-n", 60, "--json")
        said = ganforge(*what, "--metrics", "fid,prdc")
        assert said.code == 0, said.err
        scores.append(json.loads(said.out)["scores"])
    assert scores[0] == scores[1]
