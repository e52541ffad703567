"""A trained run as its user sees it: it loads without the trainer, and generates."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from shlex import quote
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ganforge.choices import Choice, chosen, read_choices
from ganforge.config import checked
from ganforge.core.device import pick_device
from ganforge.core.errors import InputError, nearest, nearest_path
from ganforge.core.game import Batch, Game
from ganforge.core.store import Corrupt, Folder, check_format
from ganforge.domains import domain_from_dict
from ganforge.domains.domain import Domain
from ganforge.engine.rng import generator, reseed
from ganforge.ops.noise import lerp, slerp
from ganforge.recipes.recipe import find_recipe, recipe_names
from ganforge.translation import TILE, directions, translate, values_asked

Progress = Callable[[int, int], None]


def silent(done: int, total: int) -> None:
    """Progress that nobody hears of."""


CHUNK = 64
"""Latents are drawn this many at a time, each chunk with its own seed: sample i does not depend on their number."""
TRIES = 200
"""Samples that obey constraints are sought among this many times as many."""


class Model:
    """A trained generator with the domain it was trained on.

    ``generate`` and ``interpolate`` return samples as the domain shows them: uint8 [n, height, width, channels] for
    images (16 bits: uint16), uint8 [n, frames, height, width, channels] for clips, float32 [n, 2] for points, a dict of
    columns for tables, a list of strings for text and molecules.

    game: the networks, in evaluation mode, without gradients. domain: what the samples are; ``domain.save(samples,
    path)`` writes them. facts: what model.json says (``recipe``, ``params``, ``samples``: real ones seen in training).
    path: the folder that it was loaded from (None: made in memory).
    """

    choices: tuple[Choice, ...] = ()
    """The codes that were chosen for all samples: see ``choose``."""

    def __init__(self, game: Game, domain: Domain, facts: dict[str, Any], path: Path | None = None) -> None:
        self.game, self.domain, self.facts, self.path = game.eval().requires_grad_(False), domain, facts, path

    def __repr__(self) -> str:
        return f"Model({self.facts['recipe']}, {self.domain.kind} {self.domain.shape}, {self.facts['samples']} samples)"

    def choose(self, codes: Mapping[str, Any] | Sequence[str]) -> Model:
        """The same model with some of its codes fixed, where it has codes (InfoGAN: ``category``, ``code1`` ..).

        ``codes`` are values by name, or texts ``name=value``; of several values, sample i gets value i modulo their
        number. InputError for codes and values that the model does not have.

        >>> model.choose({"category": 3, "code1": -1.5}).generate(64)
        """
        found = copy.copy(self)
        found.choices = read_choices(self.game, self.game.draw(1, torch.Generator()), codes, self.facts["recipe"])
        return found

    def inputs(
        self,
        n: int,
        seed: int = 0,
        label: int | str | None = None,
        truncation: float = 1.0,
        constraints: Sequence[Any] = (),
        frames: int | None = None,
        prompt: str | Sequence[str] | None = None,
    ) -> Iterator[Batch]:
        """Latents and conditions of ``n`` samples, in chunks. InputError for a label that the model does not know.

        Conditions suit the ``constraints`` (of ``Domain.constrain``) where the game has such conditions. ``frames`` is
        the length of clips (None: as trained), ``prompt`` what to make, in words: of several, each in turn.
        """
        said = self.prompted(prompt)
        length = {} if frames is None else {"frames": frames}
        if length and not hasattr(self.game, "frames"):
            raise InputError(f"frames were asked for, but this {self.facts['recipe']} makes no clips")
        if frames is not None and frames < 1:
            raise InputError(f"the number of frames must be at least 1, not {frames}")
        if label is not None and "label" not in self.game.conditions:
            raise InputError(
                f"a label was asked for, but this {self.facts['recipe']} was trained without conditions; "
                + self.without_labels()
            )
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
            drawn = self.game.draw(CHUNK, seeded, truncation, **length)
            if self.game.conditions:
                asked = {"where": constraints} if constraints else {}
                drawn |= self.domain.conditions(CHUNK, seeded, label, **asked)
            drawn = chosen(drawn, self.choices, chunk * CHUNK)
            for key, values in said.items():
                drawn[key] = values[torch.arange(chunk * CHUNK, (chunk + 1) * CHUNK) % len(values)]
            yield {k: v[: n - chunk * CHUNK].to(self.game.device) for k, v in drawn.items()}

    def without_labels(self) -> str:
        """Why a model takes no label, and what helps."""
        if self.domain.columns:
            return "of tables, --where column=value asks for rows"
        if not self.domain.classes:
            return "its data have no classes"
        ways = {"conditioning": "conditioning=projection", "labels": "labels=true"}
        way = next((said for name, said in ways.items() if name in self.facts.get("params", ())), None)
        return f"train one with --set {way}" if way else "this recipe takes none: 'ganforge recipes' lists others"

    def prompted(self, prompt: str | Sequence[str] | None) -> Batch:
        """The conditions that prompts ask for, [k, ...] each. InputError where the model takes none, or not these."""
        if prompt is None:
            return {}
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        if not prompts:
            raise InputError("the list of prompts is empty")
        found = self.domain.prompted(prompts)
        if not set(found) <= set(self.game.conditions):
            raise InputError(f"this {self.facts['recipe']} takes no prompt: it was trained without captions")
        return found

    @torch.no_grad()
    def encoded(
        self,
        n: int,
        seed: int = 0,
        label: int | str | None = None,
        truncation: float = 1.0,
        frames: int | None = None,
        prompt: str | Sequence[str] | None = None,
        progress: Progress = silent,
    ) -> Batch:
        """Samples as networks see them (``data`` [n, *shape]) with their conditions: what metrics want."""
        inputs = self.inputs(n, seed, label, truncation, frames=frames, prompt=prompt)
        parts = []
        for done, some in enumerate(inputs):
            parts.append(self.game.sample(some))
            progress(min(n, (done + 1) * CHUNK), n)
        return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}

    def generate(
        self,
        n: int = 64,
        seed: int = 0,
        label: int | str | None = None,
        truncation: float = 1.0,
        where: Sequence[str] | Mapping[str, Any] = (),
        frames: int | None = None,
        prompt: str | Sequence[str] | None = None,
        progress: Progress | None = None,
    ) -> Any:
        """``n`` samples. The same seed gives the same samples, and a larger ``n`` begins with those of a smaller.

        ``label`` is the class of all, by name or index, of a conditional model (None: classes with the training data's
        shares). ``truncation``, above 0 and up to 1, trades variety for quality.
        ``frames`` is the length of clips; longer ones begin with the frames of shorter ones. ``where`` constrains rows
        of tables: ``{"education": "Masters"}``, or ``["education=Masters", "age>=30"]``. ``prompt`` says in words what
        to make; of several, sample i gets prompt i modulo their number. ``progress`` hears how many of ``n`` are made.
        InputError for what no row can obey, where too few do, and for words that the model does not know.

        >>> rows = model.generate(1000, where={"education": "Masters"})
        """
        if not where:
            return self.domain.decode(self.encoded(n, seed, label, truncation, frames, prompt, progress or silent))
        texts = [f"{k}={v}" for k, v in where.items()] if isinstance(where, Mapping) else where
        return self.domain.decode(self.obeying(n, list(texts), seed, label, truncation, progress or silent))

    @torch.no_grad()
    def obeying(
        self, n: int, where: Sequence[str], seed: int = 0, label: int | str | None = None, truncation: float = 1.0,
        progress: Progress = silent,
    ) -> Batch:  # fmt: skip
        """The first ``n`` samples that obey all of ``where``, as networks see them; others are thrown away."""
        constraints = self.domain.constrain(where)
        if n < 1:
            raise InputError(f"the number of samples must be at least 1, not {n}")
        kept: list[Batch] = []
        have = made = 0
        for inputs in self.inputs(max(n, CHUNK) * TRIES, seed, label, truncation, constraints):
            samples = self.game.sample(inputs)
            obeys = self.domain.obeys(samples, constraints)
            kept.append({key: value[obeys] for key, value in samples.items()})
            have, made = have + int(obeys.sum()), made + len(obeys)
            progress(min(have, n), n)
            if have >= n:
                return {key: torch.cat([part[key] for part in kept])[:n] for key in kept[0]}
        raise InputError(
            f"only {have} of {made:,} samples obey {' and '.join(where)}: ask for fewer samples, or for less"
        )

    def translate(
        self, images: Any, direction: str | None = None, seed: int = 0, degrade: bool = False, tile: int = TILE,
        to: float | Sequence[float] | None = None,
    ) -> Any:  # fmt: skip
        """Images from images: a list of uint8 (or uint16) [height, width(, channels)] of any sizes, or one array of
        them; the same comes back.

        ``direction`` is AtoB or BtoA (the model's own by default), ``seed`` that of its noise. A model that restores
        takes degraded images; with ``degrade`` it takes good ones, and degrades them first. Larger images than ``tile``
        pixels are translated in overlapping tiles. ``to`` is the value wanted, where the model changes a number of
        images (an age); for several values a list comes back, an entry for each. InputError for a model that does not
        translate, or not that way.
        """
        ways = directions(self.game, self.domain, self.facts["recipe"])
        if direction is not None and direction not in ways:
            raise InputError(f"direction '{direction}': this model translates {' and '.join(ways)}")
        if tile < 16:
            raise InputError(f"tile must be at least 16 pixels, not {tile}")
        several = isinstance(images, list | tuple) or np.ndim(images) == 4
        given, way = images if several else [images], direction or ways[0]
        found = []
        for wanted in values_asked(self.domain, to):
            made = translate(self.game, self.domain, given, way, seed, degrade, tile, wanted)  # type: ignore[arg-type]
            found.append(made if isinstance(images, list | tuple) else np.stack(made) if several else made[0])
        return found if isinstance(to, list | tuple) else found[0]

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
        ways = {"linear": lerp, "spherical": slerp}
        if mode not in ways:
            raise InputError(f"unknown mode '{mode}': {nearest(mode, ways)}")
        way = ways[mode]
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

    def log_prob(self, samples: Any, seed: int = 0) -> np.ndarray:
        """log p of each sample, in nats, float64 [n]; ``samples`` as ``generate`` gives them.

        Of images a probability, of points a density. ``game.likelihood`` says whether it is exact or a lower bound; a
        bound's noise is a function of ``seed``. InputError when this model has no likelihood.
        """
        return self._ask("log_prob", samples, seed).cpu().double().numpy()

    def bits_per_dim(self, samples: Any, seed: int = 0) -> float:
        """-log2 p per value (pixel and channel, or coordinate), the mean over ``samples``: lower is better."""
        return float(-self.log_prob(samples, seed).mean() / (math.prod(self.domain.shape) * math.log(2)))

    def encode(self, samples: Any) -> np.ndarray:
        """The latents of samples, float32 [n, latent]. InputError when this model has no encoder."""
        return self._ask("encode", samples, 0).float().cpu().numpy()

    @torch.no_grad()
    def decode(self, latents: Any) -> Any:
        """The samples of latents [n, latent], such as ``encode`` gives; for a model without labels."""
        (inputs,) = self.inputs(1)
        size = tuple(inputs["z"].shape[1:]) if "z" in inputs else ()
        z = torch.as_tensor(np.asarray(latents), dtype=torch.float32)
        if set(inputs) != {"z"} or tuple(z.shape[1:]) != size:
            raise InputError(
                f"this {self.facts['recipe']} takes latents of shape {list(size)}, not {list(z.shape[1:])}"
            )
        parts = [self.game.sample({"z": part.to(self.game.device)})["data"] for part in z.split(CHUNK)]
        return self.domain.decode({"data": torch.cat(parts)})

    @torch.no_grad()
    def _ask(self, ability: str, samples: Any, seed: int) -> Tensor:
        """What the game's ability says of samples, a chunk at a time, each with its own seed."""
        if getattr(type(self.game), ability) is getattr(Game, ability):
            able = [name for name in recipe_names() if ability in find_recipe(name).abilities]
            raise InputError(f"{self.facts['recipe']} cannot do {ability}; recipes that can: {', '.join(able)}")
        raw = torch.as_tensor(self.domain.to_raw(samples))
        if tuple(raw.shape[1:]) != tuple(self.domain.shape) or not len(raw):
            raise InputError(
                f"samples of shape {list(np.shape(samples))} do not fit {self!r}: give them as generate does"
            )
        found = []
        with torch.random.fork_rng():
            for index, part in enumerate(raw.split(CHUNK)):
                reseed(ability, seed, index)
                found.append(getattr(self.game, ability)(self.domain.encode({"data": part.to(self.game.device)})))
        return torch.cat(found)


def load(path: str | Path, device: str = "auto", trusted: bool = False) -> Model:
    """The model of a run folder (or of its ``model`` folder). Nothing in it is executed or unpickled.

    ``trusted`` allows a recipe of the user's own to be imported by its name. InputError: no model there, or one of a
    newer format; Corrupt: a damaged file.
    """
    path = Path(path)
    place = path if (path / "model.json").is_file() else path / "model"
    if not place.exists() and not place.with_name("model.old").exists():
        if not (path / "run.json").exists():
            own = f"; did you mean '{path.parent}'?" if (path.parent / "run.json").exists() else ""
            hint = own if path.exists() else nearest_path(path)
            raise InputError(f"{path} is not a run folder; 'ganforge runs' lists runs{hint}")
        saved = (path / "last.json").exists() or any(path.glob("checkpoints/*"))
        what = "it ended before its first was whole" if saved else "nothing was saved"
        raise InputError(f"{path} has no model yet ({what}); to go on with it: ganforge resume {quote(str(path))}")
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
    try:
        game.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise Corrupt(f"{place}: its weights are those of another version of '{facts['recipe']}' ({first})") from None
    return Model(game, domain, facts, path)
