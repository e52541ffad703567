"""Networks: labels, and packs of samples."""

import pytest
import torch
from torch import nn

from ganforge.core.errors import InputError
from ganforge.nn.layers import ConditionalNorm
from ganforge.nn.mlp import MlpDiscriminator
from network_makers import CONDITIONINGS, pair


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


# conditioning


@pytest.mark.parametrize("kind", ["conv", "mlp"])
@pytest.mark.parametrize("conditioning", CONDITIONINGS)
@pytest.mark.parametrize("norm", ["batch", "none", "spectral"])
@pytest.mark.parametrize("pack", [1, 2])
def test_labels_matter_where_they_should(kind, conditioning, norm, pack):
    G, D = pair(kind, norm, conditioning, pack=pack)
    z, label, other = torch.randn(4, 7), torch.tensor([0, 1, 2, 3]), torch.tensor([4, 0, 1, 2])
    with torch.no_grad():  # ConditionalNorm starts alike for all classes
        for module in G.modules():
            if isinstance(module, ConditionalNorm):
                module.scale.normal_()
                module.shift.normal_()
    G.eval(), D.eval()
    x = G(z, label)
    assert x.shape == (4, 3, 16, 12) and D(x, label).shape == (4 // pack,)
    assert torch.equal(G(z, label), G(z, other)) == (conditioning == "none")
    assert torch.equal(D(x, label), D(x, other)) == (conditioning in ("none", "auxiliary"))
    h = D.features(x, label)
    torch.testing.assert_close(D.logit(h, label), D(x, label))
    if conditioning == "auxiliary":
        assert D.class_logits(h).shape == (4, 5)
    else:
        with pytest.raises(ValueError, match="does not classify"):
            D.class_logits(h)


@pytest.mark.parametrize("kind", ["conv", "mlp"])
def test_projection_formula(kind):
    _, D = pair(kind, conditioning="projection")
    x, label = torch.randn(6, 3, 16, 12), torch.tensor([0, 4, 2, 2, 1, 0])
    h = D.features(x, label)
    expected = [
        (D.to_logit.weight[0] * h[i]).sum() + D.to_logit.bias[0] + (D.class_vectors.weight[y] * h[i]).sum()
        for i, y in enumerate(label)
    ]
    torch.testing.assert_close(D(x, label), torch.stack(expected))


@pytest.mark.parametrize("kind", ["conv", "mlp"])
def test_missing_labels(kind):
    for conditioning in ("concat", "projection", "auxiliary"):
        G, D = pair(kind, conditioning=conditioning)
        with pytest.raises(ValueError, match="needs a label"):
            G(torch.randn(2, 7))
        if conditioning != "auxiliary":
            with pytest.raises(ValueError, match="needs a label"):
                D(torch.randn(2, 3, 16, 12))


def test_conditional_norm_against_a_loop():
    layer = ConditionalNorm("batch", 3, 4).double()
    nn.init.normal_(layer.scale)
    nn.init.normal_(layer.shift)
    x, label = torch.randn(5, 3, 2, 4, dtype=torch.float64), torch.tensor([3, 0, 1, 3, 2])
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, unbiased=False)
    normal = (x - mean) / (var + 1e-5).sqrt()
    expected = torch.stack(
        [normal[i] * layer.scale[y][:, None, None] + layer.shift[y][:, None, None] for i, y in enumerate(label)]
    )
    torch.testing.assert_close(layer(x, label), expected)


# packing


@pytest.mark.parametrize("kind", ["conv", "mlp"])
@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_packs_are_consecutive_samples(kind, conditioning):
    _, D = pair(kind, conditioning=conditioning, pack=3)
    x, label = torch.randn(6, 3, 16, 12), torch.tensor([0, 1, 2, 3, 4, 0])
    logits = D(x, label)
    assert logits.shape == (2,)
    changed = x.clone()
    changed[4] += 1  # in the second pack
    again = D(changed, label)
    torch.testing.assert_close(again[0], logits[0])
    assert not torch.isclose(again[1], logits[1])
    if conditioning == "none":
        _, single = pair(kind, shape=(9, 16, 12) if kind == "conv" else (3 * 3 * 16 * 12,))
        single.load_state_dict(D.state_dict())
        torch.testing.assert_close(single(x.reshape(2, *single.shape)), logits)


def test_projection_of_a_pack_adds_its_labels_vectors():
    _, D = pair("mlp", conditioning="projection", pack=2)
    x, label = torch.randn(4, 3, 16, 12), torch.tensor([3, 0, 1, 1])
    h = D.features(x)
    vectors = D.class_vectors.weight
    expected = D.to_logit(h)[:, 0] + torch.stack([(vectors[3] + vectors[0]) @ h[0], 2 * vectors[1] @ h[1]])
    torch.testing.assert_close(D(x, label), expected)


def test_a_pack_must_divide_the_batch():
    _, D = pair("conv", pack=4)
    with pytest.raises(InputError, match="pack 4 does not divide the 6 samples"):
        D(torch.randn(6, 3, 16, 12))
    with pytest.raises(InputError, match="at least 1"):
        MlpDiscriminator((2,), pack=0)
