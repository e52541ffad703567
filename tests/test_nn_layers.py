"""Layers: what sees the whole batch, and what normalizes."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from ganforge.nn.initialize import kaiming
from ganforge.nn.layers import MinibatchDiscrimination, MinibatchStddev, normalizer
from ganforge.nn.mlp import MlpDiscriminator
from ganforge.nn.spectral import normalize_spectrally
from network_makers import pair


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


# minibatch layers


@pytest.mark.parametrize(("n", "group"), [(8, 4), (6, 4), (7, 4), (3, 4), (1, 4), (12, 6)])
@pytest.mark.parametrize("rest", [(5,), (5, 3, 2)])
def test_minibatch_stddev_against_numpy(n, group, rest):
    x = torch.randn(n, *rest, dtype=torch.float64)
    y = MinibatchStddev(group)(x)
    assert y.shape == (n, rest[0] + 1, *rest[1:]) and torch.equal(y[:, :-1], x)
    used = max(g for g in range(1, group + 1) if n % g == 0)
    a, groups = x.numpy(), n // used
    for i in range(n):
        members = a[[j for j in range(n) if j % groups == i % groups]]
        assert len(members) == used
        deviations = [
            math.sqrt(np.var(members.reshape(used, -1)[:, k]) + 1e-8) for k in range(members.reshape(used, -1).shape[1])
        ]
        np.testing.assert_allclose(y[i, -1].numpy(), np.full(rest[1:], np.mean(deviations)), rtol=1e-10)


def test_minibatch_discrimination_against_numpy():
    layer = MinibatchDiscrimination(4, kernels=3, size=2).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    y = layer(x).detach().numpy()
    m = np.einsum("nf,fks->nks", x.numpy(), layer.tensor.detach().numpy())
    for i in range(5):
        for b in range(3):
            expected = sum(math.exp(-np.abs(m[i, b] - m[j, b]).sum()) for j in range(5))
            assert abs(y[i, 4 + b] - expected) < 1e-12


@pytest.mark.parametrize("kind", ["conv", "mlp"])
@pytest.mark.parametrize("option", ["minibatch_stddev", "minibatch_discrimination"])
def test_minibatch_layers_see_the_batch_given_and_nothing_else(kind, option):
    _, D = pair(kind, **{option: True})
    _, plain = pair(kind)
    real, fake = torch.randn(4, 3, 16, 12), torch.randn(4, 3, 16, 12)
    alone = D(real)
    D(fake)
    assert torch.equal(D(real), alone)
    with_one_changed = real.clone()
    with_one_changed[3] = fake[3]
    assert not torch.isclose(D(with_one_changed)[0], alone[0], rtol=0, atol=1e-7)
    torch.testing.assert_close(plain(with_one_changed)[:3], plain(real)[:3])


@pytest.mark.parametrize("layer", [MinibatchStddev(2), MinibatchDiscrimination(3, 2, 2).double()])
def test_minibatch_layers_differentiate_twice(layer):
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))
    assert torch.autograd.gradgradcheck(layer, (x,))


# normalizers


def test_spectral_norm_against_svd():
    net = nn.Sequential(nn.Linear(6, 9), nn.Conv2d(3, 5, 4), nn.ConvTranspose2d(4, 7, 3), nn.Embedding(5, 8))
    kaiming(net)
    before = [m.weight.detach().clone() for m in net]
    normalize_spectrally(net)
    for _ in range(300):
        after = [m.weight.detach() for m in net]
    for module, raw, normal in zip(net, before, after, strict=True):
        rows = raw.transpose(0, 1) if isinstance(module, nn.ConvTranspose2d) else raw
        largest = torch.linalg.svd(rows.flatten(1))[1][0]
        torch.testing.assert_close(normal, raw / largest, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["conv", "mlp"])
def test_spectral_estimates_depend_on_the_weights_alone(kind):
    _, D = pair(kind, "spectral")
    twin = copy.deepcopy(D)
    D(torch.randn(4, 3, 16, 12))
    twin(10 * torch.randn(2, 3, 16, 12))
    for name, buffer in D.named_buffers():
        assert torch.equal(buffer, twin.get_buffer(name)), name
    D.eval()
    state = {k: v.clone() for k, v in D.state_dict().items()}
    D(torch.randn(4, 3, 16, 12))
    assert all(torch.equal(v, state[k]) for k, v in D.state_dict().items())


def test_unit_lipschitz_where_all_is_spectrally_normalized():
    D = MlpDiscriminator((6,), width=16, norm="spectral", activation="relu")
    for _ in range(100):
        D(torch.randn(2, 6))
    a, b = torch.randn(500, 6), torch.randn(500, 6)
    assert ((D(a) - D(b)).abs() <= (a - b).norm(dim=1) * 1.001).all()


@pytest.mark.parametrize("norm", ["instance", "layer"])
def test_per_sample_normalizers(norm):
    x = torch.randn(4, 3, 5, 2) * 3 + 1
    y = normalizer(norm, 3)(x)
    over = (2, 3) if norm == "instance" else (1, 2, 3)
    torch.testing.assert_close(y.mean(over), torch.zeros_like(y.mean(over)), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(over, unbiased=False), torch.ones_like(y.mean(over)), atol=1e-3, rtol=0)
    torch.testing.assert_close(normalizer(norm, 3)(x[:1]), y[:1])
