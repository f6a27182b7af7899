"""Small ONNX files: the mean colour of an image times a random matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from skinclf._utils.arrays import Float32


def model(
    *,
    ending: str = "",
    outputs: int = 7,
    layout: str = "NCHW",
    size: int | str = 8,
    dtype: int = TensorProto.FLOAT,
    after: Sequence[str] = (),
    extra_inputs: Sequence[Any] = (),
    domain: str = "",
) -> tuple[Any, Float32]:
    """Mean over pixels, matrix, optional softmax or sigmoid; returns the model and its matrix."""
    weight = np.random.default_rng(0).normal(size=(3, outputs)).astype(np.float32) * 3
    dims = ["n", 3, size, size] if layout == "NCHW" else ["n", size, size, 3]
    axes = [2, 3] if layout == "NCHW" else [1, 2]
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["logits"], domain=""),
    ]
    last = "logits"
    if ending:
        nodes.append(helper.make_node(ending, [last], ["end"], domain=domain))
        last = "end"
    for number, name in enumerate(after):
        nodes.append(helper.make_node(name, [last], [f"after{number}"]))
        last = f"after{number}"
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", dtype, dims), *extra_inputs],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["n", outputs])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.array(axes, np.int64), "axes")],
    )
    opsets = [helper.make_opsetid("", 18), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9), weight


def save(path: Path, **options: Any) -> Float32:
    """Write `model(**options)`; returns its matrix."""
    built, weight = model(**options)
    onnx.save(built, path)
    return weight
