"""Tables whose truth is known, each with one thing that is hard to make; and what became of it in made rows.

Used by ``python bench/tables.py --made``. Each is a function of (rows, random numbers) that gives columns, beside one
of (real columns, made columns) that gives figures by name: those that should be 1 or equal to those of held-out rows,
which are printed beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ganforge.measure.tabular import RowFeatures, f1_scores

Table = dict[str, np.ndarray]
Figures = dict[str, float]
QUANTILES = (0.5, 0.9, 0.99, 0.999, 1.0)
DAY = np.datetime64("2021-01-01")


def rare(rows: int, draw: np.random.Generator) -> Table:
    """A class of 1 % of the rows: each class has two clusters in 6 numbers; 2 depend on these, 4 are noise (as
    scikit-learn's make_classification has it). 0.2 % of labels are wrong.
    """
    truth = np.random.default_rng(7)
    corners = truth.permutation(64)[:4]
    centers = 1.5 * (2 * ((corners[:, None] >> np.arange(6)) & 1) - 1)
    shapes, mix = truth.uniform(-1, 1, (4, 6, 6)), truth.uniform(-1, 1, (6, 2))
    positive = draw.random(rows) < 0.01
    cluster = 2 * positive + draw.integers(0, 2, rows)
    informative = centers[cluster] + np.einsum("nk,nkj->nj", draw.normal(size=(rows, 6)), shapes[cluster])
    x = np.concatenate([informative, informative @ mix, draw.normal(size=(rows, 4))], 1)
    x = x[:, truth.permutation(12)].round(4)
    label = positive ^ (draw.random(rows) < 0.002)
    return {**{f"x{k}": x[:, k] for k in range(12)}, "fraud": np.where(label, "yes", "no").astype(object)}


def judge_rare(real: Table, made: Table, held: Table) -> Figures:
    """F1 of the rare class on held-out rows; its share; and how far the centers of its rows are off, in deviations."""
    features = RowFeatures(real, leave_out=("fraud",))
    scores = f1_scores(made, held, "fraud", "yes", features)
    rows = made["fraud"] == "yes"
    off = [abs(made[k][rows].mean() - held[k][held["fraud"] == "yes"].mean()) / held[k].std() if rows.any() else 9.0
           for k in real if k != "fraud"]  # fmt: skip
    return {"f1": float(np.mean(list(scores.values()))), "share": float(rows.mean()), "center_off": float(np.mean(off))}


def tails(rows: int, draw: np.random.Generator) -> Table:
    """A log-normal income, a Pareto claim and a gain of Student's t (2.5 degrees), which hang together, by segment."""
    segment = draw.choice(3, rows, p=(0.7, 0.25, 0.05))
    shared, own = draw.normal(size=rows), draw.normal(size=(3, rows))
    income = np.exp(10 + 0.5 * segment + 1.0 * (0.7 * shared + 0.714 * own[0]))
    order = (0.7 * shared + 0.714 * own[1]).argsort().argsort()
    claim = 100 * (1 - (order + 0.5) / rows) ** (-1 / 1.7)
    gain = 50 * draw.standard_t(2.5, rows) + 20 * shared
    return {
        "segment": np.asarray(("basic", "plus", "gold"), dtype=object)[segment],
        "income": income.round(2),
        "claim": claim.round(2),
        "gain": gain.round(3),
    }


def judge_tails(real: Table, made: Table, held: Table) -> Figures:
    """The mean |log| of quantiles 0.9, 0.99, 0.999 and of the largest value, made to real; means; rank correlations."""
    from scipy.stats import spearmanr

    found = {}
    for q in QUANTILES:
        found[f"log_q{q:g}"] = float(np.mean([
            abs(np.log(np.quantile(made[k] * s, q) / np.quantile(held[k] * s, q)))
            for k, s in (("income", 1), ("claim", 1), ("gain", 1), ("gain", -1)) if q > 0.5 or k != "gain"
        ]))  # fmt: skip
    found["log_mean"] = float(np.mean([abs(np.log(made[k].mean() / held[k].mean())) for k in ("income", "claim")]))
    names = ("income", "claim", "gain")
    real_rho, made_rho = (np.asarray(spearmanr(np.stack([t[k] for k in names], 1))[0]) for t in (held, made))
    return {**found, "spearman_off": float(np.abs(real_rho - made_rho).sum() / 6)}


def dates(rows: int, draw: np.random.Generator) -> Table:
    """Orders over three years; they are shipped 1 to 30 days later, by carrier; a price that grows with time."""
    ordered = draw.integers(0, 1095, rows)
    carrier = draw.choice(3, rows, p=(0.5, 0.3, 0.2))
    later = np.clip(draw.poisson(np.asarray((3, 9, 20))[carrier]) + 1, 1, 30)
    price = (40 + ordered / 20 + 5 * draw.normal(size=rows)).round(2)
    return {
        "ordered": (DAY + ordered).astype("datetime64[D]"),
        "carrier": np.asarray(("air", "road", "sea"), dtype=object)[carrier],
        "shipped": (DAY + ordered + later).astype("datetime64[D]"),
        "price": price,
    }


def judge_dates(real: Table, made: Table, held: Table) -> Figures:
    """Shipped 1 to 30 days after the order; the delay's mean by carrier and deviation; the price's r with time."""
    delay, true = ((t["shipped"] - t["ordered"]).astype(int) for t in (made, held))
    off = [abs(delay[made["carrier"] == c].mean() - true[held["carrier"] == c].mean()) for c in ("air", "road", "sea")]
    r = float(np.corrcoef(made["ordered"].astype(int), made["price"])[0, 1])
    return {
        "within": float(((delay >= 1) & (delay <= 30)).mean()), "delay_sd": float(delay.std()),
        "days_off": float(np.mean(off)), "r_price": r,
    }  # fmt: skip


def counts(rows: int, draw: np.random.Generator) -> Table:
    """Visits (half of them none, else negative binomial), purchases among them, and whole-number spending."""
    member = draw.random(rows) < 0.3
    visits = np.where(draw.random(rows) < np.where(member, 0.3, 0.6), 0, 1 + draw.negative_binomial(1.5, 0.08, rows))
    bought = draw.binomial(visits, np.where(member, 0.5, 0.15))
    spent = np.where(bought > 0, np.round(bought * np.exp(draw.normal(3, 0.6, rows))), 0)
    return {"member": member.astype(object), "visits": visits, "bought": bought, "spent": spent.astype(np.int64)}


def judge_counts(real: Table, made: Table, held: Table) -> Figures:
    """Rows that break a rule (bought > visits, spending without buying or the reverse); zeros, means, deviations."""
    names = ("visits", "bought", "spent")
    broken = (made["bought"] > made["visits"]) | ((made["spent"] > 0) != (made["bought"] > 0))
    member = [t["bought"][t["member"].astype(str) == "True"].mean() for t in (made, held)]
    return {
        "broken": float(broken.mean()),
        "zeros_off": float(np.mean([abs((made[k] == 0).mean() - (held[k] == 0).mean()) for k in names])),
        "log_sd": float(np.mean([abs(np.log(made[k].std() / held[k].std())) for k in names])),
        "member_ratio": float(member[0] / member[1]),
    }


def levels(rows: int, draw: np.random.Generator) -> Table:
    """A shop of 200 with Zipf's shares; its price level, and whether it sells abroad, depend on the shop."""
    truth = np.random.default_rng(11)
    share = 1 / np.arange(1, 201) ** 1.1
    shop = draw.choice(200, rows, p=share / share.sum())
    price = truth.normal(100, 30, 200)[shop] + 6 * draw.normal(size=rows)
    abroad = draw.random(rows) < truth.beta(0.5, 0.5, 200)[shop]
    return {
        "shop": np.asarray([f"s{k:03}" for k in range(200)], dtype=object)[shop],
        "price": price.round(2),
        "abroad": np.where(abroad, "yes", "no").astype(object),
    }


def judge_levels(real: Table, made: Table, held: Table) -> Figures:
    """Total variation of the shops' shares; how much of the price the shop explains (R2 of the held-out rows' means
    by shop, on made rows); and the same of going abroad.
    """
    names, code = np.unique(held["shop"].astype(str), return_inverse=True)
    known = {n: i for i, n in enumerate(names)}
    there = np.asarray([known.get(str(s), -1) for s in made["shop"]])
    n = len(names)
    shares = [np.bincount(c[c >= 0], minlength=n) / len(c) for c in (code, there)]
    found = {"shares_tv": float(np.abs(shares[0] - shares[1]).sum() / 2)}
    for column in ("price", "abroad"):
        x, y = ((t[column] == "yes").astype(float) if column == "abroad" else t[column] for t in (held, made))
        means = np.bincount(code, x, n) / np.bincount(code, minlength=n)
        ok = there >= 0
        found[f"r2_{column}"] = float(1 - ((y[ok] - means[there[ok]]) ** 2).mean() / x.var())
    return found


def gaps(rows: int, draw: np.random.Generator) -> Table:
    """Income is missing the more often the older one is, a test's result where no test was made, a phone at random."""
    age = np.clip(draw.normal(45, 15, rows), 18, 90).round()
    tested = draw.random(rows) < 1 / (1 + np.exp(-(age - 50) / 8))
    income = np.exp(draw.normal(8 + age / 60, 0.4, rows)).round(1)
    income[draw.random(rows) < (age - 18) / 120] = np.nan
    result = np.where(tested, draw.normal(5 + age / 30, 1, rows).round(2), np.nan)
    phone = np.asarray(("a", "b", "c", None), dtype=object)[draw.choice(4, rows, p=(0.5, 0.3, 0.1, 0.1))]
    tested = np.where(tested, "yes", "no").astype(object)
    return {"age": age, "tested": tested, "income": income, "result": result, "phone": phone}


def judge_gaps(real: Table, made: Table, held: Table) -> Figures:
    """By quarters of age: the shares of missing incomes; results without a test or the reverse; and correlations."""
    edges = np.quantile(held["age"], (0.25, 0.5, 0.75))
    rates = [[np.isnan(t["income"])[np.searchsorted(edges, t["age"]) == q].mean() for q in range(4)]
             for t in (made, held)]  # fmt: skip
    broken = np.isnan(made["result"]) == (made["tested"] == "yes")
    r = []
    for t in (made, held):
        ok = ~np.isnan(t["income"])
        r.append(np.corrcoef(t["age"][ok], np.log(t["income"][ok]))[0, 1])
    off = float(np.abs(np.asarray(rates[0]) - np.asarray(rates[1])).mean())
    return {"missing_off": off, "broken": float(broken.mean()), "r_off": float(abs(r[0] - r[1]))}


Maker = Callable[[int, np.random.Generator], Table]
Judge = Callable[[Table, Table, Table], dict[str, Any]]
MADE: dict[str, tuple[Maker, Judge]] = {
    "rare": (rare, judge_rare),
    "tails": (tails, judge_tails),
    "dates": (dates, judge_dates),
    "counts": (counts, judge_counts),
    "levels": (levels, judge_levels),
    "gaps": (gaps, judge_gaps),
}
