"""What a score was measured with: without it, a number says nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

VERSION = 1
"""Of the metrics' definitions: raised when a score of the same samples may come out differently."""


@dataclass(frozen=True)
class Protocol:
    """``features``, their ``features_sha256`` and ``resizer``; how many samples of each side (``counts``: real,
    generated, floor); how the real ones were split; the fingerprints of the data; seeds, settings and versions;
    ``quality``: how good the features are, where that was measured."""

    features: str
    features_sha256: str
    resizer: str
    counts: Mapping[str, int]
    split: str
    data: Mapping[str, str]
    seed: int
    settings: Mapping[str, int | float]
    versions: Mapping[str, str]
    quality: str = ""
    version: int = VERSION

    @property
    def key(self) -> str:
        """Ten hex digits that are equal for scores that may be compared."""
        text = json.dumps({k: v for k, v in asdict(self).items() if k not in ("versions", "quality")}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "key": self.key}

    def lines(self) -> list[str]:
        """For people."""
        counts = ", ".join(f"{count:,} {name}" for name, count in self.counts.items())
        features = f"features {self.features} (sha256 {self.features_sha256[:12]}), resizer {self.resizer}"
        lines = [
            f"protocol {self.key}: {features if self.features_sha256 else 'no features'}",
            f"  samples: {counts}; real split: {self.split}; seed {self.seed}",
        ]
        return [*lines, f"  features: {self.quality}"] if self.quality else lines
