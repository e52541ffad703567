"""StyleGAN3: filters against scipy, bands against the paper's table, equivariance measured on what is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch

from ganforge.config import checked
from ganforge.core.errors import InputError
from ganforge.domains import open_data
from ganforge.domains.image import ImageDomain
from ganforge.measure.equivariance import lanczos_shift, translation_psnr
from ganforge.nn.stylegan2 import StyleGenerator, modulated_convolution, shifted
from ganforge.nn.stylegan3 import AliasFreeGenerator, AliasFreeLayer, Filter, FourierInput, bands
from ganforge.ops.resample import kaiser_lowpass, resample_along, upfirdn
from ganforge.recipes.stylegan3 import Stylegan3


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(("taps", "cutoff", "width"), [(12, 4.0, 4.6), (24, 9.0, 3.0), (6, 2.0, 30.0), (12, 1.0, 0.4)])
def test_the_lowpass_is_scipys(taps: int, cutoff: float, width: float) -> None:
    expected = scipy.signal.firwin(taps, cutoff, width=width, fs=64)
    np.testing.assert_allclose(kaiser_lowpass(taps, cutoff, width, 64).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (4, 1), (1, 2), (1, 4)])
@pytest.mark.parametrize("padding", [(0, 0), (5, 4), (-2, 3)])
def test_resampling_along_an_axis_is_upfirdn(dim: int, up: int, down: int, padding: tuple[int, int]) -> None:
    x, taps = torch.randn(2, 3, 15, 17), torch.randn(7)
    kernel = taps[:, None] if dim == 2 else taps[None]
    lines = torch.zeros(2, 3, 15 * (up if dim == 2 else 1), 17 * (up if dim == 3 else 1))
    lines[:, :, :: up if dim == 2 else 1, :: up if dim == 3 else 1] = x
    spread = (0, 0, *padding) if dim == 2 else (*padding, 0, 0)
    whole = upfirdn(lines, kernel, padding=spread, gain=1.5)
    expected = whole[:, :, ::down] if dim == 2 else whole[:, :, :, ::down]
    got = resample_along(x, taps, dim, up, down, padding, gain=1.5)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)


def test_a_filter_is_the_same_as_a_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    taps, x = kaiser_lowpass(12, 4.0, 3.0, 32), torch.randn(2, 3, 20, 20)
    matrix = Filter(20, taps, up=2, padding=(6, 5))
    monkeypatch.setattr("ganforge.nn.stylegan3.LARGEST", 0)
    grouped = Filter(20, taps, up=2, padding=(6, 5))
    assert grouped.matrix is None and matrix.matrix is not None
    torch.testing.assert_close(matrix(x), grouped(x), atol=1e-5, rtol=1e-4)


def test_a_filter_keeps_means_but_for_its_gain() -> None:
    taps = kaiser_lowpass(12, 2.0, 3.0, 16)
    y = Filter(40, taps, down=2, gain=3.0)(torch.ones(1, 1, 40, 40))
    torch.testing.assert_close(y, torch.full_like(y, 3.0))


def test_a_layer_is_figure_4b() -> None:
    """Normalized input, modulated convolution, bias, up, leaky ReLU with its gain, down: one after the other."""
    before, after = bands(16, 4, 2, 4, 1)[1:3]
    layer = AliasFreeLayer(before, after, 8).eval()
    with torch.no_grad():
        layer.magnitude.fill_(2.5), layer.bias.normal_()
    x, w = torch.randn(2, before.channels, before.size, before.size), torch.randn(2, 8)
    padded = torch.nn.functional.pad(x / math.sqrt(2.5), [1] * 4)
    weight = layer.weight / layer.weight.square().mean((1, 2, 3), keepdim=True).sqrt()
    y = modulated_convolution(padded, weight, layer.style(w)) + layer.bias[:, None, None]
    y = torch.nn.functional.leaky_relu(layer.finer(y), 0.2) * math.sqrt(2)
    for axis in (2, 3):
        y = resample_along(y, layer.coarser.taps, axis, down=layer.down)
    assert y.shape == (2, after.channels, after.size, after.size)
    torch.testing.assert_close(layer(x, w), y, atol=1e-5, rtol=1e-4)


def test_channels_of_small_images_suit_the_processor() -> None:
    G = AliasFreeGenerator((1, 8, 8), 8, 16, 1, 4, margin=2)
    assert [p.weight.shape[0] for p in G.parts] == [32, 16, 16, 16, 1]
    plan = bands(32, 5, 3, 16, 3, grain=16)
    assert [b.channels for b in plan] == [64, 64, 64, 32, 16, 16, 3], "5 layers, and as the input the first"


def test_bands_are_the_papers() -> None:
    """The layers' sizes of the paper's figure 4 (c), for 1024 pixels; channels are as 1 / cutoff (appendix D.1)."""
    plan = bands(1024, 14, 10, 64, 3)
    sizes = [36, 36, 52, 52, 84, 148, 148, 276, 276, 532, 1044, 1044, 1044, 1024, 1024]
    assert [b.size for b in plan[1:]] == sizes and plan[0] is plan[1]
    assert [b.channels for b in plan[-6:]] == [256, 161, 102, 64, 64, 3]
    assert plan[0].cutoff == 2 and plan[-1].cutoff == 512
    assert all(b.cutoff + b.width >= b.rate / 2 - 1e-9 for b in plan), "the stopband begins at Nyquist at the latest"


def test_fourier_features_move_as_asked() -> None:
    first = FourierInput(bands(32, 8, 10, 8, 1)[0], 6)
    torch.nn.init.normal_(first.place.weight, std=0.3)  # turned and moved by w already
    w = torch.randn(2, 6)
    still = first(w)
    pixel = 1 / first.band.rate
    moved = first(w, torch.tensor([[2 * pixel, -3 * pixel], [0.0, 4 * pixel]]))
    torch.testing.assert_close(moved[0, :, 2:, :-3], still[0, :, :-2, 3:], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(moved[1, :, :, 4:], still[1, :, :, :-4], atol=1e-4, rtol=1e-3)


def test_fourier_features_are_waves_that_fill_the_band_evenly() -> None:
    """Section 3.1: sin(2 pi (f R (p - t) + phase)) of size 1, mixed, where R and t are what w says; as many f in each
    part of the disk."""
    first = FourierInput(bands(32, 8, 4, 100, 1)[0], 6)
    band, turn, step = first.band, 0.7, torch.tensor([0.2, -0.1])
    with torch.no_grad():
        first.place.bias.copy_(3 * torch.tensor([math.cos(turn), math.sin(turn), *step]))  # a length of 3: no zoom
    first.weight.data.copy_(torch.eye(band.channels) * math.sqrt(band.channels))
    place = (torch.arange(band.size) + 0.5 - band.size / 2) / band.rate
    down, right = torch.meshgrid(place, place, indexing="ij")
    at = torch.stack([right, down], 2) - step
    cos, sin = math.cos(turn), math.sin(turn)
    turned = torch.stack([cos * at[..., 0] - sin * at[..., 1], sin * at[..., 0] + cos * at[..., 1]])
    angle = torch.einsum("cd,dhw->chw", first.waves, turned) + first.phases[:, None, None]
    torch.testing.assert_close(first(torch.randn(1, 6))[0], (2 * math.pi * angle).sin(), atol=1e-4, rtol=1e-3)
    inside = first.waves.norm(dim=1) / band.cutoff
    for radius in (0.3, 0.5, 0.7, 0.9):
        assert float((inside < radius).float().mean()) == pytest.approx(radius**2, abs=0.06)
    assert float(inside.max()) <= 1


def test_the_constant_of_stylegan2_moves_too() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    torch.testing.assert_close(shifted(x, torch.tensor([[0.25, 0.0]]))[0, 0, 1:], x[0, 0, :-1])
    torch.testing.assert_close(shifted(x, torch.tensor([[0.0, -0.25]]))[0, 0, :, :-1], x[0, 0, :, 1:])
    assert torch.equal(shifted(x, torch.zeros(1, 2)), x)


# ---- the measure


def waves(shift: torch.Tensor, side: int = 32) -> torch.Tensor:
    """A band-limited picture that moves perfectly."""
    place = torch.arange(side) / side
    x = place[None, None] - shift[:, 1, None, None].double()
    y = place[None, :, None] - shift[:, 0, None, None].double()
    return (0.4 * torch.sin(6 * math.pi * x) + 0.4 * torch.cos(4 * math.pi * y + 2 * math.pi * x))[:, None]


def test_what_moves_perfectly_scores_high_and_what_stays_low() -> None:
    whole, part = translation_psnr(waves, 16, 32), translation_psnr(waves, 16, 32, whole=False)
    assert whole.value > 100 and part.value > 57, "the filter is a finite one; its border, 10 dB, is left out"  # type: ignore[operator]
    stuck = translation_psnr(lambda shift: waves(torch.zeros_like(shift)), 16, 32)
    assert stuck.value < 20 and stuck.low <= stuck.value <= stuck.high  # type: ignore[operator]


def test_the_figure_is_the_formula() -> None:
    """An error of 0.02 everywhere is 10 log10(4 / 0.0004) = 40 dB."""

    def off(shift: torch.Tensor) -> torch.Tensor:
        return waves(shift) + 0.02 * float(shift.any())

    assert translation_psnr(off, 16, 32).value == pytest.approx(40, abs=0.3)
    with pytest.raises(InputError, match="at least 2"):
        translation_psnr(waves, 1, 32)


def test_whole_shifts_are_exact() -> None:
    image = torch.randn(1, 2, 9, 9)
    moved = lanczos_shift(image, torch.tensor([[2.0, -3.0]]))
    torch.testing.assert_close(moved[:, :, 2:, :-3], image[:, :, :-2, 3:].double())


def test_stylegan3_follows_and_stylegan2_does_not() -> None:
    found = {}
    for name, G in (
        ("stylegan2", StyleGenerator((1, 32, 32), 8, 4, 2)),
        ("stylegan3", AliasFreeGenerator((1, 32, 32), 8, 4, 2, margin=5)),
    ):
        for _ in range(20):  # magnitudes, and the mean of w
            G(torch.randn(8, 8))
        w = G.eval().styles(torch.randn(8, 8))
        scale = 0.5 / G.paint(w).std()  # the same loudness for both: the figure is of absolute errors
        found[name] = translation_psnr(lambda s, G=G, w=w, scale=scale: scale * G.paint(w, s), 8, 32, whole=False)
    assert found["stylegan3"].low > found["stylegan2"].high + 15, found


def test_any_shape_and_a_sample_of_its_own() -> None:
    G = AliasFreeGenerator((3, 20, 28), 8, 4, 1, margin=4).eval()
    z = torch.randn(3, 8)
    assert G(z).shape == (3, 3, 20, 28) and G.layers == 1 + len(G.parts)
    torch.testing.assert_close(G(z)[1:2], G(z[1:2]), atol=1e-5, rtol=1e-4)


def test_magnitudes_follow_in_training_only() -> None:
    G = AliasFreeGenerator((1, 16, 16), 8, 4, 1, margin=2)
    before = [p.magnitude.clone() for p in G.parts]
    G.eval()(torch.randn(4, 8))
    assert all(torch.equal(a, p.magnitude) for a, p in zip(before, G.parts, strict=True))
    G.train()(torch.randn(4, 8))
    assert not torch.equal(before[-1], G.parts[-1].magnitude)
    layer = AliasFreeGenerator((1, 16, 16), 8, 4, 1, margin=2).parts[0]
    x = 3 * torch.randn(2, layer.weight.shape[1], layer.finer.matrix.shape[0] - 2, layer.finer.matrix.shape[0] - 2)
    layer(x, torch.randn(2, 8))
    torch.testing.assert_close(layer.magnitude, 0.999 + 0.001 * x.square().mean())


@pytest.mark.parametrize("kind", [StyleGenerator, AliasFreeGenerator])
def test_double_precision_gives_the_same_but_more_digits(kind: Callable[..., Any]) -> None:
    G, z = kind((3, 16, 16), 8, 4, 2).eval(), torch.randn(6, 8)
    image = G(z)
    found = G.double()(z.double())
    assert found.dtype == G.train()(z.double()).dtype == torch.float64
    torch.testing.assert_close(found.float(), image, atol=1e-4, rtol=1e-4)


def test_images_are_a_quarter_of_what_the_last_layer_gives() -> None:
    """As in the authors' code: at the start images are then neither grey nor clipped."""
    G, seen = AliasFreeGenerator((1, 16, 16), 8, 4, 1, margin=2).eval(), []
    G.parts[-1].register_forward_hook(lambda module, given, made: seen.append(made))
    image = G(torch.randn(2, 8))
    torch.testing.assert_close(image, 0.25 * seen[0])


def test_defaults_grow_with_the_image() -> None:
    for side, layers, margin in ((8, 4, 2), (28, 5, 3), (64, None, None)):
        found = Stylegan3.defaults_for(ImageDomain(shape=(1, side, side)))
        assert (found.get("layers"), found.get("margin")) == (layers, margin)
    assert Stylegan3().layers == 0 and Stylegan3().margin == 10 and found["mapping_layers"] == 2


def test_its_game_is_stylegan2s_without_path_lengths() -> None:
    domain, _ = open_data("digits")
    recipe = Stylegan3(size=4, latent=8, mapping_layers=1, layers=3, margin=2, lazy=4)
    game = recipe.build(domain)
    assert [m.player for m in game.moves(game.clock)] == ["G", "D", "D"]
    inputs = game.draw(4, torch.Generator().manual_seed(0), truncation=0.5)
    assert game.sample(inputs)["data"].shape == (4, *domain.shape)


def test_too_few_layers_are_one_clear_line() -> None:
    """The last two have the finest band: with two there would be no way there (a division by 0)."""
    for layers in (1, 2):
        with pytest.raises(InputError, match=f"layers must be 0 .chosen by the size. or at least 3, not {layers}"):
            checked(Stylegan3, {"layers": layers}, "params")
