"""Images from words: how captions are read, the made-up scenes, and the way from a prompt to a picture."""

from __future__ import annotations

import math
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ganforge
from command import ganforge as command
from conftest import real_data
from ganforge.core.errors import InputError
from ganforge.domains import domain_from_dict, open_data
from ganforge.domains.captions import CaptionDomain, CaptionedSource, CaptionOptions
from ganforge.domains.captions_made import COLORS, MadeSource, Scenes, figure, parts
from ganforge.domains.text import UNKNOWN
from ganforge.measure.captions import Matcher, matcher_of, retrieved
from ganforge.measure.counting import told_to

ROWS = [
    ("a.png", "A red cat, asleep."),
    ("a.png", "an animal"),
    ("b.png", "a blue dog"),
    ("c.png", "a cat and a dog"),
]


def folder(place: Path, rows: list[tuple[str, str]] | None = None, name: str = "captions.csv", head: str = "") -> Path:
    """Pictures a, b and c of one color each, and their captions."""
    place.mkdir()
    for i, letter in enumerate("abc"):
        Image.new("RGB", (16, 16), (60 * i + 30, 100, 200)).save(place / f"{letter}.png")
    lines = [head or "file_name,caption", *(f'{file},"{text}"' for file, text in (ROWS if rows is None else rows))]
    (place / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return place


def opened(spec: Path | str, **options: object) -> tuple[CaptionDomain, CaptionedSource]:
    domain, source = open_data(str(spec), CaptionOptions(**options), ("captions",))  # type: ignore[arg-type]
    assert isinstance(domain, CaptionDomain)
    return domain, source  # type: ignore[return-value]


# ---- reading


def test_captions_are_read_and_come_back(tmp_path: Path) -> None:
    domain, source = opened(folder(tmp_path / "x"))
    assert len(source) == 3 and domain.shape == (3, 16, 16) and domain.length == 6
    assert set(domain.vocabulary) == {"a", "red", "cat", ",", "asleep", ".", "an", "animal", "blue", "dog", "and"}
    raw = source.take(torch.arange(3))
    assert raw["captions"].shape == (3, 2, 6)
    assert [domain.spoken(ways) for ways in raw["captions"]] == [
        ["a red cat, asleep.", "an animal"],
        ["a blue dog", "a blue dog"],
        ["a cat and a dog", "a cat and a dog"],
    ]
    assert raw["data"][:, 0, 0, 0].tolist() == [30, 90, 150]  # each with its own picture
    batch = domain.encode(raw)
    decoded = domain.decode(batch)
    assert decoded["captions"][0] == "a red cat, asleep."
    written = domain.save(decoded, tmp_path / "out")
    assert written[-1].name == "captions.csv"
    again, back = opened(tmp_path / "out")
    assert [again.spoken(row)[0] for row in back.take(torch.arange(3))["captions"]] == decoded["captions"]


def test_each_time_one_of_a_pictures_captions(tmp_path: Path) -> None:
    domain, source = opened(folder(tmp_path / "x"))
    batch = domain.encode(source.take(torch.zeros(400, dtype=torch.int64)))
    torch.manual_seed(3)
    first = (domain.augment(batch)["caption"] == batch["captions"][0, 0]).all(1).float().mean()
    assert abs(float(first) - 0.5) < 0.08
    torch.manual_seed(3)
    again = domain.augment(batch)["caption"]
    torch.manual_seed(3)
    assert torch.equal(again, domain.augment(batch)["caption"])


@pytest.mark.parametrize("name", ["metadata.csv", "cub/captions.csv"])
def test_other_layouts(tmp_path: Path, name: str) -> None:
    place = folder(tmp_path / "x", head="file_name,text" if "meta" in name else "")
    if "/" in name:  # wrapped in a folder, zipped
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            for file in place.iterdir():
                archive.write(file, f"cub/{file.name}")
        place = tmp_path / "x.zip"
    else:
        (place / "captions.csv").rename(place / name)
    domain, source = opened(place)
    assert len(source) == 3 and "asleep" in domain.vocabulary


@pytest.mark.parametrize(
    ("rows", "head", "error"),
    [
        ([*ROWS, ("d.png", "a bird")], "", "row 6: there is no image 'd.png'"),
        ([*ROWS[:3], ("c.png", " ")], "", "row 5: the caption of 'c.png' is empty"),
        (ROWS[:3], "", "1 images have no caption, the first is 'c.png'"),
        (ROWS, "file_name,words", "no column 'caption'"),
        (ROWS, "nr,caption", "no column 'file_name'"),
        ([*ROWS[:3], ("", "a cow")], "", "row 5: no file_name"),
    ],
)
def test_bad_captions_are_one_clear_line(tmp_path: Path, rows: list[tuple[str, str]], head: str, error: str) -> None:
    said = command("train", "text2image", "--data", folder(tmp_path / "x", rows, head=head), "--run", tmp_path / "run")
    assert said.code == 2 and error in said.error and not (tmp_path / "run").exists()


def test_a_caption_with_commas_but_no_quotes_is_not_cut(tmp_path: Path) -> None:
    place = folder(tmp_path / "x")
    text = (place / "captions.csv").read_text(encoding="utf-8")
    (place / "captions.csv").write_text(text + "c.png,a cow, red, left\n", encoding="utf-8")
    row = len(text.splitlines()) + 1
    with pytest.raises(
        InputError, match=rf"row {row}: more fields than the 2 of the header: put text .* in double quo"
    ):
        opened(place)
    (place / "captions.csv").write_text(text.replace('"\n', '",, \n'), encoding="utf-8")
    assert len(opened(place)[1]) == 3  # empty fields at the end lose nothing


def test_folders_without_captions_are_refused(tmp_path: Path) -> None:
    place = folder(tmp_path / "x")
    (place / "captions.csv").unlink()
    with pytest.raises(InputError, match=r"captions\.csv.*built in: scenes, shapes"):
        opened(place)


def test_other_recipes_ignore_captions(tmp_path: Path) -> None:
    place = folder(tmp_path / "x")
    (place / "captions.csv").write_bytes(b"\xff not UTF-8")
    domain, _ = open_data(str(place))
    assert domain.kind == "image" and not domain.classes


def test_captions_that_are_cut_and_words_that_are_rare_are_told(tmp_path: Path) -> None:
    domain, source = opened(folder(tmp_path / "x"), length=3, vocabulary=4)
    tokens = source.take(torch.arange(3))["captions"]
    assert domain.length == 3 and len(domain.vocabulary) == 4 and bool((tokens == UNKNOWN).any())
    assert any("were cut" in m for m in source.messages) and any("not in the vocabulary" in m for m in source.messages)


def test_held_out_data_keep_the_vocabulary(tmp_path: Path) -> None:
    from ganforge.domains.captions import open_like

    domain, _ = opened(folder(tmp_path / "x"))
    like, other = open_like(
        str(folder(tmp_path / "y", [("a.png", "a dog"), ("b.png", "a cow"), ("c.png", "a")])), domain
    )
    assert like == domain
    assert other.take(torch.tensor([0]))["captions"].tolist() == [domain.numbers(["a dog"]).tolist()]
    assert other.take(torch.tensor([1]))["captions"][0, 0, 1] == UNKNOWN


# ---- made-up pictures


def test_scenes_show_what_their_captions_say() -> None:
    domain, source = opened("scenes")
    assert isinstance(source, MadeSource)
    rows = torch.arange(300)
    raw, factors = source.take(rows), source.factors(rows)
    assert raw["data"].shape == (300, 3, 32, 32) and raw["data"].dtype == torch.uint8
    names = list(COLORS)
    for image, ways, (layout, first, _, second, _) in zip(
        raw["data"].float(), raw["captions"], factors.tolist(), strict=True
    ):
        halves = image.chunk(2, 2 if layout == 0 else 1)
        for half, color in zip(halves, (first, second), strict=True):
            strongest = half.flatten(1)[:, half.sum(0).argmax()]
            wanted = torch.tensor(COLORS[names[color]]).float()
            assert float(torch.nn.functional.cosine_similarity(strongest, wanted, 0)) > 0.97
        one, other = domain.spoken(ways)
        word = {0: ("left of", "right of"), 1: ("above", "below")}[layout]
        a, b = one.split(f" {word[0]} ")
        assert other == f"{b} {word[1]} {a}" and a.split()[1] == names[first] and b.split()[1] == names[second]


def test_unseen_combinations_are_never_trained_on() -> None:
    _, source = opened("scenes")
    assert isinstance(source, MadeSource) and isinstance(source.grammar, Scenes)
    found = parts(source.grammar)
    together = np.concatenate(list(found.values()))
    assert sorted(together.tolist()) == list(range(7200)) and {k: len(v) for k, v in found.items()} == {
        "train": 5249, "unseen": 583, "unseen-objects": 1368,
    }  # fmt: skip
    train = source.grammar.objects[found["train"]]
    assert set(source.grammar.objects[found["unseen"]].ravel()) <= set(train.ravel())
    odd = source.grammar.objects[found["unseen-objects"]]
    assert not np.isin(odd, train).all(1).any()
    for column in range(5):  # but every word of theirs is
        assert set(source.grammar.combinations[found["train"], column]) == set(source.grammar.combinations[:, column])
    assert set(source.rows) <= set(found["train"])
    _, unseen = opened("scenes@unseen", count=50)
    assert set(unseen.rows) <= set(found["unseen"])  # type: ignore[attr-defined]
    glyphs = source.grammar.glyphs
    assert not glyphs.held[source.which].any() and glyphs.held[unseen.which].all()  # type: ignore[attr-defined]


def test_shapes_have_their_area() -> None:
    """Against the areas of a circle, a square, an equilateral triangle and a five-pointed star."""
    side, r = 64, 0.95
    areas = {
        "circle": math.pi * 0.85**2,
        "square": 1.5**2,
        "triangle": 3 * math.sqrt(3) / 4 * r**2,
        "star": 5 * r * 0.4 * math.sin(math.pi / 5),
    }
    for name, area in areas.items():
        drawn = figure(name, side, 1.0).astype(float) / 255
        assert abs(drawn.sum() * (2 / side) ** 2 - area) < 0.03, name


def test_made_data_are_a_function_of_their_seed() -> None:
    one, other, third = (opened("shapes", count=40, seed=seed)[1] for seed in (1, 1, 2))
    assert one.fingerprint == other.fingerprint != third.fingerprint
    rows = torch.tensor([5, 7])
    assert torch.equal(one.take(rows)["data"], other.take(rows)["data"])


def test_scenes_of_other_images(tmp_path: Path) -> None:
    for kind in ("Cat", "dog"):
        (tmp_path / "x" / kind).mkdir(parents=True)
        for i in range(6):
            Image.new("L", (9, 9), 100 + i).save(tmp_path / "x" / kind / f"{i}.png")
    domain, source = opened(f"scenes:{tmp_path / 'x'}", count=10)
    assert {"cat", "dog"} <= set(domain.vocabulary) and len(source) == 10
    for spec, error in (
        ("scenes:", "wants labelled grey images"),
        ("scenes@tomorrow", "unseen"),
        (f"scenes:{tmp_path / 'x' / 'Cat'}", "in classes"),
    ):
        with pytest.raises(InputError, match=error):
            opened(spec)
    for wrong in ({"mirror": True}, {"resolution": 30}, {"split": "unseen"}, {"channels": 1}):
        with pytest.raises(InputError):
            opened("scenes", **wrong)
    with pytest.raises(InputError, match="made up"):
        opened(folder(tmp_path / "y"), count=5)


def test_scenes_of_mnist() -> None:
    domain, source = opened(f"scenes:{real_data('mnist-test.zip')}", count=20)
    assert "seven" in domain.vocabulary and source.take(torch.arange(20))["data"].amax((1, 2, 3)).min() >= 200


# ---- prompts


def test_prompts_are_checked() -> None:
    domain, _ = opened("scenes", count=100)
    asked = domain.prompted(["A red SEVEN left of a blue two.", "a red one above a red one"])["caption"]
    assert domain.spoken(asked) == ["a red seven left of a blue two", "a red one above a red one"]
    for prompt, error in (
        ("", "the prompt is empty"),
        (" .!", "the prompt is empty"),
        ("a red sevn", "'sevn': did you mean 'seven'"),
        ("a " * 30, "30 words, and this model reads 8"),
    ):
        with pytest.raises(InputError, match=error):
            domain.prompted([prompt])
    assert domain_from_dict(domain.to_dict()) == domain


def test_from_a_prompt_to_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train, resume, generate with prompts, evaluate: by the command line and in Python."""
    run = tmp_path / "run"
    small = [
        f"--set={k}={v}"
        for k, v in {"size": 8, "words": 16, "latent": 8, "batch": 8, "train.holdout": "scenes@unseen"}.items()
    ]
    assert (
        command("train", "text2image", "--data", "scenes", "--run", run, "--rounds", 3, "-q", *small, draw=False).code
        == 0
    )
    assert command("resume", run, "--rounds", 4, "-q", draw=False).code == 0
    model = ganforge.load(run)
    said = ["a red seven left of a blue two", "a white one above a green six"]
    made = model.generate(5, seed=1, prompt=said)
    assert made["captions"] == [said[i % 2] for i in range(5)] and made["images"].shape == (5, 32, 32, 3)
    alone = model.generate(2, seed=1, prompt=said)
    assert np.array_equal(alone["images"], made["images"][:2])
    assert np.array_equal(model.generate(1, seed=1, prompt=said[0])["images"], made["images"][:1])
    free = model.generate(70)
    assert len(set(free["captions"])) > 40
    done = command("generate", run, "--prompt", said[0], "-n", 3, "--out", tmp_path / "out")
    assert done.code == 0 and (tmp_path / "out" / "grid.png").exists()
    assert (tmp_path / "out" / "captions.csv").read_text().splitlines()[1] == f"00000.png,{said[0]}"
    for prompt, error in (("a red rabbit", "'rabbit'"), ("", "empty")):
        wrong = command("generate", run, "--prompt", prompt, "--out", tmp_path / "no")
        assert wrong.code == 2 and error in wrong.error and not (tmp_path / "no").exists()
    assert command("interpolate", run, "--waypoints", 2, "--steps", 2, "--out", tmp_path / "walk.png").code == 0
    with pytest.raises(InputError, match="a label was asked for"):
        model.generate(1, label=3)
    monkeypatch.setattr("ganforge.measure.captions.IMAGES_SEEN", 1500)
    judged = ganforge.evaluate(run, "scenes", ("retrieval",), n=100, real=600, holdout="scenes@unseen")
    assert 0 <= judged.scores["retrieval"].value < judged.floors["retrieval"].value  # type: ignore[operator]


def test_models_without_captions_take_no_prompt() -> None:
    domain, _ = open_data("digits")
    with pytest.raises(InputError, match="only images with captions take a prompt"):
        domain.prompted(["a seven"])


# ---- measuring


def test_retrieval_is_chance_for_wrong_captions_and_high_for_right_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On one factor that any matcher can see: the color of a whole image."""
    monkeypatch.setattr("ganforge.measure.captions.IMAGES_SEEN", 6000)
    generator = torch.Generator().manual_seed(0)
    kinds = torch.randint(8, (1200,), generator=generator)
    colors = torch.tensor([[r, g, b] for r in (40, 220) for g in (40, 220) for b in (40, 220)])
    images = (colors[kinds][:, None, None] + torch.randint(-30, 30, (1200, 16, 16, 3), generator=generator)).to(
        torch.uint8
    )
    captions = (kinds + 2)[:, None]
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path))
    monkeypatch.setattr("ganforge.measure.counting.EVERY", 0.0)
    said: list[str] = []
    with told_to(said.append):
        matcher = matcher_of(images[:800], captions[:800], 10)
    assert isinstance(matcher, Matcher)
    assert len(said) > 5 and re.fullmatch(r"learning which caption fits which real image: 9\d%, \d+ s left", said[-1])
    count = len(said)
    with told_to(said.append):
        again = matcher_of(images[:800], captions[:800], 10)
    assert len(said) == count, "it is learned once"
    assert all(torch.equal(a, b) for a, b in zip(matcher.parameters(), again.parameters(), strict=True))
    assert float(retrieved(matcher, images[800:], captions[800:], 50).float().mean()) > 0.98
    shuffled = captions[800:][torch.randperm(400, generator=generator)]
    assert abs(float(retrieved(matcher, images[800:], shuffled, 50).float().mean()) - 1 / 8) < 0.06
