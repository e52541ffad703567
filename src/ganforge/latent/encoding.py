"""An encoder for a model that has none, learned from the model's own samples: latents at a glance."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch
from ganforge.core.store import Folder, write_folder
from ganforge.latent.spaces import inputs_of
from ganforge.measure.classifier import ConvClassifier
from ganforge.model import CHUNK, Model

STEPS = 1500
RATE = 2e-3


@dataclass(frozen=True)
class Encoder:
    """Images to latents: ``network`` gives ``size`` numbers of z, and logits of ``classes`` if there are any."""

    network: ConvClassifier
    size: int
    classes: int

    @torch.no_grad()
    def __call__(self, data: Tensor) -> Batch:
        """``data`` [n, *shape] as the domain encodes it -> ``z`` [n, size] and perhaps ``label`` int64 [n]."""
        found = torch.cat([self.network.head(self.network.features(part)) for part in data.split(CHUNK)])
        z, logits = found.split([self.size, self.classes], 1)
        return {"z": z, **({"label": logits.argmax(1)} if self.classes else {})}


def learn_encoder(
    model: Model, steps: int = STEPS, seed: int = 0, tell: Callable[[int, float], None] = lambda step, loss: None
) -> Encoder:
    """Minimize |E(G(z)) - z|^2 (and the cross-entropy of the class) over fresh samples, and |G(E(G(z))) - G(z)|^2: what
    is made again is to look the same, where several latents make the same picture.

    The idea of Zhu et al. 2016 (section 3.1, "projection by a feed-forward network"), trained on samples rather than on
    photos. A function of the model and the seed. InputError for models without a latent vector, or of other data than
    images.
    """
    if not model.domain.plain_images:
        raise InputError(f"only pictures can be encoded, and this model makes samples of kind '{model.domain.kind}'")
    first = inputs_of(model, 2, seed, None)
    size, classes = first["z"].shape[1], len(model.domain.classes) if "label" in model.game.conditions else 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ConvClassifier(tuple(model.domain.shape), size + classes).to(model.game.device)
        network.train()
        optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for step in range(steps):
            inputs = inputs_of(model, CHUNK, 1_000_000 + steps * seed + step, None)
            with torch.no_grad():
                image = model.game.sample(inputs)["data"]
            z, logits = network.head(network.features(image)).split([size, classes], 1)
            again = model.game.sample({**inputs, "z": z})["data"]
            loss = F.mse_loss(z, inputs["z"]) + 10 * F.mse_loss(again, image)
            if classes:
                loss = loss + F.cross_entropy(logits, inputs["label"])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            if step % 100 == 99:
                tell(step + 1, float(loss.detach()))
    return Encoder(network.eval().requires_grad_(False), size, classes)


def encoder_of(model: Model, place: Path, tell: Callable[[int, float], None] = lambda step, loss: None) -> Encoder:
    """The model's encoder, read from ``place`` if it was learned before for the same weights, else learned and kept."""
    digest = hashlib.sha256()
    for name, value in sorted(model.game.state_dict().items()):
        if name.partition(".")[0] not in model.game.used_by_model:  # made afresh whenever it is loaded
            continue
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    key = digest.hexdigest()
    if (place / "encoder.json").exists():
        folder = Folder(place)
        facts = folder.document("encoder.json")
        if facts["model"] == key:
            network = ConvClassifier(tuple(model.domain.shape), facts["size"] + facts["classes"])
            network.load_state_dict(folder.tensors("encoder"))
            network.to(model.game.device).eval().requires_grad_(False)
            return Encoder(network, facts["size"], facts["classes"])
    found = learn_encoder(model, tell=tell)
    facts = {"model": key, "size": found.size, "classes": found.classes}
    write_folder(place, {"encoder": found.network.state_dict()}, {"encoder.json": facts})
    return found
