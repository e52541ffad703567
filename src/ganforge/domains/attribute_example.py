"""A built-in set: disks whose radius is the number to change, and whose color and place are to stay."""

from __future__ import annotations

import numpy as np

COUNT = 2000
SMALLEST, LARGEST = 12.0, 38.0
"""Radius, in percent of the side."""


def disks(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Levels uint8 [2000, 3, height, width] of a disk on a dark ground, and its radius in percent of the side."""
    draw = np.random.default_rng(seed)
    side = min(height, width)
    radius = draw.uniform(SMALLEST, LARGEST, COUNT)
    x, y = (draw.uniform(0.38, 0.62, (2, COUNT)) * [[width], [height]])[:, :, None, None]
    rows, columns = np.mgrid[:height, :width] + 0.5
    far = np.sqrt((columns - x) ** 2 + (rows - y) ** 2)
    inside = np.clip(radius[:, None, None] * side / 100 - far + 0.5, 0, 1)[:, None]
    angle = 2 * np.pi * (draw.uniform(0, 1, (COUNT, 1)) + np.array([0, 1 / 3, 2 / 3]))
    disk = 255 * (0.65 + 0.35 * np.cos(angle))
    ground = draw.uniform(0, 70, (COUNT, 3))
    levels = inside * disk[:, :, None, None] + (1 - inside) * ground[:, :, None, None]
    return levels.round().astype(np.uint8), radius


def radius_of(images: np.ndarray) -> np.ndarray:
    """The radius of a disk that can be seen whole, in percent of the side, of images [n, height, width, 3]: by area.

    The ground's color is that of the corners, the disk's that of the brightest pixels.
    """
    levels = images.astype(np.float64)
    ends = [levels[(slice(None), *part)].reshape(len(levels), -1, 3) for part in (np.s_[:2, :2], np.s_[-2:, -2:])]
    corners = np.median(np.concatenate(ends, 1), 1)
    away = np.linalg.norm(levels - corners[:, None, None], axis=3)
    top = np.quantile(away.reshape(len(away), -1), 0.98, axis=1)[:, None, None]
    area = np.clip(away / np.maximum(top, 1), 0, 1).sum((1, 2))
    return 100 * np.sqrt(area / np.pi) / min(images.shape[1:3])
