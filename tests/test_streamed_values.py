"""A number beside each streamed image: what a folder gives, exact resume, one line for what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from command import ganforge as command
from ganforge.config import Settings, checked
from ganforge.core.errors import InputError
from ganforge.domains import module_for, open_data, streamed, streamed_attribute, streamed_source
from ganforge.domains.streamed_attribute import StreamedValues
from ganforge.engine.run import Run
from ganforge.engine.trainer import Trainer
from ganforge.plan import make_plan
from image_makers import file, noise, put
from shard_makers import Files, tar
from test_streamed_training import same

AGES = [20 + 1.5 * (7 * i % 24) for i in range(24)]


def picture(i: int) -> bytes:
    return file(noise("RGB", (16, 16), seed=i))


def beside(i: int, how: str) -> tuple[str, bytes]:
    """What says the age of image i."""
    name = f"{i:04d}."
    return (name + how, str(AGES[i]).encode()) if how in ("txt", "cls") else (
        name + "json", json.dumps({"width": 16, "label": "x", how: AGES[i]}).encode()
    )  # fmt: skip


def files(how: str = "age", first: int = 0, last: int = 24) -> Files:
    return [one for i in range(first, last) for one in ((f"{i:04d}.png", picture(i)), beside(i, how))]


def shards(place: Path, how: str = "age", each: int = 8) -> Path:
    for s in range(24 // each):
        tar(place / f"train-{s}.tar", files(how, s * each, (s + 1) * each))
    return place


def folder(place: Path) -> Path:
    put(place, {f"{i:04d}.png": picture(i) for i in range(24)})
    put(place, {"metadata.csv": "\n".join(["file_name,age", *(f"{i:04d}.png,{AGES[i]}" for i in range(24))])})
    return place


def opened(spec: Path | str, **options: object) -> tuple[Any, Any]:
    module = module_for(str(spec), ("attribute",))
    return open_data(str(spec), checked(module.OPTIONS, options, "data"), ("attribute",))


@pytest.mark.parametrize(
    ("how", "options", "column"),
    [("age", {}, "age"), ("txt", {}, "value"), ("cls", {}, "value"), ("slant", {"column": "slant"}, "slant")],
)
def test_numbers_of_shards_are_those_of_a_folder(tmp_path: Path, how: str, options: dict, column: str) -> None:
    (domain, source), (plain, packed) = opened(shards(tmp_path / "s", how), **options), opened(folder(tmp_path / "f"))
    assert isinstance(source, StreamedValues) and domain.column == column
    assert (domain.knots, domain.mean, domain.sd, domain.shape) == (plain.knots, plain.mean, plain.sd, plain.shape)
    rows = torch.tensor([23, 0, 5, 5, 8])
    got, want = source.take(rows), packed.take(rows)
    assert set(got) == set(want) and all(torch.equal(got[key], want[key]) for key in want)


def test_the_only_number_is_taken_and_others_are_named(tmp_path: Path) -> None:
    only = [
        (name, json.dumps({"slant": 3 * i + 0.5, "of": True}).encode()) for i, (name, _) in enumerate(files()[1::2])
    ]
    domain, source = opened(tar(tmp_path / "t.tar", [*files()[::2], *only]))
    assert domain.column == "slant" and source.take(torch.tensor([2]))["value"].tolist() == [[6.5]]
    both = [(name, json.dumps({"slant": i, "size": i}).encode()) for i, (name, _) in enumerate(only)]
    with pytest.raises(InputError, match=r"there are slant, size: --set data\.column=NAME"):
        opened(tar(tmp_path / "t.tar", [one for pair in zip(files()[::2], both, strict=True) for one in pair]))


def test_shards_are_written_with_their_numbers(tmp_path: Path) -> None:
    """With or without a class; the places that .cls gives to classes are never taken for numbers."""
    plain, packed = opened(folder(tmp_path / "f"))
    want = {(float(v), x.tobytes()) for v, x in zip(packed.values, packed.packed.take(torch.arange(24))["data"].numpy(),
                                                    strict=True)}  # fmt: skip
    for more, column in (((), "age"), (("--label-column", "age"), "age")):
        out = tmp_path / f"s{len(more)}"
        assert command("data", "shards", tmp_path / "f", "--out", out, *more).code == 0
        domain, source = opened(out)
        got = source.take(torch.arange(24))
        assert domain.column == column and sorted(domain.knots) == sorted(plain.knots)
        assert {(float(v), x.tobytes()) for v, x in zip(got["value"], got["data"].numpy(), strict=True)} == want
    labelled = [(f"{i:04d}.cls", str(i % 3).encode()) for i in range(24)]
    named = [(f"{i:04d}.json", json.dumps({"label": "abc"[i % 3]}).encode()) for i in range(24)]
    path = tar(tmp_path / "t.tar", sorted([*files()[::2], *labelled, *named]))
    with pytest.raises(InputError, match="which number of the images is to be changed"):
        opened(path)


def test_parquet(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    cells = [{"bytes": picture(i), "path": None} for i in range(24)]
    for s in range(2):
        part = slice(12 * s, 12 * s + 12)
        table = pa.table({"image": cells[part], "age": AGES[part], "name": ["x"] * 12, "size": [1] * 12})
        pq.write_table(table, tmp_path / f"train-{s}.parquet", row_group_size=5)
    domain, source = opened(f"{tmp_path}/*.parquet")
    plain, packed = opened(folder(tmp_path / "f"))
    assert domain == plain
    rows = torch.tensor([13, 0, 23])
    assert all(torch.equal(source.take(rows)[key], packed.take(rows)[key]) for key in ("data", "value"))
    with pytest.raises(InputError, match=r"no column 'aged'.*did you mean 'age'"):
        opened(f"{tmp_path}/*.parquet", column="aged")
    with pytest.raises(InputError, match=r"train-0\.parquet, row 0 has name 'x', which is not a number"):
        opened(f"{tmp_path}/*.parquet", column="name")


def trained(data: Path, rounds: int, run: Run | None = None, **options: object) -> Trainer:
    """A trainer that has played so many rounds, from the run's checkpoint where it has one."""
    asked = {"rounds": rounds, "device": "cpu", "threads": 1}
    plan = make_plan(
        Settings("age", str(data), {"size": 8, "batch": 4, "blocks": 1}, options, asked), lambda line: None
    )
    trainer = plan.trainer(plan.build(), run)
    assert run is None or trainer.resume()
    trainer.train()
    return trainer


def test_training_is_that_of_a_folder_and_resumes(tmp_path: Path) -> None:
    """Bit for bit: from shards as from a folder, and 3 rounds with 3 more after them as 6 at once, in a window."""
    data = shards(tmp_path / "s", each=4)
    assert same(trained(data, 3), trained(folder(tmp_path / "f"), 3))
    window = {"window": 4, "shuffle": "window"}
    with mock.patch.object(streamed_source, "BLOCK", 2048), mock.patch.object(streamed, "BLOCK", 2**21):
        small = ["size=8", "batch=4", "blocks=1", "data.window=4", "data.shuffle=window", "train.threads=1"]
        said = command("train", "age", "--data", data, "--run", tmp_path / "run", "--rounds", 3, "-q",
                       "--device", "cpu", *(f"--set={s}" for s in small), draw=False)  # fmt: skip
        assert said.code == 0, said.err
        whole = trained(data, 6, **window)
        assert whole.stream.source.longest.window == 2  # type: ignore[attr-defined]
        assert same(trained(data, 6, Run.open(tmp_path / "run"), **window), whole)


def test_other_shards_are_read_in_a_models_units(tmp_path: Path) -> None:
    domain, _ = opened(folder(tmp_path / "f"))
    for how in ("age", "txt"):
        like, other = streamed_attribute.open_like(str(shards(tmp_path / how, how)), domain)
        assert like is domain and other.take(torch.tensor([3]))["value"].tolist() == [[AGES[3]]]
    with pytest.raises(InputError, match=r"no age beside the images: looked for 'age' in a \.json file, a \.txt file"):
        streamed_attribute.open_like(str(shards(tmp_path / "other", "slant")), domain)


@pytest.mark.parametrize(
    ("change", "options", "told"),
    [
        (
            lambda f: f[:7] + f[8:],
            {},
            r"1 of 24 images have no age as 'age' in a \.json file, the first is t\.tar: 0003",
        ),
        (
            lambda f: [*f[:7], ("0003.json", b'{"age": "old"}'), *f[8:]],
            {"column": "age"},
            r"0003\.png has age 'old', wh",
        ),
        (
            lambda f: [*f[:7], ("0003.json", b'{"age": NaN}'), *f[8:]],
            {},
            r"0003\.png has age 'nan', which is not a number",
        ),
        (lambda f: [*f[:7], ("0003.json", b'{"age": null}'), *f[8:]], {}, "1 of 24 images have no age"),
        (
            lambda f: f[::2],
            {},
            r"t\.tar: which number .* no \.json or \.txt or \.cls files with one: --set data\.column",
        ),
        (lambda f: f, {"column": "agee"}, r"no agee beside the images: looked for 'agee' in a \.json file"),
        (lambda f: f, {"labels": "folder"}, "images with a number each"),
        (lambda f: f, {"column": "width"}, "all images have the same width, 16"),
    ],
)
def test_bad_numbers_are_one_clear_line(tmp_path: Path, change: Any, options: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        opened(tar(tmp_path / "t.tar", change(files())), **options)
    assert "\n" not in str(caught.value)
