"""The rivals of GANs: the VAE's bound, PixelCNN's causality, and what their models can do."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import ganforge
from ganforge.config import checked
from ganforge.core.errors import InputError
from ganforge.core.game import Game
from ganforge.domains import open_data
from ganforge.engine.options import TrainOptions
from ganforge.engine.trainer import Trainer
from ganforge.losses.likelihood import (
    draw_mixture,
    mixture_parameters,
)
from ganforge.model import Model
from ganforge.nn.autoregressive import PixelCnn
from ganforge.recipes.pixelcnn import Pixelcnn
from ganforge.recipes.recipe import find_recipe, recipe_names
from ganforge.recipes.vae import Vae, VaeGame

F64 = torch.float64
QUICK = {"size": 8, "batch": 16}


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


def test_beta_weighs_the_divergence_and_nothing_else() -> None:
    """Against torch's own KL, in bits per value."""
    game = linear_vae(1)[0]
    x, found = torch.randn(50, 2, dtype=F64), {}
    for game.beta in (1.0, 4.0):
        torch.manual_seed(2)
        found[game.beta] = game.learn({"data": x})
    mean, log_sd = game.encoder(x)
    q, p = (torch.distributions.Normal(*of) for of in ((mean, log_sd.exp()), (0 * mean, 1 + 0 * mean)))
    bits = torch.distributions.kl_divergence(q, p).sum(1).mean() / (2 * math.log(2))
    for beta, terms in found.items():
        torch.testing.assert_close(terms["divergence"], beta * bits)
        assert torch.equal(terms["reconstruction"], found[1.0]["reconstruction"])


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
