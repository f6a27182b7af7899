"""Tiny ViT and Swin folders as transformers writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from skinclf.labels import HAM10000

NAMES = dict(enumerate(HAM10000.codes))


VIT = {
    "architectures": ["ViTForImageClassification"],
    "model_type": "vit",
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 100,
    "image_size": 64,
    "patch_size": 16,
    "id2label": NAMES,
}


SWIN = {
    "architectures": ["SwinForImageClassification"],
    "model_type": "swin",
    "image_size": 64,
    "patch_size": 4,
    "embed_dim": 16,
    "depths": [2, 2],
    "num_heads": [2, 4],
    "window_size": 4,
    "id2label": NAMES,
}


PROCESSOR = {
    "size": {"height": 64, "width": 64},
    "resample": 2,
    "image_mean": [0.5] * 3,
    "image_std": [0.25] * 3,
}


def names_of(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Tensor names and shapes as transformers saves them, written down independently of the importer."""
    n = len(config["id2label"])
    shapes: dict[str, tuple[int, ...]] = {}
    blocks: list[tuple[str, str, int, int, int | None]]
    if config["model_type"] == "vit":
        width, hidden, side = (
            config["hidden_size"],
            config["intermediate_size"],
            config["image_size"] // config["patch_size"],
        )
        shapes |= {
            "vit.embeddings.cls_token": (1, 1, width),
            "vit.embeddings.position_embeddings": (1, side * side + 1, width),
            "vit.embeddings.patch_embeddings.projection.weight": (
                width,
                3,
                config["patch_size"],
                config["patch_size"],
            ),
            "vit.embeddings.patch_embeddings.projection.bias": (width,),
        }
        blocks = [
            (f"vit.encoder.layer.{i}", "attention", width, hidden, None)
            for i in range(config["num_hidden_layers"])
        ]
        last = "vit.layernorm"
    else:
        width, last, blocks = config["embed_dim"], "swin.layernorm", []
        shapes |= {
            "swin.embeddings.patch_embeddings.projection.weight": (width, 3, 4, 4),
            "swin.embeddings.patch_embeddings.projection.bias": (width,),
            "swin.embeddings.norm.weight": (width,),
            "swin.embeddings.norm.bias": (width,),
        }
        for stage, (depth, heads) in enumerate(zip(config["depths"], config["num_heads"], strict=True)):
            if stage:
                width *= 2
            for block in range(depth):
                blocks.append(
                    (f"swin.encoder.layers.{stage}.blocks.{block}", "self", width, 4 * width, heads)
                )
            if stage < len(config["depths"]) - 1:
                shapes |= {
                    f"swin.encoder.layers.{stage}.downsample.reduction.weight": (2 * width, 4 * width),
                    f"swin.encoder.layers.{stage}.downsample.norm.weight": (4 * width,),
                    f"swin.encoder.layers.{stage}.downsample.norm.bias": (4 * width,),
                }
    for prefix, attention, w, hidden, heads in blocks:
        linears = {f"attention.{attention}.{x}": (w, w) for x in ("query", "key", "value")}
        linears |= {
            "attention.output.dense": (w, w),
            "intermediate.dense": (hidden, w),
            "output.dense": (w, hidden),
        }
        for name, shape in linears.items():
            shapes |= {f"{prefix}.{name}.weight": shape, f"{prefix}.{name}.bias": shape[:1]}
        for norm in ("layernorm_before", "layernorm_after"):
            shapes |= {f"{prefix}.{norm}.weight": (w,), f"{prefix}.{norm}.bias": (w,)}
        if heads:
            shapes[f"{prefix}.attention.self.relative_position_bias_table"] = (49, heads)
            shapes[f"{prefix}.attention.self.relative_position_index"] = (16, 16)
    return shapes | {
        f"{last}.weight": (width,),
        f"{last}.bias": (width,),
        "classifier.weight": (n, width),
        "classifier.bias": (n,),
    }


def write(folder: Path, config: dict[str, Any], processor: dict[str, Any] | None = PROCESSOR) -> Path:
    """Write a folder with random weights; `processor` of None leaves `preprocessor_config.json` out."""
    from safetensors.torch import save_file

    random = torch.Generator().manual_seed(0)
    tensors = {
        k: torch.randn(v, generator=random) * 0.2 + (1.0 if "norm" in k and k.endswith("weight") else 0.0)
        for k, v in names_of(config).items()
    }
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    if processor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder
