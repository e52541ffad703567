"""Features learned without labels: they know classes they never saw, see corruptions, and survive being killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.neighbors import KNeighborsClassifier

from command import ENVIRONMENT, MODULE
from ganforge import judge
from ganforge.core.errors import InputError
from ganforge.domains import open_data
from ganforge.measure import selfsupervised as module
from ganforge.measure.features import find_extractor
from ganforge.measure.metrics.frechet import fid
from ganforge.measure.selfsupervised import retrieved, train_features, vicreg
from ganforge.measure.sides import remove_stale
from ganforge.measure.statistics import Moments


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> module.SelfSupervised:
    """Features of the built-in digits, after a third of the usual training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "STEPS", 100)
        return train_features(*open_data("digits"), cached=False)


def test_labels_that_were_never_seen_are_known_by_the_nearest_neighbor(digits: module.SelfSupervised) -> None:
    domain, source = open_data("digits")
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
    taken = domain.encode(source.take(order))
    features, labels = F.normalize(digits.features(taken["data"]), dim=1).numpy(), taken["label"].numpy()
    score = KNeighborsClassifier(5).fit(features[:1400], labels[:1400]).score(features[1400:], labels[1400:])
    assert score > 0.975  # pixels: 0.975 on this split; after the usual training 0.99
    assert digits.among == 359 and digits.found > 0.25 * 359 and "chance 0.3%" in str(digits)


def test_more_corruption_is_further_away_and_dropped_modes_are_seen(digits: module.SelfSupervised) -> None:
    domain, source = open_data("digits")
    taken = domain.encode(source.take(torch.randperm(1797, generator=torch.Generator().manual_seed(1))))
    real, x, labels = taken["data"][:900], taken["data"][900:], taken["label"][900:]
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)

    def distance(images: torch.Tensor) -> float:
        a, b = digits.features(real), digits.features(images)
        return fid(Moments.of(a), Moments.of(b), a, b).value or 0.0

    floor = distance(x)
    steps = [floor, *(distance((x + s * noise).clamp(-1, 1)) for s in (0.2, 0.4, 0.8))]
    assert steps == sorted(steps) and distance(blurred) > 3 * floor
    assert floor < distance(x[labels > 0]) and 2 * floor < distance(x[labels > 4])


def test_vicreg_is_the_papers_formula() -> None:
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=(2, 9, 4))
    wanted = 25 * ((a - b) ** 2).mean()
    for z in (a, b):
        wanted += 12.5 * np.maximum(0, 1 - np.sqrt(z.var(0, ddof=1) + 1e-4)).mean()
        c = np.cov(z.T)
        wanted += (c**2).sum() / 4 - (np.diag(c) ** 2).sum() / 4
    assert float(vicreg(torch.tensor(a), torch.tensor(b))) == pytest.approx(wanted)
    assert retrieved(torch.eye(4), torch.eye(4)[[0, 1, 3, 2]] * 5) == 2


def test_vectors_have_features_too_and_training_leaves_the_noise_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEPS", 5)
    data = open_data("moons")
    torch.manual_seed(3)
    first = train_features(*data)
    after = torch.rand(2)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(2), after)
    again, x = train_features(*data), torch.randn(7, 2)
    assert first.features(x).shape == (7, 128) and torch.equal(first.features(x), again.features(x))
    assert again.found == first.found and again.key == first.key
    with pytest.raises(InputError, match="samples of shape"):
        first.features(torch.zeros(1, 3))


def test_auto_learns_for_unlabelled_images_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEPS", 3)
    images = open_data("digits")[1].take(torch.arange(800))["data"][:, 0].numpy()
    np.savez(tmp_path / "tiny.npz", images=images)
    images = images.repeat(2, 1).repeat(2, 2)
    np.savez(tmp_path / "many.npz", images=images)
    np.savez(tmp_path / "few.npz", images=images[:50])
    assert find_extractor("auto", *open_data(str(tmp_path / "tiny.npz"))).name == "pixels"
    assert find_extractor("auto", *open_data(str(tmp_path / "many.npz"))).name == "self-supervised"
    assert find_extractor("auto", *open_data(str(tmp_path / "few.npz"))).name == "pixels"
    assert find_extractor("auto", *open_data("digits")).name == "pixels"
    with pytest.raises(InputError, match="at least 64 real samples to learn from, not 50"):
        find_extractor("self-supervised", *open_data(str(tmp_path / "few.npz")))
    result = judge.compare(str(tmp_path / "many.npz"), str(tmp_path / "many.npz"), metrics=("fid",))[0]
    assert "finds" in result.protocol.quality and any(result.protocol.quality in line for line in result.lines())
    assert "quality" in result.to_dict()["protocol"]


def test_an_evaluation_that_was_killed_starts_clean(tmp_path: Path) -> None:
    """Killed while it computes or writes features, twice; then it gives what an untouched one gives."""
    arguments = ["evaluate", "digits", "--against", "moons-like.npz", "--metrics", "fid,swd", "--json"]
    images = open_data("digits")[1].take(torch.arange(1797))["data"][:, 0].numpy()
    np.savez(tmp_path / "moons-like.npz", images=np.repeat(images, 4, axis=0))

    def start(cache: str) -> subprocess.Popen:
        environment = {**ENVIRONMENT, "GANFORGE_CACHE": str(tmp_path / cache)}
        call = [*MODULE, *arguments, "--features", "pixels"]
        return subprocess.Popen(call, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    untouched = json.loads(start("whole").communicate()[0])
    folder = tmp_path / "killed" / "features"
    for begun in (".*", "[!.]*"):  # as the first side is being written; as it has been, and the second is computed
        process, end = start("killed"), time.monotonic() + 60
        while process.poll() is None and time.monotonic() < end and not list(folder.glob(begun)):
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    half = tmp_path / "killed" / "features" / ".left.tmp"
    half.mkdir(parents=True, exist_ok=True)
    (half / "side.safetensors").write_bytes(b"half")
    again = json.loads(start("killed").communicate()[0])
    assert again["scores"] == untouched["scores"] and again["protocol"] == untouched["protocol"]


def test_only_old_leftovers_are_removed(tmp_path: Path) -> None:
    for name, age in ((".old.tmp", 2 * 24 * 3600), (".new.tmp", 0)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    remove_stale(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [".new.tmp"]
