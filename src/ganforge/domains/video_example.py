"""Moving digits: the built-in digits, each flying straight across a dark canvas and bouncing off its sides."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

COUNT, FRAMES, SIDE, DIGIT = 1000, 24, 24, 12
SLOW, FAST = 0.8, 2.2
"""Pixels a frame."""


@lru_cache(maxsize=2)
def moving_digits(count: int = COUNT, seed: int = 0, among: range | None = None) -> tuple[np.ndarray, list[str]]:
    """Clips uint8 [count, 24, 1, 24, 24] and the digit in each, after Moving MNIST (Srivastava et al. 2015, sec. 4.1).

    A digit of 12 x 12 pixels starts anywhere, in any direction, at 0.8 to 2.2 pixels a frame. ``among``: only these of
    the 1,797 digits.
    """
    with np.load(Path(__file__).parent / "embedded" / "digits.npz", allow_pickle=False) as file:
        images, labels = file["images"], file["labels"]
    if among is not None:
        images, labels = images[among], labels[among]
    draw = np.random.default_rng([seed, 2015])
    chosen = draw.integers(len(images), size=count)
    bilinear = Image.Resampling.BILINEAR
    sprites = np.stack([np.asarray(Image.fromarray(images[i]).resize((DIGIT, DIGIT), bilinear)) for i in chosen])
    room, angle = SIDE - DIGIT, draw.uniform(0, 2 * np.pi, count)
    speed = draw.uniform(SLOW, FAST, count)[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1)
    way = draw.uniform(0, room, (count, 1, 2)) + speed[:, None] * np.arange(FRAMES)[None, :, None]
    places = np.round(room - np.abs(way % (2 * room) - room)).astype(int)  # a triangle wave: bouncing
    clips = np.zeros((count, FRAMES, 1, SIDE, SIDE), np.uint8)
    for clip, sprite, path in zip(clips, sprites, places, strict=True):
        for frame, (top, left) in zip(clip[:, 0], path, strict=True):
            frame[top : top + DIGIT, left : left + DIGIT] = sprite
    return clips, [str(label) for label in labels[chosen]]
