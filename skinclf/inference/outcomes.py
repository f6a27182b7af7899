"""One `Prediction` for each image of a scored batch, failed ones included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from skinclf.errors import ImageError
from skinclf.inference.engine import Batch
from skinclf.inference.gate.mode import GATE_COLUMNS
from skinclf.inference.metadata.joined import before_fusion
from skinclf.inference.prediction import Prediction
from skinclf.labels import LabelSet
from skinclf.models.class_decision import ClassDecision
from skinclf.models.precision import in_doubt


def outcomes_of(
    batch: Batch[str],
    labels: LabelSet,
    *,
    threshold: float,
    decision: ClassDecision | None = None,
    reduced: Mapping[str, Any] | None = None,
    scaled: Mapping[str, Any] | None = None,
) -> list[Prediction]:
    """Predictions of a batch whose keys are the names of its inputs.

    Args:
        batch: Scored batch; `scored` is None where every input failed.
        labels: Labels in output order.
        threshold: Threshold on the probability of malignancy.
        decision: Rule for the predicted class; None for none.
        reduced: `Scorer.info` of a reduced precision whose band is known; None where there is none.
        scaled: Bands of scaled decoding, for rows whose picture was decoded down; None where there are none. The
            column `near_threshold` is there with either.
    """

    def failed(name: str, error: ImageError | None) -> Prediction:
        if error is None:
            error = ImageError("not_finite", f"{name}: the network gave a probability that is not a number.")
        return Prediction(name, labels, None, threshold, error.code, str(error))

    scored = batch.scored
    if scored is None:
        return [failed(name, error) for name, error in zip(batch.keys, batch.errors, strict=True)]
    rows = scored.probabilities.tolist()
    finite = np.isfinite(scored.probabilities.sum(axis=1)).tolist()
    extra = {name: values.tolist() for name, values in scored.columns.items()}
    decided = [None] * len(rows) if decision is None else decision.decide(scored.probabilities).tolist()
    result = []
    for i, (name, error) in enumerate(zip(batch.keys, batch.errors, strict=True)):
        if error is not None or not finite[i]:
            result.append(failed(name, error))
            continue
        values = {key: column[i] for key, column in extra.items()}
        if scored.refusals is not None and scored.refusals[i]:
            shown = {key: values[key] for key in GATE_COLUMNS if key in values}
            refused = f"{name}: {scored.refusals[i]}"
            result.append(Prediction(name, labels, None, threshold, "gated", refused, shown))
            continue
        prediction = Prediction(
            name,
            labels,
            tuple(rows[i]),
            threshold,
            extra=values,
            decided=decided[i],
            embedding=None if scored.embeddings is None else scored.embeddings[i],
        )
        if reduced is not None or scaled is not None:
            down = scored.scaled is not None and bool(scored.scaled[i])
            effects = (reduced, scaled if down else None)
            prediction = _marked(prediction, [effect for effect in effects if effect is not None])
        result.append(prediction)
    return result


def _marked(prediction: Prediction, effects: Sequence[Mapping[str, Any]]) -> Prediction:
    p, threshold = prediction.probability_malignant, float(np.float32(prediction.threshold))
    near = None
    if p is not None:
        seen, own = before_fusion(prediction.extra, p, threshold)
        near = in_doubt(effects, seen, own, fused=own != threshold)
    return replace(prediction, extra={**prediction.extra, "near_threshold": near})
