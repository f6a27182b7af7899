"""One scorer from loaded models and options: test-time augmentation, ensembles, further columns."""

from __future__ import annotations

from collections.abc import Sequence

from skinclf.errors import InvalidArgumentError
from skinclf.inference.annotations import AnnotatedScorer, Annotation, LabelSets, Referral
from skinclf.inference.conformal_sets import ConformalSets
from skinclf.inference.dicom_ids import DicomIdsScorer
from skinclf.inference.ensemble import Average, EnsembleScorer
from skinclf.inference.gate.mode import GateMode
from skinclf.inference.gate.scorer import GatedScorer
from skinclf.inference.gate.store import choose_gate
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
    dicom_ids: bool = False,
    gate: GateMode | None = None,
    gate_marks: bool = False,
) -> Scorer:
    """Put models on their runtime and join them.

    Args:
        models: Loaded models, at least one; several are averaged.
        device: Device, as for `create_runtime`.
        runtime: Runtime, as for `create_runtime`.
        precision: Precision, as for `create_runtime`.
        embeddings: Whether to return the inputs of the last layer too (one model, no test-time augmentation).
        tta: Test-time augmentation, `none` or a key of `skinclf.inference.tta.VIEWS`.
        average: Mean of several models: of `probability`, or of `logit`.
        weights: Weights of the models, one positive number each; None weighs them equally.
        conformal: Label sets that add the columns `label_set` and `label_set_size`.
        refer_below: Probability in (0, 1]; adds the column `referred`, true where the most probable class is less
            probable.
        dicom_ids: Whether to add the columns of `skinclf.images.dicom.uids.UIDS`.
        gate: Image gate, `off`, `mark` or `refuse`, of one model without test-time augmentation; None is `mark` where
            the model has a gate.
        gate_marks: Whether the gate looks for hair, rulers, bubbles and text too, which takes longer.

    Raises:
        InvalidArgumentError: The options exclude one another.
        MismatchError: The label sets or the gate were made for another model.
        ModelError: The gate's file is damaged, or the model has none and one was asked for.
    """
    if embeddings and (len(models) > 1 or tta != "none"):
        raise InvalidArgumentError(
            "Embeddings are those of one network on one view; leave out ensembles and `tta`.",
            parameter="tta",
        )
    if weights is not None and len(models) == 1:
        raise InvalidArgumentError("`weights` are for ensembles; one model was given.", parameter="weights")
    stored = choose_gate(models, gate, tta=tta)
    if stored is not None:
        made = create_runtime(models[0], runtime=runtime, device=device, precision=precision, embeddings=True)
        base = ModelScorer(models[0].spec, made, embeddings=True)
        gated = GatedScorer(base, stored, refuse=gate == "refuse", marks=gate_marks, embeddings=embeddings)
        scorers: list[Scorer] = [gated]
    else:
        scorers = [_one(m, device, runtime, precision, tta, embeddings=embeddings) for m in models]
    scorer = scorers[0] if len(scorers) == 1 else EnsembleScorer(scorers, weights=weights, average=average)
    annotations: list[Annotation] = []
    if conformal is not None:
        conformal.check(scorer.spec)
        annotations.append(LabelSets(conformal))
    if refer_below is not None:
        annotations.append(Referral(refer_below))
    if annotations:
        scorer = AnnotatedScorer(scorer, tuple(annotations))
    return DicomIdsScorer(scorer) if dicom_ids else scorer


def _one(
    model: LoadedModel, device: str, runtime: str, precision: str, tta: str, *, embeddings: bool
) -> Scorer:
    made = create_runtime(model, runtime=runtime, device=device, precision=precision, embeddings=embeddings)
    if tta == "none":
        return ModelScorer(model.spec, made, embeddings=embeddings)
    return TtaScorer(model.spec, made, tta)
