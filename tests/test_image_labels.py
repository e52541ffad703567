"""Labels from folders and metadata, and images from arrays and tables, with the mistakes that users make in them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganforge.core.errors import InputError
from ganforge.domains import image
from image_makers import RNG, file, noise, pack_zip, pixels, put, read, some

# ---- labels


def test_class_folders(tmp_path: Path) -> None:
    files = {**some(2, prefix="10/"), **some(3, prefix="9/"), **some(1, prefix="9/deep/er/")}
    source = read(put(tmp_path, files))
    assert source.classes == ("9", "10") and source.counts == (4, 2)
    assert read(tmp_path, labels="none").classes == ()
    put(tmp_path, {"stray.png": file(noise("L"))})
    assert read(tmp_path).classes == ()
    with pytest.raises(InputError, match="class folders"):
        read(tmp_path, labels="folder")


def test_split_folders(tmp_path: Path) -> None:
    files = {**some(2, prefix="d/train/a/"), **some(2, prefix="d/train/b/"), **some(3, prefix="d/test/a/")}
    source = read(put(tmp_path, files))
    assert len(source) == 4 and source.classes == ("a", "b") and "left out test" in source.messages[0]
    assert len(read(tmp_path, split="test")) == 3
    with pytest.raises(InputError, match="did you mean 'test'"):
        read(tmp_path, split="tests")


METADATA = "file_name,age,label\n0.png,3,cat\n1.png,4,dog\n2.png,5,cat\n"


@pytest.mark.parametrize("column", ["label", "class", "Label"])
def test_metadata_csv(tmp_path: Path, column: str) -> None:
    put(tmp_path, {**some(3), "metadata.csv": "\ufeff" + METADATA.replace("label", column)})
    source = read(tmp_path)
    assert source.classes == ("cat", "dog") and source.counts == (2, 1)
    assert read(tmp_path, label_column="age").classes == ("3", "4", "5")
    with pytest.raises(InputError, match="no column 'agee'; did you mean 'age'"):
        read(tmp_path, label_column="agee")
    with pytest.raises(InputError, match=r"data\.labels=none takes no labels from data\.label_column=age"):
        read(tmp_path, label_column="age", labels="none")


def test_metadata_beats_folders_and_needs_a_label_column(tmp_path: Path) -> None:
    files = {**some(1, prefix="x/"), **some(1, prefix="y/")}
    rows = "file_name,label\nx/0.png,1\ny/0.png,1\n"
    assert read(put(tmp_path / "a", {**files, "metadata.csv": rows})).classes == ("1",)
    plain = put(tmp_path / "b", {**files, "metadata.csv": rows.replace("label", "caption")})
    assert read(plain).classes == ("x", "y")
    with pytest.raises(InputError, match=r"no column label or class .*metadata\.csv"):
        read(plain, labels="metadata")


def test_columns_that_may_be_labels_are_offered(tmp_path: Path) -> None:
    rows = [f"{i}.png,note {i},{'cat' if i % 2 else 'dog'},{i % 3}" for i in range(40)]
    put(tmp_path, {**some(40), "metadata.csv": ("file_name,caption,kind,room\n" + "\n".join(rows) + "\n").encode()})
    source = read(tmp_path)
    assert source.classes == ()
    (told,) = source.messages
    assert "metadata.csv" in told and "--set data.label_column=kind" in told and "(or room)" in told
    assert "caption" not in told  # a value for each image is no class
    assert read(tmp_path, label_column="kind").classes == ("cat", "dog")
    assert not read(tmp_path, labels="none").messages


def test_metadata_in_the_split_and_as_json_lines(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps({"file_name": f"{i}.png", "label": i % 2}) for i in range(3))
    put(tmp_path, {**some(3, prefix="train/"), "train/metadata.jsonl": lines, **some(1, prefix="test/")})
    assert read(tmp_path).counts == (2, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (METADATA + "9.png,1,cat\n", r"metadata\.csv, row 5: there is no image '9\.png'"),
        (METADATA + "0.png,1,dog\n", r"row 5: '0\.png' has two labels, 'cat' and 'dog'"),
        (METADATA.replace("4,dog", "4,"), r"row 3: no label in column 'label' for '1\.png'"),
        (METADATA.replace("4,dog", "4"), r"row 3: no label"),
        (METADATA.replace("1.png", ""), r"row 3: no file_name"),
        (METADATA.replace("2.png,5,cat\n", ""), r"1 images have no row, the first is '2\.png'"),
        (METADATA.replace("file_name", "file"), r"no column 'file_name'"),
        (METADATA + '"3.png', r"row 5: a double quote opens and is not closed"),
        (b"\xff\xfe\x00", r"metadata\.csv: cannot be read as UTF-8"),
    ],
)
def test_bad_metadata(tmp_path: Path, text: str | bytes, message: str) -> None:
    put(tmp_path, {**some(3), "metadata.csv": text})
    with pytest.raises(InputError, match=message):
        read(tmp_path)


def test_dataset_json(tmp_path: Path) -> None:
    labels: Any = [["00000/0.png", 3], ["00000/1.png", 11], ["00001/0.png", 3]]
    files = {**some(2, prefix="00000/"), **some(1, prefix="00001/")}
    path = pack_zip(tmp_path / "a.zip", {**files, "dataset.json": json.dumps({"labels": labels})})
    source = read(path)
    assert source.classes == ("3", "11") and source.counts == (2, 1)
    path = pack_zip(tmp_path / "b.zip", {**files, "dataset.json": '{"labels": null}'})
    assert read(path).classes == ()  # not the folders 00000 and 00001
    assert read(path, labels="folder").classes == ("00000", "00001")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([["0.png", 0], ["1.png", "cat"]], 'entry 1: label "cat" is not a class number'),
        ([["0.png", 0], ["1.png"]], "entry 1: expected"),
        ([["0.png", 0], ["no.png", 1]], r"entry 1: there is no image 'no\.png'"),
        ([["0.png", 0]], "1 images have no row"),
        (7, "entry 0: expected"),
    ],
)
def test_bad_dataset_json(tmp_path: Path, labels: Any, message: str) -> None:
    put(tmp_path, {**some(2), "dataset.json": json.dumps({"labels": labels})})
    with pytest.raises(InputError, match=message):
        read(tmp_path)


# ---- arrays and tables


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 6, 7), (1, 6, 7)),
        ((5, 6, 7, 3), (3, 6, 7)),
        ((5, 3, 6, 7), (3, 6, 7)),
        ((5, 6, 7, 1), (1, 6, 7)),
        ((5, 32, 40, 6), (6, 32, 40)),
        ((5, 2, 32, 40), (2, 32, 40)),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_npz_layouts(tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...], dtype: type) -> None:
    values = RNG.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
    source = read(npz(tmp_path / "a.npz", images=values, y=np.arange(5) % 2))
    assert source.shape == expected and source.classes == ("0", "1")
    planes = values.reshape(5, *expected) if shape[1:] == expected or len(shape) == 3 else values.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(pixels(source), planes)


def test_npz_other_numbers(tmp_path: Path) -> None:
    levels = np.arange(2 * 4 * 4).reshape(2, 4, 4)
    assert (pixels(read(npz(tmp_path / "i.npz", arr_0=levels)))[:, 0] == levels).all()
    assert read(npz(tmp_path / "d.npz", x=levels * 300)).bits == 16
    floats = read(npz(tmp_path / "f.npz", x=levels / 31))
    assert pixels(floats).max() == 255 and "multiplied by 255" in floats.messages[0]
    assert pixels(read(npz(tmp_path / "b.npz", x=levels > 3))).max() == 255
    assert read(npz(tmp_path / "r.npz", x=np.zeros((3, 8, 6, 3), np.uint8)), resolution=4, channels=1).shape == (
        1,
        4,
        4,
    )


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.full((3, 4, 4), 7.5)}, "floats from 7.5 to 7.5: scale"),
        ({"x": np.full((3, 4, 4), np.nan)}, "not finite"),
        ({"x": np.full((3, 4, 4), -1)}, "values from -1"),
        ({"x": np.full((3, 4, 4), 1j)}, "no pixels"),
        ({"images": np.zeros((3, 3, 5, 3), np.uint8)}, "could be"),
        ({"images": np.zeros((3, 6, 7, 8), np.uint8)}, "could be"),
        ({"images": np.zeros((0, 4, 4), np.uint8)}, "empty"),
        ({"a": np.zeros((3, 4, 4)), "b": np.zeros((3, 4, 4))}, "no array 'images'"),
        ({"x": np.zeros((3, 4, 4), np.uint8), "y": np.zeros(2)}, "one label for each of 3"),
        ({"x": np.zeros((3, 4, 4), np.uint8), "y": np.full(3, 0.5)}, "whole numbers or names"),
        ({"x": np.array([[[None]]] * 3, dtype=object)}, "never unpickled"),
    ],
)
def test_bad_npz(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(npz(tmp_path / "bad.npz", **arrays))


def test_npz_of_parts(tmp_path: Path) -> None:
    """The layouts of Keras (x_train, y_train) and of MedMNIST (train_images, labels [n, 1]): labels were left out
    without a word, and with more than one part the file was refused."""
    x, y = np.arange(6 * 16, dtype=np.uint8).reshape(6, 4, 4), np.array([4, 7, 4, 7, 4, 7])
    keras = npz(tmp_path / "keras.npz", x_test=x[:2], y_test=y[:2], x_train=x[2:], y_train=y[2:])
    source = read(keras)
    assert (pixels(source)[:, 0] == x[2:]).all() and source.classes == ("4", "7") and source.counts == (2, 2)
    assert source.messages == ("used the array 'x_train', left out x_test: choose with split=",)
    test = read(keras, split="test")
    assert (pixels(test)[:, 0] == x[:2]).all() and test.counts == (1, 1) and not test.messages
    with pytest.raises(InputError, match="no images of a part 'tset'; did you mean 'test'"):
        read(keras, split="tset")
    med = npz(tmp_path / "med.npz", train_images=x[2:], val_images=x[:2], train_labels=y[2:, None], val_labels=y[:2])
    assert read(med).counts == (2, 2) and "left out val_images" in read(med).messages[0]
    alone = read(npz(tmp_path / "alone.npz", X_train=x, Y_train=y))
    assert alone.classes == ("4", "7") and not alone.messages
    assert read(npz(tmp_path / "one.npz", x_train=x, labels=y)).classes == ("4", "7")
    with pytest.raises(InputError, match="choose a part with split="):
        read(npz(tmp_path / "two.npz", x_test=x, x_val=x))


def test_npz_labels_of_another_name_are_offered(tmp_path: Path) -> None:
    x = np.zeros((4, 4, 4), np.uint8)
    path = npz(tmp_path / "a.npz", images=x, digit=np.array([1, 2, 1, 2]), mean=np.zeros(3))
    source = read(path)
    assert source.classes == ()
    assert "for labels from 'digit' --set data.label_column=digit" in source.messages[0]
    assert read(path, label_column="digit").classes == ("1", "2") and not read(path, labels="none").messages


def test_npz_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read as"):
        read(put(tmp_path, {"a.npz": "text"}) / "a.npz")
    assert not image.accepts(str(npz(tmp_path / "points.npz", x=np.zeros((9, 2)))))


def parquet(path: Path, rows: list[dict[str, Any]], names: list[str] | None = None) -> Path:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(rows)
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def cell(content: bytes | None, path: str | None = None) -> dict[str, Any]:
    return {"bytes": content, "path": path}


def test_parquet(tmp_path: Path) -> None:
    pictures = [noise("RGB", seed=i) for i in range(4)]
    rows = [{"image": cell(file(p)), "label": i % 2} for i, p in enumerate(pictures)]
    rows[3]["image"] = cell(None, "extra/3.png")
    put(tmp_path / "d", {"extra/3.png": file(pictures[3])})
    source = read(parquet(tmp_path / "d" / "a.parquet", rows, ["cat", "dog"]))
    assert source.classes == ("cat", "dog") and source.counts == (2, 2)
    np.testing.assert_array_equal(pixels(source)[3], np.asarray(pictures[3]).transpose(2, 0, 1))
    assert read(tmp_path / "d" / "a.parquet", labels="none").classes == ()
    shards = tmp_path / "hub"
    parquet(shards / "data" / "train-00000-of-00002.parquet", rows[:2])
    parquet(shards / "data" / "train-00001-of-00002.parquet", rows[1:3])
    parquet(shards / "data" / "test-00000-of-00001.parquet", rows[:3])
    train = read(shards)
    assert len(train) == 4 and "left out test" in train.messages[0] and train.classes == ("0", "1")
    assert len(read(shards, split="test")) == 3


def test_bad_parquet(tmp_path: Path) -> None:
    good = {"image": cell(file(noise("L"))), "label": 0}
    put(tmp_path, {"secret.png": file(noise("L"))})
    odd = [good, good, {"image": cell(None, "../secret.png"), "label": 0}, {"image": cell(None), "label": 0}]
    source = read(parquet(tmp_path / "d" / "a.parquet", odd))
    assert "leads out of the folder" in source.skipped[0][1] and source.skipped[1][1] == "the cell is empty"
    assert source.skipped[0][0] == "a.parquet, row 2"
    with pytest.raises(InputError, match=r"a\.parquet, row 1: no label in column 'label'"):
        read(parquet(tmp_path / "e" / "a.parquet", [good, {**good, "label": None}]))
    with pytest.raises(InputError, match="label 5 is not one of the 2 classes"):
        read(parquet(tmp_path / "f" / "a.parquet", [good, {**good, "label": 5}], ["a", "b"]))
    with pytest.raises(InputError, match="no image column"):
        read(parquet(tmp_path / "g" / "a.parquet", [{"text": "x"}]))
    with pytest.raises(InputError, match="not Parquet"):
        read(put(tmp_path / "h", {"a.parquet": "text"}) / "a.parquet")


def test_saved_hugging_face_dataset(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    pictures = [noise("RGB", seed=i) for i in range(4)]
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["x", "y"])})
    data = datasets.Dataset.from_dict({"img": pictures, "label": [0, 1, 1, 1]}, features=features)
    data.save_to_disk(str(tmp_path / "one"))
    source = read(tmp_path / "one")
    assert source.classes == ("x", "y") and source.counts == (1, 3)
    np.testing.assert_array_equal(pixels(source)[2], np.asarray(pictures[2]).transpose(2, 0, 1))
    assert read(tmp_path / "one").cached
    datasets.DatasetDict({"train": data, "test": data.select([0, 1])}).save_to_disk(str(tmp_path / "two"))
    assert len(read(tmp_path / "two")) == 4 and len(read(tmp_path / "two", split="test")) == 2
    with pytest.raises(InputError, match="no split 'tost'; did you mean 'test'"):
        read(tmp_path / "two", split="tost")


def test_missing_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "datasets", None)
    put(tmp_path, {"a.parquet": "x"})
    with pytest.raises(InputError, match=r"pip install 'ganforge\[parquet\]'"):
        read(tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"pip install 'ganforge\[hf\]'"):
        read("hf:some/name")


def test_folders_that_may_be_no_classes(tmp_path: Path) -> None:
    dates = put(tmp_path / "photos", {f"2021-0{i}-01/{i}.png": file(noise("L")) for i in range(1, 7)})
    assert "6 folders are taken as classes" in read(dates).messages[0]
    assert read(dates, labels="folder").messages == () == read(dates, labels="none").messages
