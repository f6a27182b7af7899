"""Reference labels read from tables (CSV, one-hot, ISIC, NPZ) and class folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from skinclf._utils.columns import Columns, find
from skinclf._utils.missing import is_unnamed
from skinclf.errors import InvalidArgumentError
from skinclf.images.decode import EXTENSIONS
from skinclf.labels import LabelSet
from skinclf.tables.column_names import (
    ID_NAMES,
    LESION_NAMES,
    PATIENT_NAMES,
    SPLITS,
    part_of,
    read_label_table,
)
from skinclf.tables.diagnosis_names import class_of, malignant_flags, map_classes
from skinclf.tables.label_columns import LabelOptions, column_named, read_label_cells
from skinclf.tables.label_truth import LabelCells, positive_index
from skinclf.tables.lesion_labels import labels_by_image, tables_beside

__all__ = [
    "ID_NAMES",
    "LESION_NAMES",
    "PATIENT_NAMES",
    "LabelOptions",
    "LabelTable",
    "Truth",
    "groups_of",
    "lesions_or_patients",
    "malignant_codes",
    "read_labels",
    "read_npz",
]

Truth: TypeAlias = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class LabelTable:
    """What is known about each image; at least one of `codes` and `binary` is.

    Attributes:
        ids: Image names as the source gives them.
        codes: Class code of each image, or None.
        binary: 1 for malignant (or whatever a 0/1 column marks), shape (N,), int8, or None.
        lesion_id: Lesion of each image, or None; an image without one is its own lesion. Where the source names
            patients, an image without a lesion belongs to its patient.
        columns: Every column of the source as text, for subgroups.
        group_column: Column that `lesion_id` was read from; None when the source names neither lesions nor patients.
        left_out: Reason by name of an image of the source that has no row here: `no label`, `unk` for an unknown
            diagnosis, or a class that was to be left out.
        note: Columns of the source that could not be used, in words; empty when there are none.
    """

    ids: tuple[str, ...]
    codes: tuple[str, ...] | None
    binary: Truth | None
    lesion_id: tuple[str, ...] | None
    columns: Mapping[str, tuple[str, ...]]
    group_column: str | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    def take(self, rows: Sequence[int]) -> LabelTable:
        """The rows asked for, in that order."""
        return replace(
            self,
            ids=tuple(self.ids[i] for i in rows),
            codes=None if self.codes is None else tuple(self.codes[i] for i in rows),
            binary=None if self.binary is None else self.binary[list(rows)],
            lesion_id=None if self.lesion_id is None else tuple(self.lesion_id[i] for i in rows),
            columns={name: tuple(values[i] for i in rows) for name, values in self.columns.items()},
        )

    def truth(self, positive: Sequence[str] | None = None, labels: LabelSet | None = None) -> Truth:
        """1 where the image is positive, shape (N,), int8.

        Args:
            positive: Class codes that count as positive; None takes the 0/1 column, else malignancy.
            labels: Says which codes are malignant, and is the label set of `positive`; None asks the known taxonomies.

        Raises:
            InvalidArgumentError: The table has no class codes, one of unknown malignancy, or one without a crosswalk to
                the label set of `positive`.
        """
        if positive is None and self.binary is not None:
            return self.binary
        if self.codes is None:
            raise InvalidArgumentError(
                f"Positive class {','.join(positive or ())}: class codes are needed, the labels say 0 or 1."
            )
        if positive is None:
            wanted = set(malignant_codes(sorted(set(self.codes)), labels))
            return np.asarray([code in wanted for code in self.codes], np.int8)
        mapped = {} if labels is None else map_classes(self.codes, labels).codes
        return np.asarray([mapped.get(code, code) in set(positive) for code in self.codes], np.int8)


def groups_of(
    cells: Sequence[str], names: Sequence[str], patients: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Group of each row from a column of group names; a row with a missing cell is a group of its own.

    Args:
        cells: Column such as `lesion_id`, length N.
        names: Image names, length N.
        patients: Patient of each row, to whom a row without a group belongs; None when they are unknown.
    """
    result = []
    for i, (cell, name) in enumerate(zip(cells, names, strict=True)):
        if not is_unnamed(cell):
            result.append(cell.strip())
        elif patients is not None and not is_unnamed(patients[i]):
            result.append(f"patient:{patients[i].strip()}")
        else:
            result.append(f"image:{name}")
    return tuple(result)


def lesions_or_patients(
    columns: Mapping[str, Sequence[str]], names: Sequence[str]
) -> tuple[str | None, tuple[str, ...] | None]:
    """Groups of dependent images: lesions, else patients.

    Args:
        columns: Cells by column name.
        names: Image names, length N.

    Returns:
        The column and the group of each image; None for both where no cell names a lesion or patient.
    """
    blank = [""] * len(names)
    lesion, patient = find(columns, LESION_NAMES), find(columns, PATIENT_NAMES)
    lesions = columns[lesion] if lesion is not None else blank
    patients = columns[patient] if patient is not None else None
    if not all(map(is_unnamed, lesions)):
        return lesion, groups_of(lesions, names, patients)
    if patients is not None and not all(map(is_unnamed, patients)):
        return patient, groups_of(blank, names, patients)
    return None, None


def malignant_codes(codes: Sequence[str], labels: LabelSet | None = None) -> tuple[str, ...]:
    """Those of the codes that stand for malignant classes.

    Args:
        codes: Class codes.
        labels: Asked first; then the known taxonomies.

    Raises:
        InvalidArgumentError: It is unknown whether a code is malignant.
    """
    flags = malignant_flags(labels)
    unknown = [code for code in codes if flags.get(code) is None]
    if unknown:
        raise InvalidArgumentError(
            f"Nothing says whether {', '.join(unknown)} counts as malignant; name the positive classes, "
            "for example `positive` mel,bcc.",
            parameter="positive",
        )
    return tuple(code for code in codes if flags[code])


def read_labels(
    path: Path | str,
    labels: LabelSet | None = None,
    *,
    split: str | None = None,
    options: LabelOptions | None = None,
) -> LabelTable:
    """Read reference labels.

    Understood are columns of 0/1 and of diagnoses (`label`, `dx`, `diagnosis`, ...) by code or by the names in
    `skinclf.tables.diagnosis_names`, one-hot columns such as the ISIC ground truth, a folder with one subfolder per
    class (also inside `train`, `val`, `test`), and `val_probs.npz`. Columns of the same labels must agree. Images
    whose diagnosis is blank or unknown are left out and counted in `LabelTable.left_out`. A `..._GroundTruth.csv` with
    one row per lesion labels the images of its `..._Metadata.csv`.

    Args:
        path: File or folder.
        labels: Label set that codes must belong to or have a declared crosswalk to.
        split: Keep only rows whose `split` column (or upper folder) says this; `val`, `valid` and `validation` are one.
        options: Columns, names and classes that the user states.

    Raises:
        InvalidArgumentError: No labels are found, columns disagree, a label has no class, or a one-hot row has not
            exactly one class.
    """
    options = options or LabelOptions()
    source = Path(path)
    if source.is_dir():
        return _from_folders(source, labels, split, options)
    if source.suffix.lower() == ".npz":
        truth = read_npz(source)[0]
        ids = tuple(map(str, range(truth.size)))
        return LabelTable(ids, _codes_of(truth, labels), truth, None, {})
    columns = read_label_table(source)
    if options.id_column is None:
        beside = tables_beside(source)
        columns = labels_by_image(columns, source, beside, ids=ID_NAMES, lesions=LESION_NAMES)
    if split is not None:
        columns = _only(columns, split, source)
    names = columns[id_column_of(columns, source, options)]
    cells = read_label_cells(columns, labels, source, options)
    left_out = {names[i]: reason for i, reason in sorted(cells.left_out.items())}
    columns = {name: [values[i] for i in cells.rows] for name, values in columns.items()}
    ids = tuple(names[i] for i in cells.rows)
    binary, codes = _labels_of(cells, labels)
    group_column, groups = lesions_or_patients(columns, ids)
    kept = {name: tuple(values) for name, values in columns.items()}
    return LabelTable(ids, codes, binary, groups, kept, group_column, left_out, cells.note)


def id_column_of(columns: Columns, source: Path, options: LabelOptions) -> str:
    """The column that names the image.

    Raises:
        InvalidArgumentError: There is none.
    """
    if options.id_column is not None:
        return column_named(columns, options.id_column, source, "id_column")
    found = find(columns, ID_NAMES)
    if found is None:
        raise InvalidArgumentError(
            f"{source}: no column names the image (one of {', '.join(ID_NAMES)}); found {', '.join(columns)}. "
            "Name it with `id_column`.",
            parameter="id_column",
        )
    return found


def read_npz(path: Path) -> tuple[Truth, npt.NDArray[np.float32]]:
    """`y_true` (int8) and `y_prob` (float32), both of shape (N,), from a `val_probs.npz`.

    Raises:
        InvalidArgumentError: The file or its arrays are not what they should be.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            truth, score = np.asarray(data["y_true"]).reshape(-1), np.asarray(data["y_prob"]).reshape(-1)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InvalidArgumentError(f"{path}: expected arrays y_true and y_prob: {error}.") from None
    if truth.size != score.size or not np.isin(truth, (0, 1)).all():
        raise InvalidArgumentError(f"{path}: expected y_true of 0 and 1, as long as y_prob.")
    return truth.astype(np.int8), score.astype(np.float32)


def _only(columns: Columns, split: str, source: Path) -> Columns:
    name = find(columns, ("split",))
    if name is None:
        raise InvalidArgumentError(
            f"{source}: no column 'split' to choose `split` {split!r} from.", parameter="split"
        )
    keep = [i for i, value in enumerate(columns[name]) if part_of(value) == part_of(split)]
    if not keep:
        raise InvalidArgumentError(
            f"{source}: no row of split {split!r}; found {sorted(set(columns[name]))}.", parameter="split"
        )
    return {key: [values[i] for i in keep] for key, values in columns.items()}


def _labels_of(cells: LabelCells, labels: LabelSet | None) -> tuple[Truth | None, tuple[str, ...] | None]:
    """0/1 and class codes of the rows, as far as they are known."""
    binary = None if cells.binary is None else np.asarray(cells.binary, np.int8)
    codes = None
    if cells.names is not None:
        code_of = {name: class_of(name, labels) or name for name in set(cells.names)}
        codes = tuple(code_of[name] for name in cells.names)
    if binary is not None:
        codes = _codes_of(binary, labels) or codes
    return binary, codes


def _codes_of(binary: Truth, labels: LabelSet | None) -> tuple[str, ...] | None:
    """0 and 1 as the codes of a two-class label set."""
    if labels is None or len(labels) != 2:
        return None
    one = positive_index(labels)
    return tuple(labels.codes[one if value else 1 - one] for value in binary)


def _from_folders(
    root: Path, labels: LabelSet | None, split: str | None, options: LabelOptions
) -> LabelTable:
    for parameter in ("id_column", "label_column"):
        if getattr(options, parameter) is not None:
            raise InvalidArgumentError(
                f"{root}: a folder per class has no columns; `{parameter}` is for tables.",
                parameter=parameter,
            )
    tops = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if tops and all(part_of(p.name) in SPLITS for p in tops):
        classes = [
            (p.name, c)
            for p in tops
            if split is None or part_of(split) == part_of(p.name)
            for c in sorted(p.iterdir())
            if c.is_dir()
        ]
    elif split is not None:
        raise InvalidArgumentError(
            f"{root}: no folders per split to choose `split` {split!r} from.", parameter="split"
        )
    else:
        classes = [("", p) for p in tops]
    rows: list[dict[str, Any]] = [
        {"image": file.relative_to(root).as_posix(), "label": folder.name, "split": part}
        for part, folder in classes
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in EXTENSIONS and not file.name.startswith(".")
    ]
    if not rows:
        raise InvalidArgumentError(
            f"{root}: expected one subfolder of images per class; found no such image."
        )
    columns = {name: [str(row[name]) for row in rows] for name in rows[0]}
    cells = read_label_cells({"label": columns["label"]}, labels, root, options)
    binary, codes = _labels_of(cells, labels)
    names = columns["image"]
    left_out = {names[i]: reason for i, reason in sorted(cells.left_out.items())}
    kept = {name: tuple(values[i] for i in cells.rows) for name, values in columns.items()}
    return LabelTable(kept["image"], codes, binary, None, kept, left_out=left_out, note=cells.note)
