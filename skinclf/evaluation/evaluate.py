"""`evaluate`: from predictions and reference labels to metrics with intervals, and a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from skinclf._utils.environment import now
from skinclf._utils.json import jsonable, write_json
from skinclf._utils.notice import NOTICE
from skinclf._version import __version__
from skinclf.decisions.threshold_file import Threshold
from skinclf.errors import InvalidArgumentError, SkinclfError
from skinclf.evaluation import inputs
from skinclf.evaluation import metrics_json as sections
from skinclf.evaluation.cases import Cases, label_set_of, make_cases, malignant_of
from skinclf.evaluation.comparison import compare as compare_models
from skinclf.evaluation.curves import curves
from skinclf.evaluation.leakage import Overlap, find_overlaps, refuse
from skinclf.evaluation.metric_set import Panel, estimates
from skinclf.evaluation.subgroups import subgroups as split_rows
from skinclf.labels import LabelSet, parse_labels
from skinclf.metrics.calibration import BINS
from skinclf.metrics.clusters import Combine
from skinclf.metrics.intervals import check_confidence
from skinclf.tables.predictions import LabelTable, PredictionTable

SCHEMA = 1
KIND = "skinclf-metrics"
#: Subgroups that are shown when nothing is said and the labels have the column.
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


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The outcome of `evaluate`.

    Attributes:
        metrics: Content of `metrics.json`, in JSON's own types (see `docs/metrics.md`).
    """

    metrics: Mapping[str, Any]

    def write(self, folder: Path | str, *, images: Path | str | None = None) -> list[Path]:
        """Write `metrics.json`, `report.html` and `figures/*.png`.

        Args:
            folder: Made when it is not there.
            images: Folder of the images under test; the report then shows the errors as small pictures.

        Returns:
            The files written.

        Raises:
            OutputError: A file cannot be written.
        """
        from skinclf.evaluation.report import write_report

        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        path = target / "metrics.json"
        write_json(path, self.metrics)
        return [path, *write_report(self.metrics, target, images=None if images is None else Path(images))]


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
        group_by: Column that says which images belong together; None uses the lesions when they are known.
        subgroups: Columns, or `column=value`; None shows age band, sex, site and histology as far as they
            are known.
        compare: Predictions of another model on the same images.
        compare_threshold: Its threshold; None takes that of its run, else the same one.
        tuned_on: Tables of the data that trained, tuned or calibrated; sharing lesions or images is a leak.
        allow_leakage: Go on in spite of a leak, and say so in the report.
        combine: How a lesion's images combine (`max` or `mean`); None takes that of the threshold file,
            else `max`.
        prevalence: Share of positives in the population for which PPV and NPV are wanted too.
        confidence: Of all intervals.
        replicates: Of the lesion-cluster bootstrap.
        seed: Of the bootstrap.
        name: What the report calls the model; None takes it from the run manifest or the file.

    Raises:
        InvalidArgumentError: Tables or options that cannot be used.
        LeakageError: Data under test were used before, and `allow_leakage` is false.
        MismatchError: The threshold was made for another model than the predictions.
    """
    check_confidence(confidence)
    if replicates < 1:
        raise InvalidArgumentError(f"replicates is at least 1; received {replicates}.")
    source = inputs.open_predictions(predictions)
    cut = inputs.open_threshold(threshold, source.manifest)
    inputs.refuse_other_model(cut, source.model)
    known = parse_labels(label_set) if isinstance(label_set, str) else label_set or label_set_of(source.table)
    everything, tested = inputs.open_labels(labels, known, split)
    codes = positive if positive is not None else cut.positive
    joined = inputs.join_split(source.table, everything, tested)
    cases = make_cases(joined, labels=known, positive=codes, group_by=group_by)
    overlaps = find_overlaps(
        joined.labels, everything, split=split, tuned_on=[Path(path) for path in tuned_on], threshold=cut
    )
    leaks = refuse(overlaps, allow=allow_leakage)
    draws: _Draws = {"count": replicates, "seed": seed, "confidence": confidence}
    called = name or source.name
    other = None
    if compare is not None:
        rival = inputs.open_predictions(compare)
        rival_cut = inputs.open_threshold(compare_threshold, rival.manifest)
        rival_cut = cut if rival_cut.source == inputs.DEFAULT else rival_cut
        inputs.refuse_other_model(rival_cut, None if rival_cut is cut else rival.model)
        rows = inputs.join_split(rival.table, everything, tested)
        # Malignant is malignant in either label set; other classes must be there by name.
        same = set(cases.positive_codes) == set(malignant_of(known))
        rival_cases = make_cases(
            rows, labels=label_set_of(rival.table), positive=None if same else codes, group_by=group_by
        )
        other = compare_models(
            cases, rival_cases, thresholds=(cut.value, rival_cut.value), names=(called, rival.name), **draws
        )
    file = "table" if isinstance(labels, LabelTable) else Path(labels).name
    content = {
        "schema": SCHEMA,
        "kind": KIND,
        "skinclf_version": __version__,
        "created": now(),
        "notice": NOTICE,
        "name": called,
        "model": source.model or cut.model,
        "versions": source.manifest.get("versions"),
        "data": inputs.describe_data(joined, cases, source, file, split),
        "settings": {
            "confidence": confidence,
            "replicates": replicates,
            "seed": seed,
            "bins": BINS,
            "group_by": group_by or ("lesion_id" if cases.grouped else None),
        },
        "threshold": _describe_threshold(cut),
        **_measure(cases, cut, subgroups, draws, combine=combine, prevalence=prevalence),
        "comparison": other,
        "leakage": _describe_leakage(overlaps, leaks),
    }
    checks = inputs.run_checks(content, joined, cases)
    if failed := [check["name"] for check in checks if not check["passed"]]:
        raise SkinclfError(f"The evaluation contradicts itself ({'; '.join(failed)}); please report this.")
    return Evaluation(jsonable(content | {"checks": checks}))


def _measure(
    cases: Cases,
    cut: Threshold,
    wanted: Sequence[str] | None,
    draws: _Draws,
    *,
    combine: Combine | None,
    prevalence: float | None,
) -> dict[str, Any]:
    confidence, panel = draws["confidence"], Panel(cases, cut.value)
    replicated = panel.replicates(count=draws["count"], seed=draws["seed"])
    found = estimates(panel.values(), replicated, confidence=confidence)
    if wanted is None:
        wanted = [item for column, item in _SUBGROUPS if column in cases.columns and _holds(cases, item)]
    rule: Combine = combine or cut.data.get("combine") or "max"
    return {
        "multiclass": sections.multiclass(panel, found, confidence=confidence),
        "per_class": sections.per_class(panel, found, confidence=confidence),
        "binary": sections.binary(panel, found),
        "operating_point": sections.operating_point(
            cases, cut.value, confidence=confidence, combine=rule, prevalence=prevalence
        ),
        "selective": sections.selective(panel, cut.value, confidence=confidence),
        "subgroups": [
            sections.subgroup(cases, group, cut.value, **draws) for group in split_rows(cases.columns, wanted)
        ],
        "errors": sections.errors(panel, cut.value),
        "curves": curves(panel, **draws),
    }


def _holds(cases: Cases, item: str) -> bool:
    """Whether some row has the value that `column=value` asks for."""
    column, equals, value = item.partition("=")
    return not equals or value in cases.columns[column]


def _describe_threshold(cut: Threshold) -> dict[str, Any]:
    kept = ("name", "criterion", "target", "grade", "claimed", "claim", "unit", "date")
    tuned = cut.data.get("data") or {}
    return {
        "value": float(np.float32(cut.value)),
        "source": Path(cut.source).name,
        "given": cut.source != inputs.DEFAULT,
        **{key: cut.data.get(key) for key in kept},
        "tuned_on": {key: tuned.get(key) for key in ("predictions", "labels", "images", "lesions")}
        if tuned
        else None,
    }


def _describe_leakage(overlaps: Sequence[Overlap], leaks: Sequence[str]) -> dict[str, Any]:
    return {
        "compared_with": [Path(overlap.source).name for overlap in overlaps],
        "found": list(leaks),
        "lesions": sorted({lesion for overlap in overlaps for lesion in overlap.lesions}),
        "images": sorted({image for overlap in overlaps for image in overlap.images}),
        "allowed": bool(leaks),
    }
