"""Reference labels read from tables (CSV, one-hot, ISIC, NPZ) and class folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from skinclf._utils.columns import Columns, find, parse_float32, read_columns
from skinclf._utils.missing import is_unnamed
from skinclf.errors import InvalidArgumentError
from skinclf.images.decode import EXTENSIONS
from skinclf.labels import TAXONOMIES, LabelSet

Truth: TypeAlias = npt.NDArray[np.int8]

ID_NAMES = (
    "image_id",
    "image",
    "isic_id",
    "image_name",
    "filename",
    "file_name",
    "file",
    "id",
    "name",
    "path",
)
LESION_NAMES = ("lesion_id", "lesion")
PATIENT_NAMES = ("patient_id", "patient", "subject_id", "subject", "case_id", "person_id")
_LABEL_NAMES = ("label", "dx", "diagnosis", "target", "class", "malignant", "benign_malignant", "y_true")
_BINARY = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1, "benign": 0, "malignant": 1}
_SPLITS = {"train", "val", "valid", "validation", "test"}


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
    """

    ids: tuple[str, ...]
    codes: tuple[str, ...] | None
    binary: Truth | None
    lesion_id: tuple[str, ...] | None
    columns: Mapping[str, tuple[str, ...]]
    group_column: str | None = None

    def take(self, rows: Sequence[int]) -> LabelTable:
        """The rows asked for, in that order."""
        return LabelTable(
            tuple(self.ids[i] for i in rows),
            None if self.codes is None else tuple(self.codes[i] for i in rows),
            None if self.binary is None else self.binary[list(rows)],
            None if self.lesion_id is None else tuple(self.lesion_id[i] for i in rows),
            {name: tuple(values[i] for i in rows) for name, values in self.columns.items()},
            self.group_column,
        )

    def truth(self, positive: Sequence[str] | None = None, labels: LabelSet | None = None) -> Truth:
        """1 where the image is positive, shape (N,), int8.

        Args:
            positive: Class codes that count as positive; None takes the 0/1 column, else malignancy.
            labels: Says which codes are malignant; None asks the known taxonomies.

        Raises:
            InvalidArgumentError: The table has no class codes, or has one of unknown malignancy.
        """
        if positive is None and self.binary is not None:
            return self.binary
        if self.codes is None:
            raise InvalidArgumentError(
                f"Positive class {','.join(positive or ())}: class codes are needed, the labels say 0 or 1."
            )
        wanted = set(malignant_codes(sorted(set(self.codes)), labels) if positive is None else positive)
        return np.asarray([code in wanted for code in self.codes], np.int8)


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
    flags = {x.code: x.malignant for known in TAXONOMIES.values() for x in known}
    flags |= {x.code: x.malignant for x in labels or ()}
    unknown = [code for code in codes if flags.get(code) is None]
    if unknown:
        raise InvalidArgumentError(
            f"Nothing says whether {', '.join(unknown)} counts as malignant; name the positive classes, "
            "for example `positive` mel,bcc.",
            parameter="positive",
        )
    return tuple(code for code in codes if flags[code])


def read_labels(path: Path | str, labels: LabelSet | None = None, *, split: str | None = None) -> LabelTable:
    """Read reference labels.

    Understood are a column of 0/1 or class codes (`label`, `dx`, `diagnosis`, ...), one-hot columns such as
    the ISIC ground truth, HAM10000's metadata (comma or tab), a folder with one subfolder per class (also
    inside `train`, `val`, `test`), and `val_probs.npz`.

    Args:
        path: File or folder.
        labels: Label set that codes must belong to; display names are recognised too.
        split: Keep only rows whose `split` column (or upper folder) says this.

    Raises:
        InvalidArgumentError: No labels are found, one is unknown, or a one-hot row has not exactly one class.
    """
    source = Path(path)
    if source.is_dir():
        return _from_folders(source, labels, split)
    if source.suffix.lower() == ".npz":
        truth = read_npz(source)[0]
        ids = tuple(map(str, range(truth.size)))
        return LabelTable(ids, _codes_of(truth, labels), truth, None, {})
    columns = read_columns(source)
    if split is not None:
        columns = _only(columns, split, source)
    id_column = find(columns, ID_NAMES)
    if id_column is None:
        raise InvalidArgumentError(
            f"{source}: no column names the image (one of {', '.join(ID_NAMES)}); found {', '.join(columns)}."
        )
    ids = tuple(columns[id_column])
    binary, codes = _labels_of(columns, labels, source)
    group_column, groups = lesions_or_patients(columns, ids)
    kept = {name: tuple(values) for name, values in columns.items()}
    return LabelTable(ids, codes, binary, groups, kept, group_column)


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
    keep = [i for i, value in enumerate(columns[name]) if value.lower() == split.lower()]
    if not keep:
        raise InvalidArgumentError(
            f"{source}: no row of split {split!r}; found {sorted(set(columns[name]))}.", parameter="split"
        )
    return {key: [values[i] for i in keep] for key, values in columns.items()}


def _labels_of(
    columns: Columns, labels: LabelSet | None, source: Path
) -> tuple[Truth | None, tuple[str, ...] | None]:
    """The first 0/1 column and the first column of class codes; one-hot columns when there is neither."""
    binary: Truth | None = None
    codes: tuple[str, ...] | None = None
    present = [name for name in (find(columns, (wanted,)) for wanted in _LABEL_NAMES) if name is not None]
    for name in present:
        words = [cell.lower() for cell in columns[name]]
        if all(word in _BINARY for word in words):
            if binary is None:
                binary = np.asarray([_BINARY[word] for word in words], np.int8)
        elif codes is None:
            codes = tuple(_code(cell, labels, f"{source}: column {name}") for cell in columns[name])
    if not present:
        codes = _one_hot(columns, labels, source)
    if binary is not None:
        codes = _codes_of(binary, labels) or codes
    return binary, codes


def _codes_of(binary: Truth, labels: LabelSet | None) -> tuple[str, ...] | None:
    """0 and 1 as the codes of a two-class label set."""
    if labels is None or len(labels) != 2:
        return None
    return tuple(labels.codes[int(value)] for value in binary)


def _fold(text: str) -> str:
    return text.strip().lower().replace(" ", "_").replace("-", "_")


def _code(cell: str, labels: LabelSet | None, where: str) -> str:
    text = _fold(cell)
    if not text:
        raise InvalidArgumentError(f"{where}: an image has no label.")
    if labels is None:
        return text
    for label in labels:
        if text in {_fold(label.code), _fold(label.name)}:
            return label.code
    if any(text == _fold(x.code) for known in TAXONOMIES.values() for x in known):
        return text  # a class of another taxonomy, such as ISIC's scc for a HAM10000 model
    raise InvalidArgumentError(
        f"{where}: unknown label {cell!r}; {labels.name} has {', '.join(labels.codes)}."
    )


def one_hot_columns(columns: Columns, labels: LabelSet | None) -> dict[str, str]:
    """Column by class code, for columns named like classes; empty when there are fewer than two."""
    known = {x.code.lower() for taxonomy in TAXONOMIES.values() for x in taxonomy} | {"unk"}
    known |= {x.code.lower() for x in labels or ()}
    found = {name.lower(): name for name in columns if name.lower() in known}
    return found if len(found) >= 2 else {}


def _one_hot(columns: Columns, labels: LabelSet | None, source: Path) -> tuple[str, ...]:
    found = one_hot_columns(columns, labels)
    if not found:
        raise InvalidArgumentError(
            f"{source}: no label column ({', '.join(_LABEL_NAMES)}) and no one-hot columns; "
            f"found {', '.join(columns)}."
        )
    values = np.stack([parse_float32(columns[name], f"{source}: column {name}") for name in found.values()])
    good = (values == 1).sum(axis=0) == 1
    good &= (values != 0).sum(axis=0) == 1
    if not good.all():
        number = int(np.flatnonzero(~good)[0]) + 2
        raise InvalidArgumentError(f"{source}: row {number} does not mark exactly one of {', '.join(found)}.")
    names = list(found)
    return tuple(_code(names[i], labels, str(source)) for i in values.argmax(axis=0))


def _from_folders(root: Path, labels: LabelSet | None, split: str | None) -> LabelTable:
    tops = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if tops and all(p.name.lower() in _SPLITS for p in tops):
        classes = [
            (p.name, c) for p in tops if split in {None, p.name} for c in sorted(p.iterdir()) if c.is_dir()
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
    binary, codes = _labels_of({"label": columns["label"]}, labels, root)
    return LabelTable(
        tuple(columns["image"]), codes, binary, None, {name: tuple(v) for name, v in columns.items()}
    )
