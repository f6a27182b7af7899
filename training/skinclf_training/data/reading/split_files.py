"""Existing splits, read from tables, JSON files and folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from skinclf._utils.columns import find, read_columns
from skinclf._utils.json import read_json
from skinclf.errors import InvalidArgumentError
from skinclf.tables.names import pair_tables
from skinclf.tables.reference import ID_NAMES
from skinclf_training.data.reading.layouts import parts_of_layout
from skinclf_training.data.reading.metadata import Record
from skinclf_training.data.split import PART_NAMES, SPLITS

#: One table per part.
_TABLES = ("split_{}.csv", "{}_split.csv", "{}.csv")
#: One table with a column `split`.
_SINGLE = ("split.csv", "labels_binary_split.csv")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingSplit:
    """Parts of images or lesions.

    Attributes:
        source: File or folder that was read.
        tables: Tables that state it, the first of which may hold the labels too; empty for folders.
        images: Part by image as the source names it, where it names images.
        lesions: Part by lesion id, where the source names lesions.
    """

    source: Path
    tables: tuple[Path, ...] = ()
    images: Mapping[str, str]
    lesions: Mapping[str, str]

    def parts(self, records: Sequence[Record]) -> list[str | None]:
        """Part of every record; None for one that is not in the split.

        Raises:
            InvalidArgumentError: A part has no record, images and lesions of the split contradict, or a name could
                mean several images.
        """
        parts: list[str | None] = []
        names = list(self.images)
        pairing = pair_tables(
            [r.name or r.image for r in records], names, "labels", f"split {self.source.name}"
        )
        for record, j in zip(records, pairing.partners, strict=True):
            by_image, by_lesion = (
                None if j is None else self.images[names[j]],
                self.lesions.get(record.lesion),
            )
            if by_image and by_lesion and by_image != by_lesion:
                raise InvalidArgumentError(
                    f"{self.source}: image {record.image} is in {by_image}, its lesion {record.lesion} in "
                    f"{by_lesion}."
                )
            parts.append(by_image or by_lesion)
        empty = [part for part in SPLITS if part not in parts]
        if empty:
            raise InvalidArgumentError(f"{self.source}: no labelled image is in {', '.join(empty)}.")
        return parts


def read_split(path: Path) -> ExistingSplit:
    """Read a split.

    Understood are a table with a column `split` (as of `labels_binary_split.csv` and skinclf's own
    `split.csv`; a `split_metadata.json` beside it must agree), a `split_metadata.json` with
    `<part>_lesion_ids`, a folder with `split_<part>.csv` or `<part>_split.csv`, and a folder with the
    subfolders `train`, `val` and `test`.

    Raises:
        InvalidArgumentError: The source has none of these forms, or an image is in two parts.
    """
    if path.is_dir():
        for name in _SINGLE:
            if (path / name).is_file():
                return read_split(path / name)
        for pattern in _TABLES:
            tables = {part: path / pattern.format(part) for part in SPLITS}
            if all(table.is_file() for table in tables.values()):
                return _from_tables(path, tables)
        images = parts_of_layout(path)
        if not images:
            raise InvalidArgumentError(
                f"{path}: no split; expected split.csv, split_<part>.csv, <part>_split.csv or the folders "
                "train, val and test."
            )
        return ExistingSplit(source=path, images=images, lesions={})
    if path.suffix.lower() == ".json":
        return ExistingSplit(source=path, images={}, lesions=_lesions(path))
    columns = read_columns(path)
    image, part = find(columns, ID_NAMES), find(columns, ("split",))
    if image is None or part is None:
        raise InvalidArgumentError(
            f"{path}: expected a column split and one that names the image; found {', '.join(columns)}."
        )
    images = {}
    for name, cell in zip(columns[image], columns[part], strict=True):
        if cell.lower() not in PART_NAMES:
            raise InvalidArgumentError(f"{path}: {name}: split is {cell!r}; expected {', '.join(SPLITS)}.")
        _add(images, name, PART_NAMES[cell.lower()], path)
    beside = path.with_name("split_metadata.json")
    lesions = _lesions(beside) if beside.is_file() else {}
    return ExistingSplit(source=path, tables=(path,), images=images, lesions=lesions)


def _from_tables(folder: Path, tables: Mapping[str, Path]) -> ExistingSplit:
    images: dict[str, str] = {}
    for part, table in tables.items():
        columns = read_columns(table)
        image = find(columns, ID_NAMES)
        if image is None:
            raise InvalidArgumentError(f"{table}: no column names the image; found {', '.join(columns)}.")
        for name in columns[image]:
            _add(images, name, part, table)
    return ExistingSplit(source=folder, tables=tuple(tables.values()), images=images, lesions={})


def _lesions(path: Path) -> dict[str, str]:
    data = read_json(path)
    lesions: dict[str, str] = {}
    for part in SPLITS:
        names = data.get(f"{part}_lesion_ids")
        if not isinstance(names, list):
            raise InvalidArgumentError(f"{path}: expected a list {part}_lesion_ids.")
        for name in names:
            _add(lesions, str(name), part, path)
    return lesions


def _add(parts: dict[str, str], name: str, part: str, source: Path) -> None:
    other = parts.setdefault(name, part)
    if other != part:
        raise InvalidArgumentError(f"{source}: {name} is in two parts, {other} and {part}.")
