"""Near-duplicate pictures, found by a perceptual hash.

The hash is the perceptual one of Zauner ("Implementation and benchmarking of perceptual image hash functions",
2010) with 16 x 16 instead of 8 x 8 coefficients: of dermoscopic images, nearly all of which show one dark
blob on light skin, the usual 64 bits tell too few apart (37 pairs of different HAM10000 lesions lie within 2
bits, 327 within 4).

`imagehash.phash(hash_size=16)` follows the same plan with another resize (Lanczos for box) and an unnormalised
transform, whose hashes differ; journals and the threshold `DISTANCE` rest on these. It also compares one pair at a
time, where one product of matrices compares all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

SIDE = 16
BITS = SIDE * SIDE
#: Of HAM10000, seven pairs of different lesions lie within this many bits, where comparing each picture with
#: mirrored ones, none of which are duplicates, finds one: most of the seven are worth a look, two are one lesion.
DISTANCE = 40
_BLOCK = 1024


def perceptual_hash(image: npt.NDArray[np.uint8]) -> str:
    """Compute a perceptual hash of 256 bits, robust to small changes of colour, size and compression.

    Args:
        image: Picture, shape (H, W, 3), dtype uint8, RGB.

    Returns:
        64 hexadecimal digits: whether each low-frequency coefficient of the grey picture's cosine transform
        is above their median.
    """
    from PIL import Image
    from scipy.fft import dctn

    grey = Image.fromarray(image).convert("L").resize((4 * SIDE, 4 * SIDE), Image.Resampling.BOX)
    low = dctn(np.asarray(grey, np.float64), norm="ortho")[:SIDE, :SIDE].ravel()
    return np.packbits(low > np.median(low[1:])).tobytes().hex()


def near_pairs(hashes: Sequence[str], *, distance: int = DISTANCE) -> list[tuple[int, int, int]]:
    """Find pairs of pictures whose hashes differ in few bits.

    Args:
        hashes: Hashes of `perceptual_hash`.
        distance: Largest number of differing bits.

    Returns:
        Row, later row and distance, nearest first.
    """
    if len(hashes) < 2:
        return []
    packed = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(len(hashes), -1)
    signs = np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1
    found = []
    for start in range(0, len(signs), _BLOCK):
        # Of +-1 vectors the scalar product is bits - 2 * distance; one product of matrices is the fastest way.
        apart = (signs.shape[1] - signs[start : start + _BLOCK] @ signs[start:].T) / 2
        for i, j in zip(*np.nonzero(apart <= distance), strict=True):
            if i < j:
                found.append((int(start + i), int(start + j), int(apart[i, j])))
    return sorted(found, key=lambda pair: (pair[2], pair[0], pair[1]))


def merge_groups(groups: Sequence[str], pairs: Sequence[tuple[int, int]]) -> list[str]:
    """Merge groups that pairs connect, directly or through others.

    Args:
        groups: Group of every image.
        pairs: Rows that belong together.

    Returns:
        Group of every image: of joined groups, the name that sorts first.
    """
    parent = {group: group for group in groups}

    def root(group: str) -> str:
        while parent[group] != group:
            group = parent[group] = parent[parent[group]]
        return group

    for i, j in pairs:
        first, second = sorted((root(groups[i]), root(groups[j])))
        parent[second] = first
    return [root(group) for group in groups]
