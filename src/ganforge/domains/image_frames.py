"""Image files that hold several frames: animations, pages. Where an image is wanted, the first frame is taken."""

from __future__ import annotations

import io
from collections.abc import Mapping

from PIL import Image

from ganforge.domains.image_decode import Content

FORMATS = ("GIF", "PNG", "WEBP", "TIFF", "AVIF")
"""Formats that may hold several. (The previews that phones put behind a JPEG are no frames.)"""


def frames(content: Content) -> int:
    """How many frames a file holds; 1 for an array, and for what cannot be read."""
    if not isinstance(content, bytes) or not may_hold_several(content):
        return 1
    try:
        with Image.open(io.BytesIO(content), formats=[f for f in FORMATS if f in Image.OPEN]) as image:
            return int(getattr(image, "n_frames", 1))
    except Exception:  # damaged files make decoders raise nearly anything; decoding says so
        return 1


def may_hold_several(content: bytes) -> bool:
    """What the first bytes tell, without opening the file: nearly all images hold one."""
    start = content[:12]
    if start.startswith(b"\x89PNG"):
        return b"acTL" in content[: content.find(b"IDAT")]
    if start.startswith(b"RIFF"):
        return b"ANIM" in content[:64]
    return start.startswith((b"GIF8", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")) or start[4:] == b"ftypavis"


def only_first(several: Mapping[str, int], done: str = "read") -> str:
    """A line on files with several frames, by their names, of which only the first was ``done`` something with."""
    name, count = next(iter(several.items()))
    if len(several) == 1:
        return f"{name} has {count:,} frames: only the first is {done}"
    return f"{len(several):,} files have several frames ({name} has {count:,}): only the first of each is {done}"
