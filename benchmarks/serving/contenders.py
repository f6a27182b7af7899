"""What one would serve a model with instead: `python -m benchmarks.serving.contenders WAY PORT` runs until it is ended.

Every way answers `{"predictions": [row]}`, computed by `Predictor` from the encoded image.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATH = "/v1/predictions"


def answer(prediction: Any) -> dict[str, Any]:
    """The row of an image, its probability as tables write it."""
    from skinclf.inference.schema import number

    return {"predictions": [{"probability_malignant": float(number(prediction.probability_malignant))}]}


def http_server(port: int) -> None:
    """The standard library: a thread for each connection, a lock around `Predictor.predict`."""
    from skinclf import Predictor

    predictor, lock = Predictor(gate="off"), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                found = predictor.predict(content)
            body = json.dumps(answer(found)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

    Server(("127.0.0.1", port), Handler).serve_forever()


def fastapi(port: int) -> None:
    """A route of FastAPI that calls `Predictor.predict` in a thread, one at a time."""
    import uvicorn
    from fastapi import FastAPI, Request
    from fastapi.concurrency import run_in_threadpool

    from skinclf import Predictor

    app, predictor, lock = FastAPI(), Predictor(gate="off"), threading.Lock()

    def predict(content: bytes) -> dict[str, Any]:
        with lock:
            return answer(predictor.predict(content))

    async def predictions(request: Request) -> dict[str, Any]:
        return await run_in_threadpool(predict, await request.body())

    # The annotation as an object: FastAPI would look the name up in the module.
    predictions.__annotations__["request"] = Request
    app.post(PATH, response_model=None)(predictions)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


#: Ways by name.
WAYS: Mapping[str, Callable[[int], None]] = {"http.server": http_server, "FastAPI": fastapi}

if __name__ == "__main__":
    WAYS[sys.argv[1]](int(sys.argv[2]))
