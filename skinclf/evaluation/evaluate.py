"""Evaluation of predictions against reference labels: metrics with intervals, comparison, leakage checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from skinclf._utils.environment import now
from skinclf._utils.json import jsonable
from skinclf._utils.notice import NOTICE
from skinclf._version import __version__
from skinclf.decisions.threshold_file import Threshold
from skinclf.decisions.tuning_data import hashes_missing
from skinclf.errors import InvalidArgumentError, SkinclfError
from skinclf.evaluation import inputs
from skinclf.evaluation import metrics_json as sections
from skinclf.evaluation.comparison import compare_models
from skinclf.evaluation.curves import curves
from skinclf.evaluation.labelled_predictions import (
    LabelledPredictions,
    label_predictions,
    malignant_of,
)
from skinclf.evaluation.leakage import Overlap, find_overlaps, refuse
from skinclf.evaluation.metric_set import MetricSet, estimates
from skinclf.evaluation.result import Evaluation
from skinclf.evaluation.subgroups import subgroups as split_rows
from skinclf.labels import LabelSet, parse_labels
from skinclf.metrics.calibration import BINS
from skinclf.metrics.clusters import Combine
from skinclf.metrics.intervals import check_confidence
from skinclf.tables.names import fuller
from skinclf.tables.predictions import LabelTable, PredictionTable, label_set_of
from skinclf.tables.reference import LabelOptions

SCHEMA = 1
KIND = "skinclf-metrics"
#: Subgroups by default, where the labels have the column.
_SUBGROUPS = (
    ("age", "age_band"),
    ("sex", "sex"),
    ("localization", "localization"),
    ("anatom_site_general", "anatom_site_general"),
    ("dx_type", "dx_type=histo"),
)


class _Draws(TypedDict):
    count: int
    seed: int
    confidence: float


def evaluate(
    predictions: Path | str | PredictionTable,
    labels: Path | str | LabelTable,
    *,
    split: str | None = None,
    threshold: float | Path | str | Threshold | None = None,
    label_set: LabelSet | str | None = None,
    positive: Sequence[str] | None = None,
    group_by: str | None = None,
    subgroups: Sequence[str] | None = None,
    compare: Path | str | PredictionTable | None = None,
    compare_threshold: float | Path | str | Threshold | None = None,
    tuned_on: Sequence[Path | str] = (),
    allow_leakage: bool = False,
    combine: Combine | None = None,
    prevalence: float | None = None,
    confidence: float = 0.95,
    replicates: int = 2000,
    seed: int = 0,
    name: str | None = None,
    label_options: LabelOptions | None = None,
) -> Evaluation:
    """Measure predictions against reference labels.

    Args:
        predictions: A predictions table (see `skinclf.tables.predictions.read_predictions`).
        labels: A labels table or folder (see `skinclf.tables.predictions.read_labels`).
        split: Evaluate only rows whose `split` column says this; lesions shared with the other splits are
            then a leak.
        threshold: Operating point fixed beforehand: a number or a threshold file; None takes that of the run
            that made the predictions, else 0.5.
        label_set: Label set of the predictions, when their codes do not say it.
        positive: Codes that count as positive in the two-class view; None takes those of the threshold
            file, else the malignant classes.
        group_by: Column that says which images belong together; None uses the lesions, else the patients, when they
            are known.
        subgroups: Columns, or `column=value`; None shows age band, sex, site and histology as far as they
            are known.
        compare: Predictions of another model on the same images.
        compare_threshold: Threshold of the other model; None takes that of its run, else the same one.
        tuned_on: Tables of the data that trained, tuned or calibrated; sharing lesions or images is a leak.
        allow_leakage: Go on in spite of a leak, and say so in the report.
        combine: How a lesion's images combine (`max` or `mean`); None takes that of the threshold file,
            else `max`.
        prevalence: Share of positives in the population for which PPV and NPV are wanted too.
        confidence: Confidence level of all intervals, in (0, 1).
        replicates: Number of resamples of the lesion-cluster bootstrap.
        seed: Seed of the bootstrap.
        name: Name of the model in the report; None takes it from the run manifest or the file.
        label_options: Columns, names and classes of the labels table that the user states.

    Raises:
        InvalidArgumentError: Tables or options that cannot be used.
        LeakageError: Data under test were used before, and `allow_leakage` is false.
        MismatchError: The threshold was made for another model than the predictions.
    """
    check_confidence(confidence)
    if replicates < 1:
        raise InvalidArgumentError(
            f"`replicates` is at least 1; received {replicates}.", parameter="replicates"
        )
    source = inputs.open_predictions(predictions)
    threshold_used = inputs.open_threshold(threshold, source.manifest)
    inputs.refuse_other_model(threshold_used, source.model)
    known = parse_labels(label_set) if isinstance(label_set, str) else label_set or label_set_of(source.table)
    everything, tested = inputs.open_labels(labels, known, split, label_options)
    codes = positive if positive is not None else threshold_used.positive
    joined = inputs.join_split(source.table, everything, tested)
    cases = label_predictions(joined, labels=known, positive=codes, group_by=group_by)
    fullest = tuple(map(fuller, joined.predictions.ids, joined.labels.ids))
    cases = _decided(cases, threshold_used)
    overlaps = find_overlaps(
        replace(joined.labels, ids=fullest),
        everything,
        split=split,
        tuned_on=[Path(path) for path in tuned_on],
        threshold=threshold_used,
    )
    leaks = refuse(overlaps, allow=allow_leakage)
    draws: _Draws = {"count": replicates, "seed": seed, "confidence": confidence}
    model_name = name or source.name
    comparison = None
    if compare is not None:
        reference = _Reference(everything, tested, known, codes, group_by)
        comparison = _compare(
            cases, threshold_used, reference, compare, compare_threshold, name=model_name, draws=draws
        )
    file = "table" if isinstance(labels, LabelTable) else Path(labels).name
    content = {
        "schema": SCHEMA,
        "kind": KIND,
        "skinclf_version": __version__,
        "created": now(),
        "notice": NOTICE,
        "name": model_name,
        "model": source.model or threshold_used.model,
        "versions": source.manifest.get("versions"),
        "data": inputs.describe_data(joined, cases, source, file, split),
        "settings": {
            "confidence": confidence,
            "replicates": replicates,
            "seed": seed,
            "bins": BINS,
            "group_by": cases.group_by,
        },
        "threshold": _describe_threshold(threshold_used),
        **_measure(cases, threshold_used, subgroups, draws, combine=combine, prevalence=prevalence),
        "comparison": comparison,
        "leakage": _describe_leakage(overlaps, leaks, threshold_used),
    }
    checks = inputs.run_checks(content, joined, cases)
    if failed := [check["name"] for check in checks if not check["passed"]]:
        raise SkinclfError(f"The evaluation contradicts itself ({'; '.join(failed)}); please report this.")
    return Evaluation(jsonable(content | {"checks": checks}))


@dataclass(frozen=True, slots=True)
class _Reference:
    """What both models of a comparison are measured against.

    Attributes:
        everything: Labels of all splits.
        tested: Labels of the split under test.
        label_set: Label set of the model under test.
        positive: Codes that count as positive; None means malignant.
        group_by: Column that says which images belong together; None uses the lesions.
    """

    everything: LabelTable
    tested: LabelTable
    label_set: LabelSet
    positive: Sequence[str] | None
    group_by: str | None


def _compare(
    cases: LabelledPredictions,
    threshold: Threshold,
    reference: _Reference,
    predictions: Path | str | PredictionTable,
    own_threshold: float | Path | str | Threshold | None,
    *,
    name: str,
    draws: _Draws,
) -> dict[str, Any]:
    """Comparison with another model on the images that both have predicted.

    Args:
        cases: The model under test.
        threshold: Its threshold.
        reference: Labels and options that hold for both.
        predictions: Predictions of the other model.
        own_threshold: Threshold of the other model; None takes that of its run, else `threshold`.
        name: Name of the model under test.
        draws: Bootstrap of all intervals.
    """
    source = inputs.open_predictions(predictions)
    other = inputs.open_threshold(own_threshold, source.manifest)
    other = threshold if other.source == inputs.DEFAULT else other
    inputs.refuse_other_model(other, None if other is threshold else source.model)
    rows = inputs.join_split(source.table, reference.everything, reference.tested)
    # Malignant is malignant in either label set; other classes must be there by name.
    same = set(cases.positive_codes) == set(malignant_of(reference.label_set))
    other_cases = label_predictions(
        rows,
        labels=label_set_of(source.table),
        positive=None if same else reference.positive,
        group_by=reference.group_by,
    )
    return compare_models(
        cases,
        _decided(other_cases, other),
        thresholds=(threshold.value, other.value),
        names=(name, source.name),
        **draws,
    )


def _decided(cases: LabelledPredictions, threshold: Threshold) -> LabelledPredictions:
    """The predictions with the rule among classes that the threshold file or the run has."""
    rule = threshold.decision
    return cases if rule is None else replace(cases, decision=rule.in_order(cases.labels.codes))


def _measure(
    cases: LabelledPredictions,
    threshold_used: Threshold,
    wanted: Sequence[str] | None,
    draws: _Draws,
    *,
    combine: Combine | None,
    prevalence: float | None,
) -> dict[str, Any]:
    confidence, panel = draws["confidence"], MetricSet(cases, threshold_used.value)
    replicated = panel.replicates(count=draws["count"], seed=draws["seed"])
    found = estimates(panel.values(), replicated, confidence=confidence)
    if wanted is None:
        wanted = [item for column, item in _SUBGROUPS if column in cases.columns and _holds(cases, item)]
    rule: Combine = combine or threshold_used.data.get("combine") or "max"
    return {
        "multiclass": sections.multiclass(panel, found, confidence=confidence),
        "per_class": sections.per_class(panel, found, confidence=confidence),
        "binary": sections.binary(panel, found),
        "operating_point": sections.operating_point(
            cases, threshold_used.value, confidence=confidence, combine=rule, prevalence=prevalence
        ),
        "selective": sections.selective(panel, threshold_used.value, confidence=confidence),
        "subgroups": [
            sections.subgroup(cases, group, threshold_used.value, **draws)
            for group in split_rows(cases.columns, wanted)
        ],
        "errors": sections.errors(panel, threshold_used.value),
        "curves": curves(panel, **draws),
    }


def _holds(cases: LabelledPredictions, item: str) -> bool:
    """Whether some row has the value that `column=value` asks for."""
    column, equals, value = item.partition("=")
    return not equals or value in cases.columns[column]


def _describe_threshold(threshold_used: Threshold) -> dict[str, Any]:
    kept = ("name", "criterion", "target", "grade", "claimed", "claim", "unit", "date")
    tuned = threshold_used.data.get("data") or {}
    return {
        "value": float(np.float32(threshold_used.value)),
        "source": Path(threshold_used.source).name,
        "given": threshold_used.source != inputs.DEFAULT,
        **{key: threshold_used.data.get(key) for key in kept},
        "decision": threshold_used.data.get("decision"),
        "tuned_on": {key: tuned.get(key) for key in ("predictions", "labels", "images", "lesions")}
        if tuned
        else None,
    }


def _describe_leakage(
    overlaps: Sequence[Overlap], leaks: Sequence[str], threshold_used: Threshold
) -> dict[str, Any]:
    missing = hashes_missing(threshold_used.data.get("data") or {})
    return {
        "compared_with": [Path(overlap.source).name for overlap in overlaps],
        "not_compared": [Path(threshold_used.source).name] if missing else [],
        "found": list(leaks),
        "lesions": sorted({lesion for overlap in overlaps for lesion in overlap.lesions}),
        "images": sorted({image for overlap in overlaps for image in overlap.images}),
        "allowed": bool(leaks),
    }
