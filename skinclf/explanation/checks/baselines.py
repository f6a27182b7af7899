"""Maps that know nothing of the model: edges, the centre, chance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Floats
from skinclf.explanation.geometry import enlarge

#: Standard deviation of the centred Gaussian, as a share of each side.
_SPREAD = 0.25
#: Cells of a random order along each side: single pixels would measure what noise does to the network.
_CELLS = 16


def centred(rows: int, cols: int) -> Floats:
    """A Gaussian on the centre of the picture, where photographers put the lesion; shape (rows, cols)."""
    y, x = ((np.arange(n) + 0.5) / n - 0.5 for n in (rows, cols))
    return np.asarray(np.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / (2 * _SPREAD**2)))


def edges(pixels: npt.NDArray[np.generic]) -> Floats:
    """Strength of the edges of the picture by Sobel's filter, smoothed by one hundredth of a side.

    Args:
        pixels: Shape (H, W, 3).
    """
    from scipy.ndimage import gaussian_filter, sobel

    grey = np.asarray(pixels, np.float64).mean(axis=2)
    strength = np.hypot(sobel(grey, axis=0), sobel(grey, axis=1))
    return np.asarray(gaussian_filter(strength, min(grey.shape) / 100))


def chance(rows: int, cols: int, seed: int) -> Floats:
    """Random values on 16 x 16 cells, shape (rows, cols)."""
    cells = np.random.default_rng(seed).random((_CELLS, _CELLS))
    return enlarge(cells, rows, cols)
