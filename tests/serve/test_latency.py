"""One request of an idle server: nothing makes it wait."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path
from typing import Any

import pytest
from support.pictures import encode
from support.server import running

from skinclf.images.synthetic import synthetic_lesion
from skinclf.serve.server import Protocol

LESION = encode(synthetic_lesion(5, width=200, height=150))


def test_a_lone_request_waits_neither_for_others_nor_for_acknowledgements(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
):
    made = Protocol.connection_made
    connections: list[Any] = []

    def connection_made(self: Protocol, transport: Any) -> None:
        made(self, transport)
        connections.append(transport.get_extra_info("socket"))

    monkeypatch.setattr(Protocol, "connection_made", connection_made)
    with running(tiny_bundle, processes=False, max_wait=60_000, timeout=120) as server:
        connection = http.client.HTTPConnection(server.host, server.port, timeout=20)
        for _ in range(3):
            connection.request("POST", "/v1/predictions", LESION, {"Content-Type": "image/jpeg"})
            answer = connection.getresponse()
            assert answer.status == 200
            answer.read()
        (accepted,) = connections
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        connection.close()
