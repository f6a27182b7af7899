"""ViT and Swin as the transformers library defines them, on timm's modules.

The two libraries' networks are the same but for the epsilon of a ViT's layer norms, which is set here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from skinclf.errors import ModelError

_MAX = {
    "image_size": 4096,
    "patch_size": 256,
    "width": 8192,
    "depth": 256,
    "heads": 256,
    "window": 64,
    "hidden": 65536,
}


def build_vit(
    num_outputs: int,
    *,
    image_size: int,
    patch_size: int,
    width: int,
    depth: int,
    heads: int,
    hidden: int,
    qkv_bias: bool,
    eps: float,
) -> nn.Module:
    """A Vision Transformer whose head reads the class token.

    Args:
        num_outputs: Width of the last layer.
        image_size: Rows and columns of the input.
        patch_size: Rows and columns of a patch.
        width: Length of a token.
        depth: Number of blocks.
        heads: Attention heads of a block.
        hidden: Width inside the MLP.
        qkv_bias: Whether query, key and value have biases.
        eps: Epsilon of the layer norms.
    """
    from timm.models.vision_transformer import VisionTransformer

    _check(
        {"image_size": image_size, "patch_size": patch_size, "width": width, "depth": depth, "hidden": hidden}
    )
    _check_heads(width, heads)
    module: nn.Module = VisionTransformer(
        img_size=image_size,
        patch_size=patch_size,
        num_classes=num_outputs,
        global_pool="token",
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        mlp_ratio=hidden / width,
        qkv_bias=qkv_bias,
        norm_layer=partial(nn.LayerNorm, eps=eps),
    )
    return module


def build_swin(
    num_outputs: int,
    *,
    image_size: int,
    patch_size: int,
    width: int,
    depths: Sequence[int],
    heads: Sequence[int],
    window: int,
    mlp_ratio: float,
    qkv_bias: bool,
    eps: float,
) -> nn.Module:
    """A Swin Transformer with average pooling.

    Args:
        num_outputs: Width of the last layer.
        image_size: Rows and columns of the input; every stage must hold whole windows.
        patch_size: Rows and columns of a patch.
        width: Length of a token in the first stage.
        depths: Blocks of each stage.
        heads: Attention heads of each stage.
        window: Rows and columns of a window, in tokens.
        mlp_ratio: Width inside the MLP as a multiple of the token's.
        qkv_bias: Whether query, key and value have biases.
        eps: Epsilon of the layer norms.
    """
    from timm.models.swin_transformer import SwinTransformer

    _check(
        {
            "image_size": image_size,
            "patch_size": patch_size,
            "width": width,
            "window": window,
            "depth": sum(depths),
            "hidden": int(width * mlp_ratio),
        }
    )
    if not 1 <= len(depths) <= 8 or len(heads) != len(depths):
        raise ModelError(f"Swin: depths {list(depths)} and heads {list(heads)} do not fit.")
    for stage, count in enumerate(heads):
        _check_heads(width << stage, count)
        tokens = image_size // patch_size >> stage
        if image_size % (patch_size << stage) or tokens % window:
            raise ModelError(
                f"Swin: at {image_size} px, stage {stage + 1} has {tokens} x {tokens} tokens, which windows "
                f"of {window} do not tile; the libraries differ there, so this network is not supported."
            )
    module: nn.Module = SwinTransformer(
        img_size=image_size,
        patch_size=patch_size,
        num_classes=num_outputs,
        embed_dim=width,
        depths=tuple(depths),
        num_heads=tuple(heads),
        window_size=window,
        mlp_ratio=mlp_ratio,
        qkv_bias=qkv_bias,
        norm_layer=partial(nn.LayerNorm, eps=eps),
    )
    return module


def _check(sizes: Mapping[str, Any]) -> None:
    for key, value in sizes.items():
        if type(value) is not int or not 1 <= value <= _MAX[key]:
            raise ModelError(f"{key} is a whole number from 1 to {_MAX[key]}; received {value!r}.")


def _check_heads(width: int, heads: Any) -> None:
    _check({"heads": heads})
    if width % heads:
        raise ModelError(f"{heads} attention heads do not divide tokens of {width} values.")
