"""Do images match their captions? A small matcher of images and texts, learned from real pairs, is asked.

As CLIP (Radford et al. 2021, https://arxiv.org/abs/2103.00020, fig. 3): both are mapped to unit vectors, and in each
batch every image is to be nearest to its own caption, and every caption to its own image. It knows nothing of the
generator's networks.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.core.store import Folder, write_folder
from ganforge.domains.packed import cache_folder
from ganforge.measure.counting import counted
from ganforge.measure.learn import once
from ganforge.nn.textimage import TextEncoder

LARGEST = 64
"""Pixels: images with a longer side are shrunk for the matcher."""
WIDTH = 128
BATCH = 128
IMAGES_SEEN = 100_000
"""The matcher learns from so many images, again and again if there are fewer."""
AMONG = 50
"""Captions of which the right one is to be found."""


class Matcher(nn.Module):
    """Images [n, channels, h, w] in [-1, 1] and captions int64 [n, length] to unit vectors [n, WIDTH]."""

    def __init__(self, shape: tuple[int, int, int], tokens: int, length: int) -> None:
        super().__init__()
        shrink = min(1.0, LARGEST / max(shape[1:]))
        self.size = tuple(max(16, round(side * shrink)) for side in shape[1:])
        layers: list[nn.Module] = []
        for a, b in ((shape[0], 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(a, b, 4, 2, 1), nn.BatchNorm2d(b), nn.LeakyReLU(0.2)]
        places = (self.size[0] // 8) * (self.size[1] // 8)
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2), nn.Linear(128 * places, WIDTH))
        self.text, self.out = TextEncoder(tokens, length, 64), nn.Linear(64, WIDTH)
        self.log_scale = nn.Parameter(torch.tensor(2.3))

    def see(self, images: Tensor) -> Tensor:
        """Images as unit vectors."""
        if tuple(images.shape[2:]) != self.size:
            images = F.interpolate(images, self.size, mode="bilinear", antialias=True, align_corners=False)
        return F.normalize(self.layers(images), dim=1)

    def read(self, captions: Tensor) -> Tensor:
        """Captions as unit vectors."""
        return F.normalize(self.out(self.text(captions)[1]), dim=1)

    def loss(self, images: Tensor, captions: Tensor) -> Tensor:
        """The symmetric contrastive loss; pairs of equal captions are not told apart."""
        logits = self.see(images) @ self.read(captions).T * self.log_scale.clamp_max(4.6).exp()
        same = (captions[:, None] == captions).all(2)
        own = torch.eye(len(captions), dtype=torch.bool, device=captions.device)
        logits = logits.masked_fill(same & ~own, float("-inf"))
        right = torch.arange(len(captions), device=captions.device)
        return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2


def levels_to_unit(images: Tensor) -> Tensor:
    """uint8 or 16-bit levels [n, h, w, c] to [-1, 1], [n, c, h, w]."""
    most = 255 if images.dtype == torch.uint8 else 65535
    return images.permute(0, 3, 1, 2).float() / (most / 2) - 1


def matcher_of(images: Tensor, captions: Tensor, tokens: int, seed: int = 0) -> Matcher:
    """As ``learn_to_match``; read from the cache, if it has learned from the same before."""
    told = json.dumps([IMAGES_SEEN, LARGEST, WIDTH, BATCH, list(images.shape), str(images.dtype), tokens, seed])
    content = (told.encode(), images.contiguous().numpy().tobytes(), captions.contiguous().numpy().tobytes())
    key = hashlib.sha256(b"matcher 1" + b"".join(hashlib.sha256(part).digest() for part in content)).hexdigest()

    def read(folder: Folder) -> Matcher:
        height, width, channels = images.shape[1:]
        matcher = Matcher((channels, height, width), tokens, captions.shape[1])
        matcher.load_state_dict(folder.tensors("matcher"))
        return matcher.eval()

    def write(matcher: Matcher, place: Path) -> None:
        write_folder(place, {"matcher": matcher.state_dict()}, {"about.json": {"images": len(images), "key": key}})

    place = cache_folder().parent / "matcher" / key[:40]
    return once(place, key, read, lambda: learn_to_match(images, captions, tokens, seed), write)


def learn_to_match(images: Tensor, captions: Tensor, tokens: int, seed: int = 0) -> Matcher:
    """A matcher that has learned from pairs: levels [n, h, w, c], and captions int64 [n, length]."""
    height, width, channels = images.shape[1:]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        matcher = Matcher((channels, height, width), tokens, captions.shape[1])
        batch = min(BATCH, len(images))
        steps = IMAGES_SEEN // batch
        optimizer = torch.optim.AdamW(matcher.parameters(), lr=1e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.2)
        left = torch.empty(0, dtype=torch.int64)
        for _ in counted(steps, "learning which caption fits which real image"):
            if len(left) < batch:
                left = torch.randperm(len(images))
            rows, left = left[:batch], left[batch:]
            optimizer.zero_grad(set_to_none=True)
            matcher.loss(levels_to_unit(images[rows]), captions[rows]).backward()
            optimizer.step()
            schedule.step()
    return matcher.eval()


@torch.no_grad()
def retrieved(matcher: Matcher, images: Tensor, captions: Tensor, among: int = AMONG) -> Tensor:
    """For each image, whether no other caption of its group of ``among`` is nearer than its own: bool [n].

    Groups follow each other; the rest that fills none is left out.
    """
    n = len(images) // among * among
    found = []
    for part, said in zip(images[:n].split(among), captions[:n].split(among), strict=True):
        near = matcher.see(levels_to_unit(part)) @ matcher.read(said).T
        same = (said[:, None] == said).all(2)
        found.append(near.diagonal() >= near.masked_fill(same, float("-inf")).amax(1))
    return torch.cat(found) if found else torch.empty(0, dtype=torch.bool)
