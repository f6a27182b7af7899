"""ViT and Swin image classifiers in the transformers library's format, without that library.

Only networks whose mapping to timm's modules is exact are taken; everything else is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinclf._utils.files import sha256_file
from skinclf.errors import ModelError
from skinclf.images.preprocess import Preprocess
from skinclf.models.architectures import restore_network
from skinclf.models.bundle import CONFIG
from skinclf.models.formats.class_names import activation_for, labels_from_names
from skinclf.models.formats.timm import weights_file
from skinclf.models.loaded import LoadedModel, Stated
from skinclf.models.spec import ModelSpec, read_config

if TYPE_CHECKING:
    from torch import Tensor, nn

PROCESSOR = "preprocessor_config.json"
_SUPPORTED = {"vit": "ViTForImageClassification", "swin": "SwinForImageClassification"}
_RESAMPLE = {
    0: "nearest",
    1: "lanczos",
    2: "bilinear",
    3: "bicubic",
    4: "box",
    5: "hamming",
}  # Pillow's numbers

# Where a tensor of transformers goes in timm; query, key and value become one.
_COMMON = {
    r"\.layernorm_before\.": ".norm1.",
    r"\.layernorm_after\.": ".norm2.",
    r"\.attention\.(?:attention|self)\.": ".attn.",
    r"\.attention\.output\.dense\.": ".attn.proj.",
    r"\.intermediate\.dense\.": ".mlp.fc1.",
    r"\.output\.dense\.": ".mlp.fc2.",
}
_NAMES = {
    "vit": {
        r"^vit\.embeddings\.cls_token$": "cls_token",
        r"^vit\.embeddings\.position_embeddings$": "pos_embed",
        r"^vit\.embeddings\.patch_embeddings\.projection\.": "patch_embed.proj.",
        r"^vit\.encoder\.layer\.": "blocks.",
        r"^vit\.layernorm\.": "norm.",
        r"^classifier\.": "head.",
        **_COMMON,
    },
    "swin": {
        r"^swin\.embeddings\.patch_embeddings\.projection\.": "patch_embed.proj.",
        r"^swin\.embeddings\.norm\.": "patch_embed.norm.",
        r"^swin\.encoder\.": "",
        r"^swin\.layernorm\.": "norm.",
        r"^classifier\.": "head.fc.",
        **_COMMON,
    },
}


def import_transformers_folder(
    folder: Path, stated: Stated, *, name: str, source: str, revision: str | None = None
) -> LoadedModel:
    """Load a ViT or Swin classifier that transformers' `save_pretrained` wrote.

    Args:
        folder: Folder with `config.json`, the weights and `preprocessor_config.json`.
        stated: Labels and preprocessing, where the files lack them; what is stated wins.
        name: Name for the model.
        source: Origin for the specification: a repository id or a path.
        revision: Commit sha on the Hub; None for local files.

    Raises:
        ModelError: The network is of another kind, or a file or fact is missing, does not fit or must be stated.
    """
    kind = str(read_config(folder / CONFIG).get("model_type"))
    weights = weights_file(folder, name)
    spec = read_transformers_spec(folder, stated, name=name, source=source, revision=revision)
    spec = spec.replace(weights_sha256=sha256_file(weights))
    return LoadedModel(spec=spec, build=lambda: _build(weights, spec, kind))


def read_transformers_spec(
    folder: Path, stated: Stated, *, name: str, source: str, revision: str | None = None
) -> ModelSpec:
    """The specification alone; only the two configuration files are read, and torch is not imported.

    Raises:
        ModelError: The network is of another kind, a configuration is malformed, or a fact must be stated.
    """
    config = read_config(folder / CONFIG)
    kind, classes = config.get("model_type"), config.get("architectures") or []
    if kind not in _SUPPORTED or classes not in ([], [_SUPPORTED[kind]]):
        found = ", ".join(map(str, classes)) if isinstance(classes, list) and classes else repr(kind)
        raise ModelError(
            f"{name}: a transformers model of kind {found}; skinclf maps "
            f"{' and '.join(_SUPPORTED.values())} only. Export it to ONNX and use that file."
        )
    names = config.get("id2label")
    outputs = len(names) if isinstance(names, Mapping) else 2  # transformers' default
    labels = stated.labels or labels_from_names(names, outputs, name=name) or stated.need_labels(name)
    args = _vit_args(config, name) if kind == "vit" else _swin_args(config, name)
    side = args["image_size"]
    preprocess = stated.preprocess_at(name, (side, side)) or _preprocess(folder, stated, name)
    if (preprocess.height, preprocess.width) != (args["image_size"], args["image_size"]):
        raise ModelError(
            f"{name}: the network takes {args['image_size']} x {args['image_size']} pixels, its "
            f"preprocessing gives {preprocess.width} x {preprocess.height}. State `preprocess` as a JSON file.",
            parameter="preprocess",
        )
    return ModelSpec(
        name=name,
        architecture=f"skinclf/transformers-{kind}",
        labels=labels,
        preprocess=preprocess,
        activation=activation_for(outputs, labels, name),
        model_args=args,
        source=source,
        revision=revision,
    )


def _preprocess(folder: Path, stated: Stated, name: str) -> Preprocess:
    if not (folder / PROCESSOR).is_file():
        return stated.need_preprocess(name)
    config = read_config(folder / PROCESSOR)
    size = config.get("size", 224)
    if isinstance(size, Mapping) and set(size) == {"height", "width"}:
        height, width = size["height"], size["width"]
    elif type(size) is int:
        height = width = size
    else:
        height = width = None
    resample = config.get("resample", 2)
    if (
        height is None
        or not config.get("do_resize", True)
        or config.get("do_center_crop")
        or resample not in _RESAMPLE
    ):
        raise ModelError(
            f"{name}: skinclf reads a {PROCESSOR} that resizes to a height and a width, without a crop. "
            "State `preprocess` as a JSON file.",
            parameter="preprocess",
        )
    try:
        normal = config.get("do_normalize", True)
        return Preprocess(
            height=height,
            width=width,
            interpolation=_RESAMPLE[resample],
            scale=float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0,
            mean=tuple(config.get("image_mean", (0.5,) * 3)) if normal else (0.0,) * 3,
            std=tuple(config.get("image_std", (0.5,) * 3)) if normal else (1.0,) * 3,
        )
    except (TypeError, ValueError) as error:
        raise ModelError(f"{name}: {PROCESSOR} is malformed: {error}.") from None


def _vit_args(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    _need_gelu(config, name)
    return {
        "image_size": config.get("image_size", 224),
        "patch_size": config.get("patch_size", 16),
        "width": config.get("hidden_size", 768),
        "depth": config.get("num_hidden_layers", 12),
        "heads": config.get("num_attention_heads", 12),
        "hidden": config.get("intermediate_size", 3072),
        "qkv_bias": bool(config.get("qkv_bias", True)),
        "eps": _number(config.get("layer_norm_eps", 1e-12), name),
    }


def _swin_args(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    _need_gelu(config, name)
    if config.get("use_absolute_embeddings"):
        raise ModelError(
            f"{name}: a Swin with absolute position embeddings; timm's has none, so it is not supported."
        )
    depths, heads = config.get("depths", [2, 2, 6, 2]), config.get("num_heads", [3, 6, 12, 24])
    if not all(
        isinstance(x, list) and all(type(i) is int and 0 < i < 256 for i in x) for x in (depths, heads)
    ):
        raise ModelError(f"{name}: depths {depths!r} and num_heads {heads!r} must be lists of whole numbers.")
    return {
        "image_size": config.get("image_size", 224),
        "patch_size": config.get("patch_size", 4),
        "width": config.get("embed_dim", 96),
        "depths": depths,
        "heads": heads,
        "window": config.get("window_size", 7),
        "mlp_ratio": _number(config.get("mlp_ratio", 4.0), name),
        "qkv_bias": bool(config.get("qkv_bias", True)),
        "eps": _number(config.get("layer_norm_eps", 1e-5), name),
    }


def _need_gelu(config: Mapping[str, Any], name: str) -> None:
    act, channels = config.get("hidden_act", "gelu"), config.get("num_channels", 3)
    if act != "gelu" or channels != 3:
        raise ModelError(
            f"{name}: activation {act!r}, {channels!r} channels; timm's network has 'gelu' and 3."
        )


def _number(value: Any, name: str) -> float:
    if not isinstance(value, (int, float)) or not 0 < value < 1e3:
        raise ModelError(f"{name}: {CONFIG} has {value!r} where a positive number was expected.")
    return float(value)


def _build(weights: Path, spec: ModelSpec, kind: str) -> nn.Module:
    from skinclf.models.formats.torch_file import read_checkpoint

    return restore_network(spec, _translated(read_checkpoint(weights).tensors, kind))


def _translated(tensors: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    """The tensors of transformers under timm's names."""
    import torch

    result: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.endswith("relative_position_index"):  # a constant that both libraries compute
            continue
        name = key
        for pattern, new in _NAMES[kind].items():
            name = re.sub(pattern, new, name)
        if kind == "swin":  # timm opens a stage with the merging that closes the one before
            name = re.sub(
                r"^layers\.(\d+)\.downsample\.", lambda m: f"layers.{int(m[1]) + 1}.downsample.", name
            )
        if found := re.fullmatch(r"(.*\.attn\.)(query|key|value)(\..*)", name):
            parts.setdefault(f"{found[1]}qkv{found[3]}", {})[found[2]] = value
        else:
            result[name] = value
    for name, three in parts.items():
        if set(three) == {"query", "key", "value"}:
            result[name] = torch.cat([three["query"], three["key"], three["value"]])
        else:
            result.update(
                {f"{name}.{part}": value for part, value in three.items()}
            )  # unexpected; named as such
    return result
