"""Diffusion: schedules, sampling and its bound, against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from ganforge.config import checked
from ganforge.domains import open_data
from ganforge.nn.diffusion import MlpDenoiser, UNet, both, chosen_times, cosine_schedule, ddim, ddim_inverse, step_costs
from ganforge.recipes.ddpm import Ddpm

F64 = torch.float64


def test_cosine_schedule_is_the_papers() -> None:
    a = cosine_schedule(1000)
    t = np.arange(1001) / 1000
    expected = (np.cos((t + 0.008) / 1.008 * np.pi / 2) / np.cos(0.008 / 1.008 * np.pi / 2)) ** 2
    assert len(a) == 1001 and float(a[0]) == 1
    assert a[:-10].numpy() == pytest.approx(expected[:-10], rel=1e-9)
    assert bool((a.diff() < 0).all()) and 0 < float(a[-1]) < 1e-6
    assert chosen_times(1000, 5) == [1000, 750, 500, 251, 1] and chosen_times(4, 9) == [4, 3, 2, 1]


@pytest.mark.parametrize("target", ["v", "noise"])
def test_targets_give_back_data_and_noise(target: str) -> None:
    torch.manual_seed(0)
    x, noise, a = torch.randn(4, 3, dtype=F64), torch.randn(4, 3, dtype=F64), torch.rand(4, 1, dtype=F64)
    noisy = a.sqrt() * x + (1 - a).sqrt() * noise
    output = noise if target == "noise" else a.sqrt() * noise - (1 - a).sqrt() * x
    clean, found = both(output, noisy, a, target)  # type: ignore[arg-type]
    assert torch.allclose(clean, x) and torch.allclose(found, noise)


MEAN, SD = 0.7, 0.3


def ideal(schedule: torch.Tensor):
    """The best denoiser of data N(MEAN, SD^2): the posterior mean, in closed form."""

    def predict(x: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        a = schedule[t].reshape(-1, *[1] * (x.dim() - 1))
        clean = MEAN + a.sqrt() * SD**2 / (a * SD**2 + 1 - a) * (x - a.sqrt() * MEAN)
        return clean, (x - a.sqrt() * clean) / (1 - a).sqrt()

    return predict


def test_ddim_with_a_known_denoiser_is_the_closed_form() -> None:
    """For normal data the way of DDIM is known: (x - sqrt(a) m) / sqrt(a s^2 + 1 - a) does not change."""
    schedule = cosine_schedule(1000)
    torch.manual_seed(0)
    z = torch.randn(200, 1, dtype=F64)
    start = (z - math.sqrt(float(schedule[-1])) * MEAN) / math.sqrt(float(schedule[-1]) * (SD**2 - 1) + 1)
    expected = MEAN + SD * start
    errors = []
    for steps in (20, 100, 1000):
        found = ddim(ideal(schedule), z, schedule, chosen_times(1000, steps))
        errors.append(float((found - expected).abs().max()))
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.01
    times = chosen_times(1000, 1000)
    back = ddim_inverse(ideal(schedule), found, schedule, times)
    assert float((back - z).abs().max()) < 0.03


def test_ddim_with_noise_keeps_the_distribution() -> None:
    schedule, times = cosine_schedule(200), chosen_times(200, 200)
    torch.manual_seed(0)
    z, noise = torch.randn(4000, 1, dtype=F64), torch.randn(4000, 200, 1, dtype=F64)
    found = ddim(ideal(schedule), z, schedule, times, 1.0, noise)
    assert float(found.mean()) == pytest.approx(MEAN, abs=0.02) and float(found.std()) == pytest.approx(SD, abs=0.02)
    assert not torch.allclose(found, ddim(ideal(schedule), z, schedule, times))


@pytest.mark.parametrize("eta", [0.4, 1.0])
def test_a_step_with_noise_is_its_formula(eta: float) -> None:
    """Song et al. 2021, eq. 12 and 16; from one time to the next, eta 1 has the variance of Ho et al., eq. 7."""
    schedule, noise, seen = cosine_schedule(100), torch.randn(3, 2, 5, dtype=F64), []

    def predict(x: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(x)
        return torch.full_like(x, 0.3), torch.full_like(x, -0.7)

    for t, before in ((80, 30), (60, 59)):
        seen.clear()
        ddim(predict, torch.zeros(3, 5, dtype=F64), schedule, [t, before], eta, noise)
        a, b = float(schedule[t]), float(schedule[before])
        sigma = eta * math.sqrt((1 - b) / (1 - a)) * math.sqrt(1 - a / b)
        expected = math.sqrt(b) * 0.3 - math.sqrt(1 - b - sigma**2) * 0.7 + sigma * noise[:, 0]
        torch.testing.assert_close(seen[1], expected)
    own = (1 - a / b) * (1 - b) / (1 - a)
    assert sigma**2 == pytest.approx(eta**2 * own)


def test_diffusion_bound_with_the_ideal_denoiser_is_close_to_the_likelihood() -> None:
    domain, _ = open_data("ring")
    torch.manual_seed(0)
    x = MEAN + SD * torch.randn(4000, 2)
    exact = float(stats.norm.logpdf(x, MEAN, SD).sum(1).mean())
    bounds = []
    for variance in ("small", "large"):
        game = checked(Ddpm, {"size": 8, "draws": 400, "variance": variance}, "params").build(domain)
        game.values.unit = 0.0
        game.predict = ideal(game.schedule)  # type: ignore[method-assign]
        bounds.append(float(game.log_prob({"data": x}).mean()))
    small, large = bounds  # for smooth data the larger variance is the right one
    assert small < large - 0.3 and exact - 0.15 < large < exact + 0.02


def test_costs_of_a_step_are_the_divergence_of_two_normals() -> None:
    """Against torch's own KL, with x_t = 0.8, x = 0.5 and an estimate of 0.2 (Ho et al. 2020, eq. 7)."""
    a = cosine_schedule(50)
    for variance in ("small", "large"):
        weights, constants = step_costs(a, variance)  # type: ignore[arg-type]
        for t in (2, 9, 50):
            beta = 1 - a[t] / a[t - 1]
            own = beta * (1 - a[t - 1]) / (1 - a[t])
            q, p = (
                a[t - 1].sqrt() * beta / (1 - a[t]) * x + (1 - beta).sqrt() * (1 - a[t - 1]) / (1 - a[t]) * 0.8
                for x in (0.5, 0.2)
            )
            theirs = torch.distributions.Normal(p, (beta if variance == "large" else own).sqrt())
            exact = torch.distributions.kl_divergence(torch.distributions.Normal(q, own.sqrt()), theirs)
            assert float(weights[t] * 0.3**2 + constants[t]) == pytest.approx(float(exact), rel=1e-9)


def test_pixels_are_kept_within_their_limits_and_the_noise_makes_up_for_it() -> None:
    """What a network says beyond black and white is cut off; the noise is then what is left of the noisy image."""
    domain, _ = open_data("digits")
    game = checked(Ddpm, {"size": 8}, "params").build(domain)
    nn.init.normal_(game.G.leave[-1].weight, std=0.5)
    x, t = 2 * torch.randn(6, *domain.shape), torch.tensor([1, 20, 300, 600, 900, 999])
    with torch.no_grad():
        clean, noise = game.predict(x, t)
    a = game.schedule[t][:, None, None, None]
    assert float(clean.abs().max()) == 1 and bool((clean.abs() < 1).any())
    torch.testing.assert_close(a.sqrt() * clean + (1 - a).sqrt() * noise, x, atol=1e-4, rtol=1e-4)


def test_a_bound_that_knows_the_data_is_its_ends() -> None:
    """Where every estimate is right, what is left of eq. 5: x_1's own noise, and how far x_T is from normal noise."""
    domain, _ = open_data("ring")
    game = checked(Ddpm, {"size": 8, "steps": 4, "variance": "small"}, "params").build(domain)
    x, a = torch.tensor([[600.0, -300.0], [0.0, 0.0]]), game.exact
    game.predict = lambda noisy, t: (x, noisy)  # type: ignore[method-assign]
    start = stats.norm.logpdf(0, 0, math.sqrt(1 - a[1])) * 2 + game.values.unit
    end = torch.distributions.Normal(a[-1].sqrt() * x, (1 - a[-1]).sqrt())
    prior = torch.distributions.kl_divergence(end, torch.distributions.Normal(0.0, 1.0)).sum(1)
    assert float(prior[0]) > 1
    torch.testing.assert_close(
        game.log_prob({"data": x}), start - prior.float(), atol=1e-3, rtol=1e-4, check_dtype=False
    )


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 28), (2, 7, 9), (1, 20, 31)])
def test_unet_takes_any_size_and_sees_the_time(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    net = UNet(shape, 8)
    nn.init.normal_(net.leave[-1].weight)  # type: ignore[arg-type]
    x = torch.randn(2, *shape)
    out = net(x, torch.tensor([5, 700]))
    assert out.shape == x.shape
    assert not torch.allclose(out[:1], net(x[:1], torch.tensor([700])))
    flat = MlpDenoiser((3,), 8)
    assert flat(torch.randn(2, 3), torch.tensor([1, 2])).shape == (2, 3)


def test_the_bounds_last_term_is_that_of_time_one() -> None:
    """Ho et al. 2020, eq. 5: the data are judged from x_1, the others' times are drawn from 2 and up."""
    domain, _ = open_data("ring")
    game = checked(Ddpm, {"size": 8, "steps": 20, "draws": 50}, "params").build(domain)
    times: list[torch.Tensor] = []

    def predict(x: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        times.append(t)
        return x, x

    game.predict = predict  # type: ignore[method-assign]
    game.log_prob({"data": torch.zeros(40, 2)})
    assert bool((times[0] == 1).all()) and int(torch.stack(times[1:]).min()) == 2
    assert len(torch.stack(times[1:]).unique()) == 19
