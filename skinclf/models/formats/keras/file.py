"""Keras models as torch networks: `.h5`, `.hdf5` and `.keras` files, without TensorFlow and its code."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinclf._utils.files import sha256_file
from skinclf.errors import ModelError, UnsafeModelError
from skinclf.models.formats.keras.archive import KerasArchive, looks_like_keras, open_keras, parse_json
from skinclf.models.formats.keras.config import Layer, Model, Ref, parse_model
from skinclf.models.formats.keras.variables import Variables, find_variables
from skinclf.models.loaded import LoadedModel, Stated
from skinclf.models.spec import MAX_CONFIG_BYTES, ModelSpec

if TYPE_CHECKING:
    from torch import nn

    from skinclf.models.formats.keras.finish import Finished
    from skinclf.models.formats.keras.lower import Lowering, Value

__all__ = ["import_keras", "looks_like_keras"]

logger = logging.getLogger("skinclf")
ARCHITECTURE = "skinclf/keras-graph"


def import_keras(
    path: Path, stated: Stated, *, name: str, source: str, revision: str | None = None
) -> LoadedModel:
    """Load a Keras file as an equivalent torch network.

    Every variable is matched by layer, name and shape. A final softmax or sigmoid is left to
    `skinclf.models.probabilities`, so that the network returns logits.

    Args:
        path: Whole model (`.h5`, `.hdf5`, `.keras`), or weights only (`.weights.h5`).
        stated: Labels in output order and preprocessing; for weights only, `architecture` is the path of
            the model's JSON (`model.to_json()`), or of a whole model of the same architecture.
        name: Name for the model.
        source: Origin for the specification: a repository id or a path.
        revision: Commit sha on the Hub; None for local files.

    Returns:
        The model. Its graph is in `spec.model_args`, so that a bundle needs the Keras file no longer.

    Raises:
        UnsafeModelError: The file asks for code, or is made to exhaust memory.
        ModelError: The file is damaged, incomplete or not supported, or a fact must be stated.
    """
    # They import torch, which `looks_like_keras` and its callers do without.
    from skinclf.models.formats.keras.as_it_is import check_runnable, ending
    from skinclf.models.formats.keras.finish import finish
    from skinclf.models.formats.keras.layers import HANDLERS
    from skinclf.models.formats.keras.lower import Lowering

    labels = stated.need_labels(name)
    preprocess = stated.preprocess or stated.need_preprocess(name)
    with _named(name):
        with open_keras(path) as archive:
            same = archive.config is not None
            config, version, training = _architecture(archive, stated)
            if (version or "").startswith("1."):
                raise ModelError(
                    f"the file was written by Keras {version}, whose layers have other names and arguments. Load it "
                    "with Keras 2.0 to 2.2 (which read Keras 1 files) and save it again."
                )
            model = parse_model(config)
            picture, beside = _split_inputs(model)
            encoding = None if beside is None else stated.need_encoding(name, beside.width)
            size = _input_size(
                model, picture, (preprocess.height, preprocess.width), any_size=stated.any_size
            )
            preprocess = replace(preprocess, height=size[0], width=size[1])
            variables = find_variables(archive.tensors, model, same_names=same)
            lowering = Lowering(
                variables, HANDLERS, keras=_major(version, model), size=size, version=_minor(version)
            )
            try:
                first = lowering.values[0]
                if beside is not None and encoding is not None:
                    second = beside.emit(lowering, encoding.width)
                    given = [first if ref == picture else second for ref in model.inputs]
                else:
                    given = [first]
                (output,) = lowering.run(model, given)
            except UnsafeModelError:
                raise
            except ModelError as error:
                if not same:  # weights alone: Keras could not run the file either
                    raise
                if stated.runtime != "keras":
                    raise _advised(error) from None
                check_runnable(config, model)
                spec = ModelSpec(
                    name=name,
                    architecture=ARCHITECTURE,
                    labels=labels,
                    preprocess=preprocess,
                    encoding=encoding,
                    activation=ending(model, len(labels), training),
                    source=source,
                    revision=revision,
                    weights_sha256=sha256_file(path),
                )
                return LoadedModel(spec=spec, artifact=path)
            variables.check()
            finished = finish(lowering, output, training)
            expected = 2 if finished.activation == "sigmoid" else finished.outputs
            if len(labels) != expected:
                raise ModelError(
                    f"the model has {finished.outputs} output{'s' * (finished.outputs > 1)}, for {expected} "
                    f"labels; {len(labels)} are stated: {', '.join(labels.codes)}."
                )
            network = _fill(finished, variables)
        logger.debug("%s: %d operations from %s", name, len(finished.graph["calls"]), path)
        spec = ModelSpec(
            name=name,
            architecture=ARCHITECTURE,
            labels=labels,
            preprocess=preprocess,
            encoding=encoding,
            activation=finished.activation,
            model_args={"graph": finished.graph},
            source=source,
            revision=revision,
            weights_sha256=sha256_file(path),
        )
        return LoadedModel(spec=spec, network=network, artifact=path if same else None)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Put the model's name before every message."""
    try:
        yield
    except ModelError as error:
        text = str(error)
        named = text if text.startswith(f"{name}: ") else f"{name}: {text}"
        raise type(error)(named, parameter=error.parameter) from None


def _architecture(archive: KerasArchive, stated: Stated) -> tuple[Any, str | None, Any]:
    """Config, Keras version and compile arguments, from the file or from what was stated beside it."""
    if archive.config is not None:
        if stated.architecture is not None:
            raise ModelError(
                f"the file holds its own architecture; leave out `architecture` {stated.architecture!r}.",
                parameter="architecture",
            )
        return archive.config, archive.version, archive.training
    if stated.architecture is None:
        raise ModelError(
            "the file holds weights without an architecture. State `architecture`: the JSON that "
            "model.to_json() gives, or a whole saved model of the same architecture.",
            parameter="architecture",
        )
    other = Path(stated.architecture)
    if looks_like_keras(other):
        with open_keras(other) as whole:
            if whole.config is None:
                raise ModelError(f"{other} holds weights without an architecture, too.")
            return whole.config, whole.version, whole.training
    try:
        if other.stat().st_size > MAX_CONFIG_BYTES:
            raise ModelError(f"{other}: larger than {MAX_CONFIG_BYTES:,} bytes; that is no architecture.")
        data = parse_json(other.read_bytes(), str(other))
    except OSError as error:
        raise ModelError(
            f"the architecture {stated.architecture!r} cannot be read as a file: {error.strerror or error}.",
            parameter="architecture",
        ) from None
    version = data.get("keras_version") if isinstance(data, Mapping) else None
    return data, version if isinstance(version, str) else None, None


def _major(version: str | None, model: Model) -> int:
    """2 or 3; without a recorded version, the form of the config tells."""
    if version and version[0].isdigit():
        return 2 if int(version.split(".")[0]) < 3 else 3
    return 2 if any("batch_input_shape" in layer.config for layer in model.every_layer()) else 3


def _minor(version: str | None) -> tuple[int, int]:
    """Major and minor version; (0, 0) when it is not recorded."""
    numbers = (version or "").split(".")[:2]
    return (
        (int(numbers[0]), int(numbers[1])) if len(numbers) == 2 and all(map(str.isdigit, numbers)) else (0, 0)
    )


def _advised(error: ModelError) -> ModelError:
    """The refusal with its remedy."""
    text = str(error)
    if "`runtime` keras" not in text:
        text += " With TensorFlow installed, `runtime` keras runs the file as it is."
    return type(error)(text, parameter="runtime")


@dataclass(frozen=True, slots=True)
class _Beside:
    """The `InputLayer` of the vector beside the image, and its length; None where the file does not say."""

    layer: Layer
    width: int | None

    def emit(self, lowering: Lowering, width: int) -> Value:
        """The value of the input in a graph."""
        return lowering.emit(self.layer, "", "entries", [lowering.values[0]], (width,), width=width)


def _split_inputs(model: Model) -> tuple[Ref, _Beside | None]:
    """The input that takes the image, and the one beside it."""
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
    return pictures[0], _Beside(found[vectors[0].layer], shapes[vectors[0]][1])


def _shape(layer: Layer | None) -> tuple[int | None, ...]:
    if layer is None:
        return ()
    shape = layer.config.get("batch_shape", layer.config.get("batch_input_shape"))
    good = isinstance(shape, list) and all(x is None or type(x) is int for x in shape)
    return tuple(shape) if good else ()


def _input_size(model: Model, picture: Ref, size: tuple[int, int], *, any_size: bool) -> tuple[int, int]:
    """Height and width of the input: of the preprocessing, or with `any_size` of the model."""
    layer = next((x for x in model.layers if x.path[-1] == picture.layer), None)
    if layer is None or layer.kind != "InputLayer":
        raise ModelError("the model's input is no InputLayer.")
    shape = layer.config.get("batch_shape", layer.config.get("batch_input_shape"))
    if (
        shape is None
        and model.kind == "sequential"
        and len(model.layers) > 1
        and model.layers[1].model is not None
    ):
        inner = model.layers[1].model
        return _input_size(inner, _split_inputs(inner)[0], size, any_size=any_size)
    if isinstance(layer.config.get("dtype"), str) and "int" in layer.config["dtype"]:
        raise ModelError(
            f"the model takes {layer.config['dtype']} images; skinclf feeds floating-point ones."
        )
    if shape is None:
        shape = [None, None, None, 3]
    known = isinstance(shape, list) and len(shape) == 4 and all(x is None or type(x) is int for x in shape)
    if not known or shape[3] not in {3, None}:
        raise ModelError(
            f"the model takes inputs of shape {shape}; expected RGB images, [null, height, width, 3]."
        )
    own = (shape[1] or size[0], shape[2] or size[1])
    if any_size and None in shape[1:3]:
        raise ModelError(
            f"the model takes images of any size ({shape}), and nothing states the one it was trained on. State "
            "`input_size`, in pixels, such as 224 or 450x600 (height x width).",
            parameter="input_size",
        )
    if own != size and not any_size:
        raise ModelError(
            f"the model takes images of {shape[1]} x {shape[2]}, but the stated preprocessing makes "
            f"{size[0]} x {size[1]} (height x width)."
        )
    return own


def _fill(finished: Finished, variables: Variables) -> nn.Module:
    """Build the network and copy every variable into it, one at a time."""
    import torch

    from skinclf.models.architectures.graph.network import lay_out

    network = lay_out(finished.outputs, finished.graph)
    state = network.state_dict()
    open_ends = [
        key for key in state if key not in finished.sources and not key.endswith("num_batches_tracked")
    ]
    if open_ends:
        raise ModelError(f"no variable was found for {', '.join(open_ends[:5])}; please report this model.")
    with torch.no_grad():
        for key, source in finished.sources.items():
            if source.variable is None:
                state[key].fill_(source.fill)
            else:
                numbers = variables.read(source.layer, source.variable)
                state[key].copy_(torch.from_numpy(source.change(numbers)))
    return network.eval()
