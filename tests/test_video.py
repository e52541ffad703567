"""Video: reading clips of all layouts, windows, the networks, clips of any length, and measures by closed forms."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import real_data
from ganforge.config import checked
from ganforge.core.errors import InputError
from ganforge.domains import domain_from_dict, module_for, video
from ganforge.domains.domain import Part
from ganforge.domains.video import VideoDomain
from ganforge.domains.video_example import DIGIT, FAST, moving_digits
from ganforge.domains.video_packing import VideoOptions, cached_names, cut
from ganforge.measure import video as measure


def levels(count: int, first: int = 0, height: int = 8, width: int = 8) -> np.ndarray:
    """Frames uint8 [count, height, width], frame t of level first + t: each frame tells where it stands."""
    return np.broadcast_to((first + np.arange(count))[:, None, None], (count, height, width)).astype(np.uint8)


def strip(frames: np.ndarray) -> Image.Image:
    return Image.fromarray(np.concatenate(list(frames), 1))


def save_strips(folder: Path, lengths: list[int], **size: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, length in enumerate(lengths):
        strip(levels(length, 40 * i, **size)).save(folder / f"{i}.png")


def opened(path: Path | str, **options: object) -> tuple[VideoDomain, video.Clips]:
    return video.open(str(path), checked(VideoOptions, options, "data"))


def pixel_levels(source: video.Clips, row: int) -> list[int]:
    """The level of each frame of a clip, by its middle pixel."""
    raw = source.take(torch.tensor([row]))
    return raw["data"][0, : int(raw["length"]), 0, 3, 3].tolist()


# ---- reading


def test_strips_in_a_zip_with_class_folders(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for label in ("up", "down"):
            for i in range(3):
                buffer = io.BytesIO()
                strip(levels(5, 60 * i + (label == "up"))).convert("RGBA").save(buffer, "PNG")
                archive.writestr(f"shapes/{label}/{i}.png", buffer.getvalue())
    domain, source = opened(tmp_path / "a.zip", frames=4)
    assert domain.shape == (4, 3, 8, 8) and domain.classes == ("down", "up") and domain.counts == (3, 3)
    assert [pixel_levels(source, i) for i in (0, 1, 5)] == [[*range(5)], [*range(60, 65)], [*range(121, 126)]]
    assert source.take(torch.tensor([0, 5]))["label"].tolist() == [0, 1]
    assert domain_from_dict(domain.to_dict()) == domain


def test_frames_that_are_not_square(tmp_path: Path) -> None:
    save_strips(tmp_path / "a", [4, 6], height=8, width=6)
    domain, source = opened(tmp_path / "a", frames=4, frame_width=6)
    assert domain.shape == (4, 1, 8, 6) and pixel_levels(source, 1) == [40, 41, 42, 43, 44, 45]
    with pytest.raises(InputError, match=r"none of 2 clips can be read; .*not a whole number of frames 5 wide"):
        opened(tmp_path / "a", frames=4, frame_width=5, layout="strips")


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_animations_whose_frames_last_differently(tmp_path: Path, suffix: str) -> None:
    for i in range(2):
        frames = [Image.fromarray(frame) for frame in levels(4, 50 * i + 10)]
        frames[0].save(
            tmp_path / f"{i}.{suffix}", save_all=True, append_images=frames[1:], duration=[100, 300, 100, 100],
            **({"lossless": True} if suffix == "webp" else {}),
        )  # fmt: skip
    _, source = opened(tmp_path, frames=3, channels=1)
    assert pixel_levels(source, 1) == [60, 61, 61, 61, 62, 63]


def test_folders_of_numbered_frames(tmp_path: Path) -> None:
    for clip, length in (("walk", 12), ("run", 11)):
        (tmp_path / "clips" / clip).mkdir(parents=True)
        for t, frame in enumerate(levels(length)):
            Image.fromarray(frame).save(tmp_path / "clips" / clip / f"frame{t}.png")
    domain, source = opened(tmp_path / "clips", frames=8)
    assert not domain.classes and len(source) == 2
    assert pixel_levels(source, 1) == list(range(12))  # 2 before 10
    assert any("2 folders is read" in text for text in source.messages)
    with pytest.raises(InputError, match="is not a clip"):
        opened(tmp_path / "clips" / "walk", frames=4)
    _, one = opened(tmp_path / "clips" / "walk", frames=2, layout="folders")  # one clip, in pieces
    assert len(one) == 2 and pixel_levels(one, 0) + pixel_levels(one, 1) == list(range(12))


def test_movies(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    for i in range(2):
        with av.open(str(tmp_path / f"{i}.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width = stream.height = 32
            for frame in levels(6, 60 * i + 20, 32, 32):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.stack([frame] * 3, 2), format="rgb24")))
            container.mux(stream.encode())
    (tmp_path / "2.mp4").write_bytes(b"no movie")
    domain, source = opened(tmp_path, frames=4, resolution=16)
    assert domain.shape == (4, 3, 16, 16) and len(source.skipped) == 1
    assert pixel_levels(source, 1) == pytest.approx(range(80, 86), abs=6)


def test_a_movie_is_resized_as_it_is_read(tmp_path: Path) -> None:
    """``max_pixels`` limits what is kept, not what a long movie of large frames decodes to."""
    pytest.importorskip("av")
    domain = VideoDomain(shape=(9, 3, 64, 64))
    for i in range(2):
        clip = np.repeat(levels(9, 40 * i + 20, 64, 64)[None, ..., None], 3, 4)
        domain.save(clip, tmp_path / "movies" / f"{i}.mp4")
        domain.save(clip, tmp_path / "gifs" / f"{i}.gif")
    for folder in ("movies", "gifs"):
        _, source = opened(tmp_path / folder, frames=6, resolution=16, max_pixels=66 * 66)
        assert len(source) == 2 and pixel_levels(source, 1) == pytest.approx(range(60, 69), abs=6)
        with pytest.raises(InputError, match=r"none of 2 clips can be read; .*more than max_pixels=.*--resolution"):
            opened(tmp_path / folder, frames=6, max_pixels=66 * 66)


def test_arrays_and_what_generate_writes(tmp_path: Path) -> None:
    clips = np.random.default_rng(0).integers(0, 256, (5, 6, 8, 10, 3), dtype=np.uint8)
    domain = VideoDomain(shape=(6, 3, 8, 10))
    domain.save(clips, tmp_path / "a.npz")
    found, source = opened(tmp_path / "a.npz", frames=6)
    assert found.shape == domain.shape
    back = found.decode(found.encode(source.take(torch.arange(5))))
    assert np.array_equal(back, clips)
    assert torch.equal(found.to_raw(clips), source.take(torch.arange(5))["data"])
    np.savez(tmp_path / "b.npz", clips=clips.astype(np.float32))
    with pytest.raises(InputError, match="clips are uint8"):
        opened(tmp_path / "b.npz")


@pytest.mark.parametrize(
    "arrays, says",
    [
        ({}, "holds no array"),
        ({"clips": np.zeros((3, 0, 8, 8), np.uint8)}, r"not uint8 \[3, 0, 8, 8\]"),
        ({"clips": np.zeros((3, 4, 8, 8, 2), np.uint8)}, "1, 3 or 4 channels, not 2"),
        (
            {"clips": np.zeros((3, 4, 8, 8), np.uint8), "labels": np.arange(2)},
            "2 labels for 3 clips: give one for each",
        ),
        ({"clips": np.zeros((3, 4, 8, 8), np.uint8), "labels": np.array(1)}, "cannot be read"),
        ({"clips": np.array([None, 1])}, "cannot be read"),
    ],
)
def test_arrays_that_are_no_clips(tmp_path: Path, arrays: dict, says: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=says):
        opened(tmp_path / "a.npz", frames=4)


@pytest.mark.parametrize("name", ["empty.zip", "text.zip", "empty"])
def test_empty_archives(tmp_path: Path, name: str) -> None:
    if name == "empty":
        (tmp_path / name).mkdir()
    else:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            if name == "text.zip":
                archive.writestr("readme.txt", "none")
    with pytest.raises(InputError, match=r"no clips in .*: give strips"):
        opened(tmp_path / name)


def test_a_broken_frame_costs_its_clip_only(tmp_path: Path) -> None:
    for clip in ("a", "b", "c"):
        for t, frame in enumerate(levels(6)):
            path = tmp_path / clip / f"{t}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(frame).save(path)
    (tmp_path / "b" / "3.png").write_bytes(b"?")
    Image.fromarray(levels(1, 0, 9, 9)[0]).save(tmp_path / "c" / "6.png")  # another size: resized
    _, source = opened(tmp_path, frames=4, layout="folders")
    assert len(source) == 2 and source.lengths.tolist() == [6, 7]
    assert any("skipped 1 of 3 clips" in m and "; the first, b:" in m for m in source.messages)


def test_real_clips(tmp_path: Path) -> None:
    with zipfile.ZipFile(real_data("video-shapes-64.zip")) as archive, zipfile.ZipFile(tmp_path / "a.zip", "w") as few:
        for name in [n for n in archive.namelist() if n.endswith(".png")][::100]:
            few.writestr(name, archive.read(name))
    domain, source = opened(tmp_path / "a.zip", resolution=32, stride=2)
    assert domain.shape == (16, 3, 32, 32) and domain.classes == ("0", "1") and domain.counts == (8, 8)
    clips = domain.decode(domain.encode(source.take(torch.arange(16))))
    moved = measure.temporal_difference(clips)
    assert bool(((moved > 0.1) & (moved < 10)).all())  # a small thing on black, that always moves


def test_sizes_and_channels_are_settled(tmp_path: Path) -> None:
    save_strips(tmp_path, [4, 4])
    strip(levels(4, 0, 16, 16)).convert("RGB").save(tmp_path / "c.png")
    domain, source = opened(tmp_path, frames=4)
    assert domain.shape == (4, 3, 8, 8)
    assert any("2 different sizes" in m for m in source.messages) and any("grey" in m for m in source.messages)
    assert opened(tmp_path, frames=4, channels=1, resolution=12)[0].shape == (4, 1, 12, 12)


def test_damaged_clips_are_skipped(tmp_path: Path) -> None:
    save_strips(tmp_path, [4, 4])
    (tmp_path / "broken.png").write_bytes((tmp_path / "0.png").read_bytes()[:45])
    _, source = opened(tmp_path, frames=4)
    assert len(source) == 2 and any("skipped 1 of 3 clips" in m and "broken.png" in m for m in source.messages)
    with pytest.raises(InputError, match=r"broken\.png"):
        opened(tmp_path, frames=4, strict=True)


def test_the_odd_clip_is_named(tmp_path: Path) -> None:
    """Of three, the one that is unlike the others: shorter, longer, or no whole number of frames."""
    save_strips(tmp_path / "short", [16, 16, 7])
    _, source = opened(tmp_path / "short")
    assert any("(2.png has 7; 2 clips such as 0.png have 16), and is left out" in m for m in source.messages)
    save_strips(tmp_path / "long", [7, 7, 20])
    with pytest.raises(InputError, match=r"\(2\.png has 20; 2 clips .* 0\.png have 7\), and one clip .*=7 keeps all"):
        opened(tmp_path / "long")
    save_strips(tmp_path / "odd", [7, 7, 7])
    Image.open(tmp_path / "odd" / "2.png").crop((0, 0, 59, 8)).resize((59, 8)).save(tmp_path / "odd" / "2.png")
    with pytest.raises(InputError, match=r"'2\.png', 8x59 pixels where '0\.png' is a strip of 8x56, is not a clip"):
        opened(tmp_path / "odd")
    save_strips(tmp_path / "many", [3, 4, 5, 6, 16, 16])
    _, source = opened(tmp_path / "many")
    assert any("(0.png has 3; 1.png has 4; 2.png has 5; others have 6 to 16)" in m for m in source.messages)


def test_clips_that_a_cache_has_no_names_of_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text('["a.png"]')
    assert cached_names(tmp_path, 1) == ["a.png"]
    for text in ("", "[]", '"ab"', "[1"):
        (tmp_path / "names.json").write_text(text)
        assert cached_names(tmp_path, 2) == ["clip 1", "clip 2"]


def test_short_clips(tmp_path: Path) -> None:
    save_strips(tmp_path, [9, 4, 9, 5])
    _, source = opened(tmp_path, frames=5, stride=2)
    assert len(source) == 2
    there = "1.png has 4; 3.png has 5; 2 clips such as 0.png have 9"
    told = f"2 of 4 clips are shorter than the 9 frames of a sample ({there})"
    for cached in (source, opened(tmp_path, frames=5, stride=2)[1]):
        assert f"{told}, and are left out: data.frames=2 keeps all" in cached.messages
    with pytest.raises(InputError, match="2 of 4 clips are shorter"):
        opened(tmp_path, frames=5, stride=2, strict=True)
    with pytest.raises(InputError, match=r"takes 16 frames .* the longest clip has 9"):
        opened(tmp_path)


@pytest.mark.parametrize(
    "wrong, says",
    [({"frames": 1}, "data.frames"), ({"stride": 0}, "data.stride"), ({"frame": 4}, "did you mean 'frames'")],
)
def test_wrong_options(wrong: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        checked(VideoOptions, wrong, "data")


def test_what_holds_no_clips(tmp_path: Path) -> None:
    for i in range(4):
        Image.fromarray(levels(1)[0]).save(tmp_path / f"{i}.png")
    with pytest.raises(InputError, match=r"'0\.png' is not a clip: give strips"):
        opened(tmp_path)
    with pytest.raises(InputError, match="does not hold what this recipe needs: clips"):
        module_for("digits", ("video",))
    with pytest.raises(InputError, match="of kind video, which this recipe is not for"):
        module_for("moving-digits")


def test_cache_is_used_and_mended(tmp_path: Path) -> None:
    save_strips(tmp_path, [4, 6])
    first, second = opened(tmp_path, frames=4)[1], opened(tmp_path, frames=4)[1]
    assert not first.cached and second.cached and first.fingerprint == second.fingerprint
    assert opened(tmp_path, frames=3)[1].fingerprint != first.fingerprint
    for lengths in Path(os.environ["GANFORGE_CACHE"]).glob("data/*/lengths.npy"):
        lengths.write_bytes(b"?")
    third = opened(tmp_path, frames=4)[1]
    assert not third.cached and third.fingerprint == first.fingerprint


# ---- windows


def test_windows_lie_within_their_clip(tmp_path: Path) -> None:
    save_strips(tmp_path, [9, 17])
    domain, source = opened(tmp_path, frames=4, stride=2)
    starts: set[int] = set()
    for seed in range(40):
        torch.manual_seed(seed)
        shown = domain.decode(domain.encode(source.take(torch.tensor([1, 0]))))[..., 3, 3, 0]
        assert (np.diff(shown.astype(int), axis=1) == 2).all()
        assert shown[0, 0] >= 40 and shown[0, -1] <= 56 and shown[1, -1] <= 8
        starts.add(int(shown[0, 0]))
    assert starts == set(range(40, 51))  # every place where 7 frames of 17 fit
    torch.manual_seed(3)
    again = domain.encode(source.take(torch.tensor([1, 0])))["data"]
    torch.manual_seed(3)
    assert torch.equal(again, domain.encode(source.take(torch.tensor([1, 0])))["data"])
    assert len(Part(source, torch.tensor([1])).take(torch.tensor([0]))["data"][0]) == 17


def test_long_clips_are_cut_evenly() -> None:
    starts, sizes, clips = cut(torch.tensor([0, 10]), torch.tensor([10, 3]), torch.tensor([3, 1]))
    assert starts.tolist() == [0, 3, 6, 10] and sizes.tolist() == [3, 3, 4, 3] and clips.tolist() == [0, 0, 0, 1]


def test_mirroring_flips_whole_clips() -> None:
    domain = VideoDomain(shape=(3, 1, 2, 4), mirror=True)
    data = torch.arange(4.0).expand(40, 3, 1, 2, 4)
    torch.manual_seed(0)
    found = domain.augment({"data": data})["data"]
    flipped = found[:, 0, 0, 0, 0] == 3
    assert 8 < int(flipped.sum()) < 32
    assert torch.equal(found, torch.where(flipped[:, None, None, None, None], data.flip(-1), data))


def test_moving_digits_move_straight_and_bounce() -> None:
    clips, labels = moving_digits(50)
    assert len(labels) == 50 and np.array_equal(clips, moving_digits.__wrapped__(50)[0])
    assert clips.sum((2, 3, 4)).std(1).max() == 0  # always the whole digit
    across = clips[:, :, 0].max(2) > 0
    left = across.argmax(2)
    step = np.abs(np.diff(left, axis=1))
    assert step.max() <= FAST + 1 and left.max() <= clips.shape[-1] - DIGIT + 3
    assert (measure.temporal_difference(clips.transpose(0, 1, 3, 4, 2)) > 1).all()


# ---- pictures


def test_pictures(tmp_path: Path) -> None:
    domain = VideoDomain(shape=(5, 3, 8, 8))
    clips = np.random.default_rng(0).integers(0, 256, (4, 5, 8, 8, 3), dtype=np.uint8)
    for name in ("a.gif", "a.webp"):
        domain.save(clips, tmp_path / name)
        with Image.open(tmp_path / name) as moving:
            assert moving.n_frames == 5 and moving.info["loop"] == 0
    domain.save(clips, tmp_path / "a.png")
    domain.show(clips, tmp_path / "b.png", clips)
    one, two = (Image.open(tmp_path / name).size for name in ("a.png", "b.png"))
    assert one == (5 * 66 + 2, 4 * 66 + 2) and two[0] > 2 * one[0]
    paths = domain.save(clips, tmp_path / "folder")
    assert [p.name for p in paths] == [f"{i:05d}.gif" for i in range(4)]
    found, source = opened(tmp_path / "folder", frames=5)
    assert found.shape == domain.shape and len(source) == 4
    domain.save(np.repeat(clips, 30, 1), tmp_path / "long.png")
    assert Image.open(tmp_path / "long.png").width == 64 * 66 + 2
    with pytest.raises(InputError, match="give a folder"):
        domain.save(clips, tmp_path / "a.avi")
    with pytest.raises(InputError, match=r"cannot save clips as 'a\.txt': give a folder"):
        domain.save(clips, tmp_path / "a.txt")
    assert not (tmp_path / "a.txt").exists()
    with pytest.raises(InputError, match="clips are uint8"):
        domain.save(clips[0], tmp_path / "a.gif")
