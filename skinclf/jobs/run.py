"""A run: inputs to a table on disk that no kill, full disk or lost folder can spoil.

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
from skinclf.jobs.job import OnError, Progress, Work, encode
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
) -> Summary:
    """Classify files into a table on disk, with a manifest beside it.

    Args:
        predictor: The model.
        inputs: Paths, such as `skinclf.images.discovery.Inputs`; found lazily.
        output: Path of the table, or `Output` with its options.
        on_error: `record` writes a row with the failure; `fail` stops at the first one.
        shard: Which part of the inputs to do.
        stop: Lets somebody end the run after the batches in hand.
        progress: Called after every batch.
        options: What else the manifest shall record, in JSON types.

    Returns:
        What happened; `complete` is False only when it was stopped.

    Raises:
        InvalidArgumentError: The output is there already and nothing says what to do.
        MismatchError: The table to resume was made by another run, or from other inputs.
        OutputError: The output cannot be written.
        ImageError: An input failed, with `on_error="fail"`.
        SkinclfError: The input folder vanished, or the network cannot go on.
    """
    output = output if isinstance(output, Output) else Output(path=Path(output))
    output.check()
    schema = Schema(predictor.spec.labels, output.top_k, predictor.columns)
    work = Work(predictor, inputs, on_error=on_error, shard=shard, stop=stop, progress=progress)
    old = _old_manifest(output)
    if old is not None and predictor.batch_size is None:
        work.batch_size = int(old["identity"]["batch_size"])
    manifest = {**_manifest(work, output, schema), "options": dict(options or {})}
    if old is not None:
        check_identity(old["identity"], manifest["identity"], what=str(output.path))
        if output.kind == "parquet" and not output.journal.exists() and output.path.exists():
            return _finished_parquet(work, output, old)
    with closing(AppendFile(output.journal)) as journal:
        if not output.resume:
            journal.cut(0)
        write_manifest(output.manifest, {**manifest, **work.report(complete=False)})
        try:
            _append(work, output, output.rows(schema), journal)
            journal.close()
            if not work.stopped:
                output.finish(schema.columns)
        except BaseException:
            with suppress(OutputError):
                write_manifest(output.manifest, {**manifest, **work.report(complete=False)})
            raise
    write_manifest(output.manifest, {**manifest, **work.report(complete=not work.stopped)})
    if not work.stopped:
        output.tidy()
    return work.summary


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
) -> Summary:
    """Classify files into a stream, such as stdout; arguments and errors are those of `write_predictions`."""
    work = Work(predictor, inputs, on_error=on_error, shard=shard, stop=stop, progress=progress)
    write(rows.header())
    for outcomes in work.compute((name, None) for name in work.names()):
        with work.writing(outcomes):
            write(encode(outcomes, rows))
    work.report(complete=not work.stopped)
    return work.summary


def _append(work: Work, output: Output, rows: Format, journal: AppendFile) -> None:
    """Bring a table from what it is to what it shall be."""
    names, done, vectors = work.names(), 0, None
    if output.resume and journal.size:
        if output.retry_failed:
            kept = retry_rows(journal, rows, work, output.vectors)
        else:
            kept = keep_rows(journal, rows, work)
        names, done = kept.rest, kept.rows
    if not done:
        journal.cut(0)
        journal.append(rows.header())
    if output.vectors is not None:
        vectors = NpyFile(output.vectors, rows=done)
    try:
        for outcomes in work.compute(((name, None) for name in names), continued=done > 0):
            with work.writing(outcomes):
                # First the vectors: a table never has a row without one.
                if vectors is not None:
                    vectors.append([x.embedding if isinstance(x, Prediction) else None for x in outcomes])
                journal.append(encode(outcomes, rows))
    finally:
        if vectors is not None:
            vectors.close()


def _old_manifest(output: Output) -> dict[str, Any] | None:
    """The manifest of the table that is to be resumed; None where there is nothing to resume."""
    there = any(path.is_file() and path.stat().st_size for path in (output.path, output.journal))
    return read_manifest(output.manifest) if output.resume and there else None


def _finished_parquet(work: Work, output: Output, old: Mapping[str, Any]) -> Summary:
    """A complete Parquet table cannot grow; it is fine when it is that of the same inputs."""
    for _ in work.names():
        continue
    if output.retry_failed or not old["complete"] or old["inputs"] != work.inputs_report():
        raise MismatchError(
            f"{output.path}: a finished Parquet table is neither extended nor repaired; use CSV for that, or "
            "--overwrite to make it again."
        )
    work.summary.statuses.update(old["counts"]["statuses"])
    work.summary.complete = True
    return work.summary


def _manifest(work: Work, output: Output, schema: Schema) -> dict[str, Any]:
    """The part of the manifest that does not change."""
    predictor = work.predictor
    spec = predictor.spec
    return {
        "notice": NOTICE,
        "output": output.path.name,
        "identity": {
            "model": dict(predictor.scorer.fingerprint),
            "threshold": predictor.threshold,
            "format": output.kind,
            "columns": {name: kind.__name__ for name, kind in schema.columns.items()},
            "batch_size": work.batch_size,
            "shard": None if work.shard is None else str(work.shard),
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
