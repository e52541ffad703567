"""Settings: where they come from, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ganforge.config import (
    Settings,
    apply_overrides,
    checked,
    plain,
    quantity,
    read_settings,
    refuse_changes,
    write_settings,
)
from ganforge.core.errors import InputError
from ganforge.core.schedule import Schedule
from ganforge.engine.options import FREE, TrainOptions
from ganforge.recipes.recipe import find_recipe

GAN = find_recipe("gan")


@pytest.mark.parametrize(
    ("text", "number"),
    [("200k", 200_000), ("1.5M", 1_500_000), ("7K", 7000), ("1e6", 1_000_000), ("3e-4", 3e-4), ("0.5k", 500)],
)
def test_quantities(text: str, number: float) -> None:
    assert quantity(text) == number and type(quantity(text)) is type(number)


@given(st.text(max_size=8))
def test_other_texts_stay_texts(text: str) -> None:
    changed = quantity(text)
    assert changed == text or text[0].isdigit()


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (GAN, {"sise": 8}, "unknown setting 'params.sise': did you mean 'size'?"),
        (GAN, {"size": "big"}, "params.size: Input should be a valid integer, .*, got 'big'"),
        (GAN, {"size": 0}, "params.size: Input should be greater than 0, got 0"),
        (GAN, {"size": 1.5}, "params.size: .*, got 1.5"),
        (GAN, {"lr": -0.1}, "params.lr: Input should be greater than or equal to 0, got -0.1"),
        (GAN, {"lr": float("nan")}, "params.lr: .*, got nan"),
        (GAN, {"optimizer": "adma"}, "params.optimizer: Input should be 'adam' or 'rmsprop', got 'adma'"),
        (GAN, {"pack": 3, "batch": 16}, "params: pack 3 must divide batch 16"),
        (GAN, {"augment": "colour"}, "unknown augmentation 'colour' in 'colour': did you mean 'color'?"),
        (GAN, {"augment": "ADA"}, "unknown augmentation 'ADA' in 'ADA': did you mean 'ada'?"),
        (GAN, {"augment": "adda"}, "unknown augmentation 'adda' in 'adda': did you mean 'ada'?"),
        (GAN, {"augment": "diffaugment"}, "DiffAugment is said by what it changes: color,translation,cutout, or some"),
        (GAN, {"augment": "flip"}, "unknown augmentation 'flip' in 'flip': known: ada, color, cutout, translation"),
        (GAN, {"lr": {"start": 1, "end": 0, "ovr": 9}}, "unknown setting 'params.lr.ovr': did you mean 'over'?"),
        (GAN, {"lr": {"start": 1, "end": 0}}, "params.lr: a schedule needs start, end and over; over is missing"),
        (GAN, {"lr": {"start": 1, "end": 0, "over": 0}}, "params.lr: a schedule needs over > 0"),
        (GAN, {"lr": {"start": "x", "end": 0, "over": 9}}, "params.lr.start: .*, got 'x'"),
        (GAN, {"lr": {"start": 1, "end": 0, "over": 9, "shape": "s"}}, "params.lr.shape: .*'linear', .*, got 's'"),
        (TrainOptions, {"round": 8}, "unknown setting 'train.round': did you mean 'rounds'?"),
        (TrainOptions, {"samples": -1}, "train.samples: Input should be greater than 0, got -1"),
        (TrainOptions, {"device": "gpu"}, "train.device: .*auto.*, got 'gpu'"),
        (TrainOptions, {"minutes": 0}, "train.minutes: Input should be greater than 0, got 0"),
        (TrainOptions, {"keep": 0}, "train.keep: Input should be greater than 0, got 0"),
    ],
)
def test_wrong_values(kind: type, values: dict[str, Any], message: str) -> None:
    section = "train" if kind is TrainOptions else "params"
    with pytest.raises(InputError, match=message.replace("?", r"\?").replace("(", r"\(")) as caught:
        checked(kind, values, section)
    assert "\n" not in str(caught.value)


def test_schedules_in_yaml_and_overrides() -> None:
    text = "{lr: {start: 1e-3, end: 0.0, over: 200k, shape: cosine}, betas: [0.5, {start: 0.9, end: 0.99, over: 1e6}]}"
    recipe = checked(GAN, yaml.safe_load(text), "params")
    assert recipe.lr == Schedule(1e-3, 0.0, 200_000, shape="cosine")
    assert recipe.betas[1] == Schedule(0.9, 0.99, 1_000_000)
    settings = Settings("gan", "ring")
    apply_overrides(settings, ["lr={start: 1, end: 0, over: 9}"])
    assert checked(GAN, settings.params, "params").lr == Schedule(1, 0, 9)
    assert checked(GAN, yaml.safe_load(yaml.safe_dump(plain(recipe))), "params") == recipe


def test_overrides() -> None:
    settings = Settings("gan", "ring", params={"lr": 1.0})
    apply_overrides(
        settings, ["lr=1e-4", "params.size=16", "train.keep=5", "data.count=100", "data.path=grid", "augment="]
    )
    assert settings.params == {"lr": "1e-4", "size": 16, "augment": None}
    assert settings.train == {"keep": 5} and settings.data == {"count": 100} and settings.path == "grid"
    assert checked(GAN, {"lr": "1e-4"}, "params").lr == 1e-4
    for wrong, message in {
        "lr": "--set wants key=value",
        "=3": "--set wants key=value",
        "tarin.keep=5": "unknown section 'tarin' .*did you mean 'train'",
        "lr=[1": "--set lr=.*is not YAML",
    }.items():
        with pytest.raises(InputError, match=message):
            apply_overrides(settings, [wrong])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recipe: [", "cannot be read"),
        ("a: b: c", "cannot be read"),
        ("- 1", "expected the keys recipe, data, params and train"),
        ("", "expected the keys"),
        ("recipe: gan\nparam: {}", "unknown key 'param': did you mean 'params'"),
        ("recipe: gan\nparams: [1]", "'params' must be a mapping"),
        ("recipe: gan\nformat: 999", "newer ganforge"),
        ("\x00", "cannot be read"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        read_settings(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    with pytest.raises(InputError, match="cannot be read"):
        read_settings(tmp_path / "absent.yaml")


def example(**train: Any) -> Settings:
    return Settings("gan", "ring", {"size": 8, "lr": 1e-4}, {}, {"rounds": 10, **train})


def test_settings_survive_a_file(tmp_path: Path) -> None:
    settings = example()
    recipe = checked(GAN, settings.params, "params")
    text = write_settings("gan", "ring", recipe, settings.data_options(), settings.train_options())
    (tmp_path / "config.yaml").write_text(text)
    again = read_settings(tmp_path / "config.yaml")
    assert (again.recipe, again.path, again.trusted) == ("gan", "ring", False)
    assert checked(again.recipe_class(), again.params, "params") == recipe
    assert again.train_options() == settings.train_options()
    refuse_changes(again, settings)
    refuse_changes(settings, again)


def test_a_changed_setting_is_refused_with_the_difference() -> None:
    old, new = example(), example(seed=5)
    new.params |= {"lr": "2e-4", "size": 9}
    new.data |= {"count": "5k"}
    with pytest.raises(InputError) as caught:
        refuse_changes(old, new)
    text = str(caught.value)
    for part in (
        "params.size: 8 -> 9",
        "params.lr: 0.0001 -> 0.0002",
        "data.count: 100000 -> 5000",
        "train.seed: 0 -> 5",
    ):
        assert part in text
    assert "--fork" in text and "\n" not in text


def test_length_and_cadence_may_change() -> None:
    values = {"samples": "1M", "minutes": 3, "rounds": 5, "device": "cpu", "keep": 9, "on_nonfinite": "stop"}
    values |= {"tick_samples": 7, "snapshot_samples": 7, "checkpoint_samples": 7, "checkpoint_minutes": 1}
    assert set(values) <= FREE
    refuse_changes(example(), example(**values))
    same = example()
    same.params["lr"] = "1e-4"
    refuse_changes(example(), same)


def test_a_config_never_makes_code_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wicked_module.py").write_text("raise SystemExit('it ran')")
    (tmp_path / "config.yaml").write_text("recipe: wicked_module:Recipe\ndata: {path: ring}")
    monkeypatch.syspath_prepend(tmp_path)
    settings = read_settings(tmp_path / "config.yaml")
    with pytest.raises(InputError, match="--allow wicked_module"):
        settings.recipe_class()
