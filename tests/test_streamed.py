"""Images streamed from tar shards: the same data as from a folder, whatever is damaged, and how shards are written."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from command import ganforge
from ganforge.core.errors import InputError, RunError
from ganforge.domains import module_for, open_data, streamed, streamed_index, streamed_places
from ganforge.domains.streamed import StreamedOptions
from ganforge.domains.streamed_places import expand
from ganforge.domains.streamed_write import write_shards
from ganforge.engine.stream import Stream
from image_makers import file, noise, pixels, put, read
from shard_makers import make, samples, stream, tar


@pytest.fixture
def in_memory() -> Iterator[Callable[[Path], str]]:
    """Puts a folder in a store that fsspec reads; gives its URL."""
    import fsspec

    store = fsspec.filesystem("memory")

    def upload(folder: Path) -> str:
        for path in sorted(folder.iterdir()):
            store.pipe_file(f"/{folder.name}/{path.name}", path.read_bytes())
        return f"memory://{folder.name}"

    yield upload
    store.store.clear()


# ---- what is read


def test_shards_hold_what_the_folder_holds(tmp_path: Path) -> None:
    make(tmp_path / "s", 3, 10)
    for i in range(30):
        put(tmp_path / "f" / str(i % 3), {f"{i:05d}.png": file(noise("L", (8, 8), seed=i))})
    found, packed = stream(tmp_path / "s"), read(tmp_path / "f")
    labels = packed.take(torch.arange(30))["label"]
    assert module_for(str(tmp_path / "s")) is streamed and found.index.classes == packed.classes == ("0", "1", "2")
    by_number = torch.argsort(torch.arange(30).remainder(3), stable=True)  # the folder's order: class by class
    got = found.take(by_number)
    assert np.array_equal(got["data"].numpy(), pixels(packed)) and torch.equal(got["label"], labels)
    assert found.counts == packed.counts == (10, 10, 10)


def test_any_place_gives_the_same(tmp_path: Path, in_memory: Callable[[Path], str]) -> None:
    folder = make(tmp_path / "s")
    url = in_memory(folder)
    ones = [
        stream(spec)
        for spec in (
            folder,
            f"{folder}/train-*.tar",
            f"{folder}/train-{{0000..0002}}.tar",
            f"{url}/train-{{0000..0002}}.tar",
            url,
            f"file://{folder}/*.tar",
        )
    ]
    rows = torch.tensor([29, 0, 7, 7, 13])
    first = ones[0].take(rows)
    for other in ones[1:]:
        assert other.fingerprint == ones[0].fingerprint
        assert all(torch.equal(first[key], value) for key, value in other.take(rows).items())
    changed = make(tmp_path / "other")
    tar(changed / "train-0002.tar", samples(21, 10))
    assert stream(changed).fingerprint != ones[0].fingerprint
    assert stream(folder, resolution=4).fingerprint != ones[0].fingerprint


def test_https_by_ranges(tmp_path: Path) -> None:
    """A server that gives parts of files; one that does not is told of in a line."""
    pytest.importorskip("aiohttp")
    from web_server import serving

    make(tmp_path / "s", 2, 10)
    with serving(tmp_path, ranges=True) as (url, asked):
        source = stream(f"{url}/s/train-{{0000..0001}}.tar")
        assert torch.equal(source.take(torch.arange(20))["data"], stream(tmp_path / "s").take(torch.arange(20))["data"])
        assert any(asked), "parts were asked for"
        with pytest.raises(InputError, match=r"train-0002.tar.*no such shard"):
            stream(f"{url}/s/train-{{0000..0002}}.tar")
    with serving(tmp_path, ranges=False) as (url, _), pytest.raises((InputError, RunError), match=r"train-0000\.tar"):
        stream(f"{url}/s/train-0000.tar").take(torch.arange(3))
    with pytest.raises(InputError, match="no such shard, or it cannot be reached"):
        stream("http://127.0.0.1:9/s/train-0000.tar")


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ("a-{08..11}.tar", ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]),
        ("{x,y}/{1..2}.tar", ["x/1.tar", "x/2.tar", "y/1.tar", "y/2.tar"]),
        ("{9..10}", ["9", "10"]),
        ("{0}.tar", ["{0}.tar"]),
    ],
)
def test_braces(spec: str, names: list[str]) -> None:
    assert list(expand(spec)) == names


def test_labels(tmp_path: Path) -> None:
    """A .json label comes before a .cls, which comes before a folder; any column may be asked for."""
    images = [(f"{c}/{i}.png", file(noise("L", (8, 8)))) for i, c in enumerate("ab" * 10)]
    cls = [(name.replace("png", "cls"), b"12" if i % 2 else b"7") for i, (name, _) in enumerate(images)]
    about = [
        (name.replace("png", "json"), json.dumps({"label": f"n{i % 4}", "color": i % 3, "url": "x"}).encode())
        for i, (name, _) in enumerate(images)
    ]
    for parts, options, classes, counts in (
        ((images,), {}, ("a", "b"), (10, 10)),
        ((images, cls), {}, ("7", "12"), (10, 10)),
        ((images, cls, about), {}, ("n0", "n1", "n2", "n3"), (5, 5, 5, 5)),
        ((images, cls, about), {"label_column": "color"}, ("0", "1", "2"), (7, 7, 6)),
        ((images, cls, about), {"labels": "folder"}, ("a", "b"), (10, 10)),
        ((images, cls, about), {"labels": "none"}, (), ()),
    ):
        path = tar(tmp_path / "t.tar", sorted(one for part in parts for one in part))
        domain, source = open_data(str(path), StreamedOptions(**options))  # type: ignore[arg-type]
        assert (domain.classes, source.counts) == (classes, counts), options  # type: ignore[attr-defined]
    for lacking, options, told in (
        (
            cls[:-1],
            {},
            r"t\.tar: b/19\.png has no label in a \.cls file, others have: add it, or --set data.labels=none",
        ),
        ([], {"labels": "metadata"}, "no labels for labels=metadata"),
        (about, {"label_column": "kind"}, "no column 'kind'"),
        ([("a/0.cls", b"")], {}, r"a/0\.cls: expected one class"),
        ([("a/0.json", b"{")], {}, r"a/0\.json: cannot be read as a label"),
        ([("a/0.json", b"[" * 100_000)], {}, r"a/0\.json: cannot be read as a label"),
    ):
        path = tar(tmp_path / "t.tar", images + lacking)
        with pytest.raises(InputError, match=told):
            stream(path, **options)


def test_what_is_no_image_is_left_alone(tmp_path: Path) -> None:
    """Pickles, captions, hidden files, links: none is read. Of several images one is chosen."""
    files = [*samples(0, 4), ("00000.pyd", b"cos\nsystem\n."), ("00001.txt", b"a cat"), (".x.png", b"no")]
    path = tar(tmp_path / "t.tar", files)
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("00009.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert len(stream(path)) == 4
    many = [(f"{i}.{kind}", file(noise("L", (8, 8)))) for i in range(3) for kind in ("png", "small.png", "bmp")]
    path = tar(tmp_path / "u.tar", many)
    with pytest.raises(
        InputError, match=r"two images of one sample, 0\.png and 0\.bmp: choose one with --set data.image="
    ):
        stream(path)
    assert len(stream(path, image="small.png")) == len(stream(path, image=".BMP")) == 3


def test_size_and_channels_are_agreed_on(tmp_path: Path) -> None:
    files = [(f"{i}.png", file(noise("RGB", (40 + 8 * (i % 2), 24)))) for i in range(8)]
    source = stream(tar(tmp_path / "t.tar", files))
    assert source.shape == (3, 24, 40) and "2 different sizes" in source.messages[0]
    assert stream(tmp_path / "t.tar", resolution="12x20", channels=1).shape == (1, 12, 20)
    mixed = tar(tmp_path / "m.tar", [*files, ("x.png", file(noise("L", (40, 24))))])
    with pytest.raises(InputError, match="mixed channels"):
        stream(mixed)
    deep = np.random.default_rng(0).integers(0, 65536, (6, 6), dtype=np.uint16)
    from PIL import Image

    source = stream(tar(tmp_path / "d.tar", [(f"{i}.png", file(Image.fromarray(deep))) for i in range(2)]))
    assert np.array_equal(source.take(torch.tensor([0]))["data"][0, 0].numpy(), deep.astype(np.float32))


def test_a_network_that_fails_is_asked_again(
    tmp_path: Path, in_memory: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = stream(in_memory(make(tmp_path / "s")))
    assert isinstance(source.index.place, streamed_places.RemotePlace)
    monkeypatch.setattr(streamed_places.time, "sleep", lambda seconds: None)
    system = source.index.place.system
    whole, left = system.cat_file, [3]

    def failing(path: str, start: int | None = None, end: int | None = None) -> bytes:
        if left[0]:
            left[0] -= 1
            raise ConnectionResetError("reset by peer")
        return whole(path, start=start, end=end)

    monkeypatch.setattr(system, "cat_file", failing)
    batches = Stream(source, open_data(str(tmp_path / "s"))[0], 4, 0, torch.device("cpu"))
    batches.take(0)
    left[0] = 10**6
    with pytest.raises(
        RunError, match=r"train-000\d\.tar: cannot be read \(reset by peer\); 'ganforge resume' goes on"
    ):
        source.take(torch.arange(30))
    left[0] = 0
    assert len(source.take(torch.arange(30))["data"]) == 30


# ---- damage


def test_damaged_images_are_replaced_and_counted(tmp_path: Path) -> None:
    files = samples(0, 12)
    files[4] = (files[4][0], files[4][1][:60])  # image 2
    files[22] = (files[22][0], b"no image")  # the last one, image 11
    source = stream(tar(tmp_path / "t.tar", files), resolution=8)
    got = source.take(torch.arange(12))
    whole = stream(tar(tmp_path / "u.tar", samples(0, 12))).take(torch.tensor([0, 1, 3, 3, 4, 5, 6, 7, 8, 9, 10, 0]))
    assert torch.equal(got["data"], whole["data"]) and torch.equal(got["label"], whole["label"])
    assert source.damage.count == 2
    assert sorted(name for name, _ in source.damage.first) == ["t.tar: 00002.png", "t.tar: 00011.png"]
    source.take(torch.arange(12))
    assert source.damage.count == 2, "each counts once"
    with pytest.raises(InputError, match=r"t\.tar: 00002\.png: "):
        stream(tmp_path / "t.tar", strict=True)
    bomb = tar(tmp_path / "b.tar", [*samples(0, 3), ("9.png", file(noise("L", (50, 50))))])
    source = stream(bomb, resolution=8, max_pixels=100, labels="none")
    assert len(source.take(torch.tensor([3]))["data"]) == 1 and "2500" not in source.damage.first[0][0]
    assert "50x50 pixels are more than max_pixels=100" in source.damage.first[0][1]


def test_shards_that_are_cut_off_or_damaged(tmp_path: Path) -> None:
    whole = tar(tmp_path / "a.tar", samples(0, 10)).read_bytes()
    folder = make(tmp_path / "s", 1)
    (folder / "train-0001.tar").write_bytes(whole[: 1024 * 8 + 512 + 20])
    source = stream(folder, labels="none")
    told = "1 images cannot be read, the first is train-0001.tar: 00004.png: the shard is cut off within it"
    assert source.messages == (told,) and len(source) == 14
    header = whole.index(b"00007.png")
    (folder / "train-0001.tar").write_bytes(whole[:header] + b"\xff" * 512 + whole[header + 512 :])
    source = stream(folder, labels="none")
    assert len(source) == 17 and "damaged after this member" in source.messages[0]
    with pytest.raises(InputError, match=r"train-0001\.tar: 00006\.cls: the archive is damaged"):
        stream(folder, labels="none", strict=True)
    assert source.damage.count == source.damage.known == 1


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("nothing-{0..3}.tar", r"nothing-0\.tar: no such shard \(one of the 4"),
        ("*.tar", r"\*\.tar: no file ends in \.tar or \.parquet there"),
        ("empty.tar", r"empty\.tar: the file is empty"),
        ("blank.tar", r"blank\.tar: no images in 1 shards; looked for"),
        ("text.tar", r"text\.tar: not a \.tar archive that can be read"),
        ("s/packed.tar.gz", r"packed\.tar\.gz: a compressed \.tar cannot be read in parts"),
        ("one.tar", r"one\.tar: one image only"),
        ("{3..1}.tar", r"\{3\.\.1\} counts down"),
        ("foo://x/a.tar", "Protocol not known: foo"),
        ("s3://x/a.tar", r"s3://x/a\.tar: its protocol needs one more package: Install s3fs"),
        ("memory://nothing", "no shards: only files that end in .tar or .parquet can be streamed"),
        ("memory://nothing/*.tar", "no file ends in .tar or .parquet there"),
        ("memory://nothing/a.tar", "no such shard, or it cannot be reached"),
        ("bad.tar", r"bad\.tar: none of 3 images can be read; the first, bad\.tar: 0\.png: not an image"),
    ],
)
def test_bad_input_gets_one_line(tmp_path: Path, spec: str, told: str) -> None:
    work = tmp_path / "w"
    (work / "s").mkdir(parents=True)
    if spec == "*.tar":
        (work / "other.txt").write_text("")
    else:
        (work / "empty.tar").write_bytes(b"")
        (work / "text.tar").write_text("this is text\n" * 100)
        (work / "s" / "packed.tar.gz").write_bytes(gzip.compress(b"x"))
        tar(work / "blank.tar", [("a.txt", b"x")])
        tar(work / "one.tar", samples(0, 1))
        tar(work / "bad.tar", [(f"{i}.png", b"no") for i in range(3)])
    if spec.startswith("s3") and __import__("importlib").util.find_spec("s3fs"):
        pytest.skip("s3fs is installed")
    full = spec if "://" in spec else f"{work}/{spec}"
    with pytest.raises(InputError, match=told) as caught:
        open_data(full)
    assert "\n" not in str(caught.value)


def test_without_fsspec_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(InputError, match=r"pip install 'ganforge\[stream\]'"):
        stream("https://example.org/a.tar")


# ---- files beside shards, and writing


def test_sidecars_spare_the_reading_of_headers(tmp_path: Path, in_memory: Callable[[Path], str]) -> None:
    put(tmp_path / "f", {f"{c}/{i}.jpg": file(noise("RGB"), "JPEG") for c in "ab" for i in range(9)})
    written = write_shards(str(tmp_path / "f"), tmp_path / "s", mebibytes=1, seed=3)
    assert written.count == 18 and written.skipped == ()
    url = in_memory(tmp_path / "s")
    with mock.patch.object(streamed_index, "scan", side_effect=AssertionError("headers were read")):
        source = stream(url)
    packed = read(tmp_path / "f")
    both = [sorted((int(y), x.tobytes()) for x, y in zip(pixels(s), s.take(torch.arange(18))["label"], strict=True))
            for s in (source, packed)]  # type: ignore[arg-type]  # fmt: skip
    assert both[0] == both[1] and source.index.classes == ("a", "b")
    sidecar = tmp_path / "s" / "train-000000.tar.index.safetensors"
    content = sidecar.read_bytes()
    found = streamed_index.Contents.from_bytes(content, written.paths[0].stat().st_size, None)
    assert found is not None and streamed_index.Contents.from_bytes(content, 99, None) is None
    size = written.paths[0].stat().st_size
    found.offset[0] = size  # what lies outside of the shard is not believed
    for lie in (b"", b"{}", content[:-30], b"\xff" * 400, found.to_bytes(size, None)):
        assert streamed_index.Contents.from_bytes(lie, size, None) is None
        sidecar.write_bytes(lie)
        assert torch.equal(stream(tmp_path / "s").take(torch.arange(18))["data"], source.take(torch.arange(18))["data"])


def test_shards_from_the_command_line(tmp_path: Path) -> None:
    said = ganforge("data", "shards", "digits", "--out", tmp_path / "s", "--mebibytes", 1)
    assert said.code == 0 and said.out.startswith("1,797 images in 4 shards"), said
    again = write_shards("digits", tmp_path / "t", mebibytes=1)
    assert [p.read_bytes() for p in again.paths] == [p.read_bytes() for p in sorted((tmp_path / "s").glob("*.tar"))]
    source, packed = stream(tmp_path / "s"), read("digits")
    assert source.counts == packed.counts and source.shape == packed.shape
    assert {x.tobytes() for x in pixels(source)} == {x.tobytes() for x in pixels(packed)}  # type: ignore[arg-type]
    said = ganforge("data", "shards", "digits", "--out", tmp_path / "s")
    assert said.code == 2 and "exists already" in said.error
    said = ganforge("data", "shards", tmp_path / "none", "--out", tmp_path / "x")
    assert said.code == 2 and not (tmp_path / "x").exists() and not list(tmp_path.glob(".*"))
    said = ganforge("data", "inspect", f"{tmp_path}/s/train-000000.tar", "--out", tmp_path / "sheet.png")
    assert said.code == 0 and "10 classes" in said.out and (tmp_path / "sheet.png").exists()
