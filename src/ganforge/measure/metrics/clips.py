"""Clips: how much moves, how far frames are from real frames, and how far clips, seen as a whole, from real clips."""

from __future__ import annotations

import torch
from torch import Tensor

from ganforge.measure.intervals import Score, mean_score, need, wilson
from ganforge.measure.kinds import POOR, Samples, Tells, Trial
from ganforge.measure.video import (
    FrameFeatures,
    clip_features,
    frames_of,
    frechet_score,
    learned_features,
    spread,
    temporal_difference,
    thumbnails,
    usual,
    usual_range,
)  # fmt: skip

KINDS = ("video",)
SAMPLES = 500
REAL = 1000
LEAST = 20


def motion(trial: Trial) -> dict[str, Score]:
    """``motion``: the mean over clips of the mean |x_{t+1} - x_t|, in levels of 255; neither more nor less is better,
    but what real clips have. ``usual_motion``: the share of clips that move as much as the middle 90 % of real ones."""
    need("motion", "real", len(trial.real), LEAST)
    bounds = trial.once("motion", lambda: usual_range(temporal_difference(trial.real.data)))
    moved = temporal_difference(trial.made.data)
    return {
        "motion": mean_score(moved),
        "usual_motion": wilson(int(usual(moved, bounds).sum()), len(moved), "higher"),
    }


def learned(trial: Trial) -> FrameFeatures:
    """Features of frames, learned once from the real clips."""
    return trial.once("features", lambda: learned_features(trial.real.data, trial.seed))


def real_frames(trial: Trial) -> Tensor:
    """The features of the real clips' frames."""
    return trial.once("frames", lambda: frames_of(trial.real.data, learned(trial)))


def frame_distance(trial: Trial) -> dict[str, Score]:
    """``frame_distance``: the Frechet distance of single frames, in features learned from the real frames, over their
    total variance. Blind to the order of frames."""
    enough(trial)
    real = real_frames(trial)
    scale = trial.once("frame_scale", lambda: spread(real.flatten(0, 1)))
    return {"frame_distance": frechet_score(real / scale, frames_of(trial.made.data, learned(trial)) / scale)}


def clip_distance(trial: Trial) -> dict[str, Score]:
    """``clip_distance``: the Frechet distance of clips, each described by its frames' learned features and thumbnails:
    their means over time, and the means of their absolute first and second differences. Each of these six has total
    variance 1 over the real clips."""
    enough(trial)
    real = trial.once("clips", lambda: described(trial.real, real_frames(trial)))
    scales = trial.once("clip_scales", lambda: [spread(block) for block in real])
    fake = described(trial.made, frames_of(trial.made.data, learned(trial)))
    sides = [torch.cat([block / scale for block, scale in zip(s, scales, strict=True)], 1) for s in (real, fake)]
    return {"clip_distance": frechet_score(sides[0][:, None], sides[1][:, None])}


def described(samples: Samples, frames: Tensor) -> list[Tensor]:
    """What clips are compared by, from their frames' features and thumbnails."""
    return [*clip_features(frames), *clip_features(thumbnails(samples.data))]


def enough(trial: Trial) -> None:
    """InputError where distances would mean nothing."""
    for side, samples in (("real", trial.real), ("generated", trial.made)):
        need("a distance of clips", side, len(samples), LEAST)


METRICS = {"motion": motion, "frame_distance": frame_distance, "clip_distance": clip_distance}

TELLS = {
    "motion": {"usual_motion": Tells(POOR, 0.0, bad=0.6)},
    "frame_distance": {"frame_distance": Tells(POOR, 1.0, bad=0.1)},
    "clip_distance": {"clip_distance": Tells(POOR, 6.0)},
}
"""Of the distances, 1 and 6 are total variances: how far clips are that all look like the mean."""
