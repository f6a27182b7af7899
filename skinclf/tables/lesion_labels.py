"""Labels of lesions, given to their images: a ground truth by lesion and a table of the images of each (MILK10k)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from skinclf._utils.columns import Columns, find, read_columns
from skinclf._utils.missing import is_unnamed
from skinclf.errors import InvalidArgumentError


def tables_beside(path: Path) -> list[Path]:
    """Tables that ISIC publishes with a ground truth, and that know the lesions."""
    names = [path.name.replace("GroundTruth", word) for word in ("Metadata", "LesionGroupings")]
    return [path.with_name(name) for name in names if name != path.name and path.with_name(name).is_file()]


def labels_by_image(
    columns: Columns,
    source: Path,
    more: Sequence[Path],
    *,
    ids: Sequence[str],
    lesions: Sequence[str],
) -> Columns:
    """One row per image for labels that have one row per lesion; any other table as it is.

    A table has its labels by lesion when no column names an image and one names a lesion. The images of each lesion
    come from the first further table with both columns. An image of a lesion that has no row is left out.

    Args:
        columns: Table of labels.
        source: Its path, for messages.
        more: Further tables.
        ids: Names of columns that name an image.
        lesions: Names of columns that name a lesion.

    Raises:
        InvalidArgumentError: A lesion has no name, two rows, or no image.
    """
    lesion = find(columns, lesions)
    if lesion is None or find(columns, ids) is not None:
        return columns
    for path in more:
        other = read_columns(path)
        image, key = find(other, ids), find(other, lesions)
        if image is not None and key is not None:
            return _joined(columns, _rows(columns[lesion], source), lesion, other, other[key], image, path)
    return columns


def _rows(cells: Sequence[str], source: Path) -> Mapping[str, int]:
    rows: dict[str, int] = {}
    for i, cell in enumerate(cells):
        if is_unnamed(cell) or rows.setdefault(cell.strip(), i) != i:
            raise InvalidArgumentError(
                f"{source}: lesion {cell!r} has no name or two rows; expected one row per lesion, as no column "
                "names an image."
            )
    return rows


def _joined(
    columns: Columns,
    rows: Mapping[str, int],
    lesion: str,
    other: Columns,
    keys: Sequence[str],
    image: str,
    path: Path,
) -> Columns:
    kept = [i for i, key in enumerate(keys) if key.strip() in rows]
    found = [rows[keys[i].strip()] for i in kept]
    alone = sorted(set(rows) - {key.strip() for key in keys})
    if alone:
        raise InvalidArgumentError(
            f"{path}: names no image of {len(alone):,} labelled lesions, such as {alone[0]}. "
            "Give the table of all images."
        )
    labels = {name: [values[i] for i in found] for name, values in columns.items() if name != lesion}
    images = {image: [other[image][i] for i in kept], lesion: [keys[i].strip() for i in kept]}
    return {**images, **labels}
