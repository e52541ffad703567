"""A made-up table of mixed columns whose dependence is known: something to try things on."""

from __future__ import annotations

import numpy as np

from ganforge.domains.table_columns import UNITS, Columns

EDUCATION = ("school", "college", "bachelor", "master")
CITIES = ("Arden", "Brook", "Corby", "Dale", "Esker", "Fenwick")
ROWS = 4000


def customers(rows: int = ROWS, seed: int = 0) -> Columns:
    """Customers of a shop.

    Age is bimodal, education grows with age, income is log-normal with a factor of 1.3 per step of education, visits
    are zero-inflated, a rating is missing where there was no visit, and P(bought) is logistic in income and membership.
    """
    draw = np.random.default_rng([seed, 2019])
    young = draw.random(rows) < 0.4
    age = np.clip(np.where(young, draw.normal(27, 4, rows), draw.normal(52, 9, rows)), 18, 90).round()
    level = np.clip(np.floor(draw.normal(0.6 + age / 40, 0.9)), 0, 3).astype(int)
    income = np.round(21_000 * 1.3**level * np.exp(draw.normal(0, 0.35, rows)), 2)
    member = draw.random(rows) < np.where(young, 0.2, 0.55)
    visits = np.where(draw.random(rows) < 0.45, 0, draw.poisson(np.where(member, 9, 3)) + 1).astype(np.float64)
    rating = np.where(visits > 0, np.clip(draw.normal(3.4 + 0.6 * member, 0.7, rows), 1, 5).round(1), np.nan)
    logit = 1.6 * (np.log(income) - np.log(30_000)) + 1.2 * member + 0.12 * visits - 1.5
    bought = draw.random(rows) < 1 / (1 + np.exp(-logit))
    city = np.asarray(CITIES, dtype=object)[draw.choice(6, rows, p=(0.4, 0.25, 0.15, 0.1, 0.07, 0.03))]
    city[draw.random(rows) < 0.04] = None
    since = np.datetime64("2018-01-01") + draw.integers(0, 365 * 6, rows)
    return {
        "age": age,
        "education": np.asarray(EDUCATION, dtype=object)[level],
        "city": city,
        "income": income,
        "member": member.astype(object),
        "since": since.astype(UNITS["date"]),
        "visits": visits,
        "rating": rating,
        "bought": np.where(bought, "yes", "no").astype(object),
    }
