"""Flows: invertible, with the log-determinant that autograd finds; Flow-GAN's settings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch.func import jacrev

from ganforge.config import checked
from ganforge.core.errors import InputError
from ganforge.domains import open_data
from ganforge.nn.flow import ConvFlow, Coupling, Flow, Mix, MlpFlow, Pixels, Standard, masks
from ganforge.recipes.flowgan import Flowgan
from ganforge.recipes.one_player import Values
from ganforge.recipes.realnvp import Realnvp

FLOWS = {
    "points": lambda: MlpFlow((2,), 0, 8, 4),
    "flat": lambda: MlpFlow((7,), 0, 8, 6),
    "pixels": lambda: MlpFlow((1, 3, 4), 255, 8, 4),
    "conv": lambda: ConvFlow((1, 4, 4), 255, 6, 2),
    "levels": lambda: ConvFlow((2, 8, 8), 0, 6, 2),
    "splits": lambda: ConvFlow((1, 16, 16), 0, 2, 1),
    "sides": lambda: ConvFlow((3, 2, 6), 15, 6, 2),
}


def moved(flow: Flow) -> Flow:
    """The flow in float64, away from the identity as which it starts, pixels' moments too; as it is after training."""
    torch.manual_seed(0)
    if flow.pixels is not None:
        flow.inverse(2 * torch.rand(20, *flow.shape) ** 2 - 1)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return flow.double().eval()


def data_of(flow: Flow, n: int) -> torch.Tensor:
    """Data that the flow can explain."""
    return flow(torch.randn(n, flow.latent, dtype=torch.float64))


@pytest.mark.parametrize("name", FLOWS)
def test_log_det_is_that_of_the_jacobian(name: str) -> None:
    flow = moved(FLOWS[name]())
    x = data_of(flow, 3)
    z, log_det = flow.inverse(x)
    for i in range(len(x)):
        jacobian = jacrev(lambda point: flow.inverse(point[None])[0][0])(x[i]).reshape(flow.latent, flow.latent)
        assert float(torch.linalg.slogdet(jacobian.detach())[1]) == pytest.approx(float(log_det[i].detach()), abs=1e-9)
    expected = stats.norm.logpdf(z.detach().numpy()).sum(1) + log_det.detach().numpy()
    assert flow.log_prob(x).tolist() == pytest.approx(expected.tolist(), abs=1e-9)


@pytest.mark.parametrize("name", FLOWS)
def test_there_and_back(name: str) -> None:
    flow = moved(FLOWS[name]())
    x = data_of(flow, 5)
    assert x.shape == (5, *flow.shape)
    z = flow.inverse(x)[0]
    assert torch.allclose(flow(z), x, atol=1e-9)
    if flow.pixels is None:  # pixels are clamped to their range, so only data come back
        z = torch.randn(5, flow.latent, dtype=torch.float64)
        assert torch.allclose(flow.inverse(flow(z))[0], z, atol=1e-8)


def test_density_of_points_integrates_to_one() -> None:
    flow = moved(MlpFlow((2,), 0, 8, 4))
    axis = torch.linspace(-20, 20, 1001, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        assert float(flow.log_prob(grid).exp().sum() * (axis[1] - axis[0]) ** 2) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("shape", [(2,), (5,), (1, 4, 4), (3, 2, 3)])
def test_masks_leave_no_entry_untouched(shape: tuple[int, ...]) -> None:
    found = masks(shape, 4)
    assert len(found) == 4
    for half, opposite in zip(found[::2], found[1::2], strict=True):
        assert torch.equal(half, ~opposite) and 0 < int(half.sum()) < math.prod(shape)
    if len(shape) == 3:  # a checkerboard: no two neighbors alike
        board = found[0].reshape(shape)
        assert bool((board[..., 1:] != board[..., :-1]).all()) and bool((board[:, 1:] != board[:, :-1]).all())


def test_coupling_keeps_what_its_mask_says_and_reads_nothing_else() -> None:
    torch.manual_seed(0)
    mask = torch.tensor([True, False, True, False, False])
    coupling = Coupling(mask, torch.nn.Linear(2, 6)).double()
    z = torch.randn(4, 5, dtype=torch.float64)
    x = coupling(z)
    assert torch.equal(x[:, mask], z[:, mask]) and not torch.allclose(x[:, ~mask], z[:, ~mask])
    jacobian = jacrev(lambda v: coupling(v[None])[0])(z[0])
    among = jacobian[~mask][:, ~mask]
    assert torch.equal(among, torch.diag(among.diagonal()))


def test_a_coupling_scales_by_at_most_e_squared_and_freely_before() -> None:
    class Says(torch.nn.Module):
        def forward(self, kept: torch.Tensor) -> torch.Tensor:
            return torch.cat([kept, 0 * kept], 1)

    coupling, raw = Coupling(torch.tensor([1, 0]), Says()), torch.tensor([[-99.0], [-0.01], [0.0], [0.01], [99.0]])
    log_scale, shift = coupling.terms(raw)
    torch.testing.assert_close(log_scale, raw.clamp(-2, 2), atol=1e-5, rtol=1e-3)
    assert not shift.any()


def test_random_masks_are_those_that_were_saved() -> None:
    """Of three values some halves are in order and need no gathering: which ones, a loaded flow must not guess."""
    z = torch.randn(4, 3)
    for seed in range(6):
        first, second = (torch.manual_seed(s) and MlpFlow((3,), 0, 4, 6) for s in (seed, 100 + seed))
        for parameter in first.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        second.load_state_dict(first.state_dict())
        assert torch.equal(first(z), second(z))


def test_mixing_starts_as_a_rotation() -> None:
    torch.manual_seed(0)
    weight = Mix(6).weight()
    assert torch.allclose(weight @ weight.T, torch.eye(6), atol=1e-5)


def test_pixels_are_the_middles_of_their_bins() -> None:
    pixels = Pixels(255)
    levels = torch.arange(256, dtype=torch.float64)[None] / 127.5 - 1
    assert torch.allclose(pixels(pixels.inverse(levels)[0]), levels, atol=1e-12)
    edge = torch.tensor([[1 + 0.999 / 255, -1 - 0.999 / 255]], dtype=torch.float64)
    assert bool(pixels.inverse(edge)[0].isfinite().all())


def test_moments_are_those_of_all_data_seen_in_training() -> None:
    torch.manual_seed(0)
    standard = Standard((2, 3)).double()
    x = 5 + 3 * torch.randn(40, 2, 3, dtype=torch.float64)
    for part in x.split(8):
        standard.inverse(part)
    standard.eval()
    z, log_det = standard.inverse(x)
    found = x.numpy()
    assert z.numpy() == pytest.approx((found - found.mean(0)) / found.std(0), abs=1e-9)
    assert float(log_det[0]) == pytest.approx(-np.log(found.std(0)).sum())
    assert torch.equal(standard.inverse(x + 1)[1], log_det)  # what is judged changes nothing
    assert torch.allclose(standard(z), x)


@pytest.mark.parametrize(
    "make", [FLOWS["pixels"], lambda: MlpFlow((1, 8, 8), 255, 8, 4), lambda: ConvFlow((1, 8, 8), 255, 8, 2)]
)
def test_before_any_step_pixels_are_independent_normals(make: Callable[[], Flow]) -> None:
    """Scipy's normal density of the logits, where couplings do nothing yet; and no worse than guessing."""
    torch.manual_seed(0)
    flow, values = make(), Values(open_data("digits")[0])
    domain, source = open_data("digits")
    x = domain.encode(source.take(torch.arange(200)))["data"]
    x = values.dequantize(x if flow.shape == (1, 8, 8) else x[..., :3, 2:6]).double()
    flow.double().inverse(x)
    unit = ((x.numpy() + 1) * 127.5 + 0.5) / 256
    squeezed = 1e-6 + (1 - 2e-6) * unit
    h = special.logit(squeezed)
    slope = np.log((1 - 2e-6) * 127.5 / 256 / squeezed / (1 - squeezed))
    density = stats.norm.logpdf(h, h.mean(0), np.maximum(h.std(0), 0.01)) + slope
    expected = density.reshape(200, -1).sum(1)
    found = flow.eval().log_prob(x).detach().numpy()
    assert found == pytest.approx(expected, abs=1e-4)
    assert -found.mean() / flow.latent / math.log(2) - math.log2(2 / 255) < 8


def test_a_trained_flow_is_exact_in_mixed_precision() -> None:
    """Rounded networks are for training alone: what is encoded comes back."""
    flow = moved(ConvFlow((1, 8, 8), 255, 8, 2)).requires_grad_(False)
    x = data_of(flow, 5).float()
    flow.float()
    with torch.autocast("cpu", torch.bfloat16):
        z = flow.inverse(x)[0]
        back = flow(z)
    assert z.dtype == back.dtype == torch.float32
    assert torch.equal(z, flow.inverse(x)[0]) and float((back - x).abs().max()) < 1e-3
    with torch.autocast("cpu", torch.bfloat16):
        flow.train()
        flow.pixels.eval()  # type: ignore[union-attr]
        rough = flow.inverse(x)[0]
    assert 0 < float((rough - z).abs().median()) < 0.1 * float(z.abs().median())


def test_dequantization_stays_within_its_bin_and_bounds_the_probability() -> None:
    """The identity flow on pixels of one bin: the bound is the log volume, whatever the noise."""
    domain, source = open_data("digits")
    values, x = Values(domain), domain.encode(source.take(torch.arange(50)))["data"]
    torch.manual_seed(0)
    spread = values.dequantize(x)
    assert float((spread - x).abs().max()) <= 1 / 255 + 1e-6 and float((spread - x).std()) > 0.4 / 255
    # a uniform density on [-1 - 1/255, 1 + 1/255] gives every one of 256 levels the probability 1/256
    uniform = -values.dims * math.log(2 + 2 / 255)
    assert (uniform + values.bins) / values.dims == pytest.approx(math.log(1 / 256))


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"latent": 7}, "as many entries as the data"),
        ({"prior": "sphere"}, "as many entries as the data"),
        ({"conditioning": "projection"}, "takes no labels"),
    ],
)
def test_flowgan_refuses_what_a_flow_cannot_have(params: dict, says: str) -> None:
    domain, _ = open_data("digits")
    recipe = checked(Flowgan, {**Flowgan.defaults_for(domain), **params}, "params")
    with pytest.raises(InputError, match=says):
        recipe.build(domain)


def test_likelihood_is_weighted_in_bits_and_as_much_a_nat_in_larger_images() -> None:
    domain, source = open_data("digits")
    batch, found = domain.encode(source.take(torch.arange(8))), []
    for weight in (1.0, 2.5):
        given = {**Flowgan.defaults_for(domain), **Flowgan.tiny, "size": 8, "batch": 8, "likelihood": weight}
        torch.manual_seed(0)
        game = checked(Flowgan, given, "params").build(domain)
        found.append(float(game.generate(batch)["likelihood"].detach()))  # type: ignore[attr-defined]
    assert found[0] > 0 and found[1] == pytest.approx(2.5 * found[0], rel=1e-5)
    mnist = Flowgan.defaults_for(replace(domain, shape=(1, 28, 28)))  # bits per value of 64 weigh 1: 784 / 64
    assert mnist["likelihood"] == 12.25


def test_half_of_the_channels_are_done_at_each_level_but_the_first() -> None:
    """RealNVP's figure 4 (b), but all channels of the first level, which see least, go through the second."""
    flow = ConvFlow((3, 32, 32), 255, 4, 2)
    assert flow.shapes == [(0, 16, 16), (24, 8, 8), (48, 4, 4), (192, 2, 2)] and flow.latent == 3 * 32 * 32
    assert [len(stage) // 3 for stage in flow.stages] == [1, 1, 1, 2], "steps"  # type: ignore[arg-type]


def test_a_convolutional_flow_wants_even_images() -> None:
    with pytest.raises(InputError, match="even sides"):
        ConvFlow((1, 7, 8), 255, 4, 1)
    domain, _ = open_data("ring")
    with pytest.raises(InputError, match="network conv needs images"):
        checked(Realnvp, {"network": "conv"}, "params").build(domain)
