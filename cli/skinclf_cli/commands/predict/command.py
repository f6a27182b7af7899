"""`skinclf predict`: classify images and write one row for each."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from skinclf_cli import console
from skinclf_cli.commands.predict.metadata import MetadataOptions, metadata_options
from skinclf_cli.commands.predict.model import load_predictor
from skinclf_cli.commands.predict.options import (
    DecisionOptions,
    EngineOptions,
    ExecutionOptions,
    InputOptions,
    ModelChoice,
    TableOptions,
    decision_options,
    engine_options,
    execution_options,
    input_options,
    model_choice_options,
    table_options,
)
from skinclf_cli.errors import DONE, INTERRUPTED, PARTLY_FAILED
from skinclf_cli.interrupts import resume_command, stopping
from skinclf_cli.options import hub_options, json_option, model_options
from skinclf_cli.progress import run_bar

if TYPE_CHECKING:
    from skinclf.images.discovery import Inputs
    from skinclf.inference.predictor import Predictor
    from skinclf.jobs.formats import Encoder
    from skinclf.jobs.output import Output
    from skinclf.jobs.progress import Summary
    from skinclf.models.options import HubOptions, ModelOptions

NOTICE = "For research and education; never a diagnosis."


@click.command()
@input_options
@table_options
@model_choice_options
@decision_options
@metadata_options
@model_options
@hub_options
@execution_options
@engine_options
@json_option
def predict(
    *,
    source: InputOptions,
    table: TableOptions,
    choice: ModelChoice,
    decision: DecisionOptions,
    patient: MetadataOptions,
    options: ModelOptions,
    hub: HubOptions,
    execution: ExecutionOptions,
    engine: EngineOptions,
    as_json: bool,
) -> int:
    """Classify images and write one row for each, also for unreadable ones.

    \b
    skinclf predict lesion.jpg
    skinclf predict --image-dir imgs/ --output preds.csv
    find . -name '*.jpg' | skinclf predict --from-file - -o preds.csv --resume
    """  # noqa: D301 - click's paragraph mark
    patient.check()
    inputs = source.inputs()
    if engine.engine == "ray":
        from skinclf_cli.commands.predict.ray import predict_on_cluster

        return predict_on_cluster(
            inputs,
            table=table,
            choice=choice,
            decision=decision,
            patient=patient,
            options=options,
            hub=hub,
            execution=execution,
            engine=engine,
            notice=NOTICE,
        )
    if as_json and str(table.output) == "-":
        raise click.UsageError("--json reports on stdout, where the rows go; give --output FILE.")
    target = table.target()
    if patient.metadata is not None:
        inputs = inputs.listed()
    predictor = load_predictor(
        choice,
        inputs,
        options=options,
        hub=hub,
        execution=execution,
        decision=decision,
        patient=patient,
        embeddings=table.embeddings is not None,
        dicom_ids=table.dicom_ids,
    )
    summary = _run(predictor, inputs, target, table, decision)
    if as_json:
        console.json_out({"output": str(table.output), **summary.to_dict()})
    console.message(f"{summary}. {NOTICE}")
    if not summary.complete:
        saved = f"Continue with: {resume_command()}" if target else "Rows on stdout cannot be continued."
        click.echo(f"Interrupted. {saved}", err=True)
        return INTERRUPTED
    return PARTLY_FAILED if summary.failed else DONE


def _run(
    predictor: Predictor,
    inputs: Inputs,
    target: Output | None,
    table: TableOptions,
    decision: DecisionOptions,
) -> Summary:
    from skinclf.jobs.progress import Stop
    from skinclf.jobs.run import write_predictions, write_stream

    stop = Stop()
    with stopping(stop), run_bar(inputs) as show:
        if target is None:
            return write_stream(
                predictor,
                inputs,
                _encoder(predictor, table),
                console.stdout_writer(),
                on_error=table.on_error,
                shard=table.shard,
                stop=stop,
                progress=show,
                dicom_sr=table.dicom_sr,
            )
        return write_predictions(
            predictor,
            inputs,
            target,
            on_error=table.on_error,
            shard=table.shard,
            stop=stop,
            progress=show,
            dicom_sr=table.dicom_sr,
            options={
                "threshold": decision.threshold,
                "on_error": table.on_error,
                "recursive": inputs.recursive,
                "frames": inputs.frames,
            },
        )


def _encoder(predictor: Predictor, table: TableOptions) -> Encoder:
    from skinclf.inference.schema import Schema
    from skinclf.jobs.formats import CsvFormat, JsonlFormat, TextFormat

    schema = Schema(predictor.spec.labels, table.top_k, predictor.columns)
    kind = table.format_ or ("text" if sys.stdout.isatty() else "csv")
    if kind == "text":
        return TextFormat()
    return JsonlFormat(schema) if kind == "jsonl" else CsvFormat(schema)
