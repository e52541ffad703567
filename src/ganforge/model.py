"""A trained run as its user sees it: it loads without the trainer, and generates."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ganforge.config import checked
from ganforge.core.device import pick_device
from ganforge.core.errors import InputError
from ganforge.core.game import Batch, Game
from ganforge.core.store import Corrupt, Folder, check_format
from ganforge.domains import domain_from_dict
from ganforge.domains.domain import Domain
from ganforge.engine.rng import generator
from ganforge.ops.noise import lerp, slerp
from ganforge.recipes.recipe import find_recipe

CHUNK = 64
"""Latents are drawn this many at a time, each chunk with its own seed: sample i does not depend on their number."""


class Model:
    """A trained generator with the domain it was trained on.

    ``generate`` and ``interpolate`` return samples as the domain shows them: uint8 [n, height, width, channels] for
    images, float32 [n, 2] for points, a dict of columns for tables.
    """

    def __init__(self, game: Game, domain: Domain, facts: dict[str, Any]) -> None:
        self.game, self.domain, self.facts = game.eval().requires_grad_(False), domain, facts

    def __repr__(self) -> str:
        return f"Model({self.facts['recipe']}, {self.domain.kind} {self.domain.shape}, {self.facts['samples']} samples)"

    def inputs(self, n: int, seed: int = 0, label: int | str | None = None, truncation: float = 1.0) -> Iterator[Batch]:
        """Latents and conditions of ``n`` samples, in chunks. InputError for a label that the model does not know."""
        if label is not None and "label" not in self.game.conditions:
            raise InputError(f"a label was asked for, but this {self.facts['recipe']} was trained without conditions")
        if self.game.needs:
            raise InputError(
                f"this {self.facts['recipe']} makes nothing without an input: ganforge translate RUN INPUT --out OUTPUT"
            )
        if n < 1:
            raise InputError(f"the number of samples must be at least 1, not {n}")
        if not 0 < truncation <= 1:
            raise InputError(f"truncation must be above 0 and at most 1, not {truncation}")
        for chunk in range(-(-n // CHUNK)):
            seeded = generator("generate", seed, chunk)
            drawn = self.game.draw(CHUNK, seeded, truncation)
            if "label" in self.game.conditions:
                drawn |= self.domain.conditions(CHUNK, seeded, label)
            yield {k: v[: n - chunk * CHUNK].to(self.game.device) for k, v in drawn.items()}

    @torch.no_grad()
    def encoded(self, n: int, seed: int = 0, label: int | str | None = None, truncation: float = 1.0) -> Batch:
        """Samples as networks see them (``data`` [n, *shape]) with their conditions: what metrics want."""
        parts = [self.game.sample(inputs) for inputs in self.inputs(n, seed, label, truncation)]
        return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}

    def generate(self, n: int = 64, seed: int = 0, label: int | str | None = None, truncation: float = 1.0) -> Any:
        """``n`` samples. The same seed gives the same samples, and a larger ``n`` begins with those of a smaller."""
        return self.domain.decode(self.encoded(n, seed, label, truncation))

    @torch.no_grad()
    def interpolate(
        self,
        waypoints: int = 5,
        steps: int = 8,
        seed: int = 0,
        label: int | str | None = None,
        mode: Literal["spherical", "linear"] = "spherical",
    ) -> Any:
        """Samples along a way through latent space: ``steps`` from each of ``waypoints`` latents to the next.

        Returns (waypoints - 1) * steps + 1 samples; the class, if any, is that of the first waypoint throughout.
        """
        if waypoints < 2 or steps < 1:
            raise InputError(f"an interpolation needs at least 2 waypoints and 1 step, not {waypoints} and {steps}")
        chunks = list(self.inputs(waypoints, seed, label))
        ends = {key: torch.cat([chunk[key] for chunk in chunks]) for key in chunks[0]}
        if "z" not in ends:
            raise InputError(f"{self.facts['recipe']} has no latent z to interpolate")
        way = {"linear": lerp, "spherical": slerp}[mode]
        z = ends["z"]
        points: list[Tensor] = []
        for start, end in pairwise(z):
            points += [way(start, end, step / steps) for step in range(steps)]
        points.append(z[-1])
        inputs = {k: v[:1].expand(len(points), *v.shape[1:]) for k, v in ends.items()} | {"z": torch.stack(points)}
        parts = [
            self.game.sample({k: v[i : i + CHUNK] for k, v in inputs.items()}) for i in range(0, len(points), CHUNK)
        ]
        return self.domain.decode({"data": torch.cat([part["data"] for part in parts])})


def load(path: str | Path, device: str = "auto", trusted: bool = False) -> Model:
    """The model of a run folder (or of its ``model`` folder). Nothing in it is executed or unpickled.

    ``trusted`` allows a recipe of the user's own to be imported by its name. InputError: no model there, or one of a
    newer format; Corrupt: a damaged file.
    """
    path = Path(path)
    place = path if (path / "model.json").is_file() else path / "model"
    if not place.exists() and not place.with_name("model.old").exists():
        what = "has no model yet (nothing was saved)" if (path / "run.json").exists() else "is not a run folder"
        raise InputError(f"{path} {what}; 'ganforge runs' lists runs")
    folder = Folder(place)
    facts = folder.document("model.json")
    check_format(facts, place)
    domain = domain_from_dict(folder.document("domain.json"))
    recipe = checked(find_recipe(facts["recipe"], trusted), facts["params"], "params")
    game = recipe.build(domain).to(pick_device(device))
    weights = folder.tensors("generator")
    expected = {k for k in game.state_dict() if k.partition(".")[0] in game.used_by_model}
    if set(weights) != expected:
        odd = sorted(set(weights) ^ expected)[0]
        raise Corrupt(f"{place}: its weights do not fit the recipe '{facts['recipe']}' (first difference: {odd})")
    game.load_state_dict(weights, strict=False)
    return Model(game, domain, facts)
