"""StyleGAN2's speed: the engine against a plain PyTorch loop of the same game, in turns.

    python bench/stylegan.py [--resolution 64 128] [--width 8] [--batch 16] [--rounds 16] [--repeats 3] [--compile]

Both play the same networks from the same weights on the same images: G, D, R1 each 16th round, path lengths each 8th on
half a batch, an average of G. Three processes take turns of ``--rounds`` rounds (16: one cycle of the lazy moves), so
that a noisy machine hurts all alike; reported are images a second (median), the median of the paired ratios, and each
process's peak of resident memory.

- plain: as one writes it from the paper. Its own fakes for G and for D, Adam, D's gradients computed in G's step too.
- grouped: plain, with modulated convolutions fused as grouped ones, as the paper's code does on GPUs.
- ganforge: the engine in fp32, with its notes, seeded noise, skipping of bad steps; fakes made once for both.
- compiled (with --compile): the same with train.compile, torch.compile's gain.
"""

from __future__ import annotations

import argparse
import copy
import math
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ganforge.config import checked
from ganforge.domains import open_data
from ganforge.engine.options import TrainOptions
from ganforge.engine.rng import reseed
from ganforge.engine.trainer import Trainer
from ganforge.nn import stylegan2 as networks
from ganforge.recipes.stylegan2 import Stylegan2

KINDS = ("ganforge", "plain", "grouped")


def plain_rounds(game: Any, images: torch.Tensor, batch: int) -> Callable[[int], None]:
    """Rounds of a plain loop on the networks of ``game``."""
    G, D, recipe = game.G, game.D, game.recipe
    game.train().requires_grad_(True)
    average = copy.deepcopy(G).requires_grad_(False)
    share_g, share_d = recipe.path_length_every / (recipe.path_length_every + 1), recipe.lazy / (recipe.lazy + 1)
    optimizers = [
        torch.optim.Adam(net.parameters(), lr=recipe.lr * share, betas=(0.0, 0.99**share))
        for net, share in ((G, share_g), (D, share_d))
    ]
    path_mean = torch.zeros(())

    def step(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
        game.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def rounds(n: int) -> None:
        nonlocal path_mean
        for index in range(n):
            real = images[torch.randint(len(images), (batch,))].float() / 127.5 - 1
            step(optimizers[0], F.softplus(-D(G(torch.randn(batch, recipe.latent)))).mean())
            fake = G(torch.randn(batch, recipe.latent)).detach()
            step(optimizers[1], F.softplus(D(fake)).mean() + F.softplus(-D(real)).mean())
            if index % recipe.lazy == 0:
                at = real.requires_grad_()
                (slope,) = torch.autograd.grad(D(at).sum(), at, create_graph=True)
                step(optimizers[1], recipe.lazy * recipe.r1 / 2 * slope.square().sum((1, 2, 3)).mean())
            if index % recipe.path_length_every == 0:
                w = G.styles(torch.randn(batch // 2, recipe.latent))
                image = G.paint(w)
                y = torch.randn_like(image) / math.sqrt(image.shape[2] * image.shape[3])
                (slope,) = torch.autograd.grad((image * y).sum(), w, create_graph=True)
                lengths = slope.square().sum(2).mean(1).sqrt()
                path_mean = path_mean.lerp(lengths.detach().mean(), 0.01)
                penalty = (lengths - path_mean).square().mean()
                step(optimizers[0], recipe.path_length_every * recipe.path_length * penalty)
            with torch.no_grad():
                for mean, weight in zip(average.parameters(), G.parameters(), strict=True):
                    mean.lerp_(weight, 1e-3)

    return rounds


def engine_rounds(game: Any, source: Any, domain: Any, batch: int, compiled: bool) -> Callable[[int], None]:
    """Rounds of the engine."""
    options = TrainOptions(device="cpu", precision="fp32", shards=1, compile=compiled)
    trainer = Trainer(game, source, domain, options, batch)

    def rounds(n: int) -> None:
        for _ in range(n):
            trainer.round()
        trainer.notes = {}

    return rounds


def work(kind: str, data: str, params: dict[str, Any], pipe: Any) -> None:
    """One process: builds the game, then plays rounds when told to; answers with seconds and bytes."""
    torch.set_num_threads(1)
    domain, source = open_data(data)
    recipe = checked(Stylegan2, params, "params")
    reseed(0, "weights")
    game = recipe.build(domain)
    if kind == "grouped":
        networks.modulated_convolution = partial(networks.modulated_convolution, fused=True)
    if kind in ("ganforge", "compiled"):
        rounds = engine_rounds(game, source, domain, recipe.batch, kind == "compiled")
    else:
        rounds = plain_rounds(game, source.take(torch.arange(len(source)))["data"], recipe.batch)
    while n := pipe.recv():
        start = time.perf_counter()
        rounds(n)
        pipe.send((time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


def measure(resolution: int, args: argparse.Namespace) -> None:
    """One resolution: a table of the ways."""
    kinds = (*KINDS, "compiled") if args.compile else KINDS
    params = {"size": args.width, "batch": args.batch, "latent": 64, "mapping_layers": 4}
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder) / "images.npz")
        draw = np.random.default_rng(0)
        np.savez(data, images=draw.integers(0, 255, (256, resolution, resolution, 3), dtype=np.uint8))
        context, workers = multiprocessing.get_context("spawn"), {}
        for kind in kinds:
            here, there = context.Pipe()
            process = context.Process(target=work, args=(kind, data, params, there), daemon=True)
            process.start()
            workers[kind] = (process, here)
        seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
        memory = dict.fromkeys(kinds, 0)
        for repeat in range(args.repeats + 1):  # the first warms up
            for kind, (_, pipe) in workers.items():
                pipe.send(args.rounds)
                took, memory[kind] = pipe.recv()
                if repeat:
                    seconds[kind].append(took)
        for process, pipe in workers.values():
            pipe.send(0)
            process.join()
    print(f"{resolution} px, width {args.width}, batch {args.batch}, {args.repeats} turns of {args.rounds} rounds")
    for kind in kinds:
        images = args.rounds * args.batch / statistics.median(seconds[kind])
        ratio = statistics.median(p / k for p, k in zip(seconds["plain"], seconds[kind], strict=True))
        print(
            f"  {kind:9} {images:7.1f} images/s, {ratio:.2f} x plain, peak {memory[kind] / 2**20:.0f} MiB", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="also with torch.compile (minutes of compiling)")
    args = parser.parse_args()
    for resolution in args.resolution:
        measure(resolution, args)


if __name__ == "__main__":
    main()
