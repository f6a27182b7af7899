"""Makes models with real TensorFlow, in a process of its own: one request per line, one answer per line.

A process of its own because TensorFlow and Triton, which torch may load at any moment, each bring an LLVM
and abort when they meet.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

ANSWER = "@@"


class KerasWorker:
    """The other side: starts the process and talks to it."""

    def __init__(self) -> None:
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def __call__(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request, default=str) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith(ANSWER):
                answer: dict[str, Any] = json.loads(line.removeprefix(ANSWER))
                assert "error" not in answer, answer["error"]
                return answer
        raise AssertionError(f"the Keras process ended with {self._process.wait()}")

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(60)


def make(request: dict[str, Any]) -> dict[str, Any]:
    """Build a model, enliven it, save it in each format, and record what it answers to random images."""
    from importlib import import_module

    import numpy as np

    from support.keras_families import application, balance, enliven, random_images, without_training
    from support.keras_zoo import MODELS, SIZE
    from support.keras_zoo_graphs import nested_binary

    keras = import_module(request["framework"])
    folder = Path(request["folder"])
    if request.get("model") == "lambda":
        inputs = keras.layers.Input((16, 16, 3))
        model = keras.Model(inputs, keras.layers.Lambda(lambda x: x * 2, name="sneaky")(inputs))
        for suffix in request["formats"]:
            model.save(folder / f"model{suffix}")
        return {}
    keras.utils.set_random_seed(0)
    if "family" in request:
        size = tuple(request["size"])
        model = application(keras, request["family"], request["head"], size, blocks=request.get("blocks"))
    else:
        size = SIZE
        named = nested_binary if request["model"] == "nested_binary" else MODELS[request["model"]]
        model = named(keras)
    images = (
        np.load(request["inputs"]) if "inputs" in request else random_images(request.get("images", 6), *size)
    )
    if request.get("scaled"):
        images = images / 127.5 - 1
    enliven(model, images)
    asked = without_training(keras, model) if request.get("head") == "skinsight" else model
    logits = request.get("model") == "from_logits"
    answers = np.asarray(asked(images, training=False)) if logits else balance(asked, images)
    for suffix in request["formats"]:
        save = model.save_weights if "weights" in suffix else model.save
        save(folder / f"model{suffix}")
    if request.get("json"):
        (folder / "model.json").write_text(json.dumps(model.to_json()))  # encoded twice, as people do
    maps = {"cams": grad_cams(model, images)} if request.get("gradcam") else {}
    np.savez(folder / "data.npz", images=images, answers=answers, **maps)
    return {"parameters": int(model.count_params()), "outputs": int(answers.shape[1])}


def grad_cams(model: Any, images: Any) -> Any:
    """Grad-CAM of the log-odds at the output of the nested model, by TensorFlow's own gradients; shape (N, h, w).

    The layers after the nested model are called one after the other, which is how people get round its closed graph.
    """
    import numpy as np
    import tensorflow as tf

    at = next(i for i, layer in enumerate(model.layers) if hasattr(layer, "layers"))
    values = tf.convert_to_tensor(images)
    for layer in model.layers[1:at]:
        values = layer(values)
    features = model.layers[at](values, training=False)
    with tf.GradientTape() as tape:
        tape.watch(features)
        head = features
        for layer in model.layers[at + 1 : -1]:
            head = layer(head, training=False)
        last = model.layers[-1]
        logits = tf.matmul(head, last.kernel) + last.bias
    slopes = tape.gradient(logits, features)
    weights = tf.reduce_mean(slopes, axis=(1, 2), keepdims=True)
    assert np.allclose(tf.sigmoid(logits), model(images, training=False), atol=1e-5)
    return tf.reduce_sum(weights * features, axis=3).numpy()


def main() -> None:
    sys.path[0] = str(Path(__file__).parents[1])
    for line in sys.stdin:
        try:
            answer = make(json.loads(line))
        except Exception:
            answer = {"error": traceback.format_exc()}
        sys.stdout.write(f"{ANSWER}{json.dumps(answer)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
