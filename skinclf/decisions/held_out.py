"""Held-out predictions with reference labels, and the model that made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skinclf._utils.json import read_json
from skinclf.errors import InvalidArgumentError, MismatchError
from skinclf.inference.conformal_sets import ConformalSets
from skinclf.inference.metadata.fused import fused_spec
from skinclf.jobs.manifest import manifest_path
from skinclf.labels import LabelSet
from skinclf.models.bundle import is_bundle, read_spec
from skinclf.models.identity import BOUND, ModelIdentity
from skinclf.models.spec import ModelSpec
from skinclf.tables.diagnosis_names import map_classes
from skinclf.tables.predictions import (
    Joined,
    join,
    label_set_of,
    malignant_codes,
    read_labels,
    read_predictions,
)
from skinclf.tables.reference import LESION_NAMES, LabelOptions, groups_of

#: Held-out predictions that travel with a model: `image,lesion_id,label,p_<code>...`, calibrated as `predict`
#: would print them.
PREDICTIONS = "predictions_val.csv"
_DEVATREYA_PREDICTIONS = "val_probs.npz"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutPredictions:
    """Labelled predictions.

    Attributes:
        joined: Predictions with their labels.
        spec: The model's contract, or None when the model is unknown.
        model: Name and fingerprint of the model, from its contract or the run's manifest; None when unknown.
        folder: The model's folder on this machine, or None.
        predictions: The table's file.
        labels: The labels' file; the same when the predictions carry them.
    """

    joined: Joined
    spec: ModelSpec | None
    model: Mapping[str, Any] | None
    folder: Path | None
    predictions: Path
    labels: Path

    @property
    def label_set(self) -> LabelSet | None:
        """The model's labels, when the model is known."""
        return self.spec.labels if self.spec else None

    @property
    def classes(self) -> LabelSet:
        """The model's labels, else those that the columns of the predictions name."""
        return self.label_set or label_set_of(self.joined.predictions)

    @property
    def class_codes(self) -> tuple[str, ...] | None:
        """Class of each row among the model's, by a declared crosswalk where the reference has others.

        None when the reference says 0 or 1 only.
        """
        codes = self.joined.labels.codes
        if codes is None:
            return None
        mapped = map_classes(codes, self.classes).codes
        return tuple(mapped[code] for code in codes)

    def positive_codes(self, positive: Sequence[str] | None = None) -> tuple[str, ...] | None:
        """The codes that count as positive, in column order; None when the table has P(malignant) only."""
        codes = self.joined.predictions.codes
        if codes is None:
            return None if positive is None else tuple(positive)
        wanted = malignant_codes(codes, self.label_set) if positive is None else positive
        return tuple(code for code in codes if code in wanted)

    def groups(self, column: str | None = None) -> tuple[str, ...] | None:
        """The lesion, else the patient, of each row, or another column's value; None when both are unknown.

        Raises:
            InvalidArgumentError: There is no such column.
        """
        table = self.joined.labels
        by_lesion = (
            table.lesion_id is not None and (table.group_column or column or "").lower() in LESION_NAMES
        )
        if column is None or (column == "lesion_id" and by_lesion):
            return table.lesion_id
        if column not in table.columns:
            raise InvalidArgumentError(
                f"{self.labels}: no column {column!r}; found {', '.join(table.columns)}.",
                parameter="group_by",
            )
        return groups_of(table.columns[column], table.ids)


def read_held_out(
    *,
    predictions: Path | None = None,
    labels: Path | None = None,
    run_dir: Path | None = None,
    model: str | None = None,
    spec: ModelSpec | None = None,
    split: str | None = None,
    max_unmatched: float = 0.05,
    label_options: LabelOptions | None = None,
) -> HeldOutPredictions:
    """Read labelled predictions: a table, those of a run's folder, or those that travel with a model.

    Args:
        predictions: Predictions table; its run manifest beside it names the model.
        labels: Labels table or folder; None when the predictions carry the labels.
        run_dir: Folder with `predictions_val.csv` or devatreya's `val_probs.npz`.
        model: The model that made the predictions. With neither `predictions` nor `run_dir` its own are
            used, and None means the built-in model.
        spec: Contract of what made the predictions, in place of `model`, such as that of several models
            (`skinclf.models.combination.combined_spec`).
        split: Only labels of this split.
        max_unmatched: Largest tolerated share of predictions without a label.
        label_options: Columns, names and classes of the labels table that the user states.

    Raises:
        InvalidArgumentError: No such files, or they do not fit together.
        MismatchError: The manifest names another model.
        ModelError: The model cannot be found.
    """
    if predictions is not None and run_dir is not None:
        raise InvalidArgumentError(
            "State either `predictions` or `run_dir`, not both.", parameter="predictions"
        )
    folder = None
    if predictions is None and run_dir is None:
        if spec is not None:
            raise InvalidArgumentError(
                f"No held-out predictions travel with {spec.name}; predict labelled images, then give `predictions` "
                "and `labels`.",
                parameter="predictions",
            )
        spec, folder = _model_folder(model)
        predictions = folder / PREDICTIONS
        if not predictions.is_file():
            raise InvalidArgumentError(
                f"{spec.name} comes without held-out predictions ({PREDICTIONS}). Predict labelled images, "
                "then give `predictions` and `labels`.",
                parameter="predictions",
            )
    elif model is not None:
        from skinclf.models.load import load_spec

        spec = load_spec(model)
    if predictions is None:
        predictions = _of_run(run_dir or Path())
        if spec is None and run_dir is not None and is_bundle(run_dir):
            spec, folder = read_spec(run_dir), run_dir
    made_by = _manifest_model(predictions)
    if spec is not None:
        if (made_by or {}).get("metadata") and spec.metadata is not None:
            spec = fused_spec(spec)  # these predictions were made with age, sex and site
        _refuse_other_model(made_by, spec, predictions)
    source = labels or predictions
    predicted = read_predictions(predictions)
    label_set = spec.labels if spec else label_set_of(predicted)
    try:
        table = read_labels(source, label_set, split=split, options=label_options)
    except InvalidArgumentError as error:
        if labels is None:
            raise InvalidArgumentError(
                f"{error} The labels of these predictions are needed: `labels`.",
                parameter="labels",
            ) from None
        raise
    return HeldOutPredictions(
        joined=join(predicted, table, max_unmatched=max_unmatched),
        spec=spec,
        model=made_by or (spec.identity.to_dict() if spec else None),
        folder=folder,
        predictions=predictions,
        labels=source,
    )


def _model_folder(model: str | None) -> tuple[ModelSpec, Path]:
    from skinclf.models.load import load_model

    loaded = load_model(model)
    if loaded.folder is None:
        raise InvalidArgumentError(
            f"{loaded.spec.name} is no bundle and comes without held-out predictions; give `predictions` and "
            "`labels`.",
            parameter="predictions",
        )
    return loaded.spec, loaded.folder


def _of_run(folder: Path) -> Path:
    for name in (PREDICTIONS, _DEVATREYA_PREDICTIONS):
        if (folder / name).is_file():
            return folder / name
    raise InvalidArgumentError(
        f"{folder}: expected {PREDICTIONS} or {_DEVATREYA_PREDICTIONS} in this folder."
    )


def _manifest_model(predictions: Path) -> Mapping[str, Any] | None:
    """What the run manifest beside a predictions table says about the model; None when unknown."""
    beside = manifest_path(predictions)
    if not beside.is_file():
        return None
    manifest = read_json(beside)
    model, made_by = manifest.get("model"), (manifest.get("identity") or {}).get("model")
    if not isinstance(model, Mapping):
        return None
    made_by = made_by if isinstance(made_by, Mapping) else {}
    # A combination has one hash for all that its members are; what else it lists by member is left out.
    known = {**{key: model[key] for key in BOUND if key in model}, **made_by}
    if not known:
        return None
    # Of one model with views, earlier versions recorded the views and no recipe.
    keys = BOUND if "recipe" in known else (*BOUND, "tta")
    own = {key: known[key] for key in keys if key in known}
    return {"name": model.get("name"), "revision": model.get("revision"), **own}


def _refuse_other_model(made_by: Mapping[str, Any] | None, spec: ModelSpec, predictions: Path) -> None:
    found = ModelIdentity.from_dict(made_by or {})
    if other := found.differences(spec.identity):
        raise MismatchError(
            f"{predictions}: made by {found.name}, not by {spec.name}: other {', '.join(other)}. "
            "Give the `model` that made them.",
            parameter="model",
        )


def label_sets(conformal: str, models: Sequence[str]) -> ConformalSets:
    """Label sets from a file, or fitted at a rate on the predictions that travel with the model.

    Args:
        conformal: Path of a file of label sets, or a coverage such as `0.9`.
        models: Names of the models; a coverage needs at most one.

    Raises:
        InvalidArgumentError: `conformal` is neither a file nor a coverage, or a coverage is given for several models.
    """
    from skinclf.decisions.conformal import fit_conformal, read_conformal

    try:
        coverage = float(conformal)
    except ValueError:
        return read_conformal(Path(conformal))
    if len(models) > 1:
        raise InvalidArgumentError(
            "No held-out predictions travel with an ensemble; give a file of label sets as `conformal`.",
            parameter="conformal",
        )
    held_out = read_held_out(model=models[0] if models else None)
    table, codes, spec = held_out.joined.predictions, held_out.class_codes, held_out.spec
    if table.codes is None or table.probabilities is None or codes is None or spec is None:
        raise InvalidArgumentError(
            "The model's held-out predictions have no class codes to fit label sets on.",
            parameter="conformal",
        )
    values = table.in_order(spec.labels)
    return fit_conformal(codes, values, spec.labels, coverage=coverage, model=spec.fingerprint)
