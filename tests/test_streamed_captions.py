"""Captions and numbers beside streamed images: what a folder gives, exact resume, one line for what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

import ganforge
from command import ganforge as command
from ganforge.config import Settings, checked
from ganforge.core.errors import InputError
from ganforge.domains import module_for, open_data, streamed, streamed_captions, streamed_index, streamed_source
from ganforge.domains.domain import Part
from ganforge.domains.streamed_captions import StreamedCaptionOptions, StreamedCaptions
from ganforge.domains.streamed_texts import Texts
from ganforge.engine.run import Run
from ganforge.engine.trainer import Trainer
from ganforge.plan import make_plan
from image_makers import file, noise, put
from shard_makers import Files, tar
from test_streamed import in_memory  # noqa: F401 (a fixture)
from test_streamed_training import same

COLORS = ("red", "blue", "green", "white")
WAYS = [[f"a {COLORS[i % 4]} cat, number {i}"] + ["it sleeps"] * (i % 3) for i in range(24)]


def picture(i: int) -> bytes:
    return file(noise("L", (16, 16), seed=i))


def beside(i: int, how: str) -> tuple[str, bytes]:
    """What says the captions of image i."""
    told: dict[str, Any] = {"url": "x", how: WAYS[i] if len(WAYS[i]) > 1 else WAYS[i][0]}
    return (
        (f"{i:04d}.txt", "\n".join(WAYS[i]).encode()) if how == "txt" else (f"{i:04d}.json", json.dumps(told).encode())
    )


def shards(place: Path, how: str = "txt", each: int = 8) -> Path:
    for s in range(24 // each):
        files: Files = []
        for i in range(s * each, (s + 1) * each):
            files += [(f"{i:04d}.png", picture(i)), beside(i, how)]
        tar(place / f"train-{s}.tar", files)
    return place


def folder(place: Path) -> Path:
    put(place, {f"{i:04d}.png": picture(i) for i in range(24)})
    rows = [f'{i:04d}.png,"{text}"' for i, texts in enumerate(WAYS) for text in texts]
    put(place, {"captions.csv": "\n".join(["file_name,caption", *rows])})
    return place


def opened(spec: Path | str, **options: object) -> tuple[Any, Any]:
    module = module_for(str(spec), ("captions",))
    return open_data(str(spec), checked(module.OPTIONS, options, "data"), ("captions",))


@pytest.mark.parametrize("how", ["txt", "caption", "text"])
def test_captions_of_shards_are_those_of_a_folder(tmp_path: Path, how: str) -> None:
    (domain, source), (plain, packed) = opened(shards(tmp_path / "s", how)), opened(folder(tmp_path / "f"))
    assert isinstance(source, StreamedCaptions) and domain == plain and len(source) == 24
    rows = torch.tensor([23, 0, 5, 5, 8])
    got, want = source.take(rows), packed.take(rows)
    assert set(got) == set(want) and all(torch.equal(got[key], want[key]) for key in want)
    assert any(" captions, " in m for m in source.messages)
    empty = source.take(torch.zeros(0, dtype=torch.int64))
    assert empty["captions"].shape == (0, 3, domain.length)


def test_the_second_time_nothing_is_read_but_images(tmp_path: Path) -> None:
    first = opened(shards(tmp_path / "s"))
    with mock.patch.object(streamed_index, "scan", side_effect=AssertionError("headers were read")):
        again = opened(tmp_path / "s")
    assert again[0] == first[0] and again[1].fingerprint == first[1].fingerprint
    tar(tmp_path / "s" / "train-0.tar", [("0.png", picture(0)), ("0.txt", b"a dog"), *shard_of(1, 8)])
    assert opened(tmp_path / "s")[1].fingerprint != first[1].fingerprint


def shard_of(first: int, last: int) -> Files:
    return [one for i in range(first, last) for one in ((f"{i:04d}.png", picture(i)), beside(i, "txt"))]


def test_parquet_and_urls(tmp_path: Path, in_memory: Any) -> None:  # noqa: F811
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    whole, source = opened(shards(tmp_path / "s"))
    there = opened(in_memory(tmp_path / "s"))
    assert there[0] == whole and there[1].fingerprint == source.fingerprint
    cells = [{"bytes": picture(i), "path": None} for i in range(24)]
    (tmp_path / "p").mkdir()
    for s in range(2):
        part = slice(12 * s, 12 * s + 12)
        table = pa.table({"image": cells[part], "caption": WAYS[part], "said": [w[0] for w in WAYS[part]]})
        pq.write_table(table, tmp_path / "p" / f"train-{s}.parquet", row_group_size=5)
    domain, rows = opened(f"{tmp_path}/p/*.parquet")
    assert domain == whole
    got, want = rows.take(torch.arange(24)), source.take(torch.arange(24))
    assert torch.equal(got["captions"], want["captions"]) and torch.equal(got["data"], want["data"])
    (tmp_path / "hub").mkdir()
    (tmp_path / "p").rename(tmp_path / "hub" / "data")
    for spec in (tmp_path / "hub", tmp_path / "hub" / "data"):
        assert opened(spec)[0] == whole and opened(spec)[1].fingerprint == rows.fingerprint
    (tmp_path / "hub" / "data").rename(tmp_path / "p")
    one, _ = opened(f"{tmp_path}/p/*.parquet", caption_column="said")
    assert one.caption_column == "said" and "sleeps" not in one.vocabulary
    with pytest.raises(InputError, match="no column 'sad'; did you mean 'said'"):
        opened(f"{tmp_path}/p/*.parquet", caption_column="sad")


def trained(data: Path, rounds: int, run: Run | None = None, shards: int = 1, **options: object) -> Trainer:
    """A trainer that has played so many rounds, from the run's checkpoint where it has one."""
    asked = {"rounds": rounds, "device": "cpu", "threads": 1, "shards": shards}
    params = {"size": 8, "words": 16, "latent": 8, "batch": 8}
    plan = make_plan(Settings("text2image", str(data), params, options, asked), lambda line: None)
    trainer = plan.trainer(plan.build(), run)
    assert run is None or trainer.resume()
    trainer.train()
    return trainer


def test_training_is_that_of_a_folder_and_resumes(tmp_path: Path) -> None:
    """Bit for bit: from shards as from a folder, and 3 rounds with 3 more after them as 6 at once, in a window."""
    data = shards(tmp_path / "s", each=4)
    assert same(trained(data, 3), trained(folder(tmp_path / "f"), 3))
    with mock.patch.object(streamed_source, "BLOCK", 2048), mock.patch.object(streamed, "BLOCK", 2**21):
        small = ["size=8", "words=16", "latent=8", "batch=8", "data.window=4", "data.shuffle=window",
                 "train.threads=1"]  # fmt: skip
        said = command("train", "text2image", "--data", data, "--run", tmp_path / "run", "--rounds", 3, "-q",
                       "--device", "cpu", *(f"--set={s}" for s in small), draw=False)  # fmt: skip
        assert said.code == 0, said.err
        window = {"window": 4, "shuffle": "window"}
        resumed = trained(data, 6, Run.open(tmp_path / "run"), **window)
        whole = trained(data, 6, **window)
        assert whole.stream.source.longest.window == 2  # type: ignore[attr-defined]
    assert same(resumed, whole)
    model = ganforge.load(tmp_path / "run")
    assert model.generate(1, prompt="a red cat")["captions"] == ["a red cat"]


def test_shards_are_written_with_their_captions(tmp_path: Path) -> None:
    """``ganforge data shards`` takes what tables say of images along."""
    rows = [{"file_name": f"{i:04d}.png", "text": "not this", "label": f"c{i % 2}", "by": None} for i in range(24)]
    put(tmp_path / "f", {"metadata.jsonl": "\n".join(map(json.dumps, rows))})
    said = command("data", "shards", folder(tmp_path / "f"), "--out", tmp_path / "s")
    assert said.code == 0, said.err
    (domain, source), (plain, packed) = opened(tmp_path / "s"), opened(tmp_path / "f")
    assert (domain.vocabulary, domain.length) == (plain.vocabulary, plain.length)
    seen = [
        {
            (x.tobytes(), tuple(sorted(set(plain.spoken(c)))))
            for x, c in zip(t["data"].numpy(), t["captions"], strict=True)
        }
        for t in (s.take(torch.arange(24)) for s in (source, packed))
    ]
    assert len(seen[0]) == 24 and seen[0] == seen[1]
    images, labelled = open_data(str(tmp_path / "s")), open_data(str(tmp_path / "f"))
    assert images[0].classes == labelled[0].classes == ("c0", "c1")
    put(tmp_path / "f", {"captions.csv": b"file_name,caption\n0000.png,a,b\n"})
    said = command("data", "shards", tmp_path / "f", "--out", tmp_path / "t")
    assert said.code == 2 and "captions.csv, row 2: more fields" in said.error and not (tmp_path / "t").exists()


def test_held_out_captions_are_read_in_the_models_words(tmp_path: Path) -> None:
    """Shards or a folder, whichever was trained on; and a share of the shards."""
    tar(tmp_path / "h" / "a.tar", [("0.png", picture(50)), ("0.txt", b"a red dog"), ("1.png", picture(51)),
                                   ("1.txt", b"a cat")])  # fmt: skip
    domain, _ = opened(folder(tmp_path / "f"))
    like, other = streamed_captions.open_like(str(tmp_path / "h"), domain)
    assert like is domain and other.take(torch.tensor([1]))["captions"].tolist() == [domain.numbers(["a cat"]).tolist()]
    asked = {"rounds": 1, "device": "cpu"}
    for data, holdout in (("f", tmp_path / "h"), ("s", tmp_path / "f"), ("s", 0.25)):
        shards(tmp_path / "s")
        settings = Settings("text2image", str(tmp_path / data), {"batch": 4}, {}, {**asked, "holdout": str(holdout)})
        plan = make_plan(settings, lambda line: None)
        assert plan.held is not None and set(plan.held.take(torch.arange(2))) == {"data", "captions"}
        assert isinstance(plan.held, Part) == isinstance(holdout, float)


def test_a_damaged_image_takes_its_caption_along(tmp_path: Path) -> None:
    files = shard_of(0, 12)
    files[4] = (files[4][0], b"no image")  # image 2
    domain, source = opened(tar(tmp_path / "t.tar", files))
    got = source.take(torch.arange(12))
    assert domain.spoken(got["captions"][2]) == domain.spoken(got["captions"][3])
    assert domain.spoken(got["captions"][3])[0] == WAYS[3][0] and torch.equal(got["data"][2], got["data"][3])
    assert source.damage.count == 1 and source.damage.first[0][0] == "t.tar: 0002.png"
    with pytest.raises(InputError, match=r"t\.tar: 0002\.png: "):
        opened(tmp_path / "t.tar", strict=True)


@pytest.mark.parametrize(
    ("change", "options", "told"),
    [
        (lambda f: f[:7] + f[8:11] + f[12:], {}, r"t\.tar: 2 of 12 images have no caption in a \.txt file, the first"),
        (lambda f: [*f[:7], ("0003.txt", b" \n"), *f[8:]], {}, r"1 of 12 .* the first is t\.tar: 0003\.png: add"),
        (lambda f: f[::2], {}, r"no caption beside the images: looked for 'caption' or .* in a \.json file, a \.txt"),
        (lambda f: f, {"caption_column": "said"}, r"no caption beside .*: looked for 'said' in a \.json file"),
        (lambda f: [*f, ("0003.json", b"{")], {}, r"t\.tar: 0003\.json: cannot be read as text"),
        (lambda f: [*f[:1], ("0000.txt", b"\xff\xfe\xff"), *f[2:]], {}, r"0000\.txt: cannot be read as text"),
        (lambda f: [*f[:1], ("0000.txt", b"x" * (2**20 + 1)), *f[2:]], {}, r"0000\.txt: .* too many for text"),
        (lambda f: f, {"count": 5}, "made up"),
    ],
)  # fmt: skip
def test_bad_captions_are_one_clear_line(tmp_path: Path, change: Any, options: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        opened(tar(tmp_path / "t.tar", change(shard_of(0, 12))), **options)
    assert "\n" not in str(caught.value)


def test_other_recipes_leave_captions_alone(tmp_path: Path) -> None:
    tar(tmp_path / "t.tar", [*shard_of(0, 4), ("0001.json", b"[]"), ("0002.txt", b"\xff")])
    assert open_data(str(tmp_path / "t.tar"))[0].kind == "image"
    with pytest.raises(InputError, match=r"unknown setting 'data\.caption_column'"):
        checked(module_for(str(tmp_path / "t.tar")).OPTIONS, {"caption_column": "x"}, "data")
    assert issubclass(StreamedCaptionOptions, streamed.StreamedOptions)


def test_texts_are_kept_as_bytes() -> None:
    images = [["a b", "ü"], [], ["c"], ["", "d\nd"]]
    texts = Texts.of(images)
    assert list(texts) == [text for each in images for text in each] and texts[1:3] == ["ü", "c"]
    assert texts.counts.tolist() == [2, 0, 1, 2] and texts.without.tolist() == [1]
    both = Texts.joined([texts, Texts.of([]), Texts.of([["e"]])])
    assert list(both) == [*texts, "e"] and both.counts.tolist() == [2, 0, 1, 2, 1]
    arrays = both.arrays("x")
    assert list(Texts.from_arrays("x", arrays, 5)) == list(both)
    for name, wrong in (("ends", both.ends[::-1].copy()), ("last", both.last + 1), ("content", both.content[:3])):
        with pytest.raises(ValueError, match="x"):
            Texts.from_arrays("x", {**arrays, f"x.{name}": wrong}, 5)
    with pytest.raises(ValueError, match="x"):
        Texts.from_arrays("x", arrays, 4)


def test_a_caption_without_a_word_is_told_with_its_image(tmp_path: Path) -> None:
    place, shard = folder(tmp_path / "f"), shards(tmp_path / "s")
    text = (place / "captions.csv").read_text()
    assert not any("no word" in line for data in (place, shard) for line in opened(data)[1].messages)
    at = text.index('"it sleeps"', text.index("0005.png"))
    (place / "captions.csv").write_text(text[:at] + '"- ..."' + text[at + len('"it sleeps"') :])
    assert "1 caption has no word, the first is that of '0005.png': '- ...'" in opened(place)[1].messages
    files = [file for i in range(8) for file in ((f"{i:04d}.png", picture(i)), beside(i, "txt"))]
    files[11] = ("0005.txt", b"a cat\n...")
    tar(shard / "train-0.tar", files)
    said = "1 caption has no word, the first is that of train-0.tar: 0005.png: '...'"
    assert said in opened(shard)[1].messages
