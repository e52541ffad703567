"""What clips are made and judged by: drawings that are carried along paths of any length, and judges of clips."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ganforge.nn.clip_judges import FactoredDiscriminator, FrameDiscriminator, StackedDiscriminator, averaged_down
from ganforge.nn.video import DETAIL, FAST, QUICK, CarriedFrames, ClipGenerator, bounce, carry, resampling, unsteadiness


@pytest.mark.parametrize("frames", ["carried", "styled", "joined"])
def test_longer_clips_begin_with_shorter_ones(frames: str) -> None:
    torch.manual_seed(0)
    G = ClipGenerator((3, 12, 20), 6, 4, 8, 8, 3, frames).train()  # type: ignore[arg-type]
    for norm in G.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.momentum = 1.0
    G(torch.randn(8, 6), torch.randn(8, 9, 4), torch.arange(8) % 3)
    G.eval()
    z, noise, label = torch.randn(2, 6), torch.randn(2, 1 + 30, 4), torch.tensor([0, 2])
    long = G(z, noise, label)
    assert long.shape == (2, 30, 3, 12, 20)
    assert torch.allclose(G(z, noise[:, :8], label), long[:, :7], atol=1e-5)
    changed = noise.clone()
    changed[:, 11:] += 1  # what comes later changes nothing before
    assert torch.allclose(G(z, changed, label)[:, :10], long[:, :10], atol=1e-5)
    assert not torch.allclose(G(z, changed, label)[:, 10], long[:, 10], atol=1e-3)


def test_lines_are_resampled_as_grid_sample_does() -> None:
    torch.manual_seed(0)
    maps, zoom, shift = torch.randn(2, 3, 9, 14), torch.rand(2, 5, 2), torch.randn(2, 5, 2)
    down, across = (resampling(zoom[..., i], shift[..., i], maps.shape[2 + i]) for i in range(2))
    found = carry(maps, down, across)
    for clip in range(2):
        for frame in range(5):
            (zy, zx), (sy, sx) = zoom[clip, frame].tolist(), shift[clip, frame].tolist()
            moved = torch.tensor([[[2**-zx, 0, -sx * 2**-zx], [0, 2**-zy, -sy * 2**-zy]]])
            places = F.affine_grid(moved, [1, 3, 9, 14], align_corners=False)
            wanted = F.grid_sample(maps[clip : clip + 1], places, padding_mode="zeros", align_corners=False)
            assert torch.allclose(found[clip, frame], wanted[0], atol=1e-4)


def test_shrinking_averages() -> None:
    half = resampling(torch.tensor(-1.0), torch.tensor(0.0), 16)
    line = torch.arange(16) % 2  # stripes, which nearest neighbors would turn black or white
    assert torch.allclose(half.sum(1)[5:11], torch.ones(6))
    assert torch.allclose((half @ line.float())[5:11], torch.full((6,), 0.5), atol=1e-6)


def mover(shape: tuple[int, int, int]) -> CarriedFrames:
    """What a code's first two numbers move by that many half frames, from the middle and up to the frame's sides."""
    torch.manual_seed(0)
    make = CarriedFrames(shape, 6, 4, 16)
    for part in (make.start, make.speed, make.scale):
        part.weight.data.zero_()
    make.start.weight.data[:, :2] = torch.eye(2)
    make.speed.weight.data[:, :2] = torch.eye(2) / FAST
    make.reach.data.fill_(50)
    return make


def test_what_is_carried_stays_the_same() -> None:
    make, codes = mover((3, 16, 20)), torch.zeros(2, 4, 4)
    codes[:, 2, 0], codes[:, 3, :2] = 2 / 8, torch.tensor([-2 / 8, -3 / 10])  # 2 pixels down, then back and 3 left
    with torch.no_grad():
        at_rest, lower, left = make(torch.randn(2, 6), codes).unflatten(0, (2, 3)).unbind(1)
    assert at_rest.std() > 0.01
    assert torch.allclose(lower[:, :, 5:-3], at_rest[:, :, 3:-5], atol=1e-5)
    assert torch.allclose(left[..., 3:-6], at_rest[..., 6:-3], atol=1e-5)


def test_codes_are_velocities_between_walls() -> None:
    """As moving digits fly: straight on, and back at the walls."""
    make, codes = mover((1, 16, 16)), torch.zeros(1, 41, 4)
    codes[0, 0, :2], codes[0, 1:, :2] = torch.tensor([0.25, -0.5]), torch.tensor([0.1, -0.3])
    make.reach.data = torch.tensor([0.4, 0.8]).logit() / QUICK
    _, shift = make.places(codes)
    place, speed, found = np.array([0.25, -0.5]), np.array([0.1, -0.3]), []
    for _ in range(40):
        place = place + speed
        out = np.abs(place) > 1
        place, speed = np.where(out, 2 * np.sign(place) - place, place), np.where(out, -speed, speed)
        found.append(place * [0.4, 0.8])
    assert np.allclose(shift[0].detach(), found, atol=1e-5)
    way = torch.linspace(-9, 9, 181, dtype=torch.float64)
    assert torch.allclose(bounce(way), torch.asin(torch.sin(way * math.pi / 2)) * 2 / math.pi)


def test_unsteadiness_by_numpy() -> None:
    codes = np.random.default_rng(0).normal(size=(5, 9, 3)) * np.linspace(1, 2, 9)[:, None]
    wanted = 0.0
    for steps in (codes, np.diff(codes, axis=1)):
        a, b = steps[:, :4].reshape(-1, 3), steps[:, 4:].reshape(-1, 3)
        first, later = a.T @ a / len(a), b.T @ b / len(b)
        wanted += ((later - first) ** 2).sum() / (first**2).sum()
    assert float(unsteadiness(torch.from_numpy(codes), 4)) == pytest.approx(wanted)
    assert unsteadiness(torch.ones(2, 9, 3), 4) == 0


def test_motion_goes_on_in_long_clips() -> None:
    """Before any training: codes that were places themselves came to rest."""
    torch.manual_seed(0)
    G = ClipGenerator((1, 24, 24), 8, 8, 64, 8)
    with torch.no_grad():
        _, shift = G.image.places(G.path(torch.randn(128, 1 + 96, 8), None))  # type: ignore[operator]
    first, *_, last = [part.diff(dim=1).abs().mean() for part in shift.chunk(6, 1)]
    assert last > 0.6 * first


def test_a_layer_hides_the_background_where_its_mask_is() -> None:
    torch.manual_seed(0)
    make = CarriedFrames((1, 16, 16), 6, 4, 16)
    last: Any = make.last
    z, codes = torch.randn(4, 6), torch.rand(4, 4, 4)
    last.weight.data[2:] = torch.randn_like(last.weight[2:])  # a background that is not plain
    for logit, moves in ((50.0, True), (-50.0, False)):
        last.weight.data[0], last.bias.data[0] = 0, logit
        with torch.no_grad():
            frames = make(z, codes).unflatten(0, (4, 3))
        assert torch.allclose(frames[:, 0], frames[:, 1], atol=1e-5) != moves


def test_motion_is_smooth_from_the_start() -> None:
    torch.manual_seed(0)
    G = ClipGenerator((1, 24, 24), 8, 8, 64, 8)
    with torch.no_grad():
        _, shift = G.image.places(G.path(torch.randn(64, 17, 8), None))  # type: ignore[operator]
    assert float(shift.std()) > 0.2 and float(shift.abs().max()) <= 1
    assert (shift[:, 1:] - shift[:, :-1]).std() < shift.std() / 3


def test_a_background_is_first_of_one_color() -> None:
    torch.manual_seed(0)
    make = CarriedFrames((2, 16, 16), 6, 4, 16)
    last: Any = make.last
    last.weight.data[3:] = torch.randn_like(last.weight[3:])
    make.window.data.fill_(-1e3)  # no layer
    z = torch.randn(4, 6)
    with torch.no_grad():
        drawn = make.last(F.relu(make.drawing(z)))[:, 3:]
        frames = make(z, torch.rand(4, 4, 4)).unflatten(0, (4, 3))
    mean = drawn.mean((2, 3), keepdim=True)
    assert torch.allclose(frames[:, 1], torch.tanh(mean + DETAIL * (drawn - mean)), atol=1e-5)


def test_the_layer_begins_as_a_disc_in_the_middle() -> None:
    torch.manual_seed(0)
    make = CarriedFrames((3, 24, 32), 6, 4, 16)
    mask = make.last(F.relu(make.drawing(torch.randn(8, 6))))[:, :1] + make.window
    shown = (torch.sigmoid(mask) > 0.5).float().mean((0, 1))
    assert shown[10:14, 14:18].min() == 1 and shown[[0, -1]].max() == 0 == shown[:, [0, -1]].max()
    assert 0.1 < float(shown.mean()) < 0.4


@pytest.mark.parametrize("shape", [(2, 3, 1, 8, 8), (1, 2, 3, 6, 9)])
def test_blocks_are_averaged(shape: tuple[int, ...]) -> None:
    clips = torch.randn(shape)
    assert averaged_down(clips, 1) is clips
    blocks = averaged_down(clips, 2)
    down, across = -(-shape[3] // 2), -(-shape[4] // 2)
    assert blocks.shape == (*shape[:3], down, across)
    for y in range(down):
        for x in range(across):  # at odd ends a block is what there is
            wanted = clips[..., 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean((-1, -2))
            assert torch.allclose(blocks[..., y, x], wanted, atol=1e-6)


def test_the_verdict_on_a_frame_is_the_sum_of_those_on_its_places() -> None:
    torch.manual_seed(0)
    judge, frames = FrameDiscriminator((3, 32, 48), 4), torch.randn(5, 3, 32, 48)
    places = judge.layers(frames)
    assert places.shape == (5, 16, 4, 6)
    verdicts = torch.einsum("nchw,c->nhw", places, judge.to_logit.weight[0]) / math.sqrt(24)
    assert torch.allclose(judge(frames), verdicts.sum((1, 2)) + judge.to_logit.bias, atol=1e-5)


@pytest.mark.parametrize("kind", [StackedDiscriminator, FactoredDiscriminator])
@pytest.mark.parametrize("shape", [(2, 1, 9, 13), (5, 3, 16, 16), (16, 1, 24, 24)])
def test_judges_of_clips_see_all_frames(kind: type, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    judge = kind(shape, 4, "projection", 3)
    x = torch.randn(4, *shape, requires_grad=True)
    logits = judge(x, torch.tensor([0, 1, 2, 0]))
    (slope,) = torch.autograd.grad(logits.sum(), x)
    assert logits.shape == (4,) and bool((slope.abs().amax((0, 2, 3, 4)) > 0).all())
    back = judge(x.flip(1), torch.tensor([0, 1, 2, 0]))
    assert not torch.allclose(back, logits, atol=1e-4)  # time has a direction
