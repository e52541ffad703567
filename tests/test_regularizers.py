"""Penalties against closed forms: a linear discriminator has gradient w, a quadratic one 2 A x."""

import pytest
import torch

from ganforge.core.schedule import Schedule
from ganforge.losses.regularizers import Probe, by_pace, dragan, gradient_penalty, in_use, pay, r1, r2
from ganforge.ops.gradients import squared_gradient_norm


def probe(discriminator, real, fake):
    real, fake = real.clone().requires_grad_(), fake.clone().requires_grad_()
    return Probe(discriminator, real, fake, discriminator(real), discriminator(fake))


def data(n=6, size=3):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, n, size, generator=generator, dtype=torch.float64).unbind()


def quadratic(matrix):
    return lambda x: (x @ matrix * x).sum(1)


@pytest.fixture
def matrix():
    half = torch.randn(3, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return (half + half.T).requires_grad_()


def test_linear(tolerance=1e-10):
    w = torch.tensor([3.0, 0.0, 4.0], dtype=torch.float64)
    p = probe(lambda x: x @ w + 7, *data())
    assert abs(r1(1.0).penalty(p).item() - 25 / 2) < tolerance
    assert abs(r2(1.0).penalty(p).item() - 25 / 2) < tolerance
    assert abs(gradient_penalty().penalty(p).item() - (5 - 1) ** 2) < tolerance
    assert abs(gradient_penalty(target=5.0).penalty(p).item()) < tolerance
    assert abs(gradient_penalty(target=6.0).penalty(p).item() - 1) < tolerance
    assert gradient_penalty(target=6.0, one_sided=True).penalty(p).item() == 0
    assert abs(gradient_penalty(target=2.0, one_sided=True).penalty(p).item() - 9) < tolerance
    assert abs(dragan().penalty(p).item() - 16) < tolerance


def test_quadratic_at_real_and_fake(matrix):
    real, fake = data()
    p = probe(quadratic(matrix), real, fake)
    for regularizer, x in ((r1(2.0), real), (r2(2.0), fake)):
        expected = 0.5 * (2 * x @ matrix).square().sum(1).mean()
        torch.testing.assert_close(regularizer.penalty(p), expected)
        # and its own gradient: what the discriminator learns from the penalty
        ours = torch.autograd.grad(regularizer.penalty(p), matrix)[0]
        closed = torch.autograd.grad(expected, matrix)[0]
        torch.testing.assert_close(ours + ours.T, closed + closed.T)


def test_what_is_paid():
    """Weights times penalties; a schedule's weight follows the samples; no side is differentiated for nothing."""
    w = torch.tensor([3.0, 0.0, 4.0], dtype=torch.float64)
    fall = Schedule(2.0, 0.0, 100)
    some = in_use(gradient_penalty(0.0), r1(4.0), r2(fall, every=8), gradient_penalty(10.0))
    paid = pay(some, probe(lambda x: x @ w, *data()), samples=50)
    assert {name: value.item() for name, value in paid.items()} == pytest.approx({"r1": 50, "r2": 12.5, "gp": 160})
    assert [[r.name for r in side] for side in by_pace(some)] == [["r1", "gp"], ["r2"]]
    real, fake = data()
    real.requires_grad_()
    blind = Probe(lambda x: x @ w, real, fake, real @ w, fake @ w)  # fakes without a gradient
    assert pay([r1(1.0)], blind)["r1"].item() == pytest.approx(12.5)
    assert in_use(r1(0.0), r2(0)) == [] == list(pay([], blind))


def test_gradient_penalty_is_between_real_and_fake():
    seen = []

    def critic(x):
        seen.append(x)
        return x.square().sum((1, 2))

    real, fake = torch.full((200, 2, 3), 3.0), torch.full((200, 2, 3), -1.0)
    torch.manual_seed(0)
    value = gradient_penalty().penalty(Probe(critic, real, fake, torch.empty(0), torch.empty(0)))
    (points,) = seen
    one = points.detach()[:, :1, :1]
    assert torch.equal(points.detach(), one.expand_as(points))  # one t for each sample
    assert -1 <= one.min() < -0.9 and 2.9 < one.max() <= 3 and abs(one.mean() - 1) < 0.25
    expected = ((2 * points).flatten(1).norm(dim=1) - 1).square().mean()
    torch.testing.assert_close(value, expected)


def test_dragan_stays_near_the_data():
    seen = []

    def critic(x):
        seen.append(x.detach())
        return x.sum(1)

    real, fake = data(n=4000)
    torch.manual_seed(0)
    dragan(spread=0.5).penalty(Probe(critic, 10 * real, fake, torch.empty(0), torch.empty(0)))
    noise = seen[0] - 10 * real
    assert abs(noise.mean()) < 0.2 and abs(noise.std() - 0.5 * 10 * real.std()) < 0.1


@pytest.mark.parametrize("make", [r1, r2, gradient_penalty, dragan])
def test_penalties_are_differentiable_in_the_weights(make):
    real, fake = data(4)

    def penalty(w, v):
        torch.manual_seed(0)
        return make(1.0).penalty(probe(lambda x: torch.tanh(x @ w) @ v, real, fake))

    generator = torch.Generator().manual_seed(5)
    w = torch.randn(3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    v = torch.randn(5, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(penalty, (w, v))


def test_a_flat_critic_has_a_finite_gradient():
    w = torch.zeros(3, requires_grad=True)
    real, fake = torch.randn(2, 4, 3).unbind()
    value = gradient_penalty().penalty(probe(lambda x: x @ w, real, fake))
    assert abs(value.item() - 1) < 1e-4
    assert torch.isfinite(torch.autograd.grad(value, w)[0]).all()


def test_squared_gradient_norm_of_images_patches_and_packs():
    x = torch.randn(4, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 3, 3, dtype=torch.float64)
    whole = squared_gradient_norm((x * weight).sum((1, 2, 3)), x)
    torch.testing.assert_close(whole, weight.square().sum().expand(4))
    patches = squared_gradient_norm((x * weight).sum(1), x)  # [4, 3, 3]: their sum counts
    torch.testing.assert_close(patches, whole)
    packed = squared_gradient_norm((x * weight).sum((1, 2, 3)).reshape(2, 2).sum(1), x)
    torch.testing.assert_close(packed, 2 * weight.square().sum().expand(2))


def test_squared_gradient_norm_second_order():
    x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: squared_gradient_norm(x.sin().sum(1), x), (x,))
    assert torch.autograd.gradgradcheck(lambda x: squared_gradient_norm(x.sin().sum(1), x), (x,))


def test_a_regularizer_is_a_value():
    fading = Schedule(start=10.0, end=0.1, over=1000)
    assert (r1(fading, every=16).name, r1(fading, every=16).weight, r1(fading, every=16).every) == ("r1", fading, 16)
    assert [make(1.0).name for make in (r2, gradient_penalty, dragan)] == ["r2", "gp", "dragan"]
