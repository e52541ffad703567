"""Schedules laid out for a run's own length: all of the recipe's, none of the user's."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import ganforge as library
from command import ganforge
from ganforge.config import Settings, checked, plain, read_settings
from ganforge.core.schedule import Schedule, stretched
from ganforge.domains import open_data
from ganforge.domains.text import TextDomain
from ganforge.fitting import fitted
from ganforge.recipes.gsgan import Gsgan
from ganforge.recipes.recipe import Recipe


def laid_out(settings: Settings, samples: int) -> tuple[Recipe, Recipe, int]:
    """The recipe as it is, and laid out for so many samples; and its own budget."""
    domain, _ = open_data(settings.path, kinds=settings.recipe_class().kinds)
    recipe = settings.build_recipe(domain)
    return recipe, fitted(settings, recipe, domain, samples), recipe.budget(domain)


def test_a_schedule_in_a_share_of_the_time() -> None:
    half = stretched(Schedule(1.0, 0.1, 1000, begin=200), 0.5)
    assert (half.over, half.begin, half(350)) == (500, 100, pytest.approx(0.55))
    assert stretched((0.0, Schedule(1.0, 0.1, 1000)), 2) == (0.0, Schedule(1.0, 0.1, 2000)) and stretched(3.0, 2) == 3.0


def test_the_recipes_schedules_end_with_the_run() -> None:
    before, after, budget = laid_out(Settings("r3gan", "digits", {"network": "r3", "size": 8}), 1000)
    for name in ("lr", "r1", "r2", "ema_samples"):
        was, now = getattr(before, name), getattr(after, name)
        assert now.over == pytest.approx(1000 * was.over / budget) and (now.start, now.end) == (was.start, was.end)
    assert after.betas[1].over == pytest.approx(1000)  # type: ignore[attr-defined]
    assert after.size == 8 and after.lazy == before.lazy  # type: ignore[attr-defined]


def test_what_the_user_gave_stays() -> None:
    own = {"start": 0.01, "end": 0.001, "over": 777, "shape": "linear"}
    before, after, _ = laid_out(Settings("r3gan", "digits", {"lr": own, "r1": 0.3}), 1000)
    assert after.lr == before.lr == Schedule(0.01, 0.001, 777) and after.r1 == 0.3  # type: ignore[attr-defined]


def test_a_config_that_names_all_schedules_is_the_recipes_own() -> None:
    first, wanted, _ = laid_out(Settings("r3gan", "digits"), 1000)
    _, again, _ = laid_out(Settings("r3gan", "digits", dict(plain(first))), 1000)
    assert again == wanted != first


def test_phases_belong_to_the_budget() -> None:
    before, after, budget = laid_out(Settings("seqgan", "sentences"), 5000)
    for name in ("pretrain", "warm_up"):
        assert getattr(after, name) == round(getattr(before, name) * 5000 / budget) > 0
    _, kept, _ = laid_out(Settings("seqgan", "sentences", {"pretrain": 640}), 5000)
    assert kept.pretrain == 640  # type: ignore[attr-defined]


def test_play_begins_as_much_earlier_as_phases_are_shorter() -> None:
    domain = TextDomain(shape=(12,), vocabulary=("a",), level="word", lines=10_000)
    recipe = checked(Gsgan, Gsgan.defaults_for(domain), "params")
    half = recipe.fitted(domain, Gsgan.budget(domain) // 2)
    assert isinstance(half, Gsgan) and isinstance(half.temperature, Schedule)
    assert half.pretrain == 40_000 and (half.temperature.begin, half.temperature.over) == (40_000, 10_000)
    assert recipe.fitted(domain, Gsgan.budget(domain)) == recipe


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds are timed in no time."""
    monkeypatch.setattr("ganforge.plan.WARM_UP_SECONDS", 0.05)


def test_train_fits_and_writes_it_down(tmp_path: Path) -> None:
    given = ("train", "r3gan", "--data", "digits", "--size", 4, "--batch", 16, "--quiet")
    run = tmp_path / "fit"
    assert ganforge(*given, "--rounds", 4, "--fit", "--run", run).code == 0
    assert read_settings(run / "config.yaml").params["lr"]["over"] == pytest.approx(64)
    more = ganforge("resume", run, "--rounds", 6, "--quiet")
    assert more.code == 0, more.err
    assert read_settings(run / "config.yaml").params["lr"]["over"] == pytest.approx(64)


def test_fit_from_python(tmp_path: Path) -> None:
    run = tmp_path / "r"
    library.train("r3gan", "digits", run=run, params={"size": 4, "batch": 16}, rounds=4, fit=True, quiet=True)
    assert yaml.safe_load((run / "config.yaml").read_text())["params"]["lr"]["over"] == pytest.approx(64)


def test_phases_of_a_run_by_time(tmp_path: Path) -> None:
    run = tmp_path / "r"
    said = ganforge("train", "gsgan", "--data", "sentences", "--size", 8, "--minutes", 0.05, "--fit", "--run", run)
    assert said.code == 0, said.err
    settings = read_settings(run / "config.yaml")
    recipe, _, budget = laid_out(Settings("gsgan", "sentences", {"size": 8}), 100)
    shares = [settings.params["pretrain"] / recipe.pretrain]  # type: ignore[attr-defined]
    shares.append(settings.params["temperature"]["over"] / recipe.temperature.over)  # type: ignore[attr-defined]
    assert shares[0] == pytest.approx(shares[1], rel=1e-2) and 0 < shares[0] < 1
    assert recipe.pretrain < budget  # type: ignore[attr-defined]


def test_a_short_run_hears_which_size_would_suit_it(monkeypatch: pytest.MonkeyPatch) -> None:
    given = ("train", "r3gan", "--data", "digits", "--dry-run")
    for name, value in {"SOON": 0.0, "WORTH": 0.0}.items():
        monkeypatch.setattr(f"ganforge.fitting.{name}", value)
    assert "time: --size 16 sees about " in ganforge(*given, "--minutes", 0.05).err
    for more in (("--rounds", 9), ("--minutes", 0.05, "--size", 32)):
        assert "time: --size" not in ganforge(*given, *more).err
