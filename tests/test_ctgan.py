"""CTGAN: the encoding of rows, training by sampling, constraints, and that it learns what depends on what."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch.nn.functional import cross_entropy

import ganforge
from ganforge.core.errors import InputError
from ganforge.core.game import Clock
from ganforge.core.schedule import Schedule, value_at
from ganforge.domains import open_data
from ganforge.domains.table import TableDomain, TableSource, open_like
from ganforge.domains.table_example import customers
from ganforge.engine.options import TrainOptions
from ganforge.engine.rng import reseed
from ganforge.engine.trainer import Trainer
from ganforge.losses.tabular import column_cross_entropy
from ganforge.measure.tabular import column_shapes, tv_complement
from ganforge.nn.tabular import Names, Numbers, PackedCritic, RowCode, gumbel
from ganforge.recipes.ctgan import Ctgan
from ganforge.recipes.recipe import find_recipe
from ganforge.recipes.row_game import RowGame, row_code


def test_mode_specific_normalization_by_hand() -> None:
    """Two Gaussians and a single value, then a column of two names: codes as sec. 4.2 has them."""
    code = RowCode(
        4, [Numbers(0, True, ((0.5, -1.0, 0.1), (0.2, 0.0, 0.0), (0.3, 2.0, 0.5)))], [Names(2, 2)]
    )  # row: value, missing, two names
    rows = torch.tensor([[-1.2, 0.0, 1, 0], [0.0, 0, 0, 1], [3.0, 0, 1, 0], [0.0, 1, 1, 0], [99.0, 0, 1, 0]])
    found = code.encode(rows)
    expected = [
        [-0.2 / 0.4, 1, 0, 0, 0, 1, 0],
        [0.0, 0, 1, 0, 0, 0, 1],
        [1.0 / 2.0, 0, 0, 1, 0, 1, 0],
        [0.0, 0, 0, 0, 1, 1, 0],
        [1.0, 0, 0, 1, 0, 1, 0],
    ]
    torch.testing.assert_close(found, torch.tensor(expected))
    torch.testing.assert_close(code.decode(found)[:4], rows[:4])
    assert float(code.decode(found)[4, 0]) == 4.0  # 2 + 4 * 0.5: as far as its mode goes


def test_codes_give_all_rows_back() -> None:
    domain, source = open_data("customers")
    code = row_code(domain)
    rows = domain.encode(source.take(torch.arange(len(source))))["data"]
    back = code.decode(code.encode(rows))
    assert float((back - rows).abs().max()) < 0.2 and float(((back - rows).abs() > 1e-4).float().mean()) < 1e-3
    again = domain.raw({"data": back})
    assert np.array_equal(np.isnan(again), np.isnan(source.values.numpy()))


def test_gumbel_softmax_draws_by_the_softmax() -> None:
    """Hardened blocks are draws from softmax(logits) (Gumbel-max), and the soft ones near them are no other."""
    torch.manual_seed(0)
    code = RowCode(5, [], [Names(0, 3), Names(3, 2)])
    logits = torch.tensor([0.2, -1.0, 1.0, 0.5, -0.5]).expand(20_000, -1)
    noise = gumbel((20_000, 5))
    hard, soft = code.draw(logits, noise), code.soften(logits, noise, 0.05)
    torch.testing.assert_close(soft[:, :3].sum(1), torch.ones(20_000))
    assert float((soft.round() == hard).float().mean()) > 0.97
    for part in (slice(0, 3), slice(3, 5)):
        share = logits[0, part].softmax(0)
        assert chisquare(hard[:, part].sum(0).numpy(), (share * 20_000).numpy(), sum_check=False).pvalue > 1e-3


def test_numbers_are_drawn_within_their_modes() -> None:
    """Each mode has a mean and a deviation of its own, and the loss is the normal density's; none for single values."""
    torch.manual_seed(0)
    code = RowCode(
        3, [Numbers(0, False, ((0.5, -1.0, 0.1), (0.5, 2.0, 0.5))), Numbers(1, True, ((1.0, 0.0, 0.0),))], []
    )
    made = torch.randn(1, code.outputs).expand(20_000, -1)
    codes = code.draw(made, code.noise((20_000,)))
    mean, spread = code.placed(made[:1])
    for mode in (0, 1):
        there = codes[codes[:, code.first + mode] == 1, 0]
        bound = torch.distributions.Normal(mean[0, mode], spread[0, mode]).sample((200_000,)).clamp(-1, 1)
        assert float(there.mean()) == pytest.approx(float(bound.mean()), abs=0.02)
        assert float(there.std()) == pytest.approx(float(bound.std()), rel=0.05)
    assert not codes[:, 1].any()
    share = made[0, 2 * code.modal : 2 * code.modal + 2].softmax(0)
    assert float(codes[:, code.first].mean()) == pytest.approx(float(share[0]), abs=0.02)
    real = code.encode(torch.tensor([[-1.1, 0.0, 0.0], [2.5, 0.0, 1.0]]))
    normal = torch.distributions.Normal(mean[0, :2], spread[0, :2])
    expected = -normal.log_prob(real[:, :1]).diagonal() - 0.5 * math.log(2 * math.pi)
    found = code.place_loss(made[:2], real)
    torch.testing.assert_close(found, torch.stack([expected, torch.zeros(2)], 1))


def test_cross_entropy_is_that_of_the_columns_asked_for() -> None:
    torch.manual_seed(0)
    code = RowCode(7, [], [Names(0, 3), Names(3, 4)])
    logits = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    first, second = torch.tensor([2, 0, 1, 0, 2]), torch.tensor([3, 3, 0, 1, 2])
    real = torch.cat([torch.nn.functional.one_hot(first, 3), torch.nn.functional.one_hot(second, 4)], 1).double()
    asked = torch.tensor([[1, 0], [0, 1], [1, 1], [0, 0], [1, 0]])
    found = column_cross_entropy(code.apart(logits), code.apart(real), asked)
    parts = [(logits[i, :3], first[i]) if b == 0 else (logits[i, 3:], second[i]) for i, b in asked.nonzero().tolist()]
    torch.testing.assert_close(found, torch.stack([cross_entropy(p, c) for p, c in parts]).mean())
    (gradient,) = torch.autograd.grad(found, logits)
    assert bool(gradient.isfinite().all()) and float(gradient[0, 3:].abs().sum() + gradient[3].abs().sum()) == 0
    assert column_cross_entropy(code.apart(logits), code.apart(real), 0 * asked).item() == 0


def test_packs_are_judged_as_a_whole() -> None:
    critic = PackedCritic(6, width=8, pack=5, dropout=0.0)
    rows = torch.randn(10, 6)
    swapped = torch.cat([rows[:5], rows[5:].flip(0)])
    a, b = critic(rows), critic(swapped)
    assert a.shape == (2,) and torch.equal(a[0], b[0]) and not torch.equal(a[1], b[1])


def small_game(balance: str, rows: int = 4000) -> tuple[RowGame, torch.Tensor, TableDomain]:
    table = {k: v for k, v in customers(rows).items() if k in ("age", "education", "city", "bought")}
    domain = TableDomain.fit(table)
    game = Ctgan(size=8, batch=rows, given="one", balance=balance, pack=2).build(domain)  # type: ignore[arg-type]
    assert isinstance(game, RowGame)
    return game, domain.encode(TableSource(table, domain).take(torch.arange(rows)))["data"], domain


def chosen(game: RowGame, rows: torch.Tensor, times: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes, and the cell that is the condition of each, of several draws."""
    parts = [game.choose({"data": rows}) for _ in range(times)]
    codes, given = (torch.cat(side) for side in zip(*parts, strict=True))
    assert bool((given.sum(1) == 1).all())
    cells = game.cells
    same = (codes[:, cells.place] == 1) & (cells.block == given.argmax(1)[:, None])
    assert bool((same.sum(1) == 1).all())  # a category of the row, and one that may be asked for
    return codes, same.int().argmax(1)


@pytest.mark.parametrize("balance", ["log", "natural"])
def test_training_by_sampling_draws_conditions_as_the_paper_says(balance: str) -> None:
    """Columns are equally likely; categories by the logarithm of their frequency (or their share), and the row has the
    category that is its condition.
    """
    torch.manual_seed(0)
    game, rows, domain = small_game(balance)
    _, cell = chosen(game, rows, 5)
    expected = []
    for i in sorted({i for i, _ in domain.cells}):
        counts = np.asarray(domain.schema[i].counts, dtype=float)
        size = np.log1p(counts) if balance == "log" else counts
        expected += (size / size.sum() / 3).tolist()
    found = torch.bincount(cell, minlength=len(expected)).numpy()
    assert chisquare(found, np.asarray(expected) * len(cell)).pvalue > 1e-4


def test_rows_of_a_condition_are_drawn_evenly() -> None:
    """Given a category, every row that has it is equally likely, whatever else is in it (the paper's third step)."""
    torch.manual_seed(1)
    game, rows, domain = small_game("log")
    codes, cell = chosen(game, rows, 20)
    names = list(domain.columns)
    cell_of = domain.cells.index((names.index("city"), 5))  # Fenwick, the rarest
    given = game.code.decode(codes[cell == cell_of])
    real = rows[rows[:, domain.places[names.index("city")] + 5] == 1]
    at = domain.places[names.index("education")]
    share = real[:, at : at + 4].mean(0)
    seen = given[:, at : at + 4].sum(0)
    assert chisquare(seen.numpy(), (share * len(given)).numpy(), sum_check=False).pvalue > 1e-4


def test_any_number_of_columns_is_given_and_kept() -> None:
    """Each number of columns is equally likely, and each column; made rows keep what was given, and D sees which."""
    torch.manual_seed(0)
    domain, source = open_data("customers")
    game = Ctgan(size=8, batch=20).build(domain)
    assert isinstance(game, RowGame)
    rows = domain.encode(source.take(torch.arange(len(source))))["data"]
    codes, given = game.choose({"data": rows})
    blocks = game.code.blocks
    count = torch.bincount(given.sum(1).long(), minlength=blocks + 1).numpy()
    assert chisquare(count).pvalue > 1e-4 and float((given.mean(0) - 0.5).abs().max()) < 0.03
    _, (real, fake, shown) = game.make(codes, given)
    kept = given[:, game.code.owner] > 0
    assert torch.equal(real, codes) and torch.equal(shown, given)
    assert torch.equal(fake[kept], codes[kept]) and not torch.equal(fake[~kept], codes[~kept])
    assert not game.told(codes, 0 * given)[0].any()


def test_rare_categories_come_more_often_where_they_are_given() -> None:
    """balance=log: half of the rows come by a category, which they are told. Given this, all its rows are equally
    likely, so that nothing that depends on it is distorted; the other half is as the data are.
    """
    torch.manual_seed(0)
    table = {k: v for k, v in customers(4000).items() if k in ("age", "education", "city", "bought")}
    domain = TableDomain.fit(table)
    game = Ctgan(size=8, batch=4000, balance="log").build(domain)
    assert isinstance(game, RowGame)
    rows = domain.encode(TableSource(table, domain).take(torch.arange(4000)))["data"]
    real = game.code.encode(rows)
    parts = [game.choose({"data": rows}) for _ in range(10)]
    city = list(domain.columns).index("city")
    at = game.cells.place[domain.cells.index((city, 5))]  # Fenwick, the rarest
    drawn, told = (torch.cat([part[side][:2000] for part in parts]) for side in (0, 1))
    assert all(torch.equal(part[0][2000:], real[2000:]) for part in parts)
    assert float(drawn[:, at].mean()) > 1.6 * float(real[:, at].mean())
    some = (drawn[:, at] == 1) & (told[:, game.code.owner[at]] == 1)
    education = game.code.apart(drawn[some])[list(game.code.widths).index(4)]
    share = game.code.apart(real[real[:, at] == 1])[list(game.code.widths).index(4)].mean(0)
    seen = education.sum(0)
    kept = share > 0
    assert chisquare(seen[kept].numpy(), (share * len(education))[kept].numpy(), sum_check=False).pvalue > 1e-4
    assert float(told[:2000].mean()) > float(told.new_tensor(0.5))


def test_small_tables_are_not_learned_by_heart() -> None:
    """Below 5,000 rows G is told one category, unless the user wants more; each way has rates of its own."""
    small, large = (TableDomain.fit(customers(rows)) for rows in (400, 5000))
    assert Ctgan.defaults_for(small)["given"] == "one" and Ctgan.defaults_for(large) == {"balance": "log"}
    assert Ctgan.defaults_given(small, {"given": "any"}) == {"balance": "log"}
    assert Ctgan.defaults_given(large, {"given": "one"}) == Ctgan.defaults_for(small)


def test_a_row_is_made_in_passes() -> None:
    """A column is made at its turn, from what came before it: later latents and noise do not change it."""
    domain, _ = open_data("customers")
    game = Ctgan(size=8, batch=20, passes=3).build(domain).eval()
    inputs = {**game.draw(200, torch.Generator().manual_seed(0)), **domain.conditions(200, torch.Generator())}
    first = domain.raw(game.sample(inputs))
    z, noise = inputs["z"].clone(), inputs["noise"].clone()
    z[:, -16:], noise[:, -1] = 5.0, 3.0 * noise[:, -1].flip(0)
    same = domain.raw(game.sample({**inputs, "z": z, "noise": noise})) == first
    same |= np.isnan(first)
    order = np.argsort([c.is_category for c in domain.schema], kind="stable")  # a code has all numbers first
    turn = inputs["turn"][:, np.argsort(order)].numpy()
    assert same[turn < 2].all() and not same[turn == 2].all()
    asked = [domain.cells[c] for c in inputs["cell"].tolist()]
    assert all(first[row, column] == code for row, (column, code) in enumerate(asked))  # untrained, and yet it obeys


def test_settings_of_the_game_are_what_they_say() -> None:
    """D's learning rate is a multiple of G's, schedules too; without noise z alone decides on all categories."""
    domain, _ = open_data("customers")
    schedule = Schedule(0.002, 0.0, 1000, shape="cosine")
    game = Ctgan(size=8, batch=20, lr=schedule, ttur=3.0, noise=0.0).build(domain)
    assert [value_at(game.players["D"].lr, at) for at in (0, 500)] == pytest.approx([0.006, 0.003])
    assert value_at(game.players["G"].lr, 500) == pytest.approx(0.001)
    inputs = {**game.draw(50, torch.Generator().manual_seed(0)), **domain.conditions(50, torch.Generator())}
    assert not inputs["noise"].any()
    codes, given = torch.zeros(50, game.code.size), torch.zeros(50, game.code.blocks)
    made, (_, fake, _) = game.make(codes, given)  # the softmax of the logits, and nothing else
    expected = torch.cat([block.softmax(1) for block in game.code.logits(made / 0.2)], 1)
    torch.testing.assert_close(fake[:, game.code.first :], expected)
    mean = game.code.placed(made)[0] * expected[:, : game.code.modal]
    torch.testing.assert_close(fake[:, : game.code.first], mean @ game.code.graded)
    pays = [[(m.player, m.every, m.order) for m in Ctgan(lazy=k).build(domain).moves(Clock())] for k in (1, 3)]
    assert pays == [[("G", 1, 1), ("D", 1, 2)], [("G", 1, 1), ("D", 1, 1), ("D", 3, 2)]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> ganforge.Model:
    run = tmp_path_factory.mktemp("ctgan") / "run"
    return ganforge.train("ctgan", "customers", run=run, params={"size": 32, "batch": 100}, rounds=150, quiet=True)


def test_it_learns_the_columns(trained: ganforge.Model) -> None:
    real, made = customers(), trained.generate(2000, seed=1)
    assert list(made) == list(real) and np.mean(list(column_shapes(real, made).values())) > 0.75
    assert made["age"].dtype == np.int64 and made["since"].dtype == real["since"].dtype
    gone = np.isnan(made["rating"])
    assert 0.1 < gone.mean() < 0.9
    more = trained.generate(2100, seed=1)
    assert all(np.array_equal(more[k][:2000], made[k], equal_nan=k == "rating") for k in made)


def test_it_learns_what_depends_on_what() -> None:
    """A number that lies left or right by its row's name: made rows have it on the right side for their name."""
    draw = np.random.default_rng(0)
    left = draw.random(1000) < 0.3
    table = {
        "side": np.where(left, "left", "right").astype(object),
        "x": np.where(left, -3.0, 3.0) + draw.normal(size=1000),
    }
    domain = TableDomain.fit(table)
    reseed(0, "weights")
    game = Ctgan(size=32, batch=100, latent=8, ema_samples=None).build(domain)
    trainer = Trainer(game, TableSource(table, domain), domain, TrainOptions(seed=0, device="cpu"), 100)
    for _ in range(300):
        trainer.round()
    with trainer.sampling():
        made = domain.decode(game.sample(trainer.draw(2000, "test")))
    assert 0.2 < (made["side"] == "left").mean() < 0.4
    assert ((made["x"] < 0) == (made["side"] == "left")).mean() > 0.85  # by chance: 0.58


def test_where_is_obeyed(trained: ganforge.Model) -> None:
    made = trained.generate(150, where={"education": "master"})
    assert set(made["education"]) == {"master"} and len(made["age"]) == 150
    assert tv_complement(made["city"], customers()["city"]) > 0.5
    both = trained.generate(60, where=["city=Dale", "age>=40", "age<60", "rating!="])
    assert set(both["city"]) == {"Dale"} and both["age"].min() >= 40 and both["age"].max() < 60
    assert not np.isnan(both["rating"]).any()
    first = trained.generate(20, where=["city=Dale", "age>=40", "age<60", "rating!="])
    assert np.array_equal(first["age"], both["age"][:20])
    assert set(trained.generate(30, where=["city="])["city"]) == {None}
    assert min(trained.generate(30, where=["since>=2022-01-01"])["since"]) >= np.datetime64("2022-01-01")


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("eduction=master", "no column 'eduction': did you mean 'education'"),
        ("education=masters", "did you mean 'master'"),
        ("education>school", "no order"),
        ("education", "wants column=value"),
        ("age>=200", "'age' lies between 18 and"),
        ("age=30.5", "in whole numbers"),
        ("age=old", "'old' is none"),
        ("age=", "never missing"),
        ("since<2001-01-01", "lies between 2018-01-01"),
        ("bought=", "never missing"),
        ("rating=2.75", "with 1 decimal in training"),
        (["age>=40", "age<30"], "no value of 'age' is >= 40 and < 30"),
        (["age>40", "age<41"], "no value of 'age' is > 40 and < 41"),
        (["age=40", "age!=40"], "no value of 'age' is = 40 and != 40"),
        (["city=Dale", "city=Fenwick"], "no value of 'city' is = Dale and = Fenwick"),
        (["rating=", "rating>2"], "no value of 'rating' is = missing and > 2.0"),
        (["since>2020-05-01", "since<2020-05-02"], "no value of 'since'"),
    ],
)
def test_impossible_constraints_are_refused(trained: ganforge.Model, where: str | list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        trained.generate(5, where=[where] if isinstance(where, str) else where)


def test_constraints_that_some_value_obeys_are_not_refused() -> None:
    numbers = np.round(np.linspace(0, 10, 200), 2)
    names = np.asarray([None if i % 4 == 0 else "abc"[i % 3] for i in range(200)], dtype=object)
    domain = TableDomain.fit({"x": numbers, "k": np.arange(200) % 9, "c": names, "f": numbers**1.5})
    for where in (
        ["x>3.1", "x<3.12"],
        ["k>3", "k<=5", "k!=4"],
        ["k!=1", "k!=2", "k>0"],
        ["c!=a", "c!=b"],
        ["c=", "c!=a"],
        ["f>2", "f<2.0001"],
    ):
        assert len(domain.constrain(where)) == len(where)


def test_a_column_of_one_value_has_no_other() -> None:
    domain = TableDomain.fit({"x": np.arange(20.0), "one": np.ones(20)})
    with pytest.raises(InputError, match="'one' has no other value in the training data"):
        domain.constrain(["one!=1"])


def test_an_empty_value_is_a_missing_one_whatever_files_write() -> None:
    names = np.asarray([None if i % 4 == 0 else "abc"[i % 3] for i in range(40)], dtype=object)
    domain = TableDomain.fit({"c": names}, missing={"c": "N/A"})
    assert domain.constrain(["c="]) == domain.constrain(["c=N/A"])


def test_what_hardly_any_row_obeys_is_said(trained: ganforge.Model) -> None:
    rare = ["city=Fenwick", "education=school", "visits=19", "age>=80", "rating<1.5"]
    with pytest.raises(InputError, match=r"only \d of 12,800 samples obey city=Fenwick and education=school and"):
        trained.generate(60, where=rare)
    with pytest.raises(InputError, match="trained without conditions"):
        trained.generate(5, label=1)


def test_evaluation_compares_tables_in_one_coding(
    trained: ganforge.Model, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Another file's categories are those of the model, in whatever order they come, and unknown ones are none."""
    run = next(tmp_path_factory.getbasetemp().glob("ctgan*/run"))
    table = customers(1200, seed=5)
    table["city"][:3] = "Aaa"  # new, and before all others by name
    held = tmp_path / "held.csv"
    TableDomain.fit({k: v for k, v in reversed(table.items())}).save(table, held)
    source = open_like(str(held), trained.domain)[1]
    assert bool(source.values[:3, 2].isnan().all()) and not bool(source.values[3:, 2].isnan().any())
    encoded = trained.domain.encode(source.take(torch.arange(1200)))["data"]
    assert float(encoded[0, 5:12].sum()) == 0 and trained.domain.decode({"data": encoded})["age"][7] == table["age"][7]
    score = ganforge.evaluate(held, "customers", ["swd"], n=1000).scores["swd"].value
    worse = ganforge.evaluate(run, "customers", ["swd"], n=1000, holdout=str(held)).scores["swd"].value
    assert score < 0.05 < worse, (score, worse)
    with pytest.raises(InputError, match="has no column 'education'"):
        TableDomain.fit({"age": table["age"]}).save(table, tmp_path / "age.csv")
        ganforge.evaluate(run, str(tmp_path / "age.csv"), ["swd"])


def test_other_recipes_take_mixed_tables_too() -> None:
    domain, _ = open_data("customers")
    game = find_recipe("gan")(size=8, batch=16).build(domain)
    rows = domain.decode(game.sample(game.draw(20, torch.Generator().manual_seed(0))))
    assert list(rows) == list(customers(2)) and len(rows["city"]) == 20


def test_command_line(trained: ganforge.Model, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    run = next(tmp_path_factory.getbasetemp().glob("ctgan*/run"))
    out = tmp_path / "x.csv"
    line = [sys.executable, "-m", "ganforge.app.cli", "generate", str(run), "-n", "20"]
    done = subprocess.run([*line, "--where", "education=master", "--out", str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = out.read_text().splitlines()
    assert lines[0] == "age,education,city,income,member,since,visits,rating,bought" and len(lines) == 21
    assert all(text.split(",")[1] == "master" for text in lines[1:])
    bad = subprocess.run([*line, "--where", "education=Phd"], capture_output=True, text=True)
    assert bad.returncode == 2 and len(bad.stderr.splitlines()) == 1 and "'Phd' is not in" in bad.stderr


def test_other_data_are_refused() -> None:
    with pytest.raises(InputError, match="what this recipe needs: a table"):
        open_data("digits", kinds=Ctgan.kinds)
    with pytest.raises(InputError, match="of kind points"):
        Ctgan().build(open_data("ring")[0])
    with pytest.raises(InputError, match="pack 10 must divide batch 64"):
        ganforge.train("ctgan", "customers", params={"batch": 64, "pack": 10}, quiet=True)


def test_a_table_without_categories_needs_no_condition() -> None:
    draw = np.random.default_rng(0)
    table = {"a": draw.normal(size=200), "b": draw.normal(size=200)}
    domain = TableDomain.fit(table)
    game = Ctgan(size=8, batch=20, pack=2, latent=4, given="one").build(domain)
    terms = game.moves(game.clock)[0].play(domain.encode(TableSource(table, domain).take(torch.arange(20))))
    assert set(terms) == {"loss"}
    inputs = {**game.draw(5, torch.Generator().manual_seed(0)), **domain.conditions(5, torch.Generator())}
    assert game.sample(inputs)["data"].shape == (5, 2)
