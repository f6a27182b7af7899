"""Files that only grow, and that a kill, a full disk or a power cut leaves as a readable prefix."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from skinclf.errors import MismatchError, OutputError

_HEADER = 128


def unwritable(path: Path | str, error: OSError) -> OutputError:
    """What to say when a file cannot be written."""
    return OutputError(
        f"{path}: cannot be written: {error.strerror or error}. The complete rows in it are safe; "
        "when the cause is gone, run the same command with --resume."
    )


class AppendFile:
    """Appends whole chunks without buffering; a chunk that does not fit is taken back."""

    def __init__(self, path: Path) -> None:
        """Open a file, or make it, at its end.

        Raises:
            OutputError: It cannot be written, or another process is writing it.
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

    def cut(self, size: int) -> None:
        """Drop everything after the first `size` bytes.

        Raises:
            OutputError: The file is gone.
        """
        try:
            self._file.truncate(size)
        except OSError as error:
            raise unwritable(self.path, error) from None
        self.size = size

    def take_over(self, other: Path) -> None:
        """Replace the content by another file, which then is gone.

        Raises:
            OutputError: It cannot be done.
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
            OutputError: It does not fit or the file is gone.
        """
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
            self.size += len(data)
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self.size)
            raise unwritable(self.path, error) from None

    def close(self) -> None:
        """Put everything on the disk and close."""
        if self._file.closed:
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise unwritable(self.path, error) from None
        finally:
            self._file.close()


def _lock(file: IO[bytes], path: Path) -> None:
    """Two runs must not write one table; the lock ends with the process."""
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
    """Rows of float32 appended to a `.npy` file, which numpy can read after every append."""

    def __init__(self, path: Path, *, rows: int = 0) -> None:
        """Open a file and cut it to `rows` rows.

        Raises:
            OutputError: It cannot be written.
            MismatchError: It holds fewer rows, or is no such file.
        """
        self.path, self.rows = path, rows
        self._width = 0  # unknown until the first row that has values
        try:
            if rows:
                self._width = _npy_width(path, rows)
            self._file: IO[bytes] = path.open("r+b" if rows else "w+b", buffering=0)
            self._file.truncate(_HEADER + rows * self._width * 4)
            self._head()
        except OSError as error:
            raise unwritable(path, error) from None

    def append(self, vectors: Sequence[npt.NDArray[np.float32] | None]) -> None:
        """Add rows, each of shape (D,); None, for an input that failed, gives NaN.

        Raises:
            OutputError: They do not fit.
        """
        at, self.rows = self.rows, self.rows + len(vectors)
        self._learn(vectors, at)
        block = np.full((len(vectors), self._width), np.nan, np.float32)
        for row, vector in zip(block, vectors, strict=True):
            if vector is not None:
                row[:] = vector
        self._write(_HEADER + at * self._width * 4, block.astype("<f4").tobytes())
        self._head()

    def replace(self, row: int, vector: npt.NDArray[np.float32]) -> None:
        """Overwrite one row, shape (D,).

        Raises:
            OutputError: It does not fit.
        """
        self._learn([vector], self.rows)
        self._write(_HEADER + row * self._width * 4, vector.astype("<f4").tobytes())

    def _learn(self, vectors: Sequence[npt.NDArray[np.float32] | None], before: int) -> None:
        """Take the width from the first row that has one, and give the rows before it NaN."""
        first = next((v for v in vectors if v is not None), None)
        if self._width or first is None:
            return
        self._width = len(first)
        self._write(_HEADER, np.full((before, self._width), np.nan, "<f4").tobytes())

    def _head(self) -> None:
        shape = f"({self.rows}, {self._width})"
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(_HEADER - 11)
        self._write(0, b"\x93NUMPY\x01\x00" + (_HEADER - 10).to_bytes(2, "little") + text + b"\n")

    def _write(self, offset: int, data: bytes) -> None:
        try:
            self._file.seek(offset)
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise unwritable(self.path, error) from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _npy_width(path: Path, rows: int) -> int:
    """Columns of an existing file of float32 rows."""
    try:
        array = np.load(path, mmap_mode="r" if path.stat().st_size > _HEADER else None, allow_pickle=False)
    except (ValueError, EOFError, FileNotFoundError) as error:
        raise MismatchError(f"{path}: not the embeddings of the table to resume: {error}.") from None
    if array.dtype != np.float32 or array.ndim != 2 or len(array) < rows:
        raise MismatchError(f"{path}: {array.dtype} {array.shape}; the table to resume has {rows} rows.")
    return int(array.shape[1])
