"""Images streamed from Parquet shards, as Hugging Face writes them: the same data, exact resume, bounded memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from command import ganforge
from ganforge.core.errors import InputError, RunError
from ganforge.domains import module_for, open_data, streamed, streamed_places
from ganforge.domains.streamed import StreamedOptions
from ganforge.domains.streamed_parquet import ParquetIndex, kept_labels
from ganforge.domains.streamed_source import StreamedSource
from ganforge.engine.run import Run
from ganforge.engine.stream import Stream
from image_makers import file, noise, put
from shard_makers import stream
from test_streamed import in_memory  # noqa: F401 (a fixture)
from test_streamed_order import Counting
from test_streamed_training import same, trained

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

CLASSES = ["cat", "dog", "ox"]
FEATURES = {"image": {"_type": "Image"}, "label": {"names": CLASSES, "_type": "ClassLabel"}}
KIND = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def shard(path: Path, cells: list[Any], labels: list[Any] | None = None, group: int = 10, **how: object) -> Path:
    """A shard as the library ``datasets`` writes it: a struct of bytes and path, classes as numbers, their names."""
    columns = {"image": pa.array(cells, type=KIND)}
    if labels is not None:
        columns["label"] = pa.array(labels, type=pa.int64())
    table = pa.table(columns).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": {k: v for k, v in FEATURES.items() if k in columns}}})}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group, **how)
    return path


def cell(i: int, size: tuple[int, int] = (8, 8)) -> dict[str, Any]:
    return {"bytes": file(noise("L", size, seed=i)), "path": f"{i:05d}.png"}


def make(folder: Path, shards: int = 3, each: int = 20, **how: Any) -> Path:
    for s in range(shards):
        rows = range(s * each, (s + 1) * each)
        name = f"train-{s:05d}-of-{shards:05d}.parquet"
        shard(folder / name, [cell(i) for i in rows], [i % 3 for i in rows], **how)
    return folder


def test_streamed_is_what_is_read_as_a_whole(tmp_path: Path) -> None:
    """Images, classes by their names, and counts are those of the same files where they are cached."""
    folder = make(tmp_path / "s")
    spec = f"{folder}/train-*.parquet"
    assert module_for(spec) is streamed and module_for(str(folder)).__name__.endswith(".image")
    (domain, source), (plain, packed) = open_data(spec), open_data(str(folder))
    assert isinstance(source, StreamedSource) and (domain, len(source)) == (plain, 60)
    assert domain.classes == ("cat", "dog", "ox") and domain.counts == (20, 20, 20)
    rows = torch.tensor([59, 0, 7, 7, 33])
    got, want = source.take(rows), packed.take(rows)
    assert torch.equal(got["data"], want["data"]) and torch.equal(got["label"], want["label"])
    assert source.index.name(33) == "train-00001-of-00003.parquet, row 13"


@pytest.mark.parametrize("how", [{}, {"compression": "zstd"}, {"use_dictionary": False, "data_page_size": 512}])
def test_any_place_gives_the_same(tmp_path: Path, in_memory: Any, how: dict[str, Any]) -> None:  # noqa: F811
    folder = make(tmp_path / "data", **how)
    url = in_memory(folder)
    patterns = (f"{folder}/*.parquet", f"{folder}/train-{{00000..00002}}-of-00003.parquet")
    ones = [stream(spec) for spec in (*patterns, f"file://{folder}", url, f"{url}/train-*.parquet")]
    rows = torch.tensor([29, 0, 59, 7, 13])
    first = ones[0].take(rows)
    for other in ones[1:]:
        assert other.fingerprint == ones[0].fingerprint
        assert torch.equal(other.take(rows)["data"], first["data"])


def test_what_the_library_datasets_writes(tmp_path: Path) -> None:
    """A real folder of images, by way of ``datasets``; and the library's own streaming reads the same rows."""
    datasets = pytest.importorskip("datasets")
    for i in range(24):
        put(tmp_path / "f" / CLASSES[i % 3], {f"{i:05d}.png": file(noise("RGB", (8, 8), seed=i))})
    data = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "f"), split="train", cache_dir=tmp_path / "c")
    (tmp_path / "s").mkdir()
    data.to_parquet(tmp_path / "s" / "train.parquet")  # as it stands: paths, no images
    with pytest.raises(InputError, match=r"the first, train\.parquet, row 0: the path '.*' leads out of the folder"):
        stream(f"{tmp_path}/s/*.parquet")
    whole = data.with_format("arrow").map(datasets.table.embed_table_storage, batched=True)  # as push_to_hub does
    whole.to_parquet(tmp_path / "s" / "train.parquet")
    found = stream(f"{tmp_path}/s/*.parquet")
    theirs = list(
        datasets.load_dataset(
            "parquet", data_files=f"{tmp_path}/s/*.parquet", split="train", streaming=True, cache_dir=tmp_path / "c"
        )
    )
    got = found.take(torch.arange(24))
    assert found.index.classes == ("cat", "dog", "ox") and got["label"].tolist() == [row["label"] for row in theirs]
    want = np.stack([np.asarray(row["image"]) for row in theirs]).transpose(0, 3, 1, 2)
    assert np.array_equal(got["data"].numpy(), want)


def test_every_row_group_is_read_once_an_epoch(tmp_path: Path) -> None:
    """Only the column of images, ahead of its use; no more than the window and what is read ahead is held."""
    make(tmp_path / "s", 4, 60)
    place = Counting()
    with mock.patch.object(streamed_places, "LocalPlace", lambda: place):
        domain, source = open_data(f"{tmp_path}/s/*.parquet", StreamedOptions(window=4, ahead=16))
    assert isinstance(source, StreamedSource) and len(source.starts) == 24
    source.window = 3  # as where a row group takes a third of the window
    place.reads.clear()
    source._blocks.clear()
    batches = Stream(source, domain, 8, 0, torch.device("cpu"))
    plain = stream(f"{tmp_path}/s/*.parquet", shuffle="all")
    for k in range(30):
        got, want = batches.take(k), plain.take(batches.rows(k))
        assert torch.equal(got["data"], domain.encode(want)["data"]) and torch.equal(got["label"], want["label"])
    assert len(set(place.reads)) == 24 and len(place.reads) <= 24 + 8, "some of the next epoch's, and nothing twice"
    order = source.order(torch.Generator().manual_seed(0))
    assert sorted(order.tolist()) == list(range(240))
    spread = np.array(
        [np.abs(source.block[order[i : i + 10]] - source.block[order[i]]).max() for i in range(0, 240, 10)]
    )
    assert (spread > 0).mean() > 0.9, "images of several row groups are mixed"


def test_resume_is_exact(tmp_path: Path) -> None:
    """7 rounds, then 13 more in a trainer of its own, are 20 at once, to the bit; the window holds not all."""
    spec = f"{make(tmp_path / 's', 4, 30)}/*.parquet"
    with mock.patch.object(ParquetIndex, "block_bytes", 2**21):  # so that the window holds 2 row groups of 12
        said = ganforge("train", "gan", "--data", spec, "--run", tmp_path / "a", "--rounds", 7, "--device", "cpu",
                        "--set", "size=8", "--set", "batch=16", "--set", "data.window=4", "--set", "train.threads=1",
                        "--quiet", draw=False)  # fmt: skip
        assert said.code == 0, said.error
        resumed = trained(spec, 20, run=Run.open(tmp_path / "a"), window=4)  # type: ignore[arg-type]
        whole = trained(spec, 20, window=4)  # type: ignore[arg-type]
    assert same(resumed, whole) and not same(whole, trained(spec, 20, shuffle="all"))  # type: ignore[arg-type]


def test_damaged_images_are_replaced_and_counted(tmp_path: Path) -> None:
    outside = put(tmp_path, {"secret.png": file(noise("L", (8, 8), seed=99))})
    put(tmp_path / "s", {"beside.png": file(noise("L", (8, 8), seed=5))})
    cells = [cell(i) for i in range(20)]
    cells[3], cells[4] = None, {"bytes": b"broken", "path": None}
    cells[6] = {"bytes": None, "path": "../secret.png"}
    cells[5] = {"bytes": None, "path": "beside.png"}
    shard(tmp_path / "s" / "a.parquet", cells)
    found = stream(f"{tmp_path}/s/*.parquet")
    got = found.take(torch.arange(20))["data"]
    assert found.damage.count == 3 and "a.parquet, row 3" in [name for name, _ in found.damage.first]
    want = [i if i not in (3, 4, 6) else {3: 5, 4: 5, 6: 7}[i] for i in range(20)]
    plain = [np.asarray(noise("L", (8, 8), seed=i)) for i in range(20)]
    assert all(np.array_equal(got[k, 0].numpy(), plain[i]) for k, i in enumerate(want)) and outside
    with pytest.raises(InputError, match=r"a\.parquet, row 3: the cell is empty"):
        stream(f"{tmp_path}/s/*.parquet", strict=True).take(torch.arange(20))


def test_bad_shards_are_named(tmp_path: Path) -> None:
    def refused(match: str, spec: str = "", **options: object) -> None:
        with pytest.raises((InputError, RunError), match=match):
            stream(spec or f"{tmp_path}/*.parquet", **options)

    whole = shard(tmp_path / "a.parquet", [cell(i) for i in range(20)], [0] * 20).read_bytes()
    (tmp_path / "b.parquet").write_bytes(whole[: len(whole) // 2])
    refused(r"b\.parquet: not a Parquet file, or cut off")
    (tmp_path / "b.parquet").write_bytes(b"")
    refused(r"b\.parquet: not a Parquet file")
    (tmp_path / "b.parquet").write_bytes(whole[:-9] + b"\xff" + whole[-8:])
    shard(tmp_path / "b.parquet", [cell(i) for i in range(20)])
    refused(r"b\.parquet: no column 'label', which a\.parquet has")
    shard(tmp_path / "b.parquet", [cell(0), cell(1)], [0, None])
    refused(r"b\.parquet, row 1: no label in column 'label'")
    shard(tmp_path / "b.parquet", [cell(0), cell(1)], [0, 7])
    refused(r"label 7 is not one of the 3 classes")
    assert len(stream(f"{tmp_path}/*.parquet", labels="none")) == 22
    refused(r"no column 'img' of images; did you mean 'image'", image="img")
    refused("no column 'kind'", label_column="kind")
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "a.parquet")
    refused("no image column")
    refused("no file ends in .tar or .parquet there", f"{tmp_path}/c-*.parquet")
    damaged = bytearray(whole)
    damaged[200:2000] = bytes(1800)
    (tmp_path / "b.parquet").write_bytes(damaged)
    refused(r"b\.parquet: row group 0 cannot be read", f"{tmp_path}/b*.parquet", labels="none")


def test_labels_are_kept(tmp_path: Path) -> None:
    """The second time, the column of classes is not read; where the cache lies, it is."""
    spec = f"{make(tmp_path / 's')}/*.parquet"
    first = stream(spec)
    with mock.patch("ganforge.domains.streamed_parquet.class_name", side_effect=AssertionError("labels were read")):
        assert stream(spec).fingerprint == first.fingerprint
    (tmp_path / "s" / "train-00000-of-00003.parquet").touch()
    assert kept_labels(b"no safetensors", 20) is None
    with mock.patch("ganforge.domains.streamed_parquet.kept_labels", return_value=None):
        assert stream(spec).fingerprint == first.fingerprint


def test_parquet_becomes_tar(tmp_path: Path) -> None:
    """``ganforge data shards`` takes what can be streamed; the images, their order and classes stay."""
    spec = f"{make(tmp_path / 's')}/*.parquet"
    said = ganforge("data", "shards", spec, "--out", tmp_path / "tar")
    assert said.code == 0 and said.out.startswith("60 images in 1 shard:"), said.err
    rows = torch.arange(60)
    got, want = stream(tmp_path / "tar").take(rows), stream(spec).take(rows)
    assert torch.equal(got["data"], want["data"]) and torch.equal(got["label"], want["label"])
