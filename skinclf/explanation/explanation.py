"""`Explanation`: the map of one image with what it explains."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Float32
from skinclf.errors import ImageError
from skinclf.explanation.geometry import Geometry
from skinclf.inference.prediction import Prediction

#: Range of a map below this share of its largest value is rounding, not a map.
_FLAT = 1e-6
#: Share of a map's absolute values below which the places that raise the target are nothing to show.
_NOTHING = 0.01


@dataclass(frozen=True, slots=True)
class Explanation:
    """The map of one image.

    Attributes:
        image: Name of the input.
        prediction: Prediction that is explained.
        target: Name of the target, such as `malignant`, `mel` or `mel-nv`.
        described: Words for the target, such as `log-odds of malignant`.
        probability: Probability of the target's labels; of the first one for two labels.
        log_odds: Value of the target.
        method: Method of the map.
        layer: Name of the layer of Grad-CAM; empty for other methods.
        map: Shape (h, w), float32, over the whole upright original: positive where the place raises the target,
            negative where it lowers it (never negative for saliency and SmoothGrad), 0 where the network saw nothing.
        geometry: What of the original the network saw.
    """

    image: str
    prediction: Prediction
    target: str
    described: str
    probability: float
    log_odds: float
    method: str
    layer: str
    map: Float32 = field(repr=False, compare=False)
    geometry: Geometry

    @property
    def direction(self) -> str:
        """`raises` where places raise the target, `lowers` where next to nothing does and the others are shown.

        A benign image may have no place that speaks for malignancy; then the map shows what speaks against it.
        """
        up = float(np.maximum(self.map, 0).sum(dtype=np.float64))
        return "raises" if up >= _NOTHING * float(np.abs(self.map).sum(dtype=np.float64)) else "lowers"

    @property
    def shown(self) -> Float32:
        """Values of the shown direction, all 0 or more."""
        return np.maximum(self.map if self.direction == "raises" else -self.map, 0)

    @property
    def maximum(self) -> float:
        """Largest shown value."""
        return float(self.shown.max())

    @property
    def mass(self) -> float:
        """Integral of what is shown over the picture, whose area counts as 1."""
        return float(self.shown.mean(dtype=np.float64))

    @property
    def centre(self) -> tuple[float, float]:
        """Centre (x, y) of what is shown, in pixels of the upright original."""
        values = self.shown.astype(np.float64)
        total = values.sum()
        rows, cols = values.shape
        y = values.sum(axis=1) @ (np.arange(rows) + 0.5) / total / rows
        x = values.sum(axis=0) @ (np.arange(cols) + 0.5) / total / cols
        return float(x * self.geometry.cols), float(y * self.geometry.rows)


def enclosing_level(shown: Float32, share: float) -> float:
    """Value that encloses a share of a map's mass in the smallest area.

    Args:
        shown: Shown values of a map, none negative, shape (h, w).
        share: Share of the mass, between 0 and 1.
    """
    values = np.sort(shown, axis=None)[::-1].astype(np.float64)
    total = np.cumsum(values)
    return float(values[int(np.searchsorted(total, share * total[-1]))])


def check_map(values: npt.NDArray[np.floating], name: str, method: str) -> None:
    """Refuse a map that shows nothing.

    Args:
        values: Map over the network's input.
        name: Name of the image.
        method: Method of the map.

    Raises:
        ImageError: The map is zero, constant or not finite (`no_map`).
    """
    if not np.isfinite(values).all():
        problem = "not finite"
    elif not values.any():
        problem = "zero"
    elif float(np.ptp(values)) <= _FLAT * float(np.abs(values).max()):
        problem = "constant"
    else:
        return
    raise ImageError("no_map", f"{name}: the {method} map is {problem} everywhere, so it shows nothing.")
