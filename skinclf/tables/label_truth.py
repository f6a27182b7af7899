"""One truth from the label columns of a table: they must agree, and the one that says most is used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from skinclf.errors import InvalidArgumentError
from skinclf.labels import LabelSet
from skinclf.tables.diagnosis_names import class_of, fold, malignant_flags, map_classes

#: Reason for an image whose cell is blank.
NO_LABEL = "no label"
#: Folded words of a 0/1 column that name malignancy.
WORDS: Mapping[str, int] = {
    **dict.fromkeys(("benign", "benigne", "benigno", "benigna", "gutartig", "non_neoplastic"), 0),
    **dict.fromkeys(("malignant", "malign", "maligne", "maligno", "maligna", "b\u00f6sartig"), 1),
}
#: Folded words of a 0/1 column.
BINARY: Mapping[str, int] = {
    **dict.fromkeys(("0", "false", "f", "no", "n", "negative", "neg"), 0),
    **dict.fromkeys(("1", "true", "t", "yes", "y", "positive", "pos"), 1),
    **WORDS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCells:
    """Labels of the rows of a table that have one.

    Attributes:
        rows: Indices of these rows, length N.
        names: Diagnosis of each row as written, after `map_labels`; None when 0/1 is all that is known.
        binary: 0 or 1 for each row; None when the table does not say it.
        words: Cells of the 0/1 column as written, or None.
        left_out: Reason by index of a row that is left out.
        note: Columns that could not be used, in words; empty when there are none.
    """

    rows: tuple[int, ...]
    names: tuple[str, ...] | None
    binary: tuple[int, ...] | None
    words: tuple[str, ...] | None
    left_out: Mapping[int, str]
    note: str


@dataclass(frozen=True, slots=True)
class LabelColumn:
    """A column of labels.

    Attributes:
        name: Name in the table.
        cells: Text of every row; empty for a missing, None for an unknown label.
        binary: Whether the cells are 0/1 or words for it.
    """

    name: str
    cells: tuple[str | None, ...]
    binary: bool

    def value(self, row: int) -> int | None:
        """0 or 1 of a row; None where the cell does not say it."""
        cell = self.cells[row]
        return BINARY[binary_word(cell)] if cell else None


def binary_word(text: str) -> str:
    """A cell folded, with 1.0 and 0.00 as 1 and 0."""
    folded = fold(text)
    if folded in BINARY:
        return folded
    try:
        number = float(text)
    except ValueError:
        return folded
    return str(int(number)) if number in {0.0, 1.0} else folded


def _expected(name: str, labels: LabelSet | None) -> int | None:
    """What a 0/1 column says of a diagnosis: malignant or not, or the second class of two; None when not declared."""
    code = class_of(name, labels)
    if code is None:
        return None
    if labels is not None and len(labels) == 2:
        try:
            mapped = map_classes([code], labels).codes[code]
        except InvalidArgumentError:
            return None
        return int(labels.position(mapped) == positive_index(labels))
    flag = malignant_flags(labels).get(code)
    return None if flag is None else int(flag)


def positive_index(labels: LabelSet) -> int:
    """Which of two labels a 1 stands for: the malignant one, else the second."""
    malignant = labels.malignant_indices
    return malignant[0] if malignant is not None and len(malignant) == 1 else 1


def refuse_disagreement(
    found: Sequence[LabelColumn], labels: LabelSet | None, rows: Sequence[int], source: object
) -> None:
    """Refuse two columns that say different things about a row.

    Raises:
        InvalidArgumentError: With the counts.
    """
    binary, named = [c for c in found if c.binary], [c for c in found if not c.binary]
    for k, first in enumerate(binary):
        for other in binary[k + 1 :]:
            both = [(first.value(i), other.value(i)) for i in rows]
            known = [(a, b) for a, b in both if a is not None and b is not None]
            differ = sum(a != b for a, b in known)
            if differ:
                ones = f"{sum(a or 0 for a, _ in known)} and {sum(b or 0 for _, b in known)} positives"
                raise _disagree(source, first.name, other.name, differ, len(known), ones)
    for column in named:
        expected = {cell: _expected(cell, labels) for cell in set(column.cells) if cell}
        for other in binary:
            said = [(column.cells[i], other.value(i)) for i in rows]
            pairs = [(cell, value) for cell, value in said if cell and value is not None]
            wrong = Counter(
                (cell, value)
                for cell, value in pairs
                if expected[cell] is not None and expected[cell] != value
            )
            if wrong:
                few = ", ".join(f"{cell} with {value}: {n}" for (cell, value), n in wrong.most_common(5))
                raise _disagree(source, column.name, other.name, wrong.total(), len(pairs), few)
    complete = [c for c in named if not _without_class(c, labels, rows)]
    for k, first in enumerate(complete):
        for other in complete[k + 1 :]:
            texts = [(first.cells[i], other.cells[i]) for i in rows]
            pairs_of_names = [(a, b) for a, b in texts if a and b]
            final = {name: _final_class(name, labels) for pair in set(pairs_of_names) for name in pair}
            wrong_names = Counter((a, b) for a, b in pairs_of_names if final[a] != final[b])
            if wrong_names:
                few = ", ".join(f"{a} with {b}: {n}" for (a, b), n in wrong_names.most_common(5))
                total = wrong_names.total()
                raise _disagree(source, first.name, other.name, total, len(pairs_of_names), few)


def _disagree(
    source: object, first: str, second: str, count: int, total: int, detail: str
) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"{source}: the columns {first} and {second} disagree in {count} of {total} rows ({detail}); "
        "choose one of them with `label_column`.",
        parameter="label_column",
    )


def _final_class(name: str, labels: LabelSet | None) -> str | None:
    """Class of a label in the label set, or its own code where that is not known."""
    code = class_of(name, labels)
    return code if code is None or labels is None else map_classes([code], labels).codes[code]


def _without_class(column: LabelColumn, labels: LabelSet | None, rows: Sequence[int]) -> Counter[str]:
    """Number of rows by label that has no class."""
    counts = Counter(cell for i in rows if (cell := column.cells[i]))
    return Counter({cell: n for cell, n in counts.items() if class_of(cell, labels) is None})


def one_truth(
    found: Sequence[LabelColumn], labels: LabelSet | None, rows: Sequence[int], source: object
) -> LabelCells:
    """Choose the diagnoses where all rows have one; else the 0/1 column, which says less about more rows.

    Args:
        found: Columns that agree.
        labels: Label set that the diagnoses must have a way to; None takes any.
        rows: Indices of the rows that count.
        source: File, for messages.

    Raises:
        InvalidArgumentError: A label has no class, and no 0/1 column is there.
    """
    binary, named = [c for c in found if c.binary], [c for c in found if not c.binary]
    missing = {c.name: _without_class(c, labels, rows) for c in named}
    usable = [c for c in named if not missing[c.name]]
    values = {i: v for c in reversed(binary) for i in rows if (v := c.value(i)) is not None}
    notes = [_unused(name, counts) for name, counts in missing.items() if counts]
    if usable:
        first = usable[0]
        names = {i: cell for c in reversed(usable) for i in rows if (cell := c.cells[i])}
        if not any(i in values for i in rows if i not in names):
            kept = [i for i in rows if i in names]
            whole = bool(binary) and all(i in values for i in kept)
            return LabelCells(
                rows=tuple(kept),
                names=tuple(names[i] for i in kept),
                binary=tuple(values[i] for i in kept) if whole else None,
                words=None,
                left_out=_reasons(first, rows, kept),
                note="; ".join(notes),
            )
        open_rows = [first.cells[i] for i in rows if i not in names and i in values]
        notes.append(
            _unused(first.name, Counter(cell or ("blank" if cell == "" else "unknown") for cell in open_rows))
        )
    elif not binary:
        name, counts = next(iter(missing.items()))
        raise InvalidArgumentError(_no_class(name, counts, labels, source), parameter="map_labels")
    kept = [i for i in rows if i in values]
    words = {i: cell for c in reversed(binary) for i in rows if (cell := c.cells[i])}
    if notes:
        notes.append(f"the images are scored by {', '.join(c.name for c in binary)}")
    return LabelCells(
        rows=tuple(kept),
        names=None,
        binary=tuple(values[i] for i in kept),
        words=tuple(words[i] for i in kept),
        left_out=_reasons(binary[0], rows, kept),
        note="; ".join(notes),
    )


def _reasons(column: LabelColumn, rows: Sequence[int], kept: Sequence[int]) -> dict[int, str]:
    inside = set(kept)
    return {i: NO_LABEL if column.cells[i] == "" else "unk" for i in rows if i not in inside}


def _unused(name: str, counts: Counter[str]) -> str:
    few = ", ".join(f"{cell} {n}" for cell, n in counts.most_common(5))
    return f"column {name} gives no class for {counts.total()} images ({few}) and is not used"


def _no_class(name: str, counts: Counter[str], labels: LabelSet | None, source: object) -> str:
    few = ", ".join(f"{cell!r} ({n} rows)" for cell, n in counts.most_common(8))
    more = f" and {len(counts) - 8} more" if len(counts) > 8 else ""
    known = f"{labels.name} has {', '.join(labels.codes)}" if labels is not None else ""
    return (
        f"{source}: column {name}: unknown label {few}{more}; {known}. Give such a label a class with `map_labels`, "
        "leave its images out with `drop_classes`, or choose another column with `label_column`."
    )
