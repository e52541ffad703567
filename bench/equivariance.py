"""Translation equivariance (EQ-T, in dB) of StyleGAN2's and StyleGAN3's generators, before and after training.

    python bench/equivariance.py [--data mnist] [--samples 10000] [--size 8] [--seed 0] [--out equivariance]

Both are trained by the same command for as many samples. What is moved is what an image begins with: StyleGAN3's
Fourier features, or StyleGAN2's constant (linearly between its pixels; its noise is left out, in its favor).
Images are compared in [-1, 1]; before training they are scaled to the spread of those after it. "unmoved" is
the figure of a generator that does not react at all.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import torch

import ganforge
from ganforge.domains import open_data
from ganforge.engine.rng import reseed
from ganforge.measure.equivariance import translation_psnr
from ganforge.recipes.recipe import find_recipe

DATA = Path(os.environ.get("GANFORGE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
IMAGES = 64


def figures(G: Any, side: int, latents: torch.Tensor, label: torch.Tensor | None, scale: float) -> str:
    """EQ-T, EQ-T_frac and those of an image that stays, as text."""
    for conv in getattr(G, "convs", ()):
        conv.noise.zero_()
    with torch.no_grad():
        w = G.eval().styles(latents, label)
    told = []
    for name, whole in (("EQ-T", True), ("EQ-T_frac", False)):
        moved = translation_psnr(lambda s: scale * G.paint(w, s), IMAGES, side, whole)
        still = translation_psnr(lambda s: scale * G.paint(w, torch.zeros_like(s)), IMAGES, side, whole)
        told.append(f"{name} {moved.value:.1f} dB ({moved.low:.1f} to {moved.high:.1f}), unmoved {still.value:.1f}")
    return "; ".join(told)


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("equivariance"))
    args = parser.parse_args()
    data = str(DATA / "mnist-train.zip") if args.data == "mnist" else args.data
    domain, _ = open_data(data)
    generator = torch.Generator().manual_seed(args.seed)
    for name in ("stylegan2", "stylegan3"):
        kind = find_recipe(name)
        settings = {"size": args.size, "conditioning": "none"}
        model = ganforge.train(
            name, data, run=args.out / f"{name}-{args.seed}", params=settings, seed=args.seed, samples=args.samples
        )
        latents = torch.randn(IMAGES, model.game.recipe.latent, generator=generator)
        after: Any = model.game.G
        side = (
            2 ** (max(domain.shape[1:]) - 1).bit_length()
            if name == "stylegan3"
            else after.constant.shape[2] * 2 ** (len(after.images) - 1)
        )
        with torch.no_grad():
            loud = float(after.eval()(latents).std())
        reseed(args.seed, "weights")
        before: Any = kind(**{**kind.defaults_for(domain), **settings}).build(domain).G
        for _ in range(30):  # the magnitudes that StyleGAN3 divides by
            before.train()(torch.randn(IMAGES, latents.shape[1]))
        with torch.no_grad():
            quiet = float(before.eval()(latents).std())
        print(f"{name} before: {figures(before, side, latents, None, loud / quiet)}", flush=True)
        print(f"{name} after {args.samples:,} images: {figures(after, side, latents, None, 1.0)}", flush=True)


if __name__ == "__main__":
    main()
