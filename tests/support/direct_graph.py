"""Answers of the OpenVINO graph that is built without torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from skinclf.models.loaded import LoadedModel

Array = npt.NDArray[np.float32]


def direct_answers(model: LoadedModel, images: Array) -> Array:
    """Raw outputs of `skinclf.runtimes.direct_graph.direct_graph` for prepared images (N, H, W, 3), in float32."""
    import openvino

    from skinclf.runtimes.direct_graph import direct_graph, has_direct_graph

    assert has_direct_graph(model)
    hints = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(direct_graph(model), "CPU", hints)
    result: Array = compiled(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))[0]
    return result
