"""Lesion masks, and the share of a map's mass inside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Floats
from skinclf.errors import ImageError, InvalidArgumentError
from skinclf.explanation.explanation import Explanation
from skinclf.images.decode import load_image
from skinclf.images.discovery import scan_directory

_ENDING = "_segmentation"


@dataclass(frozen=True, slots=True)
class Masks:
    """A folder of masks.

    Attributes:
        folder: The folder.
        files: File by stem of the image.
    """

    folder: Path
    files: dict[str, str]

    @classmethod
    def of(cls, folder: Path) -> Masks:
        """The masks of a folder, known by `<stem>` or `<stem>_segmentation`.

        Raises:
            InvalidArgumentError: The folder cannot be listed or holds no image.
        """
        files = {
            Path(path).stem.removesuffix(_ENDING): path for path in scan_directory(folder, recursive=True)
        }
        if not files:
            raise InvalidArgumentError(
                f"{folder}: holds no masks, images named as those explained.", parameter="masks"
            )
        return cls(folder, files)

    def find(self, image: str, rows: int, cols: int) -> Floats | None:
        """The mask of an image as shares of lesion, shape (rows, cols), 0 to 1; None where it has no mask.

        Raises:
            ImageError: The mask cannot be read, or its sides are not in the proportion of the image's.
        """
        path = self.files.get(Path(image).stem)
        if path is None:
            return None
        from PIL import Image

        grey = load_image(path).max(axis=2)
        height, width = grey.shape
        if abs(height * cols - width * rows) > max(height, width, rows, cols):
            raise ImageError(
                "unsupported",
                f"{path}: a mask of {width} x {height} pixels does not fit its image, {cols} x {rows}.",
            )
        lesion = Image.fromarray((grey > 127).astype(np.uint8) * np.uint8(255))
        return np.asarray(lesion.resize((cols, rows), Image.Resampling.BOX), np.float64) / 255

    def share_inside(self, found: Explanation) -> float | None:
        """Share of the mass inside the image's mask; None where it has none.

        Raises:
            ImageError: The mask cannot be read, or does not fit the image.
        """
        rows, cols = found.map.shape
        mask = self.find(found.image, rows, cols)
        if mask is None:
            return None
        values: npt.NDArray[np.float64] = found.shown.astype(np.float64)
        return float((values * mask).sum() / values.sum())
