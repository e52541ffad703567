"""Images with captions, from which images are to be made by words."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ganforge.core.errors import InputError, nearest
from ganforge.core.game import Batch
from ganforge.domains import image
from ganforge.domains.captions_files import TEXTS, has_captions, read_images
from ganforge.domains.captions_made import Figures, Glyphs, MadeSource, Scenes, parts
from ganforge.domains.captions_pictures import captioned_grid
from ganforge.domains.domain import Source
from ganforge.domains.image import ImageDomain
from ganforge.domains.image_decode import parse_size
from ganforge.domains.image_packing import ImageOptions, Progress
from ganforge.domains.image_pictures import make_folder, save_picture, side_by_side, write
from ganforge.domains.packed import PackedSource
from ganforge.domains.text import UNKNOWN, UNKNOWN_MARK, number_lines
from ganforge.domains.text_words import Numbered, commonest, join_words, words

LONGEST = 64
"""A caption's words, at most, where the user says nothing."""
COVERED = 0.995
"""The share of captions that are then kept whole."""
PROMPTS = 500
"""Captions that travel with a model, to be drawn from where no prompt is given."""
MOST = 10
"""Captions of one image that are used."""
COUNT = 20_000
"""Made-up pictures, where the user says nothing."""
SIDE = 32
"""Pixels of a made-up picture's side, where the user says nothing."""
PARTS = ("train", "unseen", "unseen-objects")


SAYING = re.compile(r"\w|[^\x00-\xff]")
"""What a caption must have to say anything: a letter, a digit, or a sign that may be a picture."""


@dataclass(frozen=True)
class CaptionOptions(ImageOptions):
    """How captioned images are read, besides what images take.

    ``caption_column``: the column that holds the caption. ``length``: words of a caption, at most; longer ones are cut
    (None: what keeps 99.5 % whole). ``vocabulary``: so many different words, the commonest. ``lower``: lower case.
    Of the made-up sets: ``count``: how many pictures; ``seed``: of them.
    """

    caption_column: str | None = None
    length: Annotated[int, Field(ge=2, le=512)] | None = None
    vocabulary: Annotated[int, Field(ge=2, le=100_000)] = 5000
    lower: bool = True
    count: Annotated[int, Field(ge=2, le=10_000_000)] | None = None
    seed: Annotated[int, Field(ge=0)] | None = None

    def refuse_made_up(self, spec: str) -> None:
        """InputError where something is asked for that only pictures which are made up have."""
        if self.count is not None or self.seed is not None:
            raise InputError(f"data.count and data.seed are for pictures that are made up, not for {spec}")


@dataclass(frozen=True, kw_only=True)
class CaptionDomain(Numbered, ImageDomain):
    """Images ``data`` [n, *shape] in [-1, 1] with ``caption`` int64 [n, length]: 0 ends it, 1 is an unknown word.

    ``prompts`` are some of the training captions, ``caption_column`` is the column of a table that they were in, where
    that was said.
    """

    kind: ClassVar[str] = "captions"
    plain_images: ClassVar[bool] = False
    nearness: ClassVar[bool] = False
    scored: ClassVar[bool] = False
    shown: ClassVar[int] = 24
    coded: ClassVar[bool] = True
    vocabulary: tuple[str, ...] = ()
    length: int = 1
    lower: bool = True
    prompts: tuple[str, ...] = ()
    caption_column: str | None = None

    def words(self, caption: str) -> list[str]:
        """The words of a caption."""
        return words(caption.lower() if self.lower else caption)

    def numbers(self, captions: Sequence[str]) -> Tensor:
        """Captions as numbers, int64 [n, length]; what is too long is cut."""
        return number_lines([self.words(caption) for caption in captions], self.number, self.length)

    def spoken(self, captions: Tensor) -> list[str]:
        """Numbers [n, length] as captions."""
        names = ("", UNKNOWN_MARK, *self.vocabulary)
        return [join_words(names[token] for token in row if token) for row in captions.detach().cpu().tolist()]

    def encode(self, raw: Batch) -> Batch:
        """Levels to [-1, 1], and the first ``caption`` of each image's ``captions`` [n, ways, length]."""
        batch = super().encode(raw)
        return {**batch, "caption": batch["captions"][:, 0]} if "captions" in batch else batch

    def augment(self, batch: Batch) -> Batch:
        """Mirroring, if it is asked for; and each image gets one of its captions at random."""
        batch = super().augment(batch)
        if "captions" not in batch:
            return batch
        ways = batch["captions"].shape[1]
        which = (torch.rand(len(batch["data"])) * ways).long().clamp_max(ways - 1).to(batch["captions"].device)
        return {**batch, "caption": batch["captions"][torch.arange(len(which), device=which.device), which]}

    def decode(self, batch: Batch) -> Any:
        """``images``, levels [n, height, width, channels]; with captions in the batch a dict, ``captions`` its other
        entry."""
        images = super().decode(batch)
        return {"images": images, "captions": self.spoken(batch["caption"])} if "caption" in batch else images

    def prompted(self, prompts: Sequence[str]) -> Batch:
        """``caption`` int64 [k, length] of prompts. InputError for an empty one, a word not seen in training, and one
        that is too long."""
        for prompt in prompts:
            asked = self.words(prompt)
            if not any(word.isalnum() for word in asked):
                raise InputError("the prompt is empty: say what the image should show, such as " + self.example)
            for word in asked:
                if word not in self.number and word[0].isalnum():
                    raise InputError(f"no caption in the training data has '{word}': {self.near(word)}")
            if len([w for w in asked if w in self.number]) > self.length:
                raise InputError(f"the prompt has {len(asked)} words, and this model reads {self.length} at most")
        known = [[word for word in self.words(prompt) if word in self.number] for prompt in prompts]
        return {"caption": number_lines(known, self.number, self.length)}

    @property
    def example(self) -> str:
        """A prompt that works."""
        return f"'{self.prompts[0]}'" if self.prompts else f"'{self.vocabulary[0]}'"

    def near(self, word: str) -> str:
        """The nearest word that is known."""
        found = nearest(word, self.vocabulary)
        return found if len(self.vocabulary) <= 30 or found.startswith("did") else f"such as {self.example}"

    def conditions(self, n: int, generator: torch.Generator, label: int | str | None = None) -> Batch:
        """``caption`` int64 [n, length]: captions of the training data, at random."""
        if label is not None:
            raise InputError("images with captions have no label: use --prompt")
        rows = torch.randint(max(len(self.prompts), 1), (n,), generator=generator)
        return {"caption": self.numbers(self.prompts or ("",))[rows]}

    def save(self, samples: Any, out: Path) -> list[Path]:
        """As images; a folder also gets captions.csv, as such a folder is read, an .npz ``captions``."""
        captions = samples.get("captions") if isinstance(samples, dict) else None
        out = Path(out)
        if captions is None or not len(captions):
            return super().save(samples, out)
        if out.suffix.lower() == ".npz":
            buffer = io.BytesIO()
            np.savez_compressed(buffer, images=samples["images"], captions=np.asarray(captions))
            make_folder(out.parent)
            write(out, buffer.getvalue())
            return [out]
        if out.suffix.lower() == ".png" and len(captions) > 1:
            self.show(samples, out)
            return [out]
        paths = super().save(samples["images"], out)
        if not out.suffix:
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerows([("file_name", "caption"), *zip([p.name for p in paths], captions, strict=True)])
            write(out / "captions.csv", text.getvalue().encode())
            paths.append(out / "captions.csv")
        return paths

    def show(self, samples: Any, path: Path, real: Any | None = None) -> None:
        """Draw a grid of samples as PNG, their captions below; ``real`` ones, if given, stand to the left."""
        drawn = [
            (name, captioned_grid(*apart(s))) for name, s in (("real", real), ("generated", samples)) if s is not None
        ]
        save_picture(drawn[0][1] if len(drawn) == 1 else side_by_side(drawn), Path(path))

    def animate(self, samples: Any, path: Path, steps: int) -> None:
        """As of images."""
        super().animate(apart(samples)[0], path, steps)

    def strips(self, samples: Any, path: Path, columns: Sequence[str], rows: Sequence[str] = ()) -> None:
        """As of images."""
        super().strips(apart(samples)[0], path, columns, rows)


def apart(samples: Any) -> tuple[np.ndarray, Sequence[str]]:
    """Decoded samples as images and captions (none, where they have none)."""
    return (samples["images"], samples.get("captions", ())) if isinstance(samples, dict) else (samples, ())


class CaptionedSource:
    """Packed images with their captions as numbers, int64 [n, ways, length]: those with fewer have some twice."""

    def __init__(self, packed: PackedSource, captions: Tensor, messages: Sequence[str]) -> None:
        self.packed, self.captions = packed, captions.to(torch.int32)
        self.messages = [*packed.messages, *messages]
        seen = hashlib.sha256(packed.fingerprint.encode() + self.captions.numpy().tobytes())
        self.fingerprint = seen.hexdigest()

    def __len__(self) -> int:
        return len(self.packed)

    def take(self, rows: Tensor) -> Batch:
        """``data`` [n, c, h, w] as of images, ``captions`` int64 [n, ways, length]."""
        return {"data": self.packed.take(rows)["data"], "captions": self.captions[rows].to(torch.int64)}


DOMAIN = CaptionDomain
OPTIONS = CaptionOptions
BUILTIN = ("scenes", "shapes")
PREFIX = "scenes:"
ASKED = True
READS = (
    "images with captions (a folder or .zip with captions.csv: file_name, caption; or metadata.csv with a column "
    "text), or scenes:IMAGES, labelled grey images to make scenes of"
)


def accepts(spec: str) -> bool:
    """Whether ``spec`` is a built-in set, scenes of labelled images, or images with a table of captions."""
    return part_of(spec)[0] in BUILTIN or spec.startswith(PREFIX) or has_captions(Path(spec))


def looks(spec: str) -> str:
    """What tells that images have captions; empty if nothing does."""
    return "a table of captions" if has_captions(Path(spec)) else ""


def part_of(spec: str) -> tuple[str, str]:
    """``scenes@unseen`` as what is made and which part of it, ``train`` where nothing is said."""
    name, _, part = spec.rpartition("@")
    made = name in BUILTIN or name.startswith(PREFIX)
    if made and part not in PARTS:
        raise InputError(f"{spec}: {nearest(part, PARTS)}")
    return (name, part) if made else (spec, "train")


def open(spec: str, options: CaptionOptions, progress: Progress | None = None) -> tuple[CaptionDomain, Source]:
    """Read captioned images, or make some up. InputError for missing or empty captions, and missing images."""
    return open_as(spec, options, None, progress)


def open_like(spec: str, like: CaptionDomain, split: str | None = None) -> tuple[CaptionDomain, Source]:
    """Read ``spec``, or its part ``split``, with the size, the vocabulary and the length of captions of ``like``."""
    options = CaptionOptions(**like.reading, caption_column=like.caption_column, split=split)
    return open_as(spec, options, like, None)


def open_as(
    spec: str, options: CaptionOptions, like: CaptionDomain | None, progress: Progress | None
) -> tuple[CaptionDomain, Source]:
    """Read files with captions, or make scenes; with the vocabulary of ``like``, if given. InputError: bad captions."""
    name, part = part_of(spec)
    if name in BUILTIN or name.startswith(PREFIX):
        return open_made(name, part, options, like, progress)
    options.refuse_made_up(spec)
    named = (options.caption_column,) if options.caption_column else ()
    packed, found = read_images(spec, options, named if named and like is None else (*named, *TEXTS), progress)
    captions = list(found.values())
    first = CaptionDomain(
        shape=packed.shape,  # type: ignore[arg-type]
        bits=packed.bits,
        mirror=options.mirror,
        lower=options.lower,
        caption_column=options.caption_column,
    )
    flat = [caption for each in captions for caption in each[:MOST]]
    of_each = np.cumsum([len(each[:MOST]) for each in captions])

    def whose(i: int) -> str:
        return f"'{list(found)[np.searchsorted(of_each, i, side='right')]}'"

    domain, messages = (like, []) if like else learn(flat, first, options, whose)
    ways = max(len(c[:MOST]) for c in captions)
    lines = [c[:MOST][i % len(c[:MOST])] for c in captions for i in range(ways)]
    tokens = domain.numbers(lines)
    messages += unknown_share(tokens.numpy())
    return domain, CaptionedSource(packed, tokens.view(len(captions), ways, domain.length), messages)


def unknown_share(tokens: np.ndarray) -> list[str]:
    """A message of how many words of captions are not known, where some are not."""
    share = float((tokens == UNKNOWN).sum() / max((tokens > 0).sum(), 1))
    return [f"{100 * share:.2g} % of the captions' words are not in the vocabulary (data.vocabulary)"] if share else []


def learn(
    flat: Sequence[str], domain: CaptionDomain, options: CaptionOptions, whose: Callable[[int], str] | None = None
) -> tuple[CaptionDomain, list[str]]:
    """The domain with the vocabulary of all captions, and what was decided. They are gone through one by one.

    ``whose`` names the image that a caption belongs to, by its number.
    """
    counts: Counter[str] = Counter()
    sizes = np.empty(len(flat), dtype=np.int64)
    wordless = []
    for i, caption in enumerate(flat):
        line = domain.words(caption)
        if not SAYING.search(caption):
            wordless.append(i)
        counts.update(line)
        sizes[i] = len(line)
    length = options.length or min(max(int(np.quantile(sizes, COVERED, method="higher")), 2), LONGEST)
    vocabulary = commonest(counts, options.vocabulary)
    few = np.random.default_rng(0).permutation(len(flat))[:PROMPTS]
    prompts = tuple(join_words(domain.words(flat[int(i)])[:length]) for i in sorted(few))
    median = f"{np.median(sizes):.0f}"
    messages = [f"{len(flat):,} captions, {median} words long in the median, of {len(vocabulary):,} different words"]
    if (longer := int((sizes > length).sum())) > 0:
        messages.append(f"{longer:,} captions are longer than {length} words, and were cut (data.length)")
    if wordless:
        have = "caption has" if len(wordless) == 1 else "captions have"
        of = f", the first is that of {whose(wordless[0])}" if whose else ""
        messages.append(f"{len(wordless):,} {have} no word{of}: '{flat[wordless[0]]}'")
    return replace(domain, vocabulary=vocabulary, length=length, prompts=prompts), messages


def open_made(
    spec: str, part: str, options: CaptionOptions, like: CaptionDomain | None, progress: Progress | None
) -> tuple[CaptionDomain, MadeSource]:
    """Scenes of digits, or shapes: the ``part`` of them."""
    size = parse_size(options.resolution) or (SIDE, SIDE)
    if options.split is not None:
        raise InputError(f"data.split={options.split}: of made-up pictures say {spec}@unseen or {spec}@unseen-objects")
    if size[0] != size[1] or size[0] < 16 or size[0] % 4:
        raise InputError(f"{spec}: made-up pictures are square, of a side that 4 divides, 16 or more: not {size}")
    if options.channels not in (None, 3) or options.mirror:
        raise InputError(
            f"{spec}: made-up pictures have 3 channels, and cannot be mirrored, since 'left' must stay left"
        )
    grammar = Figures(size[0]) if spec == "shapes" else scenes(spec, size[0], options, progress)
    ways = [grammar.captions(combination) for combination in grammar.combinations]
    flat = [caption for each in ways for caption in each]
    domain = like or learn(flat, CaptionDomain(shape=(3, size[0], size[1]), lower=True), options)[0]
    tokens = domain.numbers(flat)
    tokens = tokens.view(len(ways), -1, domain.length)
    rows, count = parts(grammar)[part], options.count or COUNT
    source = MadeSource(grammar, rows, part != "train", count, options.seed or 0, tokens)
    if like is None:  # only captions of this part are drawn from
        few = np.random.default_rng(0).permutation(source.rows)[:PROMPTS]
        domain = replace(domain, prompts=tuple(ways[row][i % len(ways[row])] for i, row in enumerate(few)))
    return domain, source


def scenes(spec: str, size: int, options: ImageOptions, progress: Progress | None) -> Scenes:
    """The grammar of scenes of the images in ``spec``. InputError where they are not grey, or have no classes."""
    inner = spec.removeprefix(PREFIX) if spec.startswith(PREFIX) else "digits"
    if not inner or not image.accepts(inner):
        raise InputError(f"{spec}: scenes: wants labelled grey images after the colon, as in scenes:mnist.zip")
    domain, source = image.open(inner, ImageOptions(workers=options.workers), progress)
    if domain.shape[0] != 1 or len(domain.classes) < 2:
        raise InputError(f"{inner}: scenes are made of grey images in classes (folders), to be colored")
    if min(domain.counts) < 5:
        raise InputError(f"{inner}: every class needs at least 5 images, to keep a fifth from training")
    taken = source.take(torch.arange(len(source)))
    glyphs = Glyphs.of(taken["data"], taken["label"], 7 * size // 16)
    return Scenes(glyphs, domain.classes, size)
