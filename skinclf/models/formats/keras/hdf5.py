"""HDF5 files, checked before any of their content is read.

Refused: links to elsewhere (external, soft, looped), datasets stored in other files or put together from
them, filters that Keras never writes (HDF5 would look for a plugin), and datasets that declare more than
the file can hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
import numpy.typing as npt

from skinclf.errors import ModelError, SkinclfError, UnsafeModelError
from skinclf.models.spec import MAX_CONFIG_BYTES

_MAX_OBJECTS = 100_000
_MAX_DEPTH = 64
#: deflate, shuffle, fletcher32, lzf: the filters that h5py itself writes.
_FILTERS = {1, 2, 3, 32000}
#: Compressed datasets together may unpack to this many times the file (uncompressed ones to what they are).
_MAX_RATIO, _FREE_BYTES = 16, 64 * 1024 * 1024
_FLOATS = {"f2", "f4", "f8"}
#: Storage type of bfloat16, for which HDF5 has none.
_BFLOAT16 = "V2"


@dataclass(frozen=True, slots=True)
class Stored:
    """Shape and type of a dataset."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Hdf5:
    """A checked, open file.

    Attributes:
        datasets: Every numeric dataset by its path.
        groups: Every group's path.
    """

    def __init__(self, file: h5py.File, size: int) -> None:
        self._file = file
        self.datasets: dict[str, Stored] = {}
        self.groups: set[str] = set()
        self._walk(size)

    def _walk(self, size: int) -> None:
        seen: set[Any] = set()
        declared = 0
        stack: list[tuple[h5py.Group, str, int]] = [(self._file, "", 0)]
        while stack:
            group, prefix, depth = stack.pop()
            for name in group:
                path = f"{prefix}{name}"
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise UnsafeModelError(
                        f"{path!r} is a link to somewhere else; such a file is not opened."
                    )
                item = group[name]
                info = h5py.h5o.get_info(item.id)
                if (info.fileno, info.addr) in seen or len(seen) > _MAX_OBJECTS or depth > _MAX_DEPTH:
                    raise UnsafeModelError(
                        f"{path!r}: objects linked twice, or too many of them; Keras writes neither."
                    )
                seen.add((info.fileno, info.addr))
                if isinstance(item, h5py.Dataset):
                    declared += self._add(path, item)
                elif isinstance(item, h5py.Group):
                    self.groups.add(path)
                    stack.append((item, f"{path}/", depth + 1))
                else:
                    raise UnsafeModelError(
                        f"{path!r} is neither a group nor a dataset; Keras writes no such thing."
                    )
        if declared > _MAX_RATIO * size + _FREE_BYTES:
            raise UnsafeModelError(f"its datasets unpack to {declared:,} bytes from a file of {size:,}.")

    def _add(self, path: str, item: h5py.Dataset) -> int:
        plan = item.id.get_create_plist()
        if plan.get_layout() not in {h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED}:
            raise UnsafeModelError(f"Dataset {path!r} is put together from other files or datasets.")
        if plan.get_external_count():
            raise UnsafeModelError(f"Dataset {path!r} is stored in another file.")
        filters = {plan.get_filter(i)[0] for i in range(plan.get_nfilters())}
        if filters - _FILTERS:
            raise UnsafeModelError(
                f"Dataset {path!r} needs HDF5 filters {sorted(filters - _FILTERS)}, unknown here."
            )
        shape = item.shape if item.shape is not None else (0,)
        count = math.prod(shape) * item.dtype.itemsize
        if not filters and count > item.id.get_storage_size():
            raise UnsafeModelError(
                f"Dataset {path!r} declares {count:,} bytes and stores {item.id.get_storage_size():,}; "
                "the file is damaged or made to exhaust memory."
            )
        if item.dtype.kind in "fiub" or item.dtype.str[1:] == _BFLOAT16:
            self.datasets[path] = Stored(tuple(shape), item.dtype)
        return int(count)

    def read(self, path: str) -> npt.NDArray[np.float32]:
        """A dataset of floating-point numbers, as float32.

        Raises:
            ModelError: The dataset is of another type, or damaged.
        """
        stored = self.datasets[path]
        if stored.dtype.str[1:] == _BFLOAT16:  # the upper half of a float32
            with _translated():
                halves = np.ascontiguousarray(self._file[path][()]).view("<u2")
            return (halves.astype("<u4") << 16).view("<f4").reshape(stored.shape)
        if stored.dtype.str[1:] not in _FLOATS:
            raise ModelError(f"Tensor {path!r} holds {stored.dtype}; expected floating-point numbers.")
        with _translated():
            return np.asarray(self._file[path][()], dtype=np.float32)

    def text(self, name: str, *, group: str = "/") -> str | None:
        """A text attribute, or None when there is none.

        Raises:
            UnsafeModelError: The text is larger than any configuration.
            ModelError: The attribute is no text.
        """
        with _translated():
            attributes = self._file[group].attrs
            if name not in attributes:
                return None
            stored = attributes.get_id(name)
            # A list of texts may name one long text a thousand times; one text is at most as long as the file.
            if math.prod(stored.shape) != 1 or stored.dtype.itemsize > MAX_CONFIG_BYTES:
                raise UnsafeModelError(f"{name!r} is no single text of at most {MAX_CONFIG_BYTES:,} bytes.")
            value = attributes[name]
            value = value.item() if isinstance(value, np.ndarray) else value
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        if not isinstance(value, str):
            raise ModelError(f"{name!r} is {type(value).__name__}; expected text.")
        if len(value) > MAX_CONFIG_BYTES:
            raise UnsafeModelError(f"{name!r} is larger than {MAX_CONFIG_BYTES:,} bytes.")
        return value

    def has(self, name: str, *, group: str = "/") -> bool:
        """Whether there is an attribute of this name, or the first part of one that was split into several."""
        with _translated():
            attributes = self._file[group].attrs
            return name in attributes or f"{name}0" in attributes


@contextmanager
def open_hdf5(file: Path | IO[bytes], size: int) -> Iterator[Hdf5]:
    """Open and check a file.

    Args:
        file: A path, or a seekable binary file.
        size: Size of the file in bytes; it limits the unpacked size.

    Raises:
        UnsafeModelError: The file holds something that is never opened.
        ModelError: The file is damaged or no HDF5 file.
    """
    with _translated():
        # Read-only network drives refuse locks; a published file is not written to anyway.
        handle = h5py.File(file, "r", locking=False) if isinstance(file, Path) else h5py.File(file, "r")
    try:
        with _translated():
            checked = Hdf5(handle, size)
        yield checked
    finally:
        handle.close()


@contextmanager
def _translated() -> Iterator[None]:
    """The many exceptions with which h5py reports damage, as one."""
    try:
        yield
    except SkinclfError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"Not a complete HDF5 file, or damaged: {reason}.") from None
