"""`Stated`, the facts given to an importer, and `LoadedModel`, a model ready to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from skinclf._utils.arrays import Float32
from skinclf.errors import ModelError
from skinclf.images.preprocess import Preprocess
from skinclf.labels import LabelSet
from skinclf.models.metadata_encoding import MetadataEncoding
from skinclf.models.spec import ModelSpec

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """Facts about a model file that the file does not record, from the registry or the user.

    Attributes:
        labels: Labels in output order.
        preprocess: Preprocessing of its input.
        architecture: Name of the network for bare weights, such as a timm name.
        state_key: Key of the state dict in a checkpoint that holds several.
        any_size: Whether `preprocess` was stated by the name of a scaling alone, so that its height and width
            follow the file's input, or the size that the network's publisher trained it at.
        encoding: Meaning of the second input of a file that takes age, sex and site beside the image.
        runtime: Name of the runtime that is to run the model. A Keras file that skinclf cannot rebuild loads for
            `keras`, which runs the file itself.
    """

    labels: LabelSet | None = None
    preprocess: Preprocess | None = None
    architecture: str | None = None
    state_key: str | None = None
    any_size: bool = False
    encoding: MetadataEncoding | None = None
    runtime: str = "auto"

    def need_encoding(self, name: str, width: int | None) -> MetadataEncoding:
        """Meaning of the second input of a file.

        Args:
            name: Name of the model, for messages.
            width: Numbers that the input takes for one image; None where the file does not say.

        Raises:
            ModelError: None was stated, or one of another width.
        """
        if self.encoding is None:
            raise ModelError(
                f"{name}: the network takes a vector of {width or 'some'} numbers beside the image. State "
                "`metadata_encoding`, a JSON file that declares how age, sex and site become that vector.",
                parameter="metadata_encoding",
            )
        self.encoding.check(width, name)
        return self.encoding

    def need_labels(self, name: str) -> LabelSet:
        """Labels in output order.

        Raises:
            ModelError: No labels were stated; the message explains how to state them.
        """
        if self.labels is None:
            raise ModelError(
                f"{name}: the file does not record which output is which class. State `labels` in output "
                "order, for example ham10000 or benign,malignant.",
                parameter="labels",
            )
        return self.labels

    def need_preprocess(self, name: str, *, size: tuple[int | None, int | None] = (None, None)) -> Preprocess:
        """Preprocessing of the input.

        Args:
            name: Name of the model, for messages.
            size: (height, width) that the file's input is fixed to; None where it takes any.

        Raises:
            ModelError: No preprocessing was stated, one for another size, or no size by the file nor by the user.
        """
        if self.preprocess is None:
            raise ModelError(
                f"{name}: the file does not record how images were prepared. State `preprocess`: caffe, tf, torch, "
                "unit, raw, each with its resize (such as caffe-opencv), or a JSON file.",
                parameter="preprocess",
            )
        if self.any_size:
            return self._sized(self.preprocess, name, size)
        height, width = size[0] or self.preprocess.height, size[1] or self.preprocess.width
        if (height, width) != (self.preprocess.height, self.preprocess.width):
            raise ModelError(
                f"{name}: the file takes {width} x {height} pixels; the stated preprocessing makes "
                f"{self.preprocess.width} x {self.preprocess.height}.",
                parameter="preprocess",
            )
        return self.preprocess

    def preprocess_at(self, name: str, native: tuple[int, int] | None) -> Preprocess | None:
        """The stated preprocessing, or None; the name of a scaling takes the size that a network is published with.

        Args:
            name: Name of the model, for messages.
            native: (height, width) that the network is published with, or None when that is unknown.

        Raises:
            ModelError: The name of a scaling was stated, and neither a size nor a published one is known.
        """
        if self.preprocess is None or not self.any_size:
            return self.preprocess
        return self._sized(self.preprocess, name, native or (None, None))

    def _sized(self, named: Preprocess, name: str, size: tuple[int | None, int | None]) -> Preprocess:
        height, width = size
        if height is None or width is None:
            raise ModelError(
                f"{name}: neither the file nor `preprocess` states the size of the input. State `input_size`, "
                "the size in pixels that the network was trained on, such as 224 or 450x600 (height x width).",
                parameter="input_size",
            )
        return replace(named, height=height, width=width)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model ready for a runtime.

    Attributes:
        spec: Specification of the model.
        network: Torch module in eval mode, float32: input (N, 3, H, W), output raw scores
            (N, `spec.num_outputs`).
        build: Function that makes that module when it is first needed; a runtime with a compiled artefact in its
            cache never asks, and then torch is not even imported.
        check: Function that compares the stored weights with the hash in `spec`; None where they were read when the
            model was loaded.
        tensors: Function that gives the numbers of a network that is a graph (`skinclf.models.architectures.graph`), by
            their names in its state dict, for a runtime that builds it without torch; None for other networks.
        artifact: The file that a non-torch runtime runs itself (`.onnx`, `.keras`, `.h5`), when there is one.
        folder: The bundle's folder, where its golden samples lie; None for anything but a bundle.
        members: The models of a recipe, which has no network of its own; empty for one model.
    """

    spec: ModelSpec
    network: nn.Module | None = None
    build: Callable[[], nn.Module] | None = None
    check: Callable[[], None] | None = None
    tensors: Callable[[], Mapping[str, Float32]] | None = None
    artifact: Path | None = None
    folder: Path | None = None
    members: tuple[LoadedModel, ...] = ()

    @property
    def has_network(self) -> bool:
        """Whether there is a torch network, built or not."""
        return self.network is not None or self.build is not None

    def need_network(self) -> None:
        """Refuse a recipe where one network is needed.

        Raises:
            ModelError: This is a recipe.
        """
        if self.members:
            names = ", ".join(member.spec.name for member in self.members)
            raise ModelError(
                f"{self.spec.name} is a recipe, which averages several models or views and has no network of its own; "
                f"name one of its members instead: {names}.",
                parameter="model",
            )

    def check_weights(self) -> None:
        """Make sure that the stored weights are those of `spec`, before something made from them answers for them.

        Raises:
            ModelError: The weights are missing, damaged, or not those that the configuration records.
        """
        if self.check is not None:
            self.check()

    def torch_network(self) -> nn.Module:
        """The torch network, built on the first call.

        Raises:
            ModelError: The model has no torch network; only another runtime can run it.
        """
        self.need_network()
        if self.network is not None:
            return self.network
        if self.build is None:
            raise ModelError(
                f"{self.spec.name}: this model has no torch network; choose another `runtime`.",
                parameter="runtime",
            )
        return self.build()
