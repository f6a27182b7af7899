"""Files that a network starts from: where they lie, and how to go on without them."""

from __future__ import annotations

from pathlib import Path

from skinclf.errors import InvalidArgumentError
from skinclf.models.registry import BUILTIN
from skinclf_training.config.schema import Config, ModelConfig

_SCALINGS = {(0.485, 0.456, 0.406): "torch", (0.5, 0.5, 0.5): "tf"}


#: Start of a path to what comes with the package, wherever it is installed.
BUILTIN_PREFIX = "skinclf/builtin/"


def weights_path(text: str) -> Path:
    """Path of starting weights or of a teacher; `skinclf/builtin/...` names what comes with the package."""
    return BUILTIN / text.removeprefix(BUILTIN_PREFIX) if text.startswith(BUILTIN_PREFIX) else Path(text)


def check_starting_weights(config: Config) -> None:
    """Check that the files which a run starts from exist, before anything is decoded or written.

    Raises:
        InvalidArgumentError: The file of `model.init` or `model.transplant` does not exist, or `optim.init_share` is no
            share of `model.init`.
    """
    share = config.optim.init_share
    if not 0 <= share < 1 or (share and config.model.init is None):
        raise InvalidArgumentError(
            f"optim.init_share is {share}; expected at least 0 and less than 1, and above 0 a file of starting weights "
            "in model.init.",
            parameter="overrides",
        )
    for key in ("init", "transplant"):
        text = getattr(config.model, key)
        if text is not None and not weights_path(text).is_file():
            raise InvalidArgumentError(
                f"model.{key} is {text!r}, and there is no such file. Name a file of starting weights; or set "
                f"model.{key}=null with model.pretrained=true{_scaling_hint(config)} for ImageNet weights, which need "
                f"network access once; model.{key}=null alone starts from random weights.",
                parameter="overrides",
            )


def _scaling_hint(config: Config) -> str:
    """The scaling that the ImageNet weights of a timm network expect, where the configuration has another one."""
    own = None if config.framework == "tensorflow" else _scaling(config.model)
    return "" if own in {None, config.preprocess.scaling} else f" and preprocess.scaling={own}"


def _scaling(model: ModelConfig) -> str | None:
    from timm.models import get_pretrained_cfg

    known = get_pretrained_cfg(model.architecture, allow_unregistered=True)
    return None if known is None else _SCALINGS.get(tuple(known.mean))
