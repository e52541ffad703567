"""StyleGAN2: resampling against scipy, modulation against its formula, path lengths, mixing, noise, truncation."""

from __future__ import annotations

import math
from typing import Any
from unittest import mock

import numpy as np
import pytest
import scipy.signal
import torch
from torch.autograd import gradcheck, gradgradcheck

import play
from ganforge.config import checked
from ganforge.core.errors import InputError
from ganforge.core.game import Clock
from ganforge.domains import open_data
from ganforge.domains.image import ImageDomain
from ganforge.model import Model
from ganforge.nn import stylegan2 as nets
from ganforge.nn.convnet import grid
from ganforge.nn.equalized import EqualizedConv, EqualizedLinear
from ganforge.ops.resample import BINOMIAL, blur, downsample, filter_2d, upfirdn, upsample
from ganforge.recipes.stylegan2 import PathMean, Stylegan2
from ganforge.recipes.stylegan3 import Stylegan3


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


# ---- resampling


@pytest.mark.parametrize("up, down", [(1, 1), (2, 1), (1, 2), (3, 2), (2, 3), (4, 1)])
@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (2, 1, 3, 0), (-1, 2, 0, -2)])
def test_upfirdn_is_scipys(up: int, down: int, padding: tuple[int, int, int, int]) -> None:
    x, kernel = torch.randn(2, 3, 7, 6), torch.randn(3, 4)
    got = upfirdn(x, kernel, up, down, padding, gain=2.0).numpy()
    left, right, top, bottom = padding
    for image, expected_image in zip(x.flatten(0, 1).numpy(), got.reshape(6, *got.shape[2:]), strict=True):
        wide = np.zeros((7 * up, 6 * up))
        wide[::up, ::up] = image
        wide = np.pad(wide, ((max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0))))
        wide = wide[max(-top, 0) : wide.shape[0] - max(-bottom, 0), max(-left, 0) : wide.shape[1] - max(-right, 0)]
        whole = scipy.signal.convolve2d(wide, 2.0 * kernel.numpy(), mode="valid")[::down, ::down]
        np.testing.assert_allclose(expected_image, whole, atol=1e-5)


@pytest.mark.parametrize("down", [1, 2, 3])
def test_bf16_maps_are_filtered_alike_in_both_ways(down: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A convolution of all channels, most of it zeros, gives the numbers of the grouped one."""
    x, kernel, found = torch.randn(2, 5, 9, 8).bfloat16(), torch.rand(4, 3), []
    for channels in (64, 0):
        monkeypatch.setattr("ganforge.ops.resample.DENSE", channels)
        found.append(upfirdn(x, kernel, 1, down, (2, 1, 0, 1)))
    torch.testing.assert_close(found[0], found[1], atol=2e-2, rtol=2e-2)
    expected = upfirdn(x.float(), kernel, 1, down, (2, 1, 0, 1))
    torch.testing.assert_close(found[0].float(), expected, atol=5e-2, rtol=2e-2)


def test_one_dimension_is_scipys_upfirdn() -> None:
    x, taps = torch.randn(9), torch.randn(5)
    got = upfirdn(x[None, None, None], taps[None], 1, 1, (4, 4, 0, 0))[0, 0, 0]
    np.testing.assert_allclose(got.numpy(), scipy.signal.upfirdn(taps.numpy(), x.numpy()), atol=1e-5)
    both = upfirdn(x[None, None, :, None].expand(1, 1, 9, 9), torch.outer(taps, torch.ones(1)), 3, 2, (0, 0, 4, 2))
    expected = scipy.signal.upfirdn(taps.numpy(), x.numpy(), up=3, down=2)
    np.testing.assert_allclose(both[0, 0, : len(expected), 0].numpy(), expected[: both.shape[2]], atol=1e-5)


@pytest.mark.parametrize("call", [
    lambda x: upsample(x, filter_2d(BINOMIAL).double()),
    lambda x: downsample(x, filter_2d(BINOMIAL).double()),
    lambda x: blur(x, filter_2d(BINOMIAL).double(), extra=(-1, 0)),
])  # fmt: skip
def test_resampling_differentiates_twice(call) -> None:
    x = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert gradcheck(call, x)
    assert gradgradcheck(lambda v: call(v.tanh()), x)


def test_resampling_keeps_constants_and_centers() -> None:
    kernel, ones = filter_2d(BINOMIAL), torch.ones(1, 1, 12, 10)
    assert upsample(ones, kernel).shape == (1, 1, 24, 20) and downsample(ones, kernel).shape == (1, 1, 6, 5)
    assert downsample(torch.ones(1, 1, 7, 5), kernel).shape == (1, 1, 4, 3)
    torch.testing.assert_close(upsample(ones, kernel)[..., 4:-4, 4:-4], torch.ones(1, 1, 16, 12))
    torch.testing.assert_close(downsample(ones, kernel)[..., 1:-1, 1:-1], torch.ones(1, 1, 4, 3))
    ramp = torch.arange(16.0).expand(1, 1, 16, 16)  # pixel i lies at i: its halves at i - 1/4 and i + 1/4
    torch.testing.assert_close(upsample(ramp, kernel)[0, 0, 8, 8:24], torch.arange(8, 24) / 2 - 0.25)
    torch.testing.assert_close(downsample(ramp, kernel)[0, 0, 4, 2:6], torch.arange(2.0, 6) * 2 + 0.5)
    with pytest.raises(ValueError, match="too small"):
        upfirdn(torch.ones(1, 1, 2, 9), kernel)


# ---- layers


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("demodulate", [False, True])
def test_modulated_convolution_is_its_formula(up: bool, demodulate: bool) -> None:
    x, w, s = torch.randn(3, 4, 5, 6), torch.randn(7, 4, 3, 3), torch.randn(3, 4)
    rows = []
    for image, style in zip(x, s, strict=True):  # eqs. 1 and 3, one sample at a time
        each = w * style[None, :, None, None]
        if demodulate:
            each = each / (each.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:
            rows.append(torch.nn.functional.conv_transpose2d(image[None], each.transpose(0, 1), stride=2))
        else:
            rows.append(torch.nn.functional.conv2d(image[None], each, padding=1))
    for fused in (False, True):
        got = nets.modulated_convolution(x, w, s, demodulate, up, fused)
        torch.testing.assert_close(got, torch.cat(rows), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("demodulate", [False, True])
def test_a_gain_multiplies_and_padding_adds_a_border(demodulate: bool) -> None:
    x, w, s = torch.randn(2, 3, 5, 6), torch.randn(4, 3, 3, 3), torch.randn(2, 3)
    plain = nets.modulated_convolution(x, w, s, demodulate)
    for fused in (False, True):
        got = nets.modulated_convolution(x, w, s, demodulate, fused=fused, padding=2, gain=torch.tensor(0.3))
        assert got.shape == (2, 4, 7, 8)
        torch.testing.assert_close(got[..., 1:-1, 1:-1], 0.3 * plain, atol=1e-5, rtol=1e-4)


def test_a_styled_convolution_is_figure_2c() -> None:
    """Modulated convolution, then noise and bias, then the leaky ReLU with its gain, one after the other."""
    conv, x, w = nets.StyledConv(4, 6, 8, (5, 5)), torch.randn(2, 4, 5, 5), torch.randn(2, 8)
    with torch.no_grad():
        conv.strength.fill_(0.7), conv.bias.normal_()
    y = nets.modulated_convolution(x, conv.weight / math.sqrt(4 * 9), conv.style(w))
    y = y + 0.7 * conv.noise + conv.bias[:, None, None]
    expected = torch.nn.functional.leaky_relu(y, 0.2) * math.sqrt(2)
    torch.testing.assert_close(conv.eval()(x, w), expected, atol=1e-5, rtol=1e-4)


def test_a_residual_block_is_figure_7() -> None:
    """conv, leaky ReLU, blur and conv with stride 2, leaky ReLU; beside a 1 x 1 convolution of the blurred half; both
    paths have half of the variance."""
    block, x = nets.ResidualDown(4, 6), torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        block.first.bias.normal_(), block.second.bias.normal_()  # type: ignore[union-attr]
    taps = torch.tensor(BINOMIAL) / 8
    low = torch.outer(taps, taps).expand(4, 1, 4, 4)
    conv, lrelu = torch.nn.functional.conv2d, torch.nn.functional.leaky_relu
    y = lrelu(conv(x, block.first.weight / 6, block.first.bias, padding=1), 0.2) * math.sqrt(2)
    y = conv(conv(y, low, padding=2, groups=4), block.second.weight / 6, block.second.bias, stride=2)
    skip = conv(conv(x, low, padding=1, stride=2, groups=4), block.skip.weight / 2)
    expected = (lrelu(y, 0.2) * math.sqrt(2) + skip) / math.sqrt(2)
    torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=1e-4)


def test_mapping_sees_latent_and_class_alike_loud() -> None:
    """Both are normalized: how large z is changes nothing, nor how large the class's embedding."""
    mapping, z, label = nets.Mapping(8, 2, 3).eval(), torch.randn(5, 8), torch.tensor([0, 1, 2, 1, 0])
    w = mapping(z, label)
    torch.testing.assert_close(mapping(7 * z, label), w, atol=1e-4, rtol=1e-3)
    with torch.no_grad():
        mapping.embedding.weight.mul_(7.0)  # type: ignore[union-attr]
    torch.testing.assert_close(mapping(z, label), w, atol=1e-4, rtol=1e-3)
    assert not torch.allclose(mapping(z, label[[1, 2, 0, 0, 1]]), w, atol=1e-2)


def test_normalized_features_have_mean_square_one_at_each_position() -> None:
    torch.manual_seed(0)
    layer = nets.StyledConv(6, 5, 8, (8, 8), up=True, normalize=True)
    with torch.no_grad():
        y = layer(torch.randn(3, 6, 4, 4), torch.randn(3, 8))
    torch.testing.assert_close(y.square().mean(1), torch.ones(3, 8, 8))


@pytest.mark.parametrize(("side", "expected"), [(16, True), (32, True), (64, False)])
def test_small_images_have_normalized_features(side: int, expected: bool) -> None:
    domain = ImageDomain(shape=(1, side, side))
    recipe = Stylegan2(**Stylegan2.defaults_for(domain))
    G: Any = recipe.networks(domain)[0]
    assert recipe.pixel_norm == expected and all(conv.normalize == expected for conv in G.convs)


def test_demodulation_restores_variance() -> None:
    x, w, s = torch.randn(8, 64, 16, 16), torch.randn(32, 64, 3, 3), 5 * torch.randn(8, 64).exp()
    y = nets.modulated_convolution(x, w, s)[..., 1:-1, 1:-1]
    assert float(y.square().mean()) == pytest.approx(1.0, abs=0.05)


def test_equalized_layers_keep_variance_and_learn_alike() -> None:
    assert float(EqualizedConv(64, 32)(torch.randn(4, 64, 16, 16)).detach()[..., 1:-1, 1:-1].var()) == pytest.approx(
        1, abs=0.1
    )
    x, slow = torch.randn(512, 128), EqualizedLinear(128, 64, lr=0.01)
    assert float(slow(x).detach().var()) == pytest.approx(1, abs=0.1)
    before = slow(x)
    with torch.no_grad():
        slow.weight += 0.5  # the same step of Adam moves it a hundredth as far
        after = slow(x)
        torch.testing.assert_close(after - before, 0.5 * 0.01 / math.sqrt(128) * x.sum(1, keepdim=True).expand(-1, 64),
                                   atol=1e-4, rtol=1e-3)  # fmt: skip


def test_noise_is_fresh_in_training_and_fixed_otherwise() -> None:
    conv, x, w = nets.StyledConv(4, 4, 8, (6, 6)), torch.randn(2, 4, 6, 6), torch.randn(2, 8)
    torch.testing.assert_close(conv(x, w), conv(x, w))  # its strength starts at 0
    with torch.no_grad():
        conv.strength.fill_(1.0)
    assert not torch.equal(conv(x, w), conv(x, w))
    conv.eval()
    assert torch.equal(conv(x, w), conv(x, w))


# ---- networks


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 28), (3, 20, 33), (4, 5, 16), (1, 3, 3)])
def test_any_size(shape: tuple[int, int, int]) -> None:
    G = nets.StyleGenerator(shape, 8, 4, mapping=2)
    D = nets.StyleDiscriminator(shape, 4)
    x = G(torch.randn(4, 8))
    assert x.shape == (4, *shape) and D(x).shape == (4,)
    base = grid(*shape[1:])
    assert G.layers == 2 * base[0] + 2


def test_images_of_all_levels_are_added_up_in_full_precision() -> None:
    G = nets.StyleGenerator((1, 16, 16), 8, 4, mapping=2)
    with torch.no_grad():
        for level, image in enumerate(G.images):
            image.bias.fill_(1.0 if level == 0 else 2.0**-10)  # less than bf16 tells apart from 1
    with torch.autocast("cpu", torch.bfloat16), mock.patch.object(nets.ToImage, "forward", painted):
        made = G.paint(torch.zeros(2, G.layers, 8))
    assert made.dtype == torch.float32
    torch.testing.assert_close(made[:, :, 6:10, 6:10], torch.full((2, 1, 4, 4), 1.0 + (len(G.images) - 1) / 1024))


def painted(layer: nets.ToImage, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """The bias alone, as a convolution in mixed precision gives it."""
    return layer.bias.detach().expand(len(x), 1, *x.shape[2:]).bfloat16()


def test_mixing_takes_a_second_latent_from_a_random_layer_on() -> None:
    G = nets.StyleGenerator((1, 16, 16), 8, 4, mapping=2, mixing=0.5)
    w = G.styles(torch.randn(400, 8))
    crossed = (w[:, 1:] != w[:, :-1]).any(2)  # [n, layers - 1]
    assert int(crossed.sum(1).max()) == 1
    assert float(crossed.any(1).float().mean()) == pytest.approx(0.5, abs=0.08)
    assert bool(crossed.any(0).all()), "every layer may be the crossover"
    assert not bool((G.eval().styles(torch.randn(9, 8)).diff(dim=1) != 0).any())


@pytest.mark.parametrize("kind", [Stylegan2, Stylegan3])
def test_the_second_latent_is_of_the_prior_and_leaves_the_average_alone(
    kind: type[Stylegan2], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As z is. The average of w moves once: towards the w of z."""
    recipe = checked(kind, {**kind.tiny, "prior": "uniform", "style_mixing": 1.0}, "params")
    G, _ = recipe.networks(ImageDomain(shape=(1, 8, 8)))
    mapping, seen = G.mapping.forward, []
    monkeypatch.setattr(G.mapping, "forward", lambda z, *rest, **more: seen.append(z) or mapping(z, *rest, **more))
    z = torch.rand(256, 8) * 2 - 1
    w = G.styles(z)[:, 0]
    assert len(seen) == 2 and torch.equal(seen[0], z)
    assert 0.98 < float(seen[1].abs().max()) <= 1 and not torch.equal(seen[1], z)
    torch.testing.assert_close(G.mapping.average, (1 - G.mapping.follow) * w.detach().mean(0))


def test_average_w_is_followed_in_training_only() -> None:
    G = nets.StyleGenerator((1, 8, 8), 8, 4, mapping=2, mixing=0.0)
    z = torch.randn(64, 8)
    for _ in range(2000):
        w = G.mapping(z, None)
    torch.testing.assert_close(G.mapping.average, w.mean(0).detach(), atol=1e-3, rtol=1e-3)
    kept = G.mapping.average.clone()
    G.eval().mapping(torch.randn(64, 8), None)
    assert torch.equal(G.mapping.average, kept)


def test_the_mapping_learns_as_slowly_as_it_is_told() -> None:
    """The same step of Adam moves w in proportion to its share of the learning rate."""
    z, moved = torch.randn(64, 8), []
    for lr in (0.01, 0.1):
        torch.manual_seed(1)
        mapping = nets.StyleGenerator((1, 8, 8), 8, 4, 1, mapping_lr=lr).mapping.eval()
        before = mapping(z, None)
        with torch.no_grad():
            mapping.layers[0].weight += 0.05
        moved.append(float((mapping(z, None) - before).detach().abs().mean()))
    assert moved[1] == pytest.approx(10 * moved[0], rel=0.15)


def test_defaults_of_large_images_are_the_papers() -> None:
    small, large = (Stylegan2.defaults_for(ImageDomain(shape=(3, side, side))) for side in (28, 64))
    assert large == {"size": 32, "mapping_layers": 8, "r1": 0.4, "conditioning": "none"}
    assert small["path_length"] == small["style_mixing"] == 0 and small["lazy"] == 4
    assert Stylegan2().mapping_lr == 0.01 and Stylegan2().lr == 2.5e-3 and Stylegan2().lazy == 16


def game(**params):
    recipe = checked(Stylegan2, {"size": 4, "batch": 8, "latent": 8, "mapping_layers": 2, **params}, "params")
    return recipe.build(ImageDomain(shape=(1, 8, 8)))


def test_truncation_draws_w_to_its_mean() -> None:
    played = game().eval()
    with torch.no_grad():
        played.G.mapping.average.normal_()
    inputs = played.draw(6, torch.Generator().manual_seed(0), truncation=0.3)
    assert set(played.draw(6, torch.Generator().manual_seed(0))) == {"z"}
    w, mean = played.G.styles(inputs["z"]), played.G.mapping.average
    expected = played.G.paint(mean + 0.3 * (w - mean))
    torch.testing.assert_close(played.sample(inputs)["data"], expected)
    near = played.sample(inputs | {"truncation": torch.full((6,), 1e-6)})["data"]
    torch.testing.assert_close(near, near[:1].expand_as(near), atol=1e-4, rtol=1e-3)


def test_model_truncates_interpolates_and_decodes() -> None:
    model = Model(game(), ImageDomain(shape=(1, 8, 8)), {"recipe": "stylegan2", "samples": 0})
    assert model.generate(3, truncation=0.5).shape == (3, 8, 8, 1)
    (inputs,) = model.inputs(3)
    np.testing.assert_array_equal(model.decode(inputs["z"].numpy()), model.generate(3))
    assert model.interpolate(3, 2).shape == (5, 8, 8, 1)


def test_path_lengths_of_a_linear_generator() -> None:
    """For an image A w the length |A^T y| / sqrt(pixels) is known; the penalty is its squared distance to the mean."""
    played = game(path_length=2.0, batch=32)
    A = torch.randn(64, 8)
    played.G.styles = lambda z, label=None: z[:, None].expand(-1, 3, -1).clone().requires_grad_()
    played.G.paint = lambda w: (w.mean(1) @ A.t()).reshape(-1, 1, 8, 8)
    played.moves(Clock())
    torch.manual_seed(5)
    terms = played.straighten(2.0, {"data": torch.zeros(32, 1, 8, 8)})
    torch.manual_seed(5)
    torch.randn(16, 8)
    y = torch.randn(16, 1, 8, 8).flatten(1) / 8
    lengths = (y @ A / 3).norm(dim=1)  # each of 3 layers has a third of the effect
    mean = 0.01 * lengths.mean()
    torch.testing.assert_close(terms["paths"], 2.0 * (lengths - mean).square().mean())
    torch.testing.assert_close(played.paths.length[0], mean)


def test_the_mean_length_survives_what_is_not_finite() -> None:
    paths = PathMean()
    paths.allocate(2)
    assert float(paths.follow(1, torch.tensor(3.0), 0.5)) == 1.5
    assert float(paths.follow(1, torch.tensor(math.nan))) == 1.5
    assert paths.length.tolist() == [0.0, 1.5]


def test_lazy_moves_and_their_settings() -> None:
    played = game(path_length_every=4, lazy=8)
    moves = [(m.player, m.every, m.order) for m in played.moves(Clock())]
    assert moves == [("G", 1, 1), ("D", 1, 1), ("D", 8, 2), ("G", 4, 2)]
    assert [m.every for m in game(path_length=0, r1=0).moves(Clock())] == [1, 1]


def test_labels_change_images_and_logits() -> None:
    domain, _ = open_data("digits")
    recipe = checked(Stylegan2, {"size": 4, "latent": 8, "conditioning": "projection"}, "params")
    played = recipe.build(domain).eval()
    z, a, b = torch.randn(2, 8), torch.tensor([0, 1]), torch.tensor([5, 1])
    first, second = (played.sample({"z": z, "label": label})["data"] for label in (a, b))
    assert not torch.equal(first[0], second[0]) and torch.allclose(first[1], second[1], atol=1e-5)
    logits = (played.D(first, a) - played.D(first, b)).detach()
    assert float(logits[0].abs()) > 1e-4


@pytest.mark.parametrize("params, words", [
    ({"norm_generator": "none"}, "norm_generator changes nothing"),
    ({"conditioning": "projection"}, "needs labels"),
    ({"augment": "adda"}, "unknown augmentation 'adda'"),
])  # fmt: skip
def test_settings_that_make_no_sense_are_refused(params: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        game(**params)


def test_resume_and_shards(tmp_path) -> None:
    """The state after 4 rounds of 2 shards is that after 2 + 2, lazily penalized rounds included."""
    whole = play.trainer_for("stylegan2", shards=2)
    for _ in range(4):
        whole.round()
    first = play.trainer_for("stylegan2", shards=2)
    first.round(), first.round()
    second = play.trainer_for("stylegan2", shards=2)
    tensors, numbers = first.state()
    second.restore({k: {n: t.clone() for n, t in v.items()} for k, v in tensors.items()}, numbers)
    second.round(), second.round()
    for part, values in whole.state()[0].items():
        other = second.state()[0][part]
        assert all(torch.equal(v, other[n]) for n, v in values.items()), part
