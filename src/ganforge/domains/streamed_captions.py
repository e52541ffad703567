"""Images with captions in shards, streamed: .txt or .json files beside the images, or a column of a Parquet table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganforge.core.game import Batch
from ganforge.domains import streamed
from ganforge.domains.captions import MOST, CaptionDomain, CaptionOptions, learn, unknown_share
from ganforge.domains.captions_files import TEXTS
from ganforge.domains.image_tables import is_parquet
from ganforge.domains.streamed import StreamedOptions, open_source
from ganforge.domains.streamed_samples import OfStreams
from ganforge.domains.streamed_source import StreamedSource
from ganforge.domains.streamed_texts import Noted, Texts

AT_ONCE = 8192
"""Captions that are turned into numbers in one go."""


@dataclass(frozen=True)
class StreamedCaptionOptions(StreamedOptions, CaptionOptions):
    """How captioned images in shards are streamed: as images are, with what captions take.

    ``caption_column``: the column of a table, or the field of the .json files, that holds the caption, or a list of
    some; None takes 'caption', 'text', 'captions' or 'description', then .txt files, a caption in each line.
    """


class StreamedCaptions(OfStreams):
    """Streamed images with their captions as numbers, int64 [n, ways, length]: those with fewer have some twice.

    ``tokens`` (int32) are those of all captions one after the other, ``ends`` (int64) where each caption ends, ``last``
    how many captions there are up to each image's last one: some 4 bytes a word and 16 an image.
    """

    def __init__(
        self, images: StreamedSource, tokens: np.ndarray, ends: np.ndarray, last: np.ndarray, length: int,
        messages: list[str],
    ) -> None:  # fmt: skip
        super().__init__(images, messages=messages, told=(tokens.tobytes(), ends.tobytes(), last.tobytes()))
        self.images, self.length = images, length
        self.tokens, self.ends, self.last = tokens, ends, last
        self.ways = int(np.diff(last, prepend=0).max())

    def take(self, rows: Tensor) -> Batch:
        """``data`` [n, c, h, w] as of images, ``captions`` int64 [n, ways, length]."""
        data, used = self.images.read(rows)
        return {"data": data, "captions": torch.from_numpy(self.captions(used.numpy()))}

    def captions(self, rows: np.ndarray) -> np.ndarray:
        """The captions of ``rows``: int64 [n, ways, length]."""
        before = np.where(rows > 0, self.last[rows - 1], 0)
        which = before[:, None] + np.arange(self.ways) % (self.last[rows] - before)[:, None]
        first = np.where(which > 0, self.ends[which - 1], 0)[..., None]
        at = first + np.arange(self.length)
        inside = at < self.ends[which][..., None]
        return np.where(inside, self.tokens[np.where(inside, at, 0)], 0).astype(np.int64)


DOMAIN = CaptionDomain
OPTIONS = StreamedCaptionOptions
PRIORITY = -1
"""A folder that holds captioned images as well is a folder of these."""
ASKED = True
READS = "images with captions in .tar shards (a .txt or .json file beside each) or .parquet ones (a column)"


def accepts(spec: str) -> bool:
    """Whether ``spec`` is meant as shards, or is Parquet files, which are always streamed where they have captions."""
    return streamed.accepts(spec) or is_parquet(Path(spec))


def open(spec: str, options: StreamedCaptionOptions, progress: Any = None) -> tuple[CaptionDomain, StreamedCaptions]:
    """Find out what is in the shards of ``spec``. InputError for bad shards, and an image without a caption."""
    return open_as(spec, options, None)


def open_like(spec: str, like: CaptionDomain, split: str | None = None) -> tuple[CaptionDomain, StreamedCaptions]:
    """Stream ``spec``, or its part ``split``, with the size, the vocabulary and the length of captions of ``like``."""
    options = StreamedCaptionOptions(**like.reading, caption_column=like.caption_column, split=split)
    return open_as(spec, options, like)


def open_as(
    spec: str, options: StreamedCaptionOptions, like: CaptionDomain | None
) -> tuple[CaptionDomain, StreamedCaptions]:
    """Stream captioned images, with the vocabulary of ``like``, if given."""
    options.refuse_made_up(spec)
    named = (options.caption_column,) if options.caption_column else ()
    columns = named if named and like is None else (*named, *TEXTS)
    suffixes = () if named and like is None else ("txt",)
    images, texts = open_source(spec, options.of_streams(labels="none", label_column=None), Noted(
        "caption", tuple(dict.fromkeys(columns)), suffixes, lines=True, most=MOST
    ))  # fmt: skip
    assert texts is not None
    first = CaptionDomain(
        shape=images.shape, bits=images.bits, mirror=options.mirror, lower=options.lower,
        caption_column=options.caption_column,
    )  # fmt: skip

    def whose(i: int) -> str:
        return images.index.name(int(np.searchsorted(texts.last, i, side="right")))

    domain, messages = (like, []) if like else learn(texts, first, options, whose)
    parts = list(numbered(texts, domain))
    tokens = np.concatenate([tokens for tokens, _ in parts])
    ends = np.cumsum(np.concatenate([sizes for _, sizes in parts]), dtype=np.int64)
    return domain, StreamedCaptions(
        images, tokens, ends, texts.last, domain.length, [*messages, *unknown_share(tokens)]
    )


def numbered(texts: Texts, domain: CaptionDomain) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The numbers (int32) of the words of some captions after the others, and how many each has (int64)."""
    for first in range(0, len(texts), AT_ONCE):
        lines = domain.numbers(texts[first : first + AT_ONCE]).numpy()
        yield lines[lines > 0].astype(np.int32), (lines > 0).sum(1)
