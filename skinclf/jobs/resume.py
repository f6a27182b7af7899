"""Resuming an interrupted table: its complete rows are compared with the inputs, and kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import IO, NoReturn

import numpy as np
import numpy.typing as npt

from skinclf._utils.append_files import AppendFile, NpyFile
from skinclf.errors import MismatchError
from skinclf.inference.prediction import Prediction
from skinclf.jobs.formats import Format, Row, printable
from skinclf.jobs.job import Job, encode


class KeptRows:
    """The rows of an existing table that stay, with the inputs that they belong to.

    Whole batches stay and an incomplete one is computed again, so that every batch is that of an uninterrupted run.

    Attributes:
        rows: Number of rows that stay, as far as iterated.
        end: Size of the table up to there, in bytes.
        rest: Inputs that have no row yet; only known after iteration.
    """

    def __init__(self, file: IO[bytes], rows: Format, job: Job) -> None:
        self.rows, self.end = 0, 0
        self.rest: Iterator[str] = job.names()
        self._found, self._job, self._name = rows.read(file), job, file.name

    def __iter__(self) -> Iterator[tuple[str, Row]]:
        size = self._job.batch_size
        while True:
            chunk, names = list(islice(self._found, size)), list(islice(self.rest, size))
            if self._job.stopped:
                raise KeyboardInterrupt
            for at, (row, name) in enumerate(zip(chunk, names, strict=False), self.rows + 1):
                if row.image != printable(name):
                    self._refuse(f"row {at} is {row.image!r} and the input there is {name!r}")
            if len(chunk) > len(names):
                self._refuse(f"it has more rows than there are inputs ({self.rows + len(names)})")
            if not chunk or len(chunk) < len(names):
                self.rest = chain(names, self.rest)
                return
            for name, row in zip(names, chunk, strict=True):
                self.rows += 1
                self.end = row.end
                yield name, row

    def _refuse(self, why: str) -> NoReturn:
        raise MismatchError(
            f"{self._name}: {why}. The inputs changed; start again with `overwrite`.", parameter="overwrite"
        )


def keep_rows(journal: AppendFile, rows: Format, job: Job) -> KeptRows:
    """Keep the complete rows of a table and drop what follows them.

    Raises:
        MismatchError: A row belongs to another input.
    """
    with journal.path.open("rb") as file:
        kept = KeptRows(file, rows, job)
        for _, row in kept:
            job.summary.count([row.status], computed=0)
    journal.truncate(kept.end)
    return kept


def retry_rows(journal: AppendFile, rows: Format, job: Job, vectors: Path | None) -> KeptRows:
    """Keep the complete rows of a table, and compute those of failed inputs again.

    The rows are written to a file beside the table, which replaces it in the end.

    Raises:
        MismatchError: A row belongs to another input.
    """
    beside = journal.path.with_name(f"{journal.path.name}.retry")
    found: dict[int, npt.NDArray[np.float32]] = {}
    try:
        with journal.path.open("rb") as file, closing(AppendFile(beside)) as target:
            target.truncate(0)
            target.append(rows.header())
            kept, at = KeptRows(file, rows, job), 0
            items = ((name, row if row.status == "ok" else None) for name, row in kept)
            for outcomes in job.compute(items, continued=True):
                with job.counting(outcomes):
                    target.append(encode(outcomes, rows))
                for i, outcome in enumerate(outcomes, at):
                    if isinstance(outcome, Prediction) and outcome.embedding is not None:
                        found[i] = outcome.embedding
                at += len(outcomes)
        if vectors is not None:
            _replace_vectors(vectors, found, rows=at)
        journal.replace_by(beside)
    finally:
        beside.unlink(missing_ok=True)
    return kept


def _replace_vectors(path: Path, found: Mapping[int, npt.NDArray[np.float32]], *, rows: int) -> None:
    file = NpyFile(path, rows=rows)
    try:
        for row, vector in found.items():
            file.replace(row, vector)
    finally:
        file.close()
