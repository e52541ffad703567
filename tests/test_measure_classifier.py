"""The independent classifier: good on real data, repeatable, cached, and indifferent to what it is asked."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import real_data
from ganforge.core.errors import InputError
from ganforge.domains import open_data
from ganforge.measure import classifier as module
from ganforge.measure.classifier import Classifier, ConvClassifier, train_classifier


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """The classifier of the built-in digits, trained once for all tests."""
    before = os.environ.get("GANFORGE_CACHE")
    os.environ["GANFORGE_CACHE"] = str(tmp_path_factory.mktemp("digits"))
    try:
        return train_classifier(*open_data("digits"))
    finally:
        os.environ.pop("GANFORGE_CACHE") if before is None else os.environ.__setitem__("GANFORGE_CACHE", before)


def stripes(folder: Path, n: int = 60, shape: tuple[int, int, int] = (12, 20, 2)) -> str:
    """An npz of noisy images of two classes: striped downwards and across."""
    draw = np.random.default_rng(0)
    labels = np.array(["down", "across"])[np.arange(n) % 2]
    images = draw.integers(0, 60, size=(n, *shape))
    images[labels == "down", :, ::4] += 150
    images[labels == "across", ::4] += 150
    np.savez(folder / "stripes.npz", images=images.astype(np.uint8), labels=labels)
    return str(folder / "stripes.npz")


def test_digits_are_told_apart(judged: Classifier) -> None:
    assert judged.accuracy >= 0.97 and judged.held_out == 359
    assert f"{judged.accuracy:.2%}" in str(judged) and "359" in str(judged)


def test_answers_have_their_shapes_and_agree(judged: Classifier) -> None:
    domain, source = open_data("digits")
    taken = domain.encode(source.take(torch.arange(50)))
    logits, features = judged.logits(taken["data"]), judged.features(taken["data"])
    assert logits.shape == (50, 10) and features.shape == (50, 128) and not logits.requires_grad
    predicted = judged.predict(taken["data"])
    assert torch.equal(predicted, logits.argmax(1))
    assert float((predicted == taken["label"]).float().mean()) > 0.9
    assert torch.allclose(judged.logits(taken["data"][:1]), logits[:1], atol=1e-5), "samples are judged one by one"


def test_other_shapes_are_refused(judged: Classifier) -> None:
    with pytest.raises(InputError, match="judges samples of shape"):
        judged.predict(torch.zeros(2, 1, 9, 8))


def test_same_data_and_seed_give_the_same_weights_and_leave_the_noise_alone(tmp_path: Path) -> None:
    data = open_data(stripes(tmp_path))
    torch.manual_seed(5)
    first = train_classifier(*data, cached=False)
    after = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), after), "training must not use the global noise"
    again, other = train_classifier(*data, cached=False), train_classifier(*data, seed=1, cached=False)
    x = torch.rand(4, 2, 12, 20)
    assert torch.equal(first.logits(x), again.logits(x)) and not torch.equal(first.logits(x), other.logits(x))
    assert first.key == again.key != other.key
    assert first.accuracy == 1.0 and first.classes == ("across", "down")


def test_the_second_time_it_comes_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path / "cache"))
    data = open_data(stripes(tmp_path))
    first = train_classifier(*data)
    x = torch.rand(4, 2, 12, 20)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_train", None)  # must not be called
        second = train_classifier(*data)
    assert torch.equal(first.logits(x), second.logits(x))
    assert (first.accuracy, first.held_out) == (second.accuracy, second.held_out)
    (weights,) = (tmp_path / "cache").rglob("classifier.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert torch.equal(train_classifier(*data).logits(x), first.logits(x)), "a damaged cache is built anew"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path / "file"))
    assert torch.equal(train_classifier(*data).logits(x), first.logits(x)), "it works without a cache"


def test_held_out_data_of_ones_own(tmp_path: Path) -> None:
    domain, source = open_data(stripes(tmp_path))
    (tmp_path / "more").mkdir()
    _, held = open_data(stripes(tmp_path / "more", n=22))
    found = train_classifier(domain, source, held, cached=False)
    assert found.held_out == 22 and found.accuracy == 1.0


def test_unlabelled_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 2 classes"):
        train_classifier(*open_data("ring"))
    np.savez(tmp_path / "x.npz", images=np.zeros((9, 8, 8), np.uint8) + np.arange(9, dtype=np.uint8)[:, None, None])
    with pytest.raises(InputError, match="no classes"):
        train_classifier(*open_data(str(tmp_path / "x.npz")))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 4, 4), (3, 9, 200), (4, 300, 70), (2, 64, 64)])
def test_any_shape_will_do(shape: tuple[int, int, int]) -> None:
    network = ConvClassifier(shape, 3).eval()
    assert network(torch.zeros(2, *shape)).shape == (2, 3)


@pytest.mark.skipif(not os.environ.get("GANFORGE_SLOW"), reason="half a minute: set GANFORGE_SLOW=1")
def test_mnist(tmp_path: Path) -> None:
    domain, source = open_data(str(real_data("mnist-train.zip")))
    _, held = open_data(str(real_data("mnist-test.zip")))
    assert train_classifier(domain, source, held).accuracy >= 0.985
