"""The rivals of GANs: likelihoods against closed forms, schedules, causality, and the models' abilities."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import ganforge
from ganforge.config import checked
from ganforge.contest import contest, stretched, table
from ganforge.core.errors import InputError
from ganforge.core.game import Game
from ganforge.core.schedule import Schedule
from ganforge.domains import open_data
from ganforge.engine.options import TrainOptions
from ganforge.engine.trainer import Trainer
from ganforge.losses.likelihood import (
    bits_per_dim,
    discretized_logistic,
    discretized_normal,
    draw_mixture,
    logistic_mixture,
    mixture_parameters,
    normal_kl,
    normal_log_prob,
)
from ganforge.model import Model
from ganforge.nn.autoregressive import PixelCnn
from ganforge.nn.diffusion import MlpDenoiser, UNet, both, chosen_times, cosine_schedule, ddim, ddim_inverse, step_costs
from ganforge.recipes.ddpm import Ddpm
from ganforge.recipes.pixelcnn import Pixelcnn
from ganforge.recipes.recipe import find_recipe, recipe_names
from ganforge.recipes.vae import Vae, VaeGame

F64 = torch.float64
QUICK = {"size": 8, "batch": 16}


def grid(levels: int) -> torch.Tensor:
    """All values of a pixel."""
    return torch.arange(levels + 1, dtype=F64) * (2 / levels) - 1


# likelihoods


@pytest.mark.parametrize("levels", [1, 15, 255])
@pytest.mark.parametrize("spread", [-6.5, -2.0, 1.0])
def test_grey_levels_have_the_probabilities_of_their_bins(levels: int, spread: float) -> None:
    x, edge = grid(levels), (grid(levels)[:-1] + 1 / levels).numpy()
    for mean in (-1.3, 0.11, 0.95):
        for family, ours in (
            (
                stats.logistic,
                discretized_logistic(x, torch.tensor(mean, dtype=F64), torch.tensor(spread, dtype=F64), levels),
            ),
            (stats.norm, discretized_normal(x, torch.tensor(mean, dtype=F64), math.exp(spread), levels)),
        ):
            # each bin from the nearer tail, so that the oracle keeps its digits too
            cdf, sf = (np.array([0, *family.cdf(edge, mean, math.exp(spread)), 1]) for _ in range(2))
            sf = np.array([1, *family.sf(edge, mean, math.exp(spread)), 0])
            expected = np.where(cdf[:-1] < 0.5, np.diff(cdf), -np.diff(sf))
            assert ours.exp().sum().item() == pytest.approx(1, abs=1e-9)
            assert ours.exp().numpy() == pytest.approx(expected, abs=1e-12)
            assert bool(ours[expected > 0].isfinite().all())


def test_far_tails_keep_a_gradient() -> None:
    mean = torch.tensor(-1.0, requires_grad=True)
    log_p = discretized_logistic(torch.tensor(0.9), mean, torch.tensor(-7.0), 255)
    (slope,) = torch.autograd.grad(log_p, mean)
    assert bool(log_p.isfinite()) and float(slope) == pytest.approx(math.exp(7), rel=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_logistic_mixture_sums_to_one_over_all_colors(channels: int) -> None:
    torch.manual_seed(0)
    levels, components = 7, 3
    parameters = torch.randn(1, mixture_parameters(channels, components), dtype=F64)
    colors = torch.tensor(list(itertools.product(grid(levels).tolist(), repeat=channels)), dtype=F64)
    log_p = logistic_mixture(colors, parameters.expand(len(colors), -1), levels)
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("channels", [1, 2])
def test_drawn_pixels_follow_the_mixture(channels: int) -> None:
    torch.manual_seed(1)
    levels, n = 3, 40_000
    parameters = 1.5 * torch.randn(1, mixture_parameters(channels, 4), dtype=F64)
    drawn = draw_mixture(parameters.expand(n, -1), torch.rand(n, 1 + channels, dtype=F64), levels)
    colors = torch.tensor(list(itertools.product(grid(levels).tolist(), repeat=channels)), dtype=F64)
    expected = logistic_mixture(colors, parameters.expand(len(colors), -1), levels).exp()
    counts = torch.stack([torch.isclose(drawn, c).all(1).sum() for c in colors])
    assert int(counts.sum()) == n
    assert (counts / n).tolist() == pytest.approx(expected.tolist(), abs=5 * math.sqrt(0.25 / n))


def test_normal_formulas() -> None:
    torch.manual_seed(0)
    x, mean, log_sd = torch.randn(3, 5, dtype=F64).unbind()
    expected = stats.norm.logpdf(x, mean, log_sd.exp())
    assert normal_log_prob(x, mean, log_sd).numpy() == pytest.approx(expected)
    ours = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, log_sd.exp()), torch.distributions.Normal(torch.zeros(5), torch.ones(5))
    )
    assert torch.allclose(normal_kl(mean, log_sd), ours)
    assert bits_per_dim(torch.tensor([-8 * math.log(2) * 6]), 6).item() == pytest.approx(8)


# the VAE's bound


def linear_vae(draws: int) -> tuple[VaeGame, torch.Tensor, torch.Tensor]:
    """A VAE with x = W z + b + 0.5 noise and a posterior that is a little off; and the exact mean and covariance."""
    torch.manual_seed(0)
    domain, _ = open_data("ring")
    game = VaeGame(checked(Vae, {"latent": 2, "draws": draws, "size": 4}, "params"), domain).double()
    game.values.unit = 0.0
    weight, bias = torch.randn(2, 2, dtype=F64), torch.randn(2, dtype=F64)
    precision = torch.eye(2, dtype=F64) + weight.T @ weight / 0.25
    back = torch.linalg.solve(precision, weight.T / 0.25)

    class Decoder(nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return torch.cat([z @ weight.T + bias, torch.full_like(z, math.log(0.5))], 1)

    game.G["decoder"] = Decoder()  # type: ignore[index]
    game.decode = lambda z: (z @ weight.T + bias, torch.full_like(z, math.log(0.5)))  # type: ignore[method-assign]
    game.encoder = lambda x: (  # type: ignore[method-assign]
        (x - bias) @ back.T + 0.1,
        torch.full_like(x, math.log(0.4)),
    )
    return game, bias, weight @ weight.T + 0.25 * torch.eye(2, dtype=F64)


def test_elbo_is_below_the_exact_likelihood_and_more_draws_are_closer() -> None:
    game, mean, covariance = linear_vae(1)
    x = mean + torch.randn(4000, 2, dtype=F64) @ torch.linalg.cholesky(covariance).T
    exact = float(torch.distributions.MultivariateNormal(mean, covariance).log_prob(x).mean())
    torch.manual_seed(1)
    terms = game.learn({"data": x})
    elbo = -float(sum(terms.values())) * 2 * math.log(2)
    bounds = [elbo]
    for game.draws in (10, 500):
        bounds.append(float(game.log_prob({"data": x}).mean()))
    assert bounds[0] < bounds[1] < bounds[2] < exact + 0.01
    assert bounds[0] < exact - 0.05 and bounds[2] == pytest.approx(exact, abs=0.02)


# diffusion


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


# PixelCNN


def test_no_pixel_sees_itself_or_a_later_one_and_none_is_blind() -> None:
    torch.manual_seed(0)
    net = PixelCnn(2, 3, 8, 4).double()
    x = torch.randn(1, 2, 5, 6, dtype=F64, requires_grad=True)
    out = net(x)
    for place in range(30):
        row, column = divmod(place, 6)
        (slope,) = torch.autograd.grad(out[0, :, row, column].sum(), x, retain_graph=True)
        seen = slope[0].abs().sum(0).flatten()
        assert float(seen[place:].sum()) == 0
        assert bool((seen[:place] > 0).all()), f"pixel {place} is blind to {(seen[:place] == 0).nonzero().tolist()}"


@pytest.mark.parametrize(("size", "depth"), [((4, 5), 2), ((9, 3), 2), ((11, 4), 1)])
def test_quick_drawing_is_that_by_whole_passes(size: tuple[int, int], depth: int) -> None:
    """Rows are cropped and columns kept: the outputs are those of the whole network on the finished image."""
    torch.manual_seed(0)
    net = PixelCnn(2, mixture_parameters(2, 3), 8, depth).double()
    noise, given = torch.rand(3, 3, *size, dtype=F64), []

    def choose(parameters: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        given.append(parameters)
        return draw_mixture(parameters, uniform, 15)

    with torch.no_grad():
        x = net.draw(noise, choose)
        whole = net(x)
    assert torch.allclose(torch.stack(given, 2).unflatten(2, size), whole, atol=1e-10)
    again = torch.stack([draw_mixture(whole[:, :, i, j], noise[:, :, i, j], 15) for i, j in np.ndindex(*size)], 2)
    assert torch.equal(again.unflatten(2, size), x)


def test_pixelcnn_is_a_distribution() -> None:
    """Over all 3^4 images of 2 x 2 pixels with 3 levels, probabilities sum to 1."""
    torch.manual_seed(0)
    domain = SimpleNamespace(shape=(1, 2, 2), levels=2, kind="image")
    game = checked(Pixelcnn, {"size": 8, "depth": 2}, "params").build(domain).double()  # type: ignore[arg-type]
    images = torch.tensor(list(itertools.product((-1.0, 0.0, 1.0), repeat=4)), dtype=F64).reshape(-1, 1, 2, 2)
    game.G.float()
    log_p = game.log_prob({"data": images.float()})
    assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-5)


# what users see


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_list_what_their_games_can_do(name: str) -> None:
    recipe = find_recipe(name)
    domain, _ = open_data(recipe.example, kinds=recipe.kinds)
    game = checked(recipe, {**recipe.defaults_for(domain), **recipe.tiny}, "params").build(domain)
    able = {a for a in ("log_prob", "encode") if getattr(type(game), a) is not getattr(Game, a)}
    assert able == set(recipe.abilities) & {"log_prob", "encode"}
    assert bool(game.likelihood) == ("log_prob" in able)


def quick_model(name: str, data: str = "digits") -> Model:
    """A model after four rounds of training, without a run."""
    recipe = find_recipe(name)
    domain, source = open_data(data, kinds=recipe.kinds)
    params = {**recipe.defaults_for(domain), **QUICK, **recipe.tiny}
    torch.manual_seed(0)
    trainer = Trainer(
        checked(recipe, params, "params").build(domain), source, domain, TrainOptions(device="cpu"), QUICK["batch"]
    )
    for _ in range(4):
        trainer.round()
    return Model(trainer.game, domain, {"recipe": name, "samples": trainer.clock.samples})


def test_a_flow_is_the_same_after_saving_and_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganforge.plan.WARM_UP_SECONDS", 0.0)
    quick = {**QUICK, **find_recipe("flowgan").tiny}
    model = ganforge.train("flowgan", "digits", run=tmp_path / "run", params=quick, rounds=2, quiet=True, device="cpu")
    images = model.generate(3)
    assert np.array_equal(ganforge.load(tmp_path / "run").encode(images), model.encode(images))


@pytest.mark.parametrize("name", ["realnvp", "flowgan"])
def test_flows_give_images_back_exactly(name: str) -> None:
    model = quick_model(name)
    domain, source = open_data("digits")
    images = domain.decode(domain.encode(source.take(torch.arange(100))))
    latents = model.encode(images)
    assert latents.shape == (100, 64) and latents.dtype == np.float32
    assert np.array_equal(model.decode(latents), images)
    log_p = model.log_prob(images, seed=1)
    assert log_p.shape == (100,) and log_p.dtype == np.float64 and np.isfinite(log_p).all()
    assert np.array_equal(log_p, model.log_prob(images, seed=1))
    assert not np.array_equal(log_p, model.log_prob(images, seed=2))
    assert model.bits_per_dim(images, seed=1) == pytest.approx(-log_p.mean() / 64 / math.log(2))
    assert model.bits_per_dim(images, seed=1) < 5.5  # from the first rounds on: pixels are standardized


@pytest.mark.parametrize("name", ["realnvp", "vae", "ddpm"])
def test_points_have_densities_in_their_own_units(name: str) -> None:
    model = quick_model(name, "ring")
    points = model.generate(70)
    inner = model.game.log_prob(model.domain.encode({"data": torch.from_numpy(points)}))
    assert np.isfinite(model.log_prob(points)).all() and model.encode(points).shape == (70, 2)
    if name == "realnvp":
        assert model.game.likelihood == "exact"
        assert model.log_prob(points) == pytest.approx(inner.double().numpy(), abs=1e-4)
        scale = model.domain.scale  # type: ignore[attr-defined]
        density = model.game.G.log_prob(model.domain.encode({"data": torch.from_numpy(points)})["data"])
        assert inner.numpy() == pytest.approx(density.numpy() - 2 * math.log(scale), abs=1e-5)


def test_pixelcnn_and_ddpm_generate_alike_whatever_the_number() -> None:
    for name in ("pixelcnn", "ddpm"):
        model = quick_model(name)
        many = model.generate(70, seed=3).astype(int)
        assert np.abs(many[:5] - model.generate(5, seed=3).astype(int)).max() <= 1
        assert np.isfinite(model.log_prob(many.astype(np.uint8))).all()


def test_what_a_model_cannot_do_is_said_in_one_line() -> None:
    points, pixelcnn = quick_model("gan", "ring"), quick_model("pixelcnn")
    with pytest.raises(InputError, match=r"gan cannot do log_prob; recipes that can: ddpm, .*pixelcnn"):
        points.log_prob(points.generate(3))
    images = pixelcnn.generate(3)
    with pytest.raises(InputError, match=r"pixelcnn cannot do encode; recipes that can: .*realnvp"):
        pixelcnn.encode(images)
    with pytest.raises(InputError, match="do not fit"):
        pixelcnn.log_prob(images[:, :4])
    with pytest.raises(InputError, match="takes latents of shape"):
        quick_model("vae").decode(np.zeros((2, 3)))
    with pytest.raises(InputError, match="leave truncation at 1"):
        pixelcnn.generate(2, truncation=0.5)
    with pytest.raises(InputError, match="no latent z"):
        pixelcnn.interpolate()
    with pytest.raises(InputError, match="does not hold what this recipe needs"):
        ganforge.train("pixelcnn", "ring", rounds=1, quiet=True)


# the contest


def test_schedules_are_fitted_to_the_time() -> None:
    half = stretched(Schedule(1.0, 0.1, 1000, begin=200), 0.5)
    assert (half.over, half.begin, half(350)) == (500, 100, pytest.approx(0.55))


def test_a_contest_measures_all_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganforge.plan.WARM_UP_SECONDS", 0.1)
    tiny = {"vae": {"size": 8}, "dcgan": {"size": 8}}
    heard = []
    rows = contest("digits", ["vae", "dcgan"], 0.01, [0], out=tmp_path, params=tiny, judged=100, seen=heard.append)
    assert [row.recipe for row in rows] == ["vae", "dcgan"] and rows == heard
    vae, dcgan = rows
    assert vae.floor == dcgan.floor > 0 and vae.distance > vae.floor
    assert vae.likelihood == "lower bound" and 0 < (vae.bits_per_dim or 0) < 20 and dcgan.bits_per_dim is None
    assert (Path(vae.run) / "model").is_dir() and vae.seconds_each > 0
    lines = table(rows)
    assert len(lines) == 4 and "| none |" in lines[3] and "<= " in lines[2]
    with pytest.raises(InputError, match="unknown recipe 'vea': did you mean 'vae'"):
        contest("digits", ["vea"], 0.01)
    with pytest.raises(InputError, match="needs recipes"):
        contest("digits", [], 1)
