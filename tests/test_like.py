"""Other data beside a model's: read in its units, whatever their own bits, words and categories are."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import ganforge
from command import ganforge as command
from ganforge.api import connected
from ganforge.augmentation import augment, folder_names
from ganforge.config import Settings
from ganforge.contest import contest, split
from ganforge.core.errors import InputError
from ganforge.domains import open_data
from ganforge.domains.attribute import AttributeOptions
from ganforge.domains.attribute import open_like as like_attribute
from ganforge.domains.captions import CaptionOptions
from ganforge.domains.captions import open_like as like_captions
from ganforge.domains.domain import Damage, Part, damage_of
from ganforge.live import damaged
from ganforge.plan import make_plan
from ganforge.samples import open_samples
from image_makers import pixels, read

ARMS = ("real", "real + classical", "real + generated", "real + classical + generated")
LEVELS = np.random.default_rng(0).integers(0, 256, (120, 8, 8)).astype(np.uint8)


def both(place: Path, **more: np.ndarray) -> tuple[str, str]:
    """The same images with 8 and with 16 bits."""
    for name, images in (("8", LEVELS), ("16", LEVELS.astype(np.uint16) * 257)):
        np.savez(place / f"{name}.npz", images=images, **more)
    return str(place / "8.npz"), str(place / "16.npz")


def test_bits_may_be_chosen(tmp_path: Path) -> None:
    eight, sixteen = both(tmp_path)
    for spec in (eight, sixteen):
        assert np.array_equal(pixels(read(spec, bits=8))[:, 0], LEVELS)
        assert np.array_equal(pixels(read(spec, bits=16))[:, 0], LEVELS.astype(np.float32) * 257)


def test_samples_of_other_bits_are_compared_rightly(tmp_path: Path) -> None:
    eight, sixteen = both(tmp_path)
    for samples, against in ((eight, sixteen), (sixteen, eight)):
        same = ganforge.evaluate(against, against, ["fid"], features="pixels", real=60)
        found = ganforge.evaluate(samples, against, ["fid"], features="pixels", real=60)
        assert found.scores["fid"].value == pytest.approx(same.scores["fid"].value, rel=1e-3)
    held = open_samples(sixteen, None, None, open_data(eight)[0])[1]
    assert held.take(torch.arange(2))["data"].max() <= 255


def test_held_out_data_of_other_bits(tmp_path: Path) -> None:
    from PIL import Image

    eight, _ = both(tmp_path)
    for i, image in enumerate(LEVELS[::-1][:10]):
        Image.fromarray(image.astype(np.uint16) * 257).save(tmp_path / f"{i}.png")
    with connected():
        settings = Settings("dcgan", eight, {"size": 8}, {}, {"holdout": str(tmp_path), "samples": 64})
        (tmp_path / "16.npz").unlink()
        plan = make_plan(settings, lambda text: None)
    assert plan.held is not None
    assert np.array_equal(plan.held.take(torch.arange(10))["data"][:, 0].numpy(), LEVELS[::-1][:10])


def test_captions_and_numbers_of_other_bits(tmp_path: Path) -> None:
    eight, sixteen = both(tmp_path, age=np.arange(120.0))
    domain, source = open_data(eight, AttributeOptions(), ("attribute",))
    rows = torch.arange(5)
    same = domain.encode(like_attribute(sixteen, domain)[1].take(rows))  # type: ignore[arg-type]
    assert torch.equal(same["data"], domain.encode(source.take(rows))["data"])
    from PIL import Image

    for bits in (8, 16):
        (tmp_path / f"c{bits}").mkdir()
        for i, image in enumerate(LEVELS[:3]):
            Image.fromarray(image if bits == 8 else image.astype(np.uint16) * 257).save(tmp_path / f"c{bits}/{i}.png")
        lines = ["file_name,caption", *(f"{i}.png,a picture" for i in range(3))]
        (tmp_path / f"c{bits}" / "captions.csv").write_text("\n".join(lines))
    words, first = open_data(str(tmp_path / "c8"), CaptionOptions(), ("captions",))
    second = like_captions(str(tmp_path / "c16"), words)[1]  # type: ignore[arg-type]
    assert torch.equal(first.take(rows[:3])["data"], second.take(rows[:3])["data"])


def test_held_out_categories_keep_their_numbers(tmp_path: Path) -> None:
    """Numbers of categories are by name: in the held-out table tea is the first, and cocoa is not there."""
    for name, drinks in (("train", ("cocoa", "tea")), ("held", ("tea", "water"))):
        rows = [f"{i},{drinks[i % 4 == 0]}" for i in range(40)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["n,drink", *rows]))
    with connected():
        settings = Settings("ctgan", str(tmp_path / "train.csv"), {}, {}, {"holdout": str(tmp_path / "held.csv")})
        plan = make_plan(settings, lambda text: None)
    assert plan.held is not None
    shown = plan.domain.decode(plan.domain.encode(plan.held.take(torch.arange(40))))
    assert list(shown["drink"][1:4]) == ["tea"] * 3 and shown["drink"][0] != "tea"


def test_a_part_tells_of_the_damage_of_the_whole() -> None:
    class Broken:
        fingerprint = "x"
        damage = Damage()

        def __len__(self) -> int:
            return 4

        def take(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"data": rows}

    whole = Broken()
    assert damage_of(Part(whole, torch.arange(2))) is whole.damage and len(damaged(Part(whole, torch.arange(2)))) == 1
    domain_source = open_data("ring")[1]
    assert damage_of(domain_source) is None and damaged(Part(domain_source, torch.arange(2))) == []


# ---- what goes on with a model


def labelled(place: Path, bits: int = 16, copies: int = 1) -> Path:
    images = np.concatenate([LEVELS[:60] // 2, LEVELS[60:]])
    kind = images.astype(np.uint16) * 257 if bits == 16 else images
    labels = np.array(["a", "b"]).repeat(60)
    np.savez(place / "data.npz", images=np.tile(kind, (copies, 1, 1)), labels=np.tile(labels, copies))
    return place / "data.npz"


def test_sixteen_bits_are_grown_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganforge.plan.WARM_UP_SECONDS", 0.1)
    monkeypatch.setattr("ganforge.augmentation.arms", lambda *_: {name: torch.rand(2, 40) > 0.5 for name in ARMS})
    data = labelled(tmp_path)
    found = augment(
        data, tmp_path / "out", real_per_class=20, per_class=2, classifiers=2, recipe="cgan", samples=64, quiet=True,
        params={"size": 8, "conditioning": "projection"}, data_options={"mirror": True},
    )  # fmt: skip
    assert found.real == 40 and found.generated == 4
    domain = json.loads((tmp_path / "out" / "run" / "model" / "domain.json").read_text())
    assert domain["bits"] == 16 and domain["mirror"] is True, "training is told how the data are to be read"
    train, held = split(str(data), None, tmp_path)
    for path, count in ((train, 96), (held, 24)):
        again, source = open_data(str(path))
        assert len(source) == count and again.bits == 16 and again.counts == (count // 2,) * 2  # type: ignore[attr-defined]


def test_every_class_gets_a_folder_of_its_own() -> None:
    """Whatever its name is: none leads out, is hidden, or is another's on a file system without cases."""
    assert folder_names(["3", "a cat", "a/b", "a_b", "A_B", "..", ".", ".git", ""]) == [
        "3", "a cat", "a_b", "a_b-3", "A_B-4", "_", "_-6", "git", "_-8",
    ]  # fmt: skip


def test_nothing_is_left_where_nothing_was_trained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="samples"):
        augment(labelled(tmp_path, 8), tmp_path / "out", recipe="cgan", params={"size": 8}, samples=-1, quiet=True)
    assert not (tmp_path / "out").exists()


@contextlib.contextmanager
def interrupted(stopping: threading.Event) -> Iterator[None]:
    """A Ctrl-C as soon as training begins."""
    stopping.set()
    yield


def test_ctrl_c_ends_more_than_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganforge.plan.WARM_UP_SECONDS", 0.1)
    monkeypatch.setattr("ganforge.engine.trainer.interruptible", interrupted)
    small = ("--data", labelled(tmp_path, 8, 3), "--out", tmp_path / "out")
    said = command("augment", *small, "--recipe", "cgan", "--samples", "640", "-q")
    assert said.code == 130 and not (tmp_path / "out" / "augmentation.json").exists()
    assert (tmp_path / "out" / "run" / "model").is_dir(), "what was trained is saved"
    ask = ("compare", "--recipes", "dcgan,cgan", "--minutes", "0.01", "--seeds", 1, "--jobs", 1)
    said = command(*ask, *small[:3], tmp_path / "more")
    assert said.code == 130 and not (tmp_path / "more" / "cgan-0").exists() and "--resume goes on" in said.err
    monkeypatch.undo()
    said = command(*ask, *small[:3], tmp_path / "more", "--resume")
    assert said.code == 0 and "| `dcgan` | 1 |" in said.out and "| `cgan` | 1 |" in said.out, said.err


def test_a_contest_is_refused_before_it_begins(tmp_path: Path) -> None:
    (tmp_path / "dcgan-1").mkdir()
    (tmp_path / "dcgan-1" / "x").write_text("")
    with pytest.raises(InputError, match="dcgan-1 exists already"):
        contest("digits", ["dcgan"], 0.01, [0, 1], out=tmp_path)
    with pytest.raises(InputError, match="24 held-out samples are too few to judge by: 50 are needed"):
        contest(labelled(tmp_path), ["dcgan"], 0.01, out=tmp_path / "out")
    assert not (tmp_path / "dcgan-0").exists()
