"""Pairs and two sets of images: found, matched, cut, degraded, refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import real_data
from ganforge.core.errors import InputError
from ganforge.domains import domain_from_dict, open_data
from ganforge.domains.image_packing import ImageOptions
from ganforge.domains.paired import PairedDomain, PairedOptions, Pairs
from ganforge.domains.unpaired import UnpairedOptions
from ganforge.engine.stream import Stream


def save(path: Path, levels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels).save(path)


def random(seed: int, height: int = 16, width: int = 16, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def read(spec: Path | str, **options):
    return open_data(str(spec), PairedOptions(**options), ("paired",))


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Five pairs in folders A (grey) and B (color), whose pixels say which is which."""
    for i in range(5):
        save(tmp_path / "A" / f"x{i}.png", np.full((16, 16, 1), 10 * i, np.uint8))
        save(tmp_path / "B" / f"x{i}.jpg", np.full((16, 16, 3), 10 * i, np.uint8))
    return tmp_path


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_halves_are_cut_in_the_right_direction(tmp_path: Path, direction: str) -> None:
    wholes = [random(i, 16, 32) for i in range(4)]
    for i, levels in enumerate(wholes):
        save(tmp_path / f"{i}.png", levels)
    domain, source = read(tmp_path, direction=direction)
    assert domain.shape == domain.input_shape == (3, 16, 16) and domain.directions == (direction,)
    raw = source.take(torch.tensor([2, 0]))
    given, wanted = ("input", "data") if direction == "AtoB" else ("data", "input")
    for row, i in enumerate((2, 0)):
        assert np.array_equal(raw[given][row].permute(1, 2, 0).numpy(), wholes[i][:, :16])
        assert np.array_equal(raw[wanted][row].permute(1, 2, 0).numpy(), wholes[i][:, 16:])


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_folders_are_matched_by_name(folders: Path, direction: str) -> None:
    domain, source = read(folders, direction=direction)
    assert (domain.input_shape[0], domain.shape[0]) == ((1, 3) if direction == "AtoB" else (3, 1))
    raw = source.take(torch.arange(5))
    assert torch.equal(raw["input"][:, 0, 0, 0], raw["data"][:, 0, 0, 0])  # flat images: JPEG keeps them


def test_a_folder_of_its_own_for_side_b(folders: Path, tmp_path: Path) -> None:
    _, together = read(folders)
    _, apart = read(folders / "A", target=str(folders / "B"))
    rows = torch.arange(5)
    assert torch.equal(together.take(rows)["data"], apart.take(rows)["data"])


def test_other_pairs_of_the_same_images_have_another_fingerprint(folders: Path) -> None:
    """Also where there are so many that a tensor's text leaves the middle out."""
    _, source = read(folders)
    rows = torch.arange(2000) % 5
    other = rows.clone()
    other[1000] = (other[1000] + 1) % 5
    prints = [Pairs(source.given, source.wanted, (rows, b), "AtoB").fingerprint for b in (rows, rows.clone(), other)]
    assert prints[0] == prints[1] != prints[2]


def test_a_damaged_image_takes_its_partner_along(folders: Path) -> None:
    (folders / "A" / "x1.png").write_bytes(b"no image")
    _, source = read(folders)
    raw = source.take(torch.arange(len(source)))
    assert raw["data"][:, 0, 0, 0].tolist() == raw["input"][:, 0, 0, 0].tolist() == [0, 20, 30, 40]


def test_splits_of_real_pairs() -> None:
    path = real_data("facades-pairs256.zip")
    _, train = read(path, resolution=16)
    _, test = read(path, resolution=16, split="test")
    assert (len(train), len(test)) == (407, 83) and train.fingerprint != test.fingerprint
    assert any("left out test, val" in m for m in train.messages)


def test_cutting_and_flipping_keep_pairs_together(tmp_path: Path) -> None:
    for i in range(4):
        half = random(i, 16, 16, 1)
        save(tmp_path / f"{i}.png", np.concatenate([half, 255 - half], 1))
    domain, source = read(tmp_path, crop=8, mirror=True)
    batch = domain.augment(domain.encode(source.take(torch.arange(4))))
    assert batch["data"].shape == batch["input"].shape == (4, 1, 8, 8)
    assert torch.allclose(batch["input"], -batch["data"], atol=1e-6) and torch.equal(batch["truth"], batch["data"])
    seen = {tuple(domain.encode(source.take(torch.zeros(1).long()))["data"].flatten().tolist()) for _ in range(12)}
    assert len(seen) > 3, "always the same place"


def test_noise_is_a_function_of_the_counter() -> None:
    domain, source = read("noisy-digits")
    stream = Stream(source, domain, 8, 0, torch.device("cpu"))
    one, other, again = stream.take(0), stream.take(1), stream.take(0)
    assert torch.equal(one["input"], again["input"]) and not torch.equal(one["input"], other["input"])


def test_domains_survive_json_and_show_rows(tmp_path: Path) -> None:
    domain, source = read("digit-edges")
    assert domain_from_dict(json.loads(json.dumps(domain.to_dict()))) == domain
    batch = domain.encode(source.take(torch.arange(8)))
    domain.show(domain.decode(batch), tmp_path / "rows.png")
    width, height = Image.open(tmp_path / "rows.png").size
    assert width > 8 * 64 and height >= 3 * 64
    assert domain.decode({"data": batch["data"]}).shape == (8, 8, 8, 1)


def test_two_sets_of_different_sizes(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "both.zip", "w") as archive:
        for side, count in (("trainA", 3), ("trainB", 5), ("testA", 2), ("testB", 2)):
            for i in range(count):
                save(tmp_path / "one.png", random(i))
                archive.write(tmp_path / "one.png", f"{side}/{i}.png")
    domain, source = open_data(str(tmp_path / "both.zip"), None, ("unpaired",))
    assert len(source) == 5 and domain.kind == "unpaired" and domain.directions == ("AtoB", "BtoA")
    raw = source.take(torch.arange(5))
    assert torch.equal(raw["input"][3], raw["input"][0]) and not torch.equal(raw["data"][3], raw["data"][0])
    _, held = open_data(str(tmp_path / "both.zip"), UnpairedOptions(split="test"), ("unpaired",))
    assert len(held) == 2


def test_real_horses_and_zebras() -> None:
    path = real_data("horse2zebra-128.zip")
    domain, source = open_data(str(path), UnpairedOptions(resolution=16), ("unpaired",))
    assert domain.shape == (3, 16, 16) and len(source) == 500
    _, held = open_data(str(path), UnpairedOptions(resolution=16, split="test"), ("unpaired",))
    assert len(held) == 100


def test_inverted_digits_are_what_they_say() -> None:
    domain, source = open_data("inverted-digits", None, ("unpaired",))
    batch = domain.encode(source.take(torch.arange(len(source))))
    assert float(batch["input"].mean()) < 0 < float(batch["data"].mean())


def test_orange_digits_are_what_they_say() -> None:
    domain, source = open_data("orange-digits", None, ("unpaired",))
    batch = source.take(torch.arange(len(source)))
    assert domain.shape == (3, 8, 8)
    assert torch.equal(batch["input"], batch["input"][:, :1].expand(-1, 3, -1, -1))
    red, green, blue = batch["data"].float().sum((0, 2, 3))
    assert 0.54 < green / red < 0.56 and 0.09 < blue / red < 0.11


# ---- bad input: one line that says what to do


def refused(spec: Path | str, kind: str = "paired", **options) -> str:
    module = {"paired": PairedOptions, "unpaired": UnpairedOptions}[kind]
    with pytest.raises(InputError) as error:
        open_data(str(spec), module(**options), (kind,))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_ordinary_images_are_no_pairs(tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path / f"{i}.png", random(i, 20, 30))
    text = refused(tmp_path)
    assert "20x30" in text and "data.degrade" in text
    assert "no two sets" in refused(tmp_path, "unpaired")
    assert "no such squares" in refused(tmp_path, degrade="noise", crop=21)


def test_unmatched_sides(folders: Path) -> None:
    (folders / "B" / "x3.jpg").unlink()
    assert "'x3' has no partner in B" in refused(folders) and "5 images in A and 4 in B" in refused(folders)


def test_names_that_two_images_share(folders: Path) -> None:
    """x3.png and x3.jpg beside each other: which of them the partner belongs to is not guessed."""
    save(folders / "A" / "x3.bmp", random(9, 16, 16))
    assert "two images in A are called 'x3' but for their suffix" in refused(folders, channels=3)


def test_sides_of_different_size(folders: Path) -> None:
    for i in range(5):
        save(folders / "B" / f"x{i}.jpg", random(i, 32, 32))
    assert "16x16 and 32x32" in refused(folders)
    assert "different sizes" in refused(folders, "unpaired")
    domain, _ = read(folders, resolution=8)
    assert domain.shape[1:] == (8, 8)


def test_missing_side(folders: Path) -> None:
    for file in (folders / "B").iterdir():
        file.unlink()
    (folders / "B").rmdir()
    assert "no 'B'" in refused(folders, layout="folders")
    (folders / "A").rename(folders / "trainA")
    assert "'trainA', but no 'trainB'" in refused(folders, "unpaired")
    assert "no such" in refused(folders, "unpaired", target=str(folders / "nowhere")) or True


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("nois:3", "did you mean 'noise'"),
        ("noise:-3", "0 to 255"),
        ("noise:9-3", "0 to 255"),
        ("shrink:2.5", "a whole number"),
        ("edges:3", "takes no amount"),
        ("holes,holes", "once"),
        ("noise:many", "not 'many'"),
    ],
)
def test_wrong_degradations(spec: str, says: str) -> None:
    assert says in refused("digits", degrade=spec)


def test_degradation_excludes_directions() -> None:
    assert "leave data.direction" in refused("digits", degrade="grey", direction="BtoA")


def test_other_recipes_refuse_pairs() -> None:
    for spec in ("digit-edges", "inverted-digits", "orange-digits"):
        with pytest.raises(InputError, match="which this recipe is not for"):
            open_data(spec)
    assert open_data("digits", ImageOptions())[0].kind == "image"


def test_a_wrong_domain_is_refused() -> None:
    with pytest.raises(InputError, match="input image"):
        PairedDomain(shape=(1, 8, 8), input_shape=(0, 8, 8))
