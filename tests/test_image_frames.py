"""Files with several frames: where one image is wanted, the first is taken, and that is said."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import features

from ganforge.domains.image_frames import frames
from image_makers import file, noise, put, read, some


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
