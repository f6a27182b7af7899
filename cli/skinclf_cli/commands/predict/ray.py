"""`skinclf predict --engine ray`: prediction on a Ray cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from skinclf_cli import console
from skinclf_cli.errors import DONE, PARTLY_FAILED

if TYPE_CHECKING:
    from skinclf.images.discovery import Inputs
    from skinclf.models.options import HubOptions, ModelOptions
    from skinclf_cli.commands.predict.metadata import MetadataOptions
    from skinclf_cli.commands.predict.options import (
        DecisionOptions,
        EngineOptions,
        ExecutionOptions,
        ModelChoice,
        TableOptions,
    )


def predict_on_cluster(
    inputs: Inputs,
    *,
    table: TableOptions,
    choice: ModelChoice,
    decision: DecisionOptions,
    patient: MetadataOptions,
    options: ModelOptions,
    hub: HubOptions,
    execution: ExecutionOptions,
    engine: EngineOptions,
    notice: str,
) -> int:
    """Run on a cluster and return the exit code.

    Raises:
        InvalidArgumentError: An option is not for Ray.
        MismatchError: The threshold file was made for another model.
    """
    from skinclf.inference.metadata.fused import read_terms
    from skinclf.jobs.ray import predict_with_ray
    from skinclf.jobs.ray.options import check_ray_options

    check_ray_options(
        output=table.output,
        model=choice.model,
        on_error=table.on_error,
        tta=choice.tta,
        resume=table.resume,
        retry_failed=table.retry_failed,
        shard=table.shard,
        embeddings=table.embeddings,
        format=table.format_,
        conformal=decision.conformal,
        refer_below=decision.refer_below,
        weights=choice.weights,
        frames=inputs.frames,
        dicom_ids=table.dicom_ids,
        dicom_sr=table.dicom_sr,
    )
    workers: dict[str, Any] = {"concurrency": engine.concurrency, "num_gpus": engine.num_gpus}
    terms = None if patient.metadata_terms is None else read_terms(patient.metadata_terms)
    run = predict_with_ray(
        inputs,
        table.output,
        overwrite=table.overwrite,
        quiet=console.verbosity() < 0,
        model=choice.model[0] if choice.model else None,
        threshold=_threshold(choice, decision, patient, options, hub),
        options=options,
        hub=hub,
        device=execution.device,
        runtime=execution.runtime,
        precision=execution.precision,
        gate=decision.gate,
        gate_marks=decision.gate_marks,
        top_k=table.top_k,
        batch_size=execution.batch_size,
        metadata=patient.metadata,
        metadata_terms=terms,
        **{name: value for name, value in workers.items() if value is not None},
    )
    console.message(f"{run}. {notice}")
    return PARTLY_FAILED if run.failed else DONE


def _threshold(
    choice: ModelChoice,
    decision: DecisionOptions,
    patient: MetadataOptions,
    options: ModelOptions,
    hub: HubOptions,
) -> float | None:
    """What `--threshold` says, as for a run on this machine; None takes the model's own."""
    if decision.threshold is None:
        return None
    from skinclf.decisions.threshold_file import resolve_threshold
    from skinclf.errors import InvalidArgumentError
    from skinclf.models.load import load_spec

    spec = load_spec(choice.model[0] if choice.model else None, options=options, hub=hub)
    if patient.metadata is not None and spec.encoding is None:
        from skinclf.inference.metadata.fused import fused_spec, read_terms

        own = patient.metadata_terms
        spec = fused_spec(spec, None if own is None else read_terms(own))
    threshold, notices = resolve_threshold(decision.threshold, spec, force=decision.force)
    if threshold.decision is not None:
        raise InvalidArgumentError(
            f"{decision.threshold}: decides among classes ({threshold.decision}), and prediction on Ray applies one "
            "threshold to the probability of malignancy. Leave out `engine`, or give a number.",
            parameter="threshold",
        )
    for notice in notices:
        console.message(notice)
    return threshold.value
