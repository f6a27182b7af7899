"""`Geometry`: maps in the space of a network's input brought back to the upright original image.

The inverse of `Preprocess.placement`: each pixel of the original is looked up at the point of the input that its centre
was resized to. What a crop removed has no value, and what was padding is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Float32
from skinclf.images.preprocess import Preprocess

#: Longest side of a stored map, in pixels; maps are smooth at a coarser scale than that.
LONGEST = 512


@dataclass(frozen=True, slots=True)
class Geometry:
    """The rectangle of an upright original that a canvas (the network's input) shows, in fractions of its sides.

    Attributes:
        rows: Height of the original, in pixels.
        cols: Width of the original, in pixels.
        top: Upper edge of the canvas; negative where padding lies above the image.
        left: Left edge of the canvas.
        height: Height of the canvas; more than 1 where there is padding.
        width: Width of the canvas.
    """

    rows: int
    cols: int
    top: float = 0.0
    left: float = 0.0
    height: float = 1.0
    width: float = 1.0

    @classmethod
    def of(cls, preprocess: Preprocess, rows: int, cols: int) -> Geometry:
        """The rectangle that a preprocessing shows of an image of `rows` x `cols` pixels."""
        place = preprocess.placement(rows, cols)
        return cls(
            rows,
            cols,
            place.top / place.height,
            place.left / place.width,
            preprocess.height / place.height,
            preprocess.width / place.width,
        )

    @property
    def map_size(self) -> tuple[int, int]:
        """Rows and columns of a stored map: the original's, or less where that is large."""
        factor = min(1.0, LONGEST / max(self.rows, self.cols))
        return max(1, round(self.rows * factor)), max(1, round(self.cols * factor))

    def seen(self, rows: int, cols: int) -> npt.NDArray[np.bool_]:
        """Whether the network saw each pixel of the original at a resolution of `rows` x `cols`."""
        inside_y = _inside(_centres(rows), self.top, self.height)
        inside_x = _inside(_centres(cols), self.left, self.width)
        return inside_y[:, None] & inside_x[None, :]

    @property
    def seen_share(self) -> float:
        """Share of the original's area that the network saw."""
        low_y, high_y = max(0.0, self.top), min(1.0, self.top + self.height)
        low_x, high_x = max(0.0, self.left), min(1.0, self.left + self.width)
        return (high_y - low_y) * (high_x - low_x)

    def to_original(self, canvas: npt.NDArray[Any]) -> Float32:
        """A map over the original from one over the canvas, both of any resolution.

        Args:
            canvas: Shape (h, w); its cells divide the whole canvas evenly.

        Returns:
            Shape `map_size`, float32, bilinear; 0 where the network saw nothing.
        """
        rows, cols = self.map_size
        y = (_centres(rows) - self.top) / self.height
        x = (_centres(cols) - self.left) / self.width
        values = sample(canvas, y, x)
        return np.where(self.seen(rows, cols), values, 0).astype(np.float32)


def sample(grid: npt.NDArray[Any], y: npt.NDArray[Any], x: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Bilinear values of a grid of cells at fractions of its height and width, constant beyond the outer centres.

    Args:
        grid: Shape (h, w).
        y: Shape (H,), 0 at the upper edge and 1 at the lower.
        x: Shape (W,), 0 at the left edge and 1 at the right.

    Returns:
        Shape (H, W), float64.
    """
    low_y, high_y, share_y = _between(y, grid.shape[0])
    low_x, high_x, share_x = _between(x, grid.shape[1])
    values = np.asarray(grid, np.float64)
    columns = values[low_y] * (1 - share_y)[:, None] + values[high_y] * share_y[:, None]
    return np.asarray(columns[:, low_x] * (1 - share_x) + columns[:, high_x] * share_x)


def enlarge(grid: npt.NDArray[Any], rows: int, cols: int) -> npt.NDArray[np.float64]:
    """A grid of cells at another resolution, bilinear."""
    return sample(grid, _centres(rows), _centres(cols))


def _centres(count: int) -> npt.NDArray[np.float64]:
    return np.asarray((np.arange(count) + 0.5) / count)


def _inside(at: npt.NDArray[np.float64], start: float, length: float) -> npt.NDArray[np.bool_]:
    return np.asarray((at >= start) & (at < start + length))


def _between(at: npt.NDArray[Any], cells: int) -> tuple[Any, Any, npt.NDArray[np.float64]]:
    """The cells on both sides of each point, and the share of the second."""
    point = np.clip(at * cells - 0.5, 0, cells - 1)
    low = np.floor(point).astype(np.intp)
    return low, np.minimum(low + 1, cells - 1), point - low
