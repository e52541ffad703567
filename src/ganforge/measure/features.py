"""From samples to the numbers that metrics compare: extractors of features, and of class logits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ganforge.core.errors import InputError, nearest, need_extra
from ganforge.core.game import Batch
from ganforge.domains.domain import Domain, Source
from ganforge.domains.image import ImageDomain
from ganforge.measure import inception
from ganforge.measure.resize import Filter, resize
from ganforge.measure.weights import find_weights, load_weights, present, sha256
from ganforge.nn import squeezenet

PIXELS = 1024
"""``pixels`` shrinks images until they have at most this many numbers."""

LEARNABLE, LEARNABLE_SIDE = 500, 16
"""``auto`` learns features from at least so many images of at least so many pixels a side."""

CHUNK = 50
"""Images that a network sees at once."""

NAMES = ("auto", "pixels", "values", "classifier", "self-supervised", "inception", "squeezenet", "onnx:FILE")


class Extractor(Protocol):
    """Raw samples, as a Source gives them, to features float32 [n, dim], and class logits [n, classes] or None.

    ``sha256`` is that of the weights (or of the definition), ``resizer`` says how samples were prepared: together
    with ``name`` they are what makes features comparable.
    """

    name: str
    sha256: str
    resizer: str

    def __call__(self, raw: Batch) -> tuple[Tensor, Tensor | None]: ...


def levels(data: Tensor, bits: int, rounded: bool = True) -> Tensor:
    """Images of 8 or 16 bits [n, c, h, w] as float32 levels 0 to 255."""
    data = data.to(torch.float32)
    if bits == 8:
        return data
    return (data / 257).round() if rounded else data / 257


def as_rgb(images: Tensor) -> Tensor:
    """Levels [n, c, h, w] of 1, 3 or 4 channels as three: grey repeated, transparency laid over white."""
    channels = images.shape[1]
    if channels == 1:
        return images.expand(-1, 3, -1, -1)
    if channels == 4:
        opaque = images[:, 3:] / 255
        return images[:, :3] * opaque + 255 * (1 - opaque)
    if channels != 3:
        raise InputError(f"this network wants images of 1, 3 or 4 channels, not {channels}: use --features pixels")
    return images


class Pixels:
    """The images themselves, in [0, 1], shrunk to at most ``PIXELS`` numbers."""

    name = "pixels"
    rounded = True
    """Whether what is resized is rounded to levels, as files are; path lengths need what is not."""

    def __init__(self, domain: Domain, kind: Filter = "bilinear") -> None:
        self.shape, self.bits = tuple(domain.shape), domain.reading.get("bits", 8)
        self.kind: Filter = kind
        channels, height, width = self.shape
        shrink = min(1.0, (PIXELS / (channels * height * width)) ** 0.5)
        self.size = (max(1, int(height * shrink)), max(1, int(width * shrink)))
        whole = self.size == (height, width)
        self.resizer = "none" if whole else f"{kind}, antialiased, to {self.size[0]}x{self.size[1]}"
        self.sha256 = hashlib.sha256(f"pixels {self.shape} {self.resizer}".encode()).hexdigest()

    def __call__(self, raw: Batch) -> tuple[Tensor, None]:
        given = tuple(raw["data"].shape[1:])
        if given != self.shape:
            alike = f"--resolution {given[1]}x{given[2]}" if given[1:] != self.shape[1:] else ""
            alike += f" --channels {given[0]}" if given[0] != self.shape[0] else ""
            raise InputError(
                f"pixels compare images of one shape, {list(self.shape)}, not {list(given)}: give both "
                f"sides the same resolution and channels ({alike.strip()})"
            )
        images = levels(raw["data"], self.bits, self.rounded)
        return resize(images, self.size, self.kind, self.rounded).flatten(1) / 255, None


class Values:
    """The numbers themselves, standardized as the domain encodes them: points, rows of a table."""

    name = "values"
    resizer = "none"

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        document = json.dumps(domain.to_dict(), sort_keys=True)
        self.sha256 = hashlib.sha256(document.encode()).hexdigest()

    def __call__(self, raw: Batch) -> tuple[Tensor, None]:
        shape = (len(self.domain.columns),) if self.domain.columns else tuple(self.domain.shape)
        if tuple(raw["data"].shape[1:]) != shape:
            raise InputError(f"samples of shape {tuple(raw['data'].shape[1:])}, but the data's is {shape}")
        data = self.domain.encode(raw)["data"]
        if not data.is_floating_point():
            raise InputError(
                f"samples of kind '{self.domain.kind}' have no features to compare: --metrics may name the metrics of "
                "their own kind only (without it, all of these are measured)"
            )
        return data.flatten(1), None


class Network:
    """A feature network on images: resized, brought to RGB and scaled by ``prepare``, ``CHUNK`` at a time."""

    rounded = True

    def __init__(
        self, name: str, network: nn.Module, path: Path, side: int, prepare: Callable[[Tensor], Tensor], bits: int,
        kind: Filter, device: torch.device,
    ) -> None:  # fmt: skip
        self.name, self.bits, self.side, self.prepare, self.device = name, bits, side, prepare, device
        self.kind: Filter = kind
        load_weights(network, name, path)
        self.network = network.eval().requires_grad_(False).to(device)
        self.sha256 = sha256(path)
        self.resizer = f"{kind}, antialiased, to {side}x{side}"

    @torch.no_grad()
    def __call__(self, raw: Batch) -> tuple[Tensor, Tensor | None]:
        parts = [self._part(part) for part in raw["data"].split(CHUNK)]
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])

    def _part(self, data: Tensor) -> tuple[Tensor, Tensor]:
        images = as_rgb(levels(data.to(self.device), self.bits, self.rounded))
        images = resize(images, (self.side, self.side), self.kind, self.rounded)
        features, logits = self.network(self.prepare(images))
        return features.float().cpu(), logits.float().cpu()


class Onnx:
    """A user's own network: images as RGB (or grey, as it wants) in [0, 1]; its first output is the features.

    Images are resized to the network's input size if that is fixed. A second output, if any, is taken as class logits.
    """

    rounded = True

    def __init__(self, path: Path, bits: int, kind: Filter) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise need_extra("onnxruntime", "onnx") from error
        if not path.is_file():
            raise InputError(f"no network at {path} (given by --features onnx:{path})")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            self.session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no base class
            raise InputError(f"{path} cannot be read as an ONNX network: {str(error).splitlines()[0]}") from error
        self.name, self.bits, self.sha256 = f"onnx:{path.name}", bits, sha256(path)
        self.kind: Filter = kind
        entry = self.session.get_inputs()[0]
        if len(entry.shape) != 4:
            raise InputError(f"{path} wants input {entry.shape}, not images [n, channels, height, width]")
        self.input = entry.name
        self.batch, self.channels, *size = entry.shape
        self.size = tuple(size) if all(isinstance(s, int) for s in size) else None
        self.resizer = f"{kind}, antialiased, to {self.size[0]}x{self.size[1]}" if self.size else "none"

    def __call__(self, raw: Batch) -> tuple[Tensor, Tensor | None]:
        images = levels(raw["data"], self.bits, self.rounded)
        if self.channels != images.shape[1]:
            images = as_rgb(images)
            if self.channels == 1:
                images = (images * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
        images = (resize(images, self.size, self.kind, self.rounded) if self.size else images) / 255
        size = self.batch if isinstance(self.batch, int) else CHUNK
        outputs = []
        for part in images.split(size):
            missing = size - len(part) if isinstance(self.batch, int) else 0  # a fixed batch is filled up
            full = torch.cat([part, part[:1].expand(missing, -1, -1, -1)])
            found = self.session.run(None, {self.input: full.contiguous().numpy()})[:2]
            outputs.append([torch.from_numpy(f)[: len(part)].flatten(1).float() for f in found])
        features = torch.cat([o[0] for o in outputs])
        return features, torch.cat([o[1] for o in outputs]) if len(outputs[0]) > 1 else None


class Judge:
    """The classifier that is trained on the labelled real data: its penultimate layer and its logits."""

    name = "classifier"
    resizer = "none"

    def __init__(self, domain: Domain, source: Source, held: Source | None, seed: int) -> None:
        from ganforge.measure.classifier import train_classifier

        self.domain = domain
        self.classifier = train_classifier(domain, source, held, seed)
        self.sha256 = self.classifier.key
        self.about = str(self.classifier)

    def __call__(self, raw: Batch) -> tuple[Tensor, Tensor]:
        data = self.domain.encode(raw)["data"]
        features = self.classifier.features(data)
        with torch.no_grad():
            return features, self.classifier.network.head(features)


def find_extractor(
    spec: str,
    domain: Domain,
    source: Source,
    held: Source | None = None,
    weights: Path | None = None,
    kind: Filter = "bicubic",
    device: torch.device | None = None,
    seed: int = 0,
) -> Extractor:
    """The extractor that ``spec`` names: one of ``NAMES``.

    ``auto`` is inception if its weights are here, else pixels for images with classes, self-supervised features for
    images without (nothing is downloaded), and values for data that are no images. InputError for an unknown name, for
    features that do not fit the data, for weights that are missing.
    """
    images = isinstance(domain, ImageDomain)
    device = device or torch.device("cpu")
    if spec == "auto":
        spec = "values" if not images else "inception" if present("inception", weights) else _own(domain, source)
    if spec == "values" or (not images and spec == "pixels"):
        if images:
            raise InputError("features 'values' are for points and tables; for images use pixels")
        return Values(domain)
    if spec == "self-supervised":
        from ganforge.measure.selfsupervised import Learned

        return Learned(domain, source, seed)
    if not images and (spec in NAMES or spec.startswith("onnx:")):
        raise InputError(f"features '{spec}' are for images, but the data are of kind '{domain.kind}': use values")
    bits = domain.reading.get("bits", 8)
    if spec == "pixels":
        return Pixels(domain)
    if spec == "classifier":
        return Judge(domain, source, held, seed)
    if spec.startswith("onnx:"):
        return Onnx(Path(spec[5:]), bits, kind)
    if spec == "inception":
        path, network = find_weights(spec, weights), inception.InceptionV3()
        return Network(spec, network, path, inception.SIDE, lambda x: (x - 128) / 128, bits, kind, device)
    if spec == "squeezenet":
        means = torch.tensor(squeezenet.MEANS, device=device)[:, None, None]
        path, small = find_weights(spec, weights), squeezenet.SqueezeNet()
        return Network(spec, small, path, squeezenet.SIDE, lambda x: x.flip(1) - means, bits, kind, device)
    raise InputError(f"unknown features '{spec}': {nearest(spec, NAMES)}")


def _own(domain: Domain, source: Source) -> str:
    """The features that the data themselves give: pixels, or learned ones for unlabelled images where these are better
    (bench/features.py): not for tiny images, or few."""
    learnable = not domain.classes and len(source) >= LEARNABLE and min(domain.shape[1:]) >= LEARNABLE_SIDE
    return "self-supervised" if learnable else "pixels"
