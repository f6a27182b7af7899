"""Overlays for single images: one explainer, made when it is first asked for, in a thread of its own."""

from __future__ import annotations

import base64
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from skinclf.explanation.explainer import Explainer
from skinclf.explanation.overlay import SENTENCE, png
from skinclf.images.decode import load_image
from skinclf.images.named_bytes import NamedBytes
from skinclf.inference.prediction import Prediction
from skinclf.models.loaded import LoadedModel
from skinclf.serve.batcher import BusyError

#: Requests that may wait; a map takes much longer than a prediction.
_WAITING = 8
_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Overlay:
    """A map drawn on its picture.

    Attributes:
        method: Method of the map.
        target: What is explained.
        layer: Layer of Grad-CAM; empty for other methods.
        maximum: Largest shown value.
        png: The picture as a PNG file.
    """

    method: str
    target: str
    layer: str
    maximum: float
    png: bytes

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "method": self.method,
            "target": self.target,
            "layer": self.layer,
            "maximum": self.maximum,
            "sentence": SENTENCE,
            "overlay": base64.b64encode(self.png).decode("ascii"),
        }


class Explanations:
    """Explainers of the served model by target, and the thread they work in.

    Args:
        models: Loaded models.
        execution: Parameters of `Predictor`.
    """

    def __init__(self, models: Sequence[LoadedModel], execution: Mapping[str, Any]) -> None:
        self._models, self._execution = list(models), dict(execution)
        for name in ("conformal", "refer_below"):
            self._execution.pop(name, None)
        self._explainer: Explainer | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="skinclf-explain")
        self._waiting = 0
        self._lock = threading.Lock()

    def submit(self, source: NamedBytes, prediction: Prediction, target: str | None) -> Future[Overlay]:
        """Draw the map of an image that the decode workers have read before.

        Args:
            source: Encoded image.
            prediction: What the model said about it.
            target: What to explain, as for `Explainer`; None takes the default.

        Raises:
            BusyError: Too many requests wait.
        """
        with self._lock:
            if self._waiting >= _WAITING:
                raise BusyError(_SECONDS * self._waiting)
            self._waiting += 1
        made = self._thread.submit(self._draw, source, prediction, target)
        made.add_done_callback(self._finished)
        return made

    def close(self) -> None:
        """Stop the thread; what has not begun is dropped."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _finished(self, _done: Future[Overlay]) -> None:
        with self._lock:
            self._waiting -= 1

    def _draw(self, source: NamedBytes, prediction: Prediction, target: str | None) -> Overlay:
        if self._explainer is None:
            self._explainer = Explainer(self._models, **self._execution)
        found = self._explainer.explain(source, prediction, target=target)
        return Overlay(found.method, found.target, found.layer, found.maximum, png(load_image(source), found))
