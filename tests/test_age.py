"""Changing a number of images: what the networks promise, how the game is played, and how it is judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr

import check_game
import ganforge
from command import ganforge as run_command
from conftest import real_data
from ganforge.config import checked
from ganforge.core.errors import InputError
from ganforge.core.game import Clock
from ganforge.domains import open_data
from ganforge.domains.attribute import AttributeOptions
from ganforge.domains.attribute_example import disks, radius_of
from ganforge.engine.options import TrainOptions
from ganforge.engine.rng import reseed
from ganforge.engine.trainer import Trainer
from ganforge.engine.world import World
from ganforge.measure.attribute import following, identity, spearman, train_reader
from ganforge.nn.attribute import AttributeGenerator, change_at
from ganforge.recipes.age import Age

KINDS = ("attribute",)


def trainer(shards: int = 1, side: int = 16, **params: Any) -> Trainer:
    domain, source = open_data("disks", AttributeOptions(resolution=side), KINDS)
    recipe = checked(Age, {"size": 8, "batch": 8, "blocks": 1, **params}, "params")
    reseed(0, "weights")
    given = TrainOptions(seed=0, device="cpu", shards=shards)
    return Trainer(recipe.build(domain), source, domain, given, recipe.batch, World(shards=shards))


# ---- the networks and the game


def test_no_difference_is_no_change_at_any_size() -> None:
    torch.manual_seed(0)
    for size, given in (((16, 16), (16, 16)), ((64, 48), (64, 48)), ((40, 40), (57, 91)), ((9, 11), (30, 20))):
        network = AttributeGenerator(3, size, 8)
        torch.nn.init.normal_(network.last.weight)
        x, value, zero = torch.randn(2, 3, *size), torch.randn(2, 1), torch.zeros(2, 1)
        assert torch.equal(network(x, value, zero), torch.zeros_like(x))
        assert float(network(x, value, zero + 1).detach().abs().mean()) > 0.01
        image = torch.randn(2, 3, *given)
        same = change_at(size, image, lambda part: network(part, value, zero))  # noqa: B023
        assert torch.equal(same, image)


def test_a_change_is_made_at_the_trained_size_and_fades() -> None:
    x = torch.rand(1, 1, 40, 100)
    seen = []

    def one(part: torch.Tensor) -> torch.Tensor:
        seen.append(part.shape)
        return torch.ones_like(part)

    added = (change_at((16, 16), x, one) - x)[0, 0]
    assert seen == [(1, 1, 16, 16)]
    assert float(added[:, 40:60].min()) == pytest.approx(1, abs=1e-5)  # full in the middle, up to the upper border
    assert float(added[:, :30].abs().max()) == 0 == float(added[:, 70:].abs().max())
    assert float(added.diff(dim=1).abs().max()) < 0.25  # no seam


def test_terms_are_weighted_as_the_equation_says() -> None:
    one, other = trainer(), trainer(cycle=1.0, keep=3.0, attribute=0.5)
    for each in (one, other):
        torch.nn.init.normal_(each.game.G.last.weight)  # type: ignore[union-attr]
    batch = one.stream.take(0)
    other.game.load_state_dict(one.game.state_dict())
    terms = [t.game.moves(Clock())[0].play(batch) for t in (one, other)]
    for name, factor in (("cycle", 10), ("keep", 1 / 3), ("attribute", 2), ("loss", 1)):
        assert float(terms[0][name]) == pytest.approx(factor * float(terms[1][name]), rel=1e-5)
    game: Any = one.game
    x, own = batch["data"].roll(1, 0), batch["value"].roll(1, 0)
    fake = x + game.G(x, batch["value"], batch["value"] - own)
    back = fake + game.G(fake, own, own - batch["value"])
    read = game.D.value(game.D.features(fake))
    assert float(terms[0]["cycle"]) == pytest.approx(10 * float((back - x).abs().mean()), rel=1e-5)
    assert float(terms[0]["attribute"]) == pytest.approx(float((read - batch["value"]).abs().mean()), rel=1e-5)


def test_the_penalty_is_the_slope_at_real_images() -> None:
    player = trainer(r1=2.0, lazy=4)
    batch, game = player.stream.take(0), player.game
    term = game.moves(Clock())[2].play(batch)["r1"]
    x = batch["data"].clone().requires_grad_()
    logits = game.D.logit(game.D.features(x), batch["value"])  # type: ignore[union-attr, operator]
    (slope,) = torch.autograd.grad(logits.sum(), x)
    assert float(term.detach()) == pytest.approx(
        float(slope.detach().square().sum((1, 2, 3)).mean()), rel=1e-4
    )  # gamma / 2 = 1


@pytest.mark.parametrize("params", [{"r1": 0.0, "mismatch": 0.0, "cycle": 0.0, "keep": 0.0}, {"ema_samples": None}])
def test_variants_play(params: dict[str, Any]) -> None:
    check_game.check_every_player_learns(trainer(shards=2, **params))


def test_perceptual_term_of_a_trained_network() -> None:
    weights = str(real_data("../weights/squeezenet1_0.safetensors"))
    player = trainer(side=32, perceptual=1.0, feature_weights=weights, batch=2)
    assert "perceptual" in player.game.moves(Clock())[0].play(player.stream.take(0))
    assert not any("squeeze" in name for name in player.game.state_dict())
    with pytest.raises(InputError, match="perceptual needs feature_weights"):
        trainer(perceptual=1.0)


def test_a_disk_gets_the_radius_that_is_asked_for() -> None:
    """A few seconds: the true radius, by area, follows; the model is not told the radius of what it is given."""
    player = trainer(size=16, batch=16, lr=2e-3, ema_samples=500.0)
    for _ in range(160):
        player.round()
    batch, domain = player.stream.take(10_000), player.domain
    read = []
    with player.sampling(), torch.no_grad():
        for value in domain.asked:  # type: ignore[attr-defined]
            wanted = domain.wanted(value).expand(len(batch["data"]), 1)  # type: ignore[attr-defined]
            made = player.game.sample({"input": batch["data"], "wanted": wanted})["data"]
            read.append(radius_of(domain.decode({"data": made})))
    found = following(domain.asked, np.stack(read, 1))  # type: ignore[attr-defined]
    assert found.spearman > 0.7 and found.means[-1] - found.means[0] > 3


# ---- judging


def test_rank_correlation_is_scipys() -> None:
    draw = np.random.default_rng(0)
    asked, read = np.array([1.0, 2, 2, 5, 9]), draw.integers(0, 4, (30, 5)).astype(float)
    expected = [spearmanr(asked, row).statistic for row in read]
    assert spearman(asked, read) == pytest.approx(np.nan_to_num(expected))


def test_following_by_hand() -> None:
    found = following([10, 20, 30], [[10, 20, 30], [14, 14, 32]])
    assert found.means == (12, 17, 31) and found.rises == 1 and found.slope == pytest.approx(0.95)
    assert found.spearman == pytest.approx((1 + spearmanr([1, 2, 3], [14, 14, 32]).statistic) / 2)
    assert found.error == pytest.approx((4 + 6 + 2) / 6)
    copy = following([10, 20, 30], [[25, 25, 25]] * 4)
    assert copy.rises == copy.spearman == 0 and copy.slope == pytest.approx(0)
    with pytest.raises(ValueError, match="must rise"):
        following([2, 1], [[1, 2]])


def test_identity_by_hand() -> None:
    originals = torch.tensor([[0.0, 0], [10, 0], [0, 10]])
    assert identity(originals, originals) == identity(originals + 0.0, originals)
    same = identity(originals, originals)
    assert (same.ratio, same.nearer, same.found) == (0, 1, 1)
    made = torch.tensor([[0.0, 0], [10, 0], [9, 0]])  # the third became like the second
    found = identity(made, originals)
    far = torch.cdist(made.double(), originals.double())
    others = ~torch.eye(3, dtype=torch.bool)
    assert found.ratio == pytest.approx(float(far.diagonal().mean() / far[others].mean()))
    assert found.found == pytest.approx(2 / 3) and found.nearer == pytest.approx(4 / 6)
    with pytest.raises(ValueError, match="at least two"):
        identity(made[:1], originals[:1])


def test_a_reader_learns_to_read() -> None:
    domain, source = open_data("disks", AttributeOptions(resolution=8), KINDS)
    whole = domain.encode(source.take(torch.arange(600)))
    reader = train_reader(lambda chosen: (whole["data"][chosen], whole["value"][chosen]), 600, samples=10_000)
    assert reader.held == 60 and reader.error < 0.4  # a constant guess errs by 0.87
    assert reader(whole["data"][:5]).shape == (5,)
    with pytest.raises(InputError, match="at least 64"):
        train_reader(lambda chosen: (whole["data"][chosen], whole["value"][chosen]), 10)


# ---- the command line, on a run that was really trained


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs") / "disks"
    said = run_command(
        "train", "age", "--data", "disks", "--run", place, "--rounds", 4, "--size", 8, "--batch", 8, "--device", "cpu",
        "--resolution", 8, "--holdout", 0.2,
    )  # fmt: skip
    assert said.code == 0 and "ganforge translate" in said.err + said.out and "radius from" in said.err + said.out
    return place


def test_pictures_show_the_whole_row(run: Path) -> None:
    last = sorted((run / "samples").glob("*.png"))[-1]
    width, height = Image.open(last).size
    assert width > 6 * 64 and height > 8 * 64  # input and 15, 20 .. 35; eight disks and the header


def test_held_out_images_are_read(run: Path) -> None:
    last = json.loads((run / "log.jsonl").read_text().splitlines()[-1])
    assert 0 < last["held/value_error"] < 40 and 0 < last["D/value_error"] < 40  # in percent of the side


def test_translating_a_folder_to_several_values(run: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    Image.new("RGB", (8, 8), (90, 10, 10)).save(tmp_path / "in" / "a.jpg")
    Image.new("RGBA", (30, 20), (90, 10, 10, 99)).save(tmp_path / "in" / "deep" / "b.png")
    said = run_command("translate", run, tmp_path / "in", "--out", tmp_path / "out", "--to", "20,32.5")
    assert said.code == 0 and "2 images" in said.out
    made = {str(p.relative_to(tmp_path / "out")): Image.open(p) for p in (tmp_path / "out").rglob("*.png")}
    assert set(made) == {"20/a.png", "20/deep/b.png", "32.5/a.png", "32.5/deep/b.png"}
    assert made["20/deep/b.png"].size == (30, 20) and made["20/deep/b.png"].mode == "RGBA"
    assert run_command("translate", run, tmp_path / "in", "--out", tmp_path / "one", "--to", 20).code == 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "one" / "a.png")), np.asarray(made["20/a.png"]))


def test_one_image_to_a_row(run: Path, tmp_path: Path) -> None:
    levels = disks(8, 8)[0][0].transpose(1, 2, 0)
    Image.fromarray(levels).save(tmp_path / "one.png")
    said = run_command("translate", run, tmp_path / "one.png", "--out", tmp_path / "each", "--to", "15,25")
    assert said.out.strip() == f"1 image for each of 2 values: {tmp_path / 'each'}", said
    said = run_command("translate", run, tmp_path / "one.png", "--out", tmp_path / "row.png", "--to", "15,25,35")
    assert said.code == 0 and Image.open(tmp_path / "row.png").size == (24, 8)
    model = ganforge.load(run)
    row = model.translate(levels, to=[15, 25, 35])
    assert np.array_equal(np.concatenate(row, 1), np.asarray(Image.open(tmp_path / "row.png")))
    assert np.array_equal(model.translate(levels[None], to=25)[0], row[1])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["translate", "RUN", "one.png", "--out", "x.png"], "changes radius: say to which, such as --to 35"),
        (["translate", "RUN", "one.png", "--out", "x.png", "--to", "70"], "knows radius from 12.0"),
        (["translate", "RUN", "one.png", "--out", "x.png", "--to", "nan"], "knows radius from 12.0"),
        (["translate", "RUN", "one.png", "--out", "x.png", "--to", "20,old"], "'old' is not a number"),
        (["generate", "RUN"], "makes nothing without an input"),
        (["translate", "OTHER", "one.png", "--out", "x.png", "--to", "70"], "not trained on images with a number"),
        (["train", "age", "--data", "digits"], "images with a number each"),
    ],
)
def test_bad_input_is_one_line(
    run: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("one.png")
    said = run_command(*[{"RUN": run, "OTHER": other}.get(a, a) for a in arguments])
    assert said.code == 2 and says in said.error
    assert not Path("x.png").exists() and not Path("runs").exists()


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that translates, but changes no number."""
    place = tmp_path_factory.mktemp("runs") / "edges"
    assert run_command(
        "train", "pix2pix", "--data", "digit-edges", "--run", place, "--rounds", 1, "--size", 8, "--device", "cpu"
    ).code == 0  # fmt: skip
    return place


def test_evaluate_reads_what_was_asked(run: Path) -> None:
    found = ganforge.evaluate(run, "disks", n=40, real=150, device="cpu")
    assert 0 < found.scores["value_error"].value < 40 and abs(found.scores["value_follows"].value) <= 1
    assert 0 <= found.scores["change_ratio"].value < 0.5 and "change_ratio" not in found.floors
    assert found.floors["value_follows"].value > 0.8
