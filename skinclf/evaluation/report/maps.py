"""Maps of the most confident errors of a report: what made the model prefer its answer to the reference."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinclf.errors import ImageError, MismatchError
from skinclf.evaluation.report.pictures import data_uri

if TYPE_CHECKING:
    from skinclf.explanation.explainer import Explainer

#: Longer side of a map in pixels.
SIZE = 480
#: Largest difference between the model's probability and that of the table: of runtimes and reduced precisions, not of
#: models.
_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class ErrorMap:
    """Map of one error.

    Attributes:
        uri: Data URI of the overlay; empty where there is no map.
        words: What it shows, or why there is none.
    """

    uri: str
    words: str


def error_maps(
    metrics: Mapping[str, Any], files: Mapping[str, Path], explainer: Explainer, count: int
) -> dict[str, ErrorMap]:
    """Maps of the most confident errors, by image name.

    The target is the log-odds of the answer against the reference; where only two classes are known by the reference,
    the explainer's own.

    Args:
        metrics: Content of `metrics.json`.
        files: Image file by name; errors without one get no map.
        explainer: Explainer of the model that made the predictions.
        count: How many errors.

    Raises:
        MismatchError: The model gives another probability than the predictions hold.
    """
    found = {}
    for row in _most_confident(metrics, count):
        if row["image"] in files:
            found[row["image"]] = _map(row, files[row["image"]], explainer)
    return found


def _most_confident(metrics: Mapping[str, Any], count: int) -> list[Mapping[str, Any]]:
    errors = metrics["errors"]
    if errors["confident"]:
        return list(errors["confident"][:count])
    rows = {row["image"]: row for row in [*errors["missed"], *errors["false_alarms"]]}
    return sorted(rows.values(), key=lambda row: -row["confidence"])[:count]


def _map(row: Mapping[str, Any], file: Path, explainer: Explainer) -> ErrorMap:
    import numpy as np
    from PIL import Image

    from skinclf.explanation.overlay import legend, overlay
    from skinclf.images.decode import load_image

    answer = row["predicted"]
    target = f"{answer}-{row['truth']}" if row["truth"] else None
    try:
        prediction = explainer.predictor.predict(file)
        given = prediction.probabilities.get(answer)
        if given is None or abs(given - row["confidence"]) > _TOLERANCE:
            now = "has no such class" if given is None else f"gives {given:.3f}"
            raise MismatchError(
                f"{row['image']}: the predictions hold P({answer}) = {row['confidence']:.3f}, and "
                f"{explainer.predictor.spec.name} {now}, so its maps would belong to another model; name as `model` "
                "the one that made the predictions.",
                parameter="model",
            )
        original = load_image(file)
        found = explainer.explain(file, prediction, target=target, original=original)
    except ImageError as error:
        return ErrorMap("", f"No map: {error}")
    picture = Image.fromarray(original)
    picture.thumbnail((SIZE, SIZE), Image.Resampling.LANCZOS)
    drawn = overlay(np.asarray(picture), found, with_legend=False)
    buffer = io.BytesIO()
    Image.fromarray(drawn).save(buffer, "JPEG", quality=85)
    return ErrorMap(data_uri(buffer.getvalue(), "image/jpeg"), legend(found, found.maximum)[0])
