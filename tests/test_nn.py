"""Networks: sizes, second derivatives, state, first weights, and what is refused."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from ganforge.core.errors import InputError
from ganforge.losses.regularizers import Probe, gradient_penalty, r1
from ganforge.nn.convnet import ConvDiscriminator, ConvGenerator, grid
from ganforge.nn.initialize import dcgan, initialize, orthogonal
from ganforge.nn.mlp import MlpDiscriminator, MlpGenerator
from network_makers import NORMS, pair


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


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
    with pytest.raises(InputError, match="flat data"):
        MlpGenerator((2,), 4, norm="instance")
    for key in ("norm", "conditioning", "activation", "output"):
        with pytest.raises(ValueError, match="unknown"):
            MlpGenerator((2,), 4, **{key: "odd"})
    with pytest.raises(ValueError, match="unknown upsampling"):
        ConvGenerator((1, 8, 8), 4, upsample="odd")
