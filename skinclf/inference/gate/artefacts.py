"""Artefacts over the skin: hair, rulers, ink, bubbles, text; classical filters, no learnt part.

All take arrays at the fixed working size of `skinclf.inference.gate.picture`. Thin structures come from the
morphological black and white top-hat, as DullRazor's (Lee et al., Computers in Biology and Medicine 1997); what they
are follows from the shapes of their connected parts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

#: Side of the square that thin structures fit into, and least contrast of them, in grey levels.
_WIDTH, _CONTRAST = 9, 22
_Grey = npt.NDArray[np.float32]


class Parts(NamedTuple):
    """Connected parts of a mask: centre, length, width, direction (radians) and bounding box."""

    row: npt.NDArray[np.float64]
    col: npt.NDArray[np.float64]
    area: npt.NDArray[np.float64]
    length: npt.NDArray[np.float64]
    across: npt.NDArray[np.float64]
    angle: npt.NDArray[np.float64]
    strength: npt.NDArray[np.float64]

    def where(self, chosen: npt.NDArray[np.bool_]) -> Parts:
        """Selected parts."""
        return Parts(*(values[chosen] for values in self))


class Hat(NamedTuple):
    """A top-hat and the connected parts of what stands out in it."""

    values: _Grey
    parts: Parts


def hats(grey: _Grey) -> tuple[Hat, Hat]:
    """Thin dark and thin bright structures of a picture."""
    smooth = ndimage.uniform_filter(grey, 2)
    black = ndimage.grey_closing(smooth, size=(_WIDTH, _WIDTH)) - smooth
    white = smooth - ndimage.grey_opening(smooth, size=(_WIDTH, _WIDTH))
    return Hat(black, _parts(black)), Hat(white, _parts(white))


def _parts(hat: _Grey) -> Parts:
    labels, count = ndimage.label(hat > _CONTRAST, structure=np.ones((3, 3)))
    at = np.flatnonzero(labels)
    which = labels.ravel()[at] - 1
    rows, cols = np.divmod(at, hat.shape[1])
    area = np.maximum(np.bincount(which, minlength=count), 1).astype(np.float64)

    def mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.bincount(which, values, minlength=count) / area

    row, col = mean(rows.astype(np.float64)), mean(cols.astype(np.float64))
    dr, dc = rows - row[which], cols - col[which]
    rr, cc, rc = mean(dr * dr) + 1 / 12, mean(dc * dc) + 1 / 12, mean(dr * dc)
    middle, apart = (rr + cc) / 2, np.hypot((rr - cc) / 2, rc)
    length, across = np.sqrt(12 * (middle + apart)), np.sqrt(12 * np.maximum(middle - apart, 1 / 12))
    angle = 0.5 * np.arctan2(2 * rc, cc - rr)
    strength = mean(hat.ravel()[at].astype(np.float64))
    return Parts(row, col, area, length, across, angle, strength)


def lines(black: Hat) -> float:
    """Length of long, thin, dark parts in units of the shorter side: hair."""
    p = black.parts
    # Alone, or crossing others: then it fills little of its box, unlike a pigment network.
    thin = (p.area / p.length < 4.5) | (p.area / (p.length * p.across) < 0.15)
    hair = thin & (p.length > 0.21 * min(black.values.shape))
    return float(p.length[hair].sum() / min(black.values.shape))


def ruler_ticks(hat: Hat) -> float:
    """Number of parallel ticks of the longest row of them at one distance: a ruler."""
    p = hat.parts
    tick = p.where((p.length > 4) & (p.length < 50) & (p.length > 2.2 * p.across) & (p.area / p.length < 6))
    best = 0
    for angle in np.unique(np.round(tick.angle / 0.15) * 0.15):
        turn = (tick.angle - angle + np.pi / 2) % np.pi - np.pi / 2  # a tick has no head
        near = np.abs(turn) < 0.15
        if near.sum() > max(4, best):
            best = max(best, _regular(tick.where(near), float(angle + np.median(turn[near]))))
    return float(best)


def _regular(tick: Parts, angle: float) -> int:
    """Largest number of ticks beside each other at nearly equal distances."""
    along = tick.col * np.cos(angle) + tick.row * np.sin(angle)
    aside = tick.row * np.cos(angle) - tick.col * np.sin(angle)
    best = 0
    for centre in np.unique(np.round(along / 6) * 6):
        row = np.sort(aside[np.abs(along - centre) < 9])
        steps = np.diff(row)
        steps = steps[steps > 2]  # two parts of one tick
        if len(steps) < 4:
            continue
        step = np.median(steps)
        run = longest = 0
        for even in np.abs(steps - step) < max(1.5, 0.15 * step):
            run = run + 1 if even else 0
            longest = max(longest, run)
        best = max(best, longest + 1 if longest else 0)
    return best


def text_signs(hat: Hat) -> float:
    """Number of strokes of strong contrast in the fullest line of signs of one height: letters."""
    p = hat.parts
    sign = p.where((p.length > 4) & (p.length < 34) & (p.strength > 28) & (p.area > 6))
    if len(sign.row) < 4:
        return 0.0
    best = 0
    for row in np.unique(np.round(sign.row / 4) * 4):
        line = sign.where(np.abs(sign.row - row) < 5)
        if len(line.row) < 4:
            continue
        order = np.argsort(line.col)
        gaps = np.diff(line.col[order])
        shapes = line.length[order] / line.across[order]
        run = [0]
        for i, gap in enumerate(gaps):
            run = [*run, i + 1] if gap < 26 else [i + 1]
            # Ticks of a ruler are slim; most signs are not.
            if len(run) > best and (shapes[run] < 2.4).mean() > 0.6:
                best = len(run)
    return float(best)


def ink_share(rgb: _Grey) -> float:
    """Share of pixels that are blue, violet or green, beyond what the light of the picture makes of skin."""
    red, green, blue = rgb
    cold = np.maximum(blue, green) - red
    usual = float(np.quantile(cold, 0.5))
    return float(((cold > 20) & (cold - usual > 30)).mean())


def bubbles(grey: _Grey, white: Hat) -> float:
    """Votes for the strongest circle of bright, thin structures, in units of its circumference (Duda & Hart 1972)."""
    # At half the size: a circle is found as well, four times as fast.
    edge = white.values[::2, ::2] > _CONTRAST / 2
    if not edge.any():
        return 0.0
    half = ndimage.uniform_filter(grey, 2)[::2, ::2]
    gy, gx = ndimage.sobel(half, axis=0), ndimage.sobel(half, axis=1)
    size = np.hypot(gx, gy)
    rows, cols = np.nonzero(edge & (size > 40))
    if len(rows) < 12:
        return 0.0
    uy, ux = gy[rows, cols] / size[rows, cols], gx[rows, cols] / size[rows, cols]
    height, width = half.shape
    best = 0.0
    for radius in range(3, 13):
        votes = np.zeros(height * width, np.float64)
        for sign in (1, -1):
            r = np.rint(rows + sign * radius * uy).astype(np.intp)
            c = np.rint(cols + sign * radius * ux).astype(np.intp)
            inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
            votes += np.bincount(r[inside] * width + c[inside], minlength=height * width)
        share = ndimage.uniform_filter(votes.reshape(height, width), 3) * 9 / (2 * np.pi * radius)
        best = max(best, float(share.max()))
    return best
