"""Self-attention against its formula and PyTorch's own, where it stands, spectral norms, labels."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ganforge.config import checked
from ganforge.core.errors import InputError
from ganforge.core.game import Clock
from ganforge.domains.image import ImageDomain
from ganforge.nn.attention import AttentionDiscriminator, AttentionGenerator, SelfAttention, attention_level
from ganforge.nn.convnet import grid
from ganforge.nn.layers import ConditionalNorm
from ganforge.recipes.sagan import Sagan


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def test_attention_is_its_formula() -> None:
    """Eqs. 2 and 3, place by place, and PyTorch's scaled_dot_product_attention with scale 1."""
    layer, x = SelfAttention(16), torch.randn(2, 16, 3, 5)
    with torch.no_grad():
        layer.gamma.fill_(0.7)
    f, g, h = (m.weight.flatten(1) @ x.flatten(2) for m in (layer.key, layer.query, layer.value))
    places = 15
    taken = torch.zeros(2, 2, places)
    for n in range(2):
        for j in range(places):
            scores = torch.stack([f[n, :, i] @ g[n, :, j] for i in range(places)])
            weights = scores.exp() / scores.exp().sum()
            taken[n, :, j] = sum(weights[i] * h[n, :, i] for i in range(places))
    expected = x + 0.7 * (layer.out.weight.flatten(1) @ taken).reshape(x.shape)
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)
    own = F.scaled_dot_product_attention(g.mT, f.mT, h.mT, scale=1.0).mT
    torch.testing.assert_close(taken, own, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layer.weights(x).sum(2), torch.ones(2, places))


def test_attention_starts_as_the_identity_and_learns() -> None:
    layer, x = SelfAttention(8), torch.randn(2, 8, 4, 4)
    assert torch.equal(layer(x), x)
    layer(x).square().sum().backward()
    assert float(layer.gamma.grad.abs()) > 0


def test_attention_reaches_across_the_image() -> None:
    """A convolution of 3 x 3 does not see the far corner; attention does."""
    layer = SelfAttention(8)
    with torch.no_grad():
        layer.gamma.fill_(1.0)
    x = torch.randn(1, 8, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x)[0, :, 0, 0].sum(), x)
    assert float(gradient[0, :, 15, 15].abs().sum()) > 0


@pytest.mark.parametrize("size, expected", [(8, 4), (16, 8), (28, 14), (32, 16), (64, 32), (128, 32), (256, 32)])
def test_where_attention_stands(size: int, expected: int) -> None:
    _, base, _ = grid(size, size)
    assert base * 2 ** attention_level(size, size) == expected


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 28), (3, 20, 33), (4, 5, 16), (1, 3, 3)])
@pytest.mark.parametrize("conditioning", ["none", "projection", "auxiliary"])
def test_any_size(shape: tuple[int, int, int], conditioning: str) -> None:
    label = torch.tensor([0, 1, 2, 2])
    G = AttentionGenerator(shape, 8, 8, conditioning=conditioning, classes=3)
    D = AttentionDiscriminator(shape, 8, conditioning=conditioning, classes=3, minibatch_stddev=True)
    seen = []
    for net in (G, D):
        net.attention.register_forward_hook(lambda _, x, y: seen.append(tuple(y.shape[2:])))
    x = G(torch.randn(4, 8), label)
    assert x.shape == (4, *shape) and D(x, label).shape == (4,)
    assert seen[0] == seen[1]


def test_all_weights_of_both_have_spectral_norm_one() -> None:
    shape = (3, 16, 16)
    for net, call in [
        (AttentionGenerator(shape, 8, 8), lambda m: m(torch.randn(8, 8))),
        (AttentionDiscriminator(shape, 8), lambda m: m(torch.randn(8, *shape))),
    ]:
        for _ in range(60):
            call(net)
        weighted = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
        assert len(weighted) > 10
        for module in weighted:
            largest = torch.linalg.matrix_norm(module.weight.flatten(1), ord=2)
            assert float(largest.detach()) == pytest.approx(1.0, abs=0.05)


def test_conditional_batch_normalization_and_projection() -> None:
    domain = ImageDomain(shape=(1, 8, 8), classes=tuple("abc"), counts=(99, 99, 99))
    defaults = Sagan.defaults_for(domain)
    assert defaults["conditioning"] == "projection"
    game = checked(Sagan, {**defaults, "size": 8, "latent": 8}, "params").build(domain)
    assert any(isinstance(m, ConditionalNorm) for m in game.G.modules()) and hasattr(game.D, "class_vectors")
    assert [(m.player, m.times) for m in game.moves(Clock())] == [("G", 1), ("D", 1)]
    assert game.players["D"].lr == 4 * game.players["G"].lr


@pytest.mark.parametrize("params, words", [
    ({"upsample": "resize"}, "upsample changes nothing"),
    ({"norm_discriminator": "batch"}, "spectral and none"),
    ({"conditioning": "projection"}, "needs labels"),
])  # fmt: skip
def test_settings_that_make_no_sense_are_refused(params: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        checked(Sagan, {"size": 8, **params}, "params").build(ImageDomain(shape=(1, 8, 8)))
