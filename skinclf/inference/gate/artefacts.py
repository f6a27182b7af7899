"""Artefacts over the skin: hair, rulers, ink, bubbles, text; classical filters, no learnt part.

Thin structures are sought in a grey picture whose shorter side has `MARKS_SIDE` pixels. They come from the
morphological black and white top-hat, as DullRazor's (Lee et al., Computers in Biology and Medicine 1997); what they
are follows from the shapes of their connected parts. The filters compare bytes, many at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

#: What thin structures may be, in the order of `thin_marks`.
MARKS = ("hair", "ruler", "bubbles", "text")
#: Shorter side of the picture that they are sought in, in pixels.
MARKS_SIDE = 192
#: Side of the square that thin structures fit into, and least contrast of them, in grey levels.
_WIDTH, _CONTRAST = 9, 22
#: Fewer dark, or bright, pixels than this are no row of ticks or letters, and less hair than is worth a mark.
_LEAST = 60
#: Shorter rows of ticks or letters are not counted.
_ROW = 5
#: Radii of bubbles at half the working size, and the least number of pixels on a circle.
_RADII = np.arange(3, 13)
_FEW = 22
_TOUCHING = np.ones((3, 3))
_Bytes: TypeAlias = npt.NDArray[np.uint8]
_Floats: TypeAlias = npt.NDArray[np.float64]


class Parts(NamedTuple):
    """Connected parts of a mask: centre, area, length, width, direction (radians) and mean strength."""

    row: _Floats
    col: _Floats
    area: _Floats
    length: _Floats
    across: _Floats
    angle: _Floats
    strength: _Floats

    def where(self, chosen: npt.NDArray[Any]) -> Parts:
        """Selected parts."""
        return Parts(*(values[chosen] for values in self))


_NONE = Parts(*(np.empty(0) for _ in Parts._fields))


class Thin(NamedTuple):
    """Thin structures: the picture without noise, its white top-hat, and the dark and bright parts that stand out."""

    smooth: _Bytes
    white: _Bytes
    dark: Parts
    bright: Parts


def thin_marks(grey: _Bytes) -> tuple[float, float, float, float]:
    """Measures of hair, rulers, bubbles and text, in the order of `MARKS`."""
    found = thin(grey)
    both = (found.dark, found.bright)
    return (
        lines(found.dark, min(grey.shape)),
        max(map(ruler_ticks, both)),
        bubbles(found),
        max(map(text_signs, both)),
    )


def thin(grey: _Bytes) -> Thin:
    """Thin dark and thin bright structures of a picture."""
    smooth = means(grey)
    black, white = _closed(smooth) - smooth, _closed(~smooth) - ~smooth
    return Thin(smooth, white, _parts(black), _parts(white))


def means(grey: _Bytes) -> _Bytes:
    """Means of squares of 2 x 2, one row and one column fewer than before."""
    wide = grey.astype(np.uint16)
    rows = wide[1:] + wide[:-1]
    return ((rows[:, 1:] + rows[:, :-1]) >> 2).astype(np.uint8)


def _closed(grey: _Bytes) -> _Bytes:
    """The grey closing by a square of `_WIDTH`."""
    return _windows(_windows(grey, np.maximum, 0), np.minimum, 255)


def _windows(grey: _Bytes, pick: Callable[[_Bytes, _Bytes], _Bytes], outside: int) -> _Bytes:
    """The largest or smallest value of the square around each pixel: windows of 2, 4, 8 and 9 from one another."""
    half = _WIDTH // 2
    x = np.full((grey.shape[0] + 2 * half, grey.shape[1] + 2 * half), outside, np.uint8)
    x[half:-half, half:-half] = grey
    for _ in range(2):
        x = pick(x[1:], x[:-1])
        x = pick(x[2:], x[:-2])
        x = pick(x[4:], x[:-4])
        x = pick(x[1:], x[:-1]).T
    return x


def _parts(hat: _Bytes) -> Parts:
    mask = hat > _CONTRAST
    if np.count_nonzero(mask) < _LEAST:
        return _NONE
    from scipy import ndimage

    labels, count = ndimage.label(mask, structure=_TOUCHING)
    at = np.flatnonzero(labels)
    which = labels.ravel()[at]
    rows, cols = np.divmod(at, hat.shape[1])
    area = np.bincount(which, minlength=count + 1)[1:].astype(np.float64)

    def mean(values: npt.NDArray[Any]) -> _Floats:
        return np.bincount(which, values, minlength=count + 1)[1:] / area

    row, col = mean(rows), mean(cols)
    dr, dc = rows - row[which - 1], cols - col[which - 1]
    rr, cc, rc = mean(dr * dr) + 1 / 12, mean(dc * dc) + 1 / 12, mean(dr * dc)
    middle, apart = (rr + cc) / 2, np.hypot((rr - cc) / 2, rc)
    length, across = np.sqrt(12 * (middle + apart)), np.sqrt(12 * np.maximum(middle - apart, 1 / 12))
    angle = 0.5 * np.arctan2(2 * rc, cc - rr)
    return Parts(row, col, area, length, across, angle, mean(hat.ravel()[at]))


def lines(dark: Parts, side: int) -> float:
    """Length of long, thin, dark parts in units of the shorter side: hair."""
    # Alone, or crossing others: then it fills little of its box, unlike a pigment network.
    slim = (dark.area / dark.length < 4.5) | (dark.area / (dark.length * dark.across) < 0.15)
    return float(dark.length[slim & (dark.length > 0.21 * side)].sum() / side)


def ruler_ticks(p: Parts) -> float:
    """Number of parallel ticks of the longest row of them at one distance, 0 below `_ROW`: a ruler."""
    if len(p.row) < _ROW:
        return 0.0
    tick = p.where((p.length > 4) & (p.length < 50) & (p.length > 2.2 * p.across) & (p.area / p.length < 6))
    if len(tick.row) < _ROW:
        return 0.0
    angles = np.unique(np.round(tick.angle / 0.15) * 0.15)
    turns = (tick.angle - angles[:, None] + np.pi / 2) % np.pi - np.pi / 2  # a tick has no head
    near = np.abs(turns) < 0.15
    best = 0
    for angle, turn, some in zip(angles, turns, near, strict=True):
        if np.count_nonzero(some) > max(_ROW - 1, best):
            best = max(best, _regular(tick.where(some), float(angle + np.median(turn[some])), best))
    return float(best)


def _regular(tick: Parts, angle: float, least: int) -> int:
    """Largest number of ticks beside each other at nearly equal distances; below `least` any smaller number."""
    along = tick.col * np.cos(angle) + tick.row * np.sin(angle)
    aside = tick.row * np.cos(angle) - tick.col * np.sin(angle)
    order = np.argsort(aside)
    along, aside = along[order], aside[order]
    beside = np.abs(along - np.unique(np.round(along / 6) * 6)[:, None]) < 9
    best = 0
    for row in beside[np.count_nonzero(beside, axis=1) > max(_ROW - 1, least)]:
        steps = np.diff(aside[row])
        steps = steps[steps > 2]  # two parts of one tick
        if len(steps) < _ROW - 1:
            continue
        step = float(np.median(steps))
        run = _longest(np.abs(steps - step) < max(1.5, 0.15 * step))
        best = max(best, run + 1 if run else 0)
    return best


def _longest(flags: npt.NDArray[np.bool_]) -> int:
    """Length of the longest run of true values."""
    ends = np.flatnonzero(np.diff(np.concatenate([[0], flags.view(np.int8), [0]])))
    return int((ends[1::2] - ends[::2]).max(initial=0))


def text_signs(p: Parts) -> float:
    """Number of strokes of strong contrast in the fullest line of signs of one height, 0 below `_ROW`: letters."""
    if len(p.row) < _ROW:
        return 0.0
    sign = p.where((p.length > 4) & (p.length < 34) & (p.strength > 28) & (p.area > 6))
    if len(sign.row) < _ROW:
        return 0.0
    sign = sign.where(np.argsort(sign.col))
    # Ticks of a ruler are slim; most signs are not.
    broad = sign.length / sign.across < 2.4
    near = np.abs(sign.row - np.unique(np.round(sign.row / 4) * 4)[:, None]) < 5
    best = 0
    for line in near[np.count_nonzero(near, axis=1) >= _ROW]:
        at = np.flatnonzero(line)
        for run in np.split(at, np.flatnonzero(np.diff(sign.col[at]) >= 26) + 1):
            if len(run) > max(_ROW - 1, best):
                lengths = np.arange(1, len(run) + 1)
                enough = np.flatnonzero(np.cumsum(broad[run]) > 0.6 * lengths)
                best = max(best, int(enough[-1]) + 1 if len(enough) else 0)
    return float(best)


def ink_share(rgb: _Bytes) -> float:
    """Share of pixels that are blue, violet or green, beyond what the light of the picture makes of skin."""
    red, green, blue = rgb
    cold = np.maximum(blue, green).astype(np.int16) - red
    usual = int(np.partition(cold, cold.size // 2, axis=None)[cold.size // 2])
    return float(np.count_nonzero(cold > max(20, usual + 30)) / cold.size)


def bubbles(found: Thin) -> float:
    """Votes for the strongest circle of bright, thin structures, in units of its circumference (Duda & Hart 1972)."""
    # At half the size: a circle is found as well, four times as fast.
    edge = found.white[::2, ::2] > _CONTRAST // 2
    if np.count_nonzero(edge) < _FEW:
        return 0.0
    half = found.smooth[::2, ::2].astype(np.int16)
    a, b = half[:-2] + 2 * half[1:-1] + half[2:], half[2:] - half[:-2]
    gx, gy = (a[:, 2:] - a[:, :-2]).astype(np.int32), (b[:, :-2] + 2 * b[:, 1:-1] + b[:, 2:]).astype(np.int32)
    rows, cols = np.nonzero(edge[1:-1, 1:-1] & (gx * gx + gy * gy > 1600))
    if len(rows) < _FEW:
        return 0.0
    size = np.hypot(gx[rows, cols], gy[rows, cols])
    steps = np.concatenate([_RADII, -_RADII])[:, None]
    far = int(_RADII[-1])  # around the picture, for centres outside of it
    r = (rows + steps * (gy[rows, cols] / size) + (far + 0.5)).astype(np.intp) >> 1
    c = (cols + steps * (gx[rows, cols] / size) + (far + 0.5)).astype(np.intp) >> 1
    shape = (len(_RADII), (len(gx) + 2 * far) // 2 + 1, (gx.shape[1] + 2 * far) // 2 + 1)
    which = np.tile(np.arange(len(_RADII)), 2)[:, None]
    cells = ((which * shape[1] + r) * shape[2] + c).ravel()
    votes = np.bincount(cells, minlength=int(np.prod(shape))).reshape(shape).astype(np.int16)
    votes = votes[:, 1:] + votes[:, :-1]
    votes = votes[:, :, 1:] + votes[:, :, :-1]
    return float((votes.max(axis=(1, 2)) / (2 * np.pi * _RADII)).max())
