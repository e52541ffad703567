"""ADA: the identity at p = 0, its parts against closed forms and numpy, gradients of both orders, and how p adapts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import play
from ganforge.config import checked
from ganforge.core.errors import InputError
from ganforge.core.game import Clock
from ganforge.domains.image import ImageDomain
from ganforge.losses.adversarial import ADVERSARIAL, halfway, smoothed
from ganforge.ops import ada
from ganforge.ops.ada import AdaptiveAugment, augment, categories
from ganforge.recipes.dcgan import Dcgan


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def smooth(n: int, channels: int, height: int, width: int, modes: int = 2) -> torch.Tensor:
    """Band-limited images: what resampling keeps nearly exactly."""
    y = torch.linspace(0, math.pi, height)[:, None]
    x = torch.linspace(0, math.pi, width)[None]
    waves = [torch.cos(i * y) * torch.cos(j * x) for i in range(modes) for j in range(modes)]
    weights = torch.randn(n, channels, len(waves))
    return torch.einsum("ncw,whv->nchv", weights, torch.stack(waves)) / 3


def matrix(*rows: list[float]) -> torch.Tensor:
    return torch.tensor([[*rows[0]], [*rows[1]], [0.0, 0.0, 1.0]])[None]


# ---- the identity


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_p_zero_is_the_identity_to_the_bit(channels: int) -> None:
    x = torch.randn(5, channels, 9, 13)
    assert torch.equal(augment(x, 0.0, ada.CATEGORIES), x)
    pipeline = AdaptiveAugment(ada.CATEGORIES)
    assert pipeline(x) is x


def test_the_wavelets_are_orthogonal() -> None:
    for taps in (ada.SYM6, ada.SYM2):
        f = np.array(taps)
        assert f.sum() == pytest.approx(math.sqrt(2), abs=1e-10)
        for shift in range(0, len(f), 2):
            assert f[shift:] @ f[: len(f) - shift] == pytest.approx(float(shift == 0), abs=1e-10)


@pytest.mark.parametrize("shape", [(8, 8), (7, 12), (3, 5), (1, 1)])
def test_doubling_and_halving_give_the_image_back(shape: tuple[int, int]) -> None:
    x = torch.randn(4, 2, *shape)
    same = ada.transformed(x, matrix([1, 0, 0], [0, 1, 0]).expand(4, 3, 3))
    inner = (slice(None), slice(None), slice(3, -3), slice(3, -3))
    torch.testing.assert_close(same[inner], x[inner], atol=1e-5, rtol=1e-5)
    assert same.shape == x.shape


# ---- geometry


def test_flips_turns_and_shifts_are_numpys() -> None:
    inner = (slice(None), slice(None), slice(7, -7), slice(7, -7))
    noise, x = torch.randn(1, 2, 24, 24), smooth(1, 2, 24, 24)
    for right, down in [(-2, 0), (0, 3), (1, 1)]:  # whole pixels: to the bit, nearly, also for noise
        got = ada.transformed(noise, matrix([1, 0, right], [0, 1, down]))
        torch.testing.assert_close(got[inner], noise.roll((-right, -down), (3, 2))[inner], atol=1e-5, rtol=0)
    for inverse, expected in [
        (matrix([-1, 0, 0], [0, 1, 0]), x.flip(3)),
        (matrix([1, 0, 0], [0, -1, 0]), x.flip(2)),
        (matrix([0, 1, 0], [-1, 0, 0]), torch.rot90(x, -1, (2, 3))),
        (matrix([-1, 0, 0], [0, -1, 0]), torch.rot90(x, 2, (2, 3))),
    ]:
        torch.testing.assert_close(ada.transformed(x, inverse), expected, atol=2e-3, rtol=0)


def test_rotations_and_scales_move_the_places_that_they_should() -> None:
    """A smooth function of place, turned: its values at turned places, in closed form."""
    size = 32
    place = torch.arange(size) + 0.5 - size / 2
    down, right = torch.meshgrid(place, place, indexing="ij")

    def image(r: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        return torch.sin(r / 6) + torch.cos(d / 7) * r / 16

    for inverse in (
        matrix([math.cos(0.4), -math.sin(0.4), 0], [math.sin(0.4), math.cos(0.4), 0]),
        matrix([0.8, 0, 1.3], [0, 1.1, -0.6]),
    ):
        a = inverse[0]
        source = a[0, 0] * right + a[0, 1] * down + a[0, 2], a[1, 0] * right + a[1, 1] * down + a[1, 2]
        got = ada.transformed(image(right, down)[None, None], inverse)[0, 0]
        torch.testing.assert_close(got[8:-8, 8:-8], image(*source)[8:-8, 8:-8], atol=0.01, rtol=0)


def test_geometric_changes_are_drawn_as_in_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Appendix B: scales and stretches of 0.2 octaves, shifts of an eighth of the side (standard deviations), any
    angle; p scales their variances, as that share of images is changed."""
    drawn: list[torch.Tensor] = []
    monkeypatch.setattr(ada, "transformed", lambda x, inverse: (drawn.append(inverse), x)[1])
    for p in (1.0, 0.5):
        drawn.clear()
        augment(torch.zeros(20_000, 1, 32, 64), p, ["geometric"])
        linear, shift = drawn[0][:, :2, :2], drawn[0][:, :2, 2]
        long, short = torch.linalg.svdvals(linear).log2().unbind(1)
        root = math.sqrt(p)
        assert float(((long + short) / 2).std()) == pytest.approx(0.2 * root, rel=0.03)
        assert float(((long - short) / 2).square().mean().sqrt()) == pytest.approx(0.2 * root, rel=0.03)
        share = float((shift != 0).any(1).float().mean())
        assert share == pytest.approx(p, abs=0.02)
        if p == 1:
            # the shift comes last, so what it moves by has been turned and scaled: alike in both directions, and by
            # the mean square of 4 and 8 pixels, times that of a scale and of a stretch
            grown = math.exp(2 * (0.2 * math.log(2)) ** 2)
            expected = math.sqrt((4**2 + 8**2) / 2) * grown
            assert float(shift.square().mean().sqrt()) == pytest.approx(expected, rel=0.03)
            angle = torch.atan2(linear[:, 1, 0] - linear[:, 0, 1], linear[:, 0, 0] + linear[:, 1, 1])
            assert float(angle.cos().mean().hypot(angle.sin().mean())) < 0.03


def test_blits_are_drawn_as_in_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Appendix B: flips, quarter turns, and whole-pixel shifts of up to an eighth of the side, all alike likely."""
    drawn: list[torch.Tensor] = []
    monkeypatch.setattr(ada, "transformed", lambda x, inverse: (drawn.append(inverse), x)[1])
    augment(torch.zeros(16_000, 1, 32, 64), 1.0, ["blit"])
    linear, shift = drawn[0][:, :2, :2], drawn[0][:, :2, 2:]
    ways, counts = linear.flatten(1).unique(dim=0, return_counts=True)
    assert len(ways) == 8, "the symmetries of a square"
    assert bool((counts / 16_000 - 1 / 8).abs().max() < 0.01)
    torch.testing.assert_close(linear @ linear.mT, torch.eye(2).expand_as(linear))
    right, down = (linear.mT @ shift)[:, :, 0].unbind(1)  # the shift came last: it was turned with the rest
    for moved, most in ((right, 8), (down, 4)):
        assert torch.equal(moved, moved.round()) and float(moved.abs().max()) == most
        assert float(moved.std()) == pytest.approx(2 * most / math.sqrt(12), rel=0.03)


def test_rotation_of_non_square_images_is_by_pixels() -> None:
    x = torch.zeros(1, 1, 16, 40)
    x[:, :, 4:12, 18:22] = 1.0  # 4 wide, 8 tall
    turned = ada.transformed(x, matrix([0, 1, 0], [-1, 0, 0]))
    assert float(turned[0, 0, 6:10, 17:23].mean()) > 0.9 and float(turned[0, 0, 3:5].abs().mean()) < 0.05


def test_sampling_differentiates_twice() -> None:
    x = torch.randn(2, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    places = torch.rand(2, 3, 4, 2, dtype=torch.float64) * 3 - 1.5
    assert gradcheck(lambda v: ada.Sampling.apply(v, places), x)
    assert gradgradcheck(lambda v: ada.Sampling.apply(v.tanh(), places), x)


def test_second_derivatives_through_the_pipeline() -> None:
    """R1 through it: the gradient of a squared gradient norm against finite differences."""
    pipeline, x = AdaptiveAugment(ada.CATEGORIES), smooth(3, 3, 8, 8)
    pipeline.p.fill_(0.7)
    w = torch.randn(3, 8, 8, dtype=torch.float64).float().requires_grad_()

    def penalty(weight: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(3)
        at = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad((pipeline(at) * weight).tanh().sum(), at, create_graph=True)
        return slope.square().sum()

    (gradient,) = torch.autograd.grad(penalty(w), w)
    with torch.no_grad():
        direction = torch.randn_like(w)
    step = 1e-2
    numeric = (penalty(w + step * direction) - penalty(w - step * direction)) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(float(numeric.detach()), rel=0.02)
    assert gradient.isfinite().all() and float(gradient.abs().sum()) > 0


@pytest.mark.parametrize("group", ada.CATEGORIES)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 12), (4, 6, 6), (5, 9, 4)])
def test_each_group_changes_all_images_differentiably(group: str, shape: tuple[int, int, int]) -> None:
    x = (torch.randn(16, *shape) * 0.5).requires_grad_()
    y = augment(x, 1.0, [group])
    y.square().sum().backward()
    assert y.shape == x.shape and bool(y.isfinite().all()) and x.grad is not None and bool(x.grad.isfinite().all())
    changed = (y - x).flatten(1).abs().amax(1) > 1e-6
    assert float(changed.float().mean()) > 0.7  # a flip of 0 or a shift of 0 is a change, too


def test_the_probability_is_p() -> None:
    x = torch.randn(4000, 1, 6, 6)
    on = (ada.filtered(x, torch.tensor(0.3)) != x).flatten(1).any(1).float().mean()
    assert float(on) == pytest.approx(1 - 0.7**4, abs=0.03)
    noisy = (ada.corrupted(x[:, :, :1, :1] + 5, torch.tensor(0.3)) - x[:, :, :1, :1] - 5).abs().flatten() > 0
    # noise on 0.3; on a single pixel the middle of a hidden box lies within a quarter with 1 / 4
    assert float(noisy.float().mean()) == pytest.approx(1 - 0.7 * (1 - 0.3 / 4), abs=0.03)
    moved = (ada.moved(x[:2000], torch.tensor(0.2), False, True) != x[:2000]).flatten(1).any(1).float().mean()
    assert float(moved) == pytest.approx(1 - 0.8**4, abs=0.04)  # scale, a turn of two, stretch, shift


# ---- color, bands


def test_colors_keep_what_they_should() -> None:
    """Turning hue and scaling saturation keep grey; a luma flip mirrors it; brightness adds one number to all."""
    x = torch.randn(64, 3, 4, 4) * 0.3
    y = ada.colored(x, torch.tensor(1.0))
    before, after = x.mean(1).flatten(1), y.mean(1).flatten(1)
    for b, a in zip(before, after, strict=True):  # luma stays a linear function of luma
        slope, offset = np.polyfit(b.numpy(), a.numpy(), 1)
        np.testing.assert_allclose(a.numpy(), slope * b.numpy() + offset, atol=1e-4)
    grey = torch.randn(8, 1, 4, 4).expand(-1, 3, -1, -1)
    spread = ada.colored(grey, torch.tensor(1.0))
    torch.testing.assert_close(spread[:, 0], spread[:, 1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(spread[:, 0], spread[:, 2], atol=1e-5, rtol=1e-5)


def test_grey_contrast_and_brightness_follow_their_distributions() -> None:
    x = torch.stack([torch.zeros(20000), torch.ones(20000)], 1).reshape(-1, 1, 1, 2)
    y = ada.colored(x, torch.tensor(1.0)).flatten(1)
    slope = y[:, 1] - y[:, 0]  # contrast is log-normal, its sign that of the luma flip
    assert float(slope.abs().log2().std()) == pytest.approx(0.5, abs=0.02)
    assert float((slope > 0).float().mean()) == pytest.approx(0.5, abs=0.02)
    assert float((y[:, 0] / slope.abs()).std()) == pytest.approx(0.2, abs=0.01)  # brightness comes before contrast
    two = ada.colored(torch.randn(9, 2, 3, 3), torch.tensor(1.0))
    assert two.shape == (9, 2, 3, 3)
    four = torch.randn(9, 4, 3, 3)
    assert torch.equal(ada.colored(four, torch.tensor(1.0))[:, 3], four[:, 3])


def test_bands_add_up_and_split_by_frequency() -> None:
    bands = ada._bands(64, torch.device("cpu"))
    torch.testing.assert_close(bands.sum(0), torch.eye(64), atol=1e-5, rtol=0)
    place = (torch.arange(64) + 0.5) * math.pi
    for frequency, band in [(0.01, 0), (0.18, 1), (0.36, 2), (0.9, 3)]:  # of half the sampling rate
        wave = torch.cos(round(frequency * 64) / 64 * place)
        power = (bands @ wave)[:, 16:-16].square().sum(1)
        assert int(power.argmax()) == band


def test_colors_are_drawn_as_in_the_paper() -> None:
    """Appendix B: contrast of half an octave, hue by any angle about grey, saturation of an octave. What an image of
    black and the three primaries becomes is the whole map."""
    primaries = torch.cat([torch.zeros(3, 1), torch.eye(3)], 1)[:, None].expand(20_000, 3, 1, 4)
    grey = torch.ones(3) / math.sqrt(3)
    plane = torch.tensor([[1.0, -1.0, 0.0], [1.0, 1.0, -2.0]])
    plane = plane / plane.norm(dim=1, keepdim=True)
    for p in (1.0, 0.3):
        y = ada.colored(primaries, torch.tensor(p))[:, :, 0]
        linear = y[:, :, 1:] - y[:, :, :1]
        torch.testing.assert_close(plane @ linear @ grey, torch.zeros(20_000, 2), atol=1e-4, rtol=1e-4)
        contrast, block = grey @ linear @ grey, plane @ linear @ plane.T
        saturation = torch.linalg.det(block).sqrt() / contrast.abs()
        angle = torch.atan2(block[:, 1, 0] - block[:, 0, 1], block[:, 0, 0] + block[:, 1, 1])
        for octaves, wanted in ((contrast.abs().log2(), 0.5), (saturation.log2(), 1.0)):
            assert float(octaves.square().mean().sqrt()) == pytest.approx(wanted * math.sqrt(p), rel=0.05)
        assert float(angle.abs().mean()) == pytest.approx(p * math.pi / 2, rel=0.05)
        assert float((angle.abs() > 3).float().mean()) == pytest.approx(p * (1 - 3 / math.pi), abs=0.01)
        assert float((contrast < 0).float().mean()) == pytest.approx(p / 2, abs=0.02)


def test_a_band_is_amplified_by_octaves_and_the_power_of_natural_images_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Appendix B: one band times 2^N(0, 1), all divided by the root of the sum of power x gain^2."""
    diagonal = torch.stack([torch.diag(row) for row in torch.eye(4)])  # a pixel is a band
    monkeypatch.setattr(ada, "_bands", lambda size, device: diagonal)
    for chosen in range(4):
        bands = iter(range(4))
        monkeypatch.setattr(ada, "_chance", lambda n, p, k=chosen, b=bands: torch.full((n,), next(b) == k))
        y = ada.filtered(torch.ones(20_000, 1, 4, 4), torch.tensor(1.0))[:, 0]
        gains = y.diagonal(dim1=1, dim2=2).sqrt()
        torch.testing.assert_close(y, gains[:, :, None] * gains[:, None])
        power = torch.tensor([10.0, 1.0, 1.0, 1.0]) / 13
        torch.testing.assert_close((power * gains.square()).sum(1), torch.ones(20_000), atol=1e-4, rtol=1e-4)
        octaves = (gains[:, chosen] / gains[:, chosen - 1]).log2()
        assert abs(float(octaves.mean())) < 0.03 and float(octaves.std()) == pytest.approx(1.0, rel=0.03)


def test_noise_is_as_strong_as_in_the_paper() -> None:
    """Each image has a standard deviation of its own: |N(0, 0.1)|."""
    y = ada.corrupted(torch.zeros(20_000, 1, 16, 16), torch.tensor(1.0)).flatten(1)
    shown = (y != 0).sum(1)
    variance = y.square().sum(1) / shown.clamp_min(1)
    assert float(variance.mean()) == pytest.approx(0.01, rel=0.05)
    assert float(variance.sqrt().mean()) == pytest.approx(0.1 * math.sqrt(2 / math.pi), rel=0.03)


# ---- the policy, and p


def test_policies() -> None:
    assert categories("ada") == ("blit", "geometric", "color")
    assert categories("ada: corrupt, blit") == ("blit", "corrupt")
    assert categories("color,cutout") == () == categories("")
    for wrong, words in [("ada:colour", "did you mean|nearest|color"), ("ada:", "names no augmentation")]:
        with pytest.raises(InputError, match=words):
            categories(wrong)


def test_p_rises_when_d_is_sure_and_falls_when_not() -> None:
    pipeline = AdaptiveAugment(target=0.6, samples=1000)
    for round_ in range(1, 9):
        pipeline.follow(round_, 50, 64, 60)  # r_t = 0.875
    assert float(pipeline.p) == pytest.approx(8 * 50 / 1000)
    for round_ in range(9, 13):
        pipeline.follow(round_, 50, 64, 50)  # r_t = 0.5625
    assert float(pipeline.p) == pytest.approx(4 * 50 / 1000)
    for round_ in range(13, 101):
        pipeline.follow(round_, 50, 64, 0)
    assert float(pipeline.p) == 0.0
    for round_ in range(101, 201):
        pipeline.follow(round_, 50, 64, 64)
    assert float(pipeline.p) == pytest.approx(ada.LIMIT)


def test_halfway_is_where_both_labels_cost_the_same() -> None:
    assert {name: halfway(loss) for name, loss in ADVERSARIAL.items()} == {
        "minimax": 0.0, "non-saturating": 0.0, "least-squares": 0.5, "hinge": 0.0,
        "wasserstein": None, "relativistic": None, "relativistic-average": None,
    }  # fmt: skip
    for amount in (0.05, 0.1, 0.3):
        assert halfway(smoothed(ADVERSARIAL["non-saturating"], amount)) == 0.0
        assert halfway(smoothed(ADVERSARIAL["least-squares"], amount)) == 0.5


@pytest.mark.parametrize("recipe", ["dcgan", "lsgan", "wgan-gp", "r3gan"])
def test_p_follows_a_discriminator_in_training(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A D that is always right makes p rise, one that is always wrong makes it fall: D's logits are replaced."""
    monkeypatch.setitem(TRICKS, "ada", (recipe, {"augment": "ada", "ada_samples": 400.0}))
    trainer = play.trainer_for("ada", shards=2)
    game = trainer.game
    right = AlwaysSays(game, 1.0)
    for _ in range(4):
        trainer.round()
    assert float(game.ada.p) == pytest.approx(4 * 8 / 400)
    game.ada.p.fill_(0.5)
    right.answer = -1.0
    for _ in range(4):
        trainer.round()
    assert float(game.ada.p) == pytest.approx(0.5 - 4 * 8 / 400)


class AlwaysSays:
    """A head of D whose logits are ``answer`` for reals and its opposite for fakes, nearly: it still learns."""

    def __init__(self, game, answer: float) -> None:
        self.game, self.answer, self.calls = game, answer, 0
        self.logit, self.both_features = game.D.logit, game.both_features
        game.D.logit, game.both_features = self.says, self.begins

    def begins(self, *given):
        self.calls = 0  # D's move asks for features of both, then for logits of reals, then of fakes
        return self.both_features(*given)

    def says(self, h, label=None):
        self.calls += 1
        return 1e-6 * self.logit(h, label) + (self.answer if self.calls == 1 else -self.answer)


TRICKS: dict = {}


@pytest.fixture(autouse=True)
def _more_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    known = play.variants()
    monkeypatch.setattr(play, "variants", lambda: {**known, **TRICKS})


def test_resume_and_shards_with_ada(monkeypatch: pytest.MonkeyPatch) -> None:
    """p, and what it is computed from, survive a resume between two of its updates, with bit-equal results."""
    params = {"augment": "ada:blit,geometric,color,filter,corrupt", "ada_samples": 128.0,
              "r1": 1.0, "lazy": 2, "norm_discriminator": "none"}  # fmt: skip
    monkeypatch.setitem(TRICKS, "ada", ("dcgan", params))
    whole = play.trainer_for("ada", shards=2)
    first, second = (play.trainer_for("ada", shards=2) for _ in range(2))
    for trainer in (whole, first):
        trainer.game.ada.p.fill_(0.5)
    for _ in range(6):
        whole.round()
    assert float(whole.game.ada.p) in (0.25, 0.75)
    for _ in range(5):
        first.round()
    assert float(first.game.ada.seen.sum()) > 0
    tensors, numbers = first.state()
    second.restore({k: {n: t.clone() for n, t in v.items()} for k, v in tensors.items()}, numbers)
    second.round()
    for part, values in whole.state()[0].items():
        other = second.state()[0][part]
        assert [n for n, v in values.items() if not torch.equal(v, other[n])] == [], part


def test_games_without_ada_read_nothing_each_round() -> None:
    domain = ImageDomain(shape=(1, 8, 8))
    plain = checked(Dcgan, {"size": 4}, "params").build(domain)
    assert plain.adapts is False and plain.ada is None
    with_ada = checked(Dcgan, {"size": 4, "augment": "ada"}, "params").build(domain)
    assert with_ada.adapts is True
    with_ada.adapt(Clock(round=1), {"D/real_right": (8.0, 8.0)})
    assert with_ada.ada.seen.tolist() == [8.0, 8.0]
