"""What pairs.py digits makes of MNIST: the same digits inverted or colored, and whether an image is such a digit."""

from __future__ import annotations

import colorsys

import numpy as np

TARGETS = ("inverted", "colored", "colored-rgb", "orange")
"""``colored``: from grey images of one channel; ``colored-rgb``, ``orange``: from grey images of three."""
ORANGE = np.array([1.0, 0.55, 0.1])


def grey(levels: np.ndarray, target: str) -> np.ndarray:
    """Digits [n, h, w, 1] as set A has them."""
    return levels.repeat(3, axis=3) if target in ("colored-rgb", "orange") else levels


def recolored(levels: np.ndarray, target: str, seed: int) -> np.ndarray:
    """The same digits as set B has them: black on white, all orange, or each in one saturated color of a random hue, on
    black."""
    if target == "inverted":
        return 255 - levels
    if target == "orange":
        return (levels * ORANGE).round().astype(np.uint8)
    hues = np.random.default_rng(seed).random(len(levels))
    colors = np.array([colorsys.hsv_to_rgb(hue, 1.0, 1.0) for hue in hues])
    return (levels * colors[:, None, None]).round().astype(np.uint8)


def upright(images: np.ndarray, target: str, side: str) -> np.ndarray:
    """White digits on black [n, h, w, 1], as a classifier of digits wants them: of colors their largest channel."""
    images = images.max(3, keepdims=True)
    return 255 - images if target == "inverted" and side == "B" else images


def there(images: np.ndarray, target: str, side: str) -> np.ndarray:
    """Which images [n, h, w, c] are of set ``side``, by a rule: bool [n].

    inverted: what most pixels are: white in B, black in A. colored: most pixels are black, a hundredth of them is
    bright, and the stroke (what is not nearly black) is grey in A; in B it is saturated (the smallest channel is less
    than half of the largest) and of one color (with which at least 95 % of the sum of squares of all levels goes).
    So a rainbow, a dim digit and a colored ground are in no set. orange: a quarter is black, and the color is orange.
    """
    middle = np.median(images, (1, 2, 3))
    if target == "inverted":
        return middle > 127 if side == "B" else middle <= 127
    largest = images.max(3).reshape(len(images), -1)
    # strokes fill more of 8 x 8 pixels than of 28 x 28
    ground = np.quantile(largest, 0.25, axis=1) if target == "orange" else middle
    whole = (ground < 32) & (np.quantile(largest, 0.99, axis=1) > 176)
    pale, along = colors(images)
    if side == "A":
        return whole & (pale > 0.5)
    return whole & (pale < 0.5) & (along > 0.95) & (target != "orange" or is_orange(images))


def is_orange(images: np.ndarray) -> np.ndarray:
    """Which images [n, h, w, 3] have green and blue, as shares of red, within 0.15 of orange's: bool [n]."""
    light = images.sum((1, 2), dtype=np.float64)
    return (np.abs(light / np.maximum(light[:, :1], 1.0) - ORANGE) < 0.15).all(1)


def colors(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How pale strokes are (the smallest channel's share of the largest; 0: saturated, 1: grey), and how much goes
    with one color (the share of the sum of squares of all levels): [n] and [n], of images [n, h, w, c]."""
    pixels = images.reshape(len(images), -1, images.shape[3]).astype(np.float64)
    largest, smallest = pixels.max(2), pixels.min(2)
    stroke = largest > 64
    squares = pixels.transpose(0, 2, 1) @ pixels
    along = np.linalg.eigvalsh(squares)[:, -1] / np.maximum(np.trace(squares, axis1=1, axis2=2), 1.0)
    return (smallest * stroke).sum(1) / np.maximum((largest * stroke).sum(1), 1.0), along
