"""Names of columns in use, and the tables that have no header at all."""

from __future__ import annotations

from pathlib import Path

from skinclf._utils.columns import Columns, find, read_columns
from skinclf.labels import TAXONOMIES
from skinclf.tables.diagnosis_names import class_of
from skinclf.tables.label_truth import BINARY, WORDS, binary_word

#: Columns that name an image, the surest first.
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
    "img_id",
    "bcn_filename",
    "ddi_file",
    "md5hash",
    "derm",
    "image_file",
    "image_filename",
    "image_path",
    "file_path",
    "img",
    "img_name",
    "img_file",
    "img_path",
)
LESION_NAMES = ("lesion_id", "lesion")
PATIENT_NAMES = ("patient_id", "patient", "subject_id", "subject", "case_id", "person_id")
#: Columns of labels; all that a table has are read, and must agree.
LABEL_NAMES = (
    "dx",
    "diagnosis",
    "label",
    "target",
    "class",
    "malignant",
    "benign_malignant",
    "y_true",
    "diagnostic",
    "disease",
    "label_name",
    "diagnosis_1",
    "diagnosis_3",
    "three_partition_label",
)
#: Columns of labels that are read where a table has none of the others, such as ISIC 2024's without its target.
FURTHER_LABEL_NAMES = (
    "iddx_1",
    "iddx_3",
    "diagnosis_full",
    "histological_diagnosis",
    "class_name",
    "labels",
    "category",
    "cell_type",
    "ground_truth",
)

#: Parts of a data set.
SPLITS = ("train", "val", "test")
#: Other names of the parts, in lower case.
PART_NAMES = {
    **{part: part for part in SPLITS},
    "training": "train",
    "valid": "val",
    "validation": "val",
    "testing": "test",
}


def part_of(text: str) -> str:
    """Name of a part as `train`, `val` or `test`; any other name in lower case."""
    folded = text.strip().lower()
    return PART_NAMES.get(folded, folded)


def read_label_table(path: Path) -> Columns:
    """Read a table of labels; one of ids and labels without a header, as ISIC 2016's, gets the header `image,label`.

    Args:
        path: File of a table.

    Raises:
        InvalidArgumentError: The file is no table, see `skinclf._utils.columns.read_columns`.
    """
    columns = read_columns(path)
    if len(columns) != 2 or find(columns, (*ID_NAMES, *LABEL_NAMES, *LESION_NAMES)) is not None:
        return columns
    (first, names), (second, cells) = columns.items()
    if not _is_label(second) or not all(_is_label(cell) for cell in cells if cell):
        return columns
    # `benign` above 0 and 1 names the column; above benign and malignant it is the first label.
    if (binary_word(second) in {"0", "1"}) != all(binary_word(cell) in {"0", "1"} for cell in cells if cell):
        return columns
    return {"image": [first, *names], "label": [second, *cells]}


def _is_label(cell: str) -> bool:
    word = binary_word(cell)
    return word in {"0", "1"} or word in WORDS or (word not in BINARY and _has_class(cell))


def _has_class(cell: str) -> bool:
    code = class_of(cell, None)
    return code is not None and any(code in taxonomy.codes for taxonomy in TAXONOMIES.values())
