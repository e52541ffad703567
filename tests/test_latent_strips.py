"""What edit and traverse draw: rows and columns have names, a GIF moves all rows at once; what is dear is drafted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ganforge
from command import ganforge as command
from ganforge import latent
from ganforge.app.edit import tell_poor
from ganforge.core.errors import InputError
from ganforge.domains import open_data
from ganforge.domains.image_pictures import CAPTION, grid, labelled
from ganforge.domains.points import PointDomain
from ganforge.measure import counting
from ganforge.recipes.ddpm import DRAFT, Diffusion

STEPS = 5


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "rows.csv").write_text("a,b\n" + "".join(f"{i % 7},{i % 5}\n" for i in range(200)))
    for name, data, *params in (
        ("dcgan", "digits", "size=4", "latent=4"),
        ("ddpm", "digits", "size=8", "sample_steps=40"),
        ("gan", folder / "rows.csv", "size=4", "latent=3"),
    ):
        settings = [word for param in params for word in ("--set", param)]
        run = ("--data", data, "--rounds", 2, "--run", folder / name, "--batch", 16, *settings)
        assert command("train", name, *run, draw=False).code == 0
    return folder


def test_a_gif_of_an_edit_moves_all_rows_at_once_there_and_back(runs: Path, tmp_path: Path) -> None:
    ask = ("edit", runs / "dcgan", "--direction", 1, "--steps", STEPS, "-n", 6)
    assert command(*ask, "--out", tmp_path / "e.gif").code == 0
    assert command(*ask, "--out", tmp_path / "e.png").code == 0
    model = ganforge.load(runs / "dcgan")
    way = latent.directions(model, 1)[0]
    made = latent.edit(model, way, torch.linspace(-3, 3, STEPS).tolist(), latent.inputs_of(model, 6, 0, None))[0]
    with Image.open(tmp_path / "e.gif") as gif:
        assert gif.n_frames == 2 * STEPS - 2  # type: ignore[attr-defined]
        for frame, column in ((0, 0), (STEPS - 1, STEPS - 1), (2 * STEPS - 3, 1)):
            gif.seek(frame)
            shown = np.asarray(gif.convert("L"))[CAPTION:].astype(int)
            wanted = np.asarray(grid(made[column::STEPS]).convert("L")).astype(int)
            assert np.abs(shown[:, : wanted.shape[1]] - wanted).max() <= 4  # a GIF has 256 colors
    plain = np.asarray(grid(made, columns=STEPS))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "e.png"))[CAPTION:], plain)


def test_rows_and_columns_have_their_names_beside_them() -> None:
    cells = grid(np.zeros((6, 8, 8, 1), np.uint8), columns=3)
    picture = np.asarray(labelled(cells, ["-3", "0", "3"], ["principal 1  22%", "principal 2  21%"]).convert("L"))
    left = picture.shape[1] - cells.width
    assert left > 60 and np.array_equal(picture[CAPTION:, left:], np.asarray(cells.convert("L")))
    wide, high = cells.width // 3, cells.height // 2
    assert all((picture[:CAPTION, left + i * wide : left + (i + 1) * wide] < 128).any() for i in range(3))
    assert all((picture[CAPTION + i * high : CAPTION + (i + 1) * high, :left] < 128).any() for i in range(2))
    assert (picture[:, 0] == 255).all()  # nothing is cut off
    long = np.asarray(labelled(grid(np.zeros((9, 64, 8, 1), np.uint8), columns=9), ["-0.000001"] * 9).convert("L"))
    assert (long[:CAPTION, -1] == 255).all()


def test_points_have_a_line_for_each_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(PointDomain, "draw_ways", lambda self, ways, *rest: drawn.append((len(ways), rest[2])))
    open_data("ring")[0].strips(np.zeros((12, 2)), tmp_path / "p.png", ["-1", "0", "1"])
    assert drawn == [(4, "from -1 to 1")]


def test_a_movie_moves_as_a_gif_does(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    images = np.arange(3, dtype=np.uint8).repeat(64).reshape(3, 8, 8, 1) * 100
    domain = open_data("digits")[0]
    for name in ("m.gif", "m.mp4"):
        domain.strips(images, tmp_path / name, ["a name wider than its picture", "0", "1"])
    with Image.open(tmp_path / "m.gif") as gif, av.open(str(tmp_path / "m.mp4")) as movie:
        frames = [frame.to_ndarray(format="gray") for frame in movie.decode(video=0)]
        assert len(frames) == gif.n_frames == 4  # there and back
    levels = [int(np.median(frame[-12:-4, 4:12])) for frame in frames]
    assert levels[0] < levels[1] < levels[2] and abs(levels[1] - levels[3]) < 5


@pytest.mark.parametrize("verb", [("edit", "--direction", 1), ("traverse",)])
def test_kinds_without_pictures_say_so_before_any_work(
    verb: tuple[str, ...], runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latent.walk, "slopes", lambda *given, **named: pytest.fail("worked in vain"))
    said = command(verb[0], runs / "gan", *verb[1:])
    assert said.code == 2 and "of kind 'table', which cannot be drawn" in said.error
    said = command(verb[0], runs / "dcgan", *verb[1:], "--out", "x.jpg")
    assert said.code == 2 and "give a .gif, an .mp4 or a .png" in said.error


def test_as_many_found_pictures_as_asked_for_are_edited(runs: Path, tmp_path: Path) -> None:
    Image.new("L", (8, 8), 90).save(tmp_path / "a.png")
    Image.new("L", (8, 8), 190).save(tmp_path / "b.png")
    found = tmp_path / "found"
    assert command("project", runs / "dcgan", tmp_path, "--out", found, "--steps", 1, "--starts", 8).code == 0
    ask = ("edit", runs / "dcgan", "--direction", 1, "--latents", found / "latents.npz", "--out", tmp_path / "e.gif")
    assert "2 rows" in command(*ask).out and "1 row," in command(*ask, "-n", 1).out


def test_resized_pictures_are_told_of_in_one_line_where_they_are_many(runs: Path, tmp_path: Path) -> None:
    for i in range(5):
        Image.new("L", (12, 9), 90).save(tmp_path / f"{i}.png")
    notes = latent.read_pictures(ganforge.load(runs / "dcgan"), tmp_path)[2]
    assert notes == ["5 pictures resized to 8 x 8, the first of them 0.png: 12 x 9"]


def test_directions_of_a_diffusion_model_are_of_drafts(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ganforge.load(runs / "ddpm")
    passes = []
    predict = Diffusion.predict
    monkeypatch.setattr(Diffusion, "predict", lambda *given: passes.append(1) or predict(*given))
    latent.directions(model, 1, points=4)
    assert len(passes) == DRAFT
    passes.clear()
    model.generate(2)
    assert len(passes) == 40
    with pytest.raises(ValueError, match="wrong"), model.game.draft():
        raise ValueError("wrong")
    assert len(model.game.times) == 40  # type: ignore[arg-type]
    assert latent.traverse(model, 1, 2, points=64).moves[0].how == f"normal, {latent.walk.FEW} latents"


def test_long_walks_say_how_many_seconds_are_left(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "EVERY", 0.0)
    told: list[str] = []
    model = ganforge.load(runs / "dcgan")
    with counting.told_to(told.append):
        latent.traverse(model, 2, 2, points=4)
        latent.project(model, np.full((9, 8, 8, 1), 90, np.uint8), steps=8, starts=8)
    assert all(line.endswith(" s left") for line in told)
    starts = ("measuring what changes samples: 12%", "walking along the directions: 25%", "pictures 1 to 8 of 9, first")
    assert all(any(line.startswith(start) for line in told) for start in starts), told


def test_a_small_latent_has_as_many_directions_as_numbers(runs: Path, tmp_path: Path) -> None:
    said = command("traverse", runs / "dcgan", "--out", tmp_path / "t.png", "--steps", 2)
    assert said.code == 0 and "4 directions, 2 steps" in said.out, said.err
    said = command("traverse", runs / "dcgan", "--out", tmp_path / "t.png", "--count", 5)
    assert said.code == 2 and "1 to 4 directions, not 5" in said.error


@pytest.mark.parametrize("hidden", [False, True])
def test_ctrl_c_is_told(hidden: bool, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*given: object, **named: object) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            if hidden:  # as Python 3.11 does in the middle of an import
                raise RuntimeError("Error calling __set_name__") from error
            raise

    monkeypatch.setattr(latent, "traverse", stop)
    said = command("traverse", runs / "dcgan", "--out", tmp_path / "x.png")
    assert said.code == 130 and said.error == "error: interrupted"
    assert not list(tmp_path.iterdir())


def test_formats_are_named(tmp_path: Path) -> None:
    domain = open_data("digits")[0]
    with pytest.raises(InputError, match=r"give a \.gif, an \.mp4 or a \.png"):
        domain.strips(np.zeros((4, 8, 8, 1), np.uint8), tmp_path / "x.jpg", ["0", "1"])


@pytest.mark.parametrize(("last", "coded", "told"), [(0.1, False, "hardly"), (0.1, True, "--code"), (0.6, True, "")])
def test_a_direction_that_leads_nowhere_is_said_to(
    last: float, coded: bool, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tell_poor([[1.0, 0.0], [0.2, last]], ("3", "8"), "z", coded)
    said = capsys.readouterr().out
    assert told in said and bool(said) == bool(told) and ("--code" in said) == (told == "--code")
