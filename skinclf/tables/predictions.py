"""Predictions and reference labels as tables, and how they are joined by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skinclf._utils.arrays import Float32, Floats
from skinclf._utils.columns import Columns, find, parse_float32, read_columns
from skinclf.errors import InvalidArgumentError
from skinclf.labels import MALIGNANT, TAXONOMIES, Label, LabelSet
from skinclf.tables.class_marks import codes_of_columns
from skinclf.tables.names import Pairing, listed, pair_tables, stem
from skinclf.tables.reference import (
    ID_NAMES,
    LabelTable,
    Truth,
    malignant_codes,
    read_labels,
    read_npz,
)

__all__ = [
    "P_IMAGE",
    "Joined",
    "LabelTable",
    "PredictionTable",
    "join",
    "label_set_of",
    "malignant_codes",
    "read_labels",
    "read_predictions",
    "stem",
]

#: Column of P(malignant) from the picture alone, beside the probabilities of a run with metadata.
P_IMAGE = "p_image_malignant"
#: Columns that begin as those of the classes do, and are none.
NO_CLASS = frozenset({P_IMAGE, "p_familiar"})


@dataclass(frozen=True, slots=True)
class PredictionTable:
    """Probabilities by image, in the order of the source; all float32, as decisions compare float32.

    Attributes:
        ids: Image names as the source gives them.
        codes: Class codes of the columns of `probabilities`, or None.
        probabilities: Shape (N, K), or None when the source has only P(malignant); NaN where an input failed.
        malignant: P(malignant), shape (N,), or None when the source does not say.
        status: `ok` or the short word of a failure, one per row.
    """

    ids: tuple[str, ...]
    codes: tuple[str, ...] | None
    probabilities: Float32 | None
    malignant: Float32 | None
    status: tuple[str, ...]

    def take(self, rows: Sequence[int]) -> PredictionTable:
        """The rows asked for, in that order."""
        index = np.asarray(rows, np.intp)
        return PredictionTable(
            tuple(self.ids[i] for i in rows),
            self.codes,
            None if self.probabilities is None else self.probabilities[index],
            None if self.malignant is None else self.malignant[index],
            tuple(self.status[i] for i in rows),
        )

    def in_order(self, labels: LabelSet) -> Floats:
        """Probabilities in the order of the labels, shape (N, K), float64.

        Codes match in any case. A table that has only P(malignant) serves two labels of which one is malignant.

        Args:
            labels: Label set of K codes.

        Raises:
            InvalidArgumentError: The table has other classes.
        """
        if self.codes is None or self.probabilities is None:
            malignant = labels.malignant_indices
            if len(labels) != 2 or malignant is None or len(malignant) != 1 or self.malignant is None:
                raise InvalidArgumentError(
                    "The predictions hold P(malignant) only; that serves two labels, not "
                    f"{', '.join(labels.codes)}. A column p_<code> for each class is needed."
                )
            p = self.malignant.astype(np.float64).clip(0, 1)
            return np.stack([p if i == malignant[0] else 1 - p for i in range(2)], axis=1)
        place = {code.lower(): i for i, code in enumerate(self.codes)}
        if set(place) != {code.lower() for code in labels.codes}:
            raise InvalidArgumentError(
                f"The predictions have {', '.join(self.codes)}; the label set {labels.name} has "
                f"{', '.join(labels.codes)}."
            )
        return self.probabilities[:, [place[code.lower()] for code in labels.codes]].astype(np.float64)

    def score(self, positive: Sequence[str] | None = None, labels: LabelSet | None = None) -> Float32:
        """Probability of the positive classes, shape (N,), float32, as `predict` sums it.

        Args:
            positive: Class codes to sum; None means the malignant ones.
            labels: Says which codes are malignant; None asks the known taxonomies.

        Raises:
            InvalidArgumentError: The table has no such class.
        """
        if positive is None and self.malignant is not None:
            return self.malignant
        if self.codes is None or self.probabilities is None:
            raise InvalidArgumentError(
                f"Positive class {','.join(positive or ())}: the predictions hold P(malignant) only."
            )
        wanted = malignant_codes(self.codes, labels) if positive is None else positive
        missing = [code for code in wanted if code not in self.codes]
        if missing or not wanted:
            what = ", ".join(missing) or "(none)"
            raise InvalidArgumentError(
                f"Positive class {what}: the predictions have {', '.join(self.codes)}."
            )
        index = sorted({self.codes.index(code) for code in wanted})
        return np.asarray(np.ascontiguousarray(self.probabilities[:, index]).sum(axis=1, dtype=np.float32))


def read_predictions(path: Path | str) -> PredictionTable:
    """Read a predictions table.

    Understood are skinclf's own (CSV, JSON lines, Parquet), both forms of devatreya's CSV, ISIC
    submissions (one column per class) and `val_probs.npz` (whose images get the names 0, 1, 2, ...).

    Raises:
        InvalidArgumentError: Not such a table, or a probability is missing or not within 0 and 1.
    """
    source = Path(path)
    if source.suffix.lower() == ".npz":
        score = read_npz(source)[1]
        ids = tuple(map(str, range(score.size)))
        return _checked(PredictionTable(ids, None, None, score, ("ok",) * score.size), source)
    columns = read_columns(source)
    id_column = find(columns, ("image", *ID_NAMES))
    if id_column is None:
        raise InvalidArgumentError(f"{source}: no column names the image; found {', '.join(columns)}.")
    by_code = {name[2:]: name for name in columns if name.startswith("p_") and name not in NO_CLASS}
    total = find(columns, ("probability_malignant",))
    if not by_code and total is None:
        by_code = codes_of_columns(columns)
    if not by_code and total is None:
        raise InvalidArgumentError(
            f"{source}: no probabilities (probability_malignant, p_<code>, or columns named like classes); "
            f"found {', '.join(columns)}."
        )
    ids = tuple(columns[id_column])
    status = tuple(columns["status"]) if "status" in columns else ("ok",) * len(ids)
    values = (
        np.stack([_numbers(columns, name, source) for name in by_code.values()], axis=1) if by_code else None
    )
    malignant = None if total is None else _numbers(columns, total, source)
    if malignant is not None and not np.isfinite(malignant).any():
        malignant = None  # a model whose labels declare no malignancy leaves the column empty
    return _checked(PredictionTable(ids, tuple(by_code) or None, values, malignant, status), source)


def _numbers(columns: Columns, name: str, source: Path) -> Float32:
    return parse_float32(columns[name], f"{source}: column {name}")


def _checked(table: PredictionTable, source: Path) -> PredictionTable:
    ok = np.asarray([word == "ok" for word in table.status])
    for values in (table.probabilities, table.malignant):
        if values is None:
            continue
        rows = values if values.ndim == 2 else values[:, None]
        # A sum of float32 probabilities may exceed 1 by its rounding.
        bad = ok & ~((rows >= 0) & (rows <= 1 + 1e-5)).all(axis=1)
        if bad.any():
            name = table.ids[int(np.flatnonzero(bad)[0])]
            raise InvalidArgumentError(f"{source}: {name}: a probability is missing or not within 0 and 1.")
    return table


def label_set_of(predictions: PredictionTable) -> LabelSet:
    """The label set of a predictions table: a known taxonomy with the same codes, else just the codes."""
    codes = predictions.codes
    if codes is None or len(codes) < 2:
        return MALIGNANT
    wanted = sorted(code.lower() for code in codes)
    for taxonomy in TAXONOMIES.values():
        if sorted(taxonomy.codes) == wanted:
            return taxonomy
    try:
        flagged = malignant_codes(codes)
    except InvalidArgumentError:  # malignancy is not declared: the two-class view is left out
        return LabelSet("custom", tuple(Label(code, code) for code in codes))
    return LabelSet("custom", tuple(Label(code, code, code in flagged) for code in codes))


@dataclass(frozen=True, slots=True)
class Joined:
    """Predictions and labels of the same images, in the order of the predictions.

    Attributes:
        predictions: Rows that have a label and did not fail.
        labels: The labels of these rows.
        unmatched: Predictions without a label.
        failed: Predictions with a label whose input failed.
        unused: Labels without a prediction.
    """

    predictions: PredictionTable
    labels: LabelTable
    unmatched: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.predictions.ids)

    def binary(
        self, positive: Sequence[str] | None = None, labels: LabelSet | None = None
    ) -> tuple[Truth, Float32]:
        """Truth (int8) and score (float32), both of shape (N,), of some classes against the rest.

        Args:
            positive: Positive class codes; None means malignant.
            labels: Says which codes are malignant.

        Raises:
            InvalidArgumentError: Predictions or labels do not have these classes.
        """
        return self.labels.truth(positive, labels), self.predictions.score(positive, labels)


def join(
    predictions: PredictionTable,
    labels: LabelTable,
    *,
    max_unmatched: float = 0.05,
    others: Sequence[str] = (),
) -> Joined:
    """Match predictions and labels by the longest common end of their paths.

    Two names mean one image where one is the end of the other, folder by folder, with or without image ending: see
    `skinclf.tables.names`. File names alone decide only where one of the tables names no folders.

    Args:
        predictions: May lack some of the labelled images (a test split of a larger table).
        labels: Must hold nearly all the predicted images.
        max_unmatched: Largest tolerated share of predictions without a label.
        others: Names of labelled images that are not asked for, such as those of other splits; their predictions
            are left out, as are those of `LabelTable.left_out`.

    Raises:
        InvalidArgumentError: An image occurs twice, a name could mean several, too many predictions have no label, or
            none is left.
    """
    asked = {*labels.ids, *labels.left_out}
    names = [*labels.ids, *labels.left_out, *(name for name in others if name not in asked)]
    count = len(labels.ids)
    pairing = pair_tables(predictions.ids, names, "predictions", "labels", asked=range(count))
    partners = [pairing.partners[i] for i in range(len(predictions.ids))]
    rows = [i for i, j in enumerate(partners) if j is None or j < count]
    if not rows:
        raise InvalidArgumentError("No prediction belongs to the split under test.", parameter="split")
    matched = [(i, j) for i in rows if (j := partners[i]) is not None]
    unmatched = tuple(predictions.ids[i] for i in rows if partners[i] is None)
    if len(unmatched) > max_unmatched * len(rows):
        raise InvalidArgumentError(_no_label(unmatched, rows, labels.ids, pairing, max_unmatched))
    good = [(i, j) for i, j in matched if predictions.status[i] == "ok"]
    if not good:
        raise InvalidArgumentError("No image has both a prediction and a label.")
    used = {j for _, j in matched}
    return Joined(
        predictions.take([i for i, _ in good]),
        labels.take([j for _, j in good]),
        unmatched=unmatched,
        failed=tuple(predictions.ids[i] for i, _ in matched if predictions.status[i] != "ok"),
        unused=tuple(name for j, name in enumerate(labels.ids) if j not in used),
    )


def _no_label(
    unmatched: Sequence[str], rows: Sequence[int], known: Sequence[str], pairing: Pairing, most: float
) -> str:
    if len(unmatched) == len(rows):
        text = f"None of the {len(rows)} predictions has a label: {listed(unmatched, 3)}."
    else:
        text = (
            f"{len(unmatched)} of {len(rows)} predictions have no label (at most {most:.0%} may): "
            f"{listed(unmatched)}."
        )
    if pairing.elsewhere is not None:
        ours, theirs = pairing.elsewhere
        return (
            f"{text} The labels name files of other folders: {theirs} is not {ours}. Give the labels of these "
            "images, or write both tables' names from the same folder on."
        )
    return f"{text} {_almost(unmatched, known) or f'Names in the labels: {listed(known[:3])}.'}"


def _almost(unmatched: Sequence[str], known: Sequence[str]) -> str:
    """What keeps a name from one of the labels, where it is little; such names are never joined."""
    lower = {stem(name).lower(): name for name in known}
    numbers = {stem(name).removesuffix(".0").lstrip("0"): name for name in known}
    for name in unmatched:
        word = stem(name)
        if other := lower.get(word.lower()):
            return f"{other} of the labels and {name} differ in upper and lower case; write both names alike."
        if word.isdigit() and (other := numbers.get(word.lstrip("0"))):
            return (
                f"{other} of the labels and {name} are the same number written differently; spreadsheets do so with "
                "names of digits. Write the names as text, with their leading zeros."
            )
    return ""
