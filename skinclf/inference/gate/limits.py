"""From measures to reasons: one limit for each, set on the validation images of HAM10000 and on synthetic artefacts.

`docs/gate.md` says how often each reason meets dermoscopy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy.typing as npt
from numpy import float32

from skinclf.inference.gate.picture import NAMES
from skinclf.inference.gate.reasons import Reason

#: Shorter side in pixels below which a picture is marked, and below which it is unfit.
SMALL, TINY = 100, 32

#: When a reason applies, by the measures of a picture.
LIMITS: Mapping[Reason, Callable[[Mapping[str, float]], bool]] = MappingProxyType(
    {
        Reason.TOO_SMALL: lambda m: m["side"] < SMALL,
        Reason.BLANK: lambda m: m["spread"] < 4,
        Reason.GREY: lambda m: m["chroma"] < 16,
        # A blank picture has no detail to be in focus, and one that was enlarged has none either.
        Reason.BLURRED: lambda m: m["focus"] < 0.36 and m["spread"] >= 4 and m["side"] >= SMALL,
        Reason.DARK: lambda m: m["light"] < 40,
        Reason.BRIGHT: lambda m: m["bright_share"] > 0.5,
        Reason.UNEVEN: lambda m: m["uneven"] > 0.5,
        Reason.DARK_CORNERS: lambda m: m["corners"] > 0.02,
        Reason.HAIR: lambda m: m["hair"] > 0.4,
        Reason.RULER: lambda m: m["ruler"] >= 7,
        Reason.INK: lambda m: m["ink"] > 0.005,
        Reason.GEL_BUBBLES: lambda m: m["bubbles"] > 1.7,
        Reason.TEXT: lambda m: m["text"] >= 7,
    }
)


def reasons_of(measures: npt.NDArray[float32]) -> list[Reason]:
    """Reasons by the picture alone, in the order of `Reason`.

    Args:
        measures: Result of `skinclf.inference.gate.picture.measure` for one picture.
    """
    named = dict(zip(NAMES, measures[: len(NAMES)].tolist(), strict=True))
    return [reason for reason in Reason if reason in LIMITS and LIMITS[reason](named)]


def is_tiny(measures: npt.NDArray[float32]) -> bool:
    """Whether the picture is too small for any answer."""
    return bool(measures[NAMES.index("side")] < TINY)
