"""Text: lines of words or of characters, or running text cut into chunks. Networks see whole numbers, one a piece.

0 is the end of a line and all that follows it, 1 a piece that is not in the vocabulary, and 2, 3, .. are the
vocabulary, commonest first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ganforge.core.errors import InputError
from ganforge.core.game import Batch
from ganforge.core.store import write_bytes
from ganforge.domains.domain import Domain, check_whole
from ganforge.domains.fonts import families_for
from ganforge.domains.pictures import figure_png
from ganforge.domains.text_example import sentences
from ganforge.domains.text_words import (
    END,
    UNKNOWN,
    Numbered,
    begins_with_ids,
    join_words,
    most_frequent,
    without_id,
    words,
)

UNKNOWN_MARK = "<unk>"
CHUNK = 64
"""Characters of running text that make a sample, where the user says nothing."""
LONGEST = {"word": 64, "char": 256}
"""A line's pieces, at most, where the user says nothing."""
COVERED = 0.995
"""The share of lines that are then kept whole."""

Level = Literal["word", "char"]


@dataclass(frozen=True)
class TextOptions:
    """How text is read.

    level: word, char, or auto: words, but characters for running text and for lines of single words. running: text
    that goes on over its lines, cut into chunks of characters (None: where lines are blank in between). length: words
    or characters of a sample, at most; longer lines are cut (None: what keeps 99.5 % of lines whole). vocabulary: so
    many different pieces, the commonest. lower: lower case (None: for words). skip_ids: leave out the number that each
    line begins with (None: where all do).
    """

    level: Literal["auto", "word", "char"] = "auto"
    running: bool | None = None
    length: Annotated[int, Field(ge=2, le=4096)] | None = None
    vocabulary: Annotated[int, Field(ge=2, le=100_000)] = 5000
    lower: bool | None = None
    skip_ids: bool | None = None


@dataclass(frozen=True, kw_only=True)
class TextDomain(Numbered, Domain):
    """At most ``shape[0]`` pieces a sample: int64 [n, length], as the module says. ``vocabulary`` are the pieces, and
    ``lines`` is how many samples there were.
    """

    kind: ClassVar[str] = "text"
    shown: ClassVar[int] = 24
    coded: ClassVar[bool] = True
    sequential: ClassVar[bool] = True
    vocabulary: tuple[str, ...] = ()
    level: Level = "word"
    lower: bool = False
    lines: int = 0

    def pieces(self, line: str) -> list[str]:
        """A line as the words, or characters, that it is made of."""
        line = line.lower() if self.lower else line
        return words(line) if self.level == "word" else list(line)

    def numbers(self, lines: Sequence[str]) -> Tensor:
        """Lines as raw samples, int64 [n, length]; what is too long is cut. InputError for what is no list of lines."""
        if isinstance(lines, str) or not all(isinstance(line, str) for line in lines):
            raise InputError("text is wanted as a list of lines")
        return number_lines([self.pieces(line) for line in lines], self.number, self.shape[0])

    def lengths(self, lines: Sequence[str]) -> Tensor:
        """How many pieces ``log_prob`` counts in each line, its end among them: int64 [n]."""
        return (self.numbers(lines) != END).sum(1).add(1).clamp_max(self.shape[0])

    def encode(self, raw: Batch) -> Batch:
        """``data`` int64 [n, length], as it is."""
        return {**raw, "data": raw["data"].to(torch.int64)}

    def to_raw(self, samples: Sequence[str]) -> Tensor:
        """Decoded samples as a Source gives them: int64 [n, length]."""
        return self.numbers(samples)

    def decode(self, batch: Batch) -> list[str]:
        """Lines as strings."""
        spoken = ("", UNKNOWN_MARK, *self.vocabulary)
        found = []
        for row in batch["data"].detach().cpu().tolist():
            pieces = [spoken[token] for token in (row[: row.index(END)] if END in row else row)]
            found.append(join_words(pieces) if self.level == "word" else "".join(pieces))
        return found

    def save(self, samples: Sequence[str], out: Path) -> list[Path]:
        """Write lines: ``out`` is a .txt (one a line; line breaks within a sample as \\n), .jsonl or .png file, or a
        folder that gets samples.txt.
        """
        suffix = out.suffix.lower()
        if not suffix:
            return self.save(samples, out / "samples.txt")
        if suffix == ".png":
            self.show(samples, out)
        elif suffix == ".txt":
            write_bytes(out, "".join(f"{one_line(text)}\n" for text in samples).encode())
        elif suffix == ".jsonl":
            lines = [json.dumps({"text": text}, ensure_ascii=False) for text in samples]
            write_bytes(out, "".join(f"{line}\n" for line in lines).encode())
        else:
            raise InputError(f"cannot write text as '{out.suffix}': use .txt, .jsonl, .png or a folder")
        return [out]

    def show(self, samples: Sequence[str], path: Path, real: Sequence[str] | None = None) -> None:
        """The first lines as PNG, real ones beside them."""
        from matplotlib.figure import Figure

        sides = [("generated", samples), *([("real", real)] if real is not None else [])]
        across = min(max([len(one_line(t)) for _, side in sides for t in side[: self.shown]] + [20]), 96)
        families = families_for((t for _, side in sides for t in side[: self.shown]), "monospace")
        figure = Figure(figsize=(0.3 + len(sides) * (0.085 * across + 0.4), 0.5 + 0.24 * self.shown))
        for index, (title, side) in enumerate(sides):
            left = (index + 0.02) / len(sides)
            figure.text(left, 0.97, title, weight="bold", va="top", size=10)
            for row, text in enumerate(side[: self.shown]):
                shown = one_line(text)
                shown = shown if len(shown) <= across else shown[: across - 1] + "…"
                at = 0.93 - 0.92 * row / self.shown
                figure.text(left, at, shown, va="top", family=families, size=9, parse_math=False)
        write_bytes(path, figure_png(figure))


def one_line(text: str) -> str:
    """A text with its line breaks as \\n."""
    return text.replace("\r", "\\r").replace("\n", "\\n")


def number_lines(lines: Sequence[Sequence[str]], number: dict[str, int], length: int) -> Tensor:
    """Pieces as numbers, int64 [n, length], cut or filled with END."""
    out = np.zeros((len(lines), length), dtype=np.int64)
    for row, line in enumerate(lines):
        kept = line[:length]
        out[row, : len(kept)] = [number.get(piece, UNKNOWN) for piece in kept]
    return torch.from_numpy(out)


class TextSource:
    """Lines held in memory as numbers. ``messages`` say how the text was read."""

    def __init__(self, tokens: Tensor, domain: TextDomain, messages: Sequence[str] = ()) -> None:
        self.tokens, self.messages = tokens.to(torch.int32), list(messages)
        described = repr((domain.level, domain.lower, domain.vocabulary)).encode()
        self.fingerprint = hashlib.sha256(described + self.tokens.numpy().tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, rows: Tensor) -> Batch:
        """``data`` int64 [n, length]."""
        return {"data": self.tokens[rows].to(torch.int64)}


DOMAIN = TextDomain
OPTIONS = TextOptions
BUILTIN = ("sentences",)
ASKED = True
READS = "text (.txt, a sample a line or running text)"


def accepts(spec: str) -> bool:
    """Whether ``spec`` is a text file or the built-in sentences."""
    return spec in BUILTIN or (Path(spec).is_file() and Path(spec).suffix.lower() == ".txt")


def read_lines(path: Path) -> list[str]:
    """The lines of a file, blank ones too. InputError names the first that is no text, or not UTF-8."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    if b"\0" in content:
        row = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise InputError(f"{path}: line {row} has a zero byte: it is no text, or not UTF-8 (UTF-16?): save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}: line {row} is not UTF-8 (byte 0x{content[error.start]:02x}): save the file as UTF-8"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def open(spec: str, options: TextOptions) -> tuple[TextDomain, TextSource]:
    """Read text and learn its vocabulary. InputError for a file without text, or with too little."""
    lines = sentences() if spec in BUILTIN else read_lines(Path(spec))
    filled = [line.strip() for line in lines if line.strip()]
    if not filled:
        raise InputError(f"{spec} holds no text")
    messages = []
    blank = len(lines) - len(filled) - (not lines[-1].strip())
    running = options.running
    if running is None:
        running = options.level != "word" and blank > 0.05 * len(filled)
    if running and options.level == "word":
        raise InputError("running text is read by characters: set data.level=char, or data.running=false")
    if not running and (options.skip_ids or (options.skip_ids is None and begins_with_ids(filled))):
        filled = [without_id(line) for line in filled]
        messages.append("each line begins with a number, which is left out (to keep it: --set data.skip_ids=false)")
    if running:
        return read_running(spec, "\n".join(lines).strip("\n"), options)
    level = options.level
    if level == "auto":
        level = "word" if sum(len(line.split()) > 1 for line in filled) > len(filled) / 2 else "char"
    return read_samples(spec, filled, level, options, messages)


def open_like(spec: str, like: TextDomain, split: str | None = None) -> tuple[TextDomain, TextSource]:
    """Read text as ``like`` has it: its level, its vocabulary, its length; for comparing texts with each other."""
    check_whole(spec, split)
    options = TextOptions(
        level=like.level, running=None if like.level == "char" else False, length=like.shape[0],
        lower=like.lower, vocabulary=100_000,
    )  # fmt: skip
    found, source = open(spec, options)
    if found.vocabulary == like.vocabulary:
        return like, source
    return like, TextSource(like.numbers(found.decode({"data": source.tokens})), like, source.messages)


def read_samples(
    spec: str, lines: list[str], level: Level, options: TextOptions, messages: list[str]
) -> tuple[TextDomain, TextSource]:
    """A sample a line."""
    if len(lines) < 2:
        raise InputError(f"{spec} has 1 line of text: a GAN needs many (is it running text? --set data.running=true)")
    lower = level == "word" if options.lower is None else options.lower
    split = TextDomain(shape=(0,), level=level, lower=lower).pieces
    cut = [split(line) for line in lines]
    sizes = np.asarray([len(line) for line in cut])
    usual = max(int(np.quantile(sizes, COVERED, method="higher")), 2)
    length = options.length or min(usual, LONGEST[level])
    vocabulary = most_frequent(cut, options.vocabulary)
    domain = TextDomain(shape=(length,), vocabulary=vocabulary, level=level, lower=lower, lines=len(lines))
    tokens = number_lines(cut, domain.number, length)
    what = "words" if level == "word" else "characters"
    messages.append(
        f"{len(lines):,} lines, {np.median(sizes):.0f} {what} long in the median, of {len(domain.vocabulary):,} "
        f"different {what}"
        + (" (--set data.level=char reads characters)" if options.level == "auto" and level == "word" else "")
    )
    if (longer := int((sizes > length).sum())) > 0:
        were = "line is longer than {} {}, and was cut" if longer == 1 else "lines are longer than {} {}, and were cut"
        messages.append(f"{longer:,} {were.format(length, what)} (data.length sets the limit)")
    return domain, TextSource(tokens, domain, messages + unknown(tokens, what))


def read_running(spec: str, text: str, options: TextOptions) -> tuple[TextDomain, TextSource]:
    """Chunks of characters, one after the other; what is left over at the end is left out."""
    text = text.lower() if options.lower else text
    length = options.length or CHUNK
    count = len(text) // length
    if count < 2:
        raise InputError(f"{spec} has {len(text)} characters of text, not two chunks of {length}: a GAN needs many")
    vocabulary = most_frequent([text], options.vocabulary)
    lower = bool(options.lower)
    domain = TextDomain(shape=(length,), vocabulary=vocabulary, level="char", lower=lower, lines=count)
    tokens = number_lines([text[: count * length]], domain.number, count * length).view(count, length)
    messages = [
        f"running text of {len(text):,} characters, {len(vocabulary):,} different, cut into {count:,} chunks of "
        f"{length} (data.length sets their size; data.running=false takes lines for samples)"
    ]
    return domain, TextSource(tokens, domain, messages + unknown(tokens, "characters"))


def unknown(tokens: Tensor, what: str) -> list[str]:
    """What to say of pieces that are not in the vocabulary."""
    share = int((tokens == UNKNOWN).sum()) / max(int((tokens != END).sum()), 1)
    if not share:
        return []
    return [f"{100 * share:.2g} % of the {what} are too rare for the vocabulary (data.vocabulary sets its size)"]
