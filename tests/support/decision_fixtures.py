"""Labelled predictions with known properties, and a bundle that carries them (its weights are never read)."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from skinclf.images.preprocess import scaling
from skinclf.labels import HAM10000, LabelSet
from skinclf.models.probabilities import Calibration
from skinclf.models.spec import ModelSpec

#: Roughly the shares of HAM10000.
SHARES = np.array([0.04, 0.06, 0.11, 0.03, 0.11, 0.61, 0.04])


def simulate(
    n: int = 600, *, seed: int = 0, sharpness: float = 2.0
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Logits (N, 7), label index and lesion of images; the logits are too large by `sharpness`."""
    rng = np.random.default_rng(seed)
    lesion = np.sort(rng.integers(0, int(0.75 * n), n))
    kind = rng.choice(7, int(0.75 * n), p=SHARES)
    truth = kind[lesion]
    # Evidence that is right on average: with normal noise the log-posterior is linear in it.
    noise = (rng.normal(size=(int(0.75 * n), 7))[lesion] + rng.normal(size=(n, 7))) / np.sqrt(2)
    evidence = noise + 2.2 * np.eye(7)[truth]
    logits = np.log(SHARES) + 2.2 * evidence
    return logits * sharpness, truth, [f"L{i:04d}" for i in lesion]


def write_predictions(path: Path, values: np.ndarray, truth: np.ndarray, lesions: list[str]) -> None:
    """The table that travels with a model."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "lesion_id", "label", *(f"p_{c}" for c in HAM10000.codes)])
        for i, (row, y, lesion) in enumerate(zip(values.astype(np.float32), truth, lesions, strict=True)):
            writer.writerow([f"IMG_{i:05d}", lesion, HAM10000.codes[y], *map(str, row)])


def spec_of(name: str = "small", *, labels: LabelSet = HAM10000, **fields: Any) -> ModelSpec:
    """A contract without weights."""
    base: dict[str, Any] = {
        "architecture": "mobilenetv2_100",
        "preprocess": scaling("torch", height=64, width=64),
        "weights_sha256": "ab" * 32,
        "license": "CC0-1.0",
    }
    return ModelSpec(name=name, labels=labels, **{**base, **fields})


def write_small_bundle(folder: Path, *, calibration: Calibration | None = None, **fields: Any) -> ModelSpec:
    """A bundle whose held-out predictions are `simulate()`, under `calibration`."""
    folder.mkdir(parents=True)
    spec = spec_of(folder.name, calibration=calibration, **fields)
    (folder / "config.json").write_text(json.dumps(spec.to_config()))
    (folder / "model.safetensors").write_bytes(b"never read")
    (folder / "README.md").write_text("# small\n")
    logits, truth, lesions = simulate()
    values = softmax(logits, axis=1) if calibration is None else calibration.apply(logits)
    write_predictions(folder / "predictions_val.csv", values, truth, lesions)
    return spec
