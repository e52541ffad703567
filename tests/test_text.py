"""Text: how it is read, written and shown, and its measures against independent ones."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from command import ganforge
from conftest import real_data
from ganforge.core.errors import InputError
from ganforge.domains import domain_from_dict, open_data
from ganforge.domains.text import UNKNOWN, TextDomain, TextOptions, TextSource
from ganforge.domains.text_example import is_sentence, sentences
from ganforge.domains.text_words import join_words, words
from ganforge.measure import text as measure
from ganforge.measure.text import References, distinct, perplexity, sentence_bleu, text_report

LINES = ["A dog's life (so far), 1.5 m.", "Two cats; three dogs!", "the cat sat on the mat.", "the dog sat."]


def opened(path: Path, text: str | bytes | list[str], **options: object) -> tuple[TextDomain, TextSource]:
    """A file with that content, read."""
    if isinstance(text, list):
        text = "\n".join(text) + "\n"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    domain, source = open_data(str(path), TextOptions(**options), ("text",))  # type: ignore[arg-type]
    assert isinstance(domain, TextDomain) and isinstance(source, TextSource)
    return domain, source


# ---- reading


def test_words_and_lines_are_each_others_inverse() -> None:
    assert words(LINES[0]) == ["A", "dog's", "life", "(", "so", "far", ")", ",", "1.5", "m", "."]
    for line in LINES:
        assert join_words(words(line)) == line
    odd = ["'", "quoted", "'", "$", "x", "_", "1", "-", "%", "“", "é", "犬"]
    assert words(join_words(odd)) == odd


@pytest.mark.parametrize(
    ("line", "pieces"),
    [
        ("we 👩\u200d🚀! ❤\ufe0f 👍🏽", ["we", "👩\u200d🚀", "!", "❤\ufe0f", "👍🏽"]),
        ("to 🇫🇷🇩🇪", ["to", "🇫🇷", "🇩🇪"]),
        ("नमस्ते, दुनिया", ["नमस्ते", ",", "दुनिया"]),  # vowel signs are no letters to \\w
        ("می\u200cخواهم cafe\u0301", ["می\u200cخواهم", "cafe\u0301"]),
        ("#fun is no. #1, @me", ["#fun", "is", "no", ".", "#", "1", ",", "@me"]),
    ],
)
def test_emoji_flags_tags_and_scripts_with_marks_stay_whole(line: str, pieces: list[str]) -> None:
    assert words(line) == pieces and words(join_words(pieces)) == pieces


def test_lines_come_back(tmp_path: Path) -> None:
    domain, source = opened(tmp_path / "a.txt", LINES)
    assert domain.level == "word" and domain.lower and len(source) == 4 and domain.lines == 4
    batch = domain.encode(source.take(torch.arange(4)))
    assert batch["data"].dtype == torch.int64 and tuple(batch["data"].shape) == (4, *domain.shape)
    lines = domain.decode(batch)
    assert lines == [line.lower() for line in LINES]
    assert torch.equal(domain.to_raw(lines), batch["data"])
    assert domain_from_dict(json.loads(json.dumps(domain.to_dict()))) == domain
    assert domain.lengths(LINES).tolist() == [11, 7, 8, 5]  # with the end, but not behind the last place


def test_ids_are_left_out_and_said(tmp_path: Path) -> None:
    numbered = [f"{100 + i} {line}" for i, line in enumerate(LINES)]
    domain, source = opened(tmp_path / "a.txt", numbered)
    assert domain.decode(source.take(torch.tensor([3]))) == ["the dog sat."]
    assert any("begins with a number" in message for message in source.messages)
    domain, source = opened(tmp_path / "a.txt", numbered, skip_ids=False)
    assert domain.decode(source.take(torch.tensor([3]))) == ["103 the dog sat."]


def test_long_lines_are_cut_and_rare_words_unknown(tmp_path: Path) -> None:
    domain, source = opened(tmp_path / "a.txt", LINES, length=4, vocabulary=3)
    assert domain.shape == (4,) and domain.vocabulary == (".", "the", "sat") and domain.tokens == 5
    assert domain.decode(source.take(torch.tensor([3, 0]))) == ["the <unk> sat.", "<unk> <unk> <unk> <unk>"]
    assert any("3 lines are longer than 4 words" in message for message in source.messages)
    assert any("too rare" in message for message in source.messages)
    assert domain.to_raw(["the zebra"]).tolist() == [[3, UNKNOWN, 0, 0]]


def test_single_words_are_read_by_characters(tmp_path: Path) -> None:
    domain, source = opened(tmp_path / "names.txt", ["Anna", "Berta", "Ümit", "Jo"])
    assert domain.level == "char" and domain.shape == (5,) and not domain.lower
    assert domain.decode(source.take(torch.arange(4))) == ["Anna", "Berta", "Ümit", "Jo"]


def test_real_captions() -> None:
    domain, source = open_data(str(real_data("coco-captions.txt")), kinds=("text",))
    assert isinstance(domain, TextDomain) and isinstance(source, TextSource)
    assert len(source) == 10_000 and domain.level == "word" and domain.tokens > 4000
    lines = domain.decode(source.take(torch.arange(10_000)))
    assert lines[0] == "a restaurant has modern wooden tables and chairs."
    assert torch.equal(domain.to_raw(lines), source.take(torch.arange(10_000))["data"])


def test_real_running_text_is_cut_into_chunks() -> None:
    path = real_data("tinyshakespeare.txt")
    domain, source = open_data(str(path), kinds=("text",))
    assert isinstance(domain, TextDomain) and domain.level == "char" and domain.shape == (64,)
    text = "".join(domain.decode(source.take(torch.arange(len(source)))))
    assert path.read_text().strip("\n").startswith(text) and len(text) > 1_000_000


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (b"", {}, "holds no text"),
        (b" \n\n\t\n", {}, "holds no text"),
        (b"only one line\n", {}, "has 1 line of text"),
        (b"a b\nc d\nbad \xff here\n", {}, "line 3 is not UTF-8 (byte 0xff)"),
        (b"a b\nc d\0\n", {}, "line 2 has a zero byte"),
        ("a b\nc d\n".encode("utf-16"), {}, "UTF-16"),
        (b"x" * 100_000, {}, "has 1 line of text"),
        (b"short", {"running": True}, "not two chunks of 64"),
        (b"a b\nc d\n", {"running": True, "level": "word"}, "running text is read by characters"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, options: dict, said: str) -> None:
    with pytest.raises(InputError) as error:
        opened(tmp_path / "a.txt", content, **options)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_other_recipes_refuse_text_and_text_recipes_other_data(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(LINES))
    said = ganforge("train", "gan", "--data", path, "--run", tmp_path / "run")
    assert said.code == 2 and "of kind text" in said.error
    said = ganforge("train", "lm", "--data", "digits", "--run", tmp_path / "run")
    assert said.code == 2 and "text (.txt" in said.error and "sentences" in said.error
    assert not (tmp_path / "run").exists()


def test_example_sentences_are_right_and_others_wrong() -> None:
    lines = sentences()
    assert all(map(is_sentence, lines)) and len(set(lines)) > 3500 and sentences(10) == lines[:10]
    for wrong in ("a apple tree.", "two dog sit near a river.", "a dogs sits near a river.", "an dog sits on a table."):
        assert not is_sentence(wrong)
    assert is_sentence("an orange bird sleeps on an old bridge.")


# ---- writing


def test_files(tmp_path: Path) -> None:
    domain, _ = opened(tmp_path / "a.txt", LINES)
    samples = ["one\ntwo", "three"]
    assert domain.save(samples, tmp_path / "b.txt")[0].read_text() == "one\\ntwo\nthree\n"
    found = [
        json.loads(line)["text"] for line in domain.save(samples, tmp_path / "b.jsonl")[0].read_text().splitlines()
    ]
    assert found == samples
    assert domain.save(samples, tmp_path / "folder") == [tmp_path / "folder" / "samples.txt"]
    with pytest.raises(InputError, match=r"use \.txt"):
        domain.save(samples, tmp_path / "b.csv")


def test_picture_shows_both_sides(tmp_path: Path) -> None:
    domain, _ = opened(tmp_path / "a.txt", LINES)
    domain.show(["costs $5 and $6_x^", *LINES * 10], tmp_path / "a.png", LINES)
    ink = np.asarray(Image.open(tmp_path / "a.png").convert("L")) < 128
    middle = ink.shape[1] // 2
    assert ink[:, :middle].mean() > 0.01 and ink[:, middle:].mean() > 0.002


# ---- measures


def random_lines(count: int, seed: int) -> list[list[str]]:
    draw = random.Random(seed)
    return [[draw.choice("aaabbcde") for _ in range(draw.randint(3, 12))] for _ in range(count)]


def test_bleu_is_nltks() -> None:
    nltk = pytest.importorskip("nltk.translate.bleu_score")
    smooth = nltk.SmoothingFunction().method1
    made, real = random_lines(30, 0), random_lines(12, 1)
    references = References(real)
    ours = measure.bleu(made, references)
    others = measure.self_bleu(made)
    for n in (2, 3, 4, 5):
        weights = (1 / n,) * n
        theirs = [nltk.sentence_bleu(real, line, weights, smooth) for line in made]
        assert ours[n].tolist() == pytest.approx(theirs, abs=1e-12)
        alike = [nltk.sentence_bleu(made[:i] + made[i + 1 :], line, weights, smooth) for i, line in enumerate(made)]
        assert others[n].tolist() == pytest.approx(alike, abs=1e-12)
        long = [line for line in made if len(line) >= n]  # nltk counts an n-gram where a line has none
        theirs = nltk.corpus_bleu([real] * len(long), long, weights)
        assert measure.corpus_bleu(long, references, n) == pytest.approx(theirs, abs=1e-12)


def test_corpus_bleu_is_sacrebleus() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    made, real = random_lines(30, 0), random_lines(12, 1)
    sides = [[" ".join(line)] * len(made) for line in real]
    theirs = sacrebleu.corpus_bleu([" ".join(line) for line in made], sides, tokenize="none", smooth_method="none")
    assert 100 * measure.corpus_bleu(made, References(real), 4) == pytest.approx(theirs.score, abs=1e-9)


def test_bleu_at_its_ends() -> None:
    references = References([words("the cat sat on the mat")])
    assert sentence_bleu(words("the cat sat on the mat"), references) == 1.0
    assert sentence_bleu(words("no word here fits"), references) == 0.0
    assert sentence_bleu(words("the cat sat on the"), references) == pytest.approx(math.exp(1 - 6 / 5))
    assert sentence_bleu([], references) == 0.0


def test_shares_by_hand() -> None:
    lines = [["a", "b", "a"], ["a", "b"]]
    assert distinct(lines, 1) == 2 / 5 and distinct(lines, 2) == 2 / 3
    report = text_report(["the dog sat."] * 10 + LINES * 3, LINES, LINES[:1])
    assert report.scores["copied"].value == pytest.approx(3 / 22)
    assert report.scores["unique"].value == pytest.approx(4 / 22)
    assert report.scores["bleu2"].value == pytest.approx(1.0)  # all lines are among the held-out ones
    for score in report.scores.values():
        assert score.low is not None and score.high is not None and score.value is not None
        assert score.low <= score.value + 1e-9 and score.value <= score.high + 1e-9
    assert json.dumps(report.to_dict()) and "22 lines by 4 held-out ones" in report.lines()[-1]


def test_perplexity_of_even_odds() -> None:
    lengths = torch.tensor([3, 5, 8])
    found = perplexity(-lengths * math.log(50), lengths)
    assert found.value == pytest.approx(50) and found.low == pytest.approx(50)


def test_worse_text_scores_worse() -> None:
    """Shuffled words have lower BLEU, repeated lines a higher self-BLEU; real lines hardly any copies."""
    real, held = sentences(1500), sentences(600, seed=1)
    draw = random.Random(0)
    shuffled = [" ".join(draw.sample(words(line), len(words(line)))) for line in sentences(200, seed=2)]
    good = text_report(sentences(200, seed=2), held, real).scores
    bad = text_report(shuffled, held, real).scores
    same = text_report(sentences(20, seed=2) * 10, held, real).scores
    assert bad["bleu3"].high < good["bleu3"].low  # type: ignore[operator]
    assert same["self_bleu3"].low > good["self_bleu3"].high and same["unique"].value == 0.1  # type: ignore[operator]
    assert good["copied"].value < 0.1  # type: ignore[operator]


def test_what_cannot_be_judged() -> None:
    with pytest.raises(InputError, match="too few lines"):
        text_report(LINES, LINES)
    with pytest.raises(InputError, match="unknown level"):
        text_report(LINES * 10, LINES, level="letters")
