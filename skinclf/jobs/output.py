"""The output files of a run: checked before a model is loaded, put in place when the table is complete.

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
from skinclf.jobs.parquet import csv_to_parquet, embeddings_to_parquet, import_pyarrow

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
    """The output files of a run.

    Attributes:
        path: Path of the table.
        format: `csv`, `jsonl` or `parquet`; None follows the extension of `path` (without one: CSV).
        top_k: Number of most probable classes that are added as columns.
        embeddings: Path of a `.npy` or `.parquet` file for the inputs of the network's last layer.
        resume: Whether to complete an interrupted table, or start one where there is none.
        overwrite: Whether to replace an existing table.
        retry_failed: Whether, with `resume`, failed inputs are tried again.
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
        """The encoder of rows in `journal`."""
        return JsonlFormat(schema) if self.kind == "jsonl" else CsvFormat(schema)

    def check(self) -> None:
        """Check early what would stop the run at its first row.

        Raises:
            InvalidArgumentError: The options exclude each other, or a file exists and neither `resume` nor `overwrite`
                is set.
            OutputError: A file cannot be written.
            MissingExtraError: A Parquet file is to be written without pyarrow.
        """
        if self.resume and self.overwrite:
            raise InvalidArgumentError("`resume` and `overwrite` exclude each other.", parameter="resume")
        if self.retry_failed and not self.resume:
            raise InvalidArgumentError("`retry_failed` needs `resume`.", parameter="retry_failed")
        if self.format is not None and self.format not in FORMATS:
            raise InvalidArgumentError(
                f"Format {self.format!r}: expected one of {', '.join(FORMATS)}.", parameter="format"
            )
        if self.embeddings is not None and self.embeddings.suffix.lower() not in {".npy", ".parquet"}:
            raise InvalidArgumentError(
                f"{self.embeddings}: embeddings are written to a .npy or a .parquet file.",
                parameter="embeddings",
            )
        if self.embeddings == self.path:
            raise InvalidArgumentError(
                f"{self.path}: the table and the embeddings need two files.", parameter="embeddings"
            )
        if self.format is None and self.path.suffix.lower() not in _ENDINGS:
            known = " ".join(filter(None, _ENDINGS))
            raise InvalidArgumentError(
                f"{self.path}: no format has this extension (known: {known}); name one with `format`.",
                parameter="format",
            )
        for path in filter(None, (self.path, self.embeddings)):
            check_writable(path)
            if not (self.resume or self.overwrite) and _filled(path):
                raise InvalidArgumentError(
                    f"{path} is already there. Complete it with `resume`, or replace it with `overwrite`.",
                    parameter="resume",
                )
        if not (self.resume or self.overwrite) and _filled(self.journal):
            raise InvalidArgumentError(
                f"{self.journal} is left from an interrupted run. Complete it with `resume`, or replace it with "
                "`overwrite`.",
                parameter="resume",
            )
        if self.kind == "parquet" or (self.embeddings and self.embeddings.suffix.lower() == ".parquet"):
            import_pyarrow()

    def finish(self, columns: Mapping[str, type]) -> None:
        """Convert the grown files to Parquet, where the output is Parquet.

        Args:
            columns: Name to type of the table's columns, as `Schema.columns`.

        Raises:
            OutputError: A file cannot be written.
        """
        vectors = self.vectors
        try:
            if vectors is not None and self.embeddings is not None and vectors != self.embeddings:
                embeddings_to_parquet(self.journal, self.kind, vectors, self.embeddings)
            if self.kind == "parquet":
                csv_to_parquet(self.journal, self.path, columns)
        except OSError as error:
            raise unwritable(self.path, error) from None

    def remove_temporary_files(self) -> None:
        """Remove the files that `finish` has converted; only after the manifest says that the run is complete."""
        for grew, final in ((self.vectors, self.embeddings), (self.journal, self.path)):
            if grew is not None and grew != final:
                grew.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Check, without creating anything, that a file can be written.

    Raises:
        OutputError: The path is a folder, its folder is missing, or permission is denied.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder; expected a file.")
    if not path.parent.is_dir():
        raise OutputError(f"The folder {path.parent} does not exist.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OutputError(f"{path} cannot be written: permission denied.")


def _filled(path: Path) -> bool:
    """Whether a file exists and is not empty (replacing an empty one loses nothing)."""
    return path.is_file() and path.stat().st_size > 0
