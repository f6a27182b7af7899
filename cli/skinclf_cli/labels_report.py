"""Messages about reference labels that are not used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from skinclf_cli import console

if TYPE_CHECKING:
    from skinclf.tables.reference import LabelTable


def report_labels(labels: LabelTable) -> None:
    """Print which images of a labels table are left out, and which of its columns."""
    report_left_out(Counter(labels.left_out.values()), labels.note)


def report_left_out(counts: Mapping[str, int], note: str) -> None:
    """Print the number of images left out by reason, and what else is to be known of the labels.

    Args:
        counts: Number of images by reason: a class, `unk` or `no label`.
        note: Sentence without a full stop; empty when there is none.
    """
    for reason, count in sorted(counts.items()):
        what = "without a label" if reason == "no label" else f"labelled {reason}"
        console.message(f"Left out {count:,} images {what}.")
    if note:
        console.message(f"Labels: {note}.")
