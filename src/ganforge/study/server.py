"""The study's page, served on this machine only.

Loopback alone is no protection: any web page that the user visits may send requests here, under its own name (CSRF) or
under one that it has pointed at 127.0.0.1 (DNS rebinding). So the Host header must be the address that was bound, an
Origin must be the page's own, and every path begins with a random token.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
from collections.abc import Callable
from typing import Any

from ganforge.core.errors import GanforgeError, InputError, need_extra
from ganforge.study.desk import Desk, Stale
from ganforge.study.page import page

LARGEST_BODY = 4096
HOST = "127.0.0.1"
GOODBYE_SECONDS = 1.0

HEADERS = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]


class Guard:
    """Lets through what the page itself asks for, and nothing else."""

    def __init__(self, app: Any, port: int, token: str) -> None:
        self.app, self.prefix = app, f"/{token}/".encode()
        self.hosts = {f"{name}:{port}".encode() for name in (HOST, "localhost")}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        if not self.welcome(scope):
            await send({"type": "http.response.start", "status": 403, "headers": HEADERS})
            await send({"type": "http.response.body", "body": b"not for you\n"})
            return

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *HEADERS]}
            await send(message)

        await self.app(scope, receive, with_headers)

    def welcome(self, scope: Any) -> bool:
        """The right host, the right origin if there is one (there must be, to send anything), and the token."""
        sent: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            sent.setdefault(name, []).append(value)
        hosts, origins = sent.get(b"host", []), sent.get(b"origin", [])
        if len(hosts) != 1 or hosts[0] not in self.hosts or len(origins) > 1:
            return False
        if origins and origins[0] != b"http://" + hosts[0]:
            return False
        if scope["method"] not in ("GET", "HEAD") and not origins:
            return False
        if sent.get(b"sec-fetch-site", [b"none"])[0] not in (b"none", b"same-origin"):
            return False
        path = scope["path"].encode()
        return secrets.compare_digest(path[: len(self.prefix)], self.prefix)


def application(desk: Desk, port: int, token: str, finished: Callable[[], None]) -> Guard:
    """The study as an ASGI application. ``finished`` is called when the one person that it is for is done."""
    try:
        from starlette.applications import Starlette
        from starlette.requests import Request
        from starlette.responses import HTMLResponse, JSONResponse, Response
        from starlette.routing import Route
    except ImportError:
        raise need_extra("starlette", "study") from None

    async def show(request: Request) -> Response:
        nonce = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; img-src 'self' data:; connect-src 'self'; script-src 'nonce-{nonce}'; "
            f"style-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        return HTMLResponse(page(nonce, desk.fixed, desk.seconds), headers={"content-security-policy": policy})

    async def image(request: Request) -> Response:
        content = desk.image(request.path_params["name"])
        return Response(content, media_type="image/png") if content else Response(status_code=404)

    async def said(request: Request) -> dict[str, Any]:
        if request.headers.get("content-type") != "application/json":
            raise InputError("JSON is wanted")
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > LARGEST_BODY:
                raise InputError("too long")
        try:
            values = json.loads(body)
        except ValueError:
            raise InputError("JSON is wanted") from None
        if not isinstance(values, dict):
            raise InputError("a JSON object is wanted")
        return values

    async def reply(request: Request, work: Callable[[dict[str, Any]], dict[str, Any]]) -> Response:
        try:
            state = work(await said(request))
        except GanforgeError as error:
            code = 409 if isinstance(error, Stale) else 400 if isinstance(error, InputError) else 507
            return JSONResponse({"error": str(error)}, status_code=code)
        if desk.fixed and state.get("next", state).get("done"):
            asyncio.get_running_loop().call_later(GOODBYE_SECONDS, finished)
        return JSONResponse(state)

    async def start(request: Request) -> Response:
        return await reply(request, lambda values: desk.start(values.get("who", "")))

    async def answer(request: Request) -> Response:
        return await reply(request, lambda v: desk.answer(str(v.get("token", "")), v.get("choice"), v.get("ms")))

    routes = [
        Route(f"/{token}/", show),
        Route(f"/{token}/image/{{name}}", image),
        Route(f"/{token}/start", start, methods=["POST"]),
        Route(f"/{token}/answer", answer, methods=["POST"]),
    ]
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    return Guard(app, port, token)


def listen(port: int) -> socket.socket:
    """A socket on this machine only; ``port`` 0 takes a free one. InputError when the port is taken."""
    if not 0 <= port <= 65535:
        raise InputError(f"a port is a number from 0 to 65535, not {port}")
    # asyncio switches Nagle's delay (40 ms a reply) off only where the socket says that it speaks TCP
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.bind((HOST, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise InputError(f"port {port} cannot be used ({error.strerror}): choose another --port, or 0") from None
    return listening


def serve(desk: Desk, port: int = 0, ready: Callable[[str], None] = print) -> None:
    """Serve the page until Ctrl-C, or until the one person that it is for is done. ``ready`` is told its address."""
    try:
        import uvicorn
    except ImportError:
        raise need_extra("uvicorn", "study") from None
    listening = listen(port)
    try:
        token, number = secrets.token_urlsafe(24), listening.getsockname()[1]

        def finished() -> None:
            server.should_exit = True

        config = uvicorn.Config(
            application(desk, number, token, finished), log_level="warning", access_log=False, server_header=False,
            ws="none", lifespan="off", proxy_headers=False, timeout_graceful_shutdown=2,
        )  # fmt: skip
        server = uvicorn.Server(config)
        ready(f"http://{HOST}:{number}/{token}/")
        with contextlib.suppress(KeyboardInterrupt):  # how one ends it
            server.run(sockets=[listening])
    finally:
        listening.close()
