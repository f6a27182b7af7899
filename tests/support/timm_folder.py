"""A tiny model folder in timm's format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from skinclf.labels import HAM10000
from support.bundles import random_network


def timm_folder(folder: Path, **config: Any) -> Path:
    from safetensors.torch import save_file

    folder.mkdir(exist_ok=True)
    state = {k: v.contiguous() for k, v in random_network("test_efficientnet", 7, seed=6).items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    cfg = {
        "input_size": [3, 64, 64],
        "crop_pct": 1.0,
        "crop_mode": "squash",
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "license": "mit",
    }
    base = {
        "architecture": "test_efficientnet",
        "num_classes": 7,
        "label_names": list(HAM10000.codes),
        "pretrained_cfg": cfg,
    }
    (folder / "config.json").write_text(json.dumps({**base, **config}))
    return folder
