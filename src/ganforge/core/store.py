"""Files that are whole or not there: safetensors and JSON, written atomically, checked by sha256, never unpickled."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganforge.core.errors import InputError, RunError

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
"""Version of the file layout; readers refuse a newer one."""

MANIFEST = "manifest.json"


class Corrupt(RunError):
    """A file is missing, cut short, or not what was written."""


def check_format(document: Any, where: Path) -> None:
    """Refuse a document that a newer ganforge wrote, or that is none of ours."""
    version = document.get("format", 1) if isinstance(document, dict) else None
    if not isinstance(version, int):
        raise Corrupt(f"{where}: not what ganforge wrote there")
    if version > FORMAT:
        raise InputError(f"{where}: written by a newer ganforge (format {version}): update ganforge")


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an OSError while writing ``path`` into one clear line."""
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error


def current_umask() -> int:
    """What the user wants others not to do; mkstemp and mkdtemp let nobody else read."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: temporary file in the same folder, fsync, rename."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~current_umask())
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise


def write_json(path: Path, document: Any) -> None:
    """Write ``document`` as JSON, atomically."""
    write_bytes(path, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON; Corrupt when it is not."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Corrupt(f"{path}: cannot be read ({error})") from error


def append_line(path: Path, document: Mapping[str, Any]) -> None:
    """Append one JSON line. What a crash or a full disk left of the line before is kept apart; readers skip it."""
    line = (json.dumps(document, ensure_ascii=False) + "\n").encode()
    with disk_errors(path), open(path, "ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else b"\n" + line
        file.write(line)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All whole JSON lines of a file; an absent file has none."""
    lines = []
    if path.exists():
        for line in path.read_bytes().split(b"\n"):
            with contextlib.suppress(ValueError):
                lines.append(json.loads(line))
    return [line for line in lines if isinstance(line, dict)]


def write_folder(folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], documents: Mapping[str, Any]) -> None:
    """Write a folder of safetensors files and JSON documents so that it appears at once, or not at all.

    ``tensors`` maps file names (without suffix) to named tensors. A manifest records each file's sha256. An existing
    folder is replaced; a crash between the two renames leaves it as ``<name>.old``, which ``Folder`` knows.
    """
    from safetensors.torch import save

    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
        try:
            contents = {
                f"{name}.safetensors": save({k: plain_copy(v) for k, v in named.items()})
                for name, named in tensors.items()
            }
            contents |= {
                name: (json.dumps(document, indent=2) if not isinstance(document, str) else document).encode()
                for name, document in documents.items()
            }
            sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
            contents[MANIFEST] = json.dumps({"format": FORMAT, "sha256": sums}, indent=2).encode()
            for name, content in contents.items():
                with open(work / name, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            os.chmod(work, 0o777 & ~current_umask())
            sync_folder(work)
            old = replaced(folder)
            if folder.exists():
                discard(old)
                os.rename(folder, old)
            os.rename(work, folder)
            sync_folder(folder.parent)
            discard(old)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise


def plain_copy(tensor: Tensor) -> Tensor:
    """A copy on the CPU, contiguous and of its own memory: safetensors refuses tied weights that share it."""
    copy = tensor.detach().cpu().contiguous()
    return copy.clone() if copy.data_ptr() == tensor.data_ptr() else copy


def sync_folder(folder: Path) -> None:
    """Make renames within a folder last (POSIX)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def replaced(folder: Path) -> Path:
    """Where a folder is while a newer one takes its place."""
    return folder.with_name(folder.name + ".old")


def discard(folder: Path) -> None:
    """Remove a folder, if it is there. It goes where no reader looks first, so that it is never seen half removed."""
    if not folder.exists():
        return
    with contextlib.suppress(OSError):
        gone = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
        with contextlib.suppress(OSError):
            os.rename(folder, gone / folder.name)
        shutil.rmtree(gone, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what a process that died left in ``folder``. Only for who is sure to be the only writer there."""
    for left in folder.glob(".*.tmp"):
        shutil.rmtree(left, ignore_errors=True)
        with contextlib.suppress(OSError):
            left.unlink()
    for left in folder.glob("*.old"):
        if left.with_suffix("").exists():
            discard(left)


class Folder:
    """A folder that ``write_folder`` wrote, read as a whole; every file is checked against the manifest.

    It may be replaced while it is read: then the newer one is read.
    """

    def __init__(self, path: Path) -> None:
        for _ in range(5):
            old = replaced(path)
            self.path = old if not path.exists() and old.exists() else path
            try:
                self._read()
                return
            except Corrupt:
                if not self._was_replaced():
                    raise
        self._read()

    def _read(self) -> None:
        self._mark = self._identity()
        manifest = read_json(self.path / MANIFEST)
        check_format(manifest, self.path)
        if not isinstance(manifest.get("sha256"), dict):
            raise Corrupt(f"{self.path / MANIFEST}: not what ganforge wrote there")
        self.sums: dict[str, str] = manifest["sha256"]
        self.contents = {name: self._content(name) for name in self.sums}

    def _content(self, name: str) -> bytes:
        try:
            content = (self.path / name).read_bytes()
        except OSError as error:
            raise Corrupt(f"{self.path / name}: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != self.sums[name]:
            raise Corrupt(f"{self.path / name}: its sha256 is not the recorded one, the file is damaged")
        return content

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def _was_replaced(self) -> bool:
        return self._mark is None or self._mark != self._identity()

    def read(self, name: str) -> bytes:
        """The checked content of one file."""
        if name not in self.contents:
            raise Corrupt(f"{self.path / name}: missing")
        return self.contents[name]

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The named tensors of ``name``.safetensors, on the CPU."""
        from safetensors.torch import load

        return load(self.read(f"{name}.safetensors"))

    def document(self, name: str) -> Any:
        """A JSON document."""
        return json.loads(self.read(name))
