"""Post-training quantisation (int8) of a network by NNCF; see `skinclf.runtimes.int8`."""

from __future__ import annotations

import io
import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from skinclf._utils.files import sha256_file, writing
from skinclf.conversion.precision_loss import LEAST_IMAGES, choose_images, measure_precision
from skinclf.errors import ImageError, InvalidArgumentError, MissingExtraError, OutputError
from skinclf.images.decode import load_picture
from skinclf.models.bundle import read_spec, write_spec
from skinclf.models.loaded import LoadedModel
from skinclf.models.metadata_encoding import need_picture_alone
from skinclf.models.precision import PrecisionLoss, with_record
from skinclf.runtimes.int8 import GRAPH, KEY, NUMBERS, made_from

#: Default number of images that set the ranges (NNCF's own default).
CALIBRATION = 300


def quantize_model(
    model: LoadedModel,
    images: Sequence[str],
    folder: Path,
    *,
    calibration: int = CALIBRATION,
    progress: Callable[[str, int], None] | None = None,
) -> PrecisionLoss:
    """Write a bundle with a quantised network beside the float32 one, and with its measured loss.

    Some images, chosen at random but always the same, set the ranges; the loss is measured on all others.

    Args:
        model: The model; anything with a torch network.
        images: Paths of images like those that will be predicted.
        folder: New or empty folder for the bundle.
        calibration: Number of images that set the ranges; at most half of `images` are used.
        progress: Function of the current step (text) and the number of images it has done.

    Returns:
        What is lost, as the bundle's contract records it.

    Raises:
        InvalidArgumentError: Too few images.
        MissingExtraError: NNCF is not installed.
        ModelError: The network cannot be converted.
        OutputError: The folder is in use or cannot be written.
    """
    if len(images) < 2 * LEAST_IMAGES:
        raise InvalidArgumentError(
            f"{len(images)} images; at least {2 * LEAST_IMAGES} are needed: some to set the ranges, others to "
            "measure what is lost."
        )
    nncf = _need_nncf()
    need_picture_alone(model.spec.encoding, model.spec.name, "int8")
    chosen = choose_images(images, min(calibration, len(images) // 2))
    taken = set(chosen)
    rest = [path for path in images if path not in taken]
    bundle = _copy(model, folder)
    report = progress or (lambda _what, _done: None)
    graph, used = _quantize(nncf, bundle, chosen, lambda n: report("setting ranges", n))
    files = _save(graph, folder)
    record = {"files": files, "made_from": made_from(bundle.spec), "images": used, "nncf": nncf.__version__}
    made = replace(bundle, spec=bundle.spec.replace(precisions={KEY: {"quantized": record}}))
    loss = measure_precision(
        made,
        rest,
        precision="int8",
        runtime="openvino",
        device="cpu",
        progress=lambda n: report("measuring", n),
    )
    write_spec(folder, with_record(bundle.spec, loss, quantized=record))
    return loss


def _need_nncf() -> Any:
    from skinclf.runtimes.openvino import need_openvino, no_statistics

    need_openvino()
    try:
        with no_statistics():
            import nncf
    except ImportError:
        raise MissingExtraError("int8", "Quantisation") from None
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf


def _copy(model: LoadedModel, folder: Path) -> LoadedModel:
    """The model as a bundle in `folder`, whose contract names no quantised network yet."""
    from skinclf.conversion.convert import convert_model
    from skinclf.models.load import load_model

    if model.folder is None:
        convert_model(model, folder)
        return load_model(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder}: not an empty folder; a bundle is written into a new one.")
    with writing(folder):
        shutil.copytree(model.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("int8"))
    spec = read_spec(folder)
    write_spec(folder, spec.replace(precisions={k: v for k, v in spec.precisions.items() if k != KEY}))
    return load_model(folder)


def _quantize(
    nncf: Any, model: LoadedModel, images: Sequence[str], report: Callable[[int], None]
) -> tuple[Any, int]:
    """The quantised graph, and the number of images that could be read for it."""
    import openvino as ov

    from skinclf.runtimes.openvino import network_graph

    preprocess, pixels = model.spec.preprocess, []
    for number, path in enumerate(images, start=1):
        try:
            pixels.append(preprocess.pixels(load_picture(path, draft=preprocess.reduction))[None])
        except ImageError:
            continue
        report(number)
    if not pixels:
        raise InvalidArgumentError("None of the images that would set the ranges can be read.")
    with redirect_stdout(io.StringIO()):  # NNCF draws progress bars there
        graph = nncf.quantize(
            network_graph(ov.Core(), model),
            nncf.Dataset(pixels),
            preset=nncf.QuantizationPreset.MIXED,  # activations such as SiLU are not symmetric
            subset_size=len(pixels),
        )
    return graph, len(pixels)


def _save(graph: Any, folder: Path) -> dict[str, str]:
    """Write the graph, and return the SHA-256 of each file."""
    import openvino as ov

    with writing(folder / GRAPH):
        (folder / GRAPH).parent.mkdir(exist_ok=True)
        try:
            ov.save_model(graph, folder / GRAPH, compress_to_fp16=False)
        except RuntimeError as error:  # OpenVINO's error for a full disk
            raise OSError(error) from None
    return {name: sha256_file(folder / name) for name in (GRAPH, NUMBERS)}
