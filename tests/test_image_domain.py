"""The image domain: exact encoding, what it saves and draws, and the cache of decoded images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from conftest import real_data
from ganforge.core.errors import InputError
from ganforge.domains import domain_from_dict, image, image_packing, open_data, packed
from ganforge.domains.image import ImageDomain, ImageOptions
from ganforge.domains.image_pictures import columns_for, grid
from image_makers import RNG, file, noise, pack_zip, pixels, put, read, some

# ---- encoding


@pytest.mark.parametrize("bits", [8, 16])
def test_every_level_survives(bits: int) -> None:
    levels = torch.arange(2**bits, dtype=torch.float32).reshape(1, 1, 2 ** (bits // 2), -1)
    domain = ImageDomain(shape=tuple(levels.shape[1:]), bits=bits)
    encoded = domain.encode({"data": levels if bits == 16 else levels.to(torch.uint8)})["data"]
    assert encoded.dtype == torch.float32 and encoded.min() == -1 and encoded.max() == 1
    decoded = domain.decode({"data": encoded})
    assert decoded.dtype == (np.uint8 if bits == 8 else np.uint16)
    np.testing.assert_array_equal(decoded[0, ..., 0], levels[0, 0].numpy())


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.uint16]),
        hnp.array_shapes(min_dims=4, max_dims=4, max_side=6),
    )
)
def test_round_trip(planes: np.ndarray) -> None:
    about = packed.About("", planes.shape, str(planes.dtype), (), (), (), "", "")
    source = packed.PackedSource(planes, None, about)
    domain = ImageDomain(shape=planes.shape[1:], bits=source.bits)
    raw = source.take(torch.arange(len(planes)))
    np.testing.assert_array_equal(domain.decode(domain.encode(raw)), planes.transpose(0, 2, 3, 1))


def test_decode_clamps_what_networks_make() -> None:
    wild = torch.tensor([-9.0, -1.0, 0.999, 9.0, torch.inf, -torch.inf, torch.nan]).reshape(1, 1, 1, 7)
    decoded = ImageDomain(shape=(1, 1, 7)).decode({"data": wild.requires_grad_()})
    assert decoded.ravel().tolist() == [0, 0, 255, 255, 255, 0, 128]


def test_mirror_flips_half_of_the_images() -> None:
    data = torch.arange(6.0).reshape(1, 1, 2, 3).repeat(400, 1, 1, 1)
    batch = {"data": data, "label": torch.zeros(400)}
    assert ImageDomain(shape=(1, 2, 3)).augment(batch)["data"] is data
    torch.manual_seed(0)
    mirrored = ImageDomain(shape=(1, 2, 3), mirror=True).augment(batch)
    flipped = (mirrored["data"] == data.flip(-1)).flatten(1).all(1)
    assert 150 < flipped.sum() < 250 and "label" in mirrored
    assert (mirrored["data"][~flipped] == data[0]).all()


def test_description_survives_json() -> None:
    domain = ImageDomain(shape=(3, 4, 5), classes=("a", "b"), counts=(1, 2), bits=16, mirror=True)
    assert domain_from_dict(json.loads(json.dumps(domain.to_dict()))) == domain
    with pytest.raises(InputError):
        ImageDomain(shape=(3, 4))  # type: ignore[arg-type]


def test_options_are_validated() -> None:
    check = TypeAdapter(ImageOptions).validate_python
    assert check(asdict(ImageOptions())) == ImageOptions()
    assert check({"resolution": "48x64"}).resolution == "48x64"
    bad: list[dict[str, Any]] = [
        {"resolution": "big"},
        {"resolution": 0},
        {"channels": 2},
        {"workers": 0},
        {"labels": "x"},
    ]
    for options in bad:
        with pytest.raises(ValidationError):
            check(options)


# ---- saving and showing


def samples(n: int, h: int, w: int, c: int, dtype: Any = np.uint8) -> np.ndarray:
    return RNG.integers(0, np.iinfo(dtype).max + 1, (n, h, w, c)).astype(dtype)


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (3, np.uint8), (4, np.uint8), (1, np.uint16)])
def test_saved_folder_can_be_read_back(tmp_path: Path, channels: int, dtype: Any) -> None:
    made = samples(4, 6, 9, channels, dtype)
    domain = ImageDomain(shape=(channels, 6, 9), bits=8 * made.dtype.itemsize)
    paths = domain.save(made, tmp_path / "new" / "out")
    assert [p.name for p in paths] == ["00000.png", "00001.png", "00002.png", "00003.png"]
    assert sorted(os.listdir(tmp_path / "new" / "out")) == [p.name for p in paths]
    np.testing.assert_array_equal(pixels(read(tmp_path / "new" / "out")), made.transpose(0, 3, 1, 2))


def test_save_other_files(tmp_path: Path) -> None:
    domain, made = ImageDomain(shape=(3, 6, 9)), samples(4, 6, 9, 3)
    assert domain.save({"images": made, "labels": [0, 1, 0, 1]}, tmp_path / "a.npz") == [tmp_path / "a.npz"]
    back = read(tmp_path / "a.npz")
    np.testing.assert_array_equal(pixels(back), made.transpose(0, 3, 1, 2))
    assert back.classes == ("0", "1")
    domain.save(made, tmp_path / "grid.png")
    assert Image.open(tmp_path / "grid.png").width > 18
    domain.save(made[:1], tmp_path / "one.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "one.png")), made[0])


def test_what_png_cannot_hold(tmp_path: Path) -> None:
    odd = samples(2, 4, 4, 5)
    with pytest.raises(InputError, match=r"5-channel.*\.npz"):
        ImageDomain(shape=(5, 4, 4)).save(odd, tmp_path / "out")
    with pytest.raises(InputError, match=r"3-channel images of uint16.*\.npz"):
        ImageDomain(shape=(3, 4, 4), bits=16).save(samples(2, 4, 4, 3, np.uint16), tmp_path / "out")
    ImageDomain(shape=(5, 4, 4)).save(odd, tmp_path / "out.npz")
    with pytest.raises(InputError, match="cannot save as"):
        ImageDomain(shape=(3, 4, 4)).save(samples(2, 4, 4, 3), tmp_path / "out.jpg")
    with pytest.raises(InputError, match="a file is in the way"):
        ImageDomain(shape=(3, 4, 4)).save(samples(2, 4, 4, 3), tmp_path / "out.npz" / "folder")
    with pytest.raises(InputError, match="samples are uint8"):
        ImageDomain(shape=(3, 4, 4)).save(np.zeros((2, 4, 4, 3)), tmp_path / "out")


@pytest.mark.parametrize(
    "shape", [(1, 8, 8, 1), (7, 8, 8, 3), (64, 16, 64, 3), (10, 64, 16, 4), (5, 9, 9, 5), (3, 9, 9, 2)]
)
def test_show(tmp_path: Path, shape: tuple[int, int, int, int]) -> None:
    n, h, w, c = shape
    domain = ImageDomain(shape=(c, h, w))
    domain.show(samples(*shape), tmp_path / "a.png")
    picture = Image.open(tmp_path / "a.png")
    assert picture.mode == "RGB" and (n < 4 or 0.4 < picture.width / picture.height < 2.5)
    columns = columns_for(n, h, w)
    assert picture.width / columns >= 32 or w * 2 > h
    domain.show(samples(*shape), tmp_path / "b.png", real=samples(*shape))
    assert Image.open(tmp_path / "b.png").width > 2 * picture.width


def test_grid_keeps_the_pixels_and_stays_drawable() -> None:
    made = samples(6, 8, 8, 3)
    drawn = np.asarray(grid(made))
    np.testing.assert_array_equal(drawn[2:66:8, 2:66:8], made[0])
    assert max(grid(np.zeros((100, 900, 900, 1), np.uint8)).size) < 9000
    assert [columns_for(n, 8, 8) for n in (1, 2, 5, 16, 64, 100)] == [1, 1, 2, 4, 8, 10]


# ---- the cache


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each image that is decoded."""
    count: list[int] = []
    real = image_packing.decode
    monkeypatch.setattr(image_packing, "decode", lambda *args: (count.append(1), real(*args))[1])
    return count


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


def test_second_open_decodes_nothing(tmp_path: Path, cache: Path, decoded: list[int]) -> None:
    folder = put(tmp_path / "d", {**some(3, prefix="a/"), **some(2, prefix="b/"), "b/bad.png": "x"})
    heard: list[tuple[int, int]] = []
    domain, first = image.open(str(folder), ImageOptions(), lambda done, n: heard.append((done, n)))
    assert len(decoded) == 6 and heard[-1] == (6, 6) and not first.cached
    again_domain, again = image.open(str(folder), ImageOptions(mirror=True, workers=1))
    assert len(decoded) == 6 and again.cached and again_domain.mirror
    assert (
        again.fingerprint == first.fingerprint and again.skipped == first.skipped and again.messages == first.messages
    )
    assert (domain.classes, domain.counts) == (again_domain.classes, again_domain.counts) == (("a", "b"), (3, 2))
    np.testing.assert_array_equal(pixels(again), pixels(first))
    assert again.take(torch.tensor([4, 0]))["label"].tolist() == [1, 0]


def test_changes_are_seen(tmp_path: Path, cache: Path, decoded: list[int]) -> None:
    folder = put(tmp_path / "d", some(3))
    first = read(folder)
    read(folder, resolution=8)
    assert len(decoded) == 6
    put(folder, {"0.png": file(noise("L"))})
    os.utime(folder / "0.png", ns=(1, 1))
    changed = read(folder)
    assert not changed.cached and changed.fingerprint != first.fingerprint
    put(folder, {"metadata.csv": "file_name,label\n0.png,a\n1.png,b\n2.png,b\n"})
    labelled = read(folder)
    assert labelled.counts == (1, 2) and labelled.fingerprint != changed.fingerprint


def test_fingerprint_is_of_the_content(tmp_path: Path, cache: Path) -> None:
    pictures = [noise("RGB") for _ in range(3)]
    png = put(tmp_path / "a", {f"{i}.png": file(p) for i, p in enumerate(pictures)})
    bmp = pack_zip(tmp_path / "b.zip", {f"x/{i}.bmp": file(p, "BMP") for i, p in enumerate(pictures)})
    np.savez(tmp_path / "c.npz", images=np.stack([np.asarray(p) for p in pictures]))
    prints = {read(p).fingerprint for p in (png, bmp, tmp_path / "c.npz")}
    assert len(prints) == 1
    turned = put(tmp_path / "d", {f"{2 - i}.png": file(p) for i, p in enumerate(pictures)})
    assert read(turned).fingerprint not in prints  # the order counts


@pytest.mark.parametrize("harm", ["flip", "cut", "json", "format", "labels", "gone"])
def test_damaged_cache_is_built_anew(tmp_path: Path, cache: Path, decoded: list[int], harm: str) -> None:
    folder = put(tmp_path / "d", {**some(2, prefix="a/"), **some(2, prefix="b/")})
    first = read(folder)
    (entry,) = (p for p in cache.iterdir() if p.is_dir())
    name = {"json": "about.json", "format": "about.json", "labels": "labels.npy"}.get(harm, "data.npy")
    content = bytearray((entry / name).read_bytes())
    if harm in ("flip", "labels"):
        content[-1] ^= 1
    elif harm == "format":
        content = bytearray(content.replace(b'"format": 1', b'"format": 9'))
    else:
        content = content[: len(content) // 2]
    (entry / name).write_bytes(content)
    if harm == "gone":
        (entry / name).unlink()
    again = read(folder)
    assert not again.cached and len(decoded) == 8 and again.fingerprint == first.fingerprint
    assert read(folder).cached and len(decoded) == 8
    assert not list(cache.glob("*.tmp")) and not (entry / "replaced").exists()


@pytest.mark.filterwarnings("error")
def test_memory_mapped_above_the_limit(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = np.arange(5 * 16, dtype=np.uint16).reshape(5, 4, 4) * 800
    folder = put(tmp_path / "d", {f"{i}.png": file(Image.fromarray(v)) for i, v in enumerate(levels)})
    monkeypatch.setattr(packed, "IN_MEMORY", 1)
    first, mapped = read(folder), read(folder)
    assert mapped.cached and mapped.fingerprint == first.fingerprint
    np.testing.assert_array_equal(pixels(mapped)[:, 0], levels)
    (entry,) = (p for p in cache.iterdir() if p.is_dir())
    del first, mapped
    content = bytearray((entry / "data.npy").read_bytes())
    content[-1] ^= 1
    (entry / "data.npy").write_bytes(content)
    assert not read(folder).cached


@pytest.mark.parametrize("why", ["a file", "full", "fails"])
def test_without_a_cache_images_stay_in_memory(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    if why == "a file":
        put(tmp_path, {"cache": "in the way"})
    elif why == "full":
        monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    else:

        def fail(*_: Any, **__: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(np, "save", fail)
    source = read(put(tmp_path / "d", {**some(2, prefix="a/"), **some(2, prefix="b/")}))
    assert len(source) == 4 and source.counts == (2, 2) and "GANFORGE_CACHE" in source.messages[-1]
    if why != "a file":
        assert not [p for p in cache.iterdir() if p.is_dir()]


def test_no_room_anywhere(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, {"cache": "in the way"})
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 10})())
    with pytest.raises(InputError, match="smaller resolution"):
        read(put(tmp_path / "d", some(3)))


def test_two_processes_build_at_once(tmp_path: Path, cache: Path) -> None:
    folder = put(tmp_path / "d", {f"{i}.png": file(noise("RGB", (64, 64))) for i in range(200)})
    code = (
        "import sys; from ganforge.domains import image; "
        "print(image.open(sys.argv[1], image.ImageOptions())[1].fingerprint)"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE) for _ in range(2)]
    prints = {run.communicate(timeout=120)[0] for run in runs}
    assert all(run.returncode == 0 for run in runs) and len(prints) == 1
    source = read(folder)
    assert source.cached and source.fingerprint == prints.pop().decode().strip()
    assert len([p for p in cache.iterdir() if p.is_dir()]) == 1


def test_leftovers_of_a_killed_build_are_removed(tmp_path: Path, cache: Path) -> None:
    folder = put(tmp_path / "d", some(3))
    read(folder)
    (entry,) = (p for p in cache.iterdir() if p.is_dir())
    (entry / "data.npy").unlink()
    left = cache / f"{entry.name}.abc.tmp"
    put(left, {"data.npy": "half"})
    read(folder)
    assert not left.exists()


# ---- whole data sets


def test_digits() -> None:
    domain, source = open_data("digits")
    assert isinstance(domain, ImageDomain) and len(source) == 1797
    assert domain.shape == (1, 8, 8) and len(domain.classes) == 10 and sum(domain.counts) == 1797
    batch = source.take(torch.tensor([3, 3, 0]))
    assert batch["data"].dtype == torch.uint8 and batch["label"].dtype == torch.int64
    assert read("digits", labels="none", resolution="16x12").shape == (1, 16, 12)
    assert read("digits", labels="none").classes == ()


def test_mnist(cache: Path) -> None:
    path = real_data("mnist-test.zip")
    domain, first = image.open(str(path), ImageOptions())
    assert len(first) == 10_000 and domain.shape == (1, 28, 28)
    assert domain.counts == (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
    started = time.process_time()  # whatever else the machine does
    source = read(path)
    assert time.process_time() - started < 1.0 and source.cached
    rows = torch.randint(0, 10_000, (64,))
    started = time.process_time()
    for _ in range(100):
        source.take(rows)
    assert (time.process_time() - started) / 100 < 0.001
    assert abs(float(pixels(source).mean()) / 255 - 0.1325) < 1e-4  # the known mean of MNIST's test set
