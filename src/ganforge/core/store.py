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


def check_format(document: Mapping[str, Any], where: Path) -> None:
    """Refuse a document that a newer ganforge wrote."""
    if int(document.get("format", 1)) > FORMAT:
        raise InputError(
            f"{where}: written by a newer ganforge (format {document['format']}): update ganforge"
        )


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an OSError while writing ``path`` into one clear line."""
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error


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
    """Append one JSON line. A reader skips a line that a crash cut short."""
    with disk_errors(path), open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(document, ensure_ascii=False) + "\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All whole JSON lines of a file; an absent file has none."""
    lines = []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                lines.append(json.loads(line))
    return lines


def write_folder(
    folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], documents: Mapping[str, Any]
) -> None:
    """Write a folder of safetensors files and JSON documents so that it appears at once, or not at all.

    ``tensors`` maps file names (without suffix) to named tensors. A manifest records each file's sha256. An existing
    folder is replaced; a crash between the two renames leaves it as ``<name>.old``, which ``read_folder`` knows.
    """
    from safetensors.torch import save

    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
        try:
            contents = {
                f"{name}.safetensors": save({k: v.detach().cpu().contiguous() for k, v in named.items()})
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
            os.chmod(work, 0o755)
            old = folder.with_name(folder.name + ".old")
            if folder.exists():
                shutil.rmtree(old, ignore_errors=True)
                os.rename(folder, old)
            os.rename(work, folder)
            _fsync_folder(folder.parent)
            shutil.rmtree(old, ignore_errors=True)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise


def _fsync_folder(folder: Path) -> None:
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class Folder:
    """A folder that ``write_folder`` wrote: every file is checked against the manifest before it is used."""

    def __init__(self, path: Path) -> None:
        old = path.with_name(path.name + ".old")
        self.path = old if not path.exists() and old.exists() else path
        manifest = read_json(self.path / MANIFEST)
        check_format(manifest, self.path)
        self.sums: dict[str, str] = manifest["sha256"]

    def read(self, name: str) -> bytes:
        """The checked content of one file."""
        try:
            content = (self.path / name).read_bytes()
        except OSError as error:
            raise Corrupt(f"{self.path / name}: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != self.sums.get(name):
            raise Corrupt(f"{self.path / name}: its sha256 is not the recorded one, the file is damaged")
        return content

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The named tensors of ``name``.safetensors, on the CPU."""
        from safetensors.torch import load

        return load(self.read(f"{name}.safetensors"))

    def document(self, name: str) -> Any:
        """A JSON document."""
        return json.loads(self.read(name))
