"""Test-time augmentation: the same network on several views of an image, their probabilities averaged.

Dermoscopic images have no upright, so the views are the symmetries of the square, which move pixels
without resampling them, and a closer look at the centre.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf.errors import InvalidArgumentError
from skinclf.images.decode import ImageSource, load_image
from skinclf.images.preprocess import Preprocess
from skinclf.inference.scorer import LoadPixels, NetworkScorer, Pixels, ScoredBatch, Slot
from skinclf.labels import LabelSet
from skinclf.models.precision import PER_LOOK
from skinclf.models.probabilities import probabilities
from skinclf.models.spec import ModelSpec
from skinclf.runtimes.base import Runtime

#: Names of view sets: quarter turns and mirrorings (turns, mirrored), and whether a zoomed copy joins.
VIEWS: Mapping[str, tuple[tuple[tuple[int, bool], ...], bool]] = {
    "flips": (((0, False), (0, True), (2, False), (2, True)), False),
    "d4": (tuple((turn, flip) for turn in range(4) for flip in (False, True)), False),
    "d4+zoom": (tuple((turn, flip) for turn in range(4) for flip in (False, True)), True),
}
#: Share of each side that the zoomed copy shows.
ZOOM = 0.8


def check_views(views: str, preprocess: Preprocess) -> None:
    """Check that views are known and fit an input.

    Args:
        views: Name of the view set.
        preprocess: Preprocessing of the input.

    Raises:
        InvalidArgumentError: Unknown views, or quarter turns of an input that is not square.
    """
    if views not in VIEWS:
        raise InvalidArgumentError(
            f"Test-time augmentation {views!r}: expected none, {', '.join(VIEWS)}.", parameter="tta"
        )
    height, width = preprocess.height, preprocess.width
    if height != width and any(turn % 2 for turn, _ in VIEWS[views][0]):
        raise InvalidArgumentError(
            f"Test-time augmentation {views!r} turns an input of {height} x {width}; use `tta='flips'`.",
            parameter="tta",
        )


@dataclass(frozen=True, slots=True)
class LoadViews:
    """`prepare` for views that need the original's pixels: the image and its centre."""

    preprocess: Preprocess

    def __call__(self, source: ImageSource) -> Pixels:
        """Decode one image, and resize all of it and its centre.

        Raises:
            ImageError: The image cannot be read.
        """
        image = load_image(source, draft=self._reduction)
        rows, cols = image.shape[:2]
        height, width = max(1, round(ZOOM * rows)), max(1, round(ZOOM * cols))
        top, left = (rows - height) // 2, (cols - width) // 2
        centre = np.ascontiguousarray(image[top : top + height, left : left + width])
        return (self.preprocess.pixels(image), self.preprocess.pixels(centre))

    def _reduction(self, width: int, height: int) -> int:
        # The centre has fewer pixels for the same target.
        return self.preprocess.reduction(math.floor(ZOOM * width), math.floor(ZOOM * height))


class TtaScorer(NetworkScorer):
    """One network over several views of an image.

    The column `tta_spread` holds the standard deviation over views of the probability of malignancy
    (of the averaged winner's probability, when the labels declare no malignant class).
    """

    columns: Mapping[str, type] = {"tta_spread": float}

    def __init__(self, spec: ModelSpec, runtime: Runtime, views: str) -> None:
        """Choose the views.

        Args:
            spec: Contract of the model.
            runtime: Network of the model on a device.
            views: Name of the view set, a key of `VIEWS`.

        Raises:
            InvalidArgumentError: Unknown views, or quarter turns of an input that is not square.
        """
        p = spec.preprocess
        check_views(views, p)
        self._turns, self._zoom = VIEWS[views]
        super().__init__(spec, runtime, LoadViews(p) if self._zoom else LoadPixels(p))
        self._views = views

    @property
    def layout(self) -> tuple[Slot, ...]:
        return super().layout * (2 if self._zoom else 1)

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        return {**super().fingerprint, "tta": self._views}

    @property
    def info(self) -> Mapping[str, Any]:
        # The largest change holds for every view, hence for their average; the band in log-odds for one look only.
        return {**{k: v for k, v in super().info.items() if k not in PER_LOOK}, "tta": self._views}

    # Views are made from pixels in the host's memory, so that `stage` stays the default.

    def score(self, batch: Pixels) -> ScoredBatch:
        prepared, beside = self.split(batch)
        views = np.stack([self._view(pixels, beside, *view) for pixels in prepared for view in self._turns])
        mean = views.mean(axis=0, dtype=np.float64).astype(np.float32)
        return ScoredBatch(mean, {"tta_spread": spread(views, mean, self.spec.labels)})

    def _view(
        self,
        pixels: npt.NDArray[Any],
        beside: Pixels,
        turn: int,
        flip: bool,  # noqa: FBT001
    ) -> npt.NDArray[np.float32]:
        turned = np.rot90(pixels, turn, axes=(1, 2))
        turned = turned[:, :, ::-1] if flip else turned
        raw = self.runtime.run(np.ascontiguousarray(turned), *beside)
        return probabilities(raw, self.spec.activation, self.spec.calibration)


def spread(
    values: npt.NDArray[np.float32], mean: npt.NDArray[np.float32], labels: LabelSet
) -> npt.NDArray[np.float32]:
    """Standard deviation over views or members of the probability of malignancy, shape (N,), float32.

    Where no class is declared malignant, that of the probability of the class with the largest mean.

    Args:
        values: Probabilities, shape (V, N, K).
        mean: Their average, shape (N, K).
        labels: Labels in output order, with their malignant flags.
    """
    malignant = labels.malignant(values)
    if malignant is not None:
        scalars = malignant
    else:
        scalars = np.take_along_axis(values, mean.argmax(axis=1)[None, :, None], axis=2)[:, :, 0]
    return np.asarray(scalars.std(axis=0, dtype=np.float64), np.float32)
