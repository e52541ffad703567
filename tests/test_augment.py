"""Growing a set: the measurement against known answers, the verb on real files, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import ganforge.augmentation as augmentation
from command import ganforge as command
from ganforge import api, live, plan, train
from ganforge.augmentation import Augmentation, augment, parted
from ganforge.core.errors import InputError
from ganforge.diagnose import Context, Diagnoser
from ganforge.domains import open_data
from ganforge.domains.domain import Part
from ganforge.measure import gains
from ganforge.measure.intervals import Score


def blobs(count: int, seed: int, lie: bool = False) -> gains.Sides:
    """Images of two classes: a bright place at the left or at the right, in noise; ``lie`` swaps the labels."""
    draw = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 2
    x = 0.8 * torch.randn(count, 1, 12, 12, generator=draw)
    for i, side in enumerate(y.tolist()):
        x[i, 0, 4:8, 1 + 6 * side : 5 + 6 * side] += 0.6
    return x, 1 - y if lie else y


def test_more_true_images_help_and_wrong_ones_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gains, "SHOWN", 1000)
    few, test = blobs(10, 0), blobs(300, 1)
    for made, helps in ((blobs(120, 2), True), (blobs(120, 3, lie=True), False)):
        found = gains.arms(few, made, test, 2, seeds=2)
        told = gains.gain(found["real + generated"], found["real"])
        assert (told.low > 0) if helps else (told.high < 0), told  # type: ignore[operator]


def test_the_same_images_again_gain_nothing() -> None:
    right = torch.rand(3, 200, generator=torch.Generator().manual_seed(0)) < 0.8
    told = gains.gain(right, right)
    assert told.value == 0 and told.low < 0 < told.high  # type: ignore[operator]


def test_the_interval_covers_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Classifiers whose true accuracies are 0.80 and 0.83, each with an error of its own."""
    monkeypatch.setattr(gains, "REPLICAS", 200)
    draw = torch.Generator().manual_seed(0)
    covered = 0
    for _ in range(40):
        hard = torch.randn(300, generator=draw)
        sides = []
        for skill in (0.83, 0.80):
            cut = torch.distributions.Normal(0, 1).icdf(torch.tensor(skill)) * 2**0.5
            sides.append(hard + torch.randn(3, 300, generator=draw) < cut)
        told = gains.gain(sides[0], sides[1])
        covered += told.low <= 0.03 <= told.high  # type: ignore[operator]
    assert covered >= 36


def test_learning_is_a_function_of_the_seed_and_leaves_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gains, "SHOWN", 1000)
    before = torch.get_rng_state()
    runs = [gains.learn_from(blobs(20, 0), blobs(50, 1), 2, seed=3, changed=True) for _ in range(2)]
    assert torch.equal(*runs) and torch.equal(torch.get_rng_state(), before)


def test_warping_keeps_what_is_there_near_its_place() -> None:
    torch.manual_seed(0)
    x = torch.zeros(64, 1, 24, 36)
    x[:, :, 10:14, 16:20] = 1
    out = gains.warp(x)
    assert out.shape == x.shape and not torch.equal(out, x)
    rows = torch.arange(24.0)[:, None].expand(24, 36)
    middle = (out[:, 0] * rows).sum((1, 2)) / out[:, 0].sum((1, 2))
    assert (middle - 11.5).abs().max() < 24 * 0.2 and middle.std() > 0.5
    torch.testing.assert_close(gains.warp(torch.full((2, 1, 9, 9), 0.25)), torch.full((2, 1, 9, 9), 0.25))


def test_parts_are_even_and_apart() -> None:
    domain, source = open_data("digits")
    mine, rest = parted(source, domain, 20, True, "digits")
    assert not set(mine.tolist()) & set(rest.tolist())
    assert source.take(mine)["label"].bincount().tolist() == [20] * 10
    with pytest.raises(InputError, match="class 0 has 178 images, which is not enough: 200 images for training"):
        parted(source, domain, 200, True, "digits")


@pytest.mark.parametrize(
    ("plain", "beside", "said"),
    [
        ((0.02, 0.01, 0.03), (0.01, 0.001, 0.02), "yes"),
        ((-0.02, -0.03, -0.01), (0.0, -0.01, 0.01), "no: generated images make it worse"),
        ((0.02, 0.01, 0.03), (-0.02, -0.03, -0.01), "no: generated images make it worse"),
        ((0.02, 0.01, 0.03), (0.0, -0.01, 0.01), "no: generated images help by themselves"),
        ((0.0, -0.01, 0.01), (0.0, -0.01, 0.01), "no: 500 test images"),
    ],
)
def test_verdicts(plain: tuple, beside: tuple, said: str) -> None:
    scores = [Score(*each, "x", "higher") for each in (plain, beside, (0.03, 0.02, 0.04))]
    found = Augmentation("d", "r3gan", 100, 100, 500, 3, {}, *scores)
    assert found.verdict.startswith(said)
    assert json.loads(json.dumps(found.to_dict()))["verdict"] == found.verdict


def test_labels_are_used_though_the_test_leaves_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 60 images of each class r3gan uses labels by itself; with the 40 that the test leaves it must be told to."""
    monkeypatch.setattr(gains, "SHOWN", 500)
    draw = np.random.default_rng(0)
    np.savez(tmp_path / "few.npz", x=draw.integers(0, 255, (120, 8, 8), np.uint8), labels=np.arange(120) % 2)
    params = {"size": 8, "batch": 16}
    found = augment(
        tmp_path / "few.npz", tmp_path / "grown", per_class=2, classifiers=2, params=params, samples=64, quiet=True
    )
    assert (found.real, found.tests, found.generated) == (80, 40, 4)


def test_that_the_set_is_small_is_no_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``train`` warns of few images; here they are the point, and the advice names options that the verb lacks."""
    monkeypatch.setattr(plan, "OFTEN", 1)
    monkeypatch.setattr(plan, "WARM_UP_SECONDS", 0.0)
    monkeypatch.setattr(api, "write_report", lambda run: None)
    monkeypatch.setattr(augmentation, "check", lambda *given: 1 / 0)  # what comes after training is not the point
    draw = np.random.default_rng(0)
    np.savez(tmp_path / "few.npz", x=draw.integers(0, 255, (60, 8, 8), np.uint8), labels=np.arange(60) % 2)
    params, options = {"size": 4, "batch": 16}, {"samples": 64, "device": "cpu"}
    contexts: list[Context] = []
    monkeypatch.setattr(live, "Diagnoser", lambda context, *given: contexts.append(context) or Diagnoser(context))
    with pytest.raises(ZeroDivisionError):
        augment(tmp_path / "few.npz", tmp_path / "grown", params=params, **options)
    said = "".join(capsys.readouterr())
    assert "few: " not in said and "done: " in said and "next  " not in said
    train("r3gan", tmp_path / "few.npz", run=tmp_path / "run", params=params, **options)  # type: ignore[arg-type]
    said = "".join(capsys.readouterr())
    assert "few: 60 images" in said and "next  " in said
    assert [context.within for context in contexts] == [True, False], "and so are the remedies' commands"


def test_small_classes_leave_enough_for_the_test() -> None:
    """A third of 12 images is too small a test, so that five are taken."""
    domain, source = open_data("digits")
    found = Part(source, torch.cat([(source.take(torch.arange(len(source)))["label"] == k).nonzero()[:12, 0]
                                    for k in range(10)]))  # fmt: skip
    mine, rest = parted(found, domain, None, True, "digits")
    assert (len(mine), len(rest)) == (70, 50)


def test_a_small_set_is_grown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gains, "SHOWN", 1000)
    found = augment(
        "digits", tmp_path / "grown", real_per_class=12, per_class=3, classifiers=2, params={"size": 8},
        samples=640, quiet=True,
    )  # fmt: skip
    assert (found.real, found.generated) == (120, 30) and found.tests == 1797 - 120
    again, source = open_data(str(tmp_path / "grown" / "images"))
    assert again.classes == tuple("0123456789") and len(source) == 30
    told = json.loads((tmp_path / "grown" / "augmentation.json").read_text())
    assert set(told["accuracies"]) == {"real", "real + classical", "real + generated", "real + classical + generated"}
    assert found.verdict in (tmp_path / "grown" / "README.md").read_text()
    with pytest.raises(InputError, match="exists already"):
        augment("digits", tmp_path / "grown")
    # a run of its own, and its model refused where it does not fit
    run = tmp_path / "grown" / "run"
    with pytest.raises(InputError, match="may have seen all of digits"):
        augment("digits", tmp_path / "other", run=run)
    images = np.zeros((40, 9, 9, 1), np.uint8)
    np.savez(tmp_path / "odd.npz", images=images, labels=np.array(["a", "b"] * 20))
    with pytest.raises(InputError, match="the data are \\[1, 9, 9\\] of 2"):
        augment(tmp_path / "odd.npz", tmp_path / "other", run=run, test=tmp_path / "odd.npz")
    assert not (tmp_path / "other").exists(), "nothing is half-written"


def test_wrong_input_is_one_line(tmp_path: Path) -> None:
    for arguments, said in (
        (("--data", "ring"), "growing a set needs images of at least 2 classes"),
        (("--data", "sentences"), "growing a set needs images of at least 2 classes"),
        (("--data", "digits", "--recipe", "vae", "--real-per-class", "9"), "vae generates no classes"),
        (("--data", "digits", "--recipe", "r4gan"), "r3gan"),
        (("--data", "digits", "--real-per-class", "2"), "at least 5"),
        (("--data", "digits", "--set", "dept=3"), "unknown setting 'params.dept'"),
        (("--data", "digits", "--set", "r1"), "--set wants key=value"),
        (("--data", "digits", "--test", "digits", "--run", tmp_path, "--set", "r1=2"), "is trained already"),
    ):
        done = command("augment", *arguments, "--out", tmp_path / "out", "--quiet")
        assert done.code == 2 and said in done.err and "Traceback" not in done.err
    assert augmentation.FEWEST == 5
