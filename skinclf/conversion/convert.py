"""Conversion of any loadable model to a skinclf bundle."""

from __future__ import annotations

import io
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from skinclf._version import __version__
from skinclf.errors import ModelError, OutputError
from skinclf.images.decode import ImageSource, load_image
from skinclf.images.synthetic import synthetic_lesion
from skinclf.models.bundle import write_bundle
from skinclf.models.load import load_model
from skinclf.models.loaded import LoadedModel
from skinclf.models.metadata_encoding import GOLDEN_PATIENT
from skinclf.models.options import HubOptions, ModelOptions
from skinclf.models.probabilities import probabilities
from skinclf.models.spec import Golden, ModelSpec
from skinclf.runtimes.create import create_runtime

#: Largest absolute difference of a probability between frameworks, or between machines.
TOLERANCE = 1e-5
_GOLDEN = "golden/sample.png"
_SEED = 20
#: Endings of model files; a bundle of such a name would be taken for one.
_FILE_ENDINGS = frozenset(
    (".onnx", ".tflite", ".pt", ".pth", ".bin", ".safetensors", ".h5", ".hdf5", ".keras", ".xml", ".pb")
)


def convert_model(
    model: str | Path | LoadedModel | None,
    folder: Path,
    *,
    name: str | None = None,
    sample: ImageSource | None = None,
    card: str | None = None,
    options: ModelOptions = ModelOptions(),
    hub: HubOptions = HubOptions(),
) -> ModelSpec:
    """Write a model as a bundle: the same float32 tensors, and a complete configuration.

    The golden sample is computed by the framework that runs the file itself (Keras, ONNX Runtime) when that
    is installed, else by skinclf; `Golden.source` says which. The bundle is written only when skinclf agrees.
    A network that takes age, sex and site beside the image gets those of
    `skinclf.models.metadata_encoding.GOLDEN_PATIENT`.

    Args:
        model: Anything that `load_model` takes, or a loaded model.
        folder: New or empty folder.
        name: Name of the bundle; None keeps the model's.
        sample: Picture for the golden sample; None draws a synthetic lesion.
        card: Text of `README.md`.
        options: Facts that the model's files lack, as for `load_model`.
        hub: Revision, cache and token for the Hugging Face Hub.

    Returns:
        The spec as written.

    Raises:
        ModelError: The model cannot be loaded or converted, or differs from its own framework.
        OutputError: The folder is in use or cannot be written.
    """
    if folder.suffix.lower() in _FILE_ENDINGS:
        raise OutputError(
            f"{folder}: a bundle is a folder, and this is the name of a {folder.suffix} file. Name a folder; "
            "`skinclf.conversion.export_model` (on the command line `skinclf export`) writes files of other libraries."
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder}: not an empty folder; a bundle is written into a new one.")
    loaded = model if isinstance(model, LoadedModel) else load_model(model, options=options, hub=hub)
    inside = _with_network(loaded)
    spec, network = inside.spec, inside.torch_network().cpu().eval()
    pixels, picture = _sample(sample, spec)
    own = _run(LoadedModel(spec=spec, network=network), "torch", pixels)
    expected, source = _by_its_framework(loaded, pixels) or (own, _skinclf())
    difference = float(np.abs(own - expected).max())
    if not difference <= TOLERANCE:
        raise ModelError(
            f"{spec.name}: skinclf and {source} differ by {difference:.2g} on the golden sample (at most "
            f"{TOLERANCE:g} is allowed), so nothing was written. Please report this model."
        )
    golden = Golden(_GOLDEN, tuple(expected.tolist()), TOLERANCE, source)
    origin = {"source": spec.source, "revision": spec.revision, "sha256": spec.weights_sha256}
    written = spec.replace(
        name=name or spec.name,
        golden=(golden,),
        source=str(folder),
        revision=None,
        training={**spec.training, "converted_from": origin},
    )
    tensors = {key: value.clone() for key, value in network.state_dict().items()}  # a bundle shares no memory
    return write_bundle(folder, written, tensors, card=card, golden={_GOLDEN: picture})


def _with_network(loaded: LoadedModel) -> LoadedModel:
    """The model with a torch network; an ONNX file gets one only for this."""
    if loaded.has_network or loaded.spec.architecture != "onnx":
        return loaded
    from skinclf.models.formats.onnx.lower import onnx_network

    return onnx_network(loaded)


def _sample(sample: ImageSource | None, spec: ModelSpec) -> tuple[npt.NDArray[Any], bytes]:
    """Pixels (1, H, W, 3) of the golden sample, and its file: PNG, so that every decoder sees the same."""
    image = synthetic_lesion(_SEED) if sample is None else load_image(sample)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return np.stack([spec.preprocess.pixels(image)]), buffer.getvalue()


def _run(loaded: LoadedModel, runtime: str, pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    engine = create_runtime(loaded, runtime=runtime, device="cpu")
    encoding = loaded.spec.encoding
    entries = [] if encoding is None else [encoding.encode([GOLDEN_PATIENT])]
    return np.asarray(probabilities(engine.run(pixels, *entries), loaded.spec.activation)[0])


def _by_its_framework(
    loaded: LoadedModel, pixels: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.float32], str] | None:
    """Probabilities by the framework that the file was made for, when it is here."""
    if loaded.artifact is None:
        return None
    is_onnx = loaded.spec.architecture == "onnx"
    packages = ("onnxruntime",) if is_onnx else ("keras", "tensorflow")
    if not all(find_spec(package) for package in packages):
        return None
    result = _run(loaded, "onnxruntime" if is_onnx else "keras", pixels)
    return result, ", ".join(f"{package} {import_module(package).__version__}" for package in packages)


def _skinclf() -> str:
    import torch

    return f"skinclf {__version__}, torch {torch.__version__}"
