"""Familiarity of the patches of a small picture: one Gaussian of all of them, and their mean distance from it.

Whether edges, colours and their contrasts belong to skin shows in patches that are much smaller than a lesion. A
picture is as strange as its patches are on the average.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Float32, Floats
from skinclf.inference.gate.familiarity import Gaussian, fit_gaussian
from skinclf.inference.gate.picture import THUMBNAIL

#: Side of a square patch, and the step from one to the next, in pixels.
SIDE, STEP = 6, 3
#: Largest number of patches that the Gaussian is fitted on, at equal distances among all of them.
_MOST = 100_000
#: Pictures whose patches are judged at once: so few stay in the processor's cache.
_AT_ONCE = 4


def cut(small: npt.NDArray[np.float32]) -> Float32:
    """Patches of small pictures, shape (N, P, D), from flat pictures (N, height * width * 3)."""
    pictures = small.reshape(-1, *THUMBNAIL)
    windows = np.lib.stride_tricks.sliding_window_view(pictures, (SIDE, SIDE), axis=(1, 2))
    some = windows[:, ::STEP, ::STEP]
    return np.asarray(some.reshape(len(small), -1, THUMBNAIL[2] * SIDE**2), np.float32)


def fit_patches(small: npt.NDArray[np.float32]) -> Gaussian:
    """Fit the Gaussian of all patches of pictures (N, height * width * 3); its spread is that of pictures.

    Raises:
        InvalidArgumentError: There are fewer than `LEAST_IMAGES` pictures.
    """
    each = 1 + len(small) * len(cut(small[:1])[0]) // _MOST
    # Every so many patches of a picture, from another one on in the next picture.
    some = [cut(picture[None])[0, i % each :: each] for i, picture in enumerate(small)]
    fitted = fit_gaussian(np.concatenate(some), scaled=False)
    logs = patch_strangeness(replace(fitted, spread=1.0), small)
    return replace(fitted, spread=float(max(logs.std(), 1e-6)))


def patch_strangeness(gaussian: Gaussian, small: npt.NDArray[np.float32]) -> Floats:
    """Logarithm of the mean distance of the patches of each picture, in units of its spread, shape (N,)."""
    result = np.empty(len(small))
    for start in range(0, len(small), _AT_ONCE):
        patches = cut(small[start : start + _AT_ONCE])
        distances = gaussian.distance(
            patches.reshape(-1, patches.shape[2]), together=patches.shape[1]
        ).reshape(patches.shape[:2])
        result[start : start + _AT_ONCE] = np.log(np.maximum(distances.mean(axis=1), 1e-12)) / gaussian.spread
    return result
