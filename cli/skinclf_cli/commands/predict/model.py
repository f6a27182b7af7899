"""Loading the model of `skinclf predict` with its threshold and label sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skinclf_cli import console

if TYPE_CHECKING:
    from skinclf.images.discovery import Inputs
    from skinclf.inference.predictor import Predictor
    from skinclf.models.options import HubOptions, ModelOptions
    from skinclf_cli.commands.predict.metadata import MetadataOptions
    from skinclf_cli.commands.predict.options import (
        DecisionOptions,
        ExecutionOptions,
        ModelChoice,
    )


def load_predictor(
    choice: ModelChoice,
    inputs: Inputs,
    *,
    options: ModelOptions,
    hub: HubOptions,
    execution: ExecutionOptions,
    decision: DecisionOptions,
    patient: MetadataOptions,
    embeddings: bool,
    dicom_ids: bool,
) -> Predictor:
    """Load the model with its threshold and the metadata of the images, and print what runs where."""
    from skinclf.inference.predictor import Predictor

    sets = None
    if decision.conformal is not None:
        from skinclf.decisions.held_out import label_sets

        sets = label_sets(decision.conformal, choice.model)
    predictor = Predictor(
        list(choice.model) or None,
        options=options,
        hub=hub,
        device=execution.device,
        runtime=execution.runtime,
        precision=execution.precision,
        batch_size=execution.batch_size,
        workers=execution.workers,
        processes=execution.processes,
        embeddings=embeddings,
        tta=choice.tta,
        average=choice.average,
        weights=choice.weights,
        conformal=sets,
        refer_below=decision.refer_below,
        dicom_ids=dicom_ids,
        gate=decision.gate,
        gate_marks=decision.gate_marks,
    )
    if patient.metadata is not None:
        predictor = _with_metadata(predictor, patient, inputs)
    if decision.threshold is not None:
        predictor = _with_threshold(predictor, decision.threshold, force=decision.force)
    else:
        for notice in predictor.threshold_notices:
            console.message(notice.replace("`threshold`", "--threshold"))
        # Said above; the predictor need not log it again.
        predictor = predictor.with_threshold(predictor.threshold, origin=predictor.threshold_from)
    # A rule of the model's own stands in the manifest and in `models show`.
    if predictor.decision is not None and (decision.threshold is not None or console.verbosity() > 0):
        console.message(f"The predicted class is decided by {predictor.decision}.")
    _report_runtime(predictor, automatic=execution.device == "auto")
    return predictor


def _with_metadata(predictor: Predictor, patient: MetadataOptions, inputs: Inputs) -> Predictor:
    from skinclf.inference.metadata.fused import read_terms

    terms = None if patient.metadata_terms is None else read_terms(patient.metadata_terms)
    result = predictor.with_metadata(str(patient.metadata), inputs, terms=terms)
    for notice in result.metadata.notices if result.metadata is not None else ():
        console.message(notice)
    return result


def _with_threshold(predictor: Predictor, text: str, *, force: bool) -> Predictor:
    from skinclf.decisions.threshold_file import resolve_threshold

    threshold, notices = resolve_threshold(text, predictor.spec, force=force)
    for notice in notices:
        console.message(notice)
    return predictor.with_threshold(threshold.value, decision=threshold.decision, origin=threshold.origin)


def _report_runtime(predictor: Predictor, *, automatic: bool) -> None:
    from skinclf.models.precision import describe_effect

    info = predictor.scorer.info
    device = f"{info['device']} (auto)" if automatic else info["device"]
    console.message(f"{predictor.spec.name} on {device}: {info['runtime']}, {info['precision']}")
    if info["precision"] != "fp32":
        more = "" if "band" in info else " See skinclf models precision."
        console.message(describe_effect(info) + more)
