"""The server: one process, one model, stopped in order by SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from skinclf.errors import InvalidArgumentError
from skinclf.serve.app import create_app
from skinclf.serve.service import Service
from skinclf.serve.settings import ServeSettings

_BACKLOG = 256
_KEEP_ALIVE = 30


class Protocol(H11Protocol):
    """HTTP/1.1 that closes a connection on which no request is complete after the time for idle ones.

    Uvicorn's own limit begins with the first answer, so that a client which sends a byte now and then would stay.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock of a new connection."""
        super().connection_made(transport)
        # Otherwise the body of an answer waits until the client has acknowledged its head, 40 ms on Linux. Asyncio
        # does this only for sockets that name their protocol, and those of a listener without it do not.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.loop.call_later(self.config.timeout_keep_alive, self._close_unused)

    def _close_unused(self) -> None:
        begun: object = self.cycle  # None until a request has begun, which its type does not say
        if begun is None and not self.transport.is_closing():
            self.transport.close()


class Server(uvicorn.Server):
    """Uvicorn that ends with the process's own exit code after a signal, instead of dying of the signal."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let SIGINT and SIGTERM stop the server after the requests in hand; a second one stops it at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        names = [getattr(signal, name) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name)]
        before = {number: signal.signal(number, self.handle_exit) for number in names}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def listen(settings: ServeSettings) -> socket.socket:
    """A socket on the address of the settings.

    Raises:
        InvalidArgumentError: The address is not one of this machine, or is in use.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    opened = socket.socket(family)
    try:
        if hasattr(socket, "SO_REUSEADDR") and hasattr(
            signal, "SIGHUP"
        ):  # on Windows it would share the port
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((settings.host, settings.port))
        opened.listen(_BACKLOG)
    except OSError as error:
        opened.close()
        raise InvalidArgumentError(
            f"Cannot listen on {settings.host}, port {settings.port}: {error.strerror or error}. Give another `port`.",
            parameter="port",
        ) from None
    return opened


def address(settings: ServeSettings, opened: socket.socket) -> str:
    """The URL of a socket, for a browser on this machine."""
    port = opened.getsockname()[1]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104 - compared only
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"http://{host}:{port}/"


def make_server(service: Service) -> Server:
    """A server for a service; `run(sockets=[...])` runs it until a signal, or until `should_exit` is set."""
    settings = service.settings
    # It logs pieces of malformed bodies.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    config = uvicorn.Config(
        create_app(service),
        http=Protocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=max(1, min(_KEEP_ALIVE, round(settings.timeout))),
        timeout_graceful_shutdown=max(1, round(settings.grace)),
        h11_max_incomplete_event_size=64 * 1024,
    )
    return Server(config)


def serve(
    *models: str | None,
    settings: ServeSettings = ServeSettings(),
    ready: Callable[[Service, str], None] | None = None,
    **options: Any,
) -> None:
    """Serve a model until SIGTERM or SIGINT; requests in hand are finished first.

    For research and education; never a diagnosis.

    Args:
        *models: Models, as for `Predictor`; none is the built-in one, several are averaged.
        settings: Address, limits and protection.
        ready: Function of the service and its URL, called when requests are answered.
        **options: Further parameters of `Service`, such as `threshold`.

    Raises:
        InvalidArgumentError: The address is in use, or an argument has a value that cannot be used.
        ModelError: A model cannot be loaded, or computes something else than it should.
    """
    opened = listen(settings)
    with opened:
        service = Service(models or (None,), settings=settings, **options)
        try:
            if ready is not None:
                ready(service, address(settings, opened))
            make_server(service).run(sockets=[opened])
        finally:
            service.close()
