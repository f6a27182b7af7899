"""Maps from probabilities alone, through any `Scorer`: occlusion and RISE.

Parts of the image are replaced by its mean colour, and the change of the target is what a place is worth. Every
runtime, precision, ensemble and test-time augmentation works, since nothing but `Scorer.score` is asked. A scorer of
one network has its input changed; one that prepares several inputs gets changed copies of the upright original.

Sources: Zeiler & Fergus, "Visualizing and understanding convolutional networks", ECCV 2014; Petsiuk et al., "RISE",
BMVC 2018.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Floats
from skinclf.explanation.geometry import enlarge
from skinclf.explanation.target import Target
from skinclf.images.decode import RGBArray
from skinclf.inference.scorer import LoadPixels, Pixels, Scorer

#: Windows of occlusion along each side of the image, each two cells of the map wide, and cells of the map.
_CELLS = 16
#: Masks of RISE, cells along each side of a mask, and the share of cells that a mask keeps.
_MASKS, _MASK_CELLS, _KEPT = 512, 8, 0.5


@dataclass(frozen=True, slots=True)
class Canvas:
    """What is changed: the input of one network, or the upright original of several.

    Attributes:
        pixels: Shape (H, W, 3), dtype uint8 or float32, RGB, 0 to 255.
        scorer: Scorer that is asked.
        prepared: Whether `pixels` are an input of the scorer already.
    """

    pixels: npt.NDArray[Any]
    scorer: Scorer
    prepared: bool

    @classmethod
    def of(cls, scorer: Scorer, original: RGBArray, prepared: Pixels) -> Canvas:
        """The canvas for one image.

        Args:
            scorer: Scorer that is asked.
            original: Upright original.
            prepared: What `scorer.prepare` made of it.
        """
        one = isinstance(scorer.prepare, LoadPixels)
        return cls(prepared[0] if one else original, scorer, one)

    def targets(
        self, masks: Iterable[npt.NDArray[Any]], target: Target, *, fill: npt.NDArray[Any] | None = None
    ) -> Floats:
        """Target of changed copies.

        Args:
            masks: Shares of the image that stay, each (H, W), 0 to 1.
            target: Quantity that is measured.
            fill: What stands in the place of the rest, shape (3,) or (H, W, 3); None is the image's mean colour.

        Returns:
            One number for each mask, float64.
        """
        if fill is None:
            fill = self.pixels.mean(axis=(0, 1), dtype=np.float64)
        parts = []
        for batch, count in self._batches(masks, fill):
            parts.append(target.of_probabilities(self.scorer.score(batch).probabilities[:count]))
        return np.concatenate(parts)

    def _batches(
        self, masks: Iterable[npt.NDArray[Any]], fill: npt.NDArray[Any]
    ) -> Iterator[tuple[Pixels, int]]:
        """Batches of one size, as compiled runtimes want them; the end of the last one is blank."""
        iterator, size = iter(masks), self.scorer.batch_size
        while chunk := list(islice(iterator, size)):
            buffer = tuple(np.zeros((size, *slot.shape), slot.dtype) for slot in self.scorer.layout)
            for row, mask in enumerate(chunk):
                for into, values in zip(buffer, self._changed(mask, fill), strict=True):
                    into[row] = values
            yield self.scorer.stage(buffer), len(chunk)

    def _changed(self, mask: npt.NDArray[Any], fill: npt.NDArray[Any]) -> Pixels:
        share = mask[:, :, None]
        values = self.pixels * share + fill * (1 - share)
        if self.pixels.dtype == np.uint8:
            values = np.rint(values)
        changed = values.astype(self.pixels.dtype)
        return (changed,) if self.prepared else self.scorer.prepare(changed)


def occlusion(canvas: Canvas, target: Target) -> Floats:
    """Mean fall of the target under the windows that cover each cell, shape (cells, cells), with sign.

    Args:
        canvas: Image to change.
        target: Quantity to explain.
    """
    height, width = canvas.pixels.shape[:2]
    rows, cols = min(_CELLS, height), min(_CELLS, width)
    # Windows of 2 x 2 cells at every cell, those over the edges too: each cell is covered by four.
    places = [(y, x) for y in range(-1, rows) for x in range(-1, cols)]
    edges_y, edges_x = _edges(rows, height), _edges(cols, width)

    def masks() -> Iterator[npt.NDArray[np.float64]]:
        yield np.ones((height, width))
        for y, x in places:
            mask = np.ones((height, width))
            mask[
                edges_y[max(0, y)] : edges_y[min(rows, y + 2)], edges_x[max(0, x)] : edges_x[min(cols, x + 2)]
            ] = 0
            yield mask

    base, *changed = canvas.targets(masks(), target).tolist()
    total = np.zeros((rows, cols))
    for (y, x), value in zip(places, changed, strict=True):
        total[max(0, y) : y + 2, max(0, x) : x + 2] += (base - value) / 4
    return total


def rise(canvas: Canvas, target: Target) -> Floats:
    """Covariance of the target with what random masks show of each place, shape (H, W), with sign.

    The masks are the same for every image. The published map is the mean of masks weighted by the score; taking the
    mean score off first removes the pattern of the masks themselves.

    Args:
        canvas: Image to change.
        target: Quantity to explain.
    """
    height, width = canvas.pixels.shape[:2]

    def masks() -> Iterator[npt.NDArray[np.float64]]:
        generator = np.random.default_rng(0)
        cell_y, cell_x = -(-height // _MASK_CELLS), -(-width // _MASK_CELLS)
        for _ in range(_MASKS):
            kept = (generator.random((_MASK_CELLS + 1, _MASK_CELLS + 1)) < _KEPT).astype(np.float64)
            whole = enlarge(kept, cell_y * (_MASK_CELLS + 1), cell_x * (_MASK_CELLS + 1))
            top, left = int(generator.integers(cell_y)), int(generator.integers(cell_x))
            yield whole[top : top + height, left : left + width]

    values = canvas.targets(masks(), target)
    # Equal values have no part in the map, not that of their rounding.
    values = values - values.mean() if np.ptp(values) else np.zeros_like(values)
    total = np.zeros((height, width))
    for value, mask in zip(values, masks(), strict=True):
        total += value * mask
    return np.asarray(total / (_MASKS * _KEPT * (1 - _KEPT)))


def _edges(cells: int, side: int) -> npt.NDArray[np.intp]:
    """First pixel of each cell, and the end of the last one."""
    return np.round(np.arange(cells + 1) * side / cells).astype(np.intp)
