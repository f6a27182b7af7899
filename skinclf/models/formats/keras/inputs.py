"""The inputs of a Keras model: the image, and at most one vector beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from skinclf.errors import ModelError
from skinclf.models.formats.keras.config import Layer, Model, Ref

if TYPE_CHECKING:
    from skinclf.models.formats.keras.lower import Lowering, Value


@dataclass(frozen=True, slots=True)
class Beside:
    """The input that takes a vector for each image.

    Attributes:
        layer: Its `InputLayer`.
        width: Length of the vector; None where the file does not say.
    """

    layer: Layer
    width: int | None

    def emit(self, lowering: Lowering, width: int) -> Value:
        """The value of the input in a graph.

        Args:
            lowering: Operations so far.
            width: Length of the vector.
        """
        return lowering.emit(self.layer, "", "entries", [lowering.values[0]], (width,), width=width)


def split_inputs(model: Model) -> tuple[Ref, Beside | None]:
    """The input that takes the image, and the one beside it.

    Raises:
        ModelError: The model has several outputs, more than two inputs, or two of which one is no vector.
    """
    if len(model.inputs) > 2 or len(model.outputs) != 1:
        raise ModelError(
            f"the model has {len(model.inputs)} inputs and {len(model.outputs)} outputs; an image classifier "
            "has one output, and one input or two: the image, and a vector of age, sex and site."
        )
    if len(model.inputs) == 1:
        return model.inputs[0], None
    found = {layer.path[-1]: layer for layer in model.layers}
    shapes = {ref: _shape(found.get(ref.layer)) for ref in model.inputs}
    pictures = [ref for ref, shape in shapes.items() if len(shape) == 4]
    vectors = [ref for ref, shape in shapes.items() if len(shape) == 2]
    if len(pictures) != 1 or len(vectors) != 1:
        listed = ", ".join(f"{ref.layer} {list(shape)}" for ref, shape in shapes.items())
        raise ModelError(
            f"the model's two inputs are {listed}; expected an image, [null, height, width, 3], and a vector of age, "
            "sex and site, [null, numbers]."
        )
    return pictures[0], Beside(found[vectors[0].layer], shapes[vectors[0]][1])


def _shape(layer: Layer | None) -> tuple[int | None, ...]:
    if layer is None:
        return ()
    shape = layer.config.get("batch_shape", layer.config.get("batch_input_shape"))
    good = isinstance(shape, list) and all(x is None or type(x) is int for x in shape)
    return tuple(shape) if good else ()
