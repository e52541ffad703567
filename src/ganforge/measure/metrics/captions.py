"""Images from words: whether a matcher finds each image's caption among others."""

from __future__ import annotations

import torch

from ganforge.core.errors import InputError
from ganforge.measure.captions import AMONG, matcher_of, retrieved
from ganforge.measure.intervals import Score, need, wilson
from ganforge.measure.kinds import GENERAL, IGNORED, Samples, Tells, Trial

KINDS = ("captions",)
SAMPLES = 2000
REAL = 20_000
ALSO = ("fid", "prdc")
LEAST = 500
"""Real images, fewer than which teach no matcher."""


def pictures(samples: Samples) -> torch.Tensor:
    """The images of samples, levels [n, h, w, c]."""
    return torch.from_numpy(samples.data["images"] if isinstance(samples.data, dict) else samples.data)


def retrieval(trial: Trial) -> dict[str, Score]:
    """``retrieval``: R@1, the share of images whose own caption is the nearest among 50, in the eyes of a matcher of
    images and texts that has learned from the real pairs (see ``measure.captions``)."""
    need("retrieval", "real", len(trial.real), LEAST)
    need("retrieval", "unseen real" if trial.floor else "generated", len(trial.made), AMONG)
    if "caption" not in trial.made.given or "caption" not in trial.real.given:
        raise InputError("retrieval needs the captions of the samples")
    tokens: int = trial.domain.tokens  # type: ignore[attr-defined]
    matcher = trial.once(
        "matcher", lambda: matcher_of(pictures(trial.real), trial.real.given["caption"], tokens, trial.seed)
    )
    found = retrieved(matcher, pictures(trial.made), trial.made.given["caption"])
    return {"retrieval": wilson(int(found.sum()), len(found), "higher")}


METRICS = {"retrieval": retrieval}

TELLS = {"retrieval": {"retrieval": Tells(IGNORED, 1 / AMONG, bad=0.7)}, **GENERAL}
