"""From loaded models and wishes to one scorer: views of the image, several models, further columns."""

from __future__ import annotations

from collections.abc import Sequence

from skinclf.errors import InvalidArgumentError
from skinclf.inference.annotations import AnnotatedScorer, Annotation, LabelSets, Referral
from skinclf.inference.conformal_sets import ConformalSets
from skinclf.inference.ensemble import Average, EnsembleScorer
from skinclf.inference.scorer import ModelScorer, Scorer
from skinclf.inference.tta import TtaScorer
from skinclf.models.loaded import LoadedModel
from skinclf.runtimes.create import create_runtime


def make_scorer(
    models: Sequence[LoadedModel],
    *,
    device: str = "auto",
    runtime: str = "auto",
    precision: str = "auto",
    embeddings: bool = False,
    tta: str = "none",
    average: Average = "probability",
    weights: Sequence[float] | None = None,
    conformal: ConformalSets | None = None,
    refer_below: float | None = None,
) -> Scorer:
    """Put models on their runtime and join them.

    Args:
        models: At least one; several are averaged.
        device: See `create_runtime`.
        runtime: See `create_runtime`.
        precision: See `create_runtime`.
        embeddings: Also give what enters the last layer (one model, no test-time augmentation).
        tta: `none` or a key of `skinclf.inference.tta.VIEWS`.
        average: How several models are averaged, `probability` or `logit`.
        weights: One positive number per model.
        conformal: Adds the columns `label_set` and `label_set_size`.
        refer_below: Adds the column `referred`: the most probable class is less probable than this.

    Raises:
        InvalidArgumentError: Wishes that do not go together.
        MismatchError: The label sets were made for another model.
    """
    if embeddings and (len(models) > 1 or tta != "none"):
        raise InvalidArgumentError(
            "Embeddings are those of one network on one view; leave out ensembles and --tta."
        )
    if weights is not None and len(models) == 1:
        raise InvalidArgumentError("Weights are for ensembles; one model was given.")
    if embeddings and runtime == "auto":
        runtime = "torch"  # the one that can give them
    scorers = [_one(m, device, runtime, precision, tta, embeddings=embeddings) for m in models]
    scorer = scorers[0] if len(scorers) == 1 else EnsembleScorer(scorers, weights=weights, average=average)
    annotations: list[Annotation] = []
    if conformal is not None:
        conformal.check(scorer.spec)
        annotations.append(LabelSets(conformal))
    if refer_below is not None:
        annotations.append(Referral(refer_below))
    return AnnotatedScorer(scorer, tuple(annotations)) if annotations else scorer


def _one(
    model: LoadedModel, device: str, runtime: str, precision: str, tta: str, *, embeddings: bool
) -> Scorer:
    made = create_runtime(model, runtime=runtime, device=device, precision=precision)
    if tta == "none":
        return ModelScorer(model.spec, made, embeddings=embeddings)
    return TtaScorer(model.spec, made, tta)
