"""Settings: recipe defaults < YAML < --set, checked with one clear line for whatever is wrong."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from ganforge.core.errors import InputError, nearest
from ganforge.domains import module_for
from ganforge.domains.domain import Domain
from ganforge.engine.options import FREE, TrainOptions
from ganforge.recipes.recipe import Recipe, find_recipe

T = TypeVar("T")
SECTIONS = ("params", "data", "train")


@dataclass
class Settings:
    """What the user asked for, as plain values: ``params`` of the recipe, ``data`` and ``train`` options."""

    recipe: str
    path: str
    params: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    trusted: bool = True

    def data_options(self) -> Any:
        """The checked options of the data's domain."""
        return checked(module_for(self.path).OPTIONS, self.data, "data")

    def train_options(self) -> TrainOptions:
        """The checked training options."""
        return checked(TrainOptions, self.train, "train")

    def recipe_class(self) -> type[Recipe]:
        """The recipe's class."""
        return find_recipe(self.recipe, self.trusted)

    def build_recipe(self, domain: Domain) -> Recipe:
        """The recipe with its defaults for this kind of data, overridden by the user's settings."""
        recipe = self.recipe_class()
        return checked(recipe, {**recipe.defaults_for(domain), **self.params}, "params")


def checked(kind: type[T], values: Mapping[str, Any], section: str) -> T:
    """An instance of the dataclass ``kind``; InputError names the first wrong key or value."""
    known = [f.name for f in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise InputError(f"unknown setting '{section}.{key}': {nearest(key, known)}")
    try:
        return TypeAdapter(kind).validate_python({k: quantity(v) for k, v in values.items()})
    except ValidationError as error:
        first = error.errors()[0]
        where = str(first["loc"][0]) if first["loc"] else ""
        given = f", got {values[where]!r}" if where in values else ""
        text = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{section}.{where}: {text}{given}") from None


def quantity(value: Any) -> Any:
    """Numbers as people write them: '200k' is 200000, '1.5M' is 1500000."""
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)([kKmM])", value)):
        number = float(match[1]) * (1e3 if match[2] in "kK" else 1e6)
        return int(number) if number == int(number) else number
    if isinstance(value, dict):
        return {k: quantity(v) for k, v in value.items()}
    return value


def plain(value: Any) -> Any:
    """A dataclass instance as plain values, ready for YAML or JSON."""
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def apply_overrides(settings: Settings, overrides: Sequence[str]) -> None:
    """Apply ``section.key=value`` settings; a bare key belongs to the recipe. Values are YAML."""
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise InputError(f"--set wants key=value, not '{override}' (for example --set lr=0.001)")
        section, dot, name = key.strip().partition(".")
        if not dot:
            section, name = "params", section
        if section not in SECTIONS:
            raise InputError(f"unknown section '{section}' in --set {override}: {nearest(section, SECTIONS)}")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(
                f"--set {override}: the value is not YAML ({str(error).splitlines()[0]})"
            ) from None
        getattr(settings, section)[name] = value


def read_settings(path: Path) -> Settings:
    """Settings from a config.yaml; InputError says what is wrong with it."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected the keys recipe, data, params and train")
    document.pop("format", None)
    for key in document:
        if key not in ("recipe", *SECTIONS):
            raise InputError(f"{path}: unknown key '{key}': {nearest(str(key), ('recipe', *SECTIONS))}")
    for section in SECTIONS:
        if not isinstance(document.get(section) or {}, dict):
            raise InputError(f"{path}: '{section}' must be a mapping of names to values")
    data = dict(document.get("data") or {})
    settings = Settings(
        str(document.get("recipe") or ""), str(data.pop("path", "")), trusted=False, data=data
    )
    settings.params, settings.train = dict(document.get("params") or {}), dict(document.get("train") or {})
    return settings


def write_settings(recipe_name: str, path: str, recipe: Recipe, data: Any, train: TrainOptions) -> str:
    """The resolved settings as YAML, ready to be run again."""
    document = {
        "recipe": recipe_name,
        "data": {"path": path, **plain(data)},
        "params": plain(recipe),
        "train": plain(train),
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def refuse_changes(old: Settings, new: Settings) -> None:
    """Refuse to resume with a changed setting, listing the changes; length and cadence may change."""
    changes = []
    for section in SECTIONS:
        before, after = getattr(old, section), getattr(new, section)
        for key in after:
            if section == "train" and key in FREE:
                continue
            if before.get(key) != after[key]:
                changes.append(f"{section}.{key}: {before.get(key)} -> {after[key]}")
    if changes:
        raise InputError(
            f"a resumed run keeps its settings, but these changed: {'; '.join(changes)}. "
            "Only length and cadence may change; start a new run from the old weights with --fork"
        )
