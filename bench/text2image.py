"""Text to image: does an independent classifier find in the pictures what the prompts asked for?

    python bench/text2image.py                                       # train on scenes with the defaults, and judge
    python bench/text2image.py --data scenes:mnist-train.zip --seeds 2
    python bench/text2image.py --run runs/my-run                      # judge a run

The classifier, a CNN with an output for each factor, learns from real scenes of all combinations, made with other
seeds and of other glyphs than the GAN has seen. ``ceiling`` is how often it is right about real scenes made of the
glyphs that the GAN learned from: a perfect generator. ``train`` are prompts of combinations that were trained on,
``unseen`` of combinations that never were, ``unseen-objects`` of those that hold a color and a thing that were never
seen together.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

import ganforge
from ganforge.core.device import fast_bf16
from ganforge.domains import open_data
from ganforge.domains.captions import CaptionDomain, CaptionOptions
from ganforge.domains.captions_made import MadeSource, parts

DATA = Path(os.environ.get("GANFORGE_DATA", Path(__file__).resolve().parents[1] / ".." / "shared" / "data"))
PROMPTS = 2000
STEPS = 800


class Judge(nn.Module):
    """Images [n, 3, s, s] in [-1, 1] to logits of each factor."""

    def __init__(self, size: int, factors: list[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in ((3, 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2)]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3))
        self.heads = nn.ModuleList(nn.Linear(128 * (size // 8) ** 2, k) for k in factors)

    def forward(self, x: Tensor) -> list[Tensor]:
        h = self.layers(x)
        return [head(h) for head in self.heads]


def train_judge(domain: CaptionDomain, source: MadeSource, seed: int) -> Judge:
    """A judge that has seen all combinations, of the glyphs that are held from the GAN."""
    everything = np.arange(len(source.grammar.combinations))
    real = MadeSource(source.grammar, everything, True, 128 * STEPS, seed + 1000, source.tokens)
    torch.manual_seed(seed)
    judge = Judge(domain.shape[1], [len(values) for _, values in source.grammar.factors])
    optimizer = torch.optim.AdamW(judge.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=STEPS, pct_start=0.2)
    for rows in torch.arange(len(real)).split(128):
        x = domain.encode(real.take(rows))["data"]
        x = (x + 1) * (0.7 + 0.3 * torch.rand(len(x), 1, 1, 1)) - 1 + 0.05 * torch.randn_like(x)
        with torch.autocast("cpu", torch.bfloat16, enabled=fast_bf16(torch.device("cpu"))):
            said = judge(x)
        costs = [
            F.cross_entropy(z.float(), y, label_smoothing=0.05) for z, y in zip(said, real.factors(rows).T, strict=True)
        ]
        optimizer.zero_grad()
        torch.stack(costs).sum().backward()
        optimizer.step()
        schedule.step()
    return judge.eval()


@torch.no_grad()
def right(judge: Judge, images: Tensor, factors: Tensor) -> Tensor:
    """Which factors the judge finds as they should be: bool [n, factors]."""
    said = [torch.stack([z.argmax(1) for z in judge(part)], 1) for part in images.split(250)]
    return torch.cat(said) == factors


def line(name: str, found: Tensor, names: list[str]) -> str:
    """The shares that are right."""
    each = ", ".join(f"{n} {100 * v:.1f}" for n, v in zip(names, found.float().mean(0).tolist(), strict=True))
    all_ = 100 * found.all(1).float().mean()
    return f"{name:28} factors right {100 * found.float().mean():5.1f} %, all of them {all_:5.1f} %   ({each})"


@torch.no_grad()
def images_of(model: ganforge.Model, asked: MadeSource, rows: Tensor, seed: int) -> Tensor:
    """One image [3, s, s] for the caption of each row."""
    captions = [list(model.domain.spoken(asked.tokens[asked.rows[i]]))[i % 2] for i in rows.tolist()]  # type: ignore[attr-defined]
    made = model.encoded(len(rows), seed, prompt=captions)
    return made["data"].float()


def report(data: str, model: ganforge.Model, judge: Judge, source: MadeSource, seed: int) -> None:
    """How often the judge is right about real scenes and about those of the model, part by part."""
    names = [name for name, _ in source.grammar.factors]
    rows = torch.arange(PROMPTS)
    for part, members in parts(source.grammar).items():
        asked = MadeSource(source.grammar, members, False, PROMPTS, seed + 2000, source.tokens)
        real = model.domain.encode(asked.take(rows))["data"]
        print(line(f"ceiling, {part}", right(judge, real, asked.factors(rows)), names), flush=True)
        made = images_of(model, asked, rows, seed)
        print(line(f"{data}, {part}", right(judge, made, asked.factors(rows)), names), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="scenes", help="scenes:FILE: FILE, or one of GANFORGE_DATA")
    parser.add_argument("--run", type=Path)
    parser.add_argument("--samples", type=int)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--set", nargs="*", default=[])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kind, _, file = arguments.data.partition(":")
    data = f"{kind}:{DATA / file}" if file and not Path(file).exists() else arguments.data
    domain, source = open_data(data, CaptionOptions(), ("captions",))
    assert isinstance(domain, CaptionDomain) and isinstance(source, MadeSource)
    began = time.process_time()
    judge = train_judge(domain, source, 0)
    print(f"judge: {(time.process_time() - began) / 60:.1f} CPU-minutes")
    for seed in range(arguments.seeds):
        if arguments.run:
            model = ganforge.load(arguments.run)
        else:
            began = time.process_time()
            options = {"samples": arguments.samples} if arguments.samples else {}
            params = {k: yaml.safe_load(v) for k, _, v in (pair.partition("=") for pair in arguments.set)}
            name = arguments.data.replace("/", "-").replace(":", "-")
            place = arguments.out / f"text2image-{name}-{seed}"
            model = ganforge.train("text2image", data, run=place, params=params, seed=seed, threads=1, **options)
            print(
                f"seed {seed}: {(time.process_time() - began) / 60:.1f} CPU-minutes, {model.facts['samples']:,} images"
            )
        report(arguments.data, model, judge, source, seed)


if __name__ == "__main__":
    main()
