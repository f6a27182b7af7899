"""Export of any loadable model to the file of another library, checked by that library before it is published."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skinclf._utils.arrays import Float32
from skinclf._utils.files import sha256_file, writing
from skinclf._version import __version__
from skinclf.conversion.convert import TOLERANCE
from skinclf.conversion.export_formats import FORMATS, WEIGHTS_ONLY, Exporter, exporter
from skinclf.errors import InvalidArgumentError, ModelError, OutputError
from skinclf.images.decode import ImageSource, load_image
from skinclf.images.synthetic import synthetic_lesion
from skinclf.models.load import load_model
from skinclf.models.loaded import LoadedModel
from skinclf.models.metadata_encoding import need_picture_alone
from skinclf.models.options import HubOptions, ModelOptions
from skinclf.models.probabilities import probabilities
from skinclf.models.spec import ModelSpec
from skinclf.runtimes.create import create_runtime

#: Facts inside a folder that is exported; beside a file `X.onnx` they are `X.json`.
FACTS = "skinclf.json"
_SEEDS = (20, 21, 22)


@dataclass(frozen=True, slots=True)
class Exported:
    """An exported model.

    Attributes:
        path: File or folder of the model.
        facts: JSON file with labels, preprocessing and what was checked.
        format: Name of the format.
        difference: Largest difference of a probability from the model's own, over the images of the check.
        images: Number of images of the check.
        by: Library and version that ran the exported model.
    """

    path: Path
    facts: Path
    format: str
    difference: float
    images: int
    by: str

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {**asdict(self), "path": str(self.path), "facts": str(self.facts)}


def export_model(
    model: str | Path | LoadedModel | None,
    path: Path,
    *,
    format: str,  # noqa: A002 - the word for it
    samples: tuple[ImageSource, ...] = (),
    options: ModelOptions = ModelOptions(),
    hub: HubOptions = HubOptions(),
) -> Exported:
    """Write a model for another library, with its labels and preprocessing in a JSON file beside it.

    Except for `safetensors`, which holds the weights alone, the network takes RGB pixels 0 to 255, float32, shape
    (N, height, width, 3), after the resize, and gives the calibrated probabilities, shape (N, labels). It is run by
    the format's own library on the model's golden samples and on synthetic images, and published only when the
    probabilities are the model's own.

    Args:
        model: Anything that `load_model` takes, or a loaded model.
        path: New file with the format's ending, or for `saved-model` a new folder.
        format: One of `skinclf.conversion.export_formats.FORMATS`.
        samples: Further images for the check.
        options: Facts that the model's files lack, as for `load_model`.
        hub: Revision, cache and token for the Hugging Face Hub.

    Raises:
        InvalidArgumentError: The format is unknown, or `path` has another ending.
        MissingExtraError: The library of the format is not installed.
        ModelError: The model cannot be exported, or the exported one gives other probabilities.
        OutputError: `path` exists or cannot be written.
    """
    kind = _kind(format, path)
    loaded = _with_network(
        model if isinstance(model, LoadedModel) else load_model(model, options=options, hub=hub)
    )
    need_picture_alone(loaded.spec.encoding, loaded.spec.name, "export to other libraries")
    exports = exporter(format)
    pixels = _pixels(loaded, samples)
    expected = _expected(loaded, pixels)
    facts = path / FACTS if kind == "" else path.with_suffix(".json")
    for taken in (path, facts):
        if taken.exists():
            raise OutputError(f"{taken} exists already; name another file, or remove it.")
    with _beside(path) as folder:
        made = folder / path.name
        _write(exports, loaded, made, path)
        found = exports.run(loaded, made, pixels)
        difference = float(np.abs(found.astype(np.float64) - expected).max())
        if not difference <= TOLERANCE:
            raise ModelError(
                f"{loaded.spec.name}: {exports.by()} gives probabilities that differ by {difference:.2g} from the "
                f"model's own (at most {TOLERANCE:g} is allowed), so nothing was written. Please report this model."
            )
        result = Exported(path, facts, format, difference, len(pixels), exports.by())
        text = json.dumps(_facts(loaded.spec, result, made), indent=2) + "\n"
        with writing(path):
            (made / FACTS if kind == "" else made.with_suffix(".json")).write_text(text, encoding="utf-8")
            _publish(folder, path)
    return result


def _kind(format_: str, path: Path) -> str:
    """The ending of a format's files; empty for a folder."""
    if format_ not in FORMATS:
        raise InvalidArgumentError(
            f"`format` {format_!r}: expected one of {', '.join(FORMATS)}.", parameter="format"
        )
    ending = FORMATS[format_]
    if path.suffix.lower() != ending:
        wanted = f"a file that ends in {ending}" if ending else "a folder, a name without an ending"
        raise InvalidArgumentError(f"`output` {path}: the format {format_} is {wanted}.", parameter="output")
    return ending


def _with_network(loaded: LoadedModel) -> LoadedModel:
    loaded.need_network()
    if loaded.has_network:
        return loaded
    if loaded.spec.architecture != "onnx":
        raise ModelError(
            f"{loaded.spec.name}: skinclf has no network of this file to export; only Keras itself can run it."
        )
    from skinclf.models.formats.onnx.lower import onnx_network

    return onnx_network(loaded)


def _pixels(loaded: LoadedModel, samples: tuple[ImageSource, ...]) -> Float32:
    """Golden samples, further images and synthetic ones, as the exported network takes them."""
    spec = loaded.spec
    golden = [] if loaded.folder is None else [load_image(loaded.folder / x.file) for x in spec.golden]
    images = [*golden, *(load_image(x) for x in samples), *(synthetic_lesion(seed) for seed in _SEEDS)]
    return np.stack([spec.preprocess.pixels(image) for image in images]).astype(np.float32)


def _expected(loaded: LoadedModel, pixels: Float32) -> Float32:
    """Probabilities of the model itself; its golden samples must come out as recorded."""
    spec = loaded.spec
    raw = create_runtime(loaded, runtime="torch", device="cpu").run(pixels)
    for golden, found in zip(
        spec.golden if loaded.folder else (), probabilities(raw, spec.activation), strict=False
    ):
        if not np.abs(found - np.asarray(golden.probabilities, np.float32)).max() <= golden.tolerance:
            raise ModelError(f"{spec.name}: its golden sample {golden.file} does not come out as recorded.")
    return probabilities(raw, spec.activation, spec.calibration)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A temporary folder in the folder of `path`, so that what is made there can be moved into place."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(exports: Exporter, loaded: LoadedModel, made: Path, path: Path) -> None:
    free = shutil.disk_usage(made.parent).free
    try:
        with writing(path):
            exports.write(loaded, made)
    except (ModelError, OutputError):
        raise
    except Exception as error:
        # The libraries report a full disk as errors of their own.
        if shutil.disk_usage(made.parent).free < 1 << 20:
            raise OutputError(
                f"{path}: cannot be written: the disk is full ({free:,} bytes were free)."
            ) from None
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{loaded.spec.name}: {exports.by()} cannot export this network ({type(error).__name__}: {reason})."
        ) from None


def _publish(folder: Path, path: Path) -> None:
    """Move everything into place, the model's own file last."""
    for made in sorted(folder.iterdir(), key=lambda x: x.name == path.name):
        made.rename(path.with_name(made.name))


def _facts(spec: ModelSpec, result: Exported, made: Path) -> dict[str, Any]:
    """What is needed to use the file: input, output, labels, preprocessing; and what was checked."""
    weights_only = result.format in WEIGHTS_ONLY
    own = spec.preprocess.to_dict()
    inside = {"color": "rgb", "scale": 1.0, "mean": [0.0] * 3, "std": [1.0] * 3}
    size = [spec.preprocess.height, spec.preprocess.width]
    config = spec.to_config()
    return {
        "format": result.format,
        "name": spec.name,
        "input": {
            "shape": ["N", 3, *size] if weights_only else ["N", *size, 3],
            "dtype": "float32",
            "content": "scaled as `preprocess` says"
            if weights_only
            else "RGB pixels, 0 to 255, after the resize",
        },
        "output": {
            "shape": ["N", spec.num_outputs if weights_only else len(spec.labels)],
            "content": f"raw scores for the activation {spec.activation}"
            if weights_only
            else "probabilities",
        },
        **spec.labels.to_dict(),
        "preprocess": own if weights_only else own | inside,
        "threshold": spec.threshold,
        "calibration": spec.calibration.to_dict() if spec.calibration else None,
        **({k: config[k] for k in ("architecture", "model_args")} if weights_only else {}),
        "license": spec.license,
        "made_from": spec.fingerprint,
        "sha256": sha256_file(made) if made.is_file() else None,
        "checked": {
            "by": result.by,
            "images": result.images,
            "largest_difference": result.difference,
            "tolerance": TOLERANCE,
        },
        "skinclf": __version__,
    }
