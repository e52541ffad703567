"""Where shards are: local files, or any URL that fsspec reads. They are found by name and read in parts."""

from __future__ import annotations

import glob
import itertools
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from ganforge.core.errors import InputError, RunError, nearest, need_extra
from ganforge.domains.image_files import printable
from ganforge.domains.image_labels import SPLITS, TRAIN

TAR = ".tar"
PARQUET = ".parquet"
SUFFIX = (TAR, PARQUET)
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tar.lz4")
SIDECAR = ".index.safetensors"
"""What follows a shard's name in that of the file which says what is in it."""
SIDECAR_LIMIT = 2**28
"""Bytes: ten million images in a shard."""

MOST_SHARDS = 1_000_000
TRIES = 4
"""How often a part of a remote shard is asked for; in between 0.5, 1 and 2 seconds pass."""
AT_ONCE = 16
"""Requests to a remote store at the same time."""
HEADER_BLOCK = 2**20
"""Bytes that are read at once while the headers of a remote shard are looked for."""
MARKS = ("ETag", "etag", "Content-MD5", "Digest", "md5Hash", "checksum", "Last-Modified", "LastModified", "mtime")


@dataclass(frozen=True)
class Shard:
    """A .tar or .parquet file. ``name`` is for people, ``size`` in bytes; ``mark`` changes when the content does."""

    path: str
    name: str
    size: int
    mark: str


class Place(Protocol):
    """Reads shards. Any thread may."""

    remote: bool
    """Whether every read is a request to a server."""

    def read(self, shard: Shard, start: int, length: int) -> bytes:
        """``length`` bytes from ``start``. RunError when they cannot be had."""
        ...

    def open(self, shard: Shard) -> IO[bytes]:
        """A file object that can seek; for headers."""
        ...

    def sidecar(self, shard: Shard) -> bytes | None:
        """The content of the file beside the shard that says what is in it; None where there is none."""
        ...


class LocalPlace:
    """Files on this machine, or on a disk that is mounted."""

    remote = False

    def read(self, shard: Shard, start: int, length: int) -> bytes:
        """As of a Place."""
        try:
            with open(shard.path, "rb", buffering=0) as file:
                file.seek(start)
                content = file.read(length)
        except OSError as error:
            raise RunError(f"{shard.path}: cannot be read: {error.strerror}") from error
        if len(content) != length:
            raise RunError(f"{shard.path}: is shorter than it was when training began: restore it, then resume")
        return content

    def open(self, shard: Shard) -> IO[bytes]:
        """As of a Place."""
        return open(shard.path, "rb")

    def sidecar(self, shard: Shard) -> bytes | None:
        """As of a Place."""
        path = Path(shard.path + SIDECAR)
        return path.read_bytes() if path.is_file() and path.stat().st_size < SIDECAR_LIMIT else None


class RemotePlace:
    """What fsspec reads: s3://, gs://, https://, memory:// .. ``system`` is its file system."""

    remote = True

    def __init__(self, system: Any) -> None:
        self.system = system

    def read(self, shard: Shard, start: int, length: int) -> bytes:
        """As of a Place; what fails is tried again, since networks do."""
        content = b""
        for attempt in range(TRIES):
            try:
                content = self.system.cat_file(shard.path, start=start, end=start + length)
                break
            except Exception as error:  # each protocol has errors of its own
                if attempt == TRIES - 1:
                    raise RunError(
                        f"{shard.name}: cannot be read ({first_line(error)}); 'ganforge resume' goes on when it can"
                    ) from error
                time.sleep(0.5 * 2**attempt)
        if len(content) != length:
            whole = len(content) == shard.size
            told = "the server gives no parts of files (HTTP Range)" if whole else "it has changed, or was cut off"
            raise RunError(f"{shard.name}: {len(content):,} bytes came where {length:,} were asked for: {told}")
        return content

    def open(self, shard: Shard) -> IO[bytes]:
        """As of a Place."""
        return self.system.open(shard.path, "rb", block_size=HEADER_BLOCK, cache_type="readahead")

    def sidecar(self, shard: Shard) -> bytes | None:
        """As of a Place."""
        try:
            content = self.system.cat_file(shard.path + SIDECAR, start=0, end=SIDECAR_LIMIT)
        except Exception:  # not there, or the store does not say so in a way that all share
            return None
        return content if len(content) < SIDECAR_LIMIT else None


def is_url(spec: str) -> bool:
    """Whether ``spec`` names its protocol, as in s3://bucket/train-000.tar."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.:-]+://", spec) is not None


def is_shards(spec: str) -> bool:
    """Whether ``spec`` is meant as shards: a URL, names that end in .tar, a folder of such, a pattern of .parquet."""
    if is_url(spec):
        return True
    if spec.lower().endswith((TAR, *COMPRESSED)):
        return not Path(spec).is_dir()
    if spec.lower().endswith(PARQUET):  # a plain one, or a folder of them, is read as a whole
        return (glob.has_magic(spec) or "{" in spec) and not Path(spec).exists()
    return Path(spec).is_dir() and next(Path(spec).glob(f"*{TAR}"), None) is not None


def find_shards(spec: str, split: str | None = None) -> tuple[Place, list[Shard], list[str]]:
    """The shards that ``spec`` names, in order, where they are read, and what was decided for the user.

    ``spec`` is one .tar, a folder of them, or a pattern with {0000..0031}, {a,b}, * and ?; a path or a URL. So are
    .parquet files, of which a local one is given as a pattern or with file://.
    InputError, in one line, for a pattern that matches nothing, a missing shard, a protocol that is not installed.
    """
    patterns = list(itertools.islice(expand(spec), MOST_SHARDS + 1))
    if len(patterns) > MOST_SHARDS:
        raise InputError(f"{spec}: names more than {MOST_SHARDS:,} shards")
    for pattern in patterns:
        if pattern.lower().endswith(COMPRESSED):
            raise InputError(f"{pattern}: a compressed .tar cannot be read in parts: uncompress it (the images are)")
    place, shards = _remote(spec, patterns) if is_url(spec) else _local(spec, patterns)
    if len({shard.path.lower().endswith(PARQUET) for shard in shards}) > 1:
        raise InputError(f"{spec}: both .tar and .parquet shards: give a pattern that ends in one of these")
    kept, messages = _of_split(shards, split, spec)
    return place, kept, messages


def expand(spec: str) -> Iterator[str]:
    """All names that braces stand for, as in a shell: ``{000..012}`` keeps its zeros, ``{a,b}`` are alternatives."""
    found = re.search(r"\{(\d+)\.\.(\d+)\}|\{([^{},]*(?:,[^{},]*)+)\}", spec)
    if found is None:
        yield spec
        return
    if found[3] is not None:
        values: Iterator[str] = iter(found[3].split(","))
    else:
        first, last, width = int(found[1]), int(found[2]), len(found[1]) if found[1].startswith("0") else 0
        if last < first:
            raise InputError(f"{spec}: {found[0]} counts down: give the lower number first")
        values = (f"{i:0{width}d}" for i in range(first, last + 1))
    for value in values:
        yield from expand(spec[: found.start()] + value + spec[found.end() :])


def _local(spec: str, patterns: list[str]) -> tuple[LocalPlace, list[Shard]]:
    paths: list[str] = []
    for pattern in patterns:
        if Path(pattern).is_dir():
            inside = sorted(str(p) for p in Path(pattern).iterdir() if p.name.endswith(SUFFIX))
            paths += inside or sorted(str(p) for p in (Path(pattern) / "data").glob(f"*{PARQUET}"))
        elif glob.has_magic(pattern) and not Path(pattern).exists():
            paths += sorted(p for p in glob.glob(pattern) if p.endswith(SUFFIX))
        else:
            paths.append(pattern)
    if not paths:
        raise InputError(f"{spec}: no file ends in {' or '.join(SUFFIX)} there")
    shards = []
    for path in paths:
        try:
            about = Path(path).stat()
        except OSError as error:
            more = f" (one of the {len(paths):,} that {spec} names)" if len(paths) > 1 else ""
            raise InputError(f"{path}: no such shard{more}") from error
        if not Path(path).is_file():
            raise InputError(f"{path}: not a file")
        mark = f"{Path(path).resolve()}\0{about.st_size}\0{about.st_mtime_ns}"
        shards.append(Shard(path, printable(Path(path).name), about.st_size, mark))
    return LocalPlace(), shards


def _remote(spec: str, patterns: list[str]) -> tuple[RemotePlace, list[Shard]]:
    try:
        import fsspec
    except ImportError as error:
        raise need_extra("fsspec", "stream") from error
    try:
        found_at = [fsspec.core.url_to_fs(pattern) for pattern in patterns]
        system, paths = found_at[0][0], [path for _, path in found_at]
    except ImportError as error:
        raise InputError(f"{spec}: its protocol needs one more package: {first_line(error)}") from error
    except ValueError as error:
        known = nearest(spec.partition("://")[0], fsspec.available_protocols())
        raise InputError(f"{spec}: {first_line(error)}; {known}") from error
    except Exception as error:  # credentials, for example
        raise InputError(f"{spec}: {first_line(error)}") from error

    def look(path: str) -> list[dict[str, Any]]:
        if glob.has_magic(path):
            return _listed(system, path)
        if not path.lower().endswith(SUFFIX):
            folder = path.rstrip("/")
            for inside in (f"{folder}/*{TAR}", f"{folder}/*{PARQUET}", f"{folder}/data/*{PARQUET}"):
                if shards := _listed(system, inside):
                    return shards
            raise InputError(
                f"{spec}: no shards: only files that end in {' or '.join(SUFFIX)} can be streamed, or folders of such"
            )
        return [{"name": path, **system.info(path)}]

    try:
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ganforge-look") as pool:
            found = [info for infos in pool.map(look, paths) for info in infos]
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{error.filename or first_line(error)}: no such shard, or it cannot be reached") from error
    except Exception as error:
        raise InputError(f"{spec}: cannot be reached: {first_line(error)}") from error
    if not found:
        raise InputError(f"{spec}: no file ends in {' or '.join(SUFFIX)} there")
    shards = []
    for info in found:
        path, size = str(info["name"]), info.get("size")
        if not isinstance(size, int):
            raise InputError(f"{path}: its size is not told, so it cannot be read in parts")
        mark = "\0".join(str(info.get(key, "")) for key in MARKS)
        shards.append(Shard(path, printable(path.rsplit("/", 1)[-1]), size, f"{path}\0{size}\0{mark}"))
    return RemotePlace(system), shards


def _listed(system: Any, pattern: str) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = system.glob(pattern, detail=True)
    infos = [info | {"name": path} for path, info in sorted(found.items()) if path.endswith(SUFFIX)]
    return [i if isinstance(i.get("size"), int) else {**i, **system.info(i["name"]), "name": i["name"]} for i in infos]


def _of_split(shards: list[Shard], split: str | None, where: str) -> tuple[list[Shard], list[str]]:
    """The shards of one split, told by what stands before the number in their names."""
    named: dict[str, list[Shard]] = {}
    for shard in shards:
        named.setdefault(split_of(shard), []).append(shard)
    if split is not None:
        if split not in named:
            raise InputError(f"{where}: no shards of a split '{split}'; {nearest(split, named)}")
        return named[split], []
    train = next((t for t in TRAIN if t in named), None)
    if train is None or len(named) == 1 or not set(named) <= SPLITS:
        return shards, []
    others = ", ".join(sorted(set(named) - {train}))
    return named[train], [f"used the shards '{train}', left out {others}: --set data.split=NAME uses another"]


def split_of(shard: Shard) -> str:
    """What stands before the number in a shard's name."""
    return re.sub(r"[-_.]?\d.*$", "", shard.name.removesuffix(TAR).removesuffix(PARQUET))


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
