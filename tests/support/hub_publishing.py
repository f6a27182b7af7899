"""What tests of cards and of publishing start from: a bundle with a real evaluation of synthetic predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from skinclf.evaluation.evaluate import evaluate
from skinclf.images.preprocess import scaling
from skinclf.labels import HAM10000
from skinclf.models.probabilities import Calibration
from skinclf.models.spec import ModelSpec
from support.bundles import make_bundle

TRAINING: dict[str, Any] = {
    "data": "HAM10000",
    "split_sha256": "ab" * 32,
    "seed": 7,
    "epoch": 2,
    "epochs": 3,
    "selected_by": "val_macro_auc",
    "minutes": 1.5,
    "hardware": "a test machine",
    "code": "skinclf 0.1.0",
    "versions": {"torch": "2.0", "timm": "1.0"},
    "init": "weights.safetensors",
    "config": {"model": {"init": "/home/somebody/weights.safetensors"}, "seed": 7},
}


def evaluated_bundle(folder: Path, **fields: Any) -> Path:
    """Write `bundle/` and its `metrics.json` into a folder."""
    point = {"sensitivity_90": {"threshold": 0.3, "sensitivity": 0.9, "claim": "on 30 lesions"}}
    spec = make_bundle(
        folder / "bundle",
        HAM10000,
        scaling("torch", height=64, width=64),
        training=TRAINING,
        license="CC-BY-NC-4.0",
        calibration=Calibration("temperature", (0.8,)),
        operating_points=point,
        default_operating_point="sensitivity_90",
        **fields,
    )
    return evaluated_model(folder, spec)


def evaluated_model(folder: Path, spec: ModelSpec) -> Path:
    """Write `metrics.json` of a model into a folder: 84 test images of 42 lesions, others for training."""
    random = np.random.default_rng(0)
    predictions = ["image," + ",".join(f"p_{code}" for code in HAM10000.codes)]
    labels = ["image_id,lesion_id,dx,age,sex,dx_type,split"]
    for i in range(168):
        truth, split = (i // 2) % 7, "test" if i < 84 else "train"
        p = 0.75 * random.dirichlet(np.full(7, 0.5))
        p[truth] += 0.25
        if split == "test":
            predictions.append(f"i{i:03}.jpg," + ",".join(str(x) for x in p.astype(np.float32)))
        age, sex = 20 + 10 * (i % 6), ("male", "female")[i % 2]
        proof = "histo" if i % 4 else "follow_up"
        labels.append(f"i{i:03},L{i // 2},{HAM10000.codes[truth]},{age},{sex},{proof},{split}")
    table = folder / "predictions.csv"
    table.write_text("\n".join(predictions) + "\n")
    (folder / "labels.csv").write_text("\n".join(labels) + "\n")
    (folder / "predictions.csv.run.json").write_text(json.dumps({"model": spec.identity.to_dict()}))
    found = evaluate(table, folder / "labels.csv", split="test", threshold=0.3, replicates=20, name=spec.name)
    (folder / "metrics.json").write_text(json.dumps(found.metrics, indent=1))
    return folder
