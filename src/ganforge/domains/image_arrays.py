"""Images that come as arrays: NumPy's .npz and .npy."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from ganforge.core.errors import InputError, nearest
from ganforge.domains.image_decode import Entry
from ganforge.domains.image_files import DAMAGED, ZIP_RATIO, ZIP_TOTAL
from ganforge.domains.image_labels import SPLITS, TRAIN, Labels, Listing

IMAGE_KEYS = ("images", "image", "x", "arr_0", "data")
LABEL_KEYS = ("labels", "label", "y", "targets")
IMAGE_WORDS = (*IMAGE_KEYS, "imgs", "img")
"""What an array of images is called beside the name of its part: x_train, train_images."""

Shapes = Mapping[str, tuple[int, ...]]


def npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The arrays of an .npz file (of an .npy: one, "array") and their shapes, without reading them; empty when it
    cannot be read."""
    shapes = {}
    try:
        if path.suffix.lower() == ".npy":
            with path.open("rb") as file:
                return {"array": npy_shape(file)}
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as file:
                    shapes[name.removesuffix(".npy")] = npy_shape(file)
    except (OSError, ValueError, *DAMAGED):
        return {}
    return shapes


def npy_shape(file: IO[bytes]) -> tuple[int, ...]:
    """The shape of the array in an .npy file. ValueError when it is none."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)[0]


def list_npz(path: Path, labels: Labels, label_column: str | None, split: str | None = None) -> Listing:
    """The images [n, h, w], [n, h, w, c] or [n, c, h, w] of an .npz file, and its labels [n]; or of an .npy file.

    Of files with parts (x_train, y_test; train_images, val_labels) one part is used: ``split``, else the one for
    training. Whole numbers are taken as they are (uint8, else uint16); floats in 0-1 are multiplied by 255; anything
    else is an InputError, as are arrays that would have to be unpickled.
    """
    where = str(path)
    suffix = path.suffix.lower()
    messages: list[str] = []
    try:
        if suffix == ".npy":
            key, raw, label_key, values = "array", np.load(path, allow_pickle=False), None, None
        else:
            key, raw, label_key, values, messages = _npz_arrays(path, labels, label_column, split)
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise InputError(f"{where}: cannot be read as {suffix}: {error}") from error
        told = "it holds Python objects, which are never unpickled: save numbers of one shape"
        raise InputError(f"{where}: {told}") from error
    except (OSError, *DAMAGED) as error:
        raise InputError(f"{where}: cannot be read as {suffix}: {error}") from error
    if values is None and (labels in ("folder", "metadata") or (label_column and labels == "auto")):
        raise InputError(f"{where}: no labels (arrays named {', '.join(LABEL_KEYS)}) for labels={labels}")
    planes = _planes(raw, f"{where}, array '{key}'")
    levels, message = _levels(planes, f"{where}, array '{key}'")
    names = None if values is None else _npz_labels(values, len(levels), f"{where}, array '{label_key}'")
    return list_array(where, levels, names, (*messages, *([message] if message else [])))


def _npz_arrays(
    path: Path, labels: Labels, label_column: str | None, split: str | None
) -> tuple[str, np.ndarray, str | None, np.ndarray | None, list[str]]:
    """The name of the array of images and the array; those of the labels, where there are any; messages."""
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    total, packed = sum(i.file_size for i in infos), sum(i.compress_size for i in infos)
    if total > ZIP_TOTAL and total > ZIP_RATIO * packed:
        raise InputError(f"{path}: expands from {packed:,} to {total:,} bytes: refused as a zip bomb")
    with np.load(path, allow_pickle=False) as file:
        shapes = npz_shapes(path)
        key, part, messages = choose_images(file.files, shapes, split, str(path))
        raw = file[key]
        if label_column is not None and label_column not in file.files:
            raise InputError(f"{path}: no array '{label_column}'; {nearest(label_column, file.files)}")
        label_key = label_column or labels_of(file.files, part)
        if labels not in ("auto", "metadata"):
            return key, raw, None, None, messages
        if label_key is None:
            messages += offered(shapes, len(raw))
        return key, raw, label_key, file[label_key] if label_key else None, messages


def choose_images(
    keys: Sequence[str], shapes: Shapes, split: str | None, where: str
) -> tuple[str, str | None, list[str]]:
    """The array of images that is used, the part that it is of (None: the file has no parts), and what to say of it.

    InputError for none, for several of which none is plainly meant, and for a part that is not there.
    """
    pictures = [key for key in keys if len(shapes.get(key, (0, 0, 0))) in (3, 4)]
    parts = {part: key for key in pictures for part, rest in [part_of(key)] if part and rest in IMAGE_WORDS}
    if split is not None:
        if split.lower() not in parts:
            raise InputError(f"{where}: no images of a part '{split}'; {nearest(split, parts)}")
        return parts[split.lower()], split.lower(), []
    plain = next((key for wanted in IMAGE_KEYS for key in pictures if key.lower() == wanted), None)
    if plain is not None:
        return plain, None, []
    train = next((part for part in TRAIN if part in parts), None)
    if train is not None and len(parts) > 1:
        others = ", ".join(key for part, key in parts.items() if part != train)
        return parts[train], train, [f"used the array '{parts[train]}', left out {others}: choose with split="]
    if len(pictures) == 1:
        return pictures[0], part_of(pictures[0])[0], []
    have = ", ".join(f"{k} {list(shapes.get(k, ()))}" for k in keys) or "none"
    choose = "; choose a part with split=" if parts else ""
    raise InputError(
        f"{where}: no array 'images' of shape [n, height, width] or [n, height, width, channels]: {have}{choose}"
    )


def part_of(key: str) -> tuple[str | None, str]:
    """The part that an array's name tells, and the rest: of x_train (train, x), of test_labels (test, labels)."""
    word = key.lower()
    for part in SPLITS:
        if word.startswith(f"{part}_"):
            return part, word.removeprefix(f"{part}_")
        if word.endswith(f"_{part}"):
            return part, word.removesuffix(f"_{part}")
    return None, word


def labels_of(keys: Sequence[str], part: str | None) -> str | None:
    """The array of labels: of the same part as the images, or of none."""
    known = {part_of(key): key for key in reversed(keys)}
    wanted = [(place, word) for place in dict.fromkeys((part, None)) for word in LABEL_KEYS]
    return next((known[each] for each in wanted if each in known), None)


def offered(shapes: Shapes, count: int) -> list[str]:
    """A message where no array is called labels, but some hold one number or name for each image."""
    fit = [key for key, shape in shapes.items() if shape in ((count,), (count, 1))]
    if not fit:
        return []
    others = f" (or {', '.join(fit[1:6])})" if len(fit) > 1 else ""
    named = f"no labels are taken: no array is called {', '.join(LABEL_KEYS)}"
    return [f"{named}; for labels from '{fit[0]}'{others} --set data.label_column={fit[0]}"]


def list_array(where: str, array: np.ndarray, labels: list[str] | None, messages: tuple[str, ...] = ()) -> Listing:
    """A listing of images that are in memory, uint8 or uint16 [n, channels, height, width]."""

    def entries() -> Iterator[Entry]:
        for i in range(len(array)):
            yield Entry(f"row {i}", partial(array.__getitem__, i))

    return Listing(where, len(array), entries, labels, messages, array)


def _planes(raw: np.ndarray, where: str) -> np.ndarray:
    """To [n, channels, height, width]."""
    if 0 in raw.shape:
        raise InputError(f"{where}: empty, shape {list(raw.shape)}")
    if raw.ndim == 3:
        return raw[:, None]
    first, last = raw.shape[1] in (1, 3, 4), raw.shape[3] in (1, 3, 4)
    if first == last:  # other numbers of channels: the side that is clearly the smaller
        first, last = raw.shape[1] * 4 <= raw.shape[3], raw.shape[3] * 4 <= raw.shape[1]
    if first == last:
        raise InputError(
            f"{where}: shape {list(raw.shape)} could be [n, height, width, channels] or [n, channels, height, width]: "
            "save as [n, height, width] or with 1, 3 or 4 channels"
        )
    return raw if first else raw.transpose(0, 3, 1, 2)


def _levels(raw: np.ndarray, where: str) -> tuple[np.ndarray, str]:
    """To contiguous uint8 or uint16, and what the user should know about it."""
    if raw.dtype in (np.uint8, np.uint16):
        return np.ascontiguousarray(raw), ""
    if raw.dtype == np.bool_:
        return np.ascontiguousarray(raw).astype(np.uint8) * 255, ""
    if raw.dtype.kind not in "iuf":
        raise InputError(f"{where}: values of type {raw.dtype} are no pixels: save uint8")
    low, high = raw.min(), raw.max()
    if raw.dtype.kind == "f":
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InputError(f"{where}: values that are not finite (NaN or infinity): replace them")
        if not (low >= 0 and high <= 1):
            raise InputError(
                f"{where}: floats from {low:g} to {high:g}: scale them to 0-1, or save uint8 0-255 or uint16"
            )
        return np.ascontiguousarray((raw * 255).round().astype(np.uint8)), "floats in 0-1 were multiplied by 255"
    if low < 0 or high > 65535:
        raise InputError(f"{where}: values from {low} to {high}: save uint8 0-255 or uint16 0-65535")
    return np.ascontiguousarray(raw.astype(np.uint8 if high <= 255 else np.uint16)), ""


def _npz_labels(values: np.ndarray, count: int, where: str) -> list[str]:
    if values.shape == (count, 1):
        values = values[:, 0]
    if values.shape != (count,):
        raise InputError(f"{where}: shape {list(values.shape)}, expected one label for each of {count:,} images")
    if values.dtype.kind == "f" and np.all(values == np.floor(values)):
        values = values.astype(np.int64)
    if values.dtype.kind not in "iubU":
        raise InputError(f"{where}: labels must be whole numbers or names, not {values.dtype}")
    return [str(v) for v in values.tolist()]
