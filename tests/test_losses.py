"""Adversarial and auxiliary losses against their formulas, written out with log and sigmoid in float64."""

import math

import pytest
import torch

from ganforge.losses.adversarial import ADVERSARIAL, flipped, hinge, least_squares, non_saturating, smoothed
from ganforge.losses.auxiliary import auxiliary_classification, feature_matching


def log_s(x):
    return torch.log(1 / (1 + torch.exp(-x)))


def log_not_s(x):
    return torch.log(1 - 1 / (1 + torch.exp(-x)))


def zero_or(x):
    return torch.where(x > 0, x, torch.zeros_like(x))


FORMULAS = {
    "minimax": (lambda r, f: -log_s(r).mean() - log_not_s(f).mean(), lambda r, f: log_not_s(f).mean()),
    "non-saturating": (lambda r, f: -log_s(r).mean() - log_not_s(f).mean(), lambda r, f: -log_s(f).mean()),
    "least-squares": (
        lambda r, f: 0.5 * ((r - 1) ** 2).mean() + 0.5 * (f**2).mean(),
        lambda r, f: 0.5 * ((f - 1) ** 2).mean(),
    ),
    "hinge": (lambda r, f: zero_or(1 - r).mean() + zero_or(1 + f).mean(), lambda r, f: -f.mean()),
    "wasserstein": (lambda r, f: f.mean() - r.mean(), lambda r, f: -f.mean()),
    "relativistic": (lambda r, f: -log_s(r - f).mean(), lambda r, f: -log_s(f - r).mean()),
    "relativistic-average": (
        lambda r, f: -log_s(r - f.mean(0)).mean() - log_not_s(f - r.mean(0)).mean(),
        lambda r, f: -log_s(f - r.mean(0)).mean() - log_not_s(r - f.mean(0)).mean(),
    ),
}


def logits(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *shape, generator=generator, dtype=torch.float64) * 2


def test_every_loss_has_a_formula():
    assert set(FORMULAS) == set(ADVERSARIAL)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("shape", [(7,), (5, 3, 2)])
def test_formula(name, shape):
    r, f = logits(*shape)
    loss, (discriminator, generator) = ADVERSARIAL[name], FORMULAS[name]
    torch.testing.assert_close(loss.discriminator(r, f), discriminator(r, f))
    torch.testing.assert_close(loss.generator(r if loss.paired else None, f), generator(r, f))
    assert loss.discriminator(r, f).shape == loss.generator(r, f).shape == ()


@pytest.mark.parametrize("name", FORMULAS)
def test_gradients(name):
    r, f = logits(6).requires_grad_().unbind()
    assert torch.autograd.gradcheck(ADVERSARIAL[name].discriminator, (r, f))
    assert torch.autograd.gradcheck(ADVERSARIAL[name].generator, (r, f))


@pytest.mark.parametrize("name", FORMULAS)
def test_large_logits(name):
    size = torch.tensor([1e4, -1e4, 80.0, -80.0, 0.0], requires_grad=True)
    other = torch.tensor([-1e4, 1e4, 30.0, -120.0, 0.0], requires_grad=True)
    for payoff in (ADVERSARIAL[name].discriminator, ADVERSARIAL[name].generator):
        value = payoff(size, other)
        assert torch.isfinite(value)
        for gradient in torch.autograd.grad(value, (size, other), allow_unused=True):
            assert gradient is None or torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["non-saturating", "relativistic", "relativistic-average", "least-squares"])
def test_a_losing_generator_still_learns(name):
    fake = torch.full((3,), -200.0, requires_grad=True)
    (gradient,) = torch.autograd.grad(ADVERSARIAL[name].generator(torch.full((3,), 200.0), fake), fake)
    assert (gradient < -0.3).all()


def test_a_losing_generator_saturates_with_minimax():
    fake = torch.full((3,), -200.0, requires_grad=True)
    (gradient,) = torch.autograd.grad(ADVERSARIAL["minimax"].generator(None, fake), fake)
    assert (gradient.abs() < 1e-6).all()


@pytest.mark.parametrize("name", ["minimax", "non-saturating"])
def test_smoothing_is_cross_entropy_with_the_smoothed_target(name):
    r, f = logits(9)
    loss = smoothed(ADVERSARIAL[name], 0.1)
    expected = -(0.9 * log_s(r) + 0.1 * log_not_s(r)).mean() - log_not_s(f).mean()
    torch.testing.assert_close(loss.discriminator(r, f), expected)
    torch.testing.assert_close(loss.generator(None, f), ADVERSARIAL[name].generator(None, f))
    # the best logit of a real sample says 0.9, not 1
    best = torch.tensor([math.log(9)], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss.discriminator(best, f), best)
    assert abs(gradient.item()) < 1e-12


def test_smoothed_least_squares_moves_the_target():
    r, f = logits(9)
    r.requires_grad_()
    ours = torch.autograd.grad(smoothed(least_squares, 0.2).discriminator(r, f), r)
    expected = torch.autograd.grad(0.5 * ((r - 0.8) ** 2).mean(), r)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("name", ["hinge", "wasserstein", "relativistic", "relativistic-average"])
def test_smoothing_without_meaning_is_refused(name):
    with pytest.raises(ValueError, match="label smoothing needs"):
        smoothed(ADVERSARIAL[name], 0.1)


@pytest.mark.parametrize("name", ["wasserstein", "relativistic", "relativistic-average"])
def test_flips_without_meaning_are_refused(name):
    with pytest.raises(ValueError, match="label flips need"):
        flipped(ADVERSARIAL[name], 0.1)


def test_out_of_range_amounts_are_refused():
    for amount in (-0.1, 1.0):
        with pytest.raises(ValueError, match="at least 0"):
            smoothed(non_saturating, amount)
    for probability in (-0.1, 0.5):
        with pytest.raises(ValueError, match="at least 0"):
            flipped(non_saturating, probability)


@pytest.mark.parametrize("name", ["minimax", "non-saturating", "least-squares", "hinge"])
def test_nothing_smoothed_or_flipped_changes_nothing(name):
    r, f = logits(8)
    plain = ADVERSARIAL[name]
    torch.testing.assert_close(flipped(plain, 0.0).discriminator(r, f), plain.discriminator(r, f))
    if name != "hinge":
        torch.testing.assert_close(smoothed(plain, 0.0).discriminator(r, f), plain.discriminator(r, f))


@pytest.mark.parametrize("name", ["non-saturating", "least-squares", "hinge"])
def test_flips_swap_the_labels_of_whole_samples(name):
    torch.manual_seed(3)
    n, p = 20000, 0.25
    r, f = (logits(1, 4).expand(2, n, 4)).unbind()
    r, f = r.clone().requires_grad_(), f.clone().requires_grad_()
    plain, noisy = ADVERSARIAL[name], flipped(ADVERSARIAL[name], p)
    # D(r, f) = real(r) + fake(f); swapping the arguments swaps the labels
    right, wrong = plain.discriminator(r, f), plain.discriminator(f, r)
    value = noisy.discriminator(r, f)
    torch.testing.assert_close(value, (1 - p) * right + p * wrong, atol=0.05, rtol=0)
    of_right = torch.autograd.grad(right, r, retain_graph=True)[0][0]
    of_wrong = torch.autograd.grad(wrong, r)[0][0]
    given = torch.autograd.grad(value, r)[0]
    is_right, is_wrong = torch.isclose(given, of_right).all(1), torch.isclose(given, of_wrong).all(1)
    assert (is_right | is_wrong).all()
    share = (is_wrong & ~is_right).double().mean()
    assert abs(share - p) < 4 * math.sqrt(p * (1 - p) / n)
    torch.testing.assert_close(noisy.generator(None, f), plain.generator(None, f))


def test_smooth_then_flip():
    torch.manual_seed(0)
    r, f = logits(1).expand(2, 50000).unbind()
    loss = flipped(smoothed(non_saturating, 0.1), 0.2)

    def as_real(x):
        return -(0.9 * log_s(x) + 0.1 * log_not_s(x)).mean()

    expected = 0.8 * as_real(r) - 0.2 * log_not_s(r).mean() - 0.8 * log_not_s(f).mean() + 0.2 * as_real(f)
    torch.testing.assert_close(loss.discriminator(r, f), expected, atol=0.03, rtol=0)
    with pytest.raises(ValueError, match="not yet flipped"):
        smoothed(flipped(non_saturating, 0.1), 0.1)
    with pytest.raises(ValueError, match="not yet flipped"):
        flipped(flipped(hinge, 0.1), 0.1)


def test_auxiliary_classification():
    scores = logits(6, 4)[0].requires_grad_()
    label = torch.tensor([0, 3, 1, 1, 2, 0])
    chances = torch.exp(scores) / torch.exp(scores).sum(1, keepdim=True)
    expected = -torch.log(chances[torch.arange(6), label]).mean()
    torch.testing.assert_close(auxiliary_classification(scores, label), expected)
    assert torch.autograd.gradcheck(lambda s: auxiliary_classification(s, label), (scores,))


def test_feature_matching():
    real, fake = logits(6, 4)
    fake = fake[:5].clone().requires_grad_()  # the batches need not be equally large
    distance = torch.linalg.vector_norm(real.mean(0) - fake.mean(0)) ** 2
    torch.testing.assert_close(feature_matching(real, fake), distance / 4)
    assert torch.autograd.gradcheck(lambda x: feature_matching(real, x), (fake,))
