"""Columns of a table that say what an image shows: diagnoses, 0/1 and one-hot columns, read to one truth.

All columns that name labels are read. Those that can be understood must agree; rows of an unknown diagnosis are left
out and counted. `skinclf.tables.reference` and the preparation of training data both read labels here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from skinclf._utils.columns import Columns, find
from skinclf._utils.missing import is_missing
from skinclf.errors import InvalidArgumentError
from skinclf.labels import MELANOMA, TAXONOMIES, LabelSet
from skinclf.tables.class_marks import FURTHER_CLASSES, mark_columns, marked_classes
from skinclf.tables.column_names import FURTHER_LABEL_NAMES, LABEL_NAMES
from skinclf.tables.diagnosis_names import class_in, fold, is_unknown, same_class
from skinclf.tables.label_truth import (
    BINARY,
    NO_LABEL,
    WORDS,
    LabelCells,
    LabelColumn,
    binary_word,
    one_truth,
    positive_index,
    refuse_disagreement,
)

# Words of a 0/1 column for what is neither.
_NEITHER = {"indeterminate", "indeterminate_benign", "indeterminate_malignant"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelOptions:
    """What a user states about a labels table.

    Attributes:
        id_column: Column that names the image; None finds it by the names in use.
        label_column: Column of the labels, the only one that is read; None reads all columns with a name in use.
        map_labels: New label by label of the table.
        drop_classes: Labels whose images are left out.
    """

    id_column: str | None = None
    label_column: str | None = None
    map_labels: Mapping[str, str] = field(default_factory=dict)
    drop_classes: Sequence[str] = ()


def column_named(columns: Iterable[str], name: str, source: object, parameter: str) -> str:
    """The column of that name in any case of letters.

    Raises:
        InvalidArgumentError: There is no such column.
    """
    listed = list(columns)
    found = name if name in listed else find(listed, (name.lower(),))
    if found is None:
        raise InvalidArgumentError(
            f"{source}: no column {name!r} as `{parameter}`; found {', '.join(listed)}.", parameter=parameter
        )
    return found


def read_label_cells(
    columns: Columns, labels: LabelSet | None, source: object, options: LabelOptions
) -> LabelCells:
    """Read all columns of labels and bring them to one truth.

    Args:
        columns: Table as text.
        labels: Label set that the diagnoses must have a way to; None takes any.
        source: File, for messages.
        options: What the user states.

    Raises:
        InvalidArgumentError: No column of labels, two that disagree, a label without a class, or no row with a label.
    """
    size = len(next(iter(columns.values())))
    raw, note = _raw_columns(columns, labels, source, options)
    raw = _mapped(raw, options.map_labels, source)
    left_out = _dropped(raw, options.drop_classes, labels, source, size)
    rows = [i for i in range(size) if i not in left_out]
    found = _usable([_column(name, cells, labels, rows) for name, cells in raw.items()], labels, source)
    refuse_disagreement(found, labels, rows, source)
    cells = one_truth(found, labels, rows, source)
    if not cells.rows:
        counts = Counter([*left_out.values(), *cells.left_out.values()])
        few = ", ".join(
            f"{n} have {reason}" if reason == NO_LABEL else f"{n} are {reason}"
            for reason, n in counts.items()
        )
        raise InvalidArgumentError(
            f"{source}: column {', '.join(raw)}: no image is left; {few}.", parameter="label_column"
        )
    notes = [text for text in (note, cells.note) if text]
    return replace(cells, left_out={**left_out, **cells.left_out}, note="; ".join(notes))


def _raw_columns(
    columns: Columns, labels: LabelSet | None, source: object, options: LabelOptions
) -> tuple[dict[str, list[str]], str]:
    """Cells by column, and a note on columns that are not used."""
    if options.label_column is not None:
        name = column_named(columns, options.label_column, source, "label_column")
        return {name: columns[name]}, ""
    raw: dict[str, list[str]] = {}
    for tier in (LABEL_NAMES, FURTHER_LABEL_NAMES):
        named = (find(columns, (wanted,)) for wanted in tier)
        raw = raw or {name: columns[name] for name in named if name is not None}
    marks = mark_columns([name for name in columns if name not in raw or fold(name) == "malignant"], labels)
    if marks:
        title = f"{marks[0]}, ... (one column per class)"
        try:
            raw[title] = marked_classes({name: columns[name] for name in marks}, source)
        except InvalidArgumentError:
            if not raw:
                raise
            return raw, f"the columns {', '.join(marks)} do not mark one class in every row and are not used"
    if not raw:
        raise InvalidArgumentError(
            f"{source}: no label column ({', '.join(LABEL_NAMES)}) and no one-hot columns; "
            f"found {', '.join(columns)}. Name it with `label_column`.",
            parameter="label_column",
        )
    return raw, ""


def _mapped(raw: dict[str, list[str]], mapping: Mapping[str, str], source: object) -> dict[str, list[str]]:
    if not mapping:
        return raw
    new = {fold(old): text for old, text in mapping.items()}
    present = {fold(cell) for cells in raw.values() for cell in cells}
    absent = [old for old in mapping if fold(old) not in present]
    if absent:
        found = sorted({cell for cells in raw.values() for cell in cells if not is_missing(cell)})
        raise InvalidArgumentError(
            f"{source}: `map_labels` names {', '.join(map(repr, absent))}, which no row has; found {_few(found)}.",
            parameter="map_labels",
        )
    return {name: [new.get(fold(cell), cell) for cell in cells] for name, cells in raw.items()}


def _dropped(
    raw: dict[str, list[str]], wanted: Sequence[str], labels: LabelSet | None, source: object, size: int
) -> dict[int, str]:
    """The class that leaves a row out, by row."""
    left_out: dict[int, str] = {}
    for name in wanted:
        hit = {
            cell: same_class(name, cell)
            for cells in raw.values()
            for cell in set(cells)
            if not is_missing(cell)
        }
        rows = [i for i in range(size) if any(hit.get(cells[i], False) for cells in raw.values())]
        if not rows and not is_class_name(name, labels):
            raise InvalidArgumentError(
                f"{source}: `drop_classes` names {name}, which no image has; found {_few(sorted(hit))}.",
                parameter="drop_classes",
            )
        left_out |= dict.fromkeys(rows, fold(name))
    return left_out


def is_class_name(name: str, labels: LabelSet | None) -> bool:
    """Whether a name is a class of the label set or of a known taxonomy, hence may have no image in a subset."""
    sets = [*([labels] if labels is not None else []), *TAXONOMIES.values()]
    return fold(name) in FURTHER_CLASSES or any(class_in(name, known) is not None for known in sets)


def _column(name: str, cells: Sequence[str], labels: LabelSet | None, rows: Sequence[int]) -> LabelColumn:
    present = {cell for cell in {cells[i] for i in rows} if not _is_blank(cell, labels)}
    # A label set that has these very words gives them their meaning; benign and malignant keep theirs.
    own = labels is not None and bool(present) and all(_is_own(cell, labels) for cell in present)
    known = {cell for cell in present if binary_word(cell) not in _NEITHER and not is_unknown(cell, labels)}
    binary = not own and bool(known) and all(binary_word(cell) in BINARY for cell in known)
    unknown = present - known if binary else {cell for cell in present if is_unknown(cell, labels)}
    shown = {cell: None if cell in unknown else cell for cell in present}
    return LabelColumn(name, tuple(shown.get(cell, "") for cell in cells), binary)


def _usable(found: list[LabelColumn], labels: LabelSet | None, source: object) -> list[LabelColumn]:
    """Columns without those that say malignant or benign where melanoma is asked for."""
    if labels is None or labels.codes != MELANOMA.codes:
        return found
    words = [c for c in found if c.binary and any(cell and fold(cell) in WORDS for cell in c.cells)]
    rest = [c for c in found if c not in words]
    if not rest:
        raise InvalidArgumentError(
            f"{source}: column {words[0].name} says malignant or benign, but {labels.name} asks for melanoma; "
            "map the labels with `map_labels`, for example malignant to melanoma where all of them are.",
            parameter="map_labels",
        )
    return rest


def _is_own(cell: str, labels: LabelSet) -> bool:
    """Whether a cell is a class of the label set that 0 and 1 do not say as well."""
    code, value = class_in(cell, labels), BINARY.get(binary_word(cell))
    if code is None or value is None or len(labels) != 2:
        return code is not None
    return (labels.position(code) == positive_index(labels)) != bool(value)


def _is_blank(cell: str, labels: LabelSet | None) -> bool:
    """Whether a cell is missing; a class that is called none or NA is no missing cell."""
    return is_missing(cell) and (labels is None or class_in(cell, labels) is None)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
