"""Augmentations, noise and latents: exact ranges and moments, differentiability, shapes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ganforge.core.errors import InputError
from ganforge.ops import augment
from ganforge.ops.augment import diff_augment
from ganforge.ops.noise import add_instance_noise, draw_latents, latents_on, lerp, slerp


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 5),
    st.sampled_from([1, 2, 3, 4]),
    st.integers(1, 19),
    st.integers(1, 19),
    st.lists(st.sampled_from(["color", "translation", "cutout"]), max_size=3),
)
def test_shape_and_type(n, channels, height, width, words):
    x = torch.rand(n, channels, height, width) * 2 - 1
    y = diff_augment(x, ",".join(words))
    assert y.shape == x.shape and y.dtype == x.dtype and torch.isfinite(y).all()


def test_differentiable_twice():
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)

    def fixed(x):
        torch.manual_seed(4)
        return diff_augment(x).tanh()

    assert torch.autograd.gradcheck(fixed, (x,))
    assert torch.autograd.gradgradcheck(fixed, (x,))


def test_brightness():
    x = torch.randn(20000, 1, 2, 2)
    shift = (augment.brightness(x) - x).flatten(1)
    torch.testing.assert_close(shift, shift[:, :1].expand(-1, 4), atol=1e-5, rtol=0)
    assert shift.min() >= -0.5 - 1e-5 and shift.max() <= 0.5 + 1e-5
    assert shift.min() < -0.49 and shift.max() > 0.49
    assert abs(shift.mean()) < 0.01 and abs(shift[:, 0].var() - 1 / 12) < 0.004


def test_saturation():
    x = torch.randn(5000, 3, 2, 2)
    y = augment.saturation(x)
    torch.testing.assert_close(y.mean(1), x.mean(1), atol=1e-4, rtol=1e-4)
    scale = ((y - y.mean(1, keepdim=True)).flatten(1).norm(dim=1)) / (x - x.mean(1, keepdim=True)).flatten(1).norm(
        dim=1
    )
    assert scale.min() < 0.02 and 1.98 < scale.max() <= 2 + 1e-4 and abs(scale.mean() - 1) < 0.03
    grey = torch.randn(3, 1, 4, 4)
    assert augment.saturation(grey) is grey


def test_contrast():
    x = torch.randn(5000, 2, 3, 3)
    y = augment.contrast(x)
    torch.testing.assert_close(y.mean((1, 2, 3)), x.mean((1, 2, 3)), atol=1e-4, rtol=1e-4)
    scale = y.flatten(1).std(1) / x.flatten(1).std(1)
    assert 0.5 - 1e-4 <= scale.min() < 0.51 and 1.49 < scale.max() <= 1.5 + 1e-4
    assert abs(scale.mean() - 1) < 0.015
    middle = x.mean((1, 2, 3), keepdim=True)  # of all channels together
    torch.testing.assert_close(y, middle + scale[:, None, None, None] * (x - middle), atol=1e-4, rtol=1e-4)


def test_translation_against_a_loop():
    n, height, width = 400, 16, 24
    x = torch.rand(n, 2, height, width) + 1  # no zeros: every filled-in pixel shows
    y = augment.translation(x)
    seen = set()
    for before, after in zip(x, y, strict=True):
        matches = []
        for down in range(-2, 3):
            for right in range(-3, 4):
                moved = torch.zeros_like(before)
                to = moved[:, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)]
                to.copy_(before[:, max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)])
                if torch.equal(moved, after):
                    matches.append((down, right))
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) == 35  # 5 x 7 shifts: an eighth of each side, both ends included


def test_cutout():
    x = torch.ones(3000, 2, 10, 7)
    hidden = augment.cutout(x) == 0
    assert torch.equal(hidden[:, 0], hidden[:, 1])
    rows, columns = hidden[:, 0].any(2), hidden[:, 0].any(1)
    assert torch.equal(hidden[:, 0], rows[:, :, None] & columns[:, None])
    assert rows.sum(1).max() == 5 and columns.sum(1).max() == 4
    assert rows.sum(1).min() == 3 and columns.sum(1).min() == 2  # its center is always inside
    assert rows.any(0).all() and columns.any(0).all()


def test_every_image_has_its_own_numbers_and_the_seed_fixes_them():
    x = torch.rand(1, 3, 8, 8).expand(6, -1, -1, -1)
    torch.manual_seed(1)
    first = diff_augment(x)
    torch.manual_seed(1)
    assert torch.equal(first, diff_augment(x))
    assert not torch.equal(first, diff_augment(x))
    assert len({tuple(image.flatten().tolist()) for image in first}) == 6


def test_policies():
    x = torch.rand(2, 3, 4, 4)
    assert diff_augment(x, "") is x
    assert augment.steps("cutout, color") == (
        augment.cutout,
        augment.brightness,
        augment.saturation,
        augment.contrast,
    )
    with pytest.raises(InputError, match="unknown augmentation 'colour'"):
        diff_augment(x, "colour,cutout")


def test_channels_last_stays():
    x = torch.rand(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    torch.manual_seed(2)
    y = diff_augment(x)
    torch.manual_seed(2)
    torch.testing.assert_close(y, diff_augment(x.contiguous()))


def test_instance_noise():
    x = torch.randn(200, 50)
    assert add_instance_noise(x, 0.0) is x
    noise = add_instance_noise(x, 0.3) - x
    assert abs(noise.mean()) < 0.015 and abs(noise.std() - 0.3) < 0.01
    assert torch.equal(add_instance_noise(x, torch.tensor(0.0)), x)


def test_priors():
    z = draw_latents(2000, 64)
    assert z.shape == (2000, 64) and z.dtype == torch.float32
    assert abs(z.mean()) < 0.02 and abs(z.std() - 1) < 0.02 and z.abs().max() > 3
    u = draw_latents(2000, 64, "uniform")
    assert -1 <= u.min() < -0.99 and 0.99 < u.max() <= 1 and abs(u.var() - 1 / 3) < 0.01
    s = draw_latents(2000, 64, "sphere")
    torch.testing.assert_close(s.norm(dim=1), torch.full((2000,), 8.0))
    assert abs(s.var() - 1) < 0.02 and abs(s.mean()) < 0.02
    assert latents_on("cpu", 3, 5, "uniform").shape == (3, 5)


def test_latents_are_a_function_of_the_generator():
    draws = [draw_latents(4, 8, "normal", torch.Generator().manual_seed(7), t) for t in (1.0, 1.0, 0.5, 0.5)]
    assert torch.equal(draws[0], draws[1]) and torch.equal(draws[2], draws[3])
    state = torch.get_rng_state()
    draw_latents(4, 8, "normal", torch.Generator().manual_seed(7), 0.3)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("truncation", [0.02, 0.25, 0.5, 0.99])
def test_truncated_normal(truncation):
    from scipy import stats

    limit = 2 * truncation
    z = draw_latents(500, 100, "normal", torch.Generator().manual_seed(0), truncation)
    assert z.abs().max() <= limit
    assert stats.kstest(z.double().flatten().numpy(), stats.truncnorm(-limit, limit).cdf).pvalue > 1e-3


def test_truncation_of_other_priors():
    u = draw_latents(500, 100, "uniform", truncation=0.5)
    assert 0.49 < u.abs().max() <= 0.5
    with pytest.raises(ValueError, match="sphere"):
        draw_latents(2, 3, "sphere", truncation=0.5)
    for wrong in (0.0, -1.0, 1.5):
        with pytest.raises(ValueError, match="truncation"):
            draw_latents(2, 3, truncation=wrong)
    with pytest.raises(ValueError, match="unknown prior"):
        draw_latents(2, 3, "cauchy")


def test_slerp_goes_along_the_circle():
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    for t in (0.0, 0.3, 1.0):
        angle = t * math.pi / 2
        torch.testing.assert_close(slerp(a, b, t), torch.tensor([math.cos(angle), math.sin(angle)]))
    path = slerp(a, b, torch.linspace(0, 1, 5)[:, None])
    assert path.shape == (5, 2)
    torch.testing.assert_close(path.norm(dim=1), torch.ones(5))


def test_slerp_of_parallel_opposite_and_zero_vectors():
    a = torch.tensor([[3.0, 4.0], [3.0, 4.0], [0.0, 0.0], [1.0, 0.0]])
    b = torch.tensor([[6.0, 8.0], [-3.0, -4.0], [1.0, 1.0], [1.0, 0.0]])
    torch.testing.assert_close(slerp(a, b, 0.25), lerp(a, b, 0.25))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.floats(0, 1), st.integers(0, 1000))
def test_slerp_keeps_the_length_and_meets_its_ends(size, t, seed):
    a, b = torch.randn(2, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    a, b = a / a.norm(), b / b.norm()
    assert abs(slerp(a, b, t).norm() - 1) < 1e-6
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b)
