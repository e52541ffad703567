"""Plays a few rounds of recipes and writes their whole state: run by tests as one process, by torchrun as several.

python play.py OUT ROUNDS SHARDS RECIPE...    continues from OUT/RECIPE where that exists
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from ganforge.config import checked
from ganforge.core.store import Folder, write_folder
from ganforge.domains import open_data
from ganforge.engine.options import TrainOptions
from ganforge.engine.rng import reseed
from ganforge.engine.trainer import Trainer
from ganforge.engine.world import join_world, leave_world
from ganforge.recipes.recipe import Recipe, find_recipe, recipe_names

TINY = {"size": 8, "batch": 8}


def variants() -> dict[str, tuple[str, dict]]:
    """What is played: every recipe with small networks, and every trick that keeps state or draws noise."""
    played: dict[str, tuple[str, dict]] = {name: (name, {}) for name in recipe_names()}
    played["tricks"] = (
        "dcgan",
        {
            "replay": 0.5,
            "replay_batches": 3,
            "instance_noise": {"start": 0.5, "end": 0.0, "over": 100},
            "label_flips": 0.2,
            "augment": "color,translation,cutout",
            "minibatch_stddev": True,
            "lr_discriminator": 4e-4,
            "prior": "sphere",
        },
    )
    played["lazy"] = ("r3gan", {"lazy": 2, "norm_discriminator": "spectral", "upsample": "resize"})
    played["averages"] = (
        "r3gan",
        {
            "pairing": "average",
            "r1": 0.0,
            "r2": 0.0,
            "dragan": 10.0,
            "feature_matching": {"start": 2, "end": 1, "over": 9},
        },
    )
    played["r3"] = ("r3gan", {"network": "r3"})
    played["realnvp-conv"] = ("realnvp", {"network": "conv", "couplings": 2})
    played["ctgan-any"] = ("ctgan", {"given": "any"})
    for name, params in {"pix2pix": {}, "restore": {"look": "sharp"}, "age": {}, "videogan": {}}.items():
        played[f"{name}-augmented"] = (name, {**params, "augment": "translation,cutout"})
    for conditioning in ("concat", "auxiliary"):
        played[f"cgan-{conditioning}"] = ("cgan", {"conditioning": conditioning, "replay": 0.5})
    return played


def build(name: str) -> tuple[Recipe, str]:
    """A variant's recipe, small, and its data."""
    recipe_name, params = variants()[name]
    kind = find_recipe(recipe_name)
    domain, _ = open_data(kind.example, kinds=kind.kinds)
    tiny = {key: value for key, value in TINY.items() if key in kind.__dataclass_fields__}
    return checked(kind, {**kind.defaults_given(domain, params), **tiny, **kind.tiny, **params}, "params"), kind.example


def trainer_for(name: str, shards: int, seed: int = 0) -> Trainer:
    """A trainer without a run folder."""
    recipe, data = build(name)
    domain, source = open_data(data, kinds=recipe.kinds)
    world = join_world("cpu", shards)
    reseed(seed, "weights")
    options = TrainOptions(seed=seed, shards=shards, device="cpu")
    return Trainer(recipe.build(domain), source, domain, options, recipe.batch, world)


def main() -> None:
    torch.set_num_threads(1)
    out, rounds, shards = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    for name in sys.argv[4:]:
        trainer = trainer_for(name, shards)
        place = out / name
        if place.exists():
            folder = Folder(place)
            trainer.restore({k: folder.tensors(k) for k in ("game", "ema", "optim")}, folder.document("state.json"))
        for _ in range(rounds):
            trainer.round()
        tensors, numbers = trainer.state()
        if trainer.world.rank == 0:
            write_folder(place, tensors, {"state.json": numbers})
        trainer.world.barrier()
    leave_world()


if __name__ == "__main__":
    main()
