"""Video: the recipe, clips of any length, and measures by closed forms."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.distance import cdist

import check_game
import ganforge
from command import ganforge as command
from ganforge.config import checked
from ganforge.core.errors import InputError
from ganforge.domains import video
from ganforge.domains.video import VideoDomain
from ganforge.domains.video_example import moving_digits
from ganforge.domains.video_packing import VideoOptions
from ganforge.engine.options import TrainOptions
from ganforge.engine.trainer import Trainer
from ganforge.engine.world import World
from ganforge.measure import selfsupervised
from ganforge.measure import video as measure
from ganforge.nn.clip_judges import averaged_down
from ganforge.nn.video import unsteadiness
from ganforge.recipes.clip_game import SURE, cosines, usual_color
from ganforge.recipes.videogan import Videogan
from scripts import bench


def levels(count: int, height: int = 8, width: int = 8) -> np.ndarray:
    """Frames uint8 [count, height, width], frame t of level t."""
    return np.broadcast_to(np.arange(count)[:, None, None], (count, height, width)).astype(np.uint8)


def opened(path: Path | str, **options: object) -> tuple[VideoDomain, video.Clips]:
    return video.open(str(path), checked(VideoOptions, options, "data"))


# ---- the recipe


def clip_game(**params: Any) -> tuple[Any, Any]:
    """A small game of color clips of two classes, 12 x 20 pixels, and a batch."""
    domain = VideoDomain(shape=(5, 3, 12, 20), classes=("a", "b"), counts=(9, 9))
    given = {**Videogan.defaults_for(domain), **Videogan.tiny, "size": 4, **params}
    torch.manual_seed(0)
    batch = {"data": torch.rand(4, *domain.shape) * 2 - 1, "label": torch.tensor([0, 1, 1, 0])}
    return checked(Videogan, given, "params").build(domain), batch


def test_the_later_motion_of_long_clips_is_kept_as_it_began() -> None:
    game, batch = clip_game(steady=0.5)
    codes: list[torch.Tensor] = []
    path = game.G.path
    game.G.path = lambda *args: codes.append(path(*args)) or codes[0]
    terms = game.generate(batch)
    assert codes[0].shape == (4, 1 + 3 * 5, 8) and game.made[0].shape == batch["data"].shape
    assert terms["steady"].item() == pytest.approx(0.5 * unsteadiness(codes[0][:, 1:], 5).item())
    (slope,) = torch.autograd.grad(terms["steady"], codes[0])
    assert not slope[:, :6].any() and slope[:, 6:].any()  # what comes later learns from what comes first
    assert "steady" not in clip_game(steady=0)[0].generate(batch)


def test_the_class_loss_is_bounded() -> None:
    """Whatever features grow to: unbounded, one clip's loss was seen to jump to hundreds, and its step with it."""
    game, batch = clip_game()
    game.clip_judge.to_logit.weight.data.zero_()
    for scale in (1.0, 1e6):
        for parameter in game.clip_judge.layers[-3].parameters():
            parameter.data *= scale
        terms = game.judge(batch)
        assert 0 < float(terms["clips_class"].detach()) <= 2 * SURE + math.log(2)
    found, classes = torch.randn(5, 7, dtype=torch.float64), torch.randn(3, 7, dtype=torch.float64)
    assert np.allclose(cosines(found, classes), 1 - cdist(found, classes, "cosine"))


def test_all_judge_what_G_was_paid_for() -> None:
    game, batch = clip_game(coarse=2)
    game.generate(batch)
    fake = game.made[0]
    game.fake = lambda *_: pytest.fail("fakes were made anew")
    game.judge(batch)
    game.regularize(batch)
    name, (judge, made, real, _) = next(iter(game.sides(batch, game.fakes(batch)).items()))
    wanted = averaged_down(fake, 2) - usual_color(batch["data"])
    assert name == "clips" and made.shape == (4, 5, 3, 6, 10) and torch.allclose(made, wanted, atol=1e-6)
    assert judge(real).shape == (4,)


def test_judges_see_what_differs_from_the_usual_color() -> None:
    game, batch = clip_game()
    batch["data"][..., 5:, :] = torch.tensor([0.3, -1.0, 0.9])[:, None, None]  # 7 of 12 rows
    assert usual_color(batch["data"]).flatten().tolist() == pytest.approx([0.3, -1.0, 0.9])
    for _, fake, real, _ in game.sides(batch, batch["data"]).values():
        assert not real[..., 5:, :].any() and torch.equal(fake, real)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few rounds on moving digits."""
    run = tmp_path_factory.mktemp("video") / "run"
    done = command(
        "train", "videogan", "--data", "moving-digits", "--run", run, "--rounds", 2, "--size", 8, "--batch", 4,
        "--set", "data.frames=6", "--set", "memory=8", "--device", "cpu", draw=False,
    )  # fmt: skip
    assert done.code == 0, done.err
    return run


def test_clips_of_any_length(trained: Path, tmp_path: Path) -> None:
    model = ganforge.load(trained)
    short, long = model.generate(3, seed=1), model.generate(5, seed=1, frames=20)
    assert short.shape == (3, 6, 24, 24, 1) and long.shape == (5, 20, 24, 24, 1)
    assert np.abs(long[:3, :6].astype(int) - short).max() <= 1
    assert model.generate(2, frames=1, label=7).shape == (2, 1, 24, 24, 1)
    with pytest.raises(InputError, match="at least 1, not 0"):
        model.generate(1, frames=0)
    assert len(list((trained / "samples").glob("*.gif"))) == 1
    walk = model.interpolate(3, 2)
    assert walk.shape == (5, 6, 24, 24, 1)


def test_command_line(trained: Path, tmp_path: Path) -> None:
    done = command("generate", str(trained), "-n", "4", "--frames", "9", "--out", str(tmp_path / "a.gif"))
    assert done.code == 0, done.err
    with Image.open(tmp_path / "a.gif") as moving:
        assert 1 < moving.n_frames <= 9  # GIFs hold what stands still once
    assert command("generate", str(trained), "-n", "2", "--frames", "0").code == 2
    wrong = command("generate", str(trained), "-n", "2", "--out", str(tmp_path / "a.avi"))
    assert wrong.code == 2 and "cannot save clips" in wrong.error


def test_evaluation(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfsupervised, "STEPS", 3)
    result = ganforge.evaluate(trained, "moving-digits", n=40, real=100)
    assert set(result.scores) == {"motion", "usual_motion", "frame_distance", "clip_distance"} == set(result.floors)
    assert all(result.scores[k].value > result.floors[k].value for k in ("frame_distance", "clip_distance"))  # type: ignore[operator]
    assert result.floors["usual_motion"].value > 0.7  # type: ignore[operator]


def test_the_other_judge_without_classes(tmp_path: Path) -> None:
    """Factored convolutions, color, odd sides, no classes: all learn, and held-out clips count."""
    clips = np.random.default_rng(0).integers(0, 256, (9, 7, 12, 20, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", clips=clips)
    domain, source = opened(tmp_path / "a.npz", frames=5)
    params = {
        "judge": "factored",
        "content": "joined",
        "size": 4,
        "batch": 4,
        "lazy": 2,
        "frames_judged": 3,
        **Videogan.tiny,
    }
    recipe = checked(Videogan, {**Videogan.defaults_for(domain), **params}, "params")
    options = TrainOptions(seed=0, shards=2, device="cpu")
    trainer = Trainer(recipe.build(domain), source, domain, options, 4, World(shards=2), held=source)
    check_game.check_every_player_learns(trainer)
    check_game.check_samples_fit_the_domain(trainer)
    trainer.updates.look(trainer.held.take(0), 0)  # type: ignore[union-attr]
    assert "D/held_pair_right" in trainer.game.__dict__["noted"]


def test_the_judge_of_clips_reads_the_classes() -> None:
    domain, source = opened("moving-digits", frames=4)
    recipe = checked(Videogan, {**Videogan.defaults_for(domain), "size": 4, "batch": 4, **Videogan.tiny}, "params")
    assert recipe.conditioning == "auxiliary" and recipe.coarse == 1
    assert Videogan.defaults_for(VideoDomain(shape=(4, 3, 64, 80)))["coarse"] == 4
    game: Any = recipe.build(domain)
    batch = domain.encode(source.take(torch.arange(4)))
    names = {"loss", "clips_class", "frames", "steady"}
    made, judged = game.generate(batch), game.judge(batch)
    assert set(made) == names == {*judged, "steady"}
    h = game.clip_judge.features(batch["data"] - usual_color(batch["data"]), batch["label"])
    logits = SURE * cosines(h, game.clip_judge.to_classes.weight)
    wanted = -logits.log_softmax(1)[torch.arange(4), batch["label"]].mean()
    assert judged["clips_class"].item() == pytest.approx(2 * wanted.item(), rel=1e-5)  # D learns them from real clips
    other = checked(Videogan, {**dataclasses.asdict(recipe), "image_weight": 0.0, "class_weight": 3.0}, "params")
    torch.manual_seed(0)
    assert set(other.build(domain).generate(batch)) == {"loss", "clips_class", "steady"}  # type: ignore[attr-defined]
    plain, batch = clip_game(conditioning="projection")
    assert set(plain.generate(batch)) == {"loss", "frames", "steady"}
    assert plain.frame_judge.conditioning == plain.clip_judge.conditioning == "projection"


def test_settings_that_cannot_be() -> None:
    domain, _ = opened("moving-digits", frames=4)
    for params, says in (({"frames_judged": 5}, "clips have 4 frames"), ({"judge": "both"}, "params.judge")):
        with pytest.raises(InputError, match=says):
            checked(Videogan, params, "params").build(domain)
    with pytest.raises(InputError, match="needs labelled clips"):
        Videogan(conditioning="projection").build(VideoDomain(shape=(4, 1, 8, 8)))
    with pytest.raises(InputError, match="learns from clips"):
        Videogan().build(ganforge.domains.open_data("digits")[0])


# ---- the figures of bench/video.py


def test_what_the_bench_reads_in_clips() -> None:
    class Reader:
        """Takes a frame for the digit that its level is."""

        @staticmethod
        def predict(frames: torch.Tensor) -> torch.Tensor:
            assert frames.shape == (16, 1, 4, 4)
            return ((frames[:, 0, 0, 0] + 1) * 127.5).round().long()

    seen = np.array([[3, 3, 3, 3], [5, 5, 5, 7], [1, 2, 3, 3], [9, 9, 9, 9]], np.uint8)
    clips = np.broadcast_to(seen[:, :, None, None, None], (4, 4, 4, 4, 1)).copy()
    found = bench("video").read(Reader(), clips, torch.tensor([3, 5, 1, 8]))
    assert found == {"kept": 0.5, "steady": pytest.approx((1 + 3 / 4 + 2 / 4 + 1) / 4), "obeyed": 0.5}


def test_the_benchs_reader_is_tried_on_digits_that_it_has_not_seen() -> None:
    module = bench("video")
    assert not set(module.READ_FROM) & set(module.READ_ON)
    everything = moving_digits(1797, 0, range(1797))
    assert np.array_equal(everything[0], moving_digits(1797, 0)[0])
    few, labels = module.digits_moving(30, 5, range(7, 8))
    assert len(set(labels.tolist())) == 1 and few.shape == (30, 24, 24, 24, 1)
    sums = few.astype(int).sum((2, 3, 4))
    assert (sums == sums[0, 0]).all()  # one digit only


# ---- measures


def test_temporal_difference_by_hand() -> None:
    clips = np.stack([levels(5), 3 * levels(5), np.full((5, 8, 8), 9, np.uint8)])[..., None]
    found = measure.temporal_difference(clips)
    assert found.tolist() == [1.0, 3.0, 0.0]
    assert measure.usual(found, (0.5, 1.0)).tolist() == [True, False, False]
    assert measure.usual_range(torch.arange(101.0)) == (5.0, 95.0)
    falling = np.array([[250, 5]], np.uint8).reshape(1, 2, 1, 1, 1)  # no wrap-around of bytes
    assert measure.temporal_difference(falling).tolist() == [245.0]


def test_thumbnails_are_block_means() -> None:
    clips = np.random.default_rng(0).integers(0, 256, (2, 3, 16, 24, 3), dtype=np.uint8)
    blocks = clips.astype(float).mean(4).reshape(2, 3, 8, 2, 8, 3).mean((3, 5)) / 255
    assert np.allclose(measure.thumbnails(clips).numpy(), blocks.reshape(2, 3, 64), atol=1e-6)


def test_clip_features_of_straight_and_bent_ways() -> None:
    t = torch.arange(5.0)
    frames = torch.stack([2 * t, t.square()], 1)[None]
    assert torch.cat(measure.clip_features(frames), 1)[0].tolist() == pytest.approx([4, 6, 2, 4, 0, 2])
    assert measure.spread(torch.tensor([[0.0, 0.0], [3.0, 4.0]])) == pytest.approx(math.sqrt(12.5))


def test_frechet_score_is_the_closed_form() -> None:
    scipy = pytest.importorskip("scipy.linalg")
    draw = np.random.default_rng(0)
    real, fake = draw.normal(size=(60, 4, 3)), 0.5 + draw.normal(size=(50, 4, 3)) * [1, 2, 3]
    a, b = real.reshape(-1, 3), fake.reshape(-1, 3)
    ca, cb = np.cov(a.T), np.cov(b.T)
    wanted = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * scipy.sqrtm(ca @ cb).real)
    score = measure.frechet_score(torch.from_numpy(real), torch.from_numpy(fake))
    assert score.value == pytest.approx(wanted, rel=1e-6) and score.low < wanted < score.high  # type: ignore[operator]


def test_only_clips_know_of_time() -> None:
    """Shuffled frames are as good as frames, and bad as clips; so are frozen clips."""
    clips = moving_digits(300)[0].transpose(0, 1, 3, 4, 2)[:, :12]
    draw = np.random.default_rng(0)
    real, other = clips[:150], clips[150:]
    shuffled = np.stack([clip[draw.permutation(12)] for clip in other])
    frozen = np.repeat(other[:, :1], 12, 1)

    def distances(fake: np.ndarray) -> tuple[float, float]:
        sides = [measure.thumbnails(side, 4) for side in (real, fake)]
        whole = [measure.clip_features(side) for side in sides]
        scales = [measure.spread(block) for block in whole[0]]
        rows = [torch.cat([b / s for b, s in zip(side, scales, strict=True)], 1)[:, None] for side in whole]
        clip = measure.frechet_score(*rows)
        return measure.frechet_score(*sides).value, clip.value  # type: ignore[return-value]

    floor, same, still = distances(other), distances(shuffled), distances(frozen)
    assert same[0] == pytest.approx(floor[0], rel=1e-6) and same[1] > 3 * floor[1] and still[1] > 3 * floor[1]
