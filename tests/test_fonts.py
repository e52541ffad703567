"""Letters that the usual fonts lack are drawn, not boxed, where some font has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib import get_data_path
from PIL import Image

from ganforge.domains import fonts, open_data
from ganforge.domains.captions_pictures import captioned_grid

BUNDLED = Path(get_data_path()) / "fonts" / "ttf"
"""DejaVu, which comes with matplotlib: Sans has letters of Tifinagh, Sans Mono and Pillow's font have not."""


def test_what_a_font_lacks() -> None:
    mono, sans = (str(BUNDLED / f"DejaVu{name}.ttf") for name in ("SansMono", "Sans"))
    assert fonts.lacking("abc ⴰ\n\u200b", mono) == {"ⴰ"} and not fonts.lacking("abc ⴰ", sans)
    assert fonts.lacking("ab", str(BUNDLED / "none.ttf")) == {"a", "b"}


def test_the_font_that_has_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "installed", lambda: (("Mono", str(BUNDLED / "DejaVuSansMono.ttf")),
                                                     ("Sans", str(BUNDLED / "DejaVuSans.ttf"))))  # fmt: skip
    fonts.font_with.cache_clear()
    found = [fonts.font_with(frozenset(text)) for text in ("abc", "aⴰ", "中", "")]
    fonts.font_with.cache_clear()
    assert [each and each[0] for each in found] == ["Mono", "Sans", None, None]


def test_lines_of_other_letters_are_no_boxes(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("abc ⴰⴱ\nⴰ\n" * 20, encoding="utf-8")
    domain, _ = open_data(str(tmp_path / "lines.txt"), kinds=("text",))
    for name, line in (("a", "ⴰ"), ("b", "ⴱ")):
        domain.show([line], tmp_path / f"{name}.png")
    a, b = (np.asarray(Image.open(tmp_path / f"{name}.png").convert("L")) for name in "ab")
    assert a.shape == b.shape and not np.array_equal(a, b)


def test_captions_of_other_letters_are_no_boxes() -> None:
    images = np.full((1, 8, 8, 1), 90, np.uint8)
    for one, other in (("ⴰ", "ⴱ"), ("д", "ж"), ("é", "è")):
        a, b = (np.asarray(captioned_grid(images, [letter])) for letter in (one, other))
        assert a.shape == b.shape and not np.array_equal(a, b)
