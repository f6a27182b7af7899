"""The one interface behind which networks run: pixels in, raw scores out."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class Runtime(Protocol):
    """A network on a device.

    Attributes:
        name: `torch`, `openvino`, `onnxruntime` or `keras`.
        device: Where it runs, such as `cpu` or `cuda:0`.
        precision: `fp32`, `bf16`, `fp16` or `int8`.
    """

    name: str
    device: str
    precision: str

    def run(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Raw scores of one batch.

        Args:
            pixels: What `Preprocess.pixels` returns, stacked: shape (N, H, W, 3), RGB, 0 to 255,
                dtype uint8 (float32 for TensorFlow's resize).

        Returns:
            Shape (N, `spec.num_outputs`), float32; `skinclf.models.probabilities` turns them into probabilities.
        """
        ...
