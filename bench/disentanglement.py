"""Do InfoGAN's codes stand for what shapes are made of? MIG and DCI on generated shapes whose factors are known.

    python bench/disentanglement.py [--samples 200000] [--seeds 1] [--set key=value ..] [--out DIR]

The data: 20,000 grey images of 16 x 16 pixels with one shape each: its kind (a square, a disc or a cross), its place (x
and y) and its size, all independent and even. Trained on them: infogan with 3 categories and 3 continuous codes, and
the same networks as a plain GAN (all its information terms have weight 0). Judged, for each seed, from two sides:

- inputs: everything that G was given (the category, the codes, the noise z) against the factors of what it made, which
  are those of the nearest of the real images (by squared error, after both are normalized);
- encoder: what is read from real images (category, codes) against their true factors: by infogan's Q; by a Q that
  nobody trained; and by principal components of the pixels.

A picture: a row for each category, and each continuous code from -2 to 2 in its block of columns.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from ganforge.config import checked
from ganforge.domains.image import ImageDomain
from ganforge.engine.options import TrainOptions
from ganforge.engine.rng import reseed
from ganforge.engine.trainer import Trainer
from ganforge.measure.disentanglement import dci, mig
from ganforge.recipes.code_game import Informed
from ganforge.recipes.infogan import Infogan

SIDE, CHUNK = 16, 500
FACTORS = ("kind", "x", "y", "size")
PLAIN = {"info_weight": 0.0, "continuous_weight": 0.0, "view_weight": 0.0}


def shapes(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images uint8 [n, 1, 16, 16], and their factors float64 [n, 4]: kind, x and y and half the width in pixels."""
    seeded = torch.Generator().manual_seed(seed)
    kind = torch.arange(n) % 3
    size = 2.5 + 1.5 * torch.rand(n, generator=seeded)
    x, y = (4.5 + 7 * torch.rand(2, n, generator=seeded)).unbind()
    places = torch.arange(4 * SIDE) / 4 + 0.125  # each pixel is the mean of 4 x 4 points
    dx = (places[None, None, :] - x[:, None, None]) / size[:, None, None]
    dy = (places[None, :, None] - y[:, None, None]) / size[:, None, None]
    square = (dx.abs() <= 0.9) & (dy.abs() <= 0.9)
    disc = dx.square() + dy.square() <= 1
    cross = (torch.minimum(dx.abs(), dy.abs()) <= 0.3) & (torch.maximum(dx.abs(), dy.abs()) <= 1)
    inside = torch.where((kind == 0)[:, None, None], square, torch.where((kind == 1)[:, None, None], disc, cross))
    images = inside.float().reshape(n, SIDE, 4, SIDE, 4).mean((2, 4)).mul(255).round().to(torch.uint8)
    return images[:, None], torch.stack([kind.double(), x.double(), y.double(), size.double()], 1)


class Shapes:
    """The images, as a source."""

    fingerprint = "shapes with known factors"

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Tensor) -> dict[str, Tensor]:
        return {"data": self.images[rows]}


def nearest(data: Tensor, real: Tensor) -> Tensor:
    """The row of ``real`` that is nearest to each of ``data``, both [n, ...] in [-1, 1]."""
    a, b = (torch.nn.functional.normalize(x.flatten(1) + 1) for x in (data, real))
    return torch.cat([(part @ b.T).argmax(1) for part in a.split(CHUNK)])


def inputs_of(made: dict[str, Tensor]) -> Tensor:
    """Category, codes and z of samples, side by side: [n, 1 + continuous + latent]."""
    return torch.cat([made["category"][:, None].double(), made["code"].double(), made["z"].double()], 1)


@torch.no_grad()
def read(game: Informed, data: Tensor) -> Tensor:
    """Q's category and continuous codes of samples: [n, 1 + continuous]."""
    parts = [game.read(part) for part in data.split(CHUNK)]
    return torch.cat([torch.cat([logits.argmax(1)[:, None].double(), mean.double()], 1) for logits, mean, _ in parts])


def components(data: Tensor, k: int) -> Tensor:
    """The first ``k`` principal components of the pixels: [n, k]."""
    flat = data.flatten(1).double()
    centered = flat - flat.mean(0)
    return centered @ torch.linalg.eigh(centered.T @ centered).eigenvectors[:, -k:]


def line(name: str, codes: Tensor, factors: Tensor) -> None:
    """Print a row of scores."""
    found = dci(codes, factors)
    print(
        f"  {name:34s} MIG {mig(codes, factors):.3f}   D {found.disentanglement:.2f}  C {found.completeness:.2f}  "
        f"I {found.informativeness:.2f}",
        flush=True,
    )


def trained(seed: int, samples: int, params: dict[str, Any], domain: ImageDomain, images: Tensor) -> Trainer:
    """A game after ``samples`` real samples."""
    recipe = checked(Infogan, {**Infogan.defaults_for(domain), **params}, "params")
    reseed(seed, "weights")
    options = TrainOptions(seed=seed, device="cpu", shards=1)
    trainer = Trainer(recipe.build(domain), Shapes(images), domain, options, recipe.batch)
    while trainer.clock.samples < samples:
        trainer.round()
    return trainer


@torch.no_grad()
def picture(game: Informed, path: Path, domain: ImageDomain, steps: int = 9) -> None:
    """A row for each category, a block of columns for each code from -2 to 2."""
    kinds, codes = game.recipe.categories, game.recipe.continuous
    z = game.draw(1, torch.Generator().manual_seed(0))["z"]
    ways = torch.zeros(kinds, codes, steps, codes)
    for code in range(codes):
        ways[:, code, :, code] = torch.linspace(-2, 2, steps)
    n = kinds * codes * steps
    category = torch.arange(kinds).repeat_interleave(codes * steps)
    made = game.sample({"z": z.expand(n, -1), "category": category, "code": ways.flatten(0, 2)})
    domain.animate(domain.decode(made), path, codes * steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], help="hyper-parameters, key=value")
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    domain = ImageDomain(shape=(1, SIDE, SIDE))
    images, factors = shapes(20_000, 0)
    test_images, test_factors = shapes(5_000, 1)
    real, test = (domain.encode({"data": x})["data"] for x in (images, test_images))
    right = (factors[nearest(test, real)] - test_factors)[:, 1:].abs().mean(0)
    print(f"the nearest image tells x, y and size to {', '.join(f'{e:.2f}' for e in right)} pixels")
    given = {"categories": 3, "continuous": 3, "latent": 8}
    given |= {key: yaml.safe_load(value) for key, value in (item.split("=", 1) for item in args.set)}
    for seed in range(args.seeds):
        print(f"seed {seed}, {args.samples:,} samples")
        for name, params in (("infogan", given), ("plain GAN", {**given, **PLAIN})):
            if name == "infogan":
                start = trained(seed, 0, given, domain, images).game.eval()
                line("encoder: untrained Q", read(start, test), test_factors)  # pyright: ignore[reportArgumentType]
            trainer = trained(seed, args.samples, params, domain, images)
            game: Any = trainer.game
            with trainer.sampling(), torch.no_grad():
                drawn = game.draw(5000, torch.Generator().manual_seed(seed))
                made = game.sample(drawn)
                line(f"inputs: {name}", inputs_of(made), factors[nearest(made["data"], real)])
                if name == "infogan":
                    line(f"encoder: {name}", read(game, test), test_factors)
                picture(game, args.out / f"disentanglement-{name.split()[0]}-{seed}.png", domain)
    line("encoder: 4 principal components", components(test, 4), test_factors)


if __name__ == "__main__":
    main()
