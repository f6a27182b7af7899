"""Clients of a server in a process of their own: one line of JSON for `python -m benchmarks.serving.client < job.json`.

A job has `port`, `images` (paths), `expected` (the probability of each), `requests` (their number; images are taken
in turn), `clients`, `first` (number of the first request) and `base64` (whether an image is sent as JSON). It imports
nothing heavy, so that the clients take little of the processor that they share with the server.
"""

from __future__ import annotations

import base64
import http.client
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

PATH = "/v1/predictions"


class Client(threading.local):
    """One kept connection for each thread."""

    connection: http.client.HTTPConnection | None = None

    def ask(self, port: int, content: bytes, kind: str = "image/jpeg") -> dict[str, Any]:
        """The row of one image."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        self.connection.request("POST", PATH, content, {"Content-Type": kind})
        answer = self.connection.getresponse()
        body = json.loads(answer.read())
        assert answer.status == 200, body
        row: dict[str, Any] = body["predictions"][0]
        return row


def encoded(content: bytes) -> bytes:
    """An image as JSON, which LitServe reads."""
    return json.dumps({"image": base64.b64encode(content).decode()}).encode()


def main(job: dict[str, Any]) -> dict[str, float]:
    """Send the requests; every answer is compared with what its own image must get."""
    contents = [Path(path).read_bytes() for path in job["images"]]
    kind = "image/jpeg"
    if job["base64"]:
        contents, kind = [encoded(content) for content in contents], "application/json"
    client, expected, most = Client(), job["expected"], len(contents)

    def ask(number: int) -> None:
        row = client.ask(job["port"], contents[number % most], kind)
        assert row["probability_malignant"] == expected[number % most], (number, row)

    with ThreadPoolExecutor(job["clients"]) as pool:
        start, cpu = time.perf_counter(), time.process_time()
        for _ in pool.map(ask, range(job["first"], job["first"] + job["requests"])):
            pass
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {"seconds": seconds, "cpu": cpu}


if __name__ == "__main__":
    print(json.dumps(main(json.load(sys.stdin))))
