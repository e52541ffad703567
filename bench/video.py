"""Video GANs: motion, frames and clips beside real ones, on moving digits and (if its data are there) moving shapes.

    python bench/video.py --data moving-digits shapes --seeds 1 --out /tmp/video-runs

Shapes are the clips of ../shared/data/video-shapes-64.zip at --resolution, every second frame of 32. Each run is judged
by ``ganforge evaluate`` (500 clips) beside real clips against real clips, and its clips of three times the length in
training by their motion, late frames apart from early ones.
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

import torch
import yaml

import ganforge
from ganforge.core.errors import GanforgeError
from ganforge.measure.video import temporal_difference

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("GANFORGE_DATA", ROOT / ".." / "shared" / "data"))
CLIPS = 256
"""Of three times the length, for their motion."""


def say(**values: Any) -> None:
    """A line of JSON, at once."""
    print(json.dumps(values), flush=True)


def options_of(name: str, resolution: int) -> tuple[str, dict[str, Any]]:
    """The data called ``name``, and how they are read."""
    if name != "shapes":
        return name, {}
    return str(DATA / "video-shapes-64.zip"), {"resolution": resolution, "stride": 2}


def train(name: str, seed: int, place: Path, params: dict[str, Any], args: argparse.Namespace) -> tuple[Path, float]:
    """A run, and the seconds that it took; one that is there already is used as it is."""
    run = place / f"{name}-{seed}"
    if (run / "model").exists():
        return run, 0.0
    data, options = options_of(name, args.resolution)
    budget = {"samples": args.samples} if args.samples else {}
    started = time.perf_counter()
    ganforge.train(
        "videogan", data, run=run, params=params, data_options=options, quiet=True, seed=seed, device=args.device,
        threads=args.threads, **budget,
    )  # fmt: skip
    return run, time.perf_counter() - started


def judge(run: Path, name: str, seed: int, seconds: float, args: argparse.Namespace) -> None:
    """The run's scores, each with its interval and floor; and the motion of long clips, third by third."""
    result = ganforge.evaluate(run, options_of(name, args.resolution)[0], n=args.n, seed=seed)
    scores = {
        key: {"value": s.value, "low": s.low, "high": s.high, "floor": getattr(result.floors.get(key), "value", None)}
        for key, s in result.scores.items()
    }
    model = ganforge.load(run, args.device)
    frames = model.game.frames
    long = model.generate(CLIPS, seed=seed, frames=3 * int(frames))
    thirds = [float(temporal_difference(long[:, i * frames : (i + 1) * frames]).mean()) for i in range(3)]
    say(data=name, seed=seed, seconds=round(seconds), clips=model.facts["samples"], scores=scores, motion=thirds)
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
