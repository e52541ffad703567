"""Images that come as tables: Parquet files, Hugging Face data sets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ganforge.core.errors import InputError, nearest, need_extra
from ganforge.domains.image_decode import FILE_LIMIT, Content, Entry
from ganforge.domains.image_labels import LABEL_COLUMNS, TRAIN, Labels, Listing

IMAGE_COLUMNS = ("image", "img", "images", "jpg", "png")
HUB = "hf:"


def is_parquet(path: Path) -> bool:
    """Whether ``path`` is a Parquet file, or a folder that holds some directly or in ``data``."""
    return bool(_parquet_files(path))


def _parquet_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix.lower() == ".parquet" else []
    return sorted(path.glob("*.parquet")) or sorted((path / "data").glob("*.parquet"))


def parquet_stamp(path: Path) -> Iterator[str]:
    """Cheap marks that change when the content does."""
    for file in _parquet_files(path):
        about = file.stat()
        yield f"{file.resolve()}\0{about.st_size}\0{about.st_mtime_ns}"


def parquet_numbers(path: Path) -> list[str]:
    """The columns of numbers of Parquet files that can be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(_parquet_files(path)[0])
    return [field.name for field in schema if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)]


def list_parquet(path: Path, labels: Labels, label_column: str | None, split: str | None) -> Listing:
    """The rows of Parquet files: an image column (a struct of bytes and path, or bytes), maybe a label column."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise need_extra("pyarrow", "parquet") from error
    files, messages = _split_files(_parquet_files(path), split, str(path))
    try:
        opened = [pq.ParquetFile(f) for f in files]
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not Parquet that can be read: {error}") from error
    schema = opened[0].schema_arrow
    column = column_of_images(schema, str(path))
    features: dict[str, Any] = {}
    if schema.metadata and b"huggingface" in schema.metadata:
        features = json.loads(schema.metadata[b"huggingface"]).get("info", {}).get("features", {})
    key = column_of_labels(schema.names, labels, label_column, str(path))
    found: list[str] | None = None
    if key is not None:
        class_names = (features.get(key) or {}).get("names")
        found = []
        for file, table in zip(files, opened, strict=True):
            try:
                values = table.read(columns=[key]).column(key).to_pylist()
            except (pa.ArrowException, OSError) as error:
                raise InputError(f"{file}: cannot be read: {error}") from error
            found += [class_name(v, class_names, f"{file}, row {i}", key) for i, v in enumerate(values)]

    def entries() -> Iterator[Entry]:
        for file, table in zip(files, opened, strict=True):
            row = 0
            try:
                for batch in table.iter_batches(batch_size=64, columns=[column]):
                    for value in batch.column(0).to_pylist():
                        yield Entry(f"{file.name}, row {row}", partial(cell_content, value, file.parent, inside=True))
                        row += 1
            except (pa.ArrowException, OSError) as error:
                raise InputError(f"{file}: damaged after row {row}: {error}") from error

    count = sum(table.metadata.num_rows for table in opened)
    return Listing(str(path), count, entries, found, tuple(messages))


def _split_files(files: list[Path], split: str | None, where: str) -> tuple[list[Path], list[str]]:
    """Hugging Face names the files of a split train-00000-of-00002.parquet."""
    named: dict[str, list[Path]] = {}
    for file in files:
        match = re.fullmatch(r"(.+?)(?:-\d+-of-\d+.*)?", file.stem)
        named.setdefault(match[1] if match else file.stem, []).append(file)
    if split is not None:
        if split not in named:
            raise InputError(f"{where}: no split '{split}'; {nearest(split, named)}")
        return named[split], []
    train = next((t for t in TRAIN if t in named), None)
    if train is None or len(named) == 1:
        return files, []
    others = ", ".join(sorted(set(named) - {train}))
    return named[train], [f"used the split '{train}', left out {others}: --set data.split=NAME uses another"]


def columns_of_images(schema: Any) -> list[str]:
    """The columns that may hold images."""
    import pyarrow as pa

    def holds(kind: Any) -> bool:
        struct = pa.types.is_struct(kind) and {"bytes", "path"} & {kind.field(i).name for i in range(kind.num_fields)}
        return bool(struct) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    return [field.name for field in schema if holds(field.type)]


def is_of_several_images(path: Path) -> bool:
    """Whether ``path`` is a Parquet file, or a folder of them, whose rows hold several images, none of a usual name."""
    files = _parquet_files(path)
    try:
        import pyarrow.parquet as pq

        able = columns_of_images(pq.read_schema(files[0])) if files else []
    except (ImportError, OSError, ValueError):  # reading it says what is wrong
        return False
    return len(able) > 1 and not set(able) & set(IMAGE_COLUMNS)


def column_of_images(schema: Any, where: str, asked: str | None = None) -> str:
    """The column that holds images: the one ``asked`` for, one of a usual name, or the only one. InputError: none."""
    able = columns_of_images(schema)
    if asked is not None:
        if asked not in able:
            raise InputError(f"{where}: no column '{asked}' of images; {nearest(asked, able)}")
        return asked
    for wanted in IMAGE_COLUMNS:
        if wanted in able:
            return wanted
    if len(able) == 1:
        return able[0]
    raise InputError(f"{where}: no image column: expected 'image' holding bytes; columns: {', '.join(schema.names)}")


def column_of_labels(names: list[str], labels: Labels, wanted: str | None, where: str) -> str | None:
    """The column that holds classes: the one that is ``wanted``, or one of a usual name; None where there is none."""
    if labels == "none":
        return None
    if wanted is not None and wanted not in names:
        raise InputError(f"{where}: no column '{wanted}'; {nearest(wanted, names)}")
    found = wanted or next((c for c in (*LABEL_COLUMNS, "labels") if c in names), None)
    if found is None and labels != "auto":
        raise InputError(f"{where}: no label column for labels={labels}; columns: {', '.join(names)}")
    return found


def class_name(value: Any, names: list[str] | None, place: str, column: str) -> str:
    """The class that a cell gives, by Hugging Face's ``names`` of classes where there are such. InputError: none."""
    if value is None or isinstance(value, list | dict) or not str(value).strip():
        raise InputError(f"{place}: no label in column '{column}'")
    if names is not None and isinstance(value, int):
        if not 0 <= value < len(names):
            raise InputError(f"{place}: label {value} is not one of the {len(names)} classes")
        return str(names[value])
    return str(value)


def cell_content(value: Any, home: Path, inside: bool) -> Content:
    """The bytes of an image cell; a path is read only when it stays inside ``home`` (or ``inside`` is not asked)."""
    if isinstance(value, bytes):
        return value
    value = value or {}
    if value.get("bytes") is not None:
        return value["bytes"]
    if not value.get("path"):
        raise ValueError("the cell is empty")
    path = home / value["path"]
    if inside and home.resolve() not in path.resolve().parents:
        raise ValueError(f"the path '{value['path']}' leads out of the folder")
    if path.stat().st_size > FILE_LIMIT:
        raise ValueError("the file is too big")
    return path.read_bytes()


def is_saved_dataset(path: Path) -> bool:
    """Whether a folder was written by Hugging Face's ``save_to_disk``."""
    return (path / "dataset_dict.json").is_file() or (
        (path / "state.json").is_file() and (path / "dataset_info.json").is_file()
    )


def list_hub(spec: str, labels: Labels, label_column: str | None, split: str | None) -> Listing:
    """A Hugging Face data set: ``hf:owner/name``, or a folder that ``save_to_disk`` wrote."""
    try:
        import datasets
    except ImportError as error:
        raise need_extra("datasets", "hf") from error
    try:
        if spec.startswith(HUB):
            data = datasets.load_dataset(spec.removeprefix(HUB))
        else:
            data = datasets.load_from_disk(spec)
    except Exception as error:  # the network, the hub, the cache and the files all fail in their own ways
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{spec}: Hugging Face datasets cannot load it: {first}") from error
    messages: list[str] = []
    if isinstance(data, dict):
        parts = [str(part) for part in data]
        name = split or next((t for t in TRAIN if t in data), next(iter(data)))
        if name not in data:
            raise InputError(f"{spec}: no split '{name}'; {nearest(str(name), parts)}")
        if len(data) > 1 and split is None:
            messages.append(f"used the split '{name}' of {', '.join(parts)}: --set data.split=NAME uses another")
        data = data[name]
    features = data.features
    column = next((c for c, f in features.items() if isinstance(f, datasets.Image)), None)
    if column is None:
        raise InputError(f"{spec}: no column of images; columns: {', '.join(features)}")
    key = column_of_labels(list(features), labels, label_column, spec)
    found = None
    if key is not None:
        names = getattr(features[key], "names", None)
        found = [class_name(v, names, f"{spec}, row {i}", key) for i, v in enumerate(data[key])]
    raw = data.select_columns([column]).cast_column(column, datasets.Image(decode=False))

    def entries() -> Iterator[Entry]:
        for i, row in enumerate(raw):
            yield Entry(f"row {i}", partial(cell_content, row[column], Path(), inside=False))

    return Listing(spec, len(raw), entries, found, tuple(messages), stamp=str(data._fingerprint))
