"""Images streamed from tar shards: how quick, and how much memory, against the packed source and against training.

    python bench/stream.py --data cifar10.zip --folder /tmp/shards [--seconds 10]

Writes the images as shards to ``--folder`` (once), then measures, in turn:

- packed, all, window: images a second that each source gives in batches of 64, taken as fast as they come;
- training: images a second, and CPU time an image, of dcgan on packed and on streamed images, by turns;
- memory: the peak resident set of a fresh process that opens all images, or a tenth of them, and takes 30,000.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from ganforge.domains import open_data
from ganforge.domains.domain import Domain, Source
from ganforge.domains.image import ImageOptions
from ganforge.domains.streamed import StreamedOptions
from ganforge.domains.streamed_write import write_shards
from ganforge.engine.options import TrainOptions
from ganforge.engine.rng import reseed
from ganforge.engine.stream import Stream
from ganforge.engine.trainer import Trainer
from ganforge.recipes.dcgan import Dcgan

BATCH = 64
WINDOW = 16
"""MiB; small, so that these small sets have many windows."""


def opened(way: str, data: str, shards: Path) -> tuple[Domain, Source]:
    """A source by its name in the report."""
    if way == "packed":
        return open_data(data, ImageOptions())
    return open_data(str(shards), StreamedOptions(shuffle=way, window=WINDOW))  # type: ignore[arg-type]


def source_rate(domain: Domain, source: Source, seconds: float) -> float:
    """Images a second, in batches, with nothing else going on."""
    batches, shard = Stream(source, domain, BATCH, 0, torch.device("cpu")), 0
    for shard in range(20):
        batches.take(shard)
    start, first = time.perf_counter(), shard
    while time.perf_counter() - start < seconds:
        shard += 1
        batches.take(shard)
    return (shard - first) * BATCH / (time.perf_counter() - start)


def train_rates(sources: dict[str, tuple[Domain, Source]], size: int, seconds: float) -> dict[str, dict[str, float]]:
    """Images a second of training, by turns of ten rounds, and the CPU time of an image; medians of the turns."""
    trainers = {}
    for way, (domain, source) in sources.items():
        reseed(0, "weights")
        recipe = Dcgan(size=size, batch=BATCH)
        trainers[way] = Trainer(recipe.build(domain), source, domain, TrainOptions(device="cpu"), BATCH)
        trainers[way].round()
    rates: dict[str, list[float]] = {way: [] for way in trainers}
    costs: dict[str, list[float]] = {way: [] for way in trainers}
    end = time.perf_counter() + seconds * len(trainers)
    while time.perf_counter() < end or len(rates["packed"]) < 3:
        for way, trainer in trainers.items():
            start, computed = time.perf_counter(), time.process_time()
            for _ in range(10):
                trainer.round()
            trainer.notes.clear()
            costs[way].append((time.process_time() - computed) / (10 * BATCH))
            rates[way].append(10 * BATCH / (time.perf_counter() - start))
    return {
        way: {"images_per_second": round(statistics.median(rates[way])),
              "cpu_ms_per_image": round(1000 * statistics.median(costs[way]), 3)}
        for way in trainers
    }  # fmt: skip


def peak(way: str, data: str, shards: Path) -> dict[str, float]:
    """Of a process of its own: MiB before and after, seconds to open, images taken."""
    said = subprocess.run(
        [sys.executable, __file__, "--data", data, "--folder", str(shards), "--peak", way],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(said.stdout)


def report_peak(way: str, data: str, shards: Path) -> None:
    """What ``peak`` asks a fresh process for."""
    start = time.perf_counter()
    domain, source = opened(way, data, shards)
    seconds, before = time.perf_counter() - start, peak_mib()
    batches, taken = Stream(source, domain, BATCH, 0, torch.device("cpu")), 0
    while taken < 30_000:
        batches.take(taken // BATCH)
        taken += BATCH
    print(json.dumps({"images": len(source), "opened_seconds": round(seconds, 2), "taken": taken,
                      "mib_opened": before, "mib_peak": peak_mib()}))  # fmt: skip


def peak_mib() -> int:
    """The peak resident set of this process. (Linux; ru_maxrss would count what the parent had when it forked.)"""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="images in a folder or .zip")
    parser.add_argument("--folder", type=Path, required=True, help="where shards are written, and kept")
    parser.add_argument("--size", type=int, default=16, help="of dcgan")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.peak:
        return report_peak(args.peak, args.data, args.folder)
    whole, tenth = args.folder / "whole", args.folder / "tenth"
    if not whole.exists():
        write_shards(args.data, whole, mebibytes=8)
        tenth.mkdir()
        shards = sorted(whole.glob("*.tar"))
        for path in shards[: max(1, len(shards) // 10)]:
            (tenth / path.name).symlink_to(path.resolve())
    ways = ("packed", "all", "window")
    sources = {way: opened(way, args.data, whole) for way in ways}
    result: dict[str, Any] = {
        "images": len(sources["all"][1]),
        "source_images_per_second": {way: round(source_rate(*sources[way], args.seconds)) for way in ways},
        "training": train_rates(sources, args.size, args.seconds),
        "memory": {f"{way}, {name.name}": peak(way, args.data, name) for way in ways[1:] for name in (tenth, whole)},
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
