"""Video GANs: motion, frames and clips beside real ones, on moving digits and (if its data are there) moving shapes.

    python bench/video.py --data moving-digits shapes --seeds 1 --out /tmp/video-runs

Shapes are the clips of ../shared/data/video-shapes-64.zip at --resolution, every second frame of 32. Each run is judged
by ``ganforge evaluate`` (500 clips) beside real clips against real clips, and its clips of three times the length in
training by their motion, late frames apart from early ones.

Moving digits are read, frame by frame, by a classifier that learned from real frames of other clips: ``kept`` is the
share of clips in which every frame shows the same digit, ``steady`` the mean share of a clip's frames that show its
most frequent digit, ``obeyed`` the share of clips whose most frequent digit is the label that was asked for. Beside
them the same for real clips of digits that the classifier has not seen.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

import ganforge
from ganforge.core.errors import GanforgeError
from ganforge.core.game import Batch
from ganforge.domains.image import ImageDomain
from ganforge.domains.video_example import moving_digits
from ganforge.measure.classifier import Classifier, train_classifier
from ganforge.measure.video import Frames, temporal_difference

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("GANFORGE_DATA", ROOT / ".." / "shared" / "data"))
CLIPS = 256
"""Of three times the length, for their motion."""

READ_FROM, READ_ON = range(1400), range(1400, 1797)
"""The digits of the clips that the reader learns from, and of those that it is tried on."""


class LabelledFrames(Frames):
    """All frames of clips, with the clip's class."""

    def __init__(self, clips: np.ndarray, labels: Tensor) -> None:
        super().__init__(clips)
        self.labels = labels.repeat_interleave(clips.shape[1])

    def take(self, rows: Tensor) -> Batch:
        return {**super().take(rows), "label": self.labels[rows]}


def digits_moving(count: int, seed: int, among: range) -> tuple[np.ndarray, Tensor]:
    """Real clips uint8 [count, frames, h, w, 1], and the digit in each, int64."""
    clips, labels = moving_digits(count, seed, among)
    return clips.transpose(0, 1, 3, 4, 2), torch.tensor([int(label) for label in labels])


def train_reader(seed: int) -> Classifier:
    """A classifier of single frames."""
    shown, tried = digits_moving(700, 1, READ_FROM), digits_moving(100, 2, READ_ON)
    height, width = shown[0].shape[2:4]
    domain = ImageDomain(shape=(1, height, width), classes=tuple("0123456789"))
    return train_classifier(domain, LabelledFrames(*shown), LabelledFrames(*tried), seed)


def read(reader: Classifier, clips: np.ndarray, asked: Tensor) -> dict[str, float]:
    """What a reader of frames sees in clips uint8 [n, frames, h, w, 1] that were to show the digits ``asked`` [n]."""
    frames = torch.from_numpy(clips.astype(np.float32)).permute(0, 1, 4, 2, 3).flatten(0, 1) / 127.5 - 1
    seen = reader.predict(frames).view(clips.shape[:2])
    usual = seen.mode(1).values
    steady = (seen == usual[:, None]).float().mean(1)
    return {
        "kept": float((steady == 1).float().mean()),
        "steady": float(steady.mean()),
        "obeyed": float((usual == asked).float().mean()),
    }


def read_digits(model: ganforge.Model, n: int, seed: int) -> dict[str, Any]:
    """Generated clips and real ones as the same reader sees them, and its accuracy on real frames."""
    reader = train_reader(seed)
    asked = torch.arange(10).repeat_interleave(n // 10)
    made = np.concatenate([model.generate(n // 10, seed=seed + label, label=label) for label in range(10)])
    real, true = digits_moving(n, 3, READ_ON)
    frames = model.domain.shape[0]
    return {
        "made": read(reader, made, asked),
        "real": read(reader, real[:, :frames], true),
        "reader": reader.accuracy,
    }


def say(**values: Any) -> None:
    """A line of JSON, at once."""
    print(json.dumps(values), flush=True)


def options_of(name: str, resolution: int) -> tuple[str, dict[str, Any]]:
    """The data called ``name``, and how they are read."""
    if name != "shapes":
        return name, {}
    return str(DATA / "video-shapes-64.zip"), {"resolution": resolution, "stride": 2}


def train(name: str, seed: int, place: Path, params: dict[str, Any], args: argparse.Namespace) -> tuple[Path, float]:
    """A run, and the processor's seconds that it took; one that is there already is used as it is."""
    run = place / f"{name}-{seed}"
    if (run / "model").exists():
        return run, 0.0
    data, options = options_of(name, args.resolution)
    budget = {"samples": args.samples} if args.samples else {}
    started = time.process_time()
    ganforge.train(
        "videogan", data, run=run, params=params, data_options=options, quiet=True, seed=seed, device=args.device,
        threads=args.threads, **budget,
    )  # fmt: skip
    return run, time.process_time() - started


def judge(run: Path, name: str, seed: int, seconds: float, args: argparse.Namespace) -> None:
    """The run's scores, each with its interval and floor; and the motion of long clips, third by third."""
    result = ganforge.evaluate(run, options_of(name, args.resolution)[0], n=args.n, seed=seed)
    scores = {
        key: {"value": s.value, "low": s.low, "high": s.high, "floor": getattr(result.floors.get(key), "value", None)}
        for key, s in result.scores.items()
    }
    model = ganforge.load(run, args.device)
    frames = model.domain.shape[0]
    long = model.generate(CLIPS, seed=seed, frames=3 * frames)
    thirds = [float(temporal_difference(long[:, i * frames : (i + 1) * frames]).mean()) for i in range(3)]
    seen = {"read": read_digits(model, args.n, seed)} if name == "moving-digits" else {}
    made = {"cpu_seconds": round(seconds), "clips": model.facts["samples"]}
    say(data=name, seed=seed, **made, scores=scores, motion=thirds, **seen)
    model.domain.save(long[:4], run / "long.png")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["moving-digits", "shapes"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--samples", type=int, help="budget (default: the recipe's own)")
    parser.add_argument("--resolution", type=int, default=32, help="of the shapes")
    parser.add_argument("--n", type=int, default=500, help="generated clips that are judged")
    parser.add_argument("--set", nargs="*", default=[], help="the recipe's settings: size=64")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "1")))
    parser.add_argument("--out", type=Path, help="keep the runs here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    place = args.out or Path(tempfile.mkdtemp())
    params = {key: yaml.safe_load(value) for key, _, value in (text.partition("=") for text in args.set)}
    try:
        for name in args.data:
            for seed in range(args.seeds):
                run, seconds = train(name, seed, place, params, args)
                judge(run, name, seed, seconds, args)
    except GanforgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
