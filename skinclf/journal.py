"""Files that only grow, and that a kill, a full disk or a power cut leaves as a readable prefix."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
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

    def __init__(self, path: Path, *, keep: int = 0) -> None:
        """Open a file and cut it to `keep` bytes.

        Raises:
            OutputError: It cannot be written, or another process is writing it.
        """
        self.path = path
        try:
            self._file: IO[bytes] = path.open("r+b" if keep else "ab", buffering=0)
            _lock(self._file, path)
            self._file.truncate(keep)
            self._size = self._file.seek(keep)
        except OutputError:
            raise
        except OSError as error:
            raise unwritable(path, error) from None

    def append(self, data: bytes) -> None:
        """Write one chunk.

        Raises:
            OutputError: It does not fit or the file is gone.
        """
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
            self._size += len(data)
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._size)
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

    def __enter__(self) -> AppendFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
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
        self._width = -1  # unknown until the first row that has values
        try:
            if rows and path.exists():
                array = np.load(path, mmap_mode="r", allow_pickle=False)
                if array.dtype != np.float32 or array.ndim != 2 or len(array) < rows:
                    raise MismatchError(f"{path}: holds {array.shape} {array.dtype}; expected {rows} rows float32.")
                self._width = array.shape[1]
                del array
                self._file: IO[bytes] = path.open("r+b", buffering=0)
                self._file.truncate(_HEADER + rows * self._width * 4)
                self._head()
            else:
                self._file = path.open("w+b", buffering=0)
        except ValueError as error:
            raise MismatchError(f"{path}: not a .npy file: {error}.") from None
        except OSError as error:
            raise unwritable(path, error) from None

    def append(self, values: npt.NDArray[np.float32] | None, count: int) -> None:
        """Add `count` rows: shape (count, D), or None where every input failed, which gives NaN.

        Raises:
            OutputError: They do not fit.
        """
        before, self.rows = self.rows, self.rows + count
        try:
            if values is None and self._width < 0:
                return
            if self._width < 0 and values is not None:
                self._width = values.shape[1]
                self._put(0, np.full((before, self._width), np.nan, np.float32))
            self._put(before, np.full((count, self._width), np.nan, np.float32) if values is None else values)
            self._head()
        except OSError as error:
            raise unwritable(self.path, error) from None

    def replace(self, row: int, values: npt.NDArray[np.float32]) -> None:
        """Overwrite one row, shape (D,)."""
        try:
            if self._width < 0:
                self._width = len(values)
                self._put(0, np.full((self.rows, self._width), np.nan, np.float32))
            self._put(row, values[None])
            self._head()
        except OSError as error:
            raise unwritable(self.path, error) from None

    def _put(self, row: int, values: npt.NDArray[np.float32]) -> None:
        self._write(_HEADER + row * self._width * 4, np.ascontiguousarray(values, "<f4").tobytes())

    def _head(self) -> None:
        shape = f"({self.rows}, {max(0, self._width)})"
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
        head = b"\x93NUMPY\x01\x00" + (_HEADER - 10).to_bytes(2, "little") + text.encode().ljust(_HEADER - 11) + b"\n"
        self._write(0, head)

    def _write(self, offset: int, data: bytes) -> None:
        self._file.seek(offset)
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]

    def close(self) -> None:
        """Complete the header and close."""
        if not self._file.closed:
            self._head()
            self._file.close()
