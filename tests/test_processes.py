"""Training by several processes, from the command line."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from command import QUIETLY, TINY, differences, finish, ganforge, start_process, until
from ganforge.app import cli, launch
from ganforge.core.store import read_json
from ganforge.engine.run import Run


def test_two_processes_equal_two_shards(tmp_path: Path) -> None:
    """--gpus 2, and then a torchrun of the user's own, give the weights of one process with two shards."""
    options = (*TINY, *QUIETLY)
    two = start_process("train", *options, "--rounds", 4, "--gpus", 2, "--run", tmp_path / "two")
    one = ganforge("train", *options, "--rounds", 8, "--set", "train.shards=2", "--run", tmp_path / "one", draw=False)
    said = finish(two)
    assert one.code == said.code == 0 and said.err.count("done: 4 rounds") == 1, said.err
    assert read_json(tmp_path / "two" / "run.json")["world"]["processes"] == 2
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--"]
    resumed = start_process("resume", tmp_path / "two", "--rounds", 8, command=[*torchrun, "ganforge.app.cli"])
    said = finish(resumed)
    assert said.code == 0 and said.err.count("done: 8 rounds") == 1, said.err
    assert differences(tmp_path / "one", tmp_path / "two") == []


def test_errors_of_several_processes_are_told_once(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    said = finish(start_process("train", *TINY, "--gpus", 2, "--run", tmp_path))
    assert said.code == 2 and said.error.startswith(f"error: {tmp_path} exists already")


@pytest.mark.parametrize(
    ("error", "said"),
    [  # as gloo and NCCL have it
        ("[unbound_buffer.cc:129] Timed out waiting 3000ms for send operation to complete", "train.timeout_minutes"),
        ("[pair.cc:553] Connection closed by peer [127.0.0.1]:6566. This is typically caused by", ""),
        (
            "[Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=7, OpType=ALLREDUCE, NumelIn=1, "
            "NumelOut=1, Timeout(ms)=7200000) ran for 7200021 milliseconds before timing out.",
            "train.timeout_minutes",
        ),
        ("NCCL communicator was aborted on rank 1. Original reason for failure was: NCCL error: remote process", ""),
    ],
)
def test_a_process_without_another_says_so_in_one_line(
    error: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All others say that they waited in vain; that one has failed is told by that one."""
    monkeypatch.setattr(cli, "app", mock.Mock(side_effect=RuntimeError(error)))
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == bool(said)
    monkeypatch.delenv("RANK")
    with pytest.raises(RuntimeError):
        cli.main()


def test_a_process_that_is_aborted_says_where_to_look(capfd: pytest.CaptureFixture[str]) -> None:
    """NCCL's watcher ends a process that waits too long by SIGABRT: no exception, no line of ours."""
    for said, end in (("train.timeout_minutes", "os.abort()"), ("", "os._exit(3)")):
        ends = [subprocess.Popen([sys.executable, "-c", f"import os; {each}"]) for each in ("", end)]
        assert launch.wait(ends) == (128 + signal.SIGABRT if said else 3)
        told = capfd.readouterr().err
        assert said in told and told.count("\n") == bool(said)


def test_a_signal_reaches_all_processes_once(tmp_path: Path) -> None:
    """SIGTERM, to the process that the user started."""
    run = tmp_path / "run"
    process = start_process("train", *TINY, *QUIETLY, "--set", "train.tick_samples=16", "--gpus", 2, "--run", run)
    until((run / "log.jsonl").exists, process)
    process.send_signal(signal.SIGTERM)
    said = finish(process)
    assert said.code == 130 and said.err.count("interrupted, and saved") == 1, said.err
    reached = Run.open(run).read_checkpoint(print)
    assert reached is not None and reached[1]["round"] == read_json(run / "last.json")["round"] > 0
