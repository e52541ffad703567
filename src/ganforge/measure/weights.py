"""Where the weights of feature networks come from: a path, the environment, the cache, or their release address."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ganforge.core.errors import InputError
from ganforge.core.store import write_bytes
from ganforge.domains.packed import cache_folder

TIMEOUT = 30
"""Seconds without an answer after which a download is given up."""


@dataclass(frozen=True)
class Release:
    """A published file of weights and its sha256."""

    url: str
    sha256: str


RELEASES = {
    "inception": Release(
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    )
}


def variable(network: str) -> str:
    """The environment variable that names a network's weights."""
    return f"GANFORGE_{network.upper()}"


def cached(network: str) -> Path:
    """Where downloaded weights are kept."""
    return cache_folder().parent / "weights" / f"{network}.safetensors"


def present(network: str, given: Path | None = None) -> Path | None:
    """The file of weights that is here, if any. InputError: one was named, but is not there."""
    named = [(given, "--weights"), (os.environ.get(variable(network)), variable(network))]
    for path, source in named:
        if path:
            if not Path(path).is_file():
                raise InputError(f"no weights at {path} (given by {source})")
            return Path(path)
    return cached(network) if cached(network).is_file() else None


def find_weights(network: str, given: Path | None = None) -> Path:
    """The weights of ``network``, downloaded if they are not here; InputError says how to get them by hand."""
    path = present(network, given)
    if path is not None:
        return path
    release = RELEASES.get(network)
    if release is None:
        raise InputError(f"features '{network}' need their weights: --weights FILE.safetensors or {variable(network)}")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / Path(release.url).name
        try:
            with urllib.request.urlopen(release.url, timeout=TIMEOUT) as answer, open(target, "wb") as file:
                shutil.copyfileobj(answer, file)
        except (OSError, urllib.error.URLError) as error:
            reason = getattr(error, "reason", None) or error
            raise InputError(
                f"features '{network}' need weights that are not here, and downloading failed ({reason}): fetch "
                f"{release.url} elsewhere, then give it with --weights FILE or {variable(network)}; or use --features "
                "pixels"
            ) from error
        convert(target, release, cached(network))
    return cached(network)


def convert(published: Path, release: Release, target: Path) -> None:
    """Write published PyTorch weights as safetensors. InputError when the file is not the published one."""
    from safetensors.torch import save

    if sha256(published) != release.sha256:
        raise InputError(f"{published} is not the published file (its sha256 is not {release.sha256}): fetch it again")
    # The one place where a .pth is read: only this very file, and tensors only.
    tensors = torch.load(published, map_location="cpu", weights_only=True)  # noqa: TID251
    write_bytes(target, save({name: tensor.contiguous() for name, tensor in tensors.items()}))


def sha256(path: Path) -> str:
    """The sha256 of a file, hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def load_weights(network: nn.Module, name: str, path: Path) -> None:
    """Fill ``network`` from a safetensors file (or the published .pth). InputError: it does not fit."""
    from safetensors import SafetensorError, safe_open

    if path.suffix in (".pth", ".pt") and name in RELEASES:
        convert(path, RELEASES[name], cached(name))
        path = cached(name)
    try:
        with safe_open(path, "pt") as file:
            tensors: dict[str, Tensor] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read as safetensors: {error}") from error
    optional = {key for key in network.state_dict() if key.endswith("num_batches_tracked")}
    wanted = network.state_dict()
    for key in sorted(set(wanted) - optional | set(tensors)):
        if key not in tensors or key not in wanted or tensors[key].shape != wanted[key].shape:
            what = "lacks" if key not in tensors else "has an unknown" if key not in wanted else "has another shape of"
            raise InputError(f"{path} holds no weights of {name}: it {what} {key}")
    network.load_state_dict(tensors, strict=False)
