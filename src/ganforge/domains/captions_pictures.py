"""Pictures of samples with their captions below."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ganforge.domains.fonts import font_with
from ganforge.domains.image_pictures import columns_for, grid

WIDTH = 128
"""Pixels: cells with a caption are at least this wide."""
LINE = 12
"""Pixels: the height of a line of a caption."""
SIZE = 10
"""Points: of the letters."""
LINES = 4
"""Lines of a caption that are shown."""


def font_of(captions: Sequence[str]) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Pillow's own font, which has hardly more than ASCII; else the font here that has most of the letters."""
    found = None if all(caption.isascii() for caption in captions) else font_with(frozenset().union(*captions))
    return ImageFont.truetype(found[1], SIZE) if found else ImageFont.load_default()


def captioned_grid(images: np.ndarray, captions: Sequence[str]) -> Image.Image:
    """A near-square grid of images [n, height, width, channels], each with its caption below it, if there are any."""
    if not len(captions):
        return grid(images)
    font = font_of(captions)
    cells = [grid(images[i : i + 1], gap=0) for i in range(len(images))]
    factor = max(1, round(WIDTH / cells[0].width))
    cells = [cell.resize((cell.width * factor, cell.height * factor), Image.Resampling.NEAREST) for cell in cells]
    width = max(cells[0].width, WIDTH)
    letters = int(width / (font.getlength("abcdefghij klmno") / 16))
    told = [textwrap.wrap(caption, letters, max_lines=LINES, placeholder=" ..") for caption in captions]
    height = cells[0].height + LINE * max(map(len, told)) + 8
    columns = columns_for(len(cells), height, width)
    rows = math.ceil(len(cells) / columns)
    whole = Image.new("RGB", (columns * (width + 4) + 4, rows * (height + 4) + 4), "white")
    draw = ImageDraw.Draw(whole)
    for i, (cell, lines) in enumerate(zip(cells, told, strict=True)):
        x, y = 4 + i % columns * (width + 4), 4 + i // columns * (height + 4)
        whole.paste(cell, (x, y))
        for j, line in enumerate(lines):
            draw.text((x, y + cell.height + 2 + LINE * j), line, fill="black", font=font)
    return whole
