"""Append-only files that a kill, a full disk or a power cut leaves as a readable prefix."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy_format

from skinclf._utils.arrays import Float32
from skinclf.errors import MismatchError, OutputError

#: Bytes of the header that numpy writes for two-dimensional arrays, with room for the number of rows to grow.
_HEADER = 128


def unwritable(path: Path | str, error: OSError) -> OutputError:
    """The error of a file that cannot be written and whose complete rows stay."""
    return OutputError(
        f"{path}: cannot be written: {error.strerror or error}. The complete rows in it are safe; once the cause is "
        "removed, continue with `resume`.",
        parameter="resume",
    )


class AppendFile:
    """A file opened for appending, unbuffered and locked; a chunk that does not fit is taken back.

    Attributes:
        path: The file.
        size: Size in bytes.
    """

    def __init__(self, path: Path) -> None:
        """Open a file at its end; it is made when missing.

        Raises:
            OutputError: The file cannot be written, or another process is writing it.
        """
        self.path = path
        self._open()

    def _open(self) -> None:
        try:
            self._file: IO[bytes] = self.path.open("ab", buffering=0)
            _lock(self._file, self.path)
            self.size = self._file.seek(0, os.SEEK_END)
        except OutputError:
            raise
        except OSError as error:
            raise unwritable(self.path, error) from None

    def truncate(self, size: int) -> None:
        """Drop everything after the first `size` bytes.

        Raises:
            OutputError: The file cannot be written.
        """
        try:
            self._file.truncate(size)
        except OSError as error:
            raise unwritable(self.path, error) from None
        self.size = size

    def replace_by(self, other: Path) -> None:
        """Move another file to this one's path, and append to that from now on.

        Raises:
            OutputError: The file cannot be replaced.
        """
        self._file.close()  # Windows replaces no open file
        try:
            other.replace(self.path)
        except OSError as error:
            raise unwritable(self.path, error) from None
        finally:
            self._open()

    def append(self, data: bytes) -> None:
        """Write one chunk.

        Raises:
            OutputError: The chunk does not fit on the disk; the file stays as it was before.
        """
        try:
            _write_all(self._file, data)
            self.size += len(data)
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self.size)
            raise unwritable(self.path, error) from None

    def close(self) -> None:
        """Flush the file to the disk and close it.

        Raises:
            OutputError: The file cannot be written.
        """
        if self._file.closed:
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise unwritable(self.path, error) from None
        finally:
            self._file.close()


def _lock(file: IO[bytes], path: Path) -> None:
    """Keep a second run from writing the same table; the lock ends with the process.

    Own code beside the library filelock, which truncates the file that it locks: it would leave a `.lock` file beside
    every table.
    """
    try:
        import fcntl
    except ImportError:  # Windows: opening for writing does not exclude others, and there is no such lock
        return
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise OutputError(f"{path}: another process is writing this file; wait for it or stop it.") from None
    except OSError:  # a file system without locks
        return


class NpyFile:
    """A `.npy` file of float32 rows that grows by appending and is readable by numpy after every append.

    Attributes:
        path: The file.
        rows: Number of rows.
    """

    def __init__(self, path: Path, *, rows: int = 0) -> None:
        """Open a file and truncate it to `rows` rows.

        Raises:
            OutputError: The file cannot be written.
            MismatchError: The file has fewer rows, or is no `.npy` file of float32 rows.
        """
        self.path, self.rows = path, rows
        self._width = 0  # unknown until the first row that has values
        try:
            if rows:
                self._width = _npy_width(path, rows)
            self._file: IO[bytes] = path.open("r+b" if rows else "w+b", buffering=0)
            self._file.truncate(_HEADER + rows * self._width * 4)
            self._write_header()
        except OSError as error:
            raise unwritable(path, error) from None

    def append(self, vectors: Sequence[Float32 | None]) -> None:
        """Append rows.

        Args:
            vectors: Rows, each of shape (D,); None, for an input that failed, becomes NaN.

        Raises:
            OutputError: The rows do not fit on the disk.
        """
        start, self.rows = self.rows, self.rows + len(vectors)
        self._set_width(vectors, start)
        block = np.full((len(vectors), self._width), np.nan, np.float32)
        for row, vector in zip(block, vectors, strict=True):
            if vector is not None:
                row[:] = vector
        self._write(_HEADER + start * self._width * 4, block.astype("<f4").tobytes())
        self._write_header()

    def replace(self, row: int, vector: Float32) -> None:
        """Overwrite one row, shape (D,).

        Raises:
            OutputError: The row does not fit on the disk.
        """
        self._set_width([vector], self.rows)
        self._write(_HEADER + row * self._width * 4, vector.astype("<f4").tobytes())

    def _set_width(self, vectors: Sequence[Float32 | None], rows_before: int) -> None:
        """Take the width from the first row that has one; the rows before it become NaN."""
        first = next((v for v in vectors if v is not None), None)
        if self._width or first is None:
            return
        self._width = len(first)
        self._write(_HEADER, np.full((rows_before, self._width), np.nan, "<f4").tobytes())

    def _write_header(self) -> None:
        header = io.BytesIO()
        shape = (self.rows, self._width)
        npy_format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
        self._write(0, header.getvalue())

    def _write(self, offset: int, data: bytes) -> None:
        try:
            self._file.seek(offset)
            _write_all(self._file, data)
        except OSError as error:
            raise unwritable(self.path, error) from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _write_all(file: IO[bytes], data: bytes) -> None:
    """Write data to an unbuffered file, which may take a part at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _npy_width(path: Path, rows: int) -> int:
    """Number of columns of an existing file of float32 rows."""
    try:
        array = np.load(path, mmap_mode="r" if path.stat().st_size > _HEADER else None, allow_pickle=False)
    except (ValueError, EOFError, FileNotFoundError) as error:
        raise MismatchError(f"{path}: not the embeddings of the table to resume: {error}.") from None
    if array.dtype != np.float32 or array.ndim != 2 or len(array) < rows:
        raise MismatchError(f"{path}: {array.dtype} {array.shape}; the table to resume has {rows} rows.")
    return int(array.shape[1])
