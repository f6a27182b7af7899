"""Two models on the same images: paired tests, and paired lesion-cluster bootstrap of every difference."""

from __future__ import annotations

from typing import Any

import numpy as np

from skinclf.errors import InvalidArgumentError
from skinclf.evaluation.labelled_predictions import LabelledPredictions
from skinclf.evaluation.metric_set import MetricSet
from skinclf.metrics.bootstrap import percentile_interval
from skinclf.metrics.estimate import Estimate
from skinclf.metrics.paired_tests import delong, mcnemar


def on_common_images(
    a: LabelledPredictions, b: LabelledPredictions
) -> tuple[LabelledPredictions, LabelledPredictions]:
    """The images that both have, in the order of the first: those of the same row of the labels.

    Raises:
        InvalidArgumentError: There is none.
    """
    place = {name: j for j, name in enumerate(b.reference_ids)}
    pairs = [(i, place[name]) for i, name in enumerate(a.reference_ids) if name in place]
    if not pairs:
        raise InvalidArgumentError("The two predictions tables have no image in common.")
    return a.take(np.asarray([i for i, _ in pairs])), b.take(np.asarray([j for _, j in pairs]))


def compare_models(
    a: LabelledPredictions,
    b: LabelledPredictions,
    *,
    thresholds: tuple[float, float],
    names: tuple[str, str],
    count: int,
    seed: int,
    confidence: float,
) -> dict[str, Any]:
    """Compare two models.

    Args:
        a: The model under test.
        b: The other, labelled by the same reference.
        thresholds: Thresholds of both models.
        names: Names of both models.
        count: Bootstrap replicates, the same draws of lesions for both.
        seed: Seed of the bootstrap.
        confidence: Confidence level of the intervals, in (0, 1).

    Returns:
        Counts, `mcnemar` (answers of all classes; flags among positives and negatives), `delong` on the
        two-class score, and `differences` of every metric that both have, first minus second.

    Raises:
        InvalidArgumentError: No image in common.
    """
    a, b = on_common_images(a, b)
    tests: dict[str, Any] = {}
    same_classes = a.labels.codes == b.labels.codes and a.truth is not None and b.truth is not None
    panels = MetricSet(a, thresholds[0]), MetricSet(b, thresholds[1])
    if same_classes:
        tests["answer"] = mcnemar(panels[0].predicted == a.truth, panels[1].predicted == b.truth).to_dict()
    area = None
    if a.positive is not None and a.score is not None and b.score is not None:
        flags = [
            c.score >= np.float32(t) for c, t in zip((a, b), thresholds, strict=True) if c.score is not None
        ]
        for name, rows, wanted in (("sensitivity", a.positive, True), ("specificity", ~a.positive, False)):
            tests[name] = mcnemar(*(flag[rows] == wanted for flag in flags)).to_dict()
        if min(a.positive.sum(), (~a.positive).sum()) >= 2:
            area = delong(a.positive, a.score, b.score, confidence=confidence).to_dict()
    return {
        "names": names,
        "thresholds": thresholds,
        "n": len(a),
        "lesions": a.lesions if a.grouped else None,
        "mcnemar": tests,
        "delong": area,
        "differences": _differences(
            panels, same_classes=same_classes, count=count, seed=seed, confidence=confidence
        ),
    }


def _differences(
    panels: tuple[MetricSet, MetricSet],
    *,
    same_classes: bool,
    count: int,
    seed: int,
    confidence: float,
) -> dict[str, Any]:
    values = [panel.values() for panel in panels]
    # The same seed and the same lesions: replicate for replicate the same draw.
    draws = [panel.replicates(count=count, seed=seed) for panel in panels]
    shared = [
        name for name in values[0] if name in values[1] and (same_classes or name.startswith("binary."))
    ]
    result = {}
    for name in shared:
        a, b = (one[name] for one in values)
        low, high = percentile_interval(draws[0][name] - draws[1][name], confidence=confidence)
        result[name] = {"a": a, "b": b, "difference": Estimate(a - b, float(low), float(high))}
    return result
