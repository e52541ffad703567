"""The sets of bench/pairs.py digits, and its rule for what is in one: right on real images, and not easily pleased."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from conftest import real_data
from ganforge.domains import open_data
from scripts import bench

sets = bench("recolored")


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    _, source = open_data(str(real_data("mnist-test.zip")))
    return source.take(torch.arange(0, len(source), 5))["data"].permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("target", sets.TARGETS)
def test_the_rule_is_right_on_real_images_of_both_sets(digits: np.ndarray, target: str) -> None:
    a, b = sets.grey(digits, target), sets.recolored(digits, target, 0)
    for images, its, other in ((a, "A", "B"), (b, "B", "A")):
        assert sets.there(images, target, its).mean() > 0.999
        assert sets.there(images, target, other).mean() < 0.001
    assert np.array_equal(sets.upright(a, target, "A"), digits) and np.array_equal(sets.upright(b, target, "B"), digits)


def test_the_rule_is_right_on_the_example() -> None:
    _, source = open_data("orange-digits", None, ("unpaired",))
    batch = source.take(torch.arange(len(source)))
    for key, its, other in (("input", "A", "B"), ("data", "B", "A")):
        images = batch[key].permute(0, 2, 3, 1).numpy()
        assert sets.there(images, "orange", its).all() and not sets.there(images, "orange", other).any()


def test_colors_are_saturated_and_differ(digits: np.ndarray) -> None:
    colored = sets.recolored(digits, "colored", 0)
    assert colored.shape == (*digits.shape[:3], 3) and not colored.min(3).any()
    brightest = colored.reshape(len(colored), -1, 3).max(1)
    assert len(np.unique(brightest, axis=0)) > 0.5 * len(colored)
    assert np.array_equal(colored, sets.recolored(digits, "colored", 0))


def test_what_is_no_colored_digit(digits: np.ndarray) -> None:
    """Rainbows, dim strokes, colored grounds and pale strokes; and colors without color are no grey digits."""
    colored = sets.recolored(digits, "colored", 0)
    halves = np.concatenate([colored[:, :14], sets.recolored(digits, "colored", 1)[:, 14:]], 1)
    assert sets.there(halves, "colored", "B").mean() < 0.25  # some halves have nearly the same hue
    pale = (0.3 * colored + 0.7 * colored.max(3, keepdims=True)).astype(np.uint8)
    for wrong in (colored // 2, np.maximum(colored, 60), pale):
        assert not sets.there(wrong, "colored", "B").any()
    flat = colored.mean(3, keepdims=True).astype(np.uint8)
    assert not sets.there(flat, "colored", "A").any()
    assert not sets.there(digits // 2, "colored", "A").any() and not sets.there(0 * digits, "colored", "A").any()
