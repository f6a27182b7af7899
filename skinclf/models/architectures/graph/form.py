"""The form of a graph, checked without torch: what is written in it, and how much it would keep of an image."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from skinclf.errors import ModelError

VERSION = 1
#: Operations whose output is never negative.
NOT_NEGATIVE = frozenset(
    {"relu", "relu6", "sigmoid", "hard_sigmoid", "hard_sigmoid_2", "softmax", "exponential"}
)
#: Attributes of torch's modules, which cannot name a layer.
RESERVED = frozenset(
    (  # noqa: SIM905 - seventy lines otherwise
        "T_destination add_module apply bfloat16 buffers call_super_init children clear compile cpu cuda double "
        "dump_patches eval extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu "
        "items keys load_state_dict modules mtia named_buffers named_children named_modules named_parameters "
        "parameters pop register_backward_hook register_buffer register_forward_hook register_forward_pre_hook "
        "register_full_backward_hook register_full_backward_pre_hook register_load_state_dict_post_hook "
        "register_load_state_dict_pre_hook register_module register_parameter register_state_dict_post_hook "
        "register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule share_memory state_dict to "
        "to_empty train training type update values xpu zero_grad"
    ).split()
)
_MAX_CALLS = 20_000
#: Longest side of a resized image.
MAX_SIDE = 1 << 14
#: Most numbers that may be kept of one image at any time; a graph that asks for more is not a classifier.
_MAX_VALUES = 1 << 28
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")


def read_graph(
    graph: Any,
) -> tuple[tuple[int, int], dict[str, tuple[str, Mapping[str, Any]]], list[tuple[str, tuple[int, ...]]]]:
    """Check a graph's form; what operations do with their arguments is theirs to check.

    Returns:
        Rows and columns of the input; operation and arguments by the layer's name; the calls in order, each with the
        values that it takes.

    Raises:
        ModelError: The graph is malformed.
    """
    if not isinstance(graph, Mapping) or set(graph) != {"version", "input", "layers", "calls"}:
        raise ModelError("Graph: expected an object of 'version', 'input', 'layers' and 'calls'.")
    if graph["version"] != VERSION:
        raise ModelError(
            f"Graph: version {graph['version']!r}; this skinclf reads {VERSION}. Update skinclf."
        )
    size, layers, calls = graph["input"], graph["layers"], graph["calls"]
    if not isinstance(size, (list, tuple)) or len(size) != 2:
        raise ModelError(f"Graph: 'input' is [height, width]; received {str(size)[:80]!r}.")
    if not all(type(x) is int and 1 <= x <= 4096 for x in size):
        raise ModelError(f"Graph: sides are 1 to 4096 pixels; received {list(size)}.")
    if not isinstance(layers, Mapping) or not isinstance(calls, list) or not 1 <= len(calls) <= _MAX_CALLS:
        raise ModelError(f"Graph: 'layers' is an object and 'calls' a list of 1 to {_MAX_CALLS}.")
    operations = {}
    for name, item in layers.items():
        good = isinstance(item, (list, tuple)) and len(item) == 2
        if not good or not isinstance(item[0], str) or not isinstance(item[1], Mapping):
            raise ModelError(f"Graph: layer {str(name)[:80]!r} is not [operation, arguments].")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ModelError(f"Graph: {str(name)[:80]!r} cannot name a layer.")
        operations[name] = (item[0], item[1])
    steps = []
    for position, call in enumerate(calls):
        good = isinstance(call, (list, tuple)) and len(call) == 2 and isinstance(call[1], (list, tuple))
        if not good or not isinstance(call[0], str) or call[0] not in operations:
            raise ModelError(f"Graph: call {position} is not [layer, inputs].")
        if not 1 <= len(call[1]) <= 1000 or not all(type(i) is int and 0 <= i <= position for i in call[1]):
            raise ModelError(f"Graph: call {position} takes what no earlier call made.")
        steps.append((call[0], tuple(call[1])))
    uncalled = set(operations) - Counter(name for name, _ in steps).keys()
    if uncalled:
        raise ModelError(f"Graph: operations that are never called: {sorted(uncalled)[:5]}.")
    return (size[0], size[1]), operations, steps


def plan(
    calls: Sequence[tuple[str, tuple[int, ...]]],
) -> list[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    """Calls in order: operation, the values it takes, and those that no later call needs."""
    last_use = {value: step for step, (_, inputs) in enumerate(calls) for value in inputs}
    return [
        (name, inputs, tuple(value for value in dict.fromkeys(inputs) if last_use[value] == step))
        for step, (name, inputs) in enumerate(calls)
    ]


def padding_apart(stride: Sequence[int], pad: Sequence[int]) -> bool:
    """Whether a pooling's padding (top, bottom, left, right) has to be a tensor of its own.

    It differs between two ends, and no stride reaches the windows that only the longer end gives.
    """
    more = (pad[1] - pad[0], pad[3] - pad[2])
    return any(more) and not all(s > 1 for s, m in zip(stride, more, strict=True) if m)


class Kept:
    """Count of the numbers that a graph keeps of one image while it runs."""

    def __init__(self, shape: Sequence[int]) -> None:
        self._count = math.prod(shape)

    def add(self, name: str, shape: Sequence[int], *, beside: int = 0) -> None:
        """Count a result.

        Args:
            name: Layer that makes it.
            shape: Its shape, without the batch.
            beside: Count of numbers that the layer needs beside its input and output.

        Raises:
            ModelError: The result, or everything that is kept with it, is larger than in any classifier.
        """
        made = math.prod(shape)
        if made > _MAX_VALUES:
            raise ModelError(f"Graph: {name!r} would make {made:,} numbers of one image.")
        self._count += made
        if self._count + beside > _MAX_VALUES:
            raise ModelError(
                f"Graph: at {name!r} it would keep {self._count + beside:,} numbers of one image."
            )

    def drop(self, shapes: Iterable[Sequence[int]]) -> None:
        """Forget values that no later call needs."""
        self._count -= sum(math.prod(shape) for shape in shapes)


def check_output(shape: Sequence[int], num_outputs: int) -> None:
    """Refuse a graph whose output has not one number for each output.

    Raises:
        ModelError: The output has another shape.
    """
    if tuple(shape) != (num_outputs,):
        raise ModelError(
            f"Graph: its output has shape {tuple(shape)} for one image; expected ({num_outputs},)."
        )
