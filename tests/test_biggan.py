"""BigGAN's parts: the latent at every block, the shared class embedding, orthogonal regularization."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ganforge.domains import open_data
from ganforge.losses.orthogonal import orthogonality, overlap
from ganforge.nn.biggan import BigGenerator, SkipNorm
from ganforge.nn.spectral import normalize_spectrally
from ganforge.recipes.biggan import Biggan


@pytest.mark.parametrize("filters", [5, 40])  # 40 of 12 numbers each: computed the other way round
def test_overlap_is_the_papers_formula(filters: int) -> None:
    weight = torch.randn(filters, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    rows = weight.reshape(filters, -1)
    told = ((rows @ rows.T) * (1 - torch.eye(filters, dtype=torch.float64))).square().sum()
    torch.testing.assert_close(overlap(weight), told)
    slopes = [torch.autograd.grad(value, weight)[0] for value in (overlap(weight), told)]
    torch.testing.assert_close(*slopes)
    orthogonal = nn.init.orthogonal_(torch.empty(4, 9, dtype=torch.float64))
    assert overlap(3.0 * orthogonal) < 1e-20, "the norms of filters are free"


def test_orthogonality_looks_below_spectral_normalization_and_not_at_embeddings() -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Linear(6, 3), nn.Embedding(5, 2))
    before = orthogonality(net)
    torch.testing.assert_close(before, overlap(net[0].weight) + overlap(net[1].weight))
    normalize_spectrally(net)
    torch.testing.assert_close(orthogonality(net), before)
    orthogonality(net).backward()
    assert net[2].parametrizations.weight.original.grad is None


def generator(**settings: object) -> BigGenerator:
    torch.manual_seed(0)
    return BigGenerator((3, 32, 32), 23, 8, 4, **settings).eval()  # type: ignore[arg-type]


def test_scales_are_one_and_what_the_condition_says() -> None:
    """Section 3: (1 + A c) times the normalized map, plus B c; without a condition, plain batch normalization."""
    layer, x, c = SkipNorm(5, 3), 2 + 3 * torch.randn(4, 5, 6, 6), torch.randn(4, 3)
    plain = (x - x.mean((0, 2, 3), keepdim=True)) / x.var((0, 2, 3), keepdim=True, unbiased=False).sqrt()
    torch.testing.assert_close(layer(x, 0 * c), plain, atol=1e-4, rtol=1e-4)
    scale, shift = (c @ part.weight.T for part in (layer.scale, layer.shift))
    expected = (1 + scale)[:, :, None, None] * plain + shift[:, :, None, None]
    torch.testing.assert_close(layer(x, c), expected, atol=1e-4, rtol=1e-4)


def test_each_part_of_the_latent_matters_at_its_own_block() -> None:
    G = generator(conditioning="projection", classes=3)
    assert len(G.blocks) == 3 and G.part == 5
    label, z = torch.tensor([1]), torch.randn(1, 23)
    seen: list[torch.Tensor] = []
    for block in G.blocks:
        block.register_forward_hook(lambda _, __, out: seen.append(out))
    G(z, label)
    last = z.clone()
    last[:, -5:] += 1
    G(last, label)
    first, second = seen[:3], seen[3:]
    assert torch.equal(first[1], second[1]), "the last part comes in at the last block"
    assert not torch.allclose(first[2], second[2])


def test_the_class_comes_in_everywhere_by_one_embedding() -> None:
    G = generator(conditioning="projection", classes=3)
    z = torch.randn(2, 23)
    a, b = G(z, torch.tensor([0, 0])), G(z, torch.tensor([2, 2]))
    assert a.shape == (2, 3, 32, 32) and not torch.allclose(a, b)
    assert sum(isinstance(m, nn.Embedding) for m in G.modules()) == 1


def test_without_labels_it_still_uses_the_parts() -> None:
    G = generator()
    z = torch.randn(1, 23)
    moved = z.clone()
    moved[:, -1] += 1
    assert not torch.allclose(G(z), G(moved))


def test_attention_can_be_left_out() -> None:
    domain, _ = open_data("digits")
    with_it, without = (Biggan(size=4, latent=8, attention=a).build(domain) for a in (True, False))
    left_out = {n for n, _ in with_it.named_parameters()} - {n for n, _ in without.named_parameters()}
    assert left_out and all("attention" in name for name in left_out)
    assert without.sample(without.draw(2, torch.Generator()))["data"].shape == (2, *domain.shape)


def test_labels_are_used_where_there_are_enough() -> None:
    domain, _ = open_data("digits")
    assert Biggan.defaults_for(domain)["conditioning"] == "projection"
    game = Biggan(size=4, latent=8, conditioning="projection").build(domain)
    terms = game.moves(game.clock)[0].play({"data": torch.zeros(4, *domain.shape), "label": torch.zeros(4).long()})
    assert set(terms) == {"loss", "orthogonal"} and terms["orthogonal"] > 0
