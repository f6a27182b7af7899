"""The guard in front of every route: host, origin, token, headers of every answer, and a log without names."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import logging
import socket
import time
from collections.abc import Callable, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from skinclf.serve.answers import RequestError
from skinclf.serve.settings import ServeSettings

logger = logging.getLogger("skinclf")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'none'; frame-ancestors {ancestors}; base-uri 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


def _headers(settings: ServeSettings) -> Mapping[str, str]:
    """Headers of every answer; the older header for frames knows no list of origins."""
    ancestors = " ".join(settings.allow_frame) or "'none'"
    alone = {} if settings.allow_frame else {"X-Frame-Options": "DENY"}
    return {"Content-Security-Policy": POLICY.format(ancestors=ancestors), **_HEADERS, **alone}


_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
#: Seconds in which the rest of a refused body is read and dropped, so that its sender sees the answer.
_LINGER = 2.0


class Guard:
    """ASGI application in front of another one.

    Args:
        app: Application with the routes.
        settings: Protection of the server.
        routes: Paths by the name that logs and counters use; a path that is missing is logged as `other`.
        count: Function of route, status and seconds, called once for each answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: ServeSettings,
        *,
        routes: frozenset[str],
        count: Callable[[str, int, float], None],
    ) -> None:
        self._app, self._settings, self._routes, self._count = app, settings, routes, count
        self._token = None if settings.token is None else settings.token.encode("ascii")
        names = {settings.host.lower(), "localhost", *map(str.lower, settings.allow_host)}
        if not settings.loopback:
            names.add(socket.gethostname().lower())
        self._names = names
        self._headers = _headers(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":
            return
        start = time.monotonic()
        route = scope["path"] if scope["path"] in self._routes else "other"
        answered = 0
        complete = False  # whether the body of the request has been read to its end

        async def watched() -> Message:
            nonlocal complete
            message = await receive()
            complete = complete or not message.get("more_body", False)
            return message

        async def dressed(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
                if not complete and scope["method"] not in _SAFE:
                    headers["Connection"] = "close"
            elif not message.get("more_body", False) and not complete and scope["method"] not in _SAFE:
                # Closing a connection on which data arrive would take the answer from the client.
                await send({**message, "more_body": True})
                await _drain(watched, lambda: complete)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        try:
            try:
                self._check(scope, Headers(scope=scope))
            except RequestError as error:
                await error.response(scope, watched, dressed)
            else:
                await self._app(scope, watched, dressed)
        finally:
            seconds = time.monotonic() - start
            self._count(route, answered, seconds)
            logger.info("%s %s %s %.0f ms", scope["method"], route, answered or "gone", 1000 * seconds)

    def _check(self, scope: Scope, headers: Headers) -> None:
        path, host = scope["path"], headers.get("host", "")
        if not self._known(host):
            raise RequestError(
                421,
                "wrong_host",
                "This server does not answer under the name in the header Host; it can be allowed when the server is "
                "started.",
            )
        if path.startswith("/v1/") and headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
            raise RequestError(403, "cross_site", "Requests from pages of other sites are refused.")
        origin = headers.get("origin")
        if scope["method"] not in _SAFE and origin is not None and not _same(origin, host):
            raise RequestError(403, "cross_site", "Requests from pages of other sites are refused.")
        if (path.startswith("/v1/") or path == "/metrics") and not self._authorised(headers):
            raise RequestError(
                401,
                "token_needed",
                "Send the token of this server in the header Authorization: Bearer TOKEN.",
                {"WWW-Authenticate": "Bearer"},
            )

    def _authorised(self, headers: Headers) -> bool:
        if self._token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        equal = hmac.compare_digest(given.strip().encode("utf-8"), self._token)
        return equal and scheme.lower() == "bearer"

    def _known(self, header: str) -> bool:
        """Whether a header Host names this server; another site's name that resolves to it is refused."""
        name = _host_name(header)
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # An address is never the name of another site.
        return address.is_loopback or not self._settings.loopback


def _host_name(header: str) -> str:
    """Name or address in a header Host, without the port."""
    text = header.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]


def _same(origin: str, host: str) -> bool:
    return origin.lower() in {f"http://{host.lower()}", f"https://{host.lower()}"}


async def _drain(receive: Receive, complete: Callable[[], bool]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER):
            while not complete():
                if (await receive())["type"] == "http.disconnect":
                    return
