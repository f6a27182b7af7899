"""Inputs of an evaluation: tables, the run manifest beside them, and a threshold fixed beforehand."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skinclf._utils.json import read_json
from skinclf._utils.public import short_names
from skinclf.decisions.threshold_file import Threshold, read_threshold
from skinclf.errors import InvalidArgumentError, MismatchError
from skinclf.evaluation.labelled_predictions import LabelledPredictions
from skinclf.jobs.manifest import manifest_path
from skinclf.labels import LabelSet
from skinclf.models.identity import BOUND, ModelIdentity
from skinclf.tables.predictions import (
    Joined,
    LabelTable,
    PredictionTable,
    join,
    read_labels,
    read_predictions,
    stem,
)
from skinclf.tables.reference import LabelOptions

#: `Threshold.source` when none was chosen.
DEFAULT = "default"
_MODEL = ("name", "revision", "architecture", "license", *BOUND, "tta")


@dataclass(frozen=True, slots=True)
class Source:
    """A predictions table and what is known about it.

    Attributes:
        table: The rows.
        file: File name; `table` when it came from memory.
        sha256: SHA-256 of the file, or None.
        manifest: The run manifest `<file>.run.json` beside it, or empty.
    """

    table: PredictionTable
    file: str
    sha256: str | None
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The model's name, else the file's."""
        model = self.manifest.get("model")
        named = model.get("name") if isinstance(model, Mapping) else None
        return str(named or Path(self.file).stem)

    @property
    def model(self) -> dict[str, Any] | None:
        """What the manifest says about the model, without places on this machine; None without a manifest."""
        model = self.manifest.get("model")
        if not isinstance(model, Mapping):
            return None
        known = {**(self.manifest.get("identity") or {}).get("model", {}), **model}
        return {key: known[key] for key in _MODEL if key in known}


def open_predictions(source: Path | str | PredictionTable) -> Source:
    """Read predictions and the manifest of the run that made them.

    Raises:
        InvalidArgumentError: Not a predictions table.
    """
    if isinstance(source, PredictionTable):
        return Source(source, "table", None, {})
    path = Path(source)
    table = read_predictions(path)
    beside = manifest_path(path)
    manifest = read_json(beside) if beside.is_file() else {}
    return Source(table, path.name, hashlib.sha256(path.read_bytes()).hexdigest(), manifest)


def open_threshold(source: float | Path | str | Threshold | None, manifest: Mapping[str, Any]) -> Threshold:
    """A number, a threshold file, or None for that of the run that made the predictions, else 0.5.

    Raises:
        InvalidArgumentError: Neither a number between 0 and 1 nor a threshold file.
    """
    if isinstance(source, Threshold):
        return source
    if source is None:
        used = (manifest.get("identity") or {}).get("threshold")
        if used is None:
            return Threshold(0.5, DEFAULT)
        rule = manifest["identity"].get("decision")
        data = {} if rule is None else {"decision": rule}
        return Threshold(float(used), "that of the prediction run", data)
    try:
        value = float(source)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return read_threshold(Path(str(source)))
    return Threshold(value, f"{value:g}, as given")


def refuse_other_model(threshold: Threshold, ran: Mapping[str, Any] | None) -> None:
    """Refuse a threshold that names another model than the run that made the predictions, or none.

    Raises:
        MismatchError: Weights, preprocessing, label map, calibration or the combination of models and views differ, or
            the file names no model while the run does.
    """
    if ran is None:
        return
    made_for, found = ModelIdentity.from_dict(threshold.model or {}), ModelIdentity.from_dict(ran)
    if not made_for.bound:
        if "schema" in threshold.data:
            raise MismatchError(
                f"{threshold.source}: names no model, but the predictions come from {found.name}. Tune with `model`, "
                "or give the number itself if it belongs to this model.",
                parameter="threshold",
            )
        return
    if other := made_for.differences(found):
        raise MismatchError(
            f"{threshold.source}: made for {made_for.name}, but the predictions come from {found.name}: "
            f"other {', '.join(other)}. Tune a threshold on predictions of this model.",
            parameter="threshold",
        )


def open_labels(
    source: Path | str | LabelTable,
    labels: LabelSet,
    split: str | None,
    options: LabelOptions | None = None,
) -> tuple[LabelTable, LabelTable]:
    """All labels, and those of the split under test.

    Raises:
        InvalidArgumentError: No such labels or split.
    """
    if isinstance(source, LabelTable):
        if split is not None:
            raise InvalidArgumentError(
                "A split is chosen when labels are read; pass a file, or the split's rows only."
            )
        return source, source
    everything = read_labels(source, labels, options=options)
    if split is None:
        return everything, everything
    return everything, read_labels(source, labels, split=split, options=options)


def join_split(predictions: PredictionTable, everything: LabelTable, tested: LabelTable) -> Joined:
    """Join predictions with the labels under test; predictions of other splits are left out.

    Raises:
        InvalidArgumentError: As for `skinclf.tables.predictions.join`.
    """
    return join(predictions, tested, others=(*everything.ids, *everything.left_out))


def describe_data(
    joined: Joined, cases: LabelledPredictions, source: Source, labels: str, split: str | None
) -> dict[str, Any]:
    """Names, counts and exclusions, for `metrics.json`."""
    rows = sorted(
        f"{stem(name)}\t{','.join(f'{p:.7g}' for p in values)}"
        for name, values in zip(cases.ids, cases.probabilities, strict=True)
    )
    truth = Counter() if cases.truth is None else Counter(cases.truth.tolist())
    return {
        "predictions_file": source.file,
        "predictions_sha256": source.sha256,
        "labels_file": labels,
        "split": split,
        "n": len(cases),
        "lesions": cases.lesions if cases.grouped else None,
        "failed": len(joined.failed),
        "failed_images": short_names(joined.failed)[:20],
        "unmatched": len(joined.unmatched),
        "unmatched_images": short_names(joined.unmatched)[:20],
        "labels_without_prediction": len(joined.unused),
        "labels_left_out": dict(sorted(Counter(joined.labels.left_out.values()).items())),
        "fingerprint": hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16],
        **cases.labels.to_dict(),
        "support": {
            code: truth[k] if cases.truth is not None else None for k, code in enumerate(cases.labels.codes)
        },
        "note": cases.note,
    }


def run_checks(
    content: Mapping[str, Any], joined: Joined, cases: LabelledPredictions
) -> list[dict[str, Any]]:
    """Arithmetic that must hold, recounted from the labels themselves.

    Returns:
        Name, whether it holds, and the figures.
    """
    checks = []

    def check(name: str, passed: bool, detail: str) -> None:  # noqa: FBT001
        checks.append({"name": name, "passed": bool(passed), "detail": detail})

    n = len(joined)
    if content["multiclass"] is not None and cases.truth is not None:
        matrix = np.asarray(content["multiclass"]["confusion"])
        support = [row["support"] for row in content["per_class"]]
        check("the confusion matrix sums to the number of images", matrix.sum() == n, f"{matrix.sum()} = {n}")
        check(
            "its rows equal the supports",
            matrix.sum(axis=1).tolist() == support,
            ", ".join(f"{code} {count}" for code, count in zip(cases.labels.codes, support, strict=True)),
        )
        codes = joined.labels.codes
        if codes is not None and set(codes) <= set(cases.labels.codes):
            counts = Counter(codes)
            check(
                "supports equal the label counts",
                [counts[code] for code in cases.labels.codes] == support,
                f"{sum(support)} labels",
            )
    point = content["operating_point"]
    if point is not None and content["binary"] is not None:
        image = point["image"]
        cells = [image[key] for key in ("tp", "fn", "fp", "tn")]
        check(
            "the four cells sum to the number of images",
            sum(cells) == n,
            f"{' + '.join(map(str, cells))} = {n}",
        )
        positives = content["binary"]["n_positive"]
        check("positives equal the label count", cells[0] + cells[1] == positives, f"{positives} positives")
    return checks
