"""Readers of tables and folders of images, labels and lesions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from skinclf._utils.columns import Columns, find, parse_float32, read_columns
from skinclf._utils.missing import is_missing
from skinclf.errors import InvalidArgumentError
from skinclf.tables.names import pair_tables
from skinclf.tables.reference import ID_NAMES, lesions_or_patients, one_hot_columns
from skinclf_training.data.locate import image_ids
from skinclf_training.data.reading.layouts import read_class_folders, read_prefixes, sniff_layout

#: Column names in use for the same thing, in lower case; the first that a table has counts.
LABEL_COLUMNS = ("dx", "diagnosis", "label", "label_name", "class", "target")
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
    """

    format: str
    records: tuple[Record, ...]
    lesions: int
    tables: tuple[Path, ...]
    left_out: Mapping[str, str]
    group_column: str | None = None


def read_records(paths: Sequence[Path], *, format: str | None = None) -> Records:  # noqa: A002 - name of the option
    """Read images, labels and (best) lesions.

    Args:
        paths: Tables or folders: labels, as a table or a folder of images in classes; then tables with more about
            the same images, such as the metadata of ISIC 2019. `..._Metadata.csv` or `..._LesionGroupings.csv`
            beside a `..._GroundTruth.csv` is found by itself.
        format: Key of `FORMATS`; None detects it.

    Raises:
        InvalidArgumentError: A source is missing or has another format, an image occurs twice, a one-hot row does
            not have exactly one class, or a class has no image.
    """
    if format is not None and format not in FORMATS:
        raise InvalidArgumentError(f"Unknown format {format!r}; expected one of {', '.join(FORMATS)}.")
    first, *more = paths
    left_out: Mapping[str, str] = {}
    if first.is_dir():
        found = format or sniff_layout(first)
        if found not in {"folders", "prefix"}:
            raise InvalidArgumentError(f"{first}: a folder, but the format {found} is a table.")
        pictures, left_out = (read_class_folders if found == "folders" else read_prefixes)(first)
        rows: dict[str, dict[str, str]] = {
            p.image: {"image_id": p.image, "label": p.label, **({"split": p.part} if p.part else {})}
            for p in pictures
        }
        labels = {p.image: p.label for p in pictures}
        files = {p.image: p.file for p in pictures}
        names = {p.image: p.name for p in pictures}
    else:
        columns = read_columns(first)
        found = format or _sniff(columns, first)
        names = _ids(columns, first)
        ids = list(names)
        cells = (
            _one_hot(columns, first) if found in {"isic2019", "onehot"} else _labels(columns, found, first)
        )
        rows = {image: {name: values[i] for name, values in columns.items()} for i, image in enumerate(ids)}
        labels, files = dict(zip(ids, cells, strict=True)), {}
        more = [*more, *(p for p in _beside(first) if p not in more)]
    for path in more:
        _merge(rows, names, path)
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
            label=labels[image],
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
    codes = one_hot_columns(columns, None)
    if codes:
        return "isic2019" if _NO_CLASS in codes or {"ak", "scc"} <= set(codes) else "onehot"
    if find(columns, LABEL_COLUMNS):
        return "labels"
    raise InvalidArgumentError(
        f"{path}: none of the columns {', '.join(LABEL_COLUMNS)} is there, nor one column per class; "
        f"found {', '.join(columns)}."
    )


def _ids(columns: Columns, path: Path) -> dict[str, str]:
    """Name of each image as the table writes it, by id, in the order of the rows."""
    column = find(columns, ID_NAMES)
    if column is None:
        raise InvalidArgumentError(
            f"{path}: none of the columns {', '.join(ID_NAMES)} is there; found {', '.join(columns)}."
        )
    names: dict[str, str] = {}
    for image, cell in zip(image_ids(columns[column]), columns[column], strict=True):
        if is_missing(image) or image in names:
            raise InvalidArgumentError(
                f"{path}: image id {image!r} is empty or appears twice; expected one row per image."
            )
        names[image] = cell
    return names


def _labels(columns: Columns, found: str, path: Path) -> list[str]:
    names = ("dx", "diagnosis") if found == "ham10000" else LABEL_COLUMNS
    column = find(columns, names)
    if column is None:
        raise InvalidArgumentError(
            f"{path}: format {found} needs one of the columns {', '.join(names)}; found {', '.join(columns)}."
        )
    empty = [i for i, cell in enumerate(columns[column], start=2) if not cell]
    if empty:
        raise InvalidArgumentError(f"{path}: row {empty[0]} has no {column} ({len(empty)} such rows).")
    return columns[column]


def _one_hot(columns: Columns, path: Path) -> list[str]:
    """The class of each row; values count as numbers, so that 1, 1.0 and 1.00 are the same."""
    found = one_hot_columns(columns, None)
    if not found:
        raise InvalidArgumentError(f"{path}: no columns with names of classes; found {', '.join(columns)}.")
    values = np.stack([parse_float32(columns[name], f"{path}: column {name}") for name in found.values()])
    bad = ((values == 1).sum(axis=0) != 1) | ((values != 0).sum(axis=0) != 1)
    if bad.any():
        row = int(np.flatnonzero(bad)[0]) + 2
        raise InvalidArgumentError(
            f"{path}: row {row} does not mark exactly one of {', '.join(found)} with 1 and the others with 0 "
            f"({int(bad.sum())} such rows)."
        )
    codes = list(found)
    empty = [c for c, n in zip(codes, values.sum(axis=1), strict=True) if n == 0 and c != _NO_CLASS]
    if empty:
        raise InvalidArgumentError(
            f"{path}: no image at all is marked as {', '.join(empty)}; is the table whole?"
        )
    return [codes[i] for i in values.argmax(axis=0)]


def _beside(path: Path) -> list[Path]:
    """Tables that ISIC publishes with a ground truth, and that know the lesions."""
    names = [path.name.replace("GroundTruth", word) for word in ("Metadata", "LesionGroupings")]
    return [path.with_name(name) for name in names if name != path.name and path.with_name(name).is_file()]


def _merge(rows: dict[str, dict[str, str]], names: Mapping[str, str], path: Path) -> None:
    """Add the columns of another table about the same images; what is there stays."""
    columns = read_columns(path)
    others = list(_ids(columns, path).values())
    partners = pair_tables([names[image] for image in rows], others, "labels", f"table {path.name}").partners
    if all(j is None for j in partners):
        raise InvalidArgumentError(f"{path}: knows none of the labelled images, such as {next(iter(rows))}.")
    known = {name.lower() for name in next(iter(rows.values()))}
    new = [name for name in columns if name.lower() not in known and name != find(columns, ID_NAMES)]
    for row, i in zip(rows.values(), partners, strict=True):
        row.update({name: "" if i is None else columns[name][i] for name in new})
