"""How alike two maps are: Spearman's rank correlation and structural similarity (SSIM).

Source of SSIM: Wang et al., "Image quality assessment", IEEE Trans. Image Processing 2004, with a uniform window of
7 x 7 pixels, on maps scaled to 0 to 1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Floats

#: Side of SSIM's window, and its constants for values from 0 to 1.
_WINDOW, _C1, _C2 = 7, 0.01**2, 0.03**2


def spearman(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> float:
    """Spearman's rank correlation of the pixels of two maps; 0 where one of them is constant.

    Args:
        one: Shape (h, w).
        other: Shape (h, w).
    """
    from scipy.stats import rankdata

    ranks = [rankdata(x, axis=None) - (x.size + 1) / 2 for x in (one, other)]
    scale = float(np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    return float((ranks[0] * ranks[1]).sum() / scale) if scale else 0.0


def ssim(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]) -> float:
    """Mean structural similarity of two maps, each scaled to 0 to 1; at most 1.

    Args:
        one: Shape (h, w), sides of at least 7.
        other: Shape (h, w).
    """
    from scipy.ndimage import uniform_filter

    a, b = unit(one), unit(other)
    mean_a, mean_b = uniform_filter(a, _WINDOW), uniform_filter(b, _WINDOW)
    count = _WINDOW**2
    sample = count / (count - 1)
    var_a = sample * (uniform_filter(a * a, _WINDOW) - mean_a**2)
    var_b = sample * (uniform_filter(b * b, _WINDOW) - mean_b**2)
    cov = sample * (uniform_filter(a * b, _WINDOW) - mean_a * mean_b)
    values = (2 * mean_a * mean_b + _C1) * (2 * cov + _C2)
    values /= (mean_a**2 + mean_b**2 + _C1) * (var_a + var_b + _C2)
    edge = _WINDOW // 2  # windows that reach over the edge
    return float(values[edge:-edge, edge:-edge].mean())


def unit(values: npt.NDArray[np.floating]) -> Floats:
    """A map scaled to 0 to 1, float64; zero where it is constant or not finite."""
    finite = np.nan_to_num(np.asarray(values, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    spread = float(np.ptp(finite))
    return (finite - finite.min()) / spread if spread else np.zeros_like(finite)
