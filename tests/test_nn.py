"""Networks: sizes, conditioning, packing, minibatch layers, spectral norm, and second derivatives."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from ganforge.core.errors import InputError
from ganforge.losses.regularizers import Probe, gradient_penalty, r1
from ganforge.nn.convnet import ConvDiscriminator, ConvGenerator, grid
from ganforge.nn.initialize import dcgan, initialize, kaiming, orthogonal
from ganforge.nn.layers import ConditionalNorm, MinibatchDiscrimination, MinibatchStddev, normalizer
from ganforge.nn.mlp import MlpDiscriminator, MlpGenerator
from ganforge.nn.spectral import normalize_spectrally

NORMS = ("batch", "none", "spectral", "instance", "layer")
CONDITIONINGS = ("none", "concat", "projection", "auxiliary")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def pair(kind, norm="none", conditioning="none", shape=(3, 16, 12), **more):
    """A small generator and discriminator of either kind, with the same arguments."""
    make = {"conv": (ConvGenerator, ConvDiscriminator), "mlp": (MlpGenerator, MlpDiscriminator)}[kind]
    common = {"width": 8, "norm": norm, "conditioning": conditioning, "classes": 0 if conditioning == "none" else 5}
    return make[0](shape, 7, **common), make[1](shape, **common, **more)


# sizes


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((64, 64), (4, 4, 4)),
        ((32, 32), (3, 4, 4)),
        ((28, 28), (2, 7, 7)),
        ((8, 8), (2, 2, 2)),
        ((96, 128), (4, 6, 8)),
        ((100, 60), (3, 13, 8)),
        ((1, 1), (2, 1, 1)),
    ],
)
def test_grid(size, expected):
    assert grid(*size) == expected


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([1, 3, 4]),
    st.integers(1, 70),
    st.integers(1, 70),
    st.sampled_from(["transposed", "resize"]),
    st.sampled_from(NORMS),
)
def test_any_image_size(channels, height, width, upsample, norm):
    G = ConvGenerator((channels, height, width), 5, width=2, upsample=upsample, norm=norm)
    D = ConvDiscriminator((channels, height, width), width=2, norm=norm, minibatch_stddev=True)
    x = G(torch.randn(3, 5))
    assert x.shape == (3, channels, height, width) and x.abs().max() <= 1
    assert D(x).shape == (3,)
    assert torch.isfinite(D(x)).all()


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (64, 64), (96, 128), (100, 60)])
def test_common_image_sizes(size):
    G, D = ConvGenerator((3, *size), 16, width=4), ConvDiscriminator((3, *size), width=4)
    assert D(G(torch.randn(2, 16))).shape == (2,)


@pytest.mark.parametrize("shape", [(2,), (11,), (1, 8, 8), (3, 5)])
def test_mlp_shapes(shape):
    G, D = MlpGenerator(shape, 4, width=8), MlpDiscriminator(shape, width=8)
    assert G(torch.randn(3, 4)).shape == (3, *shape)
    assert D(G(torch.randn(3, 4))).shape == (3,)


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_mlp_depth(depth):
    G = MlpGenerator((2,), 4, width=8, depth=depth)
    D = MlpDiscriminator((2,), width=8, depth=depth, minibatch_stddev=True, minibatch_discrimination=True)
    assert len(G.hidden) == depth and D(G(torch.randn(4, 4))).shape == (4,)


def test_dcgan_at_64_pixels():
    G, D = ConvGenerator((3, 64, 64), 100), ConvDiscriminator((3, 64, 64))
    assert [tuple(c.weight.shape[:2]) for c in G.convs] == [(512, 256), (256, 128), (128, 64), (64, 3)]
    assert G.first.weight.shape == (512 * 16, 100) and G.first.bias is None
    assert [c.bias is None for c in G.convs] == [True, True, True, False]
    assert [n.num_features for n in G.norms] == [512, 256, 128, 64]
    convs = [m for m in D.layers if isinstance(m, nn.Conv2d)]
    assert [tuple(c.weight.shape) for c in convs] == [
        (64, 3, 4, 4),
        (128, 64, 4, 4),
        (256, 128, 4, 4),
        (512, 256, 4, 4),
    ]
    assert [m.num_features for m in D.layers if isinstance(m, nn.BatchNorm2d)] == [128, 256, 512]
    assert D.to_logit.in_features == 512 * 4 * 4
    for weight in (G.first.weight, G.convs[0].weight, convs[2].weight):
        assert abs(weight.std().item() - 0.02) < 0.0005 and abs(weight.mean().item()) < 0.0005
    # the linear first layer is DCGAN's transposed convolution of a 1 x 1 image
    z = torch.randn(2, 100)
    kernel = G.first.weight.T.reshape(100, 512, 4, 4)
    direct = nn.functional.conv_transpose2d(z[:, :, None, None], kernel)
    torch.testing.assert_close(G.first(z).reshape(2, 512, 4, 4), direct, atol=1e-5, rtol=1e-4)


def test_odd_sizes_are_cropped_and_padded_evenly():
    D = ConvDiscriminator((1, 29, 30), width=2)
    assert D.padding == (1, 1, 1, 2)  # up to 32 x 32
    assert ConvDiscriminator((1, 28, 64), width=2).padding == (0, 0, 0, 0)


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


# second derivatives


@pytest.mark.parametrize(
    ("kind", "norm"), [(k, n) for k in ("conv", "mlp") for n in NORMS if (k, n) != ("mlp", "instance")]
)
@pytest.mark.parametrize("conditioning", ["none", "projection", "concat"])
def test_penalties_reach_the_weights_through_every_norm(kind, norm, conditioning):
    _, D = pair(kind, norm, conditioning, minibatch_stddev=True, minibatch_discrimination=True, pack=2)
    real, fake, label = torch.randn(4, 3, 16, 12), torch.randn(4, 3, 16, 12), torch.tensor([0, 1, 4, 2])
    real.requires_grad_()
    fake.requires_grad_()

    def judge(x):
        return D(x, label)

    real_logits, fake_logits = judge(real), judge(fake)
    value = r1(1.0).penalty(Probe(judge, real, fake, real_logits, fake_logits))
    value = value + gradient_penalty().penalty(Probe(judge, real, fake, real_logits, fake_logits))
    value.backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in D.parameters())
    weights = [p for name, p in D.named_parameters() if p.dim() > 1 and "tensor" not in name]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in weights)


@pytest.mark.parametrize("norm", NORMS)
def test_second_derivatives_are_right(norm):
    D = ConvDiscriminator((1, 8, 8), width=2, norm=norm, minibatch_stddev=True).double()
    start = {k: v.clone() for k, v in D.state_dict().items()}

    def logits(x):
        with torch.no_grad():  # the singular vectors as they were: a function of x alone
            for name, buffer in D.named_buffers():
                if "parametrizations" in name:
                    buffer.copy_(start[name])
        return D(x)

    x = torch.randn(4, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(logits, (x,), fast_mode=True)
    assert torch.autograd.gradgradcheck(logits, (x,), fast_mode=True)


# state, formats, first weights


@pytest.mark.parametrize("kind", ["conv", "mlp"])
@pytest.mark.parametrize("norm", ["batch", "spectral"])
def test_state_round_trip(kind, norm, tmp_path):
    nets = pair(kind, norm, "projection", minibatch_discrimination=True)
    z, x, label = torch.randn(4, 7), torch.randn(4, 3, 16, 12), torch.tensor([0, 1, 2, 3])
    for net, data in zip(nets, (z, x), strict=True):
        for _ in range(3):
            net(data + 1, label)  # moves the running estimates
        save_file(net.state_dict(), tmp_path / "net.safetensors")
        torch.manual_seed(99)
        fresh = pair(kind, norm, "projection", minibatch_discrimination=True)[nets.index(net)]
        fresh.load_state_dict(load_file(tmp_path / "net.safetensors"))
        assert torch.equal(fresh.eval()(data, label), net.eval()(data, label))
        assert torch.equal(fresh.train()(data, label), net.train()(data, label))
        assert torch.equal(copy.deepcopy(net).eval()(data, label), net.eval()(data, label))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("upsample", ["transposed", "resize"])
def test_channels_last_gives_the_same(norm, upsample):
    G = ConvGenerator((3, 20, 12), 7, width=4, norm=norm, upsample=upsample).eval()
    D = ConvDiscriminator((3, 20, 12), width=4, norm=norm, minibatch_stddev=True, pack=2).eval()
    z = torch.randn(4, 7)
    x = G(z)
    logits = D(x)
    G.to(memory_format=torch.channels_last)
    D.to(memory_format=torch.channels_last)
    torch.testing.assert_close(G(z), x, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(D(x.contiguous(memory_format=torch.channels_last)), logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["conv", "mlp"])
@pytest.mark.parametrize("norm", ["batch", "none", "spectral", "layer"])
def test_every_parameter_learns(kind, norm):
    G, D = pair(kind, norm, "concat", minibatch_stddev=True, minibatch_discrimination=True)
    label = torch.tensor([0, 1, 2, 3])
    D(G(torch.randn(4, 7), label), label).square().sum().backward()
    for net in (G, D):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_kaiming_keeps_the_variance():
    D = MlpDiscriminator((256,), width=256, depth=6, activation="relu")
    h = D.features(torch.randn(64, 256))
    assert 0.6 < h.square().mean() < 1.7  # E h^2 of a ReLU layer equals the variance that went in, 1
    G = ConvGenerator((64, 32, 32), 64, width=64, norm="none")
    inner = G.convs[0](torch.randn(16, 256, 8, 8).relu())[:, :, 2:-2, 2:-2]
    assert 0.8 < inner.var() < 1.2


def test_initializers():
    layer = nn.Linear(20, 30)
    orthogonal(layer)
    torch.testing.assert_close(layer.weight.T @ layer.weight, torch.eye(20), atol=1e-5, rtol=0)
    assert not layer.bias.any()
    norm = nn.BatchNorm2d(2000)
    dcgan(norm)
    assert abs(norm.weight.mean() - 1) < 0.005 and abs(norm.weight.std() - 0.02) < 0.003
    with pytest.raises(ValueError, match="unknown initialization"):
        initialize(layer, "xavier", "none")


# what is refused


def test_wrong_arguments():
    with pytest.raises(InputError, match="needs images"):
        ConvGenerator((2,), 4)
    with pytest.raises(InputError, match="needs images"):
        ConvDiscriminator((2,))
    with pytest.raises(InputError, match="needs labelled data"):
        MlpGenerator((2,), 4, conditioning="concat")
    with pytest.raises(ValueError, match="flat data"):
        MlpGenerator((2,), 4, norm="instance")
    for key in ("norm", "conditioning", "activation", "output"):
        with pytest.raises(ValueError, match="unknown"):
            MlpGenerator((2,), 4, **{key: "odd"})
    with pytest.raises(ValueError, match="unknown upsampling"):
        ConvGenerator((1, 8, 8), 4, upsample="odd")
