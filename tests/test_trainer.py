"""The loop: budgets, cadence, watchers, and what happens when steps fail."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from command import differences, finish, ganforge, newest, start_process
from drift import Drift
from ganforge.config import checked
from ganforge.core.errors import InputError, RunError
from ganforge.core.store import write_bytes, write_json
from ganforge.core.watch import Event, Verdict
from ganforge.domains import open_data
from ganforge.domains.points import PointOptions
from ganforge.engine import trainer as trainer_module
from ganforge.engine.options import TrainOptions
from ganforge.engine.rng import reseed
from ganforge.engine.run import Run
from ganforge.engine.trainer import Trainer
from ganforge.recipes.recipe import find_recipe

HERE = Path(__file__).parent


class Diary:
    """A watcher that keeps all events, and says stop at a round."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.events: list[Event] = []
        self.stop_at = stop_at

    def see(self, event: Event) -> Verdict | None:
        self.events.append(event)
        if event.kind == "tick" and event.clock.round == self.stop_at:
            return Verdict("stop", "enough", "evidence", "remedy")
        return None

    def messages(self) -> list[str]:
        return [e.message for e in self.events if e.kind == "message"]

    def rounds(self, kind: str = "tick") -> list[int]:
        return [e.clock.round for e in self.events if e.kind == kind]


def make(path: Path | None = None, recipe: Any = None, watchers: tuple[Any, ...] = (), **options: Any) -> Trainer:
    """A trainer of a tiny game; with ``path``, one that has a run folder."""
    domain, source = open_data("ring", PointOptions(count=500))
    recipe = recipe or checked(find_recipe("gan"), {"size": 8, "batch": 16}, "params")
    chosen = TrainOptions(**{"device": "cpu", "shards": 1, "precision": "fp32", **options})
    reseed(chosen.seed, "weights")
    run = None
    if path is not None:
        facts = {"data": {}, "world": {}, "versions": {}}
        run = Run.open(path) if (path / "run.json").exists() else Run.create(path, "recipe: gan\n", facts)
    return Trainer(recipe.build(domain), source, domain, chosen, recipe.batch, run=run, watchers=watchers)


def test_budgets() -> None:
    trainer = make(rounds=7)
    assert trainer.train() == "budget" and trainer.clock.round == 7
    trainer = make(samples=100)
    assert trainer.train() == "budget" and (trainer.clock.round, trainer.clock.samples) == (7, 112)
    trainer = make(samples=160, rounds=3)
    assert trainer.train() == "budget" and trainer.clock.round == 3


def test_a_budget_of_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on by a hundredth of a second whenever it is read: once a round, and once a tick."""
    now = itertools.count()
    monkeypatch.setattr(trainer_module.time, "perf_counter", lambda: next(now) / 100)
    trainer = make(minutes=0.01)
    assert trainer.train() == "budget"
    assert trainer.seconds == pytest.approx(0.6, abs=0.03) and 40 <= trainer.clock.round <= 60
    assert trainer.progress() == 1.0


def test_no_data_are_seen_twice_where_d_moves_several_times() -> None:
    """Each of D's three moves of a round has a shard of its own, and the next round goes on behind them."""
    trainer, taken = make(recipe=checked(find_recipe("gan"), {"batch": 16, "discriminator_steps": 3}, "params")), []
    take = trainer.stream.take
    trainer.stream.take = lambda shard: taken.append(shard) or take(shard)  # type: ignore[method-assign]
    for _ in range(3):
        trainer.round()
    assert taken == list(range(9)) and trainer.drawn == 9


def test_cadence(tmp_path: Path) -> None:
    diary = Diary()
    trainer = make(tmp_path / "run", watchers=(diary,), rounds=20, tick_samples=64, checkpoint_samples=160, keep=2)
    trainer.train()
    assert diary.rounds() == [4, 8, 10, 12, 16, 20], "at each tick, and before each checkpoint"
    assert diary.rounds("start") == [0] and diary.rounds("end") == [20]
    assert [line["round"] for line in trainer.run.lines()] == diary.rounds()
    assert [p.name for p in trainer.run.checkpoints()] == ["0000000320", "0000000160"]
    for event in diary.events[1:-1]:
        assert {"G/loss", "D/loss", "G/grad_norm", "samples_per_second", "memory_bytes"} <= event.values.keys()


def test_time_alone_leads_to_checkpoints(tmp_path: Path) -> None:
    trainer = make(tmp_path / "run", rounds=10, tick_samples=32, checkpoint_samples=10**6, checkpoint_minutes=1e-6)
    trainer.train()
    assert [int(p.name) // 16 for p in trainer.run.checkpoints()] == [10, 8, 6]


def test_a_watcher_stops_training_and_its_reason_is_kept(tmp_path: Path) -> None:
    trainer = make(tmp_path / "run", watchers=(Diary(stop_at=3),), rounds=20, tick_samples=16)
    assert trainer.train() == "enough"
    verdict = next(e for e in trainer.run.lines("events") if e["kind"] == "verdict")
    assert (verdict["round"], verdict["reason"], verdict["evidence"]) == (3, "enough", "evidence")
    assert newest(tmp_path / "run").name == "0000000048"


def test_resume_tells_one_story(tmp_path: Path) -> None:
    """What was logged and drawn beyond the checkpoint that training resumes from is dropped."""
    trainer = make(tmp_path / "run", rounds=20, tick_samples=16, checkpoint_samples=160)
    trainer.train()
    for round_ in (21, 25):
        trainer.run.log({"round": round_, "samples": round_ * 16})
        write_bytes(tmp_path / "run" / "samples" / f"{round_ * 16:010d}.png", b"")
    write_bytes(tmp_path / "run" / "samples" / "0000000320.png", b"")
    again = make(tmp_path / "run", rounds=30, tick_samples=16)
    assert again.resume() and again.clock.round == 20
    assert [line["round"] for line in again.run.lines()] == list(range(1, 21))
    assert [p.name for p in (tmp_path / "run" / "samples").iterdir()] == ["0000000320.png"]


def test_other_shards_or_networks_are_refused(tmp_path: Path) -> None:
    make(tmp_path / "run", rounds=2).train()
    with pytest.raises(InputError, match=r"trained with 1 shards, not 2: set train\.shards=1"):
        make(tmp_path / "run", rounds=4, shards=2).resume()
    wider = checked(find_recipe("gan"), {"size": 9, "batch": 16}, "params")
    with pytest.raises(InputError, match=r"does not fit the game \(at G\..*has the recipe's code changed"):
        make(tmp_path / "run", wider, rounds=4).resume()
    with pytest.raises(InputError, match="batch 16 cannot be cut into 3 equal shards"):
        make(shards=3)


# ---- failing steps


def drifting(
    path: Path | None, diary: Diary | None = None, recipe: dict[str, Any] | None = None, **options: Any
) -> Trainer:
    """Weights that grow by 1/8 a round."""
    chosen = checked(Drift, {"batch": 16, **(recipe or {})}, "params")
    return make(path, chosen, (diary,) if diary else (), **{"rounds": 60, "tick_samples": 16, **options})


@pytest.mark.parametrize("every", [1, 4, 60])
def test_one_bad_step_is_left_out(tmp_path: Path, every: int) -> None:
    """Weights, Adam's state and BatchNorm's moments are as if the round had not been; and it is told."""
    diary = Diary()
    trainer = drifting(tmp_path / "run", diary, {"bad_rounds": [5]}, tick_samples=16 * every)
    reference = drifting(None, rounds=5)
    reference.train()
    before = {k: v.clone() for k, v in reference.game.state_dict().items() if v.is_floating_point()}
    seen: dict[str, torch.Tensor] = {}
    rounds = trainer.round

    def watched() -> None:
        rounds()
        if trainer.clock.round == 6:
            seen.update({k: v.clone() for k, v in trainer.game.state_dict().items()})

    trainer.round = watched  # type: ignore[method-assign]
    assert trainer.train() == "budget"
    assert all(torch.equal(seen[k], v) for k, v in before.items()) and len(before) == 3
    assert trainer.game.G.weight[0].item() == pytest.approx(59 / 8, rel=1e-3)
    assert diary.messages() == ["left out 1 step with non-finite gradients"]
    assert [e["message"] for e in trainer.run.lines("events") if e["kind"] == "message"] == diary.messages()
    assert trainer.rollbacks == 0 and trainer.lr_factor == 1.0
    assert sum(line.get("skipped_steps", 0) for line in trainer.run.lines()) == 1
    assert all(math.isfinite(v) for line in trainer.run.lines() for v in line.values() if v is not None)


@pytest.mark.parametrize("every", [1, 5])
def test_failing_steps_lead_back_with_half_the_learning_rate(tmp_path: Path, every: int) -> None:
    """The weight passes the limit at round 27; from round 20 at half the rate it passes it later, and so on."""
    diary = Diary()
    trainer = drifting(tmp_path / "run", diary, {"limit": 3.3}, tick_samples=16 * every, checkpoint_samples=16 * 20)
    assert trainer.train() == "budget" and trainer.clock.round == 60
    told = [m for m in diary.messages() if "back to round" in m]
    assert len(told) == trainer.rollbacks >= 2
    assert "steps of G failed up to round" in told[0] and told[0].endswith("back to round 20, learning rates x 0.5")
    assert told[1].endswith("learning rates x 0.25")
    assert trainer.lr_factor == 0.5**trainer.rollbacks
    assert bool(torch.isfinite(trainer.game.G.weight).all()) and bool(
        torch.isfinite(trainer.game.G.norm.running_mean).all()
    )
    seconds = [line["seconds"] for line in trainer.run.lines()]
    assert seconds == sorted(seconds), "time that was lost is spent"
    again = drifting(tmp_path / "run", None, {"limit": 3.3})
    assert again.resume() and (again.rollbacks, again.lr_factor) == (trainer.rollbacks, trainer.lr_factor)


def test_a_checkpoint_is_never_written_while_steps_fail(tmp_path: Path) -> None:
    trainer = drifting(tmp_path / "run", None, {"bad_rounds": [3, 4, 5, 6]}, rounds=9, checkpoint_samples=16, keep=100)
    trainer.train()
    assert [int(p.name) // 16 for p in trainer.run.checkpoints()][::-1] == [0, 1, 2, 3, 8, 9]


def test_a_state_that_was_not_saved_is_never_the_best(tmp_path: Path) -> None:
    """A score of round 4, where steps fail and nothing is saved, says nothing about round 8, which is saved next."""

    class Likes:
        def see(self, event: Event) -> Verdict | None:
            wanted = event.kind == "tick" and event.clock.round in good
            return Verdict("keep_best", "good", values={"metric": "fid", "value": 1.0}) if wanted else None

    settings, often = {"bad_rounds": [3, 4, 5, 6]}, {"rounds": 9, "tick_samples": 16, "checkpoint_samples": 16}
    good = [4]
    trainer = drifting(tmp_path / "one", Likes(), settings, **often)
    trainer.train()
    assert trainer.run.best() is None
    good = [2]
    trainer = drifting(tmp_path / "two", Likes(), settings, **often)
    trainer.train()
    assert trainer.run.best()["round"] == 2


def test_after_three_ways_back_training_stops_with_the_reason(tmp_path: Path) -> None:
    diary = Diary()
    trainer = drifting(tmp_path / "run", diary, {"bad_rounds": list(range(20, 60))}, checkpoint_samples=16 * 10)
    with pytest.raises(
        RunError, match=r"^training stopped: 10 steps of G failed .*G/loss.*after 3 rollbacks; lower"
    ) as why:
        trainer.train()
    assert "\n" not in str(why.value) and trainer.rollbacks == 3 and trainer.lr_factor == 0.125
    back = [m for m in diary.messages() if "back to round" in m]
    factors = (0.5, 0.25, 0.125)
    assert all(m.endswith(f"back to round 20, learning rates x {f}") for m, f in zip(back, factors, strict=True))
    assert int(newest(tmp_path / "run").name) == 320, "the last good state is kept"


def test_on_nonfinite_stop(tmp_path: Path) -> None:
    trainer = drifting(tmp_path / "run", None, {"bad_rounds": list(range(20, 60))}, on_nonfinite="stop")
    with pytest.raises(RunError, match="training stopped: 10 steps of G failed up to round 30"):
        trainer.train()
    assert trainer.rollbacks == 0


def test_a_run_that_never_works_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"training stopped: 4 steps of G failed up to round 4.*after 3 rollbacks"):
        drifting(tmp_path / "run", None, {"bad_rounds": list(range(60))}, rounds=4).train()


def test_two_processes_skip_and_go_back_alike(tmp_path: Path) -> None:
    """A NaN in one process's shard makes both leave the step out, and go back: as one process with 2 shards does."""
    settings = {"bad_shard": 1, "bad_rounds": [3, *range(20, 32)], "batch": 16}
    options = ["--data", "ring", "--rounds", "40", "--device", "cpu", "--set", "train.tick_samples=16"]
    options += ["--set", "train.checkpoint_samples=160", "--set", "train.snapshot_samples=100M"]
    options += [text for key, value in settings.items() for text in ("--set", f"{key}={value}")]
    two = start_process("train", "drift:Drift", *options, "--gpus", "2", "--run", tmp_path / "two", cwd=HERE)
    one = ganforge("train", "drift:Drift", *options, "--set", "train.shards=2", "--run", tmp_path / "one")
    said = finish(two)
    assert (one.code, said.code) == (1, 1), said.err
    assert one.error == said.error and "after 3 rollbacks" in said.error
    assert differences(tmp_path / "one", tmp_path / "two") == []
    events = [Run.open(tmp_path / n).lines("events") for n in ("one", "two")]
    told = [[(e["round"], e.get("message", e.get("reason"))) for e in each] for each in events]
    assert told[0] == told[1] and told[0][0] == (4, "left out 1 step with non-finite gradients")


# ---- checkpoints that cannot be read


def spoil(checkpoint: Path) -> None:
    """Flip one bit."""
    file = checkpoint / "optim.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 16
    file.write_bytes(content)


def test_a_damaged_checkpoint_is_told_and_set_aside(tmp_path: Path) -> None:
    trainer = make(tmp_path / "run", rounds=20, tick_samples=16, checkpoint_samples=80, keep=2)
    trainer.train()
    spoil(newest(tmp_path / "run"))
    diary = Diary()
    again = make(tmp_path / "run", watchers=(diary,), rounds=30, checkpoint_samples=32, keep=2)
    assert again.resume() and again.clock.round == 15
    assert len(diary.messages()) == 1
    assert (
        "checkpoint skipped" in diary.messages()[0]
        and "0000000320/optim.safetensors: its sha256" in diary.messages()[0]
    )
    assert again.run.lines("events")[-1]["message"] == diary.messages()[0]
    assert again.run.lines()[-1]["round"] == 15
    again.train()
    straight = make(rounds=30)
    straight.train()
    for name, value in straight.game.state_dict().items():
        assert torch.equal(again.game.state_dict()[name], value)
    assert [int(p.name) // 16 for p in again.run.checkpoints()] == [30, 28]
    assert (tmp_path / "run" / "checkpoints" / "damaged-0000000320").is_dir()


def test_all_damaged_is_one_clear_line(tmp_path: Path) -> None:
    make(tmp_path / "run", rounds=20, checkpoint_samples=80).train()
    for checkpoint in (tmp_path / "run" / "checkpoints").iterdir():
        spoil(checkpoint)
    with pytest.raises(RunError, match=r"^.*run: none of its 3 checkpoints is intact; start a new run$"):
        make(tmp_path / "run", rounds=30).resume()


def test_a_checkpoint_caught_between_two_renames_is_read(tmp_path: Path) -> None:
    make(tmp_path / "run", rounds=20, checkpoint_samples=80).train()
    checkpoint = newest(tmp_path / "run")
    checkpoint.rename(checkpoint.with_name(checkpoint.name + ".old"))
    again = make(tmp_path / "run", rounds=20)
    assert again.resume() and again.clock.round == 20
    again.run.lock()
    again.options = TrainOptions(rounds=21, device="cpu", shards=1, keep=1)
    again.train()
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == ["0000000336"]


def test_a_run_has_one_trainer(tmp_path: Path) -> None:
    run = make(tmp_path / "run").run
    run.lock()
    other = Run.open(tmp_path / "run")
    with pytest.raises(RunError, match="is in use by another trainer"):
        other.lock()
    run.unlock()
    other.lock()


def test_locking_sweeps_up(tmp_path: Path) -> None:
    trainer = make(tmp_path / "run", rounds=2)
    trainer.train()
    before = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*"))
    for place in ("", "checkpoints", "samples"):
        folder = tmp_path / "run" / place / ".0000000016.abc.tmp"
        folder.mkdir(parents=True)
        (folder / "game.safetensors").write_bytes(b"x" * 100)
        write_json(folder.with_name(".last.json.xyz.tmp"), {})
    trainer.run.lock()
    after = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.name not in (".lock", "samples"))
    assert after == before
