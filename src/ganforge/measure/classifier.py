"""An independent judge: a small classifier, trained on the labelled real data, never on what it is to judge."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.core.errors import InputError
from ganforge.core.store import Folder, write_folder
from ganforge.domains.domain import Domain, Source
from ganforge.domains.packed import cache_folder
from ganforge.measure.learn import fit, once

VERSION = 1
"""Of the network and its training: raising it makes every classifier be trained anew."""

FEATURES = 128
LARGEST = 64
"""Pixels: larger images are averaged down to this side before they are classified."""


class ConvClassifier(nn.Module):
    """Images [batch, channels, height, width] to features [batch, 128] and logits [batch, classes].

    3 x 3 convolutions with stride 2, batch normalization and ReLU until the shorter side is at most 8 pixels
    (at least one), then a hidden layer with dropout.
    """

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.side = min(shape[1], LARGEST), min(shape[2], LARGEST)
        downs = max(1, math.ceil(math.log2(min(self.side) / 8)))
        widths = [shape[0], *(32 * min(4, 2**i) for i in range(downs + 1))]
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(pairwise(widths)):
            stride = 1 if i == 0 and min(self.side) <= 16 else 2  # small images keep their detail for one layer
            layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        with torch.no_grad():
            flat = self.convolutions.eval()(torch.zeros(1, shape[0], *self.side)).shape[1]
        self.hidden = nn.Linear(flat, FEATURES)
        self.head = nn.Linear(FEATURES, classes)

    def features(self, x: Tensor) -> Tensor:
        """The penultimate layer, after its ReLU."""
        if tuple(x.shape[2:]) != self.side:
            x = F.adaptive_avg_pool2d(x, self.side)
        return F.relu(self.hidden(self.convolutions(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.dropout(self.features(x), 0.3, self.training))


@dataclass(frozen=True)
class Classifier:
    """A trained judge. ``accuracy`` is that on ``held_out`` real samples which it has not seen.

    ``key`` names what it was trained from, so that figures that it gave can say so. ``true`` and ``judged`` are the
    classes of those held-out samples, and what it takes them for: int64 [held_out].
    """

    network: ConvClassifier
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    accuracy: float
    held_out: int
    key: str
    true: Tensor
    judged: Tensor

    def __str__(self) -> str:
        return f"classifier {self.key[:8]}: accuracy {self.accuracy:.2%} on {self.held_out:,} held-out real samples"

    def logits(self, data: Tensor) -> Tensor:
        """``data`` float32 [n, *shape] as the domain encodes it -> [n, classes], on the CPU."""
        return torch.cat([self.network.head(h) for h in self._hidden(data)])

    def predict(self, data: Tensor) -> Tensor:
        """The most likely class of each sample: int64 [n]."""
        return self.logits(data).argmax(1)

    def features(self, data: Tensor) -> Tensor:
        """The penultimate layer's activations: float32 [n, 128]."""
        return torch.cat(list(self._hidden(data)))

    @torch.no_grad()
    def _hidden(self, data: Tensor) -> list[Tensor]:
        if tuple(data.shape[1:]) != tuple(self.shape):
            raise InputError(f"the classifier judges samples of shape {self.shape}, not {tuple(data.shape[1:])}")
        return [self.network.features(part.float().cpu()) for part in data.split(1024)]


def train_classifier(
    domain: Domain, source: Source, held: Source | None = None, seed: int = 0, cached: bool = True
) -> Classifier:
    """A classifier for labelled images, trained on ``source`` and tested on ``held`` (or a fifth kept back).

    A function of the data, the seed and the machine. Trained once: it is then read from ganforge's cache folder
    (``GANFORGE_CACHE``). InputError for data without labels, with one class only, or that are no images.
    """
    if len(domain.shape) != 3 or len(domain.classes) < 2:
        raise InputError(
            f"a classifier needs images of at least 2 classes, but the data are {domain.kind} with "
            f"{len(domain.classes) or 'no'} classes: use class folders or a metadata.csv with a label column"
        )
    if held is not None and getattr(held, "classes", domain.classes) != domain.classes:
        raise InputError("the held-out data have other classes than the training data")
    held_print = held.fingerprint if held is not None else ""
    named = json.dumps([VERSION, source.fingerprint, held_print, seed, domain.shape, domain.classes])
    key = hashlib.sha256(named.encode()).hexdigest()
    place = cache_folder().parent / "classifiers" / key[:40] if cached else None
    return once(
        place, key, lambda folder: _read(folder, domain, key), lambda: _train(domain, source, held, key), _write
    )


def _write(found: Classifier, place: Path) -> None:
    facts = {"accuracy": found.accuracy, "held_out": found.held_out, "key": found.key, "classes": found.classes}
    tests = {"true": found.true, "judged": found.judged}
    write_folder(place, {"classifier": found.network.state_dict(), "tests": tests}, {"classifier.json": facts})


def _read(folder: Folder, domain: Domain, key: str) -> Classifier:
    network = ConvClassifier(domain.shape, len(domain.classes))
    network.load_state_dict(folder.tensors("classifier"))
    tests = folder.tensors("tests")
    return _finished(network, domain, tests["true"], tests["judged"], key)


def _finished(network: ConvClassifier, domain: Domain, true: Tensor, judged: Tensor, key: str) -> Classifier:
    network.eval().requires_grad_(False)
    right = int((true == judged).sum()) / len(true)
    return Classifier(network, domain.classes, tuple(domain.shape), right, len(true), key, true, judged)


def _train(domain: Domain, source: Source, held: Source | None, key: str) -> Classifier:
    network = ConvClassifier(domain.shape, len(domain.classes)).train()
    rows = torch.randperm(len(source))
    if held is None:
        cut = max(1, len(source) // 5)
        test, rows, held = rows[:cut], rows[cut:], source
    else:
        test = torch.arange(len(held))

    def examples(part: Tensor) -> tuple[Tensor, Tensor]:
        taken = domain.encode(source.take(part))
        return taken["data"], taken["label"]

    fit(network, examples, rows)
    true, judged = [], []
    with torch.no_grad():
        for part in test.split(1024):
            taken = domain.encode(held.take(part))
            true.append(taken["label"])
            judged.append(network(taken["data"]).argmax(1))
    return _finished(network, domain, torch.cat(true), torch.cat(judged), key)
