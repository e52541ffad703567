"""A look at a set of images before training on it: sizes, damage, duplicates, classes, and what to do about them."""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ganforge.core.errors import InputError
from ganforge.domains import image, streamed
from ganforge.domains.image_decode import Entry, Fit, decode, header, in_order, picture_of
from ganforge.domains.image_labels import Listing
from ganforge.domains.image_packing import ImageOptions, Progress, class_order, find
from ganforge.domains.image_pictures import save_picture, viewable

SHEET_ROWS, SHEET_COLUMNS, CELL, LABEL_WIDTH = 20, 12, 64, 96
NEIGHBORS = 8
"""How many neighbors in the sorted order of hashes are compared: near duplicates stand next to each other."""

_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1).astype(np.uint8)


@dataclass(frozen=True)
class Audit:
    """What ``inspect_images`` found; all of it is JSON-ready by ``to_dict``.

    ``sizes`` are 'HEIGHTxWIDTH' -> images. ``mean`` and ``std`` are per channel in 0-1, of the images with the most
    usual number of channels. ``duplicates`` are groups of names with the same pixels, ``near_duplicates`` groups that
    look the same (difference hash of 64 bits at most 3 apart, and within 3 % of the contrast at 16 x 16).
    ``warnings`` say what to do.
    """

    where: str
    found: int
    readable: int
    sizes: dict[str, int]
    modes: dict[str, int]
    channels: dict[str, int]
    bits: dict[str, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: dict[str, int]
    corrupt: list[tuple[str, str]]
    constant: list[str]
    duplicates: list[list[str]]
    near_duplicates: list[list[str]]
    messages: list[str]
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The audit as text, a line for each finding."""
        most = sorted(self.sizes.items(), key=lambda kv: -kv[1])
        shown = ", ".join(f"{size} ({n:,})" for size, n in most[:5])
        lines = [
            f"{self.where}: {self.readable:,} images" + _more(self.found - self.readable, ", {} unreadable"),
            f"size (height x width): {shown}" + _more(len(most) - 5, ", and {} other sizes"),
            f"modes: {_counts(self.modes)}; channels: {_counts(self.channels)}; bits: {_counts(self.bits)}",
            f"mean {_numbers(self.mean)}, standard deviation {_numbers(self.std)} (levels from 0 to 1)",
        ]
        if self.classes:
            shown = ", ".join(f"{name} ({n:,})" for name, n in list(self.classes.items())[:20])
            lines.append(f"{len(self.classes):,} classes: {shown}" + _more(len(self.classes) - 20, ", and {} more"))
        else:
            lines.append("no labels")
        for title, names in (
            ("unreadable", [f"{name} ({reason})" for name, reason in self.corrupt]),
            ("blank", self.constant),
            ("same pixels", [" = ".join(group[:4]) for group in self.duplicates]),
            ("nearly the same", [" ~ ".join(group[:4]) for group in self.near_duplicates]),
        ):
            if names:
                lines.append(f"{title}: {len(names):,}: {'; '.join(names[:5])}" + _more(len(names) - 5, "; {} more"))
        return [*lines, *self.messages, *(f"warning: {w}" for w in self.warnings)]


@dataclass(frozen=True)
class _Look:
    """What one image showed. ``means`` [channels] are of levels in 0-1, ``squares`` of their squares."""

    size: tuple[int, int]
    channels: int
    bits: int
    mode: str
    digest: bytes
    hash: int
    small: np.ndarray
    constant: bool
    means: np.ndarray
    squares: np.ndarray
    cell: Image.Image | None


def inspect_images(
    spec: str, options: ImageOptions, out: Path | None = None, progress: Progress | None = None
) -> Audit:
    """Decode every image of ``spec`` as it is and report; ``out`` gets a contact sheet (PNG), a row for each class.

    Labels that cannot be read become a warning here. Raises InputError when there are no images at all.
    """
    listing, warnings = _list(spec, options)
    shown = _chosen(listing)
    looks: list[tuple[int, str, _Look]] = []
    corrupt: list[tuple[str, str]] = []

    def work(item: tuple[int, Entry]) -> _Look:
        return _look(item[1], options.max_pixels, item[0] in shown)

    with closing(in_order(work, enumerate(listing.entries()), options.workers)) as results:
        for (i, entry), look in results:
            if isinstance(look, str):
                corrupt.append((entry.name, look))
            else:
                looks.append((i, entry.name, look))
            if progress is not None and (i % 64 == 63 or i + 1 == listing.count):
                progress(i + 1, listing.count)
    if not looks:
        first = f"the first, {corrupt[0][0]}: {corrupt[0][1]}"
        raise InputError(f"{listing.where}: none of {listing.count:,} images can be read; {first}")
    labels = None if listing.labels is None else [listing.labels[i] for i, _, _ in looks]
    names, seen = [name for _, name, _ in looks], [look for _, _, look in looks]
    same = _same(seen)
    usual = Counter(look.channels for look in seen).most_common(1)[0][0]
    mean, std = _moments([look for look in seen if look.channels == usual])
    tally = Counter(labels or [])
    audit = Audit(
        where=listing.where,
        found=listing.count,
        readable=len(looks),
        sizes=_tally(f"{h}x{w}" for h, w in (look.size for look in seen)),
        modes=_tally(look.mode for look in seen),
        channels=_tally(str(look.channels) for look in seen),
        bits=_tally(str(look.bits) for look in seen),
        mean=mean,
        std=std,
        classes={name: tally[name] for name in class_order(labels or [])},
        corrupt=corrupt,
        constant=[name for name, look in zip(names, seen, strict=True) if look.constant],
        duplicates=[[names[i] for i in group] for group in same],
        near_duplicates=[[names[i] for i in group] for group in _near(seen)],
        messages=list(listing.messages),
    )
    if labels is not None:
        crossed = [group for group in same if len({labels[i] for i in group}) > 1]
        if crossed:
            pair = " and ".join(f"{names[i]} ({labels[i]})" for i in crossed[0][:2])
            warnings.append(f"{len(crossed):,} images stand in more than one class, such as {pair}: correct the labels")
    audit = replace(audit, warnings=warnings + _advice(audit, [look.size for look in seen]))
    if out is not None:
        save_picture(
            _sheet([(name, look.cell) for name, look in zip(labels or [""] * len(seen), seen, strict=True)]), out
        )
    return audit


def _list(spec: str, options: ImageOptions) -> tuple[Listing, list[str]]:
    if not image.accepts(spec) and streamed.accepts(spec):
        return streamed.list_shards(spec, options), []
    try:
        return find(spec, options)[1](), []
    except InputError as error:
        if options.labels == "none":
            raise
        plain = replace(options, labels="none", label_column=None)
        return find(spec, plain)[1](), [f"labels cannot be used: {error}"]  # raises again if it is not the labels


def _chosen(listing: Listing) -> set[int]:
    """The images to show: evenly spread over each class."""
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(listing.labels or [""] * listing.count):
        groups.setdefault(name, []).append(i)
    if len(groups) == 1:
        rows = next(iter(groups.values()))
        return {rows[i] for i in np.linspace(0, len(rows) - 1, min(len(rows), 8 * SHEET_COLUMNS)).astype(int)}
    first = class_order(list(groups))[:SHEET_ROWS]
    return {
        groups[name][i]
        for name in first
        for i in np.linspace(0, len(groups[name]) - 1, min(len(groups[name]), SHEET_COLUMNS)).astype(int)
    }


def _look(entry: Entry, max_pixels: int, shown: bool) -> _Look:
    content = entry.load()
    head = header(content, max_pixels)
    planes = decode(content, Fit(), max_pixels)
    digest = hashlib.blake2b(repr((planes.shape, str(planes.dtype))).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(planes).data)
    picture = picture_of(viewable(planes.transpose(1, 2, 0)[None])[0])
    grey = picture.convert("L")
    small = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    bits = np.packbits(small[:, 1:] > small[:, :-1])
    flat = planes.reshape(len(planes), -1).astype(np.float64) / np.iinfo(planes.dtype).max
    if shown:
        picture.thumbnail((CELL, CELL))
    return _Look(
        head.size,
        head.channels,
        head.bits,
        head.mode,
        digest.digest(),
        int.from_bytes(bits.tobytes(), "big"),
        np.asarray(grey.resize((16, 16), Image.Resampling.BOX)).reshape(-1),
        bool((planes == planes[:, :1, :1]).all()),
        flat.mean(1),
        (flat**2).mean(1),
        picture if shown else None,
    )


def _moments(looks: list[_Look]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    weights = np.array([h * w for h, w in (look.size for look in looks)], dtype=np.float64)
    mean = np.average([look.means for look in looks], axis=0, weights=weights)
    squares = np.average([look.squares for look in looks], axis=0, weights=weights)
    std = np.sqrt(np.maximum(squares - mean**2, 0.0))
    return tuple(round(float(m), 6) for m in mean), tuple(round(float(s), 6) for s in std)


def _same(looks: list[_Look]) -> list[list[int]]:
    """Groups of images with exactly the same pixels."""
    groups: dict[bytes, list[int]] = {}
    for i, look in enumerate(looks):
        groups.setdefault(look.digest, []).append(i)
    return [group for group in groups.values() if len(group) > 1]


def _near(looks: list[_Look]) -> list[list[int]]:
    """Groups of images that look the same but are not: of exact copies only the first is compared.

    Hashes at most 3 bits apart agree in at least one of their four quarters, so sorting by each quarter brings
    them together; comparing with a few neighbors then costs n log n rather than n squared.
    """
    first: dict[bytes, int] = {}
    for i, look in enumerate(looks):
        if not look.constant:
            first.setdefault(look.digest, i)
    index = np.array(list(first.values()), dtype=np.int64)
    if len(index) < 2:
        return []
    hashes = np.array([looks[i].hash for i in index], dtype=np.uint64)
    small = np.stack([looks[i].small for i in index]).astype(np.int16)
    parent = np.arange(len(index))

    def top(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = int(parent[i])
        return i

    for quarter in range(4):
        order = np.lexsort((hashes, hashes >> np.uint64(16 * quarter) & np.uint64(0xFFFF)))
        for step in range(1, min(NEIGHBORS + 1, len(order))):
            a, b = order[:-step], order[step:]
            apart = _BITS[(hashes[a] ^ hashes[b]).view(np.uint8).reshape(-1, 8)].sum(1)
            a, b = a[apart <= 3], b[apart <= 3]
            alike = np.abs(small[a] - small[b]).mean(1) <= 0.5 + 0.03 * small[a].std(1)
            for i, j in zip(a[alike].tolist(), b[alike].tolist(), strict=True):
                parent[top(i)] = top(j)
    groups: dict[int, list[int]] = {}
    for i in range(len(index)):
        groups.setdefault(top(i), []).append(int(index[i]))
    return [group for group in groups.values() if len(group) > 1]


def _advice(audit: Audit, sizes: list[tuple[int, int]]) -> list[str]:
    """What a practitioner should do about the findings."""
    advice = []
    if audit.corrupt:
        advice.append(f"{len(audit.corrupt):,} files cannot be read and are skipped: repair or delete them")
    if audit.readable < 500:
        advice.append(f"{audit.readable:,} images are few: use augmentation (ADA or DiffAugment), or find more")
    if len(audit.channels) > 1:
        advice.append(f"mixed channels ({_counts(audit.channels)}): choose with --channels 3 (or 1)")
    counts = sorted(audit.classes.values())
    if counts and counts[-1] > 10 * counts[0]:
        least = min(audit.classes, key=lambda name: audit.classes[name])
        advice.append(
            f"the biggest class has {counts[-1]:,} images and '{least}' only {counts[0]:,}: merge or add, or train "
            "without labels"
        )
    height, width = np.array(sizes).T
    aspect = width / height
    odd = np.abs(np.log(aspect / np.median(aspect))) > np.log(1.25)
    if odd.mean() > 0.05:
        advice.append(f"{int(odd.sum()):,} images have another aspect ratio than most: cropping will cut into them")
    shorter, longer = np.minimum(height, width), np.maximum(height, width)
    if (shorter < 16).any():
        advice.append(f"{int((shorter < 16).sum()):,} images are smaller than 16 pixels: little to learn from")
    if (longer > 1024).any():
        advice.append(f"{int((longer > 1024).sum()):,} images are larger than 1024 pixels: set --resolution")
    if shorter.max() > 2 * shorter.min() and shorter.max() >= 16:
        advice.append(f"the shorter sides go from {shorter.min()} to {shorter.max()}: small images will be blurred")
    extra = sum(len(group) - 1 for group in audit.duplicates)
    if extra:
        advice.append(f"{extra:,} images are exact copies of others: they count double in training, delete them")
    if len(audit.near_duplicates) > 0.01 * audit.readable:
        advice.append(f"{len(audit.near_duplicates):,} groups of near duplicates: the GAN may memorize them")
    if audit.constant:
        advice.append(f"{len(audit.constant):,} images are blank (one color): delete them")
    return advice


def _sheet(cells: list[tuple[str, Image.Image | None]]) -> Image.Image:
    """The contact sheet: a captioned row for each class, or a plain grid without labels."""
    groups: dict[str, list[Image.Image]] = {}
    for name, cell in cells:
        if cell is not None:
            groups.setdefault(name, []).append(cell)
    rows: list[tuple[str, list[Image.Image]]] = []
    for name in class_order(list(groups)):
        some = groups[name]
        rows += [(name, some[i : i + SHEET_COLUMNS]) for i in range(0, len(some), SHEET_COLUMNS)]
    left = LABEL_WIDTH if any(name for name, _ in rows) else 2
    size = (left + max(len(row) for _, row in rows) * (CELL + 2), 2 + len(rows) * (CELL + 2))
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for y, (name, row) in enumerate(rows):
        caption = name if len(name) <= 14 else name[:13] + "…"
        draw.text((4, y * (CELL + 2) + CELL // 2), caption, fill="black", font=font)
        for x, cell in enumerate(row):
            dx, dy = (CELL - cell.width) // 2, (CELL - cell.height) // 2
            sheet.paste(cell, (left + x * (CELL + 2) + dx, 2 + y * (CELL + 2) + dy))
    return sheet


def _tally(values: Any) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _counts(tally: dict[str, int]) -> str:
    return ", ".join(f"{name} ({n:,})" for name, n in tally.items())


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{v:.3f}" for v in values)


def _more(count: int, text: str) -> str:
    return text.format(f"{count:,}") if count > 0 else ""
