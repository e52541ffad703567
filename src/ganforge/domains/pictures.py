"""Pictures as bytes, so that they can be written atomically."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure_png(figure: Figure, form: str = "png") -> bytes:
    """A matplotlib figure as PNG (or GIF). Figures are made with matplotlib.figure.Figure, so no display is needed."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # names in any script: drawn as boxes
        figure.savefig(buffer, format=form, dpi=100)
    return buffer.getvalue()
