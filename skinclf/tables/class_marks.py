"""One column per class: which columns these are, what marks a row, and the class that each row has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from skinclf._utils.columns import Columns
from skinclf._utils.missing import is_missing
from skinclf.errors import InvalidArgumentError
from skinclf.labels import TAXONOMIES, LabelSet
from skinclf.tables.diagnosis_names import ALIASES, class_in, fold
from skinclf.tables.label_truth import BINARY, binary_word

#: Classes of MILK10k and ISIC 2019 that mark a row of a one-hot table and are none of the taxonomies'.
FURTHER_CLASSES = frozenset({"unk", "ben_oth", "mal_oth", "inf"})
_SIDES = frozenset({"benign", "malignant"})
# Crosses in lists that people fill in by hand, such as that of PH2.
_CROSSES: Mapping[str, int] = {"x": 1, "\u00d7": 1, "\u2713": 1, "\u2714": 1}
# ISIC 2017 marks melanoma and seborrheic keratosis; "the rest" of its images are nevi by its definition.
_ISIC2017 = frozenset({"melanoma", "seborrheic_keratosis"})


def mark_columns(columns: Iterable[str], labels: LabelSet | None) -> tuple[str, ...]:
    """Columns named like classes; empty when there are fewer than two.

    `benign` and `malignant` are such columns only where no others are: beside classes, `malignant` is a 0/1 column.

    Args:
        columns: Names of all columns.
        labels: Label set whose codes count besides the known ones.
    """
    known = {*(x.code.lower() for t in TAXONOMIES.values() for x in t), *FURTHER_CLASSES, *ALIASES}
    known |= {x.code.lower() for x in labels or ()}
    found = [name for name in columns if name.lower() in known or fold(name) in known]
    classes = [name for name in found if fold(name) not in _SIDES]
    chosen = classes if len(classes) >= 2 else found
    return tuple(chosen) if len(chosen) >= 2 else ()


def codes_of_columns(columns: Iterable[str]) -> dict[str, str]:
    """Column by class code, for columns of probabilities named like classes; empty when there are fewer than two.

    The codes are those of the first known taxonomy that has all the names, else the names themselves, folded: of a
    table with further classes (MILK10k) none may be lost, as they can be malignant.

    Args:
        columns: Names of all columns.
    """
    names = [name for name in mark_columns(columns, None) if fold(name) != "unk"]
    for taxonomy in TAXONOMIES.values():
        codes = [class_in(name, taxonomy) for name in names]
        if None not in codes and len(set(codes)) == len(codes):
            return {code: name for code, name in zip(codes, names, strict=True) if code is not None}
    return {fold(name): name for name in names} if len(names) > 1 else {}


def marked_classes(marks: Columns, source: object) -> list[str]:
    """Class of each row in lower case; empty text where every cell of the row is blank.

    A cell marks its class with 1, true, yes or a cross, and does not with 0, false or no; nor does a blank one, where a
    table writes marks alone.

    Args:
        marks: Cells by class, as text.
        source: File, for messages.

    Raises:
        InvalidArgumentError: A row does not mark exactly one class.
    """
    present = {cell for cells in marks.values() for cell in cells}
    value = {cell: _value(cell) for cell in present if not is_missing(cell)}
    value |= dict.fromkeys(present - set(value), -1 if 0 in value.values() else 0)
    values = np.asarray([[value[cell] for cell in cells] for cells in marks.values()], np.int8)
    blank = np.asarray([all(map(is_missing, row)) for row in zip(*marks.values(), strict=True)])
    names = [name.lower() for name in marks]
    if {fold(name) for name in names} == _ISIC2017:
        names.append("nevus")
        values = np.vstack([values, (values == 0).all(axis=0) & ~blank])
    bad = ~blank & (((values == 1).sum(axis=0) != 1) | (values == -1).any(axis=0))
    if bad.any():
        row = int(np.flatnonzero(bad)[0]) + 2
        raise InvalidArgumentError(
            f"{source}: row {row} does not mark exactly one of {', '.join(marks)} with 1 and the others with 0 "
            f"({int(bad.sum())} such rows). Leave the cells of an image without a diagnosis blank, or choose another "
            "column with `label_column`.",
            parameter="label_column",
        )
    chosen = values.argmax(axis=0)
    return ["" if blank[i] else names[k] for i, k in enumerate(chosen)]


def _value(cell: str) -> int:
    """1 for a mark, 0 for none, -1 for anything else."""
    word = binary_word(cell)
    return -1 if word in _SIDES else BINARY.get(word, _CROSSES.get(cell.strip().lower(), -1))
