"""Finding and decoding image files: every mode, layout and kind of damage that real folders have."""

from __future__ import annotations

import io
import os
import stat
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganforge.core.errors import InputError
from ganforge.domains import image
from ganforge.domains.image import ImageOptions
from ganforge.domains.image_decode import Fit, decode, header
from image_makers import RNG, file, noise, pack_zip, pixels, put, read, some

# ---- modes, bits, shapes


@pytest.mark.parametrize(
    ("mode", "kind", "channels"),
    [
        ("1", "PNG", 1),
        ("L", "PNG", 1),
        ("L", "BMP", 1),
        ("LA", "PNG", 4),
        ("P", "PNG", 3),
        ("P", "GIF", 3),
        ("RGB", "PNG", 3),
        ("RGB", "JPEG", 3),
        ("RGB", "WEBP", 3),
        ("RGB", "TIFF", 3),
        ("RGB", "PPM", 3),
        ("RGBA", "PNG", 4),
        ("CMYK", "JPEG", 3),
        ("CMYK", "TIFF", 3),
    ],
)
def test_every_mode(tmp_path: Path, mode: str, kind: str, channels: int) -> None:
    contents = [file(noise(mode), kind) for _ in range(3)]
    suffix = {"JPEG": "jpg", "TIFF": "tif"}.get(kind, kind.lower())
    source = read(put(tmp_path, {f"{i}.{suffix}": c for i, c in enumerate(contents)}))
    assert source.shape == (channels, 10, 12) and source.bits == 8
    if mode in ("L", "RGB", "RGBA"):
        expected = np.asarray(Image.open(io.BytesIO(contents[1]))).reshape(10, 12, channels)
        np.testing.assert_array_equal(pixels(source)[1], expected.transpose(2, 0, 1))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits(tmp_path: Path, kind: str) -> None:
    levels = RNG.integers(0, 65536, (2, 5, 7), dtype=np.uint16)
    levels[0, 0, :2] = 0, 65535
    suffix = "png" if kind == "PNG" else "tif"
    source = read(put(tmp_path, {f"{i}.{suffix}": file(Image.fromarray(v), kind) for i, v in enumerate(levels)}))
    assert source.bits == 16 and source.shape == (1, 5, 7)
    np.testing.assert_array_equal(pixels(source)[:, 0], levels.astype(np.float32))


def test_eight_and_sixteen_bits_together(tmp_path: Path) -> None:
    deep = np.full((4, 4), 1000, np.uint16)
    source = read(put(tmp_path, {"a.png": file(Image.new("L", (4, 4), 128)), "b.png": file(Image.fromarray(deep))}))
    assert source.bits == 16 and "16" in " ".join(source.messages)
    assert pixels(source)[:, 0, 0, 0].tolist() == [128 * 257, 1000]
    rgb = read(tmp_path, channels=3)
    assert rgb.bits == 8 and rgb.shape == (3, 4, 4)
    assert pixels(rgb)[:, 0, 0, 0].tolist() == [128, round(1000 / 257)]


def test_float_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="floating-point"):
        decode(file(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), Fit(), 100)


@pytest.mark.parametrize(("mode", "says"), [("LA", "in 4 channels: --channels 1 reads one, laid"), ("RGB", "in 3 ch")])
def test_grey_in_more_channels_than_it_needs_is_said(tmp_path: Path, mode: str, says: str) -> None:
    put(tmp_path, {f"{i}.png": file(noise("L", seed=i).convert(mode)) for i in range(3)})
    assert says in read(tmp_path).messages[0]
    assert read(tmp_path, channels=1).messages == ()
    put(tmp_path, {"3.png": file(noise("RGB").convert("RGBA" if mode == "LA" else mode))})
    assert read(tmp_path).messages == ()


def test_transparency_is_laid_over_white() -> None:
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    assert (decode(file(clear), Fit(channels=3), 100) == 255).all()
    assert (decode(file(clear), Fit(channels=1), 100) == 255).all()
    assert decode(file(clear), Fit(), 100)[:, 0, 0].tolist() == [10, 20, 30, 0]


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_orientation(turn: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = turn
    content = file(noise("RGB", (8, 6)), "PNG", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content)))).transpose(2, 0, 1)
    np.testing.assert_array_equal(decode(content, Fit(), 1000), expected)
    assert header(content, 1000).size == expected.shape[1:]


def test_phone_photo_is_turned_and_shrunk() -> None:
    picture = Image.new("RGB", (800, 400), "red")
    picture.paste("blue", (0, 0, 400, 400))  # left half; after a turn by 90 degrees to the right: the upper half
    exif = Image.Exif()
    exif[0x0112] = 6
    small = decode(file(picture, "JPEG", exif=exif), Fit((32, 16)), 10**6)
    assert small.shape == (3, 32, 16)
    assert small[2, 4, 8] > 200 > 60 > small[2, 28, 8]


def test_resize_covers_and_crops_the_center() -> None:
    stripes = np.zeros((8, 24, 3), np.uint8)
    stripes[:, 8:16] = 255
    assert (decode(file(Image.fromarray(stripes)), Fit((8, 8)), 1000) == 255).all()
    up = decode(file(Image.new("L", (3, 5), 77)), Fit((20, 30)), 1000)
    assert up.shape == (1, 20, 30) and (up == 77).all()


@pytest.mark.parametrize(("resolution", "shape"), [(8, (8, 8)), ("6x9", (6, 9)), ("16", (16, 16))])
def test_resolution(tmp_path: Path, resolution: int | str, shape: tuple[int, int]) -> None:
    assert read(put(tmp_path, some()), resolution=resolution).shape == (1, *shape)


@pytest.mark.parametrize("bad", ["8x", "big", "0x4", "-3"])
def test_bad_resolution(tmp_path: Path, bad: str) -> None:
    with pytest.raises(InputError, match="resolution"):
        read(put(tmp_path, some()), resolution=bad)


def test_mixed_sizes_take_the_median(tmp_path: Path) -> None:
    sizes = [(500, 400), (520, 390), (30, 20)]
    source = read(put(tmp_path, {f"{i}.png": file(Image.new("RGB", s)) for i, s in enumerate(sizes)}))
    assert source.shape == (3, 192, 256)  # 390 x 500, shrunk to at most 256, down to multiples of 8
    assert "192x256" in source.messages[0] and "3 different sizes" in source.messages[0]


def test_mixed_channels_say_what_to_do(tmp_path: Path) -> None:
    put(tmp_path, {"g1.png": file(noise("L")), "c1.png": file(noise("RGB")), "c2.png": file(noise("RGB"))})
    with pytest.raises(InputError, match=r"2 RGB .*c1\.png.* 1 grey .*g1\.png.*--channels 3"):
        read(tmp_path)
    assert read(tmp_path, channels=3).shape == (3, 10, 12)
    assert read(tmp_path, channels=1).shape == (1, 10, 12)
    assert read(tmp_path, channels=4).shape == (4, 10, 12)


# ---- folders and names


def test_nested_folder_with_odd_names(tmp_path: Path) -> None:
    files = {
        "a b/c (1).PNG": file(noise("L")),
        "ünï/日本.png": file(noise("L")),
        "x.jpeg": file(noise("L"), "JPEG"),
        ".hidden.png": b"no image",
        ".cache/1.png": b"no image",
        "__MACOSX/._x.png": b"no image",
        "notes.txt": "text",
        "wrong-suffix.jpg": file(noise("L"), "PNG"),
    }
    source = read(put(tmp_path, files))
    assert len(source) == 4 and source.skipped == () and source.classes == ()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has file names that are not Unicode")
def test_names_that_are_not_unicode(tmp_path: Path) -> None:
    for name in (b"caf\xe9", b"other"):
        os.mkdir(os.path.join(os.fsencode(tmp_path), name))
        for i in range(2):
            Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name, b"%d.png" % i))).write_bytes(file(noise("L")))
    source = read(tmp_path)
    assert len(source) == 4 and len(source.classes) == 2
    "".join(source.classes).encode()  # can be printed and stored


@pytest.mark.skipif(not hasattr(os, "symlink") or os.name == "nt", reason="needs symbolic links")
def test_links_in_folders(tmp_path: Path) -> None:
    real = put(tmp_path / "real", some(2))
    linked = put(tmp_path / "linked", some(1, prefix="own"))
    (linked / "more").symlink_to(real)
    (linked / "more" / "loop").symlink_to(linked)
    (linked / "broken.png").symlink_to(tmp_path / "nowhere.png")
    source = read(linked)
    assert len(source) == 3 and [name for name, _ in source.skipped] == ["broken.png"]


def test_nothing_to_read(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=r"no images .*supported suffixes.*\.png"):
        read(empty)
    with pytest.raises(InputError, match="supported suffixes"):
        read(put(tmp_path / "phone", {"IMG_1.HEIC": b"x"}))
    with pytest.raises(InputError, match="one image only"):
        read(put(tmp_path / "one", some(1)))
    with pytest.raises(InputError, match="one image only"):
        read(tmp_path / "one" / "0.png")
    with pytest.raises(InputError, match="no data at"):
        image.open(str(tmp_path / "absent"), ImageOptions())
    assert not image.accepts(str(put(tmp_path / "texts", {"a.txt": "x"})))


# ---- damage and bombs


def test_damaged_files_are_skipped_or_refused(tmp_path: Path) -> None:
    whole, photo = file(noise("RGB", (64, 64))), file(noise("RGB", (64, 64)), "JPEG")
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    files = {
        "a.png": whole,
        "b.jpg": photo,
        "cut.png": whole[: len(whole) // 2],
        "cut.jpg": photo[: len(photo) // 2],
        "empty.png": b"",
        "flipped.png": bytes(flipped),
        "text.png": "this is no image",
        "head.png": whole[:20],
    }
    source = read(put(tmp_path, files))
    reasons = dict(source.skipped)
    assert len(source) == 2 and set(reasons) == set(files) - {"a.png", "b.jpg"}
    assert reasons["empty.png"] == "the file is empty" and all(reasons.values())
    assert reasons["text.png"] == "not an image that can be read"
    assert any("skipped 6 of 8" in m for m in source.messages)
    for _ in range(2):  # decoding, and from the cache
        with pytest.raises(InputError, match=r"cut\.jpg: "):
            read(tmp_path, strict=True)


def test_all_damaged(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none of 2 images can be read; the first, a\.png: not an image"):
        read(put(tmp_path, {"a.png": "x", "b.png": "y"}))


def test_skipped_images_take_their_labels_along(tmp_path: Path) -> None:
    files = {
        "a/0.png": "broken",
        "a/1.png": file(Image.new("L", (4, 4), 1)),
        "b/0.png": file(Image.new("L", (4, 4), 2)),
    }
    source = read(put(tmp_path, {**files, "c/0.png": "broken"}))
    assert source.classes == ("a", "b") and source.counts == (1, 1)


def test_pixel_bomb_is_skipped(tmp_path: Path) -> None:
    files = {**some(2), "bomb.png": file(Image.new("1", (2000, 2000)))}
    source = read(put(tmp_path, files), max_pixels=1_000_000)
    assert len(source) == 2 and "max_pixels" in dict(source.skipped)["bomb.png"]


def test_postscript_is_never_run(tmp_path: Path) -> None:
    source = read(put(tmp_path, {**some(2), "evil.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"}))
    assert [name for name, _ in source.skipped] == ["evil.png"]


# ---- zip archives


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_equals_folder(tmp_path: Path, method: int) -> None:
    files = {
        **some(3, prefix="wrap/a/"),
        **some(2, prefix="wrap/b/"),
        "__MACOSX/wrap/._0.png": "x",
        "wrap/.DS_Store": "x",
    }
    folder = read(put(tmp_path / "folder", files))
    archive = read(pack_zip(tmp_path / "data.zip", files, method))
    assert archive.fingerprint == folder.fingerprint and archive.counts == (3, 2) and archive.classes == ("a", "b")


@pytest.mark.parametrize("name", ["../out.png", "a/../../out.png", "/abs.png", "C:/x.png", "..\\out.png"])
def test_zip_with_unsafe_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="unsafe member name"):
        read(pack_zip(tmp_path / "evil.zip", {**some(2), name: file(noise("L"))}))


def test_zip_with_a_link(tmp_path: Path) -> None:
    path = pack_zip(tmp_path / "evil.zip", some(2))
    info = zipfile.ZipInfo("link.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(InputError, match="symbolic link"):
        read(path)


def test_zip_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack_zip(tmp_path / "bomb.zip", {f"{i}.png": bytes(3 * 2**20) for i in range(2)})
    monkeypatch.setattr("ganforge.domains.image_files.ZIP_TOTAL", 2**20)
    with pytest.raises(InputError, match="zip bomb"):
        read(path)
    monkeypatch.setattr("ganforge.domains.image_files.FILE_LIMIT", 2**20)
    with pytest.raises(InputError, match="claims 3,145,728 bytes"):
        read(path)


def test_damaged_zip(tmp_path: Path) -> None:
    path = pack_zip(tmp_path / "a.zip", some(4), zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[60] ^= 255  # inside the first member
    path.write_bytes(content)
    source = read(path)
    assert len(source) == 3 and source.skipped[0][0] == "0.png"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="not a zip archive"):
        read(path)
