"""How well FID in several features tells corrupted images from real ones, and how well features know hidden labels.

python bench/features.py DATA [--count 2000] [--features pixels,self-supervised,classifier]

Prints one line for each features: the 5-nearest-neighbor accuracy against labels (cosine; never seen by pixels and
self-supervised), FID of fresh real samples (the floor), and (FID - floor) / the floor's 95 % half-width of each
corruption: above 1 it is told from real data, the larger the surer.
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F

from ganforge.domains import open_data
from ganforge.domains.domain import Part
from ganforge.measure.features import Extractor, find_extractor
from ganforge.measure.intervals import Score
from ganforge.measure.metrics.frechet import fid
from ganforge.measure.statistics import Moments


def blurred(x: torch.Tensor, sd: float) -> torch.Tensor:
    """Gaussian blur of levels [n, c, h, w]; ``sd`` in pixels."""
    reach = max(1, round(3 * sd))
    taps = torch.exp(-torch.arange(-reach, reach + 1).float().square() / (2 * sd * sd))
    taps = (taps / taps.sum()).expand(x.shape[1], 1, 1, -1)
    x = F.conv2d(F.pad(x, (reach, reach, 0, 0), mode="replicate"), taps, groups=x.shape[1])
    return F.conv2d(F.pad(x, (0, 0, reach, reach), mode="replicate"), taps.transpose(2, 3), groups=x.shape[1])


def corrupted(x: torch.Tensor, labels: torch.Tensor, draw: torch.Generator) -> dict[str, torch.Tensor]:
    """Levels 0 to 255 [n, c, h, w] with known faults."""
    made = {f"blur {sd}": blurred(x, sd) for sd in (0.5, 0.8)}
    for sd in (6, 12, 25):
        made[f"noise {sd}"] = (x + sd * torch.randn(x.shape, generator=draw)).round().clamp(0, 255)
    for lost in (k for k in (1, 2, 5) if k <= int(labels.max())):
        rows = (labels >= lost).nonzero()[:, 0]
        made[f"{lost} lost"] = x[rows[torch.randint(len(rows), (len(x),), generator=draw)]]
    return made


def knn(known: torch.Tensor, labels: torch.Tensor, asked: torch.Tensor, wanted: torch.Tensor) -> float:
    """The accuracy of the 5 nearest neighbors' vote, by cosine."""
    votes = labels[(F.normalize(asked, dim=1) @ F.normalize(known, dim=1).T).topk(5).indices]
    return float((F.one_hot(votes).sum(1).argmax(1) == wanted).float().mean())


def judged(extract: Extractor, real: dict, fresh: dict, made: dict[str, torch.Tensor], count: int) -> str:
    """One line of the table."""
    known, asked = extract({"data": real["data"]})[0], extract({"data": fresh["data"]})[0]

    def distance(rows: torch.Tensor) -> Score:
        part = known[:count]
        return fid(Moments.of(part), Moments.of(rows), part, rows)

    floor = distance(asked)
    half = (floor.high - floor.low) / 2  # type: ignore[operator]
    cells = [f"{name} {(distance(extract({'data': x})[0]).value - floor.value) / half:.1f}" for name, x in made.items()]  # type: ignore[operator]
    return f"{knn(known, real['label'], asked, fresh['label']):.2%}  floor {floor.value:.3g}  " + "  ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--train", type=int, default=10_000)
    parser.add_argument("--features", default="pixels,self-supervised,classifier")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    domain, source = open_data(asked.data)
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(asked.seed))
    count = min(asked.count, len(source) // 3)
    train = Part(source, order[count:][: asked.train])
    fresh, real = source.take(order[:count]), train.take(torch.arange(len(train)))
    made = corrupted(fresh["data"].float(), fresh["label"], torch.Generator().manual_seed(asked.seed + 1))
    for name in asked.features.split(","):
        extract = find_extractor(name, domain, train, seed=asked.seed)
        print(f"{name:16} kNN {judged(extract, real, fresh, made, count)}", flush=True)
        print("  " + (getattr(extract, "quality", "") or getattr(extract, "about", "")), flush=True)


if __name__ == "__main__":
    main()
