"""Pictures of one run that look the same: a perceptual hash of the small picture that the gate measures anyway.

The hash is that of Zauner ("Implementation and benchmarking of perceptual image hash functions", 2010) with 16 x 16
coefficients of the cosine transform instead of 8 x 8, of the logarithm of brightness.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from skinclf.inference.gate.picture import THUMBNAIL

#: Column of a scorer that hands it on.
SIGNATURE = "signature"
SIDE = 16
#: Most bits of 256 in which two pictures differ that count as the same; `benchmarks/gate/duplicates.py` measures it.
DISTANCE = 40


def signature(small: npt.NDArray[np.float32]) -> bytes:
    """Hash of a flat small picture (`skinclf.inference.gate.picture.PATCHES`): 32 bytes."""
    from scipy.fft import dctn

    light = small.reshape(THUMBNAIL)[..., 0]
    low = dctn(np.asarray(light, np.float64), norm="ortho")[:SIDE, :SIDE].ravel()
    return np.packbits(low > np.median(low[1:])).tobytes()


@lru_cache(maxsize=1)
def _counts() -> npt.NDArray[np.uint8]:
    """Number of bits of every 16-bit number; made when it is first needed, since it takes some milliseconds."""
    return np.array([n.bit_count() for n in range(2**16)], np.uint8)


class NearDuplicates:
    """The pictures so far, and the first of them that a new one looks like."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._hashes = np.empty((256, SIDE), np.uint16)

    def first_like(self, name: str, hashed: bytes) -> str:
        """Name of the first picture that differs in at most `DISTANCE` bits, or an empty text; then remember this one.

        Args:
            name: Name of the picture.
            hashed: Its `signature`.
        """
        count, new = len(self._names), np.frombuffer(hashed, np.uint16)
        apart = _counts()[self._hashes[:count] ^ new].sum(axis=1, dtype=np.uint16)
        near = np.flatnonzero(apart <= DISTANCE)
        if count == len(self._hashes):
            self._hashes = np.concatenate([self._hashes, np.empty_like(self._hashes)])
        self._hashes[count] = new
        self._names.append(name)
        return self._names[near[0]] if len(near) else ""
