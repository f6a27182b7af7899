"""From a `ModelSpec` to a torch module with its weights in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any

from skinclf.errors import ModelError, UnsafeModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from skinclf.models.spec import ModelSpec

#: `skinclf/<name>` architectures: module and function, called as `builder(num_outputs, **model_args)`.
BUILDERS: Mapping[str, tuple[str, str]] = {
    "keras-graph": ("skinclf.models.architectures.graph", "build"),
    "onnx-graph": ("skinclf.models.architectures.graph", "build"),
    "torchvision-efficientnet": ("skinclf.models.architectures.efficientnet", "build"),
    "seed-efficientnet": ("skinclf.models.architectures.published", "build"),
    "simple-cnn": ("skinclf.models.architectures.simple_cnn", "build"),
    "timm-head": ("skinclf.models.architectures.heads", "build"),
    "transformers-vit": ("skinclf.models.architectures.transformers", "build_vit"),
    "transformers-swin": ("skinclf.models.architectures.transformers", "build_swin"),
}
#: Those whose arguments size the network: as timm's do, unchecked, or each within limits of its own.
_SIZED = frozenset({"skinclf/timm-head"})
_LIMITED = frozenset(
    f"skinclf/{name}" for name in ("keras-graph", "onnx-graph", "transformers-vit", "transformers-swin")
)


def build_network(spec: ModelSpec) -> nn.Module:
    """The network of a spec, in eval mode, with random weights.

    Raises:
        ModelError: The architecture is unknown or its arguments do not fit.
    """
    return build_named(spec.architecture, spec.num_outputs, spec.model_args).eval()


def build_named(architecture: str, num_outputs: int, args: Mapping[str, Any]) -> nn.Module:
    """A network by the name and arguments that a `ModelSpec` has for it, with random weights.

    Raises:
        ModelError: The architecture is unknown or its arguments do not fit.
    """
    return _builder(architecture)(num_outputs, dict(args))


def _builder(architecture: str) -> Callable[[int, dict[str, Any]], nn.Module]:
    if architecture.startswith("skinclf/"):
        try:
            where, function = BUILDERS[architecture.removeprefix("skinclf/")]
        except KeyError:
            known = ", ".join(sorted(BUILDERS)) or "none"
            raise ModelError(f"Unknown architecture {architecture!r}; skinclf's own are: {known}.") from None
        build = getattr(import_module(where), function)
        return lambda outputs, args: build(outputs, **args)
    return lambda outputs, args: build_timm(architecture, outputs, args)


def build_timm(architecture: str, outputs: int, args: dict[str, Any]) -> nn.Module:
    """One of timm's networks with random weights; 0 outputs leave its classifier out.

    Raises:
        ModelError: timm has no such network, or its arguments do not fit.
        UnsafeModelError: The arguments would have timm read files or the network.
    """
    import timm

    if ":" in architecture or not timm.is_model(architecture.partition(".")[0]):
        # `hf-hub:...` would make timm fetch a model: a model file must not reach the network.
        raise ModelError(
            f"Unknown architecture {architecture!r}: timm {timm.__version__} has no such network."
        )
    own = set(signature(timm.create_model).parameters)
    forbidden = sorted(key for key in args if key in own or key.startswith(("pretrained", "features")))
    if forbidden:
        raise UnsafeModelError(f"{architecture}: model_args may not say {', '.join(forbidden)}.")
    try:
        model: nn.Module = timm.create_model(architecture, pretrained=False, num_classes=outputs, **args)
    except (RuntimeError, TypeError, ValueError, KeyError, AssertionError, IndexError) as error:
        raise ModelError(f"timm cannot build {architecture!r} with {args}: {error}.") from None
    return model


def restore_network(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The network of a spec with its weights in place, in eval mode.

    What the spec's arguments ask for is compared with the tensors before memory is spent on it.

    Raises:
        ModelError: The architecture is unknown, or the weights do not fit it.
    """
    own = spec.architecture.startswith("skinclf/")
    if spec.model_args and (not own or spec.architecture in _SIZED | _LIMITED):
        _check_size(spec, tensors)
    return load_tensors(build_network(spec), tensors, name=spec.name)


def _check_size(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> None:
    import torch

    largest = max([4096, len(tensors), *(size for value in tensors.values() for size in value.shape)])
    wrong = [number for number in _whole_numbers(spec.model_args) if abs(number) > largest]
    if wrong and spec.architecture not in _LIMITED:
        raise ModelError(
            f"{spec.name}: model_args ask for {wrong[0]} of something; no tensor here is that large."
        )
    with torch.device("meta"):
        wanted = sum(value.numel() for value in build_network(spec).state_dict().values())
    held = sum(value.numel() for value in tensors.values())
    if wanted > 2 * held + 1_000_000:
        raise ModelError(f"{spec.name}: model_args ask for {wanted:,} numbers; the weights hold {held:,}.")


def _whole_numbers(value: Any) -> Iterator[int]:
    if isinstance(value, int):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _whole_numbers(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _whole_numbers(item)


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
