"""Building a torch network from a `ModelSpec`, and loading its weights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from skinclf.errors import ModelError
from skinclf.models.architectures.timm import build_timm

if TYPE_CHECKING:
    from torch import Tensor, nn

    from skinclf.models.spec import ModelSpec

Builder: TypeAlias = "Callable[..., nn.Module]"


# Imported when needed, so that one architecture does not import the others.
def _graph(num_outputs: int, **args: Any) -> nn.Module:
    from skinclf.models.architectures.graph.network import build

    return build(num_outputs, **args)


def _torchvision_efficientnet(num_outputs: int, **args: Any) -> nn.Module:
    from skinclf.models.architectures.efficientnet import build

    return build(num_outputs, **args)


def _torchvision(num_outputs: int, **args: Any) -> nn.Module:
    from skinclf.models.architectures.torchvision import build

    return build(num_outputs, **args)


def _published_efficientnet(num_outputs: int, **args: Any) -> nn.Module:
    from skinclf.models.architectures.published import build

    return build(num_outputs, **args)


def _simple_cnn(num_outputs: int, **args: Any) -> nn.Module:
    from skinclf.models.architectures.simple_cnn import build

    return build(num_outputs, **args)


def _timm_head(num_outputs: int, **args: Any) -> nn.Module:
    from skinclf.models.architectures.heads import build

    return build(num_outputs, **args)


def _transformers_vit(num_outputs: int, **args: Any) -> nn.Module:
    from skinclf.models.architectures.transformers import build_vit

    return build_vit(num_outputs, **args)


def _transformers_swin(num_outputs: int, **args: Any) -> nn.Module:
    from skinclf.models.architectures.transformers import build_swin

    return build_swin(num_outputs, **args)


#: `skinclf/<name>` architectures, each called as `builder(num_outputs, **model_args)`.
BUILDERS: Mapping[str, Builder] = {
    "keras-graph": _graph,
    "onnx-graph": _graph,
    "torchvision-efficientnet": _torchvision_efficientnet,
    "torchvision": _torchvision,
    "published-efficientnet": _published_efficientnet,
    "simple-cnn": _simple_cnn,
    "timm-head": _timm_head,
    "transformers-vit": _transformers_vit,
    "transformers-swin": _transformers_swin,
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
    if not architecture.startswith("skinclf/"):
        return build_timm(architecture, num_outputs, dict(args))
    builder = BUILDERS.get(architecture.removeprefix("skinclf/"))
    if builder is None:
        known = ", ".join(sorted(BUILDERS))
        raise ModelError(f"Unknown architecture {architecture!r}; skinclf's own are: {known}.")
    return builder(num_outputs, **args)


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

    if not spec.architecture.startswith("skinclf/"):
        import timm  # noqa: F401 - what it imports computes with tensors, which the device below cannot (torch 2.6)

    largest = max([4096, len(tensors), *(size for value in tensors.values() for size in value.shape)])
    wrong = [number for number in _whole_numbers(spec.model_args) if abs(number) > largest]
    if wrong and spec.architecture not in _LIMITED:
        raise ModelError(
            f"{spec.name}: model_args ask for {wrong[0]} of something; no tensor here is that large."
        )
    with torch.device("meta"):
        wanted = sum(value.numel() for value in build_network(spec).state_dict().values())
    stored = sum(value.numel() for value in tensors.values())
    if wanted > 2 * stored + 1_000_000:
        raise ModelError(f"{spec.name}: model_args ask for {wanted:,} numbers; the weights hold {stored:,}.")


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
    state = OrderedDict((k, v.to(expected[k].dtype)) for k, v in tensors.items())
    # Every name and shape is the module's: so is the layout's version, which some of torchvision's networks ask for.
    state._metadata = expected._metadata  # type: ignore[attr-defined]  # where torch keeps it
    module.load_state_dict(state, strict=False)
    return module


def _some(names: list[str], limit: int = 5) -> str:
    if not names:
        return "none"
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
