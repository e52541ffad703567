"""SqueezeNet 1.0 (Iandola et al. 2016, table 1): a small ImageNet network as a feature extractor."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganforge.core.errors import InputError

SIDE = 227
LEAST = 21
"""Pixels a side: of smaller images nothing is left after the last pool."""
MEANS = (104.0, 117.0, 123.0)
"""Of blue, green and red levels: what is subtracted from the input."""
STAGES = (1, 4, 7, 12)
"""The layers whose maps say how alike two images look: at 1/2, 1/4, 1/8 and 1/16 of the size."""
FIRES = {
    3: (96, 16), 4: (128, 16), 5: (128, 32), 7: (256, 32), 8: (256, 48), 9: (384, 48), 10: (384, 64), 12: (512, 64),
}  # fmt: skip
"""Place -> (channels in, squeezed channels); a module expands to eight times the squeezed ones. Others are pools."""


class Fire(nn.Module):
    """Squeeze by 1 x 1, expand by 1 x 1 and by 3 x 3."""

    def __init__(self, before: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(before, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, 4 * squeezed, 1)
        self.expand3x3 = nn.Conv2d(squeezed, 4 * squeezed, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))], 1)


class SqueezeNet(nn.Module):
    """Images [n, 3, 227, 227], BGR levels 0 to 255 less their means, to features [n, 512] and logits [n, 1000]."""

    means: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("means", torch.tensor(MEANS)[:, None, None], persistent=False)
        layers: list[nn.Module] = [nn.Conv2d(3, 96, 7, stride=2), nn.ReLU()]
        for place in range(2, 13):
            layers.append(Fire(*FIRES[place]) if place in FIRES else nn.MaxPool2d(3, 2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(512, 1000, 1, padding=1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.features(x)
        return x.mean((2, 3)), F.relu(self.classifier(x)).mean((2, 3))

    def looks(self, images: Tensor) -> list[Tensor]:
        """Maps of images [n, 1, 3 or 4, h, w] in [-1, 1], at their own size (``LEAST`` pixels a side at least).

        Each position has unit length along the channels, as in LPIPS (Zhang et al. 2018, section 3.1).
        """
        colors = images.float()[:, :3] if images.shape[1] >= 3 else images.float()[:, :1].expand(-1, 3, -1, -1)
        x = (colors * 127.5 + 127.5).flip(1) - self.means
        maps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in STAGES:
                maps.append(x / (x.square().sum(1, keepdim=True) + 1e-10).sqrt())
        return maps


@lru_cache(maxsize=2)
def trained_squeezenet(path: str, device: torch.device) -> SqueezeNet:
    """SqueezeNet with the weights of a safetensors file, frozen. InputError: no such file, or not its weights."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    network = SqueezeNet()
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        what = "no such file" if not Path(path).is_file() else str(error).splitlines()[0]
        raise InputError(f"{path} holds no weights of SqueezeNet 1.0 as safetensors ({what})") from None
    return network.eval().requires_grad_(False).to(device)
