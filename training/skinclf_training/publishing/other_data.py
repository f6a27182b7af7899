"""Evaluations of a model on further data, such as pictures of other cameras and clinics, for its card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

#: How the files begin that lie beside `metrics.json`: `other-isic-2017.json` is an evaluation on ISIC 2017.
PREFIX = "other-"


def other_files(folder: Path) -> dict[str, Path]:
    """Files of evaluations on further data in a folder, by the name of the data."""
    return {path.stem.removeprefix(PREFIX): path for path in sorted(folder.glob(f"{PREFIX}*.json"))}


def other_rows(evaluations: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows of the card's table.

    Args:
        evaluations: Content of `metrics.json` by the name of the data.

    Yields:
        `name`, `data` and `threshold` of the evaluation; `binary` and `rates`, its figures of the positive side (None
        where it has no positive or no negative image); `classes`, the ROC-AUC of each class with images.
    """
    for name, metrics in evaluations.items():
        point = metrics["operating_point"] or {}
        yield {
            "name": name,
            "data": metrics["data"],
            "threshold": metrics["threshold"]["value"],
            "binary": metrics["binary"],
            "rates": point.get("image"),
            "classes": {
                row["code"]: row["roc_auc"]
                for row in metrics["per_class"]
                if row["support"] and row["roc_auc"]["value"] is not None
            },
        }
