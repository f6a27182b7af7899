"""The last steps from collected operations to a graph: the final activation comes off, padding is folded."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skinclf.errors import ModelError
from skinclf.models.architectures.graph.form import NOT_NEGATIVE, VERSION, Kept, padding_apart, plan
from skinclf.models.formats.keras.lower import Lowering, Source, Value
from skinclf.models.probabilities import Activation

_LOGIT_LOSSES: Mapping[str, Activation] = {
    "CategoricalCrossentropy": "softmax",
    "SparseCategoricalCrossentropy": "softmax",
    "CategoricalFocalCrossentropy": "softmax",
    "BinaryCrossentropy": "sigmoid",
    "BinaryFocalCrossentropy": "sigmoid",
}


@dataclass(frozen=True, slots=True)
class Finished:
    """A complete graph.

    Attributes:
        graph: See `skinclf.models.architectures.graph`.
        sources: Source of every parameter, by its name in the state dict.
        outputs: Width of the output.
        activation: Activation that turns the output into probabilities.
    """

    graph: dict[str, Any]
    sources: dict[str, Source]
    outputs: int
    activation: Activation


def finish(lowering: Lowering, output: Value, training: Any) -> Finished:
    """Make a graph of what was collected.

    Args:
        lowering: The collected operations; used up.
        output: The model's output.
        training: Arguments that the model was compiled with; without a final activation, the loss identifies logits.

    Raises:
        ModelError: The output is no vector, or its activation is unknown.
    """
    if len(output.shape) != 1:
        raise ModelError(
            f"The model's output has shape {output.shape} per image; expected one number per class."
        )
    output, activation = _peel(lowering, output, training)
    _fold_padding(lowering)
    return _collect(lowering, output, activation)


def _operation(lowering: Lowering, value: int) -> tuple[str, dict[str, Any]]:
    if value == 0:
        return "input", {}
    op, arguments = lowering.layers[lowering.calls[value - 1][0]]
    return op, arguments


def _peel(lowering: Lowering, output: Value, training: Any) -> tuple[Value, Activation]:
    """Take the final softmax or sigmoid off, so that the network returns logits."""
    op, _ = _operation(lowering, output.id)
    if op == "softmax" and output.shape[0] > 1:
        return lowering.values[lowering.calls[output.id - 1][1][0]], "softmax"
    if op == "sigmoid":
        inside = lowering.values[lowering.calls[output.id - 1][1][0]]
        return inside, "sigmoid" if output.shape[0] == 1 else "independent"
    kind = _probabilities(lowering, output.id)
    if kind == "softmax" and output.shape[0] > 1:
        return output, "identity"
    if kind == "sigmoid" and output.shape[0] == 1:
        lowering.layers["complement"] = ["complement", {}]
        lowering.calls.append(("complement", (output.id,)))
        lowering.values.append(Value(len(lowering.calls), (2,)))
        return lowering.values[-1], "identity"
    meant = logit_loss(training)
    if meant and (meant == "sigmoid") == (output.shape[0] == 1) and op != "sigmoid":
        return output, meant
    raise ModelError(
        f"The model ends in {op!r}, not softmax or sigmoid, and nothing in the file defines how its outputs become "
        "probabilities. Save it with a final softmax or sigmoid, or compiled with a from_logits loss."
    )


def logit_loss(training: Any) -> Activation | None:
    """Activation that the loss of a compiled model applies itself, or None."""
    loss = training.get("loss") if isinstance(training, Mapping) else None
    config = loss.get("config") if isinstance(loss, Mapping) else None
    if not isinstance(loss, Mapping) or not isinstance(config, Mapping) or not config.get("from_logits"):
        return None
    return _LOGIT_LOSSES.get(str(loss.get("class_name")))


def _probabilities(lowering: Lowering, value: int) -> str | None:
    """Whether a value is a distribution (`softmax`), one probability (`sigmoid`), or neither with certainty."""
    op, arguments = _operation(lowering, value)
    shape = lowering.values[value].shape
    if op == "softmax":
        own = 1 if len(shape) == 3 else len(shape)
        return "softmax" if arguments["axis"] == own and math.prod(shape) == shape[-1] else None
    if op == "sigmoid":
        return "sigmoid" if math.prod(shape) == 1 else None
    if op not in {"permute", "reshape", "merge"} or (op == "merge" and arguments["op"] != "mean"):
        return None
    kinds = {_probabilities(lowering, i) for i in lowering.calls[value - 1][1]}
    return kinds.pop() if len(kinds) == 1 else None


def _fold_padding(lowering: Lowering) -> None:
    """Give a convolution or pooling the padding before it, where the numbers stay exactly the same."""
    uses = Counter(i for _, inputs in lowering.calls for i in inputs)
    called = Counter(name for name, _ in lowering.calls)
    for step, (name, inputs) in enumerate(lowering.calls):
        op, arguments = lowering.layers[name]
        if op not in {"conv", "max_pool"} or called[name] != 1 or "pad" in arguments:
            continue
        before, given = _operation(lowering, inputs[0])
        if before != "pad" or uses[inputs[0]] != 1:
            continue
        top, bottom, left, right = given["pad"]
        if top != bottom or left != right or min(top, left) < 0:
            continue
        source = lowering.calls[inputs[0] - 1][1][0]
        if op == "conv":
            arguments["pad"] = [top, left]
        elif _operation(lowering, source)[0] in NOT_NEGATIVE and _fits([top, left], arguments["kernel"]):
            # Zeros never win over values that are not negative, and torch's own padding never wins at all.
            arguments["pad"] = [top, bottom, left, right]
        else:
            continue
        lowering.calls[step] = (name, (source,))


def _fits(pad: list[int], kernel: list[int]) -> bool:
    return all(2 * p <= k for p, k in zip(pad, kernel, strict=True))


def _collect(lowering: Lowering, output: Value, activation: Activation) -> Finished:
    """Only what the output needs, numbered anew."""
    needed, stack = {0}, [output.id]
    while stack:
        value = stack.pop()
        if value not in needed:
            needed.add(value)
            stack.extend(lowering.calls[value - 1][1])
    kept = sorted(needed)
    number = {value: position for position, value in enumerate(kept)}
    calls = [lowering.calls[value - 1] for value in kept[1:]]
    if not calls:
        raise ModelError("The model computes nothing.")
    names = dict.fromkeys(name for name, _ in calls)
    graph = {
        "version": VERSION,
        "input": list(lowering.values[0].shape[:2]),
        "layers": {name: lowering.layers[name] for name in names},
        "calls": [[name, [number[i] for i in inputs]] for name, inputs in calls],
    }
    _check_memory(lowering, kept, [(name, tuple(number[i] for i in inputs)) for name, inputs in calls])
    sources = {key: x for key, x in lowering.sources.items() if key.split(".")[1] in names}
    return Finished(graph, sources, output.shape[0], activation)


def _check_memory(
    lowering: Lowering, kept: Sequence[int], calls: Sequence[tuple[str, tuple[int, ...]]]
) -> None:
    """Refuse what would keep absurd numbers of one image.

    Args:
        lowering: The collected operations.
        kept: Their values that the output needs.
        calls: Calls that make those, numbered anew.
    """
    shapes = [lowering.values[value].shape for value in kept]
    memory = Kept(shapes[0])
    for (name, inputs, finished), shape in zip(plan(calls), shapes[1:], strict=True):
        op, arguments = lowering.layers[name]
        beside, pad = 0, arguments.get("pad")
        if op in {"max_pool", "avg_pool"} and pad and padding_apart(arguments["stride"], pad):
            height, width, channels = shapes[inputs[0]]
            beside = channels * (height + pad[0] + pad[1]) * (width + pad[2] + pad[3])
        memory.add(name, shape, beside=beside)
        memory.drop(shapes[i] for i in finished)
