"""Readers of tables and folders of images, labels and lesions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from skinclf._utils.columns import Columns, find, read_columns
from skinclf._utils.missing import is_missing
from skinclf.errors import InvalidArgumentError
from skinclf.labels import LabelSet
from skinclf.tables.class_marks import mark_columns
from skinclf.tables.column_names import (
    FURTHER_LABEL_NAMES,
    ID_NAMES,
    LABEL_NAMES,
    LESION_NAMES,
    read_label_table,
)
from skinclf.tables.diagnosis_names import fold
from skinclf.tables.label_columns import LabelOptions, column_named, read_label_cells
from skinclf.tables.label_truth import WORDS, LabelCells
from skinclf.tables.lesion_labels import labels_by_image, tables_beside
from skinclf.tables.names import pair_tables
from skinclf.tables.reference import lesions_or_patients
from skinclf_training.data.locate import image_ids
from skinclf_training.data.reading.layouts import read_class_folders, read_prefixes, sniff_layout

#: Formats that `read_records` reads, and how each is recognised.
FORMATS: Mapping[str, str] = {
    "ham10000": "table with a column dx, commas or tabs",
    "isic2019": "one-hot table with AK and SCC or UNK, metadata with the lesions beside it",
    "onehot": "any other table with one column per class",
    "labels": "table with an id and a label, best also a lesion",
    "folders": "[<train|val|test>/]<class>/ with images",
    "prefix": "[<train|val|test>/] with images named mel_* and nomel_*",
}
_NO_CLASS = "unk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One image of a data set.

    Attributes:
        image: Image id, see `skinclf_training.data.locate.image_ids`.
        lesion: Lesion id, else `patient:` and the patient's; the image id when neither is known.
        label: Label as the source writes it, later the code in the taxonomy that is trained.
        origin: Code in the source's own taxonomy; empty until `to_taxonomy` has found it.
        columns: Every column of the table's row, as text.
        file: Path of the image where the layout of folders gives it; else it is found by name.
        name: Name of the image as the source writes it; empty for the id.
    """

    image: str
    lesion: str
    label: str
    origin: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Records of a source.

    Attributes:
        format: Key of `FORMATS`.
        records: Records in the order of the source.
        lesions: Number of images with a lesion id, or else a patient's, in the source.
        tables: Tables that were read, the labels first.
        left_out: Reason by image that was left out, such as a synthetic copy.
        group_column: Column of the lesions, else of the patients; None when both are unknown.
        dropped: Number of images left out for their label: a class that was to be dropped, `unk`, or `no label`.
        note: Columns of labels that could not be used, in words; empty when there are none.
    """

    format: str
    records: tuple[Record, ...]
    lesions: int
    tables: tuple[Path, ...]
    left_out: Mapping[str, str]
    group_column: str | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    note: str = ""


def read_records(
    paths: Sequence[Path],
    *,
    format: str | None = None,  # noqa: A002 - name of the option
    labels: LabelSet | None = None,
    options: LabelOptions | None = None,
) -> Records:
    """Read images, labels and (best) lesions.

    Args:
        paths: Tables or folders: labels, as a table or a folder of images in classes; then tables with more about
            the same images, such as the metadata of ISIC 2019. `..._Metadata.csv` or `..._LesionGroupings.csv`
            beside a `..._GroundTruth.csv` is found by itself.
        format: Key of `FORMATS`; None detects it.
        labels: Taxonomy of the labels, else the one to train; columns of diagnoses that it does not cover give way to a
            0/1 column.
        options: Columns, names and classes that the user states.

    Raises:
        InvalidArgumentError: A source is missing or has another format, an image occurs twice, columns of labels
            disagree, or a one-hot row does not have exactly one class.
    """
    options = options or LabelOptions()
    if format is not None and format not in FORMATS:
        raise InvalidArgumentError(f"Unknown format {format!r}; expected one of {', '.join(FORMATS)}.")
    first, *more = paths
    left_out: Mapping[str, str] = {}
    if first.is_dir():
        found = format or sniff_layout(first)
        if found not in {"folders", "prefix"}:
            raise InvalidArgumentError(f"{first}: a folder, but the format {found} is a table.")
        pictures, left_out = (read_class_folders if found == "folders" else read_prefixes)(first)
        every = {
            p.image: {"image_id": p.image, "label": p.label, **({"split": p.part} if p.part else {})}
            for p in pictures
        }
        cells = _cells({"label": [p.label for p in pictures]}, labels, first, options)
        files = {p.image: p.file for p in pictures}
        names = {p.image: p.name for p in pictures}
    else:
        more = [*more, *(p for p in tables_beside(first) if p not in more)]
        columns = read_label_table(first)
        if options.id_column is None:
            columns = labels_by_image(columns, first, more, ids=ID_NAMES, lesions=LESION_NAMES)
        found = format or ("labels" if options.label_column is not None else _sniff(columns, first))
        names = _ids(columns, first, options)
        cells = _cells(_of_format(columns, found, first, asked=format is not None), labels, first, options)
        every = {
            image: {name: values[i] for name, values in columns.items()} for i, image in enumerate(names)
        }
        files = {}
    images = list(every)
    rows = {images[i]: every[images[i]] for i in cells.rows}
    label_of = dict(zip(rows, _texts(cells), strict=True))
    for path in more:
        _merge(rows, names, path, options)
    header = dict.fromkeys(name for row in rows.values() for name in row)
    group_column, groups = lesions_or_patients(
        {name: [row.get(name, "") for row in rows.values()] for name in header}, list(rows)
    )
    group_of = dict(zip(rows, groups or (), strict=False))
    lesion_of = {image: group for image, group in group_of.items() if group != f"image:{image}"}
    records = tuple(
        Record(
            image=image,
            lesion=lesion_of.get(image, image),
            label=label_of[image],
            columns=row,
            file=files.get(image),
            name=names[image],
        )
        for image, row in rows.items()
    )
    return Records(
        format=found,
        records=records,
        lesions=len(lesion_of),
        tables=(first, *more),
        left_out=left_out,
        group_column=group_column,
        dropped=dict(sorted(Counter(cells.left_out.values()).items())),
        note=cells.note,
    )


def with_ids(records: Sequence[Record]) -> tuple[Record, ...]:
    """Records of several tables under ids that tell them apart; an image without a lesion stays one."""
    ids = image_ids([r.name or r.image for r in records])
    return tuple(
        replace(r, image=image, lesion=image if r.lesion == r.image else r.lesion)
        for r, image in zip(records, ids, strict=True)
    )


def _sniff(columns: Columns, path: Path) -> str:
    """The format of a table, by its columns."""
    if find(columns, ("dx",)):
        return "ham10000"
    codes = {name.lower() for name in mark_columns(columns, None)}
    if codes:
        return "isic2019" if _NO_CLASS in codes or {"ak", "scc"} <= codes else "onehot"
    if find(columns, (*LABEL_NAMES, *FURTHER_LABEL_NAMES)):
        return "labels"
    raise InvalidArgumentError(
        f"{path}: none of the columns {', '.join(LABEL_NAMES)} is there, nor one column per class; "
        f"found {', '.join(columns)}."
    )


def _ids(columns: Columns, path: Path, options: LabelOptions) -> dict[str, str]:
    """Name of each image as the table writes it, by id, in the order of the rows."""
    column = find(columns, ID_NAMES)
    if options.id_column is not None:
        column = column_named(columns, options.id_column, path, "id_column")
    if column is None:
        raise InvalidArgumentError(
            f"{path}: none of the columns {', '.join(ID_NAMES)} is there; found {', '.join(columns)}. "
            "Name it with `id_column`.",
            parameter="id_column",
        )
    names: dict[str, str] = {}
    for image, cell in zip(image_ids(columns[column]), columns[column], strict=True):
        if is_missing(image) or image in names:
            raise InvalidArgumentError(
                f"{path}: image id {image!r} is empty or appears twice; expected one row per image."
            )
        names[image] = cell
    return names


def _of_format(columns: Columns, found: str, path: Path, *, asked: bool) -> Columns:
    """The columns that a format may take labels from; all of them when the format was detected."""
    if not asked or found == "labels":
        return columns
    if found == "ham10000":
        names = ("dx", "diagnosis")
        kept = [name for name in (find(columns, (wanted,)) for wanted in names) if name is not None]
        if not kept:
            raise InvalidArgumentError(
                f"{path}: format {found} needs one of the columns {', '.join(names)}; found {', '.join(columns)}."
            )
    else:
        kept = [name for name in columns if name.lower() not in LABEL_NAMES]
        if not mark_columns(kept, None):
            raise InvalidArgumentError(
                f"{path}: no columns with names of classes; found {', '.join(columns)}."
            )
    return {name: columns[name] for name in kept}


def _cells(columns: Columns, labels: LabelSet | None, path: Path, options: LabelOptions) -> LabelCells:
    """The labels; those without a class in the taxonomy stay as they are, for its own message."""
    try:
        return read_label_cells(columns, labels, path, options)
    except InvalidArgumentError as error:
        if labels is None or error.parameter != "map_labels" or options.map_labels:
            raise
        return read_label_cells(columns, None, path, options)


def _texts(cells: LabelCells) -> list[str]:
    """Labels as text: a diagnosis, else benign and malignant where the table has these words, else 0 and 1."""
    if cells.names is not None:
        return list(cells.names)
    return [
        ("benign", "malignant")[value] if fold(word) in WORDS else str(value)
        for word, value in zip(cells.words or (), cells.binary or (), strict=True)
    ]


def _merge(
    rows: dict[str, dict[str, str]], names: Mapping[str, str], path: Path, options: LabelOptions
) -> None:
    """Add the columns of another table about the same images; what is there stays."""
    columns = read_columns(path)
    stated = options.id_column is not None and find(columns, (options.id_column.lower(),)) is not None
    others = list(_ids(columns, path, options if stated else LabelOptions()).values())
    partners = pair_tables([names[image] for image in rows], others, "labels", f"table {path.name}").partners
    if all(j is None for j in partners):
        raise InvalidArgumentError(f"{path}: knows none of the labelled images, such as {next(iter(rows))}.")
    known = {name.lower() for name in next(iter(rows.values()))}
    new = [name for name in columns if name.lower() not in known and name != find(columns, ID_NAMES)]
    for row, i in zip(rows.values(), partners, strict=True):
        row.update({name: "" if i is None else columns[name][i] for name in new})
