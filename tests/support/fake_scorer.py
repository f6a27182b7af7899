"""A scorer of a few lines of numpy, so that tests of the engine need no torch and can make it slow or fail."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from skinclf.images.decode import load_picture
from skinclf.images.preprocess import Preprocess
from skinclf.inference.scorer import LoadPixels, Pixels, Prepare, ScoredBatch, Scorer, Slot
from skinclf.labels import HAM10000, LabelSet
from skinclf.models.spec import ModelSpec

SIZE = 16


class FakeScorer(Scorer):
    """A random linear model on 16 x 16 pixels."""

    def __init__(
        self,
        *,
        labels: LabelSet = HAM10000,
        seconds: float = 0.0,
        prepare: Prepare | None = None,
        columns: Mapping[str, type] | None = None,
        seed: int = 0,
        embeddings: bool = True,
    ) -> None:
        preprocess = Preprocess(height=SIZE, width=SIZE)
        self.spec = ModelSpec(
            name="fake",
            architecture="fake",
            labels=labels,
            preprocess=preprocess,
            weights_sha256=f"{seed:064d}",
        )
        self.prepare = prepare or LoadPixels(preprocess)
        self.columns = columns or {}
        self.calls: list[int] = []
        self._weights = np.random.default_rng(seed).normal(0, 0.02, (SIZE * SIZE * 3, len(labels)))
        self._seconds, self._embeddings = seconds, embeddings

    @property
    def batch_size(self) -> int:
        return 4

    @property
    def layout(self) -> tuple[Slot, ...]:
        return (Slot((SIZE, SIZE, 3), np.uint8),)

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        return {**self.spec.fingerprint, "runtime": "fake", "precision": "fp32", "device": "cpu"}

    @property
    def info(self) -> Mapping[str, Any]:
        return {"runtime": "fake", "device": "cpu", "precision": "fp32"}

    def score(self, batch: Pixels) -> ScoredBatch:
        (pixels,) = batch
        self.calls.append(len(pixels))
        time.sleep(self._seconds)
        flat = pixels.reshape(len(pixels), -1).astype(np.float64) / 255 - 0.5
        # Row by row, so that the numbers cannot depend on the shape of the batch.
        logits = np.stack([row @ self._weights for row in flat])
        exps = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = (exps / exps.sum(axis=1, keepdims=True)).astype(np.float32)
        values = {
            float: probabilities.max(axis=1),
            int: probabilities.argmax(axis=1),
            bool: probabilities[:, 0] > 0.1,
            str: np.array([f"c{i}" for i in probabilities.argmax(axis=1)]),
        }
        columns = {name: values[kind] for name, kind in self.columns.items()}
        vectors = flat[:, :5].astype(np.float32) if self._embeddings else None
        return ScoredBatch(probabilities, columns, vectors)


class KillerPixels:
    """`prepare` that ends its process when an image's name says so: always, or only the first time."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __call__(self, source: Any) -> Pixels:
        import os
        import signal
        from pathlib import Path

        if "kill-always" in str(source):
            os.kill(os.getpid(), signal.SIGKILL)
        if "kill-once" in str(source) and not Path(self.marker).exists():
            Path(self.marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if "boom" in str(source):
            raise RuntimeError("a bug in a decoder")
        picture = load_picture(source)
        return (np.asarray(picture.resize((SIZE, SIZE))),)
