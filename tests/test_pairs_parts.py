"""Degradations, networks, the pool, and measures of pairs, each against something independent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from conftest import real_data
from ganforge.core.errors import InputError
from ganforge.losses.perceptual import feature_l1
from ganforge.measure.paired import FeatureDistance, l1, psnr, ssim
from ganforge.nn.layers import InstanceNorm
from ganforge.nn.patch import PatchDiscriminator
from ganforge.nn.pool import ImagePool
from ganforge.nn.resnet import ResnetTranslator, Restorer
from ganforge.nn.squeezenet import trained_squeezenet
from ganforge.nn.unet import Doubled, UNet
from ganforge.ops.degrade import bicubic, blur, edges, parse, random_holes


def photo(height: int = 48, width: int = 40, seed: int = 0) -> np.ndarray:
    """A smooth random picture, uint8 [h, w, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def tensor(levels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(levels.astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1


# ---- degradations


def test_noise_has_the_asked_deviation() -> None:
    torch.manual_seed(0)
    x = torch.zeros(4, 3, 64, 64)
    assert float((parse("noise:25")(x) * 127.5).std()) == pytest.approx(25, rel=0.02)
    spread = (parse("noise:0-50")(torch.zeros(64, 1, 32, 32)) * 127.5).std((1, 2, 3))
    assert float(spread.min()) < 10 and float(spread.max()) > 40 and float(spread.mean()) == pytest.approx(25, abs=5)


def test_shrinking_is_pillows_bicubic() -> None:
    levels = photo()
    for channel in range(3):
        plane = Image.fromarray(levels[..., channel].astype(np.float32))
        small = np.asarray(plane.resize((10, 12), Image.Resampling.BICUBIC)).clip(0, 255).round()
        large = np.asarray(Image.fromarray(small).resize((40, 48), Image.Resampling.BICUBIC)).clip(0, 255)
        ours = ((parse("shrink:4")(tensor(levels)) + 1) * 127.5)[0, channel].numpy()
        assert np.abs(ours - large).max() < 0.01
    assert parse("shrink:2,noise:5").scale == 2 and parse("super-resolution").scale == 4
    assert bicubic(tensor(levels), 96, 80).shape == (1, 3, 96, 80)


def test_grey_is_pillows_luma() -> None:
    levels = photo()
    ours = ((parse("grey")(tensor(levels)) + 1) * 127.5)[0, 0].numpy()
    assert np.abs(ours - np.asarray(Image.fromarray(levels).convert("L"))).max() <= 1


def test_blur_is_scipys_gaussian() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    x = torch.rand(1, 2, 32, 32)
    want = ndimage.gaussian_filter(x.numpy(), (0, 0, 1.5, 1.5), mode="nearest", radius=(0, 0, 5, 5))
    assert np.abs(blur(x, 1.5).numpy() - want).max() < 1e-5


def test_edges_are_where_the_picture_changes() -> None:
    x = -torch.ones(1, 3, 16, 16)
    x[..., 8:] = 1
    drawn = edges(x)
    assert drawn.shape == (1, 1, 16, 16)
    assert (
        bool((drawn[..., 7:9] == -1).all()) and bool((drawn[..., :6] == 1).all()) and bool((drawn[..., 10:] == 1).all())
    )


def test_holes_hide_the_share_that_was_asked_for() -> None:
    torch.manual_seed(0)
    x = torch.rand(64, 3, 32, 32) * 2 - 1
    for share in (0.1, 0.25, 0.5):
        covered = float(random_holes(x, share, share).mean())
        assert 0.6 * share < covered < 1.5 * share
    given = parse("inpaint")(x)
    hole = given[:, -1:]
    assert given.shape == (64, 4, 32, 32) and set(hole.unique().tolist()) == {-1.0, 1.0}
    assert (
        torch.equal(given[:, :3] * (hole < 0), x * (hole < 0))
        and not given[:, :3][hole.expand(-1, 3, -1, -1) > 0].any()
    )


# ---- networks


@pytest.mark.parametrize("size", [(64, 64), (28, 28), (37, 50)])
def test_networks_take_any_size(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    nets = [UNet(3, 1, (64, 64), 8), ResnetTranslator(3, 1, 8, 1), Restorer(3, 1, 8, 1, 4)]
    assert all(net(x).shape == (2, 1, *size) for net in nets)
    assert PatchDiscriminator(3, size, 8)(x).shape[1] == 1


def test_patches_have_the_papers_size() -> None:
    """One logit of a PatchGAN with 3 strides sees 70 x 70 pixels (Isola et al. 2017)."""
    D = PatchDiscriminator(1, (256, 256), 4, 3, "none").double()
    x = torch.zeros(1, 1, 256, 256, dtype=torch.float64, requires_grad=True)
    D(x)[0, 0, 15, 15].backward()
    rows = (x.grad[0, 0].abs().sum(1) > 0).nonzero().flatten()
    assert D(x).shape[2:] == (30, 30) and int(rows.max() - rows.min()) + 1 == 70


def test_details_pass_a_unet_soon() -> None:
    """A hundred steps, and white noise comes back far nearer than its mean (0.4) and than without ``fine`` (0.36)."""
    torch.manual_seed(0)
    net = UNet(1, 1, (16, 16), 8, dropout=0.0)
    player, error = torch.optim.Adam(net.parameters(), lr=4e-4, betas=(0.5, 0.999)), torch.zeros(())
    for _ in range(100):
        x = torch.rand(4, 1, 16, 16) * 1.6 - 0.8
        error = (net(x) - x).abs().mean()
        player.zero_grad()
        error.backward()
        player.step()
    assert float(error.detach()) < 0.25


@pytest.mark.parametrize("bias", [True, False])
def test_doubling_at_once_is_resizing_and_convolving(bias: bool) -> None:
    """Values at the border and within, the gradients of input and weights, and the same weights in a checkpoint."""
    torch.manual_seed(0)
    x = torch.randn(2, 5, 6, 9, dtype=torch.float64, requires_grad=True)
    nets = [Doubled(5, 7, bias, at_once).double() for at_once in (False, True)]
    nets[1].load_state_dict(nets[0].state_dict())
    conv: Any = nets[0][1]
    large = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(nets[1](x), F.conv2d(large, conv.weight, conv.bias, 1, 1))
    wanted = torch.randn(2, 7, 12, 18, dtype=torch.float64)
    found = [torch.autograd.grad((net(x) * wanted).sum(), [x, *net.parameters()]) for net in nets]
    assert len(found[0]) == 2 + bias
    torch.testing.assert_close(found[0], found[1])


def test_noise_drops_whole_channels_of_the_unet() -> None:
    torch.manual_seed(0)
    net = UNet(1, 1, (32, 32), 8, dropout=0.5).eval()
    x = torch.randn(2, 1, 32, 32)
    noise = torch.rand(2, net.noise_channels)
    assert net.noise_channels > 0 and torch.equal(net(x, noise), net(x, noise))
    assert not torch.equal(net(x, noise), net(x, torch.rand(2, net.noise_channels)))
    assert torch.allclose(net(x, noise)[:1], net(x[:1], noise[:1]), atol=1e-5), "samples influence each other"
    kept = net(x, torch.ones_like(noise))
    assert not torch.allclose(kept, net(x))  # all kept are still scaled by 1 / (1 - rate)


@pytest.mark.parametrize("side", [4, 8, 12])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("count", [1, 3])
def test_instance_normalization_is_torchs(side: int, layout: torch.memory_format, count: int) -> None:
    """Values, gradients, and the gradient of a gradient (which penalties take); the memory format is kept."""
    torch.manual_seed(side)
    x, weights = torch.randn(count, 4, side, side, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    net = InstanceNorm(4).double()
    net.weight.data.copy_(weights)

    def looked_at(f: Callable[[torch.Tensor], torch.Tensor]) -> tuple[torch.Tensor, ...]:
        given = x.clone().to(memory_format=layout).requires_grad_()
        made = f(given)
        (slope,) = torch.autograd.grad(made.pow(3).sum(), given, create_graph=True)
        return made, slope, torch.autograd.grad(slope.square().sum(), given)[0]

    want = looked_at(lambda t: F.instance_norm(t, weight=weights))
    for got, wanted in zip(looked_at(net), want, strict=True):
        assert torch.allclose(got, wanted, rtol=1e-8, atol=1e-8)
    assert net(x.to(memory_format=layout)).is_contiguous(memory_format=layout)


def test_an_untrained_translator_returns_about_its_input() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 3, 20, 22) * 2 - 1
    assert float((ResnetTranslator(3, 3, 16, 1)(x) - x).detach().abs().mean()) < 0.2
    grey = x.mean(1, keepdim=True)
    for net, given, want in ((ResnetTranslator(1, 3, 16, 1), grey, grey), (ResnetTranslator(3, 1, 16, 1), x, grey)):
        made = net(given)
        assert float(np.corrcoef(made.detach().mean(1).flatten(), want.flatten())[0, 1]) > 0.9


def test_a_translator_reaches_black_and_white() -> None:
    net = ResnetTranslator(1, 1, 16, 1)
    torch.nn.init.zeros_(net.last.weight)
    x = torch.tensor([-1.0, 0.0, 1.0]).reshape(3, 1, 1, 1).expand(-1, 1, 8, 8)
    assert float((net(x) - x).detach().abs().max()) < 0.04


def test_an_untrained_restorer_returns_about_its_input() -> None:
    x = torch.rand(2, 1, 20, 20)
    assert float((Restorer(1, 1, 16, 2)(x) - x).detach().abs().max()) < 0.1


def test_pool_keeps_and_gives_back() -> None:
    torch.manual_seed(0)
    pool = ImagePool(10, (1,))  # holds 8: whole batches of 4
    first = torch.arange(4.0)[:, None]
    assert torch.equal(pool.swap(0, 0, first), first)
    pool.swap(4, 0, first + 4)
    seen, past = 8, 0
    for round_ in range(200):
        before = pool.images[0].flatten().tolist()[:8]
        fresh = 100.0 + 4 * round_ + torch.arange(4.0)[:, None]
        out = pool.swap(seen, 0, fresh)
        after = pool.images[0].flatten().tolist()[:8]
        assert sorted(before + fresh.flatten().tolist()) == sorted(after + out.flatten().tolist()), "images are lost"
        past += int((out != fresh).sum())
        seen += 4
    assert 0.42 < past / 800 < 0.58
    assert torch.equal(ImagePool(3, (1,)).swap(0, 0, first), first)


def test_feature_l1_by_hand() -> None:
    one, other = [torch.zeros(1, 2), torch.zeros(1, 4)], [torch.tensor([[1.0, 3.0]]), torch.full((1, 4), 4.0)]
    assert float(feature_l1(one, other)) == pytest.approx((2 + 4) / 2)
    assert float(feature_l1(other, one, relative=True)) == pytest.approx(1)
    shrunk = [[1e-3 * m for m in maps] for maps in (other, [m + 1 for m in one])]
    whole = feature_l1(other, [m + 1 for m in one], relative=True)
    assert float(feature_l1(*shrunk, relative=True)) == pytest.approx(float(whole))


# ---- measures


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_psnr_and_ssim_are_scikit_images(dtype: type, channels: int) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    rng = np.random.default_rng(0)
    top = np.iinfo(dtype).max
    truth = (photo(60, 50)[..., :channels].astype(np.float64) / 255 * top).astype(dtype)
    noisy = (truth + rng.normal(0, 0.08 * top, truth.shape)).clip(0, top).astype(dtype)
    assert psnr(noisy, truth) == pytest.approx(metrics.peak_signal_noise_ratio(truth, noisy), abs=1e-9)
    want = metrics.structural_similarity(truth, noisy, channel_axis=2, data_range=top)
    assert ssim(noisy, truth) == pytest.approx(want, abs=1e-9)
    assert l1(noisy, truth) == pytest.approx(np.abs(noisy.astype(float) - truth.astype(float)).mean() / top)


def test_measures_of_equal_images() -> None:
    truth = photo()
    assert psnr(truth, truth) == float("inf") and ssim(truth, truth) == pytest.approx(1) and l1(truth, truth) == 0


def test_measures_refuse_what_does_not_fit() -> None:
    with pytest.raises(InputError, match="one shape and type"):
        psnr(photo(20, 20), photo(20, 24))
    with pytest.raises(InputError, match="7x7"):
        ssim(photo(6, 20), photo(6, 20))
    with pytest.raises(InputError, match="no such file"):
        FeatureDistance("/nowhere/squeezenet.safetensors")


def test_feature_distance_orders_damage() -> None:
    measure = FeatureDistance(real_data("../weights/squeezenet1_0.safetensors"))
    truth = photo(64, 64)
    rng = np.random.default_rng(0)
    a, b = ((truth + rng.normal(0, s, truth.shape)).clip(0, 255).astype(np.uint8) for s in (5, 40))
    assert measure(truth, truth) == pytest.approx(0, abs=1e-6)
    assert 0 < measure(a, truth) < measure(b, truth) <= 4
    assert measure(a, truth) == pytest.approx(measure(truth, a), rel=1e-5)
    assert measure(a[:21, :21], truth[:21, :21]) > 0
    with pytest.raises(InputError, match="21x21"):
        measure(a[:20, :21], truth[:20, :21])


def test_squeezenet_maps_are_differentiable_and_grey_is_color() -> None:
    network = trained_squeezenet(str(real_data("../weights/squeezenet1_0.safetensors")), torch.device("cpu"))
    x = (torch.rand(1, 1, 64, 64) * 2 - 1).requires_grad_()
    maps, colored = network.looks(x), network.looks(x.expand(-1, 3, -1, -1))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(maps, colored, strict=True))
    assert all(torch.allclose(m.square().sum(1), torch.ones(()), atol=1e-3) for m in maps)
    feature_l1([torch.zeros_like(m) for m in maps], maps).backward()
    assert x.grad is not None and float(x.grad.abs().sum()) > 0
