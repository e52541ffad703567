"""Simulated people, who take part in a study over HTTP as a browser does."""

from __future__ import annotations

import http.client
import io
import json
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch
from PIL import Image

from command import start_process
from ganforge.domains import open_data

Choose = Callable[[np.ndarray, np.ndarray], str]


def digits(rows: slice) -> np.ndarray:
    """Real digits: uint8 [n, 8, 8]."""
    _, source = open_data("digits")
    return source.take(torch.arange(len(source))[rows])["data"][:, 0].numpy().astype(np.uint8)


def make_data(folder: Path, count: int = 300) -> tuple[Path, Path, np.ndarray]:
    """Files of real digits, and of what a model might have made of others: (real, made, the real ones)."""
    real, other = digits(slice(0, count)), digits(slice(count, 2 * count))
    made = np.clip(other.astype(int) + 16 * (other > 0), 0, 255).astype(np.uint8)[:, :, ::-1]
    np.savez(folder / "real.npz", images=real[..., None])
    np.savez(folder / "made.npz", images=np.ascontiguousarray(made)[..., None])
    return folder / "real.npz", folder / "made.npz", real


def begin(*arguments: Any) -> tuple[subprocess.Popen, str]:
    """Start ``ganforge study`` as a process: (process, the page's address)."""
    process = start_process("study", *map(str, arguments))
    said = process.stderr.readline()
    found = re.search(r"http://\S+", said)
    if not found:
        process.kill()
        raise AssertionError(said + process.communicate()[1])
    return process, found[0]


class Client:
    """What a browser sends."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self.host, self.root = parts.netloc, parts.path
        self.line = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)

    def ask(
        self, path: str = "", body: Any = None, raw: bytes | None = None, root: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """One request: (status, headers, content). A header given as "" is left out."""
        sent = {"host": self.host, **{k.replace("_", "-"): v for k, v in headers.items()}}
        content = raw if raw is not None else None if body is None else json.dumps(body).encode()
        if content is not None:
            sent = {"origin": f"http://{self.host}", "content-type": "application/json", **sent}
        self.line.putrequest(
            "POST" if content is not None else "GET", (root or self.root) + path, skip_host=True,
            skip_accept_encoding=True,
        )  # fmt: skip
        for name, value in sent.items():
            if value:
                self.line.putheader(name, value)
        if content is not None:
            self.line.putheader("content-length", str(len(content)))
        self.line.endheaders(content)
        reply = self.line.getresponse()
        return reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()

    def send(self, path: str, **body: Any) -> dict[str, Any]:
        """A request that must succeed."""
        status, _, content = self.ask(path, body)
        assert status == 200, content
        return json.loads(content)

    def picture(self, name: str) -> tuple[np.ndarray, bytes, dict[str, str]]:
        """An image as the browser gets it: (pixels, file, headers)."""
        status, headers, content = self.ask(f"image/{name}")
        assert status == 200 and headers["content-type"] == "image/png"
        return np.asarray(Image.open(io.BytesIO(content))), content, headers


def take_part(client: Client, who: str, choose: Choose, most: int = 10_000, seen: list | None = None) -> dict[str, Any]:
    """Answer until the study is over, or ``most`` answers are given; returns the last state."""
    state = client.send("start", who=who)
    for _ in range(most):
        if state["done"]:
            break
        (left, *a), (right, *b) = client.picture(state["left"]), client.picture(state["right"])
        if seen is not None:
            seen.append((state, (left, *a), (right, *b)))
        state = client.send("answer", token=state["token"], choice=choose(left, right), ms=700)["next"]
    return state


def is_noise(image: np.ndarray) -> bool:
    """Digits are black for the most part; noise is not."""
    return float((image < 8).mean()) < 0.2


def guesser(seed: int) -> Choose:
    """Cannot tell generated from real, but sees what is noise."""
    draw = random.Random(seed)

    def choose(left: np.ndarray, right: np.ndarray) -> str:
        if is_noise(left) != is_noise(right):
            return "right" if is_noise(left) else "left"
        return draw.choice(["left", "right"])

    return choose


def oracle(real: np.ndarray) -> Choose:
    """Knows every real image by heart."""
    known = {image.tobytes() for image in real}
    return lambda left, right: "left" if left[..., 0].tobytes() in known else "right"
