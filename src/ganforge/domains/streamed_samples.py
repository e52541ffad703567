"""Samples that are more than one streamed image: an image with what is told of it, or one of each of several sets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from ganforge.domains.domain import Damage
from ganforge.domains.streamed_source import StreamedSource


class OfStreams:
    """What a source made of ``streams`` passes on to them. Row i is row i of the longest, and of a shorter one that
    begins anew: row i mod n. The order is that of the longest.
    """

    def __init__(
        self, *streams: StreamedSource, messages: Sequence[str] = (), told: Sequence[bytes | str] = ()
    ) -> None:
        """``told``: what else decides the samples, for the fingerprint."""
        self.streams = streams
        self.longest = max(streams, key=len)
        self.messages = (*(message for stream in streams for message in stream.messages), *messages)
        digest = hashlib.sha256("\0".join(stream.fingerprint for stream in streams).encode())
        for part in told:
            digest.update(b"\0" + (part.encode() if isinstance(part, str) else part))
        self.fingerprint = digest.hexdigest()
        for stream in streams:
            if stream is not self.longest:
                stream.follow(self.longest)

    def __len__(self) -> int:
        return len(self.longest)

    def order(self, generator: torch.Generator) -> Tensor:
        """All rows in the order of an epoch, int64 [n]."""
        return self.longest.order(generator)

    @property
    def ahead(self) -> int:
        """How many samples ahead all want to know what comes."""
        return min(stream.ahead for stream in self.streams)

    def expect(self, rows: Tensor) -> None:
        """Tell all what will be taken."""
        for stream in self.streams:
            stream.expect(rows % len(stream))

    @property
    def damage(self) -> Damage:
        """What could not be read, of all together."""
        return self.streams[0].damage if len(self.streams) == 1 else Damages(*(s.damage for s in self.streams))


class Damages(Damage):
    """What several sources could not read, as it is when it is asked for."""

    def __init__(self, *parts: Damage) -> None:
        self.parts = parts

    def untold(self) -> tuple[str, int] | None:
        """The first file of several frames, of each part once."""
        return next((found for part in self.parts if (found := part.untold()) is not None), None)

    @property
    def count(self) -> int:  # type: ignore[override]
        """How many."""
        return sum(part.count for part in self.parts)

    @property
    def known(self) -> int:  # type: ignore[override]
        """How many from the start."""
        return sum(part.known for part in self.parts)

    @property
    def first(self) -> list[tuple[str, str]]:  # type: ignore[override]
        """(name, reason) of the first; those known from the start stand before the others."""
        known = [one for part in self.parts for one in part.first[: part.known]]
        return known + [one for part in self.parts for one in part.first[part.known :]]
