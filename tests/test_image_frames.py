"""Files with several frames: where one image is wanted, the first is taken, and that is said."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import torch
from PIL import features

from ganforge.core.game import Clock
from ganforge.core.watch import Event
from ganforge.domains.image_frames import frames
from ganforge.domains.streamed_samples import OfStreams
from ganforge.live import Damaged
from image_makers import file, noise, put, read, some
from shard_makers import stream, tar


def animation(kind: str, count: int, **how: Any) -> bytes:
    """A file of ``count`` frames."""
    first, *others = (noise("RGB", (8, 8), seed) for seed in range(count))
    content = io.BytesIO()
    first.save(content, kind, save_all=True, append_images=others, **how)
    return content.getvalue()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP", "AVIF"])
def test_frames_are_counted(kind: str) -> None:
    if kind in ("WEBP", "AVIF") and not features.check(kind.lower()):
        pytest.skip(f"this Pillow has no {kind}")
    assert frames(animation(kind, 3)) == 3
    assert frames(file(noise("RGB", (8, 8), 0), kind)) == 1
    assert frames(animation(kind, 3)[:40]) == 1  # damaged: decoding says so


def test_other_files_have_one() -> None:
    assert frames(file(noise("RGB", (8, 8), 0), "JPEG")) == frames(animation("MPO", 2)) == frames(b"") == 1


def test_training_data_say_that_only_the_first_frame_is_read(tmp_path: Path) -> None:
    place = put(tmp_path / "x", {**some(3, "RGB"), "a.gif": animation("GIF", 4)})
    assert "a.gif has 4 frames: only the first is read" in read(place).messages
    put(place, {"b.tif": animation("TIFF", 2)})
    said = [text for text in read(place).messages if "frames" in text]
    assert said == ["2 files have several frames (a.gif has 4): only the first of each is read"]
    assert not any("frames" in text for text in read(put(tmp_path / "y", some(3, "RGB"))).messages)


def shards(folder: Path, at: int, kind: str, count: int = 200) -> str:
    """A shard of images, of which two are animated."""
    several = {at: animation("GIF", 4), at + 1: animation("TIFF", 2)}
    files = [several.get(i) or file(noise("RGB", (8, 8), seed=i)) for i in range(count)]
    folder.mkdir()
    if kind == "tar":
        ends = {at: "gif", at + 1: "tif"}
        tar(folder / "t.tar", [(f"{i:03d}.{ends.get(i, 'png')}", content) for i, content in enumerate(files)])
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.table({"image": files}), folder / "t.parquet", row_group_size=20)
    return f"{folder}/*.{kind}"


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_streamed_data_say_so_once_at_the_first_such_file(tmp_path: Path, kind: str, monkeypatch: Any) -> None:
    named = {"tar": "t.tar: 057.gif", "parquet": "t.parquet, row 57"}[kind]
    source = stream(shards(tmp_path / "s", 57, kind))
    assert not any("frames" in text for text in source.messages), "it is none of those that are looked at"
    watcher = Damaged(source.damage)
    tick = Event("tick", Clock(), 0.0)
    assert watcher.see(tick) is None
    reads: list[int] = []
    read = type(source.index).read
    monkeypatch.setattr(type(source.index), "read", lambda self, row: reads.append(row) or read(self, row))
    source.take(torch.arange(100))
    assert sorted(reads) in (list(range(100)), []), "nothing is read but what is asked for (or blocks of it)"
    verdict = watcher.see(tick)
    assert verdict is not None and verdict.action == "warn" and verdict.reason == f"{named} has 4 frames"
    assert verdict.evidence == "only the first is read, of all such files"
    source.take(torch.arange(200))
    assert watcher.see(tick) is None, "once"
    source = stream(shards(tmp_path / "early", 0, kind))
    first = {"tar": "t.tar: 000.gif", "parquet": "t.parquet, row 0"}[kind]
    assert f"{first} has 4 frames: only the first is read, of all such files" in source.messages
    assert len([text for text in source.messages if "frames" in text]) == 1
    source.take(torch.arange(200))
    assert Damaged(source.damage).see(tick) is None, "it was said before"


def test_two_sets_of_shards_tell_of_each(tmp_path: Path) -> None:
    a, b = (stream(shards(tmp_path / side, 57, "tar")) for side in "ab")
    both = OfStreams(a, b)
    b.take(torch.arange(100))
    watcher, tick = Damaged(both.damage), Event("tick", Clock(), 0.0)
    assert watcher.see(tick) is not None and watcher.see(tick) is None
