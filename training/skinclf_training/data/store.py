"""Decoded images as one `uint8` array on disk, so that an epoch costs no decoding."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf._utils.files import writing
from skinclf.errors import ImageError
from skinclf.images.decode import load_picture
from skinclf.images.preprocess import Preprocess

_BLOCK = 1 << 24
log = logging.getLogger("skinclf")


def decoded_store(
    paths: Sequence[Path],
    preprocess: Preprocess,
    cache: Path,
    *,
    workers: int = 4,
    progress: Callable[[int, int], None] | None = None,
) -> npt.NDArray[np.uint8]:
    """Pixels of all images after a `Preprocess`' geometry, memory-mapped.

    The file name holds a hash of the image files (folder and name, size, time) and of the preprocessing, so a stale
    store is never taken; it appears only when complete.

    Args:
        paths: Image files.
        preprocess: Preprocessing whose `pixels` gives each row, enhancement steps included, exactly as in
            prediction; scaling is left to the network.
        cache: Folder for the store.
        workers: Number of decoding threads.
        progress: Function that is called with (done, total) at intervals.

    Returns:
        Shape (N, height, width, 3), dtype uint8, read-only.

    Raises:
        ImageError: An image cannot be read or enhanced; the message names it.
        OutputError: The store cannot be written, for instance because the disk is full; nothing of it is left.
    """
    key = hashlib.sha256(preprocess.fingerprint.encode())
    for path in paths:
        info = path.stat()
        key.update(f"{path.parent.name}/{path.name} {info.st_size} {info.st_mtime_ns}\n".encode())
    file = cache / f"pixels-{key.hexdigest()[:16]}.npy"
    if not file.is_file():
        with writing(cache):
            cache.mkdir(parents=True, exist_ok=True)
        shape = (len(paths), preprocess.height, preprocess.width, 3)
        log.info("Decoding %d images to %s (%.2f GB)", len(paths), file, np.prod(shape) / 1e9)
        partial = file.with_name(f"{file.stem}.{os.getpid()}.part.npy")

        def fill(i: int) -> None:
            try:
                pixels = preprocess.pixels(load_picture(paths[i], draft=preprocess.reduction))
            except ImageError as error:
                raise ImageError(error.code, f"{paths[i].name}: {error}") from None
            store[i] = (
                pixels if pixels.dtype == np.uint8 else np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
            )

        try:
            with writing(file):
                store = _reserved(partial, shape)
            with ThreadPoolExecutor(max(1, workers)) as pool:
                for done, _ in enumerate(pool.map(fill, range(len(paths))), start=1):
                    if progress is not None and (done % 500 == 0 or done == len(paths)):
                        progress(done, len(paths))
            with writing(file):
                store.flush()
                partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
    result: npt.NDArray[np.uint8] = np.load(file, mmap_mode="r")
    return result


def _reserved(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.uint8]]:
    """A new mapped array whose space on disk is reserved.

    Without it the file has holes, and a write that finds no space for one ends the process.

    Raises:
        OSError: There is not enough space.
    """
    array: np.memmap[Any, np.dtype[np.uint8]] = np.lib.format.open_memmap(
        path, mode="w+", dtype=np.uint8, shape=shape
    )
    size = path.stat().st_size
    with path.open("r+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:  # Windows
            file.seek(array.offset)
            for start in range(array.offset, size, _BLOCK):
                file.write(bytes(min(_BLOCK, size - start)))
    return array


class JoinedStore:
    """Several stores as one, row after row, without a copy of the whole.

    Args:
        stores: Arrays of shape (N_i, height, width, 3), uint8, of the same height and width.
    """

    def __init__(self, stores: Sequence[npt.NDArray[np.uint8]]) -> None:
        self._stores = tuple(stores)
        self._starts = np.cumsum([0, *(len(store) for store in stores)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Pixels of some rows, shape (len(rows), height, width, 3), copied."""
        pixels = np.empty((len(rows), *self._stores[0].shape[1:]), np.uint8)
        of = np.searchsorted(self._starts, rows, side="right") - 1
        for i, store in enumerate(self._stores):
            mine = of == i
            pixels[mine] = store[rows[mine] - self._starts[i]]
        return pixels
