"""Two sets, and pairs, in shards: what folders give, exact resume, blocks read seldom, one line for what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from command import ganforge as command
from ganforge.config import Settings, checked
from ganforge.core.errors import InputError
from ganforge.domains import module_for, open_data, streamed, streamed_places, streamed_source
from ganforge.domains.streamed_paired import StreamedHalves, StreamedPairs
from ganforge.domains.streamed_samples import Damages
from ganforge.domains.streamed_unpaired import StreamedSets, StreamedUnpairedOptions
from ganforge.engine.run import Run
from ganforge.engine.stream import Stream
from ganforge.engine.trainer import Trainer
from ganforge.plan import make_plan
from image_makers import file, noise, put
from shard_makers import Files, tar
from test_streamed import in_memory  # noqa: F401 (a fixture)
from test_streamed_order import Counting
from test_streamed_training import same


def picture(i: int, mode: str = "RGB", size: tuple[int, int] = (16, 16)) -> bytes:
    return file(noise(mode, size, seed=i))


def images(first: int, last: int, mode: str = "RGB") -> Files:
    return [(f"{i:04d}.png", picture(i, mode)) for i in range(first, last)]


def sets(place: Path, inside: bool = True, a: int = 24, b: int = 18) -> Path:
    """Shards of ``a`` and ``b`` images, in folders trainA and trainB, or with such names."""
    name = "train{}/s-{}.tar" if inside else "train{}-{}.tar"
    for s in range(2):
        tar(place / name.format("A", s), images(s * a // 2, (s + 1) * a // 2))
        tar(place / name.format("B", s), images(100 + s * b // 2, 100 + (s + 1) * b // 2))
    return place


def folder(place: Path, a: int = 24, b: int = 18) -> Path:
    put(place, {f"trainA/{name}": content for name, content in images(0, a)})
    return put(place, {f"trainB/{name}": content for name, content in images(100, 100 + b)})


def opened(spec: Path | str, kind: str = "unpaired", **options: object) -> tuple[Any, Any]:
    module = module_for(str(spec), (kind,))
    return open_data(str(spec), checked(module.OPTIONS, options, "data"), (kind,))


def equal(got: dict[str, torch.Tensor], want: dict[str, torch.Tensor]) -> bool:
    return set(got) == set(want) and all(torch.equal(got[key], want[key]) for key in want)


# ---- two sets


def test_two_sets_in_shards_are_those_in_folders(tmp_path: Path, in_memory: Any) -> None:  # noqa: F811
    """Told apart by folders, by the names of the shards, or by data.target; local or by URL."""
    plain, packed = opened(folder(tmp_path / "f"))
    rows = torch.tensor([23, 0, 19, 5, 5])
    both, named = sets(tmp_path / "s"), sets(tmp_path / "named", inside=False)
    a, b = f"{both}/trainA", f"{both}/trainB"
    found = [opened(both), opened(named), opened(in_memory(named)), opened(a, target=b), opened(f"{named}/*.tar")]
    for domain, source in found:
        assert domain == plain and isinstance(source, StreamedSets) and len(source) == 24
        assert equal(source.take(rows), packed.take(rows))
        assert source.messages[0] == "24 images in A, 18 in B" and source.fingerprint == found[0][1].fingerprint
    other = opened(b, target=a)[1]
    assert other.fingerprint != found[0][1].fingerprint and len(other) == 24


def test_parts_of_two_sets(tmp_path: Path) -> None:
    place = sets(tmp_path / "s")
    tar(place / "testA" / "s.tar", images(50, 54))
    tar(place / "testB" / "s.tar", images(60, 63))
    assert len(opened(place)[1]) == 24
    assert len(opened(f"{place}/test")[1]) == len(opened(place, split="test")[1]) == 4


def trained(data: Path, rounds: int, run: Run | None = None, recipe: str = "cyclegan", **options: object) -> Trainer:
    """A trainer that has played so many rounds, from the run's checkpoint where it has one."""
    asked = {"rounds": rounds, "device": "cpu", "threads": 1}
    params = {"size": 8, "batch": 4, **({"blocks": 1} if recipe == "cyclegan" else {})}
    plan = make_plan(Settings(recipe, str(data), params, options, asked), lambda line: None)
    trainer = plan.trainer(plan.build(), run)
    assert run is None or trainer.resume()
    trainer.train()
    return trainer


def resumes(data: Path, run: Path, recipe: str, params: tuple[str, ...], **options: object) -> None:
    """3 rounds, and 3 more in a trainer of its own, are 6 at once, to the bit; in a window that does not hold all."""
    window = {"window": 4, "shuffle": "window", **options}
    with mock.patch.object(streamed_source, "BLOCK", 2048), mock.patch.object(streamed, "BLOCK", 2**21):
        small = ["size=8", "batch=4", "train.threads=1", *params, *(f"data.{k}={v}" for k, v in window.items())]
        said = command("train", recipe, "--data", data, "--run", run, "--rounds", 3, "-q", "--device", "cpu",
                       *(f"--set={s}" for s in small), draw=False)  # fmt: skip
        assert said.code == 0, said.err
        whole = trained(data, 6, recipe=recipe, **window)
        assert whole.stream.source.longest.window == 2  # type: ignore[attr-defined]
        assert same(trained(data, 6, Run.open(run), recipe, **window), whole)


def test_training_on_two_sets_is_that_on_folders_and_resumes(tmp_path: Path) -> None:
    data = sets(tmp_path / "s")
    assert same(trained(data, 3), trained(folder(tmp_path / "f"), 3))
    resumes(data, tmp_path / "run", "cyclegan", ("blocks=1",))


def test_blocks_of_both_sets_are_read_seldom(tmp_path: Path) -> None:
    """Those of the larger set once an epoch; those of the other beside them, a few times at most."""
    place = Counting()
    with (
        mock.patch.object(streamed_source, "BLOCK", 8192),
        mock.patch.object(streamed, "BLOCK", 2**20),
        mock.patch.object(streamed_places, "LocalPlace", lambda: place),
    ):
        domain, source = opened(sets(tmp_path / "s", a=240, b=180), window=4, ahead=16)
    place.reads.clear()
    batches = Stream(source, domain, 8, 0, torch.device("cpu"))
    _, plain = opened(tmp_path / "s")
    for shard in range(30):
        got, want = batches.take(shard), domain.encode(plain.take(batches.rows(shard)))
        assert torch.equal(got["data"], want["data"]) and torch.equal(got["input"], want["input"])
    a, b = ([read for read in place.reads if f"train{side}" in read[0]] for side in "AB")
    assert source.a.window == 4 and len(source.a.starts) > 20
    assert len(a) <= len(source.a.starts) + 8 and len(b) <= 2 * len(source.a.starts) + 8
    assert len(source.b._blocks) <= source.b._kept_blocks <= 3 * source.a._kept_blocks


def test_damage_of_both_sets_is_told(tmp_path: Path) -> None:
    place = sets(tmp_path / "s")
    tar(place / "trainA" / "s-0.tar", [*images(0, 11), ("x.png", b"broken")])
    tar(place / "trainB" / "s-0.tar", [*images(100, 108), ("y.png", b"broken")])
    _, source = opened(place)
    source.take(torch.arange(24))
    assert isinstance(source.damage, Damages) and (source.damage.count, source.damage.known) == (2, 0)
    assert [name for name, _ in source.damage.first] == ["s-0.tar: x.png", "s-0.tar: y.png"]


def test_what_is_missing_of_two_sets_is_one_clear_line(tmp_path: Path) -> None:
    def refused(spec: Path | str, told: str, **options: Any) -> None:
        with pytest.raises(InputError, match=told) as caught:
            opened(spec, **options)
        assert "\n" not in str(caught.value)

    place = sets(tmp_path / "s")
    refused(f"{place}/trainA", "there are no two sets of shards: give folders trainA and trainB")
    refused(f"{place}/trainA", "set A is in shards, so set B must be", target=str(folder(tmp_path / "f")))
    refused(place, "there are no two sets of shards", split="test")
    tar(tmp_path / "alone" / "trainA-0.tar", images(0, 4))
    refused(tmp_path / "alone", "there are shards 'trainA', but no 'trainB'")
    tar(tmp_path / "odd" / "A.tar", images(0, 4))
    tar(tmp_path / "odd" / "B.tar", [(f"{i}.png", picture(i, size=(8, 8))) for i in range(4)])
    refused(tmp_path / "odd", "two sets have different sizes, 16x16 and 8x8: choose one with --resolution")
    assert opened(tmp_path / "odd", resolution=8)[0].shape == (3, 8, 8)
    assert issubclass(StreamedUnpairedOptions, streamed.StreamedOptions)
    with pytest.raises(InputError, match="which this recipe is not for"):
        open_data(str(place))


# ---- pairs


def couples(first: int, last: int, a: str = "a.png", b: str = "b.png") -> Files:
    """Samples of a grey image and a colored one."""
    return [
        one for i in range(first, last) for one in ((f"{i:04d}.{a}", picture(i, "L")), (f"{i:04d}.{b}", picture(i)))
    ]


def paired_folders(place: Path) -> Path:
    put(place, {f"A/{i:04d}.png": picture(i, "L") for i in range(24)})
    return put(place, {f"B/{i:04d}.png": picture(i) for i in range(24)})


def in_shards(place: Path, *names: str, each: int = 12) -> Path:
    for s in range(24 // each):
        tar(place / f"s-{s}.tar", couples(s * each, (s + 1) * each, *names))
    return place


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_two_images_a_sample_are_pairs(tmp_path: Path, direction: str) -> None:
    plain, packed = opened(paired_folders(tmp_path / "f"), "paired", direction=direction)
    rows = torch.tensor([23, 0, 5, 5, 8])
    for names, options in ((("a.png", "b.png"), {}), (("Input.png", "target.png"), {}),
                           (("x.png", "y.png"), {"image": "x.png", "target_image": ".y.png"})):  # fmt: skip
        place = in_shards(tmp_path / names[0], *names)
        domain, source = opened(place, "paired", direction=direction, **options)
        assert domain == plain and isinstance(source, StreamedPairs)
        assert equal(source.take(rows), packed.take(rows))


@pytest.mark.parametrize("apart", [False, True])
def test_blocks_of_pairs_are_read_once(tmp_path: Path, apart: bool) -> None:
    """For both images; where the two sides lie apart in a shard, a block of each is less to read than all between."""
    place, files = Counting(), couples(0, 240)
    named = {"image": "a.png", "target_image": "b.png"}
    tar(tmp_path / "s" / "0.tar", [*files[::2], *files[1::2]] if apart else files)
    with (
        mock.patch.object(streamed_source, "BLOCK", 16384),
        mock.patch.object(streamed, "BLOCK", 2**20),
        mock.patch.object(streamed_places, "LocalPlace", lambda: place),
    ):
        domain, source = opened(tmp_path / "s", "paired", window=4, ahead=16, shuffle="window", **named)
    place.reads.clear()
    batches = Stream(source, domain, 8, 0, torch.device("cpu"))
    _, plain = opened(tmp_path / "s", "paired", **named)
    for shard in range(30):
        got, want = batches.take(shard), domain.encode(plain.take(batches.rows(shard)))
        assert torch.equal(got["data"], want["data"]) and torch.equal(got["input"], want["input"])
    blocks = len(source.longest.starts)
    size = (tmp_path / "s" / "0.tar").stat().st_size
    assert source.longest.window == 4 and blocks > 6
    assert len(place.reads) <= (2.5 if apart else 1) * blocks + 8
    assert sum(length for _, _, length in place.reads) < (2.5 if apart else 1.3) * size


def test_two_columns_of_images_are_pairs(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = {"A": [picture(i, "L") for i in range(24)], "B": [picture(i) for i in range(24)]}
    for names in (("A", "B"), ("input_image", "target_image"), ("before", "after")):
        named = dict(zip(names, table.values(), strict=True))
        pq.write_table(pa.table(named), tmp_path / f"{names[0]}.parquet", row_group_size=5)
    plain, packed = opened(paired_folders(tmp_path / "f"), "paired")
    rows = torch.tensor([23, 0, 5])
    for name, options in (("A", {}), ("input_image", {}), ("before", {"image": "before", "target_image": "after"})):
        for spec in (f"file://{tmp_path}/{name}.parquet", f"{tmp_path}/{name}.parquet"):
            domain, source = opened(spec, "paired", **options)
            assert domain == plain and equal(source.take(rows), packed.take(rows))
    with pytest.raises(InputError, match=r"images, before, after, .* data\.image=before --set data\.target_image="):
        opened(f"{tmp_path}/before.parquet", "paired")
    (tmp_path / "folder").mkdir()
    (tmp_path / "A.parquet").rename(tmp_path / "folder" / "A.parquet")
    assert len(opened(tmp_path / "folder", "paired")[1]) == 24


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_halves_are_pairs(tmp_path: Path, direction: str) -> None:
    wholes = [(f"{i}.png", picture(i, size=(32, 16))) for i in range(10)]
    put(tmp_path / "f", dict(wholes))
    tar(tmp_path / "s" / "0.tar", wholes)
    for options in ({}, {"resolution": 8}, {"crop": 8}):
        plain, packed = opened(tmp_path / "f", "paired", direction=direction, **options)
        domain, source = opened(tmp_path / "s", "paired", direction=direction, **options)
        assert domain == plain and isinstance(source, StreamedHalves)
        assert equal(source.take(torch.tensor([9, 0])), packed.take(torch.tensor([9, 0])))


def test_training_on_pairs_is_that_on_folders_and_resumes(tmp_path: Path) -> None:
    data = in_shards(tmp_path / "s")
    assert same(trained(data, 3, recipe="pix2pix"), trained(paired_folders(tmp_path / "f"), 3, recipe="pix2pix"))
    resumes(data, tmp_path / "run", "pix2pix", ())


def test_a_damaged_image_takes_its_partner_along(tmp_path: Path) -> None:
    """On either side, next to each other, at the end, from where the first whole pair comes next."""
    files = couples(0, 12)
    whole = [pair[1] for pair in files]
    for at in (2 * 3, 2 * 4 + 1, 2 * 7 + 1, 2 * 11):  # a of 3, b of 4, b of 7, a of 11
        files[at] = (files[at][0], b"broken")
    _, source = opened(tar(tmp_path / "t.tar", files), "paired", resolution=16)
    got = source.take(torch.arange(12))
    _, right = opened(tar(tmp_path / "u.tar", [(n, c) for (n, _), c in zip(files, whole, strict=True)]), "paired")
    assert equal(got, right.take(torch.tensor([0, 1, 2, 5, 5, 5, 6, 8, 8, 9, 10, 0])))
    assert source.damage.count == 4
    assert equal(source.take(torch.tensor([4])), right.take(torch.tensor([5])))
    every = [(name, b"broken" if i in (0, 3) else content) for i, (name, content) in enumerate(couples(0, 2))]
    with pytest.raises(InputError, match=r"t\.tar: 0000\.a\.png: neither its pair nor any"):
        opened(tar(tmp_path / "t.tar", every), "paired", resolution=16)[1].take(torch.tensor([0]))


def test_what_is_missing_of_pairs_is_one_clear_line(tmp_path: Path) -> None:
    def refused(files: Files, told: str, **options: object) -> None:
        with pytest.raises(InputError, match=told) as caught:
            opened(tar(tmp_path / "t.tar", files), "paired", **options)
        assert "\n" not in str(caught.value)

    pairs = couples(0, 6)
    refused(
        [*pairs, ("9.a.png", picture(9, "L"))],
        r"t\.tar: 9 has an image a\.png, but none b\.png: each sample needs both",
    )
    refused([pairs[0], *pairs[2:]], r"t\.tar: 0000 has an image a\.png, but none b\.png: each")
    refused([*pairs[::2], *pairs[1::2][::-1]], "are in another order than")
    refused(images(0, 6), r"0000\.png' has 16x16 pixels, not twice as wide as high, nor are there two images a sample")
    refused(images(0, 6), "there are no two images a sample", layout="folders")
    refused(pairs, r"data\.target_image is the image of side B", target_image="b.png")
    refused(pairs, r"data\.target: both images of a pair are in the same shards", target="x")
    refused(pairs, "no images in 1 shards; looked for .c.png", image="a.png", target_image="c.png")
    refused(images(0, 6), r"leave data\.direction", degrade="grey", direction="BtoA")
    refused([(f"{i}.png", picture(i, size=(15, 16))) for i in range(4)], "no middle", layout="side-by-side")
    mixed = [(name, picture(i, size=(16 if "a" in name else 8, 16))) for i, (name, _) in enumerate(pairs)]
    refused(mixed, "the two sides have different sizes, 16x16 and 16x8")


def test_processes_take_what_one_takes(tmp_path: Path) -> None:
    """Of two sets and of pairs: each shard of two processes, with their own sources, is that of one."""
    with mock.patch.object(streamed_source, "BLOCK", 2048), mock.patch.object(streamed, "BLOCK", 2**21):
        for kind, place in (("unpaired", sets(tmp_path / "s")), ("paired", in_shards(tmp_path / "p"))):
            found = [opened(place, kind, shuffle="window", window=4) for _ in range(3)]
            one, *ranks = (
                Stream(source, domain, 4, 0, torch.device("cpu"), stride=1 if i == 0 else 2)
                for i, (domain, source) in enumerate(found)
            )
            assert all(source.longest.window for _, source in found)
            for shard in range(16):
                assert equal(ranks[shard % 2].take(shard), one.take(shard))
