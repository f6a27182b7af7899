"""LitServe with the same model: `python -m benchmarks.serving.litserve_server PORT` runs until it is ended.

It collects up to 16 images for at most 5 ms and gives them to `Predictor.predict` together.
"""

from __future__ import annotations

import base64
import sys

import litserve

from benchmarks.serving.contenders import PATH, answer
from skinclf import Prediction, Predictor


class Api(litserve.LitAPI):
    """The model behind LitServe; at module level, since LitServe sends it to a process of its own."""

    def setup(self, device):  # noqa: ARG002 - its interface
        self.predictor = Predictor(gate="off")

    def decode_request(self, request):
        return base64.b64decode(request["image"])

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        return list(inputs)

    def predict(self, contents: list[bytes]) -> list[Prediction]:
        return self.predictor.predict(contents)

    def unbatch(self, output: list[Prediction]) -> list[Prediction]:
        return output

    def encode_response(self, output):
        return answer(output)


if __name__ == "__main__":
    api = Api(max_batch_size=16, batch_timeout=0.005, api_path=PATH)
    server = litserve.LitServer(api, accelerator="cpu", timeout=300)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
