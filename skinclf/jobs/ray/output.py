"""The folder of Parquet partitions that a run on a cluster writes: checked before it, verified after it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skinclf._utils.environment import now, versions
from skinclf._utils.notice import NOTICE
from skinclf.errors import InvalidArgumentError, OutputError
from skinclf.jobs.manifest import SCHEMA

#: File name of the manifest; readers of Parquet folders skip names that begin with an underscore.
MANIFEST = "_run.json"


@dataclass(frozen=True, slots=True)
class PartitionedOutput:
    """An output folder on a pyarrow filesystem.

    Attributes:
        name: Path or URI as given by the caller.
        root: Path of the folder on `filesystem`.
        filesystem: A `pyarrow.fs.FileSystem`.
    """

    name: str
    root: str
    filesystem: Any

    @classmethod
    def open(cls, name: str) -> PartitionedOutput:
        """Find the filesystem of a path or URI.

        Raises:
            OutputError: No filesystem has the scheme of the URI.
        """
        from pyarrow import ArrowException
        from pyarrow.fs import FileSystem, LocalFileSystem

        if "://" not in name:
            return cls(name, Path(name).absolute().as_posix(), LocalFileSystem())
        try:
            filesystem, root = FileSystem.from_uri(name)
        except (OSError, ArrowException) as error:
            raise OutputError(f"{name}: no filesystem for this URI: {_text(error)}") from None
        return cls(name, root, filesystem)

    def check(self, *, overwrite: bool) -> None:
        """Check early what would stop the run at its end.

        Args:
            overwrite: Whether partitions may be replaced.

        Raises:
            InvalidArgumentError: The folder is not empty and `overwrite` is not set, or it holds other files.
            OutputError: The path is a file.
        """
        if self.name == "-":
            raise InvalidArgumentError(
                "The Ray engine writes a folder of Parquet files; set `output` to its path.",
                parameter="output",
            )
        names = self._entries()
        if names and not overwrite:
            raise InvalidArgumentError(
                f"{self.name} is not empty. Replace what is in it with `overwrite`.", parameter="overwrite"
            )
        foreign = [name for name in names if name != MANIFEST and not name.endswith(".parquet")]
        if foreign:
            raise InvalidArgumentError(
                f"{self.name} holds other files than partitions, such as {foreign[0]}; it is not replaced."
            )

    def clear(self) -> None:
        """Make the folder, or empty it.

        Raises:
            OutputError: The folder cannot be written.
        """
        try:
            self.filesystem.create_dir(self.root, recursive=True)
            for name in self._entries():
                self.filesystem.delete_file(f"{self.root}/{name}")
        except OSError as error:
            raise OutputError(f"{self.name}: cannot be written: {_text(error)}") from None

    def _entries(self) -> list[str]:
        from pyarrow.fs import FileSelector, FileType

        kind = self.filesystem.get_file_info(self.root).type
        if kind == FileType.File:
            raise OutputError(f"{self.name} is a file; the Ray engine writes a folder.")
        found = self.filesystem.get_file_info(FileSelector(self.root, allow_not_found=True))
        return [info.base_name for info in found]

    def verify(self, rows: int) -> Mapping[str, int]:
        """Check that each `index` from 0 to `rows` - 1 has exactly one row.

        Args:
            rows: Number of inputs.

        Returns:
            Number of rows by status.

        Raises:
            OutputError: A row is missing or occurs twice.
        """
        import pyarrow.dataset as pds

        statuses: Counter[str] = Counter()
        times = np.zeros(rows, np.uint8)
        table = pds.dataset(self.root, filesystem=self.filesystem, format="parquet")
        for batch in table.to_batches(columns=["index", "status"]):
            np.add.at(times, batch["index"].to_numpy(), 1)
            statuses.update({x["values"]: x["counts"] for x in batch["status"].value_counts().to_pylist()})
        wrong = np.flatnonzero(times != 1)
        if len(wrong):
            raise OutputError(
                f"{self.name}: {len(wrong):,} of {rows:,} inputs have no row, or more than one; the first is "
                f"number {wrong[0]}. The folder must be one that all machines of the cluster share."
            )
        return statuses

    def write_manifest(self, content: Mapping[str, Any]) -> None:
        """Write the manifest beside the partitions.

        Raises:
            OutputError: The manifest cannot be written.
        """
        text = {"schema": SCHEMA, **content, "finished": now(), "versions": versions(), "notice": NOTICE}
        try:
            with self.filesystem.open_output_stream(f"{self.root}/{MANIFEST}") as file:
                file.write((json.dumps(text, indent=2, allow_nan=False, default=str) + "\n").encode())
        except OSError as error:
            raise OutputError(f"{self.name}: cannot be written: {_text(error)}") from None


def _text(error: Exception) -> str:
    return " ".join(str(error).split())
