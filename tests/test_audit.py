"""What `data inspect` finds: damage, duplicates, imbalance, and what it advises."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from ganforge.core.errors import InputError
from ganforge.domains.audit import Audit, inspect_images
from ganforge.domains.image import ImageOptions
from image_makers import file, noise, put


def smooth(seed: int, size: tuple[int, int] = (48, 48)) -> Image.Image:
    """A picture with structure, as photos have; noise has no near duplicates."""
    return noise("RGB", (6, 6), seed).resize(size, Image.Resampling.BICUBIC)


def inspect(path: Path | str, out: Path | None = None, labels: str = "auto") -> Audit:
    audit = inspect_images(str(path), ImageOptions(labels=labels), out)  # type: ignore[arg-type]
    assert json.loads(json.dumps(audit.to_dict()))["readable"] == audit.readable
    return audit


def advice(audit: Audit) -> str:
    return "\n".join(audit.warnings)


def test_messy_folder(tmp_path: Path) -> None:
    files = {f"cat/{i}.png": file(smooth(i)) for i in range(22)}
    files |= {
        "cat/copy.bmp": file(smooth(3), "BMP"),
        "dog/also 3.png": file(smooth(3)),
        "dog/near 7.jpg": file(smooth(7).filter(ImageFilter.GaussianBlur(0.5)), "JPEG", quality=90),
        "eel/blank.png": file(Image.new("RGB", (48, 48), "red")),
        "eel/broken.png": b"no image",
        "eel/grey.png": file(noise("L", (2000, 8))),
    }
    audit = inspect(put(tmp_path / "d", files), tmp_path / "sheet.png")
    assert (audit.found, audit.readable) == (28, 27)
    assert audit.classes == {"cat": 23, "dog": 2, "eel": 2}
    assert audit.sizes == {"48x48": 26, "8x2000": 1} and audit.channels == {"3": 26, "1": 1}
    assert audit.modes == {"RGB": 26, "L": 1} and audit.bits == {"8": 27}
    assert audit.corrupt == [("eel/broken.png", "not an image that can be read")]
    assert audit.constant == ["eel/blank.png"]
    assert [set(group) for group in audit.duplicates] == [{"cat/3.png", "cat/copy.bmp", "dog/also 3.png"}]
    assert [set(group) for group in audit.near_duplicates] == [{"cat/7.png", "dog/near 7.jpg"}]
    for words in (
        "1 files cannot be read",
        "27 images are few",
        "mixed channels",
        "biggest class has 23 images and 'dog' only 2",
        "smaller than 16",
        "larger than 1024",
        "more than one class",
        "2 images are exact copies",
        "near duplicates",
        "blank",
    ):
        assert words in advice(audit), words
    text = "\n".join(audit.lines())
    assert "27 images, 1 unreadable" in text and "3 classes: cat (23)" in text and "cat/3.png = cat/copy.bmp" in text
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.height > 3 * 64 and sheet.width > 12 * 64


def test_clean_set_has_no_warnings(tmp_path: Path) -> None:
    audit = inspect(put(tmp_path, {f"{i:03d}.png": file(smooth(i, (16, 16))) for i in range(500)}), tmp_path / "s.png")
    assert audit.warnings == [] and audit.classes == {} and "no labels" in audit.lines()
    assert not audit.duplicates and not audit.near_duplicates


def test_moments(tmp_path: Path) -> None:
    put(tmp_path, {"a.png": file(Image.new("RGB", (4, 4), (255, 0, 51))), "b.png": file(Image.new("RGB", (4, 12)))})
    audit = inspect(tmp_path)  # means are over pixels: b has three times as many
    np.testing.assert_allclose(audit.mean, [0.25, 0.0, 0.05], atol=1e-6)
    np.testing.assert_allclose(audit.std, [np.sqrt(3) / 4, 0.0, np.sqrt(3) / 20], atol=1e-6)


def test_mixed_aspect_ratios(tmp_path: Path) -> None:
    files = {f"{i}.png": file(smooth(i, (64, 32) if i % 5 else (32, 64))) for i in range(20)}
    assert "4 images have another aspect ratio" in advice(inspect(put(tmp_path, files)))


def test_bad_labels_are_a_warning_here(tmp_path: Path) -> None:
    files = {"0.png": file(smooth(0)), "1.png": file(smooth(1)), "metadata.csv": "file_name,label\n0.png,a\n7.png,b\n"}
    audit = inspect(put(tmp_path, files))
    assert "labels cannot be used" in audit.warnings[0] and "row 3" in audit.warnings[0]
    assert audit.classes == {} and audit.readable == 2


def test_sixteen_bits_and_arrays(tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (6, 20, 30), dtype=np.uint16)
    np.savez(tmp_path / "a.npz", images=deep, labels=np.arange(6) % 2)
    audit = inspect(tmp_path / "a.npz", tmp_path / "sheet.png")
    assert audit.bits == {"16": 6} and audit.sizes == {"20x30": 6} and audit.classes == {"0": 3, "1": 3}
    assert abs(audit.mean[0] - deep.mean() / 65535) < 1e-6
    np.savez(tmp_path / "b.npz", images=np.zeros((3, 32, 32, 5), np.uint8))
    assert len(inspect(tmp_path / "b.npz", tmp_path / "sheet.png").constant) == 3


def test_one_image_is_audited_but_none_is_refused(tmp_path: Path) -> None:
    assert inspect(put(tmp_path / "one", {"a.png": file(smooth(0))})).readable == 1
    with pytest.raises(InputError, match="none of 1 images"):
        inspect(put(tmp_path / "bad", {"a.png": b"x"}))
    with pytest.raises(InputError, match="no images"):
        inspect(put(tmp_path / "none", {"a.txt": b"x"}))


def test_digits(tmp_path: Path) -> None:
    audit = inspect("digits", tmp_path / "sheet.png")
    assert audit.readable == 1797 and len(audit.classes) == 10 and not audit.duplicates
    assert Image.open(tmp_path / "sheet.png").height == 2 + 10 * 66
    assert inspect("digits", labels="none").classes == {}


def test_class_names_of_any_script(tmp_path: Path) -> None:
    names = ("日本", "a very long class name indeed")
    inspect(put(tmp_path / "d", {f"{n}/{i}.png": file(smooth(i)) for n in names for i in range(2)}), tmp_path / "s.png")
    assert (tmp_path / "s.png").exists()
