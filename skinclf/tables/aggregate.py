"""Aggregation of predictions: one row per lesion or patient."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf._utils.columns import find, parse_float32, read_columns
from skinclf._utils.missing import is_missing, is_unnamed
from skinclf.errors import InvalidArgumentError
from skinclf.labels import LabelSet
from skinclf.metrics.clusters import Combine, combine_scores
from skinclf.tables.names import listed, pair_tables, parse_name
from skinclf.tables.predictions import PredictionTable
from skinclf.tables.reference import ID_NAMES


@dataclass(frozen=True, slots=True)
class Aggregated:
    """Combined predictions, in the order in which groups first occur.

    Attributes:
        groups: Name of each lesion or patient.
        images: How many images were combined.
        failed: How many further images of it failed.
        codes: Class codes, or None.
        probabilities: Mean over images, shape (G, K), float32, or None; NaN where all images failed.
        malignant: P(malignant), mean or largest, shape (G,), float32; NaN where all images failed.
    """

    groups: tuple[str, ...]
    images: tuple[int, ...]
    failed: tuple[int, ...]
    codes: tuple[str, ...] | None
    probabilities: npt.NDArray[np.float32] | None
    malignant: npt.NDArray[np.float32] | None

    def rows(self, threshold: float | None = None, labels: LabelSet | None = None) -> list[dict[str, Any]]:
        """Rows for a table, with the decision and the name of the predicted class as `predict` writes them.

        Args:
            threshold: Threshold of P(malignant); adds the columns `threshold` and `flagged`. Of two classes of which
                one is malignant, it also decides which is predicted.
            labels: Names of the classes; None writes their codes.
        """
        result: list[dict[str, Any]] = []
        predicted = self._predicted(threshold, labels)
        for i, group in enumerate(self.groups):
            row: dict[str, Any] = {"group": group, "images": self.images[i], "failed": self.failed[i]}
            seen = self.images[i] > 0
            if self.malignant is not None:
                row["probability_malignant"] = self.malignant[i] if seen else None
                if threshold is not None:
                    row["threshold"] = np.float32(threshold)
                    row["flagged"] = int(self.malignant[i] >= np.float32(threshold)) if seen else None
            if self.probabilities is not None and self.codes is not None:
                code = self.codes[predicted[i]] if seen else None
                row["predicted_code"] = code
                row["predicted_class"] = code if labels is None or code is None else _name(labels, code)
                for code, p in zip(self.codes, self.probabilities[i], strict=True):
                    row[f"p_{code}"] = p if seen else None
            result.append(row)
        return result

    def _predicted(self, threshold: float | None, labels: LabelSet | None) -> npt.NDArray[np.intp]:
        """Predicted class of each group, shape (G,); 0 where all images failed."""
        if self.probabilities is None or self.codes is None:
            return np.zeros(len(self.groups), np.intp)
        chosen = np.nan_to_num(self.probabilities).argmax(axis=1)
        malignant_codes = {label.code.lower() for label in labels or () if label.malignant}
        flags = [code.lower() in malignant_codes for code in self.codes]
        if threshold is None or self.malignant is None or len(flags) != 2 or sum(flags) != 1:
            return np.asarray(chosen, np.intp)
        malignant = flags.index(True)
        return np.asarray(
            np.where(self.malignant >= np.float32(threshold), malignant, 1 - malignant), np.intp
        )


def aggregate(
    predictions: PredictionTable, groups: Mapping[str, str] | Sequence[str], *, combine: Combine = "mean"
) -> Aggregated:
    """Combine the images of each lesion or patient.

    Class probabilities are averaged. P(malignant) is averaged or, with `max`, the largest of the images:
    the choice that a threshold tuned with the same `combine` expects.

    Args:
        predictions: One row per image.
        groups: Group of each image by name, or one per row.
        combine: `mean` or `max`, for P(malignant).

    Raises:
        InvalidArgumentError: An image has no group, or the table has no probabilities.
    """
    if isinstance(groups, Mapping):
        missing = [name for name in predictions.ids if name not in groups]
        if missing:
            raise InvalidArgumentError(f"{len(missing)} images have no group: {', '.join(missing[:5])}.")
        names = [groups[name] for name in predictions.ids]
    else:
        names = list(groups)
        if len(names) != len(predictions.ids):
            raise InvalidArgumentError(
                f"Expected {len(predictions.ids)} groups, one per row; received {len(names)}."
            )
    if predictions.probabilities is None and predictions.malignant is None:
        raise InvalidArgumentError("The predictions hold no probabilities.")
    order = {name: i for i, name in enumerate(dict.fromkeys(names))}
    index = np.asarray([order[name] for name in names], np.intp)
    good = np.asarray([word == "ok" for word in predictions.status])
    images = np.bincount(index[good], minlength=len(order))
    total = np.bincount(index, minlength=len(order))
    present = np.flatnonzero(images)
    dense = np.searchsorted(present, index[good])
    malignant = probabilities = None
    if predictions.malignant is not None:
        malignant = np.full(len(order), np.nan, np.float32)
        if len(present):
            malignant[present] = combine_scores(predictions.malignant[good], dense, combine)
    if predictions.probabilities is not None:
        values = predictions.probabilities[good].astype(np.float64)
        sums = np.zeros((len(order), values.shape[1]))
        np.add.at(sums, index[good], values)
        with np.errstate(invalid="ignore"):
            probabilities = (sums / images[:, None]).astype(np.float32)
    return Aggregated(
        tuple(order),
        tuple(int(n) for n in images),
        tuple(int(n) for n in total - images),
        predictions.codes,
        probabilities,
        malignant,
    )


def _name(labels: LabelSet, code: str) -> str:
    known = {label.code.lower(): label.name for label in labels}
    return known.get(code.lower(), code)


def stated_threshold(predictions: Path) -> float | None:
    """Threshold that a predictions table states in its column `threshold`; None where it states none or several.

    Raises:
        InvalidArgumentError: The table cannot be read, or a cell is no number.
    """
    cells = {cell for cell in read_columns(predictions).get("threshold", ()) if not is_missing(cell)}
    if len(cells) != 1:
        return None
    return float(parse_float32([cells.pop()], f"{predictions}: column threshold")[0])


def group_names(images: Sequence[str], table: Path, column: str) -> list[str]:
    """Group of each image, from a column of a table whose rows are matched by the longest common end of the path.

    Raises:
        InvalidArgumentError: No such column, an image without a row or with a missing cell, an image with two groups,
            or a name that could mean several images.
    """
    columns = read_columns(table)
    key = find(columns, ("image", *ID_NAMES))
    if key is None or column not in columns:
        raise InvalidArgumentError(
            f"{table}: needs a column that names the image and {column!r}; found {', '.join(columns)}."
        )
    known = _one_group_each(zip(columns[key], columns[column], strict=True), table, column)
    pairing = pair_tables(images, list(known), "predictions", f"table {table.name}")
    groups = list(known.values())
    found = ["" if j is None else groups[j] for j in pairing.partners]
    missing = [name for name, group in zip(images, found, strict=True) if not group]
    if missing:
        reason = ""
        if pairing.elsewhere is not None and pairing.elsewhere[0] in missing:
            reason = f" The table names files of other folders, such as {pairing.elsewhere[1]}."
        raise InvalidArgumentError(
            f"{table}: {len(missing)} of {len(images)} images have no {column}: {listed(missing)}.{reason}"
        )
    return found


def _one_group_each(rows: Iterable[tuple[str, str]], table: Path, column: str) -> dict[str, str]:
    """Group by image name; rows that repeat an image must agree, and a missing group is empty text."""
    first: dict[tuple[object, str], str] = {}
    known: dict[str, str] = {}
    for name, cell in rows:
        group = "" if is_unnamed(cell) else cell.strip()
        parsed = parse_name(name)
        own = first.setdefault((parsed.key, parsed.ending), name)
        if known.setdefault(own, group) != group:
            raise InvalidArgumentError(
                f"{table}: {name} has two values of {column}, {known[own] or 'none'} and {group or 'none'}."
            )
    return known
