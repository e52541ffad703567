"""Movies (.mp4) from pictures that follow each other."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ganforge.core.errors import InputError, need_extra
from ganforge.domains.image_pictures import make_folder, write

CODECS = ("libx264", "mpeg4")
"""The first that is there."""


def save_movie(frames: Sequence[Image.Image], path: Path, rate: int = 10) -> None:
    """Write ``frames``, all of one size, ``rate`` a second. Odd sides lose nothing: their last pixels are repeated.

    InputError without the package av, or one of it that cannot write movies.
    """
    try:
        import av
    except ImportError as error:
        raise need_extra("av", "video") from error
    first = np.asarray(frames[0].convert("RGB"))
    down, across = first.shape[0] % 2, first.shape[1] % 2  # the usual chroma format wants even sides
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as movie:
        codec = next((c for c in CODECS if c in av.codecs_available), None)
        if codec is None:
            raise InputError(f"{path}: this installation of av has neither {' nor '.join(CODECS)}; write a .gif")
        stream = movie.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = first.shape[0] + down, first.shape[1] + across, "yuv420p"
        for frame in frames:
            pixels = np.pad(np.asarray(frame.convert("RGB")), ((0, down), (0, across), (0, 0)), mode="edge")
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                movie.mux(packet)
        for packet in stream.encode():
            movie.mux(packet)
    make_folder(path.parent)
    write(path, buffer.getvalue())
