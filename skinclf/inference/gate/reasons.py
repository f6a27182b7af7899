"""`Reason`: why the gate holds an image back or marks it, as a word and a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, TypeAlias

#: What the gate says of an image: `ok`, `marked` (something to know), `unfit` (the model should not answer).
Verdict: TypeAlias = Literal["ok", "marked", "unfit"]


class Reason(StrEnum):
    """Word of the column `gate_reasons`; the order is that of the column."""

    UNFAMILIAR = "unfamiliar"
    TOO_SMALL = "too_small"
    BLANK = "blank"
    GREY = "grey"
    BLURRED = "blurred"
    DARK = "dark"
    BRIGHT = "bright"
    UNEVEN = "uneven"
    DARK_CORNERS = "dark_corners"
    HAIR = "hair"
    RULER = "ruler"
    INK = "ink"
    GEL_BUBBLES = "gel_bubbles"
    TEXT = "text"

    @property
    def sentence(self) -> str:
        """The reason in words, as a clause with a verb and without a full stop."""
        return SENTENCES[self]

    @property
    def unfit(self) -> bool:
        """Whether it holds an image back; the other reasons only mark it."""
        return self in UNFIT


SENTENCES: Mapping[Reason, str] = MappingProxyType(
    {
        Reason.UNFAMILIAR: "the picture does not look like those that the model was trained on",
        Reason.TOO_SMALL: "the picture has few pixels",
        Reason.BLANK: "the picture is of one colour",
        Reason.GREY: "the picture has no colour",
        Reason.BLURRED: "no part of the picture is in focus",
        Reason.DARK: "the picture is very dark",
        Reason.BRIGHT: "the picture is very bright",
        Reason.UNEVEN: "one side of the picture is much darker than the other",
        Reason.DARK_CORNERS: "the corners are black, as behind a round lens",
        Reason.HAIR: "hairs lie over the skin",
        Reason.RULER: "a scale of regular ticks is in the picture",
        Reason.INK: "pen marks or a colour patch are in the picture",
        Reason.GEL_BUBBLES: "bubbles of the contact fluid are in the picture",
        Reason.TEXT: "letters or digits are in the picture",
    }
)

#: Reasons that hold an image back (`unfit`).
UNFIT = frozenset({Reason.UNFAMILIAR, Reason.BLANK, Reason.GREY, Reason.DARK, Reason.BRIGHT})


def verdict(reasons: Iterable[Reason], *, tiny: bool = False) -> Verdict:
    """The verdict that follows from reasons.

    Args:
        reasons: Reasons of one image.
        tiny: Whether the picture is too small for any answer, and not only for a good one.
    """
    found = list(reasons)
    if tiny or any(reason.unfit for reason in found):
        return "unfit"
    return "marked" if found else "ok"


def explanation(reasons: Iterable[Reason]) -> str:
    """The sentence of a refused image, without the image's name.

    Args:
        reasons: Its reasons, of which those that hold it back are named.
    """
    found = list(reasons)
    named = [reason for reason in found if reason.unfit or reason is Reason.TOO_SMALL] or found
    return f"refused by the image gate: {'; '.join(reason.sentence for reason in named)}."
