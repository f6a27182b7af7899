"""From a `ModelSpec` to a torch module with its weights in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from skinclf.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from skinclf.spec import ModelSpec

#: `skinclf/<name>` architectures: module and function, called as `builder(num_outputs, **model_args)`.
BUILDERS: Mapping[str, tuple[str, str]] = {}


def build_network(spec: ModelSpec) -> nn.Module:
    """The network of a spec, in eval mode, with random weights.

    Raises:
        ModelError: The architecture is unknown or its arguments do not fit.
    """
    module = _builder(spec.architecture)(spec.num_outputs, dict(spec.model_args))
    return module.eval()


def _builder(architecture: str) -> Callable[[int, dict[str, Any]], nn.Module]:
    if architecture.startswith("skinclf/"):
        try:
            where, function = BUILDERS[architecture.removeprefix("skinclf/")]
        except KeyError:
            known = ", ".join(sorted(BUILDERS)) or "none"
            raise ModelError(f"Unknown architecture {architecture!r}; skinclf's own are: {known}.") from None
        build = getattr(import_module(where), function)
        return lambda outputs, args: build(outputs, **args)
    return lambda outputs, args: _timm(architecture, outputs, args)


def _timm(architecture: str, outputs: int, args: dict[str, Any]) -> nn.Module:
    import timm

    try:
        model: nn.Module = timm.create_model(architecture, pretrained=False, num_classes=outputs, **args)
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        raise ModelError(f"timm cannot build {architecture!r} with {args}: {error}.") from None
    return model


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor], *, name: str) -> nn.Module:
    """Put tensors into a module, matched by name and shape; stored float16 becomes the module's float32.

    Raises:
        ModelError: A tensor is missing, unexpected or of another shape; each is named.
    """
    expected = module.state_dict()
    missing = [k for k in expected if k not in tensors and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in tensors if k not in expected]
    wrong = [
        f"{k} {tuple(tensors[k].shape)} instead of {tuple(v.shape)}"
        for k, v in expected.items()
        if k in tensors and tensors[k].shape != v.shape
    ]
    if missing or unexpected or wrong:
        raise ModelError(
            f"{name}: the weights do not fit the architecture. Missing: {_some(missing)}. "
            f"Unexpected: {_some(unexpected)}. Wrong shape: {_some(wrong)}."
        )
    module.load_state_dict({k: v.to(expected[k].dtype) for k, v in tensors.items()}, strict=False)
    return module


def _some(names: list[str], limit: int = 5) -> str:
    if not names:
        return "none"
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
