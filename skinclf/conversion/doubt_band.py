"""Band around a threshold, in log-odds, outside which a reduced precision rarely changes a decision.

The claim is a one-sided tolerance bound: of n measured images, k changed their decision at a fixed threshold although
they lie farther from it than the band; the exact binomial bound (Clopper and Pearson) of k among n is the share of
further rows that do so at most. The band is the narrowest one whose k is small enough at every threshold, so that the
claim holds for any threshold that was chosen without the measured images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skinclf._utils.arrays import Floats
from skinclf.metrics.intervals import one_sided_lower

#: Share of rows that may change their decision without a mark, and the confidence of that claim.
SHARE, CONFIDENCE = 0.01, 0.95
_HALVINGS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubtBand:
    """A band in log-odds with its claim.

    Attributes:
        width: Distance from the threshold in log-odds up to which a row is in doubt.
        share: Largest share of rows outside the band whose decision changes.
        confidence: Confidence of that bound, one-sided.
    """

    width: float
    share: float
    confidence: float


def doubt_band(
    exact: Floats, reduced: Floats, *, share: float = SHARE, confidence: float = CONFIDENCE
) -> DoubtBand:
    """The narrowest band whose claim holds at every threshold.

    Args:
        exact: Log-odds in float32, shape (N,).
        reduced: Log-odds of the same images in the reduced precision, shape (N,).
        share: Share that may change unmarked; where N images cannot show it (below 299 at 1 %), the claim is the
            smallest share that N images without an exception show.
        confidence: One-sided confidence of the claim.
    """
    count = len(exact)
    bounds = 1 - one_sided_lower(count - np.arange(count), count, confidence=confidence)
    allowed = max(0, int(np.searchsorted(bounds, share, side="right")) - 1)
    low, high = 0.0, float(np.abs(reduced - exact).max())
    if _exceptions(exact, reduced, low) <= allowed:
        high = low
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _exceptions(exact, reduced, middle) <= allowed:
            high = middle
        else:
            low = middle
    return DoubtBand(width=high, share=float(bounds[allowed]), confidence=confidence)


def _exceptions(exact: Floats, reduced: Floats, width: float) -> int:
    """Most images that any one threshold parts from their float32 decision outside the band."""
    # Such thresholds of an image lie between its two log-odds, farther than `width` from the reduced one.
    moved = np.abs(reduced - exact) > width
    near = exact[moved]
    far = reduced[moved] + np.sign(near - reduced[moved]) * width
    ends = np.concatenate([np.minimum(near, far), np.maximum(near, far)])
    steps = np.repeat([1, -1], moved.sum())
    # Where one interval ends and another begins at the same threshold, both count.
    order = np.lexsort([-steps, ends])
    return int(np.cumsum(steps[order]).max(initial=0))
