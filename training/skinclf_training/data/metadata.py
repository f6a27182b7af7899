"""Reading HAM10000-style metadata tables."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from skinclf.errors import InvalidInputError
from skinclf.labels import LabelSet

#: Column names in use for the same thing, in lower case; the first that a table has counts.
IMAGE_COLUMNS = ("image_id", "image", "isic_id")
LESION_COLUMNS = ("lesion_id",)
LABEL_COLUMNS = ("dx", "diagnosis", "label")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One image of a data set.

    Attributes:
        image: Image id, the file name without its extension.
        lesion: Lesion id; the image id when the table knows none.
        label: Code in lower case, as in the taxonomy.
        columns: Every column of the table's row, as text.
    """

    image: str
    lesion: str
    label: str
    columns: Mapping[str, str]


def read_metadata(path: Path, labels: LabelSet) -> list[Record]:
    """Read a table with an image, a label and (best) a lesion column, separated by commas or tabs.

    Args:
        path: `HAM10000_metadata.csv`, `.tab` or alike.
        labels: Taxonomy that the labels must belong to.

    Returns:
        Records in the order of the table.

    Raises:
        InvalidInputError: No such file, a missing column, a repeated image or a label outside the taxonomy.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path}: the metadata table cannot be read: {error}.") from None
    lines = text.splitlines()
    if len(lines) < 2:
        raise InvalidInputError(f"{path}: expected a header and at least one row; found {len(lines)} lines.")
    rows = list(csv.DictReader(lines, delimiter="\t" if "\t" in lines[0] else ","))
    header = list(rows[0])
    image_column = _column(header, IMAGE_COLUMNS, path)
    label_column = _column(header, LABEL_COLUMNS, path)
    lesion_column = next((c for c in header if c.strip().lower() in LESION_COLUMNS), None)
    unknown: dict[str, int] = {}
    records, seen = [], set()
    for row in rows:
        columns = {k: (v or "").strip() for k, v in row.items() if k is not None}
        image = Path(columns[image_column]).stem if columns[image_column] else ""
        label = columns[label_column].lower()
        if not image or image in seen:
            raise InvalidInputError(
                f"{path}: image id {image!r} is empty or appears twice; expected one row per image."
            )
        seen.add(image)
        if label not in labels.codes:
            unknown[label] = unknown.get(label, 0) + 1
        lesion = (columns[lesion_column] if lesion_column else "") or image
        records.append(Record(image=image, lesion=lesion, label=label, columns=columns))
    if unknown:
        found = ", ".join(f"{k!r} ({n} rows)" for k, n in sorted(unknown.items()))
        raise InvalidInputError(
            f"{path}: labels outside {labels.name}: {found}. Expected {', '.join(labels.codes)}; "
            "correct the table or choose another taxonomy with --labels."
        )
    return records


def _column(header: Sequence[str], names: Sequence[str], path: Path) -> str:
    for name in names:
        for column in header:
            if column.strip().lower() == name:
                return column
    raise InvalidInputError(
        f"{path}: none of the columns {', '.join(names)} is there; found {', '.join(header)}."
    )
