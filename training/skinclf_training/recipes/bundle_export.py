"""Export of a run to a bundle: calibration, predictions, golden sample and provenance."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import softmax
from torch import Tensor, nn

from skinclf._utils.files import replace_file
from skinclf._utils.notice import NOTICE
from skinclf._version import __version__
from skinclf.errors import InvalidArgumentError, MismatchError
from skinclf.images.decode import load_image
from skinclf.images.preprocess import Preprocess
from skinclf.models.architectures import build_network, load_tensors
from skinclf.models.bundle import is_bundle, read_spec, read_weights, write_bundle
from skinclf.models.probabilities import Calibration, probabilities, to_logits
from skinclf.models.spec import Golden, ModelSpec
from skinclf_training.config.read import Config, load_config
from skinclf_training.config.schema import LAST_EPOCH
from skinclf_training.data.prepare import Prepared
from skinclf_training.recipes.run_folder import BEST, CONFIG, ENVIRONMENT, chosen_on_validation
from skinclf_training.recipes.validation_metrics import validation_metrics

log = logging.getLogger("skinclf")
_BATCH = 32
_GOLDEN = "golden/sample.png"
_GOLDEN_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Result of an export.

    Attributes:
        spec: Contract of the bundle.
        figures: Validation figures of the bundle as it will be loaded.
        predictions: CSV file by part, `val` and, where it was asked for, `test`.
    """

    spec: ModelSpec
    figures: dict[str, float]
    predictions: dict[str, Path]


def read_run(run: Path, prepared: Prepared) -> tuple[Config, dict[str, Any]]:
    """Read configuration and environment of a run that has a best epoch.

    Raises:
        InvalidArgumentError: The run has no best checkpoint yet.
        MismatchError: The run was trained on another split.
    """
    checkpoint, environment = run / BEST, run / ENVIRONMENT
    if not checkpoint.is_file() or not environment.is_file():
        raise InvalidArgumentError(
            f"{run}: no {BEST}; expected the folder of a run that finished at least one epoch."
        )
    facts = json.loads(environment.read_text(encoding="utf-8"))
    if facts["split_sha256"] != prepared.hash:
        raise MismatchError(
            f"{run} was trained on split {facts['split_sha256'][:12]}; "
            f"{prepared.folder} holds {prepared.hash[:12]}."
        )
    return load_config(str(run / CONFIG)), facts


def write_calibrated(
    run: Path,
    prepared: Prepared,
    output: Path,
    spec: ModelSpec,
    tensors: Mapping[str, Tensor],
    *,
    golden_image: Path | None = None,
    test_part: bool = False,
) -> Export:
    """Write a bundle, predict with it as it will be loaded, and add calibration, golden sample and predictions.

    Predictions of the test part that an earlier bundle of the run made are removed.

    Args:
        run: Folder of the run, which receives the predictions.
        prepared: Data and split.
        output: Folder of the bundle.
        spec: Contract without temperature and golden sample.
        tensors: State dict of the network, as stored.
        golden_image: Image for the golden sample; None draws a synthetic picture.
        test_part: Whether the test part is predicted too; False leaves it unseen.
    """
    # Round trip: what is measured below is what a user will load.
    write_bundle(output, spec, tensors)
    network = load_bundle_network(output)
    val, test = prepared.rows("val"), prepared.rows("test") if test_part else np.zeros(0, np.int64)
    (run / "predictions_test.csv").unlink(missing_ok=True)
    scores = {
        part: network_scores(network, spec.preprocess, [prepared.paths[i] for i in rows])
        for part, rows in (("val", val), ("test", test))
        if len(rows)
    }
    calibration = fit_temperature(to_logits(scores["val"], spec.activation), prepared.targets[val])
    spec = spec.replace(calibration=calibration)
    golden, picture = _golden(network, spec, golden_image)
    figures = validation_metrics(
        probabilities(scores["val"], spec.activation, calibration), prepared.targets[val], prepared.labels
    )
    card = _card(spec, figures, len(val))
    spec = write_bundle(
        output, spec.replace(golden=(golden,)), tensors, card=card, golden={golden.file: picture}
    )
    predictions = {}
    for part, rows in (("val", val), ("test", test)):
        if part in scores:
            text = prediction_table(prepared, rows, probabilities(scores[part], spec.activation, calibration))
            predictions[part] = run / f"predictions_{part}.csv"
            replace_file(predictions[part], text.encode())
            if part == "val":
                replace_file(output / predictions[part].name, text.encode())
    log.info("Bundle %s: %s", output, "  ".join(f"{k} {v:.4f}" for k, v in figures.items()))
    return Export(spec=spec, figures=figures, predictions=predictions)


def half_precision(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert matrices and kernels to float16; vectors (normalisation, biases) stay float32."""
    kept = {k: v for k, v in tensors.items() if not k.endswith("num_batches_tracked")}
    return {k: v.half() if v.ndim > 1 and v.is_floating_point() else v for k, v in kept.items()}


def load_bundle_network(folder: Path) -> nn.Module:
    """Load the network of a bundle as the SDK builds it, float32, in eval mode."""
    spec = read_spec(folder)
    return load_tensors(build_network(spec), read_weights(folder, spec), name=str(folder)).eval()


def network_scores(network: nn.Module, preprocess: Preprocess, paths: list[Path]) -> npt.NDArray[np.float32]:
    """Raw scores of image files, shape (N, K), float32, through the SDK's decoding and preprocessing."""

    def batches() -> Iterator[npt.NDArray[Any]]:
        for start in range(0, len(paths), _BATCH):
            yield np.stack(
                [
                    preprocess.pixels(load_image(p, draft=preprocess.reduction))
                    for p in paths[start : start + _BATCH]
                ]
            )

    with torch.inference_mode():
        parts = [network(torch.from_numpy(preprocess.normalize(batch))).numpy() for batch in batches()]
    return np.concatenate(parts)


def fit_temperature(scores: npt.NDArray[Any], targets: npt.NDArray[np.int64]) -> Calibration:
    """Fit temperature scaling: one factor on the logits that minimises log loss (Guo et al. 2017).

    Args:
        scores: Logits, shape (N, K).
        targets: Label index, shape (N,).
    """
    from scipy.optimize import minimize_scalar

    logits, rows = np.asarray(scores, np.float64), np.arange(len(targets))

    def loss(log_scale: float) -> float:
        return float(
            -np.log(np.maximum(softmax(logits * np.exp(log_scale), axis=1)[rows, targets], 1e-300)).mean()
        )

    best = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded")
    return Calibration("temperature", (float(np.exp(best.x)),))


def prediction_table(prepared: Prepared, rows: npt.NDArray[np.int64], values: npt.NDArray[np.float32]) -> str:
    """Table of predictions as CSV, `image,lesion_id,label,p_<code>...`; numbers parse back to the same float32."""
    codes = prepared.labels.codes
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["image", "lesion_id", "label", *(f"p_{code}" for code in codes)])
    for i, row in zip(rows, values, strict=True):
        cells = [str(np.float32(p)) for p in row]
        writer.writerow([prepared.images[i], prepared.lesions[i], codes[prepared.targets[i]], *cells])
    return buffer.getvalue()


def provenance(
    run: Path, config: Config, facts: dict[str, Any], *, epoch: int, data_name: str
) -> dict[str, Any]:
    """Provenance of a model, as its bundle records it."""
    history = json.loads((run / "history.json").read_text(encoding="utf-8"))
    own = config.model.architecture.startswith("skinclf/")
    sources = {
        "torch": "ImageNet, by torchvision" if own else "timm",
        "tensorflow": "ImageNet, by keras.applications",
    }
    start: dict[str, Any] = {"init": sources[config.framework] if config.model.pretrained else "random"}
    if file := config.model.init or config.model.transplant:
        path = Path(file)
        start = {"init": path.name}
        if is_bundle(path.parent):
            earlier = read_spec(path.parent)
            start = {"init": earlier.name, "earlier_stage": dict(earlier.training)}
    return {
        "data": data_name,
        "split_sha256": facts["split_sha256"],
        "seed": config.seed,
        "epoch": epoch,
        "epochs": config.optim.epochs,
        "selected_by": "last epoch" if config.select == LAST_EPOCH else f"val_{config.select}",
        "minutes": round(sum(row["seconds"] for row in history) / 60, 1),
        "hardware": facts["cuda"] or f"{facts['machine']}, {facts['threads']} threads",
        "code": f"skinclf {__version__}",
        "versions": facts["versions"],
        **start,
        **({"teachers": without_places(list(config.distill.teachers))} if config.distill.weight else {}),
        "config": without_places(config.to_dict()),
    }


def without_places(value: Any) -> Any:
    """JSON values with the last name alone of every path that leads through a user's machine.

    Such a path is absolute, or begins with `~` or `..`; of a run's folder `bundle` the name of the run stays too. A
    path below the working folder says nothing of the machine, and names what others have under the same name.
    """
    if isinstance(value, dict):
        return {key: without_places(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_places(one) for one in value]
    if not isinstance(value, str):
        return value
    for path in (PurePosixPath(value), PureWindowsPath(value)):
        if path.is_absolute() or path.drive or path.parts[:1] in {("~",), ("..",)}:
            return "/".join(path.parts[-2:]) if path.name == "bundle" and len(path.parts) > 2 else path.name
    return value


def _golden(network: nn.Module, spec: ModelSpec, path: Path | None) -> tuple[Golden, bytes]:
    if path is None:
        from PIL import Image

        from skinclf.images.synthetic import synthetic_lesion

        buffer = io.BytesIO()
        Image.fromarray(synthetic_lesion(0, width=320, height=240)).save(buffer, "PNG")
        name, data = _GOLDEN, buffer.getvalue()
    else:
        name, data = f"golden/{path.name}", path.read_bytes()
    pixels = spec.preprocess.pixels(load_image(data))
    with torch.inference_mode():
        scores = network(torch.from_numpy(spec.preprocess.normalize(pixels[None]))).numpy()
    expected = tuple(float(p) for p in probabilities(scores, spec.activation)[0])
    return Golden(name, expected, _GOLDEN_TOLERANCE, f"torch {torch.__version__} CPU float32"), data


def _card(spec: ModelSpec, figures: dict[str, float], images: int) -> str:
    t = spec.training
    chosen = chosen_on_validation(t["config"]["select"])
    rows = "\n".join(f"| {name.replace('_', ' ')} | {value:.3f} |" for name, value in figures.items())
    return (
        f"---\nlicense: {spec.license.lower()}\nlibrary_name: skinclf\n"
        "tags: [dermoscopy, image-classification]\n---\n"
        f"# {spec.name}\n\n{NOTICE}\n\n"
        f"{spec.architecture}, {spec.preprocess.height} px, trained on {t['data']} "
        f"(split `{t['split_sha256'][:16]}`, seed {t['seed']}, start: {t['init']}; "
        f"{t['minutes']} minutes on {t['hardware']}).\n"
        f"Classes: {', '.join(f'{x.code} ({x.name})' for x in spec.labels)}.\n\n"
        f"Validation part ({images} images; it chose {chosen}: no fair test):\n\n"
        f"| | |\n|---|---|\n{rows}\n"
    )
