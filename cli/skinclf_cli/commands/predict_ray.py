"""`skinclf predict --engine ray`: the same on a Ray cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from skinclf_cli import console
from skinclf_cli.errors import DONE, PARTLY_FAILED

if TYPE_CHECKING:
    from skinclf.images.discovery import Inputs
    from skinclf.models.options import HubOptions, ModelOptions
    from skinclf_cli.commands.predict_options import (
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
        UsageError: An option is not for Ray.
    """
    from skinclf.jobs.ray import predict_with_ray

    _refuse_local(table, choice, decision)
    if str(table.output) == "-":
        raise click.UsageError("--engine ray writes a folder of Parquet files; give --output FOLDER.")
    try:
        threshold = None if decision.threshold is None else float(decision.threshold)
    except ValueError:
        raise click.UsageError("--engine ray takes --threshold as a number.") from None
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
        top_k=table.top_k,
        batch_size=execution.batch_size,
        **{name: value for name, value in workers.items() if value is not None},
    )
    console.message(f"{run}. {notice}")
    return PARTLY_FAILED if run.failed else DONE


def _refuse_local(table: TableOptions, choice: ModelChoice, decision: DecisionOptions) -> None:
    given = {
        "resume": table.resume,
        "retry-failed": table.retry_failed,
        "shard": table.shard,
        "embeddings": table.embeddings,
        "format": table.format_,
        "conformal": decision.conformal,
        "refer-below": decision.refer_below,
        "weights": choice.weights,
        "on-error": table.on_error == "fail",
        "tta": choice.tta != "none",
        "model (more than one)": len(choice.model) > 1,
    }
    local = [f"--{name}" for name, value in given.items() if value]
    if local:
        raise click.UsageError(f"--engine ray runs one plain model; leave out {', '.join(local)}.")
