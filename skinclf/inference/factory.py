"""One scorer from loaded models and options: test-time augmentation, ensembles, further columns."""

from __future__ import annotations

from collections.abc import Sequence

from skinclf.errors import InvalidArgumentError
from skinclf.inference.annotations import AnnotatedScorer, Annotation, LabelSets, Referral
from skinclf.inference.combined import CombinedScorer
from skinclf.inference.conformal_sets import ConformalSets
from skinclf.inference.ensemble import EnsembleScorer
from skinclf.inference.gate.mode import GateMode
from skinclf.inference.gate.scorer import GatedScorer
from skinclf.inference.gate.store import choose_gate
from skinclf.inference.notes.dicom_ids import DicomIdsScorer
from skinclf.inference.notes.scaled_decoding import noting
from skinclf.inference.scorer import ModelScorer, Scorer
from skinclf.inference.tta import TtaScorer
from skinclf.models.combination import combined_spec
from skinclf.models.loaded import LoadedModel
from skinclf.models.recipe import Average
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
        models: Loaded models, at least one; several are averaged. A recipe stands alone.
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
    if any(model.members for model in models):
        _check_alone(models, tta=tta, weights=weights, embeddings=embeddings)
    if embeddings and (len(models) > 1 or tta != "none"):
        raise InvalidArgumentError(
            "Embeddings are those of one network on one view; leave out ensembles and `tta`.",
            parameter="tta",
        )
    if weights is not None and len(models) == 1:
        raise InvalidArgumentError("`weights` are for ensembles; one model was given.", parameter="weights")
    # The keras runtime gives no features, so a gate that was not asked for is left out there.
    mode: GateMode | None = "off" if gate is None and runtime == "keras" else gate
    stored = choose_gate(models, mode, tta=tta)
    whole = None
    if any(model.members for model in models):
        whole, models = models[0].spec, models[0].members
        assert whole.recipe is not None
        tta, average, weights = whole.recipe.tta, whole.recipe.average, whole.recipe.weights
    elif len(models) > 1 or tta != "none":
        whole = combined_spec([m.spec for m in models], tta=tta, average=average, weights=weights)
    if stored is not None:
        made = create_runtime(models[0], runtime=runtime, device=device, precision=precision, embeddings=True)
        base = ModelScorer(models[0].spec, made, embeddings=True)
        gated = GatedScorer(base, stored, refuse=gate == "refuse", marks=gate_marks, embeddings=embeddings)
        scorers: list[Scorer] = [gated]
    else:
        scorers = [_one(m, device, runtime, precision, tta, embeddings=embeddings) for m in models]
    scorer = scorers[0] if len(scorers) == 1 else EnsembleScorer(scorers, weights=weights, average=average)
    if whole is not None:
        scorer = CombinedScorer(scorer, whole)
    annotations: list[Annotation] = []
    if conformal is not None:
        conformal.check(scorer.spec)
        annotations.append(LabelSets(conformal))
    if refer_below is not None:
        annotations.append(Referral(refer_below))
    if annotations:
        scorer = AnnotatedScorer(scorer, tuple(annotations))
    scorer = noting(scorer)
    return DicomIdsScorer(scorer) if dicom_ids else scorer


def _check_alone(
    models: Sequence[LoadedModel], *, tta: str, weights: Sequence[float] | None, embeddings: bool
) -> None:
    name = next(model.spec.name for model in models if model.members)
    if len(models) > 1:
        raise InvalidArgumentError(
            f"{name} is a recipe of several models or views and cannot be a member of another combination; name its "
            "members instead.",
            parameter="model",
        )
    if tta != "none" or weights is not None:
        raise InvalidArgumentError(
            f"{name} is a recipe, which states its weights and views itself; leave out `tta` and `weights`, or make "
            "another recipe.",
            parameter="weights" if tta == "none" else "tta",
        )
    if embeddings:
        models[0].need_network()


def _one(
    model: LoadedModel, device: str, runtime: str, precision: str, tta: str, *, embeddings: bool
) -> Scorer:
    made = create_runtime(model, runtime=runtime, device=device, precision=precision, embeddings=embeddings)
    if tta == "none":
        return ModelScorer(model.spec, made, embeddings=embeddings)
    return TtaScorer(model.spec, made, tta)
