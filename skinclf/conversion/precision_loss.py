"""Measured effect of reduced precision on probabilities and decisions; see `skinclf.models.precision`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from skinclf._utils.environment import versions
from skinclf.conversion.doubt_band import doubt_band
from skinclf.errors import InvalidArgumentError
from skinclf.inference.predictor import Predictor
from skinclf.inference.scorer import ModelScorer
from skinclf.models.loaded import LoadedModel
from skinclf.models.metadata_encoding import need_picture_alone
from skinclf.models.precision import PrecisionLoss, log_odds
from skinclf.models.spec import REDUCED, ModelSpec
from skinclf.runtimes.create import create_runtime

#: Fewer images say little about the largest change.
LEAST_IMAGES = 20
_SEED = 20


def choose_images(images: Iterable[str], limit: int | None) -> list[str]:
    """At most `limit` of the images, drawn at random but always the same ones, in their order."""
    found = list(images)
    if limit is None or len(found) <= limit:
        return found
    chosen = random.Random(_SEED).sample(range(len(found)), limit)  # noqa: S311 - no secret
    return [found[i] for i in sorted(chosen)]


def measure_precision(
    model: LoadedModel,
    images: Sequence[str],
    *,
    precision: str,
    runtime: str = "auto",
    device: str = "auto",
    progress: Callable[[int], None] | None = None,
) -> PrecisionLoss:
    """Compare a precision with float32 on the same runtime.

    Args:
        model: The model; for `int8` a bundle with a quantised network.
        images: Paths; unreadable ones are left out. They should look like those that will be predicted, and
            play no part in quantisation.
        precision: `bf16`, `fp16` or `int8`.
        runtime: Runtime, as for `create_runtime`.
        device: Device, as for `create_runtime`.
        progress: Function of the number of images done.

    Raises:
        InvalidArgumentError: The precision is not a reduced one, or there are too few readable images.
        SkinclfError: The model cannot run that way.
    """
    if precision not in REDUCED:
        raise InvalidArgumentError(
            f"Precision {precision!r}: expected one of {', '.join(REDUCED)}.", parameter="precision"
        )
    need_picture_alone(model.spec.encoding, model.spec.name, "the measurement of a reduced precision")
    reduced = create_runtime(model, runtime=runtime, device=device, precision=precision)
    exact = create_runtime(model, runtime=reduced.name, device=reduced.device, precision="fp32")
    pairs = zip(
        *(Predictor(ModelScorer(model.spec, engine)).stream(images) for engine in (exact, reduced)),
        strict=True,
    )
    before, after = [], []
    for number, (a, b) in enumerate(pairs, start=1):
        if a.values is not None and b.values is not None:
            before.append(a.values)
            after.append(b.values)
        if progress is not None:
            progress(number)
    if len(before) < LEAST_IMAGES:
        raise InvalidArgumentError(
            f"{len(before)} readable images; at least {LEAST_IMAGES} are needed to say what {precision} changes."
        )
    return _compare(model.spec, reduced.name, precision, np.asarray(before), np.asarray(after))


def _compare(spec: ModelSpec, runtime: str, precision: str, before: Any, after: Any) -> PrecisionLoss:
    largest = np.abs(after - before).max(axis=1)
    old, new = (spec.labels.malignant(p) for p in (before, after))
    changes, changed, doubt = largest, None, {}
    if old is not None and new is not None:
        # As `Prediction.probability_malignant` and `flagged`: comparison in float32.
        changes = np.abs(new.astype(np.float64) - old)
        threshold = np.float32(spec.threshold)
        changed = int(((old >= threshold) != (new >= threshold)).sum())
        found = doubt_band(log_odds(old), log_odds(new))
        near = np.abs(log_odds(new) - log_odds(threshold)) <= found.width
        doubt = {
            "band_log_odds": found.width,
            "band_share": found.share,
            "band_confidence": found.confidence,
            "marked": float(near.mean()),
        }
    return PrecisionLoss(
        runtime=runtime,
        precision=precision,
        images=len(before),
        band=float(changes.max()) if old is not None else None,
        mean_change=float(changes.mean()),
        largest_change=float(largest.max()),
        agreement=float((before.argmax(axis=1) == after.argmax(axis=1)).mean()),
        decisions_changed=changed,
        threshold=spec.threshold,
        model=spec.fingerprint,
        **doubt,
        versions={k: v for k, v in versions().items() if k in {"skinclf", runtime.partition("-")[0]}},
    )
