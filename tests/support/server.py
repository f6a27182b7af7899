"""A real server in a thread of the test's process, on a free port of this machine."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skinclf.serve.server import address, listen, make_server
from skinclf.serve.service import Service
from skinclf.serve.settings import ServeSettings

BOUNDARY = "a-boundary-of-the-tests"


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Running:
    """A server that answers.

    `url` ends with a slash, such as `http://127.0.0.1:41234/`.
    """

    url: str
    host: str
    port: int
    service: Service | None = None

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> Answer:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, headers=headers)

    def predict(
        self,
        files: Sequence[tuple[str, bytes]],
        query: str = "",
        headers: Mapping[str, str] | None = None,
        timeout: float = 60,
    ) -> Answer:
        """Post files as a browser does."""
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        return self.request(
            "POST", f"/v1/predictions{query}", multipart(files), kind | dict(headers or {}), timeout
        )


def multipart(files: Sequence[tuple[str, bytes]], *, field: str = "files") -> bytes:
    """Files as the body of a form."""
    parts = b""
    for name, content in files:
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{quoted}"\r\n'
        parts += head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n"
    return parts + f"--{BOUNDARY}--\r\n".encode()


@contextmanager
def running(model: Path | str | None = None, **options: Any) -> Iterator[Running]:
    """Serve a model in a thread: `with running(bundle, threshold="0.3", max_queue=64) as server: ...`.

    Args:
        model: Model, as for `Predictor`; None is the built-in one.
        **options: Fields of `ServeSettings`, and parameters of `Service`; `models` in place of `model` for an ensemble.
    """
    fields = {name: options.pop(name) for name in list(options) if name in ServeSettings.__slots__}
    settings = ServeSettings(port=0, **fields)
    opened = listen(settings)
    models = options.pop("models", (model,))
    service = Service([None if m is None else str(m) for m in models], settings=settings, **options)
    server = make_server(service)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]}, daemon=True)
    thread.start()
    try:
        until = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < until, "the server did not start"
            time.sleep(0.01)
        url = address(settings, opened)
        yield Running(url, "127.0.0.1", opened.getsockname()[1], service)
    finally:
        server.should_exit = True
        thread.join(60)
        service.close()
        opened.close()
