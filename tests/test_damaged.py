"""Data that are damaged, incomplete, hostile or in an unusual place: one clear line, or what was meant."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load, save

from command import ganforge
from ganforge.core.device import pick_device
from ganforge.core.errors import InputError
from ganforge.domains import open_data
from ganforge.domains.attribute import AttributeOptions
from ganforge.domains.captions import CaptionOptions
from ganforge.domains.captions import open_like as like_captions
from ganforge.domains.image_pictures import grid, save_picture
from ganforge.domains.molecules import MoleculeDomain, MoleculeOptions
from ganforge.domains.streamed_index import Contents
from ganforge.domains.streamed_source import BLOCK
from ganforge.domains.streamed_write import write_shards
from image_makers import file, noise, pack_zip, put, read, some
from shard_makers import samples, stream, tar

WORDS = ("a red cat", "a blue dog", "two green birds")


def table(name: str, rows: list[tuple[str, str]], *head: str) -> dict[str, bytes | str]:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    return {name: text.getvalue()}


def captioned(prefix: str = "", name: str = "captions.csv", column: str = "caption") -> dict[str, bytes | str]:
    """Three images and their captions."""
    rows = [(f"{i}.png", words) for i, words in enumerate(WORDS)]
    return {**some(3, "RGB", prefix), **table(prefix + name, rows, "file_name", column)}


def spoil(path: Path, member: str) -> Path:
    """Change the compressed content of a member of an archive."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(member)
    content = bytearray(path.read_bytes())
    names = int.from_bytes(content[info.header_offset + 26 : info.header_offset + 28], "little")
    extra = int.from_bytes(content[info.header_offset + 28 : info.header_offset + 30], "little")
    start = info.header_offset + 30 + names + extra + 4
    for i in range(start, start + 10):
        content[i] ^= 0xFF
    path.write_bytes(content)
    return path


# ---- archives


@pytest.mark.parametrize("member", ["captions.csv", "metadata.csv"])
def test_a_damaged_table_in_a_zip_is_one_line(tmp_path: Path, member: str) -> None:
    files = captioned() | table("metadata.csv", [(f"{i}.png", str(i)) for i in range(3)], "file_name", "label")
    place = spoil(pack_zip(tmp_path / "x.zip", files), member)
    with pytest.raises(InputError, match=rf"x.zip: {member}: cannot be read as UTF-8 text: damaged in the archive"):
        if member == "captions.csv":
            open_data(str(place), CaptionOptions(), ("captions",))
        else:
            read(place)


def test_a_damaged_array_of_numbers_is_one_line(tmp_path: Path) -> None:
    place = tmp_path / "x.npz"
    np.savez_compressed(place, images=np.zeros((4, 8, 8), np.uint8), age=np.arange(4) + 0.5)
    with pytest.raises(InputError, match="'age' cannot be read"):
        open_data(str(spoil(place, "age.npy")), AttributeOptions(column="age"), ("attribute",))
    with pytest.raises(InputError, match=r"cannot be read as \.npz"):
        read(spoil(place, "images.npy"))


# ---- pictures of samples are no samples


def test_a_grid_beside_samples_is_no_sample(tmp_path: Path) -> None:
    put(tmp_path / "x", captioned())
    save_picture(grid(np.zeros((4, 8, 8, 3), np.uint8)), tmp_path / "x" / "grid.png")
    files = {p.name: p.read_bytes() for p in sorted((tmp_path / "x").iterdir())}
    packed = pack_zip(tmp_path / "x.zip", files)  # type: ignore[arg-type]
    for place in (tmp_path / "x", packed):
        assert len(open_data(str(place), CaptionOptions(), ("captions",))[1]) == 3
        assert len(read(place)) == 3


def test_an_image_called_grid_is_a_sample(tmp_path: Path) -> None:
    files = {**some(2), "grid.png": file(noise("L"))}
    for place in (put(tmp_path / "x", files), pack_zip(tmp_path / "x.zip", files)):
        assert len(read(place)) == 3


# ---- captions and numbers


def test_each_split_may_have_its_own_captions(tmp_path: Path) -> None:
    """Hugging Face's layout: train/metadata.csv and test/metadata.csv."""
    place = put(tmp_path / "x", {**captioned("train/", "metadata.csv", "text"), **captioned("test/", "metadata.csv")})
    assert len(open_data(str(place), CaptionOptions(), ("captions",))[1]) == 3
    assert len(open_data(str(place), CaptionOptions(split="test"), ("captions",))[1]) == 3
    (place / "train" / "metadata.csv").unlink()
    with pytest.raises(InputError, match=r"3 images have no caption, the first is 'train/0\.png'"):
        open_data(str(put(place, table("captions.csv", [("test/0.png", "x")], "file_name", "caption"))),
                  CaptionOptions(), ("captions",))  # fmt: skip


def test_the_column_of_captions_is_remembered(tmp_path: Path) -> None:
    """A run that learned from a column of another name is judged by the same data."""
    place = put(tmp_path / "x", captioned(column="words"))
    domain, source = open_data(str(place), CaptionOptions(caption_column="words"), ("captions",))
    again, same = like_captions(str(place), domain)  # type: ignore[arg-type]
    assert again == domain and same.fingerprint == source.fingerprint
    like_captions(str(put(tmp_path / "usual", captioned())), domain)  # type: ignore[arg-type]


def test_text_that_is_no_utf8_is_said(tmp_path: Path) -> None:
    place = put(tmp_path / "x", {**some(2), "metadata.csv": b"file_name,text\n0.png,caf\xe9\n"})
    said = ganforge("train", "text2image", "--data", place, "--dry-run")
    assert said.code == 2 and "metadata.csv: cannot be read as UTF-8 text" in said.error


def test_lines_of_json_end_where_json_says(tmp_path: Path) -> None:
    rows = [{"file_name": f"{i}.png", "text": f"a cat\u2028number {i}\x85"} for i in range(2)]
    text = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    place = put(tmp_path / "x", {**some(2, "RGB"), "metadata.jsonl": text})
    assert len(open_data(str(place), CaptionOptions(), ("captions",))[1]) == 2


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (["10", "11", "old", "12"], "'2.png' .image 3. has 'old' in column 'age', which is not a number"),
        (["10"] * 4, "all images have the same age, 10"),
    ],
)
def test_an_age_that_is_none_is_named(tmp_path: Path, cells: list[str], says: str) -> None:
    rows = [(f"{i}.png", cell) for i, cell in enumerate(cells)]
    place = put(tmp_path / "x", {**some(4), **table("metadata.csv", rows, "file_name", "age")})
    with pytest.raises(InputError, match=says):
        open_data(str(place), AttributeOptions(), ("attribute",))


@pytest.mark.parametrize("line", ["[1, 2]", "[" * 100_000, "7"])
def test_a_line_of_json_that_is_no_row(tmp_path: Path, line: str) -> None:
    text = json.dumps({"file_name": "0.png", "age": 3}) + "\n" + line
    place = put(tmp_path / "x", {**some(2), "metadata.jsonl": text})
    with pytest.raises(InputError, match=r"metadata\.jsonl, row 2: "):
        open_data(str(place), AttributeOptions(), ("attribute",))


# ---- shards


def test_photos_of_phones_stay_in_the_shards(tmp_path: Path) -> None:
    """MPO is a JPEG with more pictures behind it: its suffix must be one that is read again."""
    picture, other = noise("RGB", (16, 16), 1), noise("RGB", (16, 16), 2)
    content = io.BytesIO()
    picture.save(content, "MPO", save_all=True, append_images=[other])
    with Image.open(content) as image:
        assert image.format == "MPO"
    place = put(tmp_path / "x", {f"{i}.jpg": content.getvalue() for i in range(3)})
    assert write_shards(str(place), tmp_path / "out").count == 3
    assert len(stream(tmp_path / "out")) == 3


def test_a_negative_size_in_a_header_ends_the_reading(tmp_path: Path) -> None:
    place = tar(tmp_path / "x.tar", samples(0, 2))
    content = bytearray(place.read_bytes())
    info = tarfile.TarInfo("00000.png")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = tarfile.itn(-2048, 12, tarfile.GNU_FORMAT)
    header[148:155] = b"%06o\0" % tarfile.calc_chksums(bytes(header))[0]
    content[1024:1536] = header
    place.write_bytes(content)
    with pytest.raises(InputError, match=r"negative size|not a \.tar archive"):
        stream(place)


@pytest.mark.parametrize(
    "change",
    [
        {"label.cls": torch.tensor([-5, 0], dtype=torch.int32)},
        {"label.cls": torch.tensor([-1, 0], dtype=torch.int32)},
        {"offset": torch.tensor([512, 2**63 - 100])},
        {"about": torch.frombuffer(bytearray(b"[" * 100_000), dtype=torch.uint8)},
    ],
    ids=["code", "unlabelled", "overflow", "nested"],
)
def test_what_lies_beside_a_shard_is_not_trusted(change: dict[str, torch.Tensor]) -> None:
    good = Contents(
        np.array([512, 1536]), np.array([100, 200]), {"cls": (np.array([0, 1], dtype=np.int32), ["a", "b"])}, digest="x"
    ).to_bytes(4096, None)
    assert Contents.from_bytes(good, 4096, None) is not None
    assert Contents.from_bytes(save({**load(good), **change}), 4096, None) is None


def test_a_member_that_was_replaced_is_read_where_it_is(tmp_path: Path) -> None:
    """``tar -r`` appends a newer file of the same name: its block is read from the first of its images on."""
    old = [(f"{i:05d}.png", file(noise("L", (8, 8), seed=i))) for i in range(4)]
    new = ("00000.png", file(noise("L", (8, 8), seed=9)))
    place = tar(tmp_path / "x.tar", [*old, new])
    assert place.stat().st_size < BLOCK
    source = stream(place, image="png", shuffle="window", window=4, labels="none")
    rows = torch.arange(4)
    source.expect(rows)
    data = source.take(rows)["data"]
    expected = [np.asarray(noise("L", (8, 8), seed=i)) for i in (9, 1, 2, 3)]
    assert source.damage.count == 0 and np.array_equal(data[:, 0].numpy(), np.stack(expected))


# ---- molecules


def test_molecules_that_do_not_fit_are_explained(tmp_path: Path) -> None:
    (tmp_path / "one.smi").write_text("CCO\n")
    with pytest.raises(InputError, match=r"has only 1 molecule to use: a GAN needs many$"):
        open_data(str(tmp_path / "one.smi"), MoleculeOptions(), ("molecules",))
    domain = MoleculeDomain(shape=(6,), atoms=("C", "O"), room=(4, 2))
    with pytest.raises(InputError, match=r"1 of 2 .* do not fit this model: one has an atom of a kind that was not"):
        domain.to_raw(["CCO", "CCF"])
    with pytest.raises(InputError, match=r"line 1, 'CCCC'.* more than 3 atoms"):
        domain.to_raw(["CCCC"])


# ---- the rest


def test_an_unknown_device_is_one_line() -> None:
    with pytest.raises(InputError, match="unknown device 'gpu'"):
        pick_device("gpu")


def test_a_folder_is_never_translated_onto_itself(tmp_path: Path) -> None:
    place = put(tmp_path / "x", some(2))
    for out in (place, place / ".." / "x"):
        said = ganforge("translate", tmp_path / "no-run", place, "--out", out)
        assert said.code == 2 and "is the input" in said.error
