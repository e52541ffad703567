"""InfoGAN: bounds against closed forms and scipy, codes found on planted data, what settings are refused."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from scipy.optimize import linear_sum_assignment

import scripts
from ganforge.config import checked
from ganforge.core.errors import InputError
from ganforge.domains.image import ImageDomain
from ganforge.domains.points import PointDomain
from ganforge.engine.options import TrainOptions
from ganforge.engine.rng import reseed
from ganforge.engine.trainer import Trainer
from ganforge.losses.information import categorical_information, uniform_information, view_information
from ganforge.nn.codes import CodeReader
from ganforge.ops.views import affine, flip, stroke, view, warp
from ganforge.recipes.code_game import Informed
from ganforge.recipes.infogan import Infogan

# ---- bounds


def test_categorical_bound_is_scipys_log_likelihood_and_entropy() -> None:
    torch.manual_seed(0)
    logits, category = torch.randn(50, 7, dtype=torch.float64), torch.randint(7, (50,))
    p = torch.softmax(logits, 1).numpy()
    each = [stats.multinomial.logpmf(np.eye(7)[c], 1, row) for c, row in zip(category.tolist(), p, strict=True)]
    expected = np.mean(each) + stats.entropy(np.full(7, 1 / 7))
    assert float(categorical_information(logits, category)) == pytest.approx(expected, abs=1e-10)


def test_categorical_bound_goes_from_nothing_to_the_entropy() -> None:
    category = torch.arange(10)
    assert float(categorical_information(torch.zeros(10, 10), category)) == pytest.approx(0, abs=1e-6)
    assert float(categorical_information(100 * torch.eye(10), category)) == pytest.approx(math.log(10), abs=1e-5)


def test_categorical_bound_meets_the_mutual_information_of_a_noisy_channel() -> None:
    """With the true posterior as Q the bound is I(c; x): log k - H(error), for a symmetric channel."""
    torch.manual_seed(0)
    k, wrong = 4, 0.3
    code = torch.randint(k, (200_000,))
    seen = torch.where(torch.rand(len(code)) < wrong, (code + torch.randint(1, k, code.shape)) % k, code)
    posterior = torch.full((k, k), wrong / (k - 1)).fill_diagonal_(1 - wrong)
    expected = math.log(k) - stats.entropy(posterior[0].numpy())
    assert float(categorical_information(posterior.log()[seen], code)) == pytest.approx(expected, abs=0.01)


def test_uniform_bound_is_scipys_log_density_and_entropy() -> None:
    torch.manual_seed(0)
    code, mean, log_sd = torch.rand(60, 3, dtype=torch.float64) * 2 - 1, *torch.randn(2, 60, 3, dtype=torch.float64)
    densities = stats.norm.logpdf(code.numpy(), mean.numpy(), np.exp(log_sd.numpy()))
    expected = densities.sum(1).mean() + 3 * stats.uniform(-1, 2).entropy()
    assert float(uniform_information(code, mean, log_sd)) == pytest.approx(expected, abs=1e-10)


def test_uniform_bound_of_the_best_normal_that_knows_nothing() -> None:
    code = (torch.arange(100_000, dtype=torch.float64)[:, None] + 0.5) / 50_000 - 1
    nothing = uniform_information(code, torch.zeros_like(code), torch.full_like(code, 0.5 * math.log(1 / 3)))
    assert float(nothing) == pytest.approx(math.log(2) - 0.5 * math.log(2 * math.pi * math.e / 3), abs=1e-6)


def test_views_inform_as_the_formula_says_and_of_what_the_channel_allows() -> None:
    """scipy's entropies; then all extremes: nothing known, one category for all, misled by the change, and perfect."""
    torch.manual_seed(0)
    a, b = torch.randn(2, 40, 6, dtype=torch.float64)
    p, q = (torch.softmax(x, 1).numpy() for x in (a, b))
    ways = [stats.entropy(x.mean(0)) - np.mean(stats.entropy(x, axis=1) + stats.entropy(x, y, axis=1))
            for x, y in ((p, q), (q, p))]  # fmt: skip
    assert float(view_information(a, b)) == pytest.approx(np.mean(ways), abs=1e-10)
    used = np.mean([stats.entropy(x.mean(0)) for x in (p, q)])
    assert float(view_information(a, b, balance=3.0)) == pytest.approx(np.mean(ways) + 2 * used, abs=1e-10)
    sure = 50 * torch.eye(5, dtype=torch.float64).repeat(4, 1)
    assert float(view_information(sure * 0, sure * 0)) == pytest.approx(0, abs=1e-9)
    assert float(view_information(sure[:1].expand(20, 5), sure[:1].expand(20, 5))) == pytest.approx(0, abs=1e-9)
    assert float(view_information(sure, sure)) == pytest.approx(math.log(5), abs=1e-9)
    assert float(view_information(sure, sure.roll(1, 0))) < -40


def test_views_inform_as_much_as_a_noisy_channel_lets_through() -> None:
    """Where views swap categories with odds that Q knows: log k - H(p, p after the swap), in closed form."""
    k, wrong = 4, 0.3
    p = torch.full((k, k), wrong / (k - 1), dtype=torch.float64).fill_diagonal_(1 - wrong)
    expected = math.log(k) - stats.entropy(p[0].numpy())
    assert float(view_information(p.log(), p.log())) == pytest.approx(expected, abs=1e-9)


def test_an_empty_category_has_a_gradient() -> None:
    """Where no sample has any chance of a category, its share is 0 in float32, and 0 log 0 has a gradient too."""
    logits = torch.tensor([[0.0, 0.0, -200.0]]).repeat(4, 1).requires_grad_()
    bound = view_information(logits, logits.detach().clone())
    assert float(bound.detach()) == pytest.approx(0, abs=1e-6)
    bound.backward()
    assert logits.grad is not None and bool(logits.grad.isfinite().all())


def test_gradients_of_the_bounds() -> None:
    torch.manual_seed(0)
    category = torch.randint(5, (6,))
    double = {"dtype": torch.float64, "requires_grad": True}
    assert torch.autograd.gradcheck(lambda x: categorical_information(x, category), torch.randn(6, 5, **double))
    views = [torch.randn(6, 5, **double) for _ in range(2)]
    assert torch.autograd.gradcheck(view_information, views)
    normals = [torch.randn(6, 2, **double) for _ in range(3)]
    assert torch.autograd.gradcheck(uniform_information, normals)


# ---- views


def test_views_are_small_moves_of_each_image_on_its_own() -> None:
    """The center of a disc moves a little, and not of all alike; its area changes by the map's determinant."""
    torch.manual_seed(0)
    axis = torch.arange(32) - 15.5
    disc = ((axis[:, None] ** 2 + axis[None] ** 2) < 36).float()
    given = (2 * disc - 1).expand(500, 1, 32, 32)
    seen = affine(given)
    ink = (seen[:, 0] + 1) / 2
    area = ink.sum((1, 2))
    x, y = ((ink * place).sum((1, 2)) / area for place in (axis[None, None], axis[None, :, None]))
    assert seen.shape == given.shape and float(seen.min()) == -1 and float(seen.max()) == 1
    for moved in (x, y):
        assert float(moved.abs().max()) < 4 and float(moved.mean().abs()) < 0.3  # 0.15 x 16 pixels, then stretched
        assert 1 < float(moved.std()) < 2.5
    assert 0.55 < float(area.min() / disc.sum()) < 0.8  # 1 over the determinant
    assert 1.5 < float(area.max() / disc.sum()) < 2.5


def test_what_lies_beyond_the_edge_goes_on_and_a_flip_flips_half() -> None:
    torch.manual_seed(0)
    assert torch.allclose(affine(torch.full((8, 3, 9, 7), -0.5)), torch.tensor(-0.5), atol=1e-6)
    x = torch.rand(200, 1, 2, 4)
    turned = (flip(x) == x.flip(3)).flatten(1).all(1)
    assert torch.equal(flip(x).flatten(1).sort(1).values, x.flatten(1).sort(1).values)
    assert 70 < int(turned.sum()) < 130
    assert float((view(torch.zeros(500, 2), "noise")).std()) == pytest.approx(0.1, abs=0.01)
    assert not view(x.requires_grad_(), "flip,color").requires_grad


def disc(side: int, radius: float) -> torch.Tensor:
    """A bright disc in the middle of a dark image: [1, 1, side, side]."""
    axis = torch.arange(side) - (side - 1) / 2
    inside = (axis[:, None] ** 2 + axis[None] ** 2) < radius**2
    return (2 * inside.float() - 1)[None, None]


def test_strokes_grow_and_shrink_at_their_edge_by_scipys_morphology() -> None:
    """Every image lies on the way to its dilation or to its erosion."""
    torch.manual_seed(0)
    image = disc(28, 6).expand(400, 1, 28, 28)
    wide = torch.from_numpy(ndimage.grey_dilation(image[0, 0].numpy(), (3, 3), mode="nearest"))
    thin = torch.from_numpy(ndimage.grey_erosion(image[0, 0].numpy(), (3, 3), mode="nearest"))
    seen = stroke(image)[:, 0]
    grown = ((seen - image[:, 0]) / (wide - image[0, 0]))[:, wide > image[0, 0]]
    shrunk = ((image[:, 0] - seen) / (image[0, 0] - thin))[:, thin < image[0, 0]]
    for way in (grown, shrunk):
        assert torch.allclose(way.amin(1), way.amax(1), atol=1e-5)  # one amount for a whole image
        assert float(way.min()) == 0 and 0.75 < float(way.max()) <= 0.8
        assert 150 < int((way[:, 0] > 0).sum()) < 250
    still = (wide == image[0, 0]) & (thin == image[0, 0])
    assert torch.equal(seen[:, still], image[:, 0][:, still])


def test_a_stroke_of_a_small_image_changes_by_a_part_of_a_pixel_and_of_a_large_one_by_more() -> None:
    torch.manual_seed(0)
    small, large = (stroke(disc(side, side / 4).expand(300, 1, side, side)) for side in (8, 84))
    ends = [float((x.mean((1, 2, 3)) - x.mean((1, 2, 3)).median()).abs().max()) for x in (small, large)]
    assert float((small - disc(8, 2)).abs().max()) <= 2 * 0.8 * 8 / 28 + 1e-5  # of the way from -1 to 1
    assert 0.4 < ends[0] / ends[1] < 2.5  # as shares of the image


def test_a_warp_moves_places_smoothly_and_each_image_on_its_own() -> None:
    """Of ramps, the values are the places: they move by 3 % of a side, neighbors nearly alike."""
    torch.manual_seed(0)
    ramp = torch.linspace(-1, 1, 32).expand(300, 1, 32, 32)
    moved = (warp(ramp) - ramp)[:, 0, 4:-4, 4:-4]
    assert float(moved.mean().abs()) < 0.01 and 0.03 < float(moved.std()) < 0.08
    assert float(moved.diff(dim=2).std()) < 0.3 * float(moved.std())
    assert abs(float(np.corrcoef(moved[::2].flatten(), moved[1::2].flatten())[0, 1])) < 0.1
    assert torch.allclose(warp(torch.full((4, 3, 9, 7), 0.5)), torch.tensor(0.5), atol=1e-6)


# ---- the game


class Blobs:
    """Points around 3 corners: which one is the class to be found."""

    corners = torch.tensor([[-1.0, -0.6], [1.0, -0.6], [0.0, 1.1]])
    fingerprint = "blobs"

    def __len__(self) -> int:
        return 3000

    def take(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        seeded = torch.Generator().manual_seed(0)
        points = self.corners.repeat(1000, 1) + 0.1 * torch.randn(3000, 2, generator=seeded)
        return {"data": points[rows]}


def game_for(domain: PointDomain | ImageDomain, **params: object) -> Informed:
    reseed(0, "weights")
    game = checked(Infogan, {"size": 8, **params}, "params").build(domain)
    assert isinstance(game, Informed)
    return game


def test_codes_are_found_on_planted_data() -> None:
    """Each category is one of three blobs, in samples and as read from real points."""
    domain, source = PointDomain(shape=(2,)), Blobs()
    sizes = {"size": 48, "latent": 8, "norm_generator": "none", "categories": 3, "continuous": 1, "views": "noise"}
    game = game_for(domain, **sizes, batch=128, ema_samples=None)
    trainer = Trainer(game, source, domain, TrainOptions(device="cpu", shards=1), 128)
    for _ in range(130):
        trainer.round()
    with trainer.sampling():
        made = game.sample(game.draw(1000, torch.Generator().manual_seed(1)))
        real = source.take(torch.arange(3000))["data"]
        read = game.read(real)[0].argmax(1)
    for category, points in ((made["category"], made["data"]), (read, real)):
        blob = torch.cdist(points, source.corners).argmin(1)
        table = np.zeros((3, 3))
        np.add.at(table, (category.numpy(), blob.numpy()), 1)
        rows, columns = linear_sum_assignment(table, maximize=True)
        assert table[rows, columns].sum() / table.sum() > 0.95, table


def test_samples_obey_the_codes_that_are_given() -> None:
    game = game_for(ImageDomain(shape=(1, 8, 8)), categories=4, continuous=2).eval()
    inputs = game.draw(6, torch.Generator().manual_seed(0))
    assert inputs["z"].shape == (6, 62) and inputs["code"].shape == (6, 2) and inputs["category"].max() < 4
    plain = game.sample(inputs)["data"]
    assert torch.equal(plain, game.sample({**inputs, "label": torch.zeros(6)})["data"])
    other = game.sample({**inputs, "category": (inputs["category"] + 1) % 4})["data"]
    turned = game.sample({**inputs, "code": -inputs["code"]})["data"]
    assert not torch.equal(plain, other) and not torch.equal(plain, turned) and not torch.equal(other, turned)


def test_g_and_q_are_paid_for_information_about_the_same_fakes() -> None:
    game = game_for(ImageDomain(shape=(1, 8, 8)), info_weight=2.0, continuous_weight=0.5, view_weight=0.0, r1=0.0)
    batch = {"data": torch.rand(16, 1, 8, 8)}
    assert [move.player for move in game.moves(game.clock)] == ["G", "Q", "D"]
    with torch.no_grad():
        g, q = game.generate(batch), game.learn(batch)
        logits, mean, log_sd = game.read(game.made[0])
    assert g.keys() == {"loss", "category", "code"} and q.keys() == {"category", "code"}
    torch.testing.assert_close(g["category"], q["category"])  # nothing has moved in between
    torch.testing.assert_close(g["code"], q["code"])
    category, code = game.codes[0]
    torch.testing.assert_close(g["category"], -2.0 * categorical_information(logits, category))
    torch.testing.assert_close(g["code"], -0.5 * uniform_information(code, mean, log_sd))
    assert game.judge([], batch).keys() == {"loss"}
    game.shard = 1
    game.fake(batch)
    assert torch.equal(game.codes[0][0], category) and torch.equal(game.codes[0][1], code)  # each shard has its own


def test_with_views_q_learns_categories_from_real_samples_alone() -> None:
    image, batch = ImageDomain(shape=(1, 8, 8)), {"data": torch.rand(16, 1, 8, 8) * 2 - 1}
    game = game_for(image, view_weight=3.0, views="flip", balance=2.0, r1=0.0).eval()
    with torch.no_grad():
        game.generate(batch)
        terms = game.learn(batch)
        q, mirrored = (game.read(x)[0] for x in (batch["data"], batch["data"].flip(3)))
        ends = [-3.0 * float(view_information(q, other, 2.0)) for other in (q, mirrored)]
        assert min(ends) - 1e-4 <= float(terms["category"]) <= max(ends) + 1e-4  # half of them are flipped
        torch.manual_seed(1)
        known = game.learn(batch)["category"]
        game.codes[0] = (1 + game.codes[0][0]) % 10, game.codes[0][1]
        torch.manual_seed(1)
        assert torch.equal(game.learn(batch)["category"], known)  # what fakes were asked to be is no matter
    with pytest.raises(InputError, match="set views=noise"):
        game_for(PointDomain(shape=(2,)))


def test_weights_may_be_schedules() -> None:
    game = game_for(ImageDomain(shape=(1, 8, 8)), info_weight={"start": 0.0, "end": 1.0, "over": 100})
    assert game.generate({"data": torch.rand(4, 1, 8, 8)})["category"].item() == 0


def test_q_is_a_player_of_its_own_with_its_own_rate() -> None:
    game = game_for(ImageDomain(shape=(1, 8, 8)), lr_reader=3e-4)
    owned = {name: {id(p) for p in player.parameters()} for name, player in game.players.items()}
    assert owned["Q"] == {id(p) for p in game.Q.parameters()} and not owned["Q"] & (owned["D"] | owned["G"])
    assert game.players["Q"].lr == 3e-4


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 28), (1, 17, 40), (1, 3, 9), (1, 4, 4), (2,), (5,)])
def test_codes_are_read_from_samples_of_any_shape(shape: tuple[int, ...]) -> None:
    """In use, what is read from a sample does not depend on the others of the batch."""
    torch.manual_seed(0)
    reader, x = CodeReader(shape, 8, 16, 4, 3), torch.randn(6, *shape)
    reader(x)
    logits, mean, log_sd = reader.eval()(x)
    assert logits.shape == (6, 4) and mean.shape == log_sd.shape == (6, 3) and float(log_sd.detach().min()) >= -3
    for read, alone in zip((logits, mean, log_sd), reader(x[:1]), strict=True):
        torch.testing.assert_close(read[:1], alone, atol=1e-5, rtol=1e-4)


def test_no_continuous_codes() -> None:
    game = game_for(ImageDomain(shape=(1, 8, 8)), continuous=0)
    assert game.generate({"data": torch.rand(4, 1, 8, 8)}).keys() == {"loss", "category"}
    assert game.sample(game.draw(3, torch.Generator()))["data"].shape == (3, 1, 8, 8)


@pytest.mark.parametrize("params, words", [
    ({"categories": 1}, "categories.*greater than or equal to 2"),
    ({"continuous": -1}, "continuous"),
    ({"info_weight": -1.0}, "info_weight"),
    ({"conditioning": "concat"}, "without labels"),
    ({"pack": 2}, "leave pack 1"),
    ({"replay": 0.5}, "replay 0"),
    ({"catgories": 4}, "categories"),
    ({"view_weight": -1.0}, "view_weight"),
    ({"balance": 0.5}, "balance.*greater than or equal to 1"),
    ({"views": "afine"}, "did you mean 'affine'"),
    ({"views": ""}, "must change something"),
])  # fmt: skip
def test_settings_that_make_no_sense_are_refused(params: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        checked(Infogan, params, "params")


# ---- the figure of bench/infogan.py


def test_the_best_assignment_is_that_of_all_permutations() -> None:
    bench = scripts.bench("infogan")
    torch.manual_seed(0)
    category, true = torch.randint(4, (200,)), torch.randint(4, (200,))
    best = max(float((torch.tensor(p)[category] == true).double().mean()) for p in itertools.permutations(range(4)))
    assert bench.assignment(category, true, 4, 4)[0] == pytest.approx(best)
    share, mapping = bench.assignment((true + 1) % 4, true, 6, 4)  # more categories than classes
    assert share == 1 and mapping == {1: 0, 2: 1, 3: 2, 0: 3}
    category, true = torch.tensor([0] * 6 + [1] * 4), torch.tensor([2, 2, 2, 2, 0, 0, 0, 0, 0, 2])
    assert bench.mixed(category, true, {0: 2, 1: 0}) == [(2, 0, 0.2), (0, 2, 0.1)]
    assert bench.mixed(category, true, {0: 2}, 1) == [(-1, 0, pytest.approx(0.3))]
    assert bench.mixed(category[:4], true[:4], {0: 2}) == []
    sheared = torch.full((2, 1, 9, 9), -1.0)
    for y in range(9):
        sheared[0, 0, y, 4] = sheared[1, 0, y, 8 - y] = 1.0  # upright, and leaning to the right by 45 degrees
    slant, ink = bench.slant_and_ink(sheared).T
    assert slant.tolist() == pytest.approx([0, 1]) and ink.tolist() == pytest.approx([1 / 9, 1 / 9])
