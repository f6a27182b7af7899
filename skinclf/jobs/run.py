"""Prediction over files into a table on disk that can be resumed after a kill, a full disk or a lost folder.

Rows are appended batch by batch, in input order. To resume, the table's own complete rows are read back and
compared with the inputs, and the rest is computed; nothing else records progress.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinclf._utils.append_files import AppendFile, NpyFile
from skinclf._utils.environment import versions
from skinclf._utils.notice import NOTICE
from skinclf.errors import MismatchError, OutputError
from skinclf.inference.prediction import Prediction
from skinclf.inference.schema import Schema
from skinclf.jobs.formats import Encoder, Format
from skinclf.jobs.job import Job, OnError, Progress, encode
from skinclf.jobs.manifest import check_identity, read_manifest, write_manifest
from skinclf.jobs.output import Output
from skinclf.jobs.progress import Stop, Summary
from skinclf.jobs.resume import keep_rows, retry_rows
from skinclf.jobs.shards import Shard

if TYPE_CHECKING:
    from skinclf.inference.predictor import Predictor


def write_predictions(
    predictor: Predictor,
    inputs: Iterable[str | os.PathLike[str]],
    output: Output | str | os.PathLike[str],
    *,
    on_error: OnError = "record",
    shard: Shard | None = None,
    stop: Stop | None = None,
    progress: Progress | None = None,
    options: Mapping[str, Any] | None = None,
    dicom_sr: str | os.PathLike[str] | None = None,
) -> Summary:
    """Classify files into a table on disk, with a manifest beside it.

    Args:
        predictor: Predictor that classifies the inputs.
        inputs: Paths, such as `skinclf.images.discovery.Inputs`; found lazily.
        output: Path of the table, or `Output` with its options.
        on_error: `record` writes a row with the failure; `fail` stops at the first one.
        shard: Part of the inputs to handle; None for all.
        stop: Request to end the run after the batches in progress.
        progress: Function called with the `Summary` after every batch.
        options: Further entries of the manifest, in JSON types.
        dicom_sr: Folder for a DICOM structured report of each predicted DICOM file, see
            `skinclf.jobs.structured_report`; None writes none.

    Returns:
        Counts and times; `complete` is False only when the run was stopped.

    Raises:
        InvalidArgumentError: The output exists and neither `resume` nor `overwrite` is set.
        MismatchError: The table to resume was made by another run, or from other inputs.
        OutputError: The output cannot be written.
        ImageError: An input failed, with `on_error="fail"`.
        SkinclfError: The input folder is gone, or the runtime fails.
    """
    output = output if isinstance(output, Output) else Output(path=Path(output))
    output.check()
    schema = Schema(predictor.spec.labels, output.top_k, predictor.columns)
    job = Job(
        predictor,
        inputs,
        on_error=on_error,
        shard=shard,
        stop=stop,
        progress=progress,
        dicom_sr=dicom_sr,
    )
    old = _old_manifest(output)
    if old is not None and predictor.batch_size is None:
        job.batch_size = int(old["identity"]["batch_size"])
    manifest = {**_manifest(job, output, schema), "options": dict(options or {})}
    if old is not None:
        check_identity(old["identity"], manifest["identity"], what=str(output.path))
        if output.kind == "parquet" and not output.journal.exists() and output.path.exists():
            return _finished_parquet(job, output, old)
    with closing(AppendFile(output.journal)) as journal:
        if not output.resume:
            journal.truncate(0)
        write_manifest(output.manifest, {**manifest, **job.report(complete=False)})
        try:
            _append(job, output, output.rows(schema), journal)
            journal.close()
            if not job.stopped:
                output.finish(schema.columns)
        except BaseException:
            with suppress(OutputError):
                write_manifest(output.manifest, {**manifest, **job.report(complete=False)})
            raise
    write_manifest(output.manifest, {**manifest, **job.report(complete=not job.stopped)})
    if not job.stopped:
        output.remove_temporary_files()
    return job.summary


def write_stream(
    predictor: Predictor,
    inputs: Iterable[str | os.PathLike[str]],
    rows: Encoder,
    write: Callable[[bytes], object],
    *,
    on_error: OnError = "record",
    shard: Shard | None = None,
    stop: Stop | None = None,
    progress: Progress | None = None,
    dicom_sr: str | os.PathLike[str] | None = None,
) -> Summary:
    """Classify files into a stream, such as stdout; arguments and errors are those of `write_predictions`."""
    job = Job(
        predictor,
        inputs,
        on_error=on_error,
        shard=shard,
        stop=stop,
        progress=progress,
        dicom_sr=dicom_sr,
    )
    write(rows.header())
    for outcomes in job.compute((name, None) for name in job.names()):
        with job.counting(outcomes):
            write(encode(outcomes, rows))
    job.report(complete=not job.stopped)
    return job.summary


def _append(job: Job, output: Output, rows: Format, journal: AppendFile) -> None:
    """Append the rows that a table lacks."""
    names, done, vectors = job.names(), 0, None
    if output.resume and journal.size:
        retry = output.retry_failed
        kept = retry_rows(journal, rows, job, output.vectors) if retry else keep_rows(journal, rows, job)
        names, done = kept.rest, kept.rows
    if not done:
        journal.truncate(0)
        journal.append(rows.header())
    if output.vectors is not None:
        vectors = NpyFile(output.vectors, rows=done)
    try:
        for outcomes in job.compute(((name, None) for name in names), continued=done > 0):
            with job.counting(outcomes):
                # First the vectors: a table never has a row without one.
                if vectors is not None:
                    vectors.append([x.embedding if isinstance(x, Prediction) else None for x in outcomes])
                journal.append(encode(outcomes, rows))
    finally:
        if vectors is not None:
            vectors.close()


def _old_manifest(output: Output) -> dict[str, Any] | None:
    """The manifest of the table to resume; None where there is nothing to resume."""
    there = any(path.is_file() and path.stat().st_size for path in (output.path, output.journal))
    return read_manifest(output.manifest) if output.resume and there else None


def _finished_parquet(job: Job, output: Output, old: Mapping[str, Any]) -> Summary:
    """The summary of a complete Parquet table, which cannot grow, when its inputs are the same."""
    for _ in job.names():
        continue
    if output.retry_failed or not old["complete"] or old["inputs"] != job.inputs_report():
        raise MismatchError(
            f"{output.path}: a finished Parquet table is neither extended nor repaired; use CSV for that, or "
            "`overwrite` to make it again.",
            parameter="overwrite",
        )
    job.summary.statuses.update(old["counts"]["statuses"])
    job.summary.complete = True
    return job.summary


def _metadata(predictor: Predictor) -> dict[str, Any]:
    """Columns and hash of the metadata in use; an empty one in a run of the picture alone."""
    joined = predictor.metadata
    return {} if joined is None else {"metadata": dict(joined.description)}


def _manifest(job: Job, output: Output, schema: Schema) -> dict[str, Any]:
    """The part of the manifest that does not change during a run."""
    predictor = job.predictor
    spec = predictor.spec
    return {
        "notice": NOTICE,
        "output": output.path.name,
        "identity": {
            "model": dict(predictor.fingerprint),
            **_metadata(predictor),
            "threshold": predictor.threshold,
            **({} if predictor.decision is None else {"decision": predictor.decision.to_dict()}),
            "format": output.kind,
            "columns": {name: kind.__name__ for name, kind in schema.columns.items()},
            "batch_size": job.batch_size,
            "shard": None if job.shard is None else str(job.shard),
            "embeddings": output.embeddings is not None,
        },
        "model": {
            "name": spec.name,
            "source": spec.source,
            "revision": spec.revision,
            "architecture": spec.architecture,
            "license": spec.license,
            "weights_sha256": spec.weights_sha256,
        },
        "run": {**predictor.scorer.info, "workers": predictor.workers},
        "versions": versions(),
    }
