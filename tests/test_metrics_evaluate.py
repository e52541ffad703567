"""ganforge evaluate: anyone's samples and our runs, judged in one pass, with protocol, interval and floor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

import ganforge
from conftest import real_data
from ganforge import judge
from ganforge.app import evaluate as command
from ganforge.core.errors import InputError
from ganforge.domains import open_data
from ganforge.measure import evaluate as measuring
from ganforge.measure import features, sides
from ganforge.measure.evaluate import Options, Side, collect, evaluate, from_source
from ganforge.measure.features import find_extractor
from ganforge.samples import from_model

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(command.evaluate)


def digits() -> np.ndarray:
    _, source = open_data("digits")
    return source.take(torch.arange(len(source)))["data"].permute(0, 2, 3, 1).numpy()


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples of someone's: noisy digits of 600 images only, with one exact copy, class by class."""
    folder = tmp_path_factory.mktemp("samples")
    images = digits()
    draw = np.random.default_rng(0)
    made = images[np.sort(draw.integers(0, 600, 700))].astype(np.int64) + draw.integers(-8, 9, (700, 8, 8, 1))
    made = made.clip(0, 255).astype(np.uint8)
    made[5] = made[690]
    np.savez(folder / "made.npz", images=made)
    return folder / "made.npz"


def test_all_metrics_with_interval_floor_and_protocol(samples: Path) -> None:
    result, _, source = judge.compare(str(samples), "digits", seed=3)
    assert set(result.scores) == {
        "fid", "fid_infinity", "kid", "kid_sd", "precision", "recall", "density", "coverage", "support", "vendi", "swd"
    }  # fmt: skip
    assert set(result.floors) == set(result.scores)
    for name, score in {**result.scores, **{f"floor {k}": v for k, v in result.floors.items()}}.items():
        if score.value is not None and score.low is not None and score.high is not None:
            assert score.low <= score.value <= score.high, name
    protocol = result.protocol
    assert protocol.counts == {"real": 899, "generated": 700, "floor": 700} and protocol.split == "random halves"
    assert (protocol.features, protocol.resizer, protocol.seed) == ("pixels", "none", 3)
    assert len(protocol.features_sha256) == 64 and protocol.data["real"] == source.fingerprint
    assert set(protocol.versions) == {"ganforge", "torch"}
    assert result.scores["fid"].low > result.floors["fid"].high  # type: ignore[operator]
    closest = result.duplicates[0]
    assert {closest.first, closest.second} == {5, 690} and closest.distance == 0.0  # the files' own numbers
    assert any("--features inception" in note for note in result.notes)


def test_real_data_score_like_their_floor(tmp_path: Path) -> None:
    images = digits()
    np.savez(tmp_path / "a.npz", images=images[0::2])
    np.savez(tmp_path / "b.npz", images=images[1::2])
    result, _, _ = judge.compare(str(tmp_path / "b.npz"), str(tmp_path / "a.npz"), features="pixels")
    for name in ("fid", "kid", "swd", "vendi"):
        score, floor = result.scores[name], result.floors[name]
        assert score.low <= floor.high and floor.low <= score.high, name  # type: ignore[operator]


def test_memorization_needs_held_out_data_and_finds_copies(tmp_path: Path) -> None:
    images = digits()[np.random.default_rng(0).permutation(1797)]
    train, held = tmp_path / "train.npz", tmp_path / "held.npz"
    np.savez(train, images=images[:1000])
    np.savez(held, images=images[1000:])
    np.savez(tmp_path / "copies.npz", images=images[:500])
    result, _, _ = judge.compare(str(tmp_path / "copies.npz"), str(train), holdout=str(held), features="pixels")
    assert result.scores["c_t"].value < -5 and result.scores["authenticity"].value == 0  # type: ignore[operator]
    assert abs(result.floors["c_t"].value) < 3 and result.floors["authenticity"].value > 0.3  # type: ignore
    assert result.protocol.split == "all against held-out data" and result.protocol.counts["real"] == 1000
    with pytest.raises(InputError, match="--holdout DATA"):
        judge.compare(str(tmp_path / "copies.npz"), str(train), metrics=("memorization",), features="pixels")
    with pytest.raises(InputError, match="hold the same"):
        judge.compare(str(tmp_path / "copies.npz"), str(train), holdout=str(train))


def test_command_line_table_and_json(samples: Path, tmp_path: Path) -> None:
    arguments = [str(samples), "--against", "digits", "--metrics", "fid,birthday", "-n", "600"]
    shown = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")], catch_exceptions=False)
    assert shown.exit_code == 0 and "lower is better" in shown.stdout and "protocol" in shown.stdout
    assert (tmp_path / "out" / "duplicates.png").read_bytes()[:4] == b"\x89PNG"
    stored = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    printed = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    document = json.loads(printed.stdout, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert document["scores"]["fid"] == stored["scores"]["fid"]
    assert document["scores"]["fid"]["floor"]["value"] > 0
    assert document["protocol"]["counts"]["generated"] == 600
    assert CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "one.json")]).exit_code == 0
    assert (tmp_path / "one.json").is_file()


def test_the_real_side_is_computed_once(samples: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path))
    seen: list[str] = []
    original = collect

    def counted(*args: Any) -> Side:
        seen.append(args[5])
        return original(*args)

    monkeypatch.setattr(measuring, "collect", counted)
    monkeypatch.setattr(sides, "collect", counted)
    first = judge.compare(str(samples), "digits", metrics=("fid", "swd"))[0]
    again = judge.compare(str(samples), "digits", metrics=("fid", "swd"))[0]
    assert seen == ["real", "real", "generated", "generated"]
    assert again.scores == first.scores and again.floors == first.floors
    for file in tmp_path.rglob("side.safetensors"):
        file.write_bytes(file.read_bytes()[:-8])  # damaged: computed anew
    assert judge.compare(str(samples), "digits", metrics=("fid", "swd"))[0].scores == first.scores
    judge.compare(str(samples), "digits", metrics=("swd",), seed=1)
    assert seen[-3:] == ["real", "real", "generated"]


def test_side_state_is_the_same_side() -> None:
    domain, source = open_data("digits")
    extract = find_extractor("classifier", domain, source)
    side = collect(from_source(source, torch.arange(500)), 500, extract, 100, 0, "real")
    again = Side.from_state(side.state())
    assert torch.equal(again.rows.rows, side.rows.rows) and torch.equal(again.moments.scatter, side.moments.scatter)
    assert again.shares is not None and side.shares is not None
    assert torch.equal(again.shares.negentropy, side.shares.negentropy)


def test_classifier_features_give_an_inception_score(samples: Path) -> None:
    result, _, _ = judge.compare(str(samples), "digits", metrics=("is", "fid"), features="classifier")
    assert 3 < result.scores["is"].value < 10 and "is_sd" in result.scores  # type: ignore[operator]
    assert any("accuracy" in note for note in result.notes)


def test_points_and_whole() -> None:
    domain, source = open_data("ring")
    extract = find_extractor("auto", domain, source)
    draw = torch.Generator().manual_seed(0)

    def collapsed(n: int) -> dict[str, torch.Tensor]:
        return {"data": torch.tensor([1.0, 0.0]) + 0.01 * torch.randn(n, 2, generator=draw)}

    options = Options(metrics=("prdc", "swd", "fid", "modes"), count=2000, real_count=4000)
    result = evaluate(collapsed, None, domain, source, extract, options)
    assert result.scores["precision"].value > 0.9 > 0.2 > result.scores["coverage"].value  # type: ignore[operator]
    assert result.scores["modes"].value == 1 and result.floors["modes"].value == 8
    assert result.floors["high_quality"].value > 0.95  # type: ignore[operator]
    whole = evaluate(collapsed, None, domain, source, extract, Options(("swd",), 500, 4000, whole=True))
    assert whole.protocol.split == "all" and any("two halves" in note for note in whole.notes)


def test_a_run_is_judged(tmp_path: Path) -> None:
    run = tmp_path / "run"
    model = ganforge.train("gan", "ring", run=run, rounds=3, quiet=True, device="cpu")
    result, _, _ = judge.compare(str(run), "ring", metrics=("fid", "birthday"), n=300, real=1000)
    assert result.scores["fid"].value > result.floors["fid"].value  # type: ignore[operator]
    chunks = from_model(model, 7, 1.0)
    drawn = torch.cat([chunks(n)["data"] for n in (10, 100, 33)])
    assert np.allclose(drawn.numpy(), model.generate(143, seed=7), atol=1e-5)  # what a user would see
    with pytest.raises(InputError, match="they cannot be compared"):
        judge.compare(str(run), "digits")


def test_bad_input_is_one_clear_line(samples: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "few.npz", images=digits()[:20])
    np.savez(tmp_path / "large.npz", images=np.zeros((60, 16, 16, 1), np.uint8))
    for arguments, message in (
        ({"what": str(tmp_path / "few.npz"), "metrics": ("fid",)}, "needs at least 50 generated samples, there are 20"),
        ({"what": str(samples), "metrics": ("fdi",)}, "did you mean 'fid'"),
        ({"what": str(samples), "metrics": ("is",)}, "class logits"),
        ({"what": str(samples), "metrics": ("modes",)}, "ring and grid"),
        ({"what": str(samples), "n": 5000}, "there are 700 generated samples, 5000 were asked for"),
        ({"what": str(samples), "resizer": "bicubik"}, "did you mean 'bicubic'"),
        ({"what": str(tmp_path / "large.npz")}, r"same resolution and channels \(--resolution 16x16\)"),
        ({"what": "ring"}, "of kind points"),
        ({"what": str(tmp_path / "absent")}, "absent"),
    ):
        with pytest.raises(InputError, match=message) as error:
            judge.compare(**{"against": "digits", **arguments})  # type: ignore[arg-type]
        assert "\n" not in str(error.value)
    few, _, _ = judge.compare(str(tmp_path / "few.npz"), "digits")
    assert not few.scores and sum("left out: FID needs" in note for note in few.notes) == 1


def test_what_is_not_finite_is_told_with_its_number() -> None:
    domain, source = open_data("ring")
    extract = find_extractor("auto", domain, source)

    def broken(n: int) -> dict[str, torch.Tensor]:
        data = torch.zeros(n, 2)
        data[7] = torch.nan
        return {"data": data}

    with pytest.raises(InputError, match="generated sample 7 are not finite"):
        evaluate(broken, None, domain, source, extract, Options(count=300, real_count=300))


def test_the_command_names_what_there_is() -> None:
    assert measuring.METRICS == command.METRICS
    assert {*measuring.METRICS} == {*measuring.MEASURES, "likelihood"}
    assert command.ON_REQUEST[0] == "bias" and command.METRICS[-len(command.ON_REQUEST) - 1] == "likelihood"
    assert features.NAMES == command.FEATURES


def test_blurred_images_are_told_by_a_trained_network(tmp_path: Path) -> None:
    from PIL import Image, ImageFilter

    _, source = open_data("digits")
    weights = real_data("../weights/squeezenet1_0.safetensors")
    images = source.take(torch.arange(50))["data"][:, 0].numpy()
    folder = tmp_path / "blurred"
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).filter(ImageFilter.GaussianBlur(1.5)).save(folder / f"{i:03}.png")
    options: dict[str, Any] = {"features": "squeezenet", "weights": weights, "metrics": ("kid",), "real": 50}
    blurred = judge.compare(str(folder), "digits", **options)[0]
    assert blurred.scores["kid"].low > blurred.floors["kid"].high  # type: ignore[operator]
    assert blurred.protocol.resizer == "bicubic, antialiased, to 227x227"
