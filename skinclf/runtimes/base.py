"""`Runtime`: the one interface behind which networks run; pixels in, raw outputs out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, TypeAlias

import numpy.typing as npt

from skinclf._utils.arrays import Float32
from skinclf.errors import ModelError

#: An array of pixels in the host's memory, or what `Runtime.stage` of the same runtime made of it.
StagedPixels: TypeAlias = Any


class Runtime(ABC):
    """A network on a device.

    Attributes:
        name: `torch`, `torch-compile`, `openvino`, `onnxruntime` or `keras`.
        device: Device that executes the network, such as `cpu` or `cuda:0`.
        precision: `fp32`, `bf16`, `fp16` or `int8`.
        streams: Number of batches that the device computes at once.
        reason: Why this runtime was taken, in words; set by `skinclf.runtimes.create.create_runtime`.
        gives_embeddings: Whether `embed` is available; in OpenVINO and ONNX Runtime it has to be asked for when the
            runtime is made, because the graph then has a second output.
        one_by_one: Whether images are computed one by one, so that the size of a batch cannot show in the numbers.
    """

    name: str
    device: str
    precision: str
    streams: int = 1
    reason: str = "requested"
    gives_embeddings: bool = False
    one_by_one: ClassVar[bool] = False

    @abstractmethod
    def run(self, pixels: StagedPixels, entries: StagedPixels | None = None) -> Float32:
        """Raw outputs of one batch.

        Args:
            pixels: Output of `Preprocess.pixels`, stacked: shape (N, H, W, 3), RGB, 0 to 255, dtype uint8 (float32
                for TensorFlow's resize); as it is, or as `stage` returned it.
            entries: Vectors of `ModelSpec.encoding`, shape (N, `width`), float32, for a network that takes them; as
                they are, or as `stage` returned them.

        Returns:
            Shape (N, `spec.num_outputs`), float32; `skinclf.models.probabilities` turns them into probabilities.
        """

    def embed(
        self,
        pixels: StagedPixels,  # noqa: ARG002 - used by the overrides
        entries: StagedPixels | None = None,  # noqa: ARG002
    ) -> tuple[Float32, Float32]:
        """Raw outputs and embeddings (inputs of the last layer) of one batch, shapes (N, outputs) and (N, D).

        Args:
            pixels: As for `run`.
            entries: As for `run`.

        Raises:
            ModelError: The runtime gives no embeddings.
        """
        raise no_embeddings(self)

    def stage(self, pixels: npt.NDArray[Any]) -> StagedPixels:
        """Copy a batch to the device ahead of `run`; by default the batch itself.

        Called from another thread than `run`, so that the copy of one batch overlaps with the computation of another.

        Args:
            pixels: As for `run`.
        """
        return pixels

    @property
    def preferred_batch_size(self) -> int:
        """Images that keep the device busy: 128 on an accelerator; 16 on a CPU, more where it has many streams.

        A multiple of 16, so that an image's place in its batch cannot show (see `skinclf.inference.engine`).
        """
        return 128 if self.device != "cpu" else 16 * max(1, -(-self.streams // 4))


class GraphRuntime(Runtime):
    """Base of the runtimes of a graph whose second output, where it was asked for, holds the embeddings."""

    def run(self, pixels: StagedPixels, entries: StagedPixels | None = None) -> Float32:
        """Raw outputs of one batch; see `Runtime.run`."""
        return self._results(pixels, entries, 1)[0]

    def embed(self, pixels: StagedPixels, entries: StagedPixels | None = None) -> tuple[Float32, Float32]:
        """Raw outputs and embeddings of one batch; see `Runtime.embed`."""
        if not self.gives_embeddings:
            raise no_embeddings(self)
        raw, vectors = self._results(pixels, entries, 2)
        return raw, vectors

    @abstractmethod
    def _results(self, pixels: StagedPixels, entries: StagedPixels | None, count: int) -> list[Float32]:
        """The first `count` outputs of the graph, one array (N, width) each."""


def no_embeddings(runtime: Runtime) -> ModelError:
    """The error for a runtime that gives no embeddings, naming one that does."""
    return ModelError(
        f"The {runtime.name} runtime was made without embeddings, or gives none; use `embeddings=True` with a "
        "`runtime` such as torch.",
        parameter="runtime",
    )


def no_last_layer(name: str) -> ModelError:
    """The error for a network that does not end in a linear layer, whose inputs would be the embeddings."""
    return ModelError(
        f"{name}: this network does not end in a linear layer, so it has no embeddings.", parameter="runtime"
    )
