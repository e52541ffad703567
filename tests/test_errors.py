"""What is suggested for a name that is not known: what was meant, or nothing."""

from __future__ import annotations

import dataclasses
import random
from string import ascii_lowercase

import pytest

from ganforge.core.errors import nearest
from ganforge.engine.options import TrainOptions
from ganforge.recipes.recipe import find_recipe, recipe_names

DCGAN = [f.name for f in dataclasses.fields(find_recipe("dcgan"))]
TRAIN = [f.name for f in dataclasses.fields(TrainOptions)]
RECIPES = recipe_names()


@pytest.mark.parametrize(
    ("asked", "known", "meant"),
    [
        ("disciminator_setps", DCGAN, "'discriminator_steps'"),
        ("optimiser", DCGAN, "'optimizer'"),
        ("discriminator_lr", DCGAN, "'lr_discriminator'"),
        ("Batch-Size", DCGAN, "'batch'"),
        ("latent_dim", DCGAN, "'latent'"),
        ("beta1", DCGAN, "'betas'"),
        ("rl", DCGAN, "'lr'"),
        ("flips", DCGAN, "'label_flips'"),
        ("stddev", DCGAN, "'minibatch_stddev'"),
        ("ema", DCGAN, "'ema_samples'"),
        ("norm", DCGAN, "'norm_discriminator' or 'norm_generator'"),
        ("miuntes", TRAIN, "'minutes'"),
        ("wganGP", RECIPES, "'wgan-gp'"),
        ("StyleGAN", RECIPES, "'stylegan2' or 'stylegan3'"),
        ("pixtopix", RECIPES, "'pix2pix'"),
        ("img", ["image", "label"], "'image'"),
        ("bb", ["a", "b"], "'b'"),
    ],
)
def test_what_was_meant(asked: str, known: list[str], meant: str) -> None:
    assert nearest(asked, known) == f"did you mean {meant}?"


@pytest.mark.parametrize(
    ("asked", "known"),
    [
        *((name, DCGAN) for name in ("epochs", "momentum", "weight_decay", "dropout", "num_workers", "iterations")),
        *((name, DCGAN) for name in ("l1", "kl", "width", "seed", "hours", "precision", "lambda_gp", "image_size")),
        *((name, TRAIN) for name in ("steps", "hour", "every", "epochs")),
        *((name, RECIPES) for name in ("dragan", "began", "diffusion")),
    ],
)
def test_a_name_of_other_tools_is_not_taken_for_one_that_looks_like_it(asked: str, known: list[str]) -> None:
    assert nearest(asked, known).startswith("known: ")


def test_slips_of_the_finger_find_their_name() -> None:
    draw, right, wrong, count = random.Random(0), 0, 0, 0
    for known in (DCGAN, TRAIN, RECIPES):
        for name in known:
            for _ in range(20):
                at = draw.randrange(len(name) - 1)
                slip = draw.choice(("", name[at + 1] + name[at], name[at] + draw.choice(ascii_lowercase)))
                asked = name[:at] + slip + name[at + (2 if len(slip) == 2 and slip[0] != name[at] else 1) :]
                if asked in known:
                    continue
                said = nearest(asked, known)
                count += 1
                right += f"'{name}'" in said
                wrong += said.startswith("did") and f"'{name}'" not in said
    assert count > 1500 and right > 0.9 * count and wrong < 0.02 * count, (count, right, wrong)


def test_many_names_are_not_all_listed() -> None:
    said = nearest("zzz", [f"name{i}" for i in range(1000)])
    assert said.endswith(" and 940 more") and len(said) < 1000
    assert nearest("x", []) == "none is known"
