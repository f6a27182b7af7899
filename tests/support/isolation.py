"""Fixtures that every test gets: no network, and the library's log as it was."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest

_LOGGER = logging.getLogger("skinclf")
#: As they were before any test; a fixture of a module may have run commands before the first test of its own.
_LEVEL, _HANDLERS = _LOGGER.level, _LOGGER.handlers[:]


@pytest.fixture(autouse=True)
def _log_as_found() -> Iterator[None]:
    """A command sets the level and the handlers of the library's log; every test finds them as they were at first."""
    _reset_log()
    yield
    _reset_log()


def _reset_log() -> None:
    _LOGGER.setLevel(_LEVEL)
    _LOGGER.handlers[:] = _HANDLERS


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection beyond this machine fails at once, with an error that names this rule."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def check(family: int, address: Any) -> None:
        if family in {socket.AF_INET, socket.AF_INET6}:
            host = str(address[0])
            if host not in {"localhost", "::1", "0.0.0.0", ""} and not host.startswith("127."):
                raise ConnectionRefusedError(f"tests have no network: connection to {address} refused")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        check(self.family, address)
        return connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        check(self.family, address)
        return connect_ex(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
