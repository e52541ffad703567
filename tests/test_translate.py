"""Translating images of any size, color and transparency: in Python and on the command line."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import ganforge
from command import ganforge as run_command
from ganforge.app.translate import groups
from ganforge.core.errors import InputError
from ganforge.core.game import Batch, Game
from ganforge.domains.image import ImageDomain
from ganforge.domains.paired import PairedDomain
from ganforge.domains.unpaired import UnpairedDomain
from ganforge.model import Model
from ganforge.ops.degrade import parse
from ganforge.recipes.pix2pix import Pix2pix
from ganforge.translation import in_tiles


class Copy(Game):
    """Gives back the first channels of its input, inverted from B to A: what becomes of an image can then be told."""

    def __init__(self, domain: Any) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.outputs, self.seen = domain.shape[0], []

    def draw(self, n: int, generator: torch.Generator, truncation: float = 1.0) -> Batch:
        return {}

    def translate(self, inputs: Batch, direction: str) -> Tensor:
        x = inputs["input"]
        self.seen.append(x)
        x = x[:, : self.outputs] if x.shape[1] >= self.outputs else x[:, :1].expand(-1, self.outputs, -1, -1)
        return x if direction == "AtoB" else -x


def copier(given: int = 3, made: int = 3, degrade: str = "", kind: type = PairedDomain, **more: Any) -> Model:
    if degrade:
        more["degrade"] = degrade
        given = parse(degrade).channels(made)
    domain = kind(shape=(made, 16, 16), input_shape=(given, 16, 16), **more)
    return Model(Copy(domain), domain, {"recipe": "copy", "samples": 0})


def picture(height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("size", [(16, 16), (23, 57), (1, 1), (70, 40)])
def test_an_identity_is_exact_at_any_size_also_in_tiles(size: tuple[int, int]) -> None:
    levels = picture(*size, 3)
    for tile in (16, 512):
        assert np.array_equal(copier().translate(levels, tile=tile), levels)


def test_shapes_come_back_as_they_were_given() -> None:
    model = copier()
    several = np.stack([picture(16, 16, 3, seed) for seed in range(20)])
    assert np.array_equal(model.translate(several), several)
    mixed = [picture(16, 20, 3), picture(16, 16, 3), picture(16, 20, 3)]
    back = model.translate(mixed)
    assert all(np.array_equal(a, b) for a, b in zip(mixed, back, strict=True))
    assert model.translate([]) == []


def test_transparency_is_kept_and_lies_over_white() -> None:
    levels = picture(20, 24, 4)
    model = copier()
    made = model.translate(levels)
    white = Image.new("RGBA", (24, 20), (255, 255, 255, 255))
    flat = np.asarray(Image.alpha_composite(white, Image.fromarray(levels)).convert("RGB"))
    assert np.array_equal(made[..., 3], levels[..., 3])
    assert np.abs(made[..., :3].astype(int) - flat.astype(int)).max() <= 1


def test_grey_stays_grey_where_colors_are_kept() -> None:
    grey = picture(16, 16, 1)
    assert np.array_equal(copier(degrade="noise:25").translate(grey), grey)  # 3 -> 3, restoring
    assert copier(3, 3).translate(grey).shape == (16, 16, 3)  # a translation may give it colors
    color = picture(16, 16, 3)
    assert np.array_equal(copier(made=1, degrade="noise:25").translate(color), color)  # channel by channel
    assert copier(1, 1).translate(color).shape == (16, 16, 1)
    assert copier(degrade="grey").translate(color).shape == (16, 16, 3)


def test_small_images_are_enlarged() -> None:
    model = copier(degrade="shrink:4")
    levels = picture(10, 12, 4)
    made = model.translate(levels)
    assert made.shape == (40, 48, 4)
    alpha = Image.fromarray(levels[..., 3].astype(np.float32)).resize((48, 40), Image.Resampling.BICUBIC)
    assert np.abs(made[..., 3] - np.asarray(alpha).clip(0, 255)).max() < 0.51


def test_holes_are_where_the_image_is_clear() -> None:
    model = copier(degrade="inpaint")
    levels = picture(16, 16, 4)
    levels[..., 3] = 255
    levels[4:8, 4:8, 3] = 0
    made = model.translate(levels)
    assert made.shape == (16, 16, 3)
    assert np.array_equal(np.delete(made, np.s_[4:8], 0), np.delete(levels[..., :3], np.s_[4:8], 0))
    hole = model.game.seen[-1][0, 3] > 0  # type: ignore[union-attr]
    assert int(hole.sum()) == 16 and bool(hole[4:8, 4:8].all())
    with pytest.raises(InputError, match="transparency"):
        model.translate(levels[..., :3])


def test_degrade_makes_the_input_and_is_seeded() -> None:
    model = copier(degrade="noise:50")
    levels = np.full((32, 32, 3), 128, np.uint8)
    one, again, other = (model.translate(levels, seed=s, degrade=True) for s in (0, 0, 1))
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    assert 30 < float(one.std()) < 60
    assert copier(degrade="edges").translate(levels, degrade=True).shape == (32, 32, 3)
    inpainted = copier(made=1, degrade="inpaint").translate(levels, degrade=True)
    assert inpainted.shape == (32, 32, 3)
    with pytest.raises(InputError, match="not on degraded"):
        copier().translate(levels, degrade=True)


def test_sixteen_bits() -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (16, 16, 1), dtype=np.uint16)
    assert np.array_equal(copier(1, 1, bits=16).translate(levels), levels)
    assert np.abs(copier(1, 1).translate(levels).astype(int) * 257 - levels).max() <= 129


def test_directions() -> None:
    levels = picture(16, 16, 3)
    model = copier(kind=UnpairedDomain)
    assert np.array_equal(model.translate(levels, "BtoA"), 255 - model.translate(levels, "AtoB"))
    with pytest.raises(InputError, match="translates AtoB and BtoA"):
        model.translate(levels, "sideways")
    with pytest.raises(InputError, match="translates BtoA"):
        copier(direction="BtoA").translate(levels, "AtoB")


def test_models_that_generate_do_not_translate() -> None:
    model = copier()
    model.domain = ImageDomain(shape=(3, 16, 16))
    with pytest.raises(InputError, match="ganforge generate"):
        model.translate(picture(16, 16, 3))


@pytest.mark.parametrize("bad", [np.zeros((4, 4, 5), np.uint8), np.zeros((4, 4), np.float32), np.zeros(4, np.uint8)])
def test_what_is_no_image(bad: np.ndarray) -> None:
    with pytest.raises(InputError, match="an image is uint8"):
        copier().translate([bad])


def test_tiles_blend_without_seams() -> None:
    """Tiles that disagree by a constant must give a ramp, not a step."""
    calls = iter(range(100))
    made = in_tiles(lambda x: torch.full_like(x, float(next(calls))), torch.zeros(1, 1, 16, 100), 32)
    assert float(made.diff(dim=3).abs().max()) < 0.2 and float(made.max()) > 2.9


def test_noise_of_pix2pix_does_not_depend_on_the_other_images() -> None:
    torch.manual_seed(0)
    domain = PairedDomain(shape=(1, 16, 16), input_shape=(1, 16, 16))
    model = Model(Pix2pix(size=8).build(domain), domain, {"recipe": "pix2pix", "samples": 0})
    levels = picture(16, 16, 1)
    one = model.translate([levels])[0]
    assert np.array_equal(one, model.translate([levels, picture(20, 20, 1)])[0])
    assert not np.array_equal(one, model.translate([levels], seed=1)[0])
    with pytest.raises(InputError, match="ganforge translate"):
        model.generate(4)


def test_large_images_go_one_at_a_time() -> None:
    """What is held at once is bounded in pixels, however many images there are."""
    model = copier()
    model.translate([picture(1024, 600, 3, seed) for seed in range(3)], tile=2048)
    assert [len(x) for x in model.game.seen] == [1, 1, 1]  # type: ignore[union-attr]
    some = [("a", np.zeros((3000, 3000, 3), np.uint8)), ("b", np.zeros((2, 2, 3), np.uint8))] * 2
    assert [len(group) for group in groups(iter(some))] == [1, 2, 1]
    assert [len(group) for group in groups(iter(some[1:2] * 130))] == [64, 64, 2]


def test_tiles_of_one_network_equal_the_whole() -> None:
    """Away from its tiles' borders, a convolution in blended tiles gives what it gives at once."""
    torch.manual_seed(0)
    net = torch.nn.Conv2d(2, 3, 3, padding=1)
    x = torch.randn(2, 2, 83, 131)
    with torch.no_grad():
        whole, tiled = net(x), in_tiles(net, x, 32)
    assert tiled.shape == whole.shape and float((tiled - whole).abs().max()) < 0.2
    assert float((tiled - whole).abs().median()) < 1e-6


# ---- the command line, on a run that was really trained


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs") / "noisy"
    said = run_command(
        "train", "restore", "--data", "noisy-digits", "--run", place, "--rounds", 3, "--size", 8, "--batch", 8,
        "--set", "blocks=1", "--device", "cpu",
    )  # fmt: skip
    assert said.code == 0 and "ganforge translate" in said.err + said.out
    return place


def test_run_shows_inputs_outputs_and_truth(run: Path) -> None:
    pictures = sorted((run / "samples").glob("*.png"))
    width, height = Image.open(pictures[-1]).size
    assert width > 8 * 64 and height >= 3 * 64


def test_a_folder_keeps_its_names(run: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    (source / "deep").mkdir(parents=True)
    for name, mode, size in (("a.jpg", "L", (9, 12)), ("a.png", "L", (9, 12)), ("deep/b.png", "RGBA", (30, 20))):
        Image.new(mode, size, 90 if mode == "L" else (9, 90, 200, 100)).save(source / name)
    (source / "broken.png").write_bytes(b"nothing")
    said = run_command("translate", run, source, "--out", out)
    assert said.code == 0 and "3 images" in said.out and "broken.png" in said.err
    made = {str(p.relative_to(out)): Image.open(p) for p in out.rglob("*.png")}
    assert set(made) == {"a.jpg.png", "a.png.png", "deep/b.png"}
    assert made["deep/b.png"].size == (30, 20) and made["deep/b.png"].mode == "RGBA"
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.write(source / "a.png", "x/a.png")
    assert run_command("translate", run, tmp_path / "in.zip", "--out", tmp_path / "other").code == 0
    again = np.asarray(Image.open(tmp_path / "other" / "x" / "a.png"))
    assert np.array_equal(again, np.asarray(made["a.png.png"]))


def test_one_image(run: Path, tmp_path: Path) -> None:
    Image.new("L", (8, 8), 90).save(tmp_path / "one.png")
    said = run_command("translate", run, tmp_path / "one.png", "--out", tmp_path / "made.png", "--degrade")
    assert said.code == 0 and Image.open(tmp_path / "made.png").size == (8, 8)
    model = ganforge.load(run)
    levels = model.translate(np.full((8, 8, 1), 90, np.uint8), degrade=True)
    assert np.array_equal(levels[..., 0], np.asarray(Image.open(tmp_path / "made.png")))


def test_pictures_of_others_are_not_lost(run: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for place in (source, out):
        place.mkdir()
        Image.new("L", (8, 8), 90).save(place / "a.png")
    before = (out / "a.png").read_bytes()
    said = run_command("translate", run, source, "--out", out)
    assert said.code == 2 and "a.png is there already" in said.error and (out / "a.png").read_bytes() == before
    for more in (["--overwrite"], []):
        assert run_command("translate", run, source, "--out", out, *more).code == 0
    assert (out / "a.png").read_bytes() != before


def test_an_animation_is_not_cut_in_silence(run: Path, tmp_path: Path) -> None:
    frames = [Image.new("L", (8, 8), level) for level in (0, 90, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    said = run_command("translate", run, tmp_path / "a.gif", "--out", tmp_path / "made.png")
    assert said.code == 0 and "a.gif has 3 frames: only the first is translated" in said.err, said


def test_a_large_image_is_not_waited_for_in_silence(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (8, 8), 90).save(tmp_path / "one.png")
    usual = ganforge.model.Model.translate

    def slow(*given, **named):  # type: ignore[no-untyped-def]
        time.sleep(0.4)
        return usual(*given, **named)

    monkeypatch.setattr("ganforge.model.Model.translate", slow)
    monkeypatch.setattr("ganforge.app.arguments.STILL", 0.1)
    said = run_command("translate", run, tmp_path / "one.png", "--out", tmp_path / "made.png")
    assert said.code == 0 and ".. translating one.png: 0 s so far" in said.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.png", "--out", "x.png"], "no image and no folder"),
        (["one.png", "--out", "x.jpg"], "becomes a .png"),
        (["folder", "--out", "x.png"], "go into a folder"),
        (["one.png", "--out", "x.png", "--direction", "BtoA"], "translates AtoB"),
        (["broken.png", "--out", "x.png"], "no image that can be read"),
        (["one.png", "--out", "x.png", "--tile", "3"], "at least 16"),
        (["one.png", "--out", "one.png"], "would replace one.png"),
        (["one.png", "--out", "."], "would replace one.png"),
        (["folder/sub/two.png", "--out", "folder/sub"], "would replace two.png"),
        (["folder", "--out", "folder/sub"], "is in the input"),
    ],
)
def test_bad_input_is_one_line(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("L", (8, 8)).save("one.png")
    Path("broken.png").write_bytes(b"nothing")
    Path("folder/sub").mkdir(parents=True)
    Image.new("L", (8, 8), 7).save("folder/sub/two.png")
    before = {p: p.read_bytes() for p in Path().rglob("*.png")}
    said = run_command("translate", run, *arguments)
    assert said.code == 2 and says in said.error
    assert {p: p.read_bytes() for p in Path().rglob("*.png")} == before
    assert not Path("x.png").exists()


def test_recipes_refuse_data_that_do_not_suit_them(tmp_path: Path) -> None:
    for recipe, data, says in (
        ("restore", "digit-edges", "restore mends images"),
        ("pix2pix", "inverted-digits", "does not hold what this recipe needs: pairs of images"),
        ("dcgan", "digit-edges", "which this recipe is not for"),
    ):
        said = run_command("train", recipe, "--data", data, "--rounds", 1, "--run", tmp_path / recipe)
        assert said.code == 2 and says in said.error and not (tmp_path / recipe).exists()
