"""PALETTE COLOR pictures: indices and their tables of colours, plain or in segments."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf.errors import ImageError

#: A descriptor counts entries in 16 bits.
_MOST_ENTRIES = 1 << 16


def palette_rgb(indices: npt.NDArray[Any], header: Any, name: str) -> npt.NDArray[np.uint8]:
    """Colours of a picture of indices, 8 bits each.

    Args:
        indices: Shape (H, W).
        header: `pydicom.Dataset` with the tables.
        name: Name of the file for messages.

    Returns:
        Shape (H, W, 3), dtype uint8, RGB.

    Raises:
        ImageError: The tables are missing or cannot be used.
    """
    from pydicom.pixels.processing import apply_color_lut

    for colour in ("Red", "Green", "Blue"):
        descriptor = header.get(f"{colour}PaletteColorLookupTableDescriptor")
        segments = header.get(f"Segmented{colour}PaletteColorLookupTableData")
        if descriptor is None or len(descriptor) != 3:
            raise ImageError("unreadable", f"{name}: the palette is missing or damaged.")
        if segments is not None:
            _check_segments(segments, name, wide=int(descriptor[2]) > 8)
    colours = apply_color_lut(indices, header)[..., :3]
    if colours.dtype == np.uint8:
        return np.ascontiguousarray(colours)
    if colours.dtype.itemsize != 2 or colours.max() < 256:
        # 16-bit entries that hold 8-bit values: a common error of writers, and nothing says so.
        raise ImageError("unsupported", f"{name}: the palette's entries do not use their 16 bits.")
    shifted: npt.NDArray[np.uint8] = (colours >> 8).astype(np.uint8)
    return shifted


def _check_segments(data: bytes, name: str, *, wide: bool) -> None:
    """Refuse segments that expand to more entries than a table has, before they are expanded."""
    values = np.frombuffer(data[: len(data) // 2 * 2] if wide else data, "<u2" if wide else np.uint8)
    at, entries = 0, 0
    while at + 1 < len(values):
        kind, length = int(values[at]), int(values[at + 1])
        if kind not in {0, 1}:
            raise ImageError("unsupported", f"{name}: a palette whose segments refer to others.")
        entries += length
        at += 2 + length if kind == 0 else 3
    if entries > _MOST_ENTRIES:
        raise ImageError("unreadable", f"{name}: the segments of the palette expand beyond its size.")
