"""Settings: recipe defaults < YAML < --set, checked with one clear line for whatever is wrong."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from ganforge.core.errors import InputError, nearest
from ganforge.core.schedule import Schedule
from ganforge.core.store import check_format
from ganforge.domains import is_builtin, module_for
from ganforge.domains.domain import Domain
from ganforge.engine.options import FREE, TrainOptions
from ganforge.recipes.recipe import Recipe, find_recipe

T = TypeVar("T")
SECTIONS = ("params", "data", "train")
NUMBER = re.compile(r"(\d+(?:\.\d+)?)([kKmM]|[eE][+-]?\d+)")


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
        return checked(module_for(self.path, self.recipe_class().kinds).OPTIONS, self.data, "data")

    def train_options(self) -> TrainOptions:
        """The checked training options."""
        return checked(TrainOptions, self.train, "train")

    def recipe_class(self) -> type[Recipe]:
        """The recipe's class."""
        return find_recipe(self.recipe, self.trusted)

    def forget_defaults(self) -> None:
        """Keep only parameters that are not as the recipe has them, so that what follows from others is chosen anew."""
        own = plain(self.recipe_class()())
        self.params = {name: value for name, value in self.params.items() if name not in own or own[name] != value}

    def build_recipe(self, domain: Domain) -> Recipe:
        """The recipe with its defaults for this kind of data, overridden by the user's settings."""
        recipe = self.recipe_class()
        return checked(recipe, {**recipe.defaults_given(domain, self.params), **self.params}, "params")


def checked(kind: type[T], values: Mapping[str, Any], section: str) -> T:
    """An instance of the dataclass ``kind``; InputError names the first wrong key or value."""
    known = [f.name for f in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for key, value in values.items():
        if key not in known:
            raise InputError(f"unknown setting '{section}.{key}': {nearest(str(key), known)}")
        if isinstance(value, dict):
            check_schedule(kind, key, value, section)
    try:
        return TypeAdapter(kind).validate_python({k: quantity(v) for k, v in values.items()})
    except ValidationError as error:
        first = likeliest(error.errors(), values)
        where, value = section, dict(values)
        for part in first["loc"]:
            if isinstance(value, dict) and part in value:
                where, value = f"{where}.{part}", value[part]
        given = f", got {value!r}" if where != section else ""
        text = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{where}: {text}{given}") from None


def check_schedule(kind: type, key: str, value: Mapping[Any, Any], section: str) -> None:
    """InputError for an unknown or missing key of a schedule, where a setting may be one."""
    if "Schedule" not in str(get_type_hints(kind, include_extras=True)[key]):
        return
    names = [f.name for f in dataclasses.fields(Schedule)]
    for name in value:
        if name not in names:
            raise InputError(f"unknown setting '{section}.{key}.{name}': {nearest(str(name), names)}")
    missing = [n for n in ("start", "end", "over") if n not in value]
    if missing:
        raise InputError(f"{section}.{key}: a schedule needs start, end and over; {missing[0]} is missing")


def likeliest(errors: Sequence[Any], values: Mapping[str, Any]) -> Any:
    """Of the errors of a union's members, the one that the user meant: a mapping is a schedule."""
    about = [e for e in errors if e["loc"] and isinstance(values.get(str(e["loc"][0])), dict)]
    return next((e for e in about if any("Schedule" in str(part) for part in e["loc"])), errors[0])


def quantity(value: Any) -> Any:
    """Numbers as people write them: '200k' is 200000, '1.5M' is 1500000, '1e6' is 1000000."""
    if isinstance(value, str) and (match := NUMBER.fullmatch(value)):
        thousands = {"k": 1e3, "m": 1e6}.get(match[2].lower())
        number = float(match[1]) * thousands if thousands else float(value)
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
        if (section, name) == ("data", "path"):
            settings.path = text
            continue
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(f"--set {override}: the value is not YAML ({str(error).splitlines()[0]})") from None
        getattr(settings, section)[name] = value


def read_settings(path: Path) -> Settings:
    """Settings from a config.yaml; InputError says what is wrong with it."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected the keys recipe, data, params and train")
    check_format(document, path)
    document.pop("format", None)
    for key in document:
        if key not in ("recipe", *SECTIONS):
            raise InputError(f"{path}: unknown key '{key}': {nearest(str(key), ('recipe', *SECTIONS))}")
    for section in SECTIONS:
        if not isinstance(document.get(section) or {}, dict):
            raise InputError(f"{path}: '{section}' must be a mapping of names to values")
    data = dict(document.get("data") or {})
    settings = Settings(str(document.get("recipe") or ""), str(data.pop("path", "")), trusted=False, data=data)
    settings.params, settings.train = dict(document.get("params") or {}), dict(document.get("train") or {})
    return settings


def run_settings(folder: Path, facts: Mapping[str, Any]) -> Settings:
    """The settings of the run in ``folder``, whose ``facts`` say where it was started.

    Data named by a relative path are looked for from there, where they are not found from here.
    """
    settings, there = read_settings(folder / "config.yaml"), Path(str(facts.get("started_in") or "."))

    def found(name: str) -> str:
        elsewhere = not is_builtin(name) and not Path(name).exists() and (there / name).exists()
        return str(there / name) if elsewhere else name

    settings.path = found(settings.path)
    for section, key in ((settings.train, "holdout"), (settings.data, "target")):
        if isinstance(section.get(key), str):
            section[key] = found(section[key])
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
    before, after = resolved(old), resolved(new)
    changes = [
        f"{key}: {before[key]} -> {value}"
        for key, value in after.items()
        if before[key] != value and key not in {f"train.{name}" for name in FREE}
    ]
    if changes:
        raise InputError(
            f"a resumed run keeps its settings, but these changed: {'; '.join(changes)}. "
            "Only length and cadence may change; start a new run from the old weights with --fork"
        )


def resolved(settings: Settings) -> dict[str, Any]:
    """All settings of a run, checked, by their full names."""
    params = checked(settings.recipe_class(), settings.params, "params")
    sections = {"params": params, "data": settings.data_options(), "train": settings.train_options()}
    return {f"{name}.{key}": value for name, part in sections.items() for key, value in plain(part).items()}
