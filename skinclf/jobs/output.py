"""Where a run writes to, checked before a model is loaded, and how a finished table is put in place.

CSV and JSONL grow in place. Parquet cannot grow: its rows are kept in `<output>.partial.csv`, which can be
read and resumed at any moment, and become row groups at the end; so do embeddings in a `.parquet` file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from skinclf._utils.append_files import unwritable
from skinclf.errors import InvalidArgumentError, OutputError
from skinclf.inference.schema import Schema
from skinclf.jobs.formats import CsvFormat, Format, JsonlFormat
from skinclf.jobs.manifest import manifest_path
from skinclf.jobs.parquet import csv_to_parquet, embeddings_to_parquet, need_pyarrow

FormatName: TypeAlias = Literal["csv", "jsonl", "parquet"]
FORMATS: tuple[FormatName, ...] = ("csv", "jsonl", "parquet")
_ENDINGS: Mapping[str, FormatName] = {
    "": "csv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """The files of a run.

    Attributes:
        path: The table.
        format: `csv`, `jsonl` or `parquet`; None goes by the ending (none: CSV).
        top_k: Adds the k most probable classes as columns.
        embeddings: `.npy` or `.parquet` file for what enters the network's last layer.
        resume: Complete an interrupted table; start one where there is none.
        overwrite: Replace an existing table.
        retry_failed: With `resume`: try again the inputs whose rows say that they failed.
    """

    path: Path
    format: FormatName | None = None
    top_k: int = 0
    embeddings: Path | None = None
    resume: bool = False
    overwrite: bool = False
    retry_failed: bool = False

    @property
    def kind(self) -> FormatName:
        """The format that is written."""
        return self.format or _ENDINGS.get(self.path.suffix.lower(), "csv")

    @property
    def journal(self) -> Path:
        """The file that grows row by row."""
        return self.path.with_name(f"{self.path.name}.partial.csv") if self.kind == "parquet" else self.path

    @property
    def vectors(self) -> Path | None:
        """The `.npy` file that embeddings grow in."""
        path = self.embeddings
        if path is None or path.suffix.lower() == ".npy":
            return path
        return path.with_name(f"{path.name}.partial.npy")

    @property
    def manifest(self) -> Path:
        """The manifest of the run."""
        return manifest_path(self.path)

    def rows(self, schema: Schema) -> Format:
        """How rows are written to `journal`."""
        return JsonlFormat(schema) if self.kind == "jsonl" else CsvFormat(schema)

    def check(self) -> None:
        """Find out now what would stop the run at its first row.

        Raises:
            InvalidArgumentError: The options exclude each other, or a file is there and nothing says what to do.
            OutputError: A file cannot be written.
            MissingExtraError: Parquet was asked for without pyarrow.
        """
        if self.resume and self.overwrite:
            raise InvalidArgumentError("--resume and --overwrite exclude each other.")
        if self.retry_failed and not self.resume:
            raise InvalidArgumentError("--retry-failed goes with --resume.")
        if self.format is not None and self.format not in FORMATS:
            raise InvalidArgumentError(f"Format {self.format!r}: expected one of {', '.join(FORMATS)}.")
        if self.embeddings is not None and self.embeddings.suffix.lower() not in {".npy", ".parquet"}:
            raise InvalidArgumentError(
                f"{self.embeddings}: embeddings are written to a .npy or a .parquet file."
            )
        if self.embeddings == self.path:
            raise InvalidArgumentError(f"{self.path}: the table and the embeddings need two files.")
        if self.format is None and self.path.suffix.lower() not in _ENDINGS:
            known = " ".join(filter(None, _ENDINGS))
            raise InvalidArgumentError(
                f"{self.path}: no format goes by this ending ({known} do); say which one with --format."
            )
        for path in filter(None, (self.path, self.embeddings)):
            check_writable(path)
            if not (self.resume or self.overwrite) and _filled(path):
                raise InvalidArgumentError(
                    f"{path} is already there. Complete it with --resume, or replace it with --overwrite."
                )
        if not (self.resume or self.overwrite) and _filled(self.journal):
            raise InvalidArgumentError(
                f"{self.journal} is left from an interrupted run. Use --resume or --overwrite."
            )
        if self.kind == "parquet" or (self.embeddings and self.embeddings.suffix.lower() == ".parquet"):
            need_pyarrow()

    def finish(self, columns: Mapping[str, type]) -> None:
        """Turn what grew into Parquet, where that was asked for.

        Args:
            columns: Name to type of the table's columns, as `Schema.columns`.

        Raises:
            OutputError: It cannot be written.
        """
        vectors = self.vectors
        try:
            if vectors is not None and self.embeddings is not None and vectors != self.embeddings:
                embeddings_to_parquet(self.journal, self.kind, vectors, self.embeddings)
            if self.kind == "parquet":
                csv_to_parquet(self.journal, self.path, columns)
        except OSError as error:
            raise unwritable(self.path, error) from None

    def tidy(self) -> None:
        """Remove what `finish` has used up; only after the manifest says that the run is complete."""
        for grew, final in ((self.vectors, self.embeddings), (self.journal, self.path)):
            if grew is not None and grew != final:
                grew.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Check that a file could be written; nothing is created.

    Raises:
        OutputError: It could not.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder; expected a file.")
    if not path.parent.is_dir():
        raise OutputError(f"The folder {path.parent} does not exist.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OutputError(f"{path} cannot be written: permission denied.")


def _filled(path: Path) -> bool:
    """Whether a file is there and not empty (an empty one loses nothing)."""
    return path.is_file() and path.stat().st_size > 0
