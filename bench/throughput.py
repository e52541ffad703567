"""Images a second: the engine against a hand-optimized minimal loop and against a plain tutorial loop.

    python bench/throughput.py [--precision auto|fp32|bf16] [--resolution 64] [--width 64] [--batch 64] [--repeats 7]

All three train the same DCGAN (the networks of ganforge.nn, the same initial weights) on the same JPEG or PNG files,
with the same batch size. They take turns, round by round of turns, so that a noisy machine hurts all alike; medians
of the paired ratios are reported. The tutorial loop is in fp32, as tutorials are; the other two in what ganforge picks
by itself on this machine (auto: bf16 where convolutions are quicker in it), or in what --precision says.

- tutorial: the pattern of PyTorch's DCGAN tutorial. Files are decoded in the loop, D's gradients are computed in G's
  step as well, Adam is the plain one, losses are read with .item() at each step.
- minimal: what an expert writes by hand. Decoded once, channels_last, fused Adam, D frozen in G's step, the fakes of
  G's step used again in D's, EMA by foreach, nothing read; autocast where --precision says bf16.
- ganforge: the engine, with its notes, gradient norms, skipping of non-finite steps, and seeded noise.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ganforge.core.device import fast_bf16
from ganforge.domains import open_data
from ganforge.domains.image import ImageOptions
from ganforge.engine.options import TrainOptions
from ganforge.engine.rng import reseed
from ganforge.engine.trainer import Trainer
from ganforge.engine.update import use_channels_last
from ganforge.recipes.dcgan import Dcgan


def make_files(folder: Path, count: int, resolution: int) -> None:
    """Colorful JPEG files of the size of CelebA's, which the tutorial resizes: 178 x 218."""
    draw = np.random.default_rng(0)
    for index in range(count):
        small = draw.integers(0, 255, (14, 11, 3), dtype=np.uint8)
        Image.fromarray(small).resize((178, 218), Image.Resampling.BICUBIC).save(folder / f"{index:05}.jpg", quality=90)


def tutorial_batches(folder: Path, resolution: int, batch: int) -> Iterator[Tensor]:
    """Decode, resize and crop in the loop, as torchvision's ImageFolder with transforms does."""
    files = sorted(folder.glob("*.jpg"))
    order = np.random.default_rng(0)
    while True:
        rows = order.permutation(len(files))
        for start in range(0, len(rows) - batch + 1, batch):
            images = []
            for row in rows[start : start + batch]:
                with Image.open(io.BytesIO(files[row].read_bytes())) as image:
                    scale = resolution / min(image.size)
                    size = (round(image.width * scale), round(image.height * scale))
                    resized = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
                left, top = (resized.width - resolution) // 2, (resized.height - resolution) // 2
                cropped = resized.crop((left, top, left + resolution, top + resolution))
                array = torch.from_numpy(np.array(cropped)).permute(2, 0, 1).float().div(255)
                images.append((array - 0.5) / 0.5)
            yield torch.stack(images)


def tutorial(G: nn.Module, D: nn.Module, batches: Iterator[Tensor], latent: int) -> Callable[[], None]:
    """One step as in https://pytorch.org/tutorials/beginner/dcgan_faces_tutorial.html."""
    criterion = nn.BCEWithLogitsLoss()
    optimizer_d = torch.optim.Adam(D.parameters(), lr=2e-4, betas=(0.5, 0.999))
    optimizer_g = torch.optim.Adam(G.parameters(), lr=2e-4, betas=(0.5, 0.999))
    losses: list[float] = []

    def step() -> None:
        D.zero_grad()
        real = next(batches)
        ones, zeros = torch.ones(len(real)), torch.zeros(len(real))
        error_real = criterion(D(real), ones)
        error_real.backward()
        fake = G(torch.randn(len(real), latent))
        error_fake = criterion(D(fake.detach()), zeros)
        error_fake.backward()
        optimizer_d.step()
        G.zero_grad()
        error_g = criterion(D(fake), ones)
        error_g.backward()
        optimizer_g.step()
        losses.append(error_g.item() + error_real.item() + error_fake.item())

    return step


def minimal(G: nn.Module, D: nn.Module, images: Tensor, batch: int, latent: int, bf16: bool) -> Callable[[], None]:
    """The same game, by hand and as quick as we know how; the same order of moves as the engine's."""
    use_channels_last([G, D])
    optimizer_d = torch.optim.Adam(D.parameters(), lr=2e-4, betas=(0.5, 0.999), fused=True)
    optimizer_g = torch.optim.Adam(G.parameters(), lr=2e-4, betas=(0.5, 0.999), fused=True)
    average = [p.detach().clone() for p in G.parameters()]
    state = {"order": torch.randperm(len(images)), "at": 0}

    def take() -> Tensor:
        if state["at"] + batch > len(images):
            state["order"], state["at"] = torch.randperm(len(images)), 0
        rows = state["order"][state["at"] : state["at"] + batch]
        state["at"] += batch
        return images[rows].float().div_(127.5).sub_(1)

    def step() -> None:
        real = take()
        D.requires_grad_(False)
        G.requires_grad_(True)
        optimizer_g.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            fake = G(torch.randn(batch, latent))
            loss = F.softplus(-D(fake).float()).mean()
        loss.backward()
        optimizer_g.step()
        D.requires_grad_(True)
        optimizer_d.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            real_logits, fake_logits = D(real).float(), D(fake.detach().float()).float()
        (F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()).backward()
        optimizer_d.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, list(G.parameters()), 0.002)

    return step


def convolution_rate() -> float:
    """FLOP/s that this machine reaches on one large convolution (forward): the ceiling."""
    x, conv = torch.randn(64, 128, 32, 32), nn.Conv2d(128, 128, 3, padding=1)
    x, conv = x.to(memory_format=torch.channels_last), conv.to(memory_format=torch.channels_last)
    flops = 2 * 64 * 128 * 128 * 9 * 32 * 32
    with torch.no_grad():
        conv(x)
        times = []
        for _ in range(8):
            start = time.perf_counter()
            conv(x)
            times.append(time.perf_counter() - start)
    return flops / min(times)


def round_flops(trainer: Trainer) -> int:
    """FLOPs of one round, counted by PyTorch."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        trainer.round()
    return counter.get_total_flops()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=4, help="steps in a turn")
    parser.add_argument("--repeats", type=int, default=7, help="turns")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="of minimal and ganforge")
    args = parser.parse_args()
    if args.precision == "auto":
        args.precision = "bf16" if fast_bf16(torch.device("cpu")) else "fp32"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder, max(512, 2 * args.batch), args.resolution)
        domain, source = open_data(name, ImageOptions(resolution=args.resolution))
        recipe = Dcgan(size=args.width, batch=args.batch)
        images = source.take(torch.arange(len(source)))["data"]

        def networks() -> tuple[nn.Module, nn.Module]:
            reseed(0, "weights")
            return recipe.networks(domain)

        reseed(0, "weights")
        options = TrainOptions(device="cpu", precision=args.precision)
        trainer = Trainer(recipe.build(domain), source, domain, options, args.batch)
        steps: dict[str, Callable[[], None]] = {
            "tutorial": tutorial(*networks(), tutorial_batches(folder, args.resolution, args.batch), recipe.latent),
            "minimal": minimal(*networks(), images, args.batch, recipe.latent, args.precision == "bf16"),
            "ganforge": trainer.round,
        }
        for step in steps.values():
            step()
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for turn in range(args.repeats):
            names = list(steps)
            for name in names[turn % 3 :] + names[: turn % 3]:
                start = time.perf_counter()
                for _ in range(args.rounds):
                    steps[name]()
                seconds[name].append((time.perf_counter() - start) / args.rounds)
            trainer.notes.clear()
        flops, peak = round_flops(trainer), convolution_rate()
    median = {name: statistics.median(values) for name, values in seconds.items()}
    over = statistics.median(a / b for a, b in zip(seconds["ganforge"], seconds["minimal"], strict=True))
    gain = statistics.median(a / b for a, b in zip(seconds["tutorial"], seconds["ganforge"], strict=True))
    print(
        json.dumps(
            {
                "resolution": args.resolution,
                "width": args.width,
                "batch": args.batch,
                "precision": args.precision,
                "threads": torch.get_num_threads(),
                "images_per_second": {name: round(args.batch / value, 1) for name, value in median.items()},
                "ganforge_over_minimal": round(over, 3),
                "tutorial_over_ganforge": round(gain, 3),
                "gflop_per_round": round(flops / 1e9, 2),
                "convolution_gflops": round(peak / 1e9, 1),
                "share_of_convolution_rate": round(flops / median["ganforge"] / peak, 3),
                "peak_memory_mib": round(psutil.Process().memory_info().rss / 2**20),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
