"""Images that are read and decoded when they are needed: what shards hold, as a source of bounded memory."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tarfile
import threading
import warnings
import weakref
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganforge.core.errors import GanforgeError, InputError
from ganforge.core.game import Batch
from ganforge.domains.domain import Damage
from ganforge.domains.image_decode import Fit, decode, reason_of
from ganforge.domains.image_files import printable
from ganforge.domains.image_frames import frames
from ganforge.domains.streamed_parquet import ParquetIndex
from ganforge.domains.streamed_places import AT_ONCE, Place, Shard

BLOCK = 4 * 2**20
"""Bytes of a shard that are read at once where reads are dear: images whose first byte lies in the same BLOCK."""
SLACK = 4
"""Blocks that are kept beyond the window and what is read ahead."""
AHEAD_BYTES = 128 * 2**20
"""Decoded images that wait for their use take no more than this."""
CHUNK = 32
"""Images that a thread decodes in one go."""
GIVE_UP = 100
"""A damaged image is replaced by the next whole one, that far away at most."""


@dataclass(frozen=True)
class Index:
    """Where each image is: ``shard`` (a number), ``offset`` (int64) and ``size`` in bytes, and its ``label``: [n] each.

    The others are int32: together 20 bytes an image, since there may be very many. ``samples``: for each shard a digest
    of the names of what its images are of.
    """

    place: Place
    shards: list[Shard]
    shard: np.ndarray
    offset: np.ndarray
    size: np.ndarray
    label: np.ndarray | None
    classes: tuple[str, ...] = ()
    samples: tuple[str, ...] = ()
    beside: Index | None = None
    """Images of the same samples, row by row, which are in its blocks too."""

    @property
    def dear(self) -> bool:
        """Whether to read one image costs about as much as to read its block."""
        return self.place.remote

    @property
    def block_bytes(self) -> int:
        """What a block takes in memory."""
        return BLOCK

    def __len__(self) -> int:
        return len(self.offset)

    def read_block(self, first: int, last: int) -> tuple[int, bytes]:
        """First byte and content of the block of images ``first`` to ``last`` - 1. RunError when it cannot be had."""
        ranges = [each.range(slice(first, last)) for each in (self, self.beside) if each is not None]
        start, end = min(start for start, _ in ranges), max(end for _, end in ranges)
        return start, self.place.read(self.shards[self.shard[first]], start, end - start)

    def range(self, rows: slice) -> tuple[int, int]:
        """The first byte of some images of one shard, and that after their last."""
        return int(self.offset[rows].min()), int((self.offset[rows] + self.size[rows]).max())

    def pick(self, block: tuple[int, bytes], first: int, row: int) -> bytes:
        """An image's file, of those of its block, which begins with image ``first``."""
        begin = int(self.offset[row]) - block[0]
        return block[1][begin : begin + int(self.size[row])]

    def why_empty(self, row: int) -> str:
        """Why there is no image in a row: of a tar, nothing is known."""
        return ""

    def read(self, row: int) -> bytes:
        """The content of an image file. RunError when it cannot be had."""
        start, length = int(self.offset[row]), int(self.size[row])
        return self.place.read(self.shards[self.shard[row]], start, length)

    def name(self, row: int) -> str:
        """Shard and member; read from the shard, since names are not kept."""
        shard = self.shards[self.shard[row]]
        with contextlib.suppress(GanforgeError, tarfile.TarError):
            header = self.place.read(shard, int(self.offset[row]) - tarfile.BLOCKSIZE, tarfile.BLOCKSIZE)
            return f"{shard.name}: {printable(tarfile.TarInfo.frombuf(header, 'utf-8', 'surrogateescape').name)}"
        return f"{shard.name}: the image at byte {int(self.offset[row]):,}"

    def blocks(self) -> tuple[np.ndarray, np.ndarray]:
        """The block of each image (int32 [n], counted from 0), and each block's first row (int64 [blocks])."""
        places = self.offset // BLOCK
        new = np.ones(len(places), dtype=bool)
        new[1:] = (np.diff(places) != 0) | (np.diff(self.shard) != 0)
        return np.cumsum(new, dtype=np.int32) - 1, np.flatnonzero(new)


class StreamedSource:
    """Random access to images in shards; decoded in threads, and ahead of their use where ``expect`` says what comes.

    What ``take`` gives is a function of the rows alone. An image that cannot be decoded is replaced by the next one
    that can (with its label), and counted in ``damage``; with ``strict`` it is an InputError.

    ``window``: blocks whose images are mixed with each other, read as a whole and held in memory; with 0 all images
    are mixed, and read one by one. ``ahead``: images that are decoded
    ahead of their use, at most. ``messages`` are what was decided for the user.
    """

    def __init__(
        self,
        index: Index | ParquetIndex,
        fit: Fit,
        fingerprint: str,
        max_pixels: int,
        window: int = 0,
        ahead: int = 1024,
        workers: int | None = None,
        strict: bool = False,
        messages: tuple[str, ...] = (),
    ) -> None:
        assert fit.size is not None and fit.channels is not None and fit.bits is not None
        self.index, self.fit, self.fingerprint, self.max_pixels = index, fit, fingerprint, max_pixels
        self.strict, self.messages, self.damage = strict, messages, Damage()
        self.shape = (fit.channels, *fit.size)
        self.ahead = max(1, min(ahead, AHEAD_BYTES // int(np.prod(self.shape)), len(self) // 2))
        self.block, self.starts = index.blocks()
        self.window = window if window < len(self.starts) else 0
        self.by_block = window > 0
        per_block = len(self) / len(self.starts)
        self._kept_blocks = min(window, len(self.starts)) + int(self.ahead / per_block) + SLACK
        self._blocks: OrderedDict[int, Future[Any]] = OrderedDict()
        self._lender: StreamedSource | None = None
        self._expected: OrderedDict[bytes, list[Future[tuple[np.ndarray, list[int]]]]] = OrderedDict()
        self._lock = threading.Lock()
        self._workers = workers or min(8, os.cpu_count() or 1)
        self._decoders = ThreadPoolExecutor(self._workers, thread_name_prefix="ganforge-stream")
        self._readers = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ganforge-read")
        for pool in (self._decoders, self._readers):
            weakref.finalize(self, pool.shutdown, wait=False, cancel_futures=True)
        warnings.filterwarnings("ignore", module=r"PIL\.")  # remarks on odd metadata, from threads that decode

    def __len__(self) -> int:
        return len(self.index)

    @property
    def bits(self) -> int:
        """Of a level: 8 or 16."""
        assert self.fit.bits is not None
        return self.fit.bits

    @property
    def counts(self) -> tuple[int, ...]:
        """How many images each class has; empty without labels."""
        if self.index.label is None:
            return ()
        return tuple(np.bincount(self.index.label, minlength=len(self.index.classes)).tolist())

    def follow(self, other: StreamedSource) -> None:
        """Be read in the order of ``other``, row by row: keep the blocks that lie beside those in its window."""
        self.by_block = other.by_block
        beside = -(-len(other) * len(self.starts) // (len(other.starts) * len(self))) + 1
        self._kept_blocks = min(other._kept_blocks * beside, len(self.starts))

    def share_blocks(self, other: StreamedSource) -> None:
        """Take images from the blocks of ``other``, whose row i is of the same sample, where that is less to read."""
        mine, its = self.index, other.index
        if not isinstance(mine, Index) or not isinstance(its, Index):  # columns of tables lie apart
            return
        ends = (*other.starts[1:], len(other))
        each = [(its.range(rows), mine.range(rows)) for rows in map(slice, other.starts, ends)]
        together = sum(max(a[1], b[1]) - min(a[0], b[0]) for a, b in each)
        if together < sum(end - start for two in each for start, end in two):
            other.index = replace(its, beside=mine)
            self.block, self.starts, self._lender = other.block, other.starts, other

    # ---- the order

    def order(self, generator: torch.Generator) -> Tensor:
        """All rows in the order of an epoch: a permutation, int64 [n], a function of the generator's state.

        With a window, blocks come in random order, and image i of the block at place p stands at p + u_i window, where
        u_i is uniform on [0, 1): so at any time images of ``window`` blocks are mixed, and blocks are read one by one.
        """
        n = len(self)
        if not self.window:
            return torch.randperm(n, generator=generator)
        places = torch.randperm(len(self.starts), generator=generator)
        at = (
            places[torch.from_numpy(self.block).long()]
            + torch.rand(n, generator=generator, dtype=torch.float64) * self.window
        )
        return at.argsort(stable=True)

    # ---- reading

    def expect(self, rows: Tensor) -> None:
        """Begin to read and decode ``rows`` (int64 [n]), which ``take`` will be asked for, in the background."""
        key = rows.numpy().tobytes()
        if key in self._expected:
            return
        images = len(key) // 8
        while self._expected and images * (len(self._expected) - 1) > 2 * self.ahead:
            for future in self._expected.popitem(last=False)[1]:  # never asked for: a trainer that was thrown away
                future.cancel()
        if self.by_block:
            for block in dict.fromkeys(self.block[rows.numpy()].tolist()):
                self._load(block)
        self._expected[key] = self._submit(rows, self.by_block)

    def take(self, rows: Tensor) -> Batch:
        """Images ``rows`` (int64 [n]): ``data`` uint8 [n, c, h, w] (16 bits: float32 levels), ``label`` int64 [n].

        InputError for a damaged image with ``strict``, RunError when a shard cannot be read any more.
        """
        data, used = self.read(rows)
        if self.index.label is None:
            return {"data": data}
        return {"data": data, "label": torch.from_numpy(self.index.label[used.numpy()].astype(np.int64))}

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The images of ``take``, and the rows that they are: others than ``rows`` where images are damaged."""
        parts = self._expected.pop(rows.numpy().tobytes(), None) or self._submit(rows, False)
        done = [part.result() for part in parts]
        levels = np.concatenate([levels for levels, _ in done]) if done else np.empty((0, *self.shape), np.uint8)
        data = torch.from_numpy(levels if levels.dtype == np.uint8 else levels.astype(np.float32))
        return data, torch.tensor([row for _, some in done for row in some], dtype=torch.int64)

    def _submit(self, rows: Tensor, by_block: bool) -> list[Future[tuple[np.ndarray, list[int]]]]:
        chunk = max(1, min(CHUNK, -(-len(rows) // self._workers)))
        work = partial(self._decode, by_block=by_block)
        return [self._decoders.submit(work, some.tolist()) for some in rows.split(chunk)] if len(rows) else []

    def _decode(self, rows: list[int], by_block: bool) -> tuple[np.ndarray, list[int]]:
        """Decoded images [n, c, h, w], and the rows that they are."""
        if by_block:
            contents = [self._from_block(row) for row in rows]
        elif self.index.place.remote:
            contents = list(self._readers.map(self.index.read, rows))
        else:
            contents = [self.index.read(row) for row in rows]
        out = np.empty((len(rows), *self.shape), np.uint8 if self.fit.bits == 8 else np.uint16)
        used = []
        for i, (row, content) in enumerate(zip(rows, contents, strict=True)):
            out[i], found = self._whole(row, content)
            used.append(found)
        return out, used

    def _whole(self, row: int, content: bytes) -> tuple[np.ndarray, int]:
        """The image of a row, or the next one that can be decoded; and its row."""
        for step in range(min(GIVE_UP, len(self))):
            asked = (row + step) % len(self)
            try:
                content = content if not step else self.index.read(asked)
                planes = decode(content, self.fit, self.max_pixels)
                if self.damage.looks and (count := frames(content)) > 1:
                    self._note_several(asked, count)
                return planes, asked
            except GanforgeError:
                raise
            except Exception as error:  # damaged files make decoders raise nearly anything
                name, reason = self.index.name(asked), self.index.why_empty(asked) or reason_of(error)
                if self.strict:
                    raise InputError(f"{name}: {reason}") from error
                with self._lock:
                    self.damage.add(asked, name, reason)
        raise InputError(f"{self.index.name(row)}: neither it nor any of the {GIVE_UP} images after it can be read")

    def _note_several(self, row: int, count: int) -> None:
        """Remember that an image has several frames, if it is the first such one."""
        with self._lock:
            first, self.damage.looks = self.damage.looks, False
        if first:
            self.damage.several = self.index.name(row), count

    # ---- blocks

    def _load(self, block: int) -> Future[Any]:
        """A block's content, read once while it is in the window."""
        if self._lender is not None:
            return self._lender._load(block)
        with self._lock:
            if block not in self._blocks:
                while len(self._blocks) >= self._kept_blocks:
                    self._blocks.popitem(last=False)
                self._blocks[block] = self._readers.submit(self._read_block, block)
            return self._blocks[block]

    def _read_block(self, block: int) -> Any:
        try:
            return self.index.read_block(*self._span(block))  # type: ignore[misc]
        except BaseException:
            with self._lock:
                self._blocks.pop(block, None)  # the next time is a new attempt
            raise

    def _span(self, block: int) -> tuple[int, int]:
        """First row, and the row after the last."""
        end = int(self.starts[block + 1]) if block + 1 < len(self.starts) else len(self)
        return int(self.starts[block]), end

    def _from_block(self, row: int) -> bytes:
        block = int(self.block[row])
        return self.index.pick(self._load(block).result(), int(self.starts[block]), row)


def fingerprint_of(digests: list[str], contents: list[bytes], told: str) -> str:
    """sha256 of the shards' digests, the content of some images, and what decides how all are decoded."""
    digest = hashlib.sha256(told.encode())
    for text in digests:
        digest.update(text.encode())
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()
