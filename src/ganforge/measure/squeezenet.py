"""SqueezeNet as a feature extractor: the network itself is in ``nn``, where training may use it too."""

from __future__ import annotations

from ganforge.nn.squeezenet import SIDE as SIDE
from ganforge.nn.squeezenet import SqueezeNet as SqueezeNet
