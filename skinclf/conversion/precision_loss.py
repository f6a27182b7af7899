"""Measured effect of reduced precision and of scaled decoding; see `skinclf.models.precision`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf._utils.environment import versions
from skinclf.conversion.doubt_band import doubt_band
from skinclf.errors import InvalidArgumentError
from skinclf.images.decode import ImageSource
from skinclf.inference.factory import make_scorer
from skinclf.inference.notes.scaled_decoding import NotedScorer
from skinclf.inference.predictor import Predictor
from skinclf.inference.scorer import ModelScorer, Scorer
from skinclf.models.loaded import LoadedModel
from skinclf.models.metadata_encoding import need_picture_alone
from skinclf.models.precision import PrecisionLoss, log_odds
from skinclf.models.spec import DECODING, REDUCED, SCALED, ModelSpec
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
    before, after = _both(
        (ModelScorer(model.spec, exact), ModelScorer(model.spec, reduced)), images, progress
    )
    if len(before) < LEAST_IMAGES:
        raise InvalidArgumentError(
            f"{len(before)} readable images; at least {LEAST_IMAGES} are needed to say what {precision} changes."
        )
    return _compare(model.spec, reduced.name, precision, before, after)


def measure_scaled_decoding(
    model: LoadedModel,
    images: Sequence[ImageSource],
    *,
    runtime: str = "auto",
    device: str = "auto",
    progress: Callable[[int], None] | None = None,
) -> PrecisionLoss:
    """Compare pictures that are decoded down with the same pictures decoded in full.

    Args:
        model: The model, or a recipe; its `Preprocess.scaled_decoding` says how far a JPEG may be decoded down.
        images: Large JPEGs, such as photographs of a camera; what is unreadable or not decoded down is left out.
        runtime: Runtime, as for `create_runtime`.
        device: Device, as for `create_runtime`.
        progress: Function of the number of images done.

    Raises:
        InvalidArgumentError: The model decodes in full, or too few images are decoded down.
        SkinclfError: The model cannot run that way.
    """
    if not model.spec.preprocess.scaled_decoding:
        raise InvalidArgumentError(
            f"{model.spec.name} decodes every picture in full: its preprocessing declares no `scaled_decoding`."
        )
    need_picture_alone(model.spec.encoding, model.spec.name, "the measurement of scaled decoding")
    full, down = (
        make_scorer([one], runtime=runtime, device=device, gate="off").bare
        for one in (_in_full(model), model)
    )
    before, after = _both((full, NotedScorer(down, {})), images, progress)
    if len(before) < LEAST_IMAGES:
        raise InvalidArgumentError(
            f"{len(before)} of {len(images)} images are decoded down for {model.spec.name}; at least {LEAST_IMAGES} "
            "are needed to say what that changes. Give JPEGs of at least four times the sides of its input."
        )
    return _compare(model.spec, DECODING, SCALED, before, after)


def _in_full(model: LoadedModel) -> LoadedModel:
    """The model with every picture decoded in full."""
    preprocess = replace(model.spec.preprocess, scaled_decoding=0)
    members = tuple(_in_full(member) for member in model.members)
    return replace(model, spec=model.spec.replace(preprocess=preprocess), members=members)


def _both(
    scorers: tuple[Scorer, Scorer], images: Sequence[ImageSource], progress: Callable[[int], None] | None
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Probabilities of two scorers, each (N, K); a second one that notes scaled decoding chooses the images."""
    one, other = (
        Predictor(scorer).batches(
            ((str(number), image) for number, image in enumerate(images)), batch_size=16
        )
        for scorer in scorers
    )
    before, after, done = [], [], 0
    for a, b in zip(one, other, strict=True):
        if a.scored is not None and b.scored is not None:
            read = [x is None and y is None for x, y in zip(a.errors, b.errors, strict=True)]
            kept = (
                np.asarray(read)
                if b.scored.scaled is None
                else np.asarray(read) & b.scored.scaled[: len(read)]
            )
            values = [scored.probabilities[: len(read)][kept] for scored in (a.scored, b.scored)]
            finite = np.isfinite(values[0].sum(axis=1) + values[1].sum(axis=1))
            before.append(values[0][finite])
            after.append(values[1][finite])
        done += len(a.keys)
        if progress is not None:
            progress(done)
    if not before:
        return np.empty((0, 1)), np.empty((0, 1))
    return np.concatenate(before), np.concatenate(after)


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
    library = "pillow" if runtime == DECODING else runtime.partition("-")[0]
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
        versions={k: v for k, v in versions().items() if k in {"skinclf", library}},
    )
