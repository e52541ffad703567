"""Files are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ganforge.core import store
from ganforge.core.errors import InputError, RunError
from ganforge.core.store import (
    Corrupt,
    Folder,
    append_line,
    check_format,
    read_json,
    read_lines,
    sweep,
    write_bytes,
    write_folder,
    write_json,
)

FILES = ("game.safetensors", "optim.safetensors", "state.json", "manifest.json")


def write_version(folder: Path, version: int) -> None:
    """A folder all of whose files say which version they are of."""
    tensors = {name: {"version": torch.full((300,), float(version))} for name in ("game", "optim")}
    write_folder(folder, tensors, {"state.json": {"version": version}})


def version_of(folder: Path) -> int:
    """The version that a folder has; all its files must agree."""
    found = Folder(folder)
    seen = {int(found.tensors(name)["version"][7]) for name in ("game", "optim")}
    seen.add(found.document("state.json")["version"])
    assert len(seen) == 1, f"a mixture of versions: {seen}"
    return seen.pop()


def left_over(folder: Path) -> list[str]:
    """Temporary names in a folder."""
    return sorted(p.name for p in folder.iterdir() if p.name.endswith((".tmp", ".old")))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    tensors = {
        "half": torch.randn(3, 4).to(torch.bfloat16),
        "strided": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "part": torch.arange(10)[::3],
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "none": torch.zeros(0),
    }
    write_folder(tmp_path / "a", {"game": tensors}, {"x.json": {"é": [1, None]}, "card.md": "# Ü\n"})
    read = Folder(tmp_path / "a")
    assert all(torch.equal(v, tensors[k]) and v.dtype == tensors[k].dtype for k, v in read.tensors("game").items())
    assert read.document("x.json") == {"é": [1, None]}
    assert read.read("card.md").decode() == "# Ü\n"
    with pytest.raises(Corrupt, match="missing"):
        read.read("other.json")


def test_tied_weights_can_be_saved(tmp_path: Path) -> None:
    shared = torch.randn(4)
    write_folder(tmp_path / "a", {"game": {"one": shared, "two": shared}}, {})
    read = Folder(tmp_path / "a").tensors("game")
    assert torch.equal(read["one"], shared) and torch.equal(read["two"], shared)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damage_is_detected(tmp_path: Path, name: str, damage: str) -> None:
    write_version(tmp_path / "a", 1)
    file = tmp_path / "a" / name
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        file.unlink()
    with pytest.raises(Corrupt, match=r"a/"):
        Folder(tmp_path / "a")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7), name=st.sampled_from(FILES))
def test_any_flipped_bit_is_detected_or_harmless(tmp_path: Path, at: int, bit: int, name: str) -> None:
    """A flipped bit is refused, except in the manifest's white space and unused keys."""
    folder = tmp_path / "flips"
    if not folder.exists():
        write_version(folder, 5)
    file = folder / name
    whole = file.read_bytes()
    content = bytearray(whole)
    content[at % len(content)] ^= 1 << bit
    try:
        file.write_bytes(content)
        try:
            assert version_of(folder) == 5
            assert name == "manifest.json"
        except (Corrupt, InputError):
            pass
    finally:
        file.write_bytes(whole)


def in_child(action: Callable[[], None]) -> int:
    """Run ``action`` in a forked process; its exit code (0: it came to its end)."""
    pid = os.fork()
    if pid == 0:
        code = 3
        with contextlib.suppress(BaseException):
            action()
            code = 0
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_dying_at_every_step_of_a_write(tmp_path: Path) -> None:
    """Whatever the last call to the system was: the old or the new version is there, and the next write works."""
    calls = ("fsync", "rename", "replace", "rmdir", "unlink", "mkdir", "chmod")
    died = 0
    for step in range(200):
        folder = tmp_path / str(step) / "a"
        write_version(folder, 1)

        def die_at_step(step: int = step, folder: Path = folder) -> None:
            count = 0
            for name in calls:
                real = getattr(os, name)

                def counted(*given: object, real: Callable = real, **named: object) -> object:
                    nonlocal count
                    if count == step:
                        os._exit(9)
                    count += 1
                    return real(*given, **named)

                setattr(os, name, counted)
            write_version(folder, 2)

        code = in_child(die_at_step)
        assert version_of(folder) == (2 if code == 0 else version_of(folder))
        write_version(folder, 3)
        assert version_of(folder) == 3
        sweep(folder.parent)
        assert left_over(folder.parent) == [] and [p.name for p in folder.parent.iterdir()] == ["a"]
        if code == 0:
            break
        assert code == 9
        died += 1
    assert died >= 10


def test_every_failing_call_leaves_the_old_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No space, at each fsync or rename in turn: one clear line, the old files, nothing temporary."""
    real = {name: getattr(os, name) for name in ("fsync", "rename", "replace")}
    failed = 0
    for step in range(50):
        folder = tmp_path / str(step) / "a"
        write_version(folder, 1)
        count = 0

        def full(name: str, step: int = step) -> Callable[..., object]:
            def call(*given: object) -> object:
                nonlocal count
                count += 1
                if count > step:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(given[0]))
                return real[name](*given)

            return call

        with monkeypatch.context() as patch:
            for name in real:
                patch.setattr(os, name, full(name))
            try:
                write_version(folder, 2)
            except RunError as error:
                assert str(error) == f"cannot write {folder}: No space left on device"
                failed += 1
            else:
                break
        assert version_of(folder) in (1, 2)
        write_version(folder, 3)
        assert version_of(folder) == 3
        sweep(folder.parent)
        assert left_over(folder.parent) == []
    assert failed >= 5


def test_file_size_limit(tmp_path: Path) -> None:
    """A write that the system itself breaks off half way (RLIMIT_FSIZE), for files, folders and lines."""
    write_version(tmp_path / "a", 1)
    write_json(tmp_path / "b.json", {"version": 1})
    append_line(tmp_path / "c.jsonl", {"version": 1})

    def write_too_much() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        for write in (
            lambda: write_folder(tmp_path / "a", {"game": {"x": torch.zeros(1000)}}, {}),
            lambda: write_json(tmp_path / "b.json", list(range(1000))),
            lambda: append_line(tmp_path / "c.jsonl", {"x": "y" * 1000}),
        ):
            with pytest.raises(RunError, match=r"cannot write .*: File too large"):
                write()

    assert in_child(write_too_much) == 0
    assert version_of(tmp_path / "a") == 1
    assert read_json(tmp_path / "b.json") == {"version": 1}
    append_line(tmp_path / "c.jsonl", {"version": 2})
    assert read_lines(tmp_path / "c.jsonl") == [{"version": 1}, {"version": 2}]
    assert left_over(tmp_path) == []


def test_unwritable_places(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "a", Path("/proc/ganforge/a")):
        with pytest.raises(RunError, match=f"^cannot write {place}: "):
            write_version(place, 1)
        with pytest.raises(RunError, match=f"^cannot write {place}: "):
            write_bytes(place, b"")


def test_reading_while_it_is_replaced(tmp_path: Path) -> None:
    """A reader sees one version or the next, never a mixture, never nothing."""
    write_version(tmp_path / "a", 0)
    done = threading.Event()
    seen: list[int] = []

    def read() -> None:
        while not done.is_set():
            seen.append(version_of(tmp_path / "a"))

    reader = threading.Thread(target=read)
    reader.start()
    for version in range(1, 60):
        write_version(tmp_path / "a", version)
    done.set()
    reader.join()
    assert len(seen) > 5 and seen == sorted(seen)


def test_lines_after_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert read_lines(path) == []
    append_line(path, {"round": 1, "name": "line\u2028separator\x85"})
    with open(path, "ab") as file:
        file.write(b'{"round": 2, "los')
    assert read_lines(path) == [{"round": 1, "name": "line\u2028separator\x85"}]
    append_line(path, {"round": 2})
    with open(path, "ab") as file:
        file.write(b"17\n\xff\xfe\n")
    append_line(path, {"round": 3})
    assert [line["round"] for line in read_lines(path)] == [1, 2, 3]


def test_newer_formats_are_refused(tmp_path: Path) -> None:
    write_version(tmp_path / "a", 1)
    manifest = read_json(tmp_path / "a" / "manifest.json")
    write_json(tmp_path / "a" / "manifest.json", {**manifest, "format": 999})
    with pytest.raises(InputError, match=r"written by a newer ganforge \(format 999\): update ganforge"):
        Folder(tmp_path / "a")
    for nonsense in ([], "x", {"format": "x"}, None):
        with pytest.raises(Corrupt, match="not what ganforge wrote"):
            check_format(nonsense, tmp_path)


def test_permissions_are_the_users(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_bytes(tmp_path / "file", b"")
        write_version(tmp_path / "a", 1)
    finally:
        os.umask(old)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o750


def test_json_is_readable_by_people(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"name": "Zoë", "n": 1})
    assert "Zoë" in (tmp_path / "x.json").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "x.json").read_bytes())["n"] == 1
    assert store.FORMAT == 1
