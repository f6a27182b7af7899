"""A run: inputs to a table on disk that no kill, full disk or lost folder can spoil.

Rows are appended batch by batch, in input order. To resume, the table's own complete rows are read back and
compared with the inputs, and the rest is computed; nothing else records progress.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from skinclf.batch import Batch
from skinclf.errors import ImageError, InvalidInputError, MismatchError, OutputError, SkinclfError
from skinclf.journal import AppendFile, NpyFile, unwritable
from skinclf.manifest import NOTICE, check_identity, read_manifest, versions, write_manifest
from skinclf.output import Output
from skinclf.prediction import Prediction
from skinclf.records import Format, Row, Schema, printable
from skinclf.shards import Shard
from skinclf.summary import Stop, Summary, digest

if TYPE_CHECKING:
    from skinclf.predictor import Predictor

OnError: TypeAlias = Literal["record", "fail"]
Progress: TypeAlias = Callable[[Summary], None]
_Item: TypeAlias = "tuple[str, Row | None]"


def write_table(
    predictor: Predictor,
    inputs: Iterable[str | os.PathLike[str]],
    output: Output,
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
        inputs: Paths, such as `skinclf.inputs.Inputs`; found lazily.
        output: The files, and what to do with those that are there.
        on_error: `record` writes a row with the failure; `fail` stops at the first one.
        shard: Which part of the inputs to do.
        stop: Lets somebody end the run after the batches in hand.
        progress: Called after every batch.
        options: What else the manifest shall record, in JSON types.

    Returns:
        What happened; `complete` is False only when it was stopped.

    Raises:
        InvalidInputError: The output is there already and nothing says what to do.
        MismatchError: The table to resume was made by another run, or from other inputs.
        OutputError: The output cannot be written.
        ImageError: An input failed, with `on_error="fail"`.
        SkinclfError: The input folder vanished, or the network cannot go on.
    """
    output.check()
    schema = Schema(predictor.spec.labels, output.top_k, predictor.scorer.columns)
    old = _old_manifest(output)
    task = _Task(predictor, inputs, on_error=on_error, shard=shard, stop=stop, progress=progress)
    task.batch_size = predictor.batch_size or _recorded_batch_size(old) or predictor.scorer.batch_size
    manifest = _manifest(task, output, schema, options or {})
    if old is not None:
        check_identity(old["identity"], manifest["identity"], what=str(output.path))
    if output.kind == "parquet" and old is not None and not output.journal.exists() and output.path.exists():
        return _already_parquet(task, output, old)
    with AppendFile(output.journal) as journal:
        write_manifest(output.manifest, {**manifest, **task.report(complete=False)})
        try:
            _append(task, output, output.rows(schema), journal)
            complete = not task.stopped
            journal.close()
            if complete:
                output.finish(schema)
        except BaseException:
            with suppress(OutputError):
                write_manifest(output.manifest, {**manifest, **task.report(complete=False)})
            raise
    report = task.report(complete=complete)
    write_manifest(output.manifest, {**manifest, **report})
    return task.summary


def write_stream(
    predictor: Predictor,
    inputs: Iterable[str | os.PathLike[str]],
    rows: Format,
    write: Callable[[bytes], object],
    *,
    on_error: OnError = "record",
    shard: Shard | None = None,
    stop: Stop | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Classify files into a stream, such as stdout; arguments and errors are those of `write_table`."""
    task = _Task(predictor, inputs, on_error=on_error, shard=shard, stop=stop, progress=progress)
    write(rows.header())
    for _, predictions in task.compute(((name, None) for name in task.names())):
        with task.summary.times.add("write"):
            write(rows.encode(predictions))
        task.count(predictions)
    task.report(complete=not task.stopped)
    return task.summary


class _Task:
    """What the inputs of one run go through, and what is counted on the way."""

    def __init__(
        self,
        predictor: Predictor,
        inputs: Iterable[str | os.PathLike[str]],
        *,
        on_error: OnError,
        shard: Shard | None,
        stop: Stop | None,
        progress: Progress | None,
    ) -> None:
        if on_error not in {"record", "fail"}:
            raise InvalidInputError(f"on_error is 'record' or 'fail'; received {on_error!r}.")
        self.predictor, self.shard = predictor, shard
        self.batch_size = predictor.batch_size or predictor.scorer.batch_size
        self.summary = Summary()
        self._inputs, self._on_error, self._progress = inputs, on_error, progress
        self._stop = stop or Stop()
        self._roots: tuple[str, ...] = getattr(inputs, "roots", ())
        self._seen = digest()

    @property
    def stopped(self) -> bool:
        """Whether somebody asked to stop."""
        return self._stop.requested

    def names(self) -> Iterator[str]:
        """Names of the inputs of this shard; all of them are counted and hashed."""
        shard = self.shard or Shard(1, 1)
        for number, item in enumerate(self._stop.guard(self._inputs)):
            name = os.fspath(item)
            self._seen.add(name)
            if shard.takes(number):
                yield name

    def compute(
        self, items: Iterable[tuple[str, Row | None]], *, continued: bool = False
    ) -> Iterator[list[Prediction | Row]]:
        """Outcomes batch by batch, in order; an item that comes with a row which is ok keeps it."""
        pairs = ((item, None if _is_done(item) else item[0]) for item in items)
        batches = self.predictor.batches(
            pairs,
            batch_size=self.batch_size,
            continued=continued or self.shard is not None,
            times=self.summary.times,
        )
        for batch in batches:
            self._check_roots(batch.errors)
            new = [i for i, item in enumerate(batch.keys) if not _is_done(item)]
            fresh = iter(self.predictor.predictions([item[0] for item in batch.keys], batch, new))
            outcomes = [row if _is_done((name, row)) and row else next(fresh) for name, row in batch.keys]
            bad = next((i for i, x in enumerate(outcomes) if x.status != "ok"), None)
            if bad is not None and self._on_error == "fail":
                yield outcomes[:bad]
                failed = outcomes[bad]
                raise ImageError(failed.status, failed.error if isinstance(failed, Prediction) else "")
            yield outcomes

    def write(self, outcomes: Iterator[list[Prediction | Row]], rows: Format, write: Callable[[bytes], object]) -> None:
        """Write outcomes as they come, and count them once they are safe."""
        for batch in outcomes:
            with self.summary.times.add("write"):
                write(b"".join(x.raw if isinstance(x, Row) else rows.encode([x]) for x in batch))
            self.summary.count(batch)
            if self._progress is not None:
                self._progress(self.summary)
