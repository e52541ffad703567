"""Features for data without labels: a small network that learns, from the real data alone, what makes images alike."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.core.errors import InputError
from ganforge.core.game import Batch
from ganforge.core.store import Folder, write_folder
from ganforge.domains.domain import Domain, Source
from ganforge.domains.packed import cache_folder
from ganforge.measure.classifier import FEATURES, ConvClassifier
from ganforge.measure.counting import counted
from ganforge.measure.learn import VectorClassifier, once

VERSION = 1
"""Of the network and its training: raising it makes every network be trained anew."""

STEPS = 400
BATCH = 256
SIDE = 32
"""Pixels: larger images are averaged down to it, or training would take ten minutes and not one."""
PROJECTED = 256
PAIRS = 500
"""Samples among which each must be found again, for the measured quality."""
LEAST = 64


class Encoder(nn.Module):
    """Samples as the domain encodes them to features [batch, 128]: the independent classifier's body, without classes.

    Images go through its convolutions; vectors, standardized by ``seen`` [n, d], through two hidden layers.
    """

    def __init__(self, shape: tuple[int, ...], seen: Tensor) -> None:
        super().__init__()
        self.images = len(shape) == 3
        self.body: nn.Module = (
            ConvClassifier((shape[0], *looked_at(shape)), 1) if self.images else VectorClassifier(seen, FEATURES)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body.features(x) if isinstance(self.body, ConvClassifier) else F.relu(self.body(x))


@dataclass(frozen=True)
class SelfSupervised:
    """A trained encoder. ``found`` of ``among`` held-back samples were told apart by another view of themselves."""

    network: Encoder
    shape: tuple[int, ...]
    found: int
    among: int
    key: str

    def __str__(self) -> str:
        return (
            f"self-supervised {self.key[:8]}: finds {self.found / self.among:.1%} of {self.among:,} samples that it "
            f"was not trained on by a changed copy (chance {1 / self.among:.1%})"
        )

    @torch.no_grad()
    def features(self, data: Tensor) -> Tensor:
        """``data`` float32 [n, *shape] as the domain encodes it -> float32 [n, 128], on the CPU."""
        if tuple(data.shape[1:]) != tuple(self.shape):
            raise InputError(f"these features are of samples of shape {self.shape}, not {tuple(data.shape[1:])}")
        return torch.cat([self.network(part.float().cpu()) for part in data.split(1024)])


def train_features(domain: Domain, source: Source, seed: int = 0, cached: bool = True) -> SelfSupervised:
    """Learn features from ``source`` without its labels, by VICReg (Bardes, Ponce & LeCun 2022, eq. 1 to 6).

    Two views of each sample are made to have the same features, while each feature keeps its spread and any two of
    them are decorrelated. Views of images are crops, turned a little, of other brightness and contrast; never blurred
    or noisy ones, since a judge must see that. Views of vectors have a third of their numbers exchanged with other
    rows' (Bahri et al. 2022). About a minute on one core for 28 x 28 images; then read from the cache. A function of
    the data, the seed and the machine. InputError for fewer than 64 samples.
    """
    if len(source) < LEAST:
        raise InputError(
            f"self-supervised features need at least {LEAST} real samples to learn from, not {len(source)}"
        )
    named = json.dumps([VERSION, STEPS, source.fingerprint, seed, domain.shape, domain.to_dict()], sort_keys=True)
    key = hashlib.sha256(f"self-supervised {named}".encode()).hexdigest()
    place = cache_folder().parent / "self-supervised" / key[:40] if cached else None
    return once(place, key, lambda folder: _read(folder, domain, key), lambda: _train(domain, source, key), _write)


def _write(found: SelfSupervised, place: Path) -> None:
    facts = {"found": found.found, "among": found.among, "key": found.key}
    write_folder(place, {"encoder": found.network.state_dict()}, {"encoder.json": facts})


def _read(folder: Folder, domain: Domain, key: str) -> SelfSupervised:
    network = Encoder(domain.shape, torch.zeros(2, *domain.shape).flatten(1))
    network.load_state_dict(folder.tensors("encoder"))
    facts = folder.document("encoder.json")
    return _finished(network, domain, facts["found"], facts["among"], key)


def _finished(network: Encoder, domain: Domain, found: int, among: int, key: str) -> SelfSupervised:
    network.eval().requires_grad_(False)
    return SelfSupervised(network, tuple(domain.shape), found, among, key)


def _train(domain: Domain, source: Source, key: str) -> SelfSupervised:
    order = torch.randperm(len(source))
    held = order[: min(PAIRS, len(order) // 5)]
    rows = order[len(held) :]

    def take(chosen: Tensor) -> Tensor:
        return shrunk(domain.encode({"data": source.take(chosen)["data"]})["data"])

    seen = take(rows[:10_000])
    network = Encoder(domain.shape, seen.flatten(1)).train()
    head = nn.Sequential(
        nn.Linear(FEATURES, PROJECTED, bias=False), nn.BatchNorm1d(PROJECTED), nn.ReLU(),
        nn.Linear(PROJECTED, PROJECTED),
    )  # fmt: skip
    parameters = [p for p in (*network.parameters(), *head.parameters()) if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=STEPS + 1, pct_start=0.1)
    batch = min(BATCH, len(rows))
    for _ in counted(STEPS, "learning features from the real samples"):
        x = take(rows[torch.randint(len(rows), (batch,))])
        both = head(network(torch.cat([view(x, seen), view(x, seen)])))
        optimizer.zero_grad(set_to_none=True)
        vicreg(*both.split(batch)).backward()
        optimizer.step()
        schedule.step()
    learned = _finished(network, domain, 0, 1, key)
    unseen = take(held)
    found = retrieved(learned.network(unseen), learned.network(view(unseen, seen)))
    return _finished(network, domain, found, len(held), key)


def vicreg(a: Tensor, b: Tensor) -> Tensor:
    """25 (mean squared difference) + 25 (hinge of each number's deviation at 1) + covariances, of [n, d] each.

    The weights are the paper's (sec. 4.2); variance is the mean of both sides, covariance their sum, as in its eq. 6.
    """
    loss = 25 * F.mse_loss(a, b)
    for z in (a - a.mean(0), b - b.mean(0)):
        loss = loss + 12.5 * F.relu(1 - (z.var(0) + 1e-4).sqrt()).mean()
        covariance = z.T @ z / (len(z) - 1)
        loss = loss + (covariance.square().sum() - covariance.diagonal().square().sum()) / z.shape[1]
    return loss


def retrieved(a: Tensor, b: Tensor) -> int:
    """Of how many rows of ``a`` [n, d] the nearest row of ``b`` (by cosine) is the same sample's."""
    nearest = (F.normalize(b, dim=1) @ F.normalize(a, dim=1).T).argmax(1)
    return int((nearest == torch.arange(len(a))).sum())


def looked_at(shape: Sequence[int]) -> tuple[int, int]:
    """(height, width) at which the network looks at images of ``shape``."""
    return min(shape[1], SIDE), min(shape[2], SIDE)


def shrunk(x: Tensor) -> Tensor:
    """Images that are larger than the network looks at, averaged down once instead of at every step."""
    if x.dim() != 4:
        return x.flatten(1)
    side = looked_at(x.shape[1:])
    return x if tuple(x.shape[2:]) == side else F.adaptive_avg_pool2d(x, side)


def view(x: Tensor, seen: Tensor) -> Tensor:
    """Another view of each sample [n, ...]; noise from torch's global generator."""
    if x.dim() == 4:
        return image_view(x)
    other = seen[torch.randint(len(seen), x.shape), torch.arange(x.shape[1])]
    return torch.where(torch.rand(x.shape) < 1 / 3, other, x)


def image_view(x: Tensor) -> Tensor:
    """A crop of 0.6 to 1.1 of each side, stretched by up to 1.2, turned by up to 15 degrees, of other brightness and
    contrast (and, with channels, a little other colors): images in [-1, 1], [n, c, h, w]."""
    n = len(x)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(n, *shape) * (high - low) + low

    scale, stretch = uniform(0.6, 1.1), uniform(-0.1, 0.1).exp()
    angle = uniform(-math.pi / 12, math.pi / 12)
    room = (1 - scale).clamp(min=0.1)
    across, down = scale * stretch, scale / stretch
    matrix = torch.stack(
        [
            torch.stack([across * angle.cos(), -down * angle.sin(), uniform(-1, 1) * room], 1),
            torch.stack([across * angle.sin(), down * angle.cos(), uniform(-1, 1) * room], 1),
        ],
        1,
    )
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    contrast = uniform(0.6, 1.4, 1, 1, 1)
    if x.shape[1] > 1:
        contrast = contrast * uniform(0.88, 1.12, x.shape[1], 1, 1)
    return x * contrast + uniform(-0.4, 0.4, 1, 1, 1)


class Learned:
    """The extractor of self-supervised features: raw samples to float32 [n, 128], no logits."""

    name = "self-supervised"
    resizer = "none"

    def __init__(self, domain: Domain, source: Source, seed: int) -> None:
        self.domain = domain
        self.learned = train_features(domain, source, seed)
        self.sha256 = self.learned.key
        self.quality = str(self.learned)

    def __call__(self, raw: Batch) -> tuple[Tensor, None]:
        return self.learned.features(self.domain.encode({"data": raw["data"]})["data"]), None
