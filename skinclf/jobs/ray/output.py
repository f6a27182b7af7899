"""The folder of Parquet partitions that a run on a cluster writes: checked before, counted after."""

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

#: Readers of Parquet folders pass over names that begin with an underscore.
MANIFEST = "_run.json"


@dataclass(frozen=True, slots=True)
class PartitionedOutput:
    """A folder on a pyarrow filesystem.

    Attributes:
        name: As the user gave it.
        root: Its path on `filesystem`.
        filesystem: A `pyarrow.fs.FileSystem`.
    """

    name: str
    root: str
    filesystem: Any

    @classmethod
    def open(cls, name: str) -> PartitionedOutput:
        """Find the filesystem of a path or URI.

        Raises:
            OutputError: There is none.
        """
        from pyarrow import ArrowException
        from pyarrow.fs import FileSystem, LocalFileSystem

        if "://" not in name:
            return cls(name, Path(name).absolute().as_posix(), LocalFileSystem())
        try:
            filesystem, root = FileSystem.from_uri(name)
        except (OSError, ArrowException) as error:
            raise OutputError(f"{name}: no such place to write to: {_text(error)}") from None
        return cls(name, root, filesystem)

    def check(self, *, overwrite: bool) -> None:
        """Find out now what would stop the run at its end.

        Raises:
            InvalidArgumentError: The folder holds something that may not be replaced.
            OutputError: It is a file, or cannot be made.
        """
        if self.name == "-":
            raise InvalidArgumentError(
                "The Ray engine writes a folder of Parquet files; give --output FOLDER."
            )
        names = self._entries()
        if names and not overwrite:
            raise InvalidArgumentError(f"{self.name} is not empty. Replace what is in it with --overwrite.")
        foreign = [name for name in names if name != MANIFEST and not name.endswith(".parquet")]
        if foreign:
            raise InvalidArgumentError(
                f"{self.name} holds other files than partitions, such as {foreign[0]}; it is not replaced."
            )

    def clear(self) -> None:
        """Make the folder and empty it.

        Raises:
            OutputError: It cannot be written.
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
        """Rows by status, after seeing that each `index` from 0 to `rows` - 1 stands there once.

        Raises:
            OutputError: Rows are missing or there twice.
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
            OutputError: It cannot be written.
        """
        text = {"schema": SCHEMA, **content, "finished": now(), "versions": versions(), "notice": NOTICE}
        try:
            with self.filesystem.open_output_stream(f"{self.root}/{MANIFEST}") as file:
                file.write((json.dumps(text, indent=2, allow_nan=False, default=str) + "\n").encode())
        except OSError as error:
            raise OutputError(f"{self.name}: cannot be written: {_text(error)}") from None


def _text(error: Exception) -> str:
    return " ".join(str(error).split())
