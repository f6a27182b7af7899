"""`skinclf predict --engine ray`: prediction on a Ray cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from skinclf_cli import console
from skinclf_cli.errors import DONE, PARTLY_FAILED

if TYPE_CHECKING:
    from skinclf.images.discovery import Inputs
    from skinclf.models.options import HubOptions, ModelOptions
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
    options: ModelOptions,
    hub: HubOptions,
    execution: ExecutionOptions,
    engine: EngineOptions,
    notice: str,
) -> int:
    """Run on a cluster and return the exit code.

    Raises:
        InvalidArgumentError: An option is not for Ray.
    """
    from skinclf.jobs.ray import predict_with_ray
    from skinclf.jobs.ray.options import check_ray_options

    threshold = check_ray_options(
        output=table.output,
        model=choice.model,
        threshold=decision.threshold,
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
    )
    workers: dict[str, Any] = {"concurrency": engine.concurrency, "num_gpus": engine.num_gpus}
    run = predict_with_ray(
        inputs,
        table.output,
        overwrite=table.overwrite,
        quiet=console.verbosity() < 0,
        model=choice.model[0] if choice.model else None,
        threshold=threshold,
        options=options,
        hub=hub,
        device=execution.device,
        runtime=execution.runtime,
        precision=execution.precision,
        gate=decision.gate,
        top_k=table.top_k,
        batch_size=execution.batch_size,
        **{name: value for name, value in workers.items() if value is not None},
    )
    console.message(f"{run}. {notice}")
    return PARTLY_FAILED if run.failed else DONE
