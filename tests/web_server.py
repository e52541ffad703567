"""A web server of the tests' own: files of a folder, in parts if asked for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@contextlib.contextmanager
def serving(root: Path, ranges: bool) -> Iterator[tuple[str, list[str]]]:
    """Serve ``root``; gives the URL, and a list that gets the Range header of every request that has one."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(False)

        def do_GET(self) -> None:
            self.answer(True)

        def answer(self, with_body: bool) -> None:
            path = root / self.path.lstrip("/")
            if not path.is_file():
                self.send_error(404)
                return
            content, wanted = path.read_bytes(), self.headers.get("Range", "")
            total, code = len(content), 200
            if wanted and ranges:
                asked.append(wanted)
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                start, end = int(first), min(int(last or total), total - 1)
                content, code = content[start : end + 1], 206
            self.send_response(code)
            if code == 206:
                self.send_header("Content-Range", f"bytes {start}-{end}/{total}")
            self.send_header("Accept-Ranges", "bytes" if ranges else "none")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if with_body:
                self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
