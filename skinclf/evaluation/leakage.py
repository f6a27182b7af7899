"""Leakage checks: images and lesions under test that trained, tuned or calibrated the model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from skinclf._utils.columns import Columns, find, read_columns
from skinclf._utils.public import short_names
from skinclf.decisions.threshold_file import Threshold
from skinclf.decisions.tuning_data import hashes_missing
from skinclf.errors import InvalidArgumentError, LeakageError
from skinclf.tables.column_names import part_of
from skinclf.tables.names import candidates, identified_by_file_name, stem
from skinclf.tables.predictions import LabelTable
from skinclf.tables.reference import ID_NAMES, lesions_or_patients

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Overlap:
    """What one source shares with the data under test.

    Attributes:
        source: Name of the table, splits or threshold file that was compared, without its folder.
        lesions: Lesions in both.
        images: Images in both.
    """

    source: str
    lesions: tuple[str, ...]
    images: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.lesions or self.images)

    def __str__(self) -> str:
        parts = []
        for kind, names in (("lesions", self.lesions), ("images", self.images)):
            if names:
                more = ", ..." if len(names) > _SHOWN else ""
                parts.append(f"{len(names)} {kind} ({', '.join(names[:_SHOWN])}{more})")
        return f"{self.source} shares {' and '.join(parts) or 'nothing'} with the data under test"


def find_overlaps(
    tested: LabelTable,
    everything: LabelTable,
    *,
    split: str | None = None,
    tuned_on: Iterable[Path] = (),
    threshold: Threshold | None = None,
) -> list[Overlap]:
    """Compare the data under test with all that is known to have been used before.

    Args:
        tested: Labels of the images under test, named with as many folders as are known.
        everything: The labels table with all its splits; knows the lesions of images named elsewhere.
        split: The split under test; the table's other splits then count as used.
        tuned_on: Predictions or labels tables of the data that trained, tuned or calibrated. Rows of such a
            table that belong to `split` do not count.
        threshold: A threshold file that may hold hashes of what it was tuned on.

    Returns:
        One entry per source that could be compared, with or without something shared.

    Raises:
        InvalidArgumentError: A table that cannot be read or names no images.
    """
    lesions = _named(tested.lesion_id)
    found = []

    def add(source: str, names: Sequence[str], known: Iterable[str] | None) -> None:
        theirs = _named(known)
        if everything.lesion_id is not None:
            # One row of the labels, or none: a name that could mean several says nothing about lesions.
            rows = (rows for rows in candidates(names, everything.ids) if len(rows) == 1)
            theirs |= _named(everything.lesion_id[row[0]] for row in rows)
        seen = {name for name, rows in zip(tested.ids, candidates(tested.ids, names), strict=True) if rows}
        if identified_by_file_name(names) and identified_by_file_name(tested.ids):
            files = set(map(stem, names))
            seen |= {name for name in tested.ids if stem(name) in files}
        found.append(Overlap(source, tuple(sorted(theirs & lesions)), tuple(sorted(seen))))

    if split is not None:
        column = find(everything.columns, ("split",))
        if column is not None:
            cells = everything.columns[column]
            rows = [i for i, cell in enumerate(cells) if cell and part_of(cell) != part_of(split)]
            if rows:
                other = everything.take(rows)
                names = ", ".join(sorted({cells[i] for i in rows}))
                add(f"The other splits of the labels ({names})", other.ids, other.lesion_id)
    for path in tuned_on:
        columns = read_columns(path)
        add(path.name, *_named_in(columns, path, split))
    tuned = threshold.data.get("data") if threshold is not None else None
    if threshold is not None and tuned and not hashes_missing(tuned):
        shared = threshold.seen(images=tested.ids, lesions=sorted(lesions))
        lesions_seen = tuple(name for name in shared if name in lesions)
        images_seen = short_names([name for name in shared if name not in lesions])
        found.append(Overlap(Path(threshold.source).name, lesions_seen, tuple(images_seen)))
    return found


def _named(groups: Iterable[str] | None) -> set[str]:
    """Lesions and patients among groups of images, without the groups of single images."""
    return {group for group in groups or () if not group.startswith("image:")}


def _named_in(columns: Columns, path: Path, split: str | None) -> tuple[list[str], Sequence[str] | None]:
    """Images of a table and their lesions or patients, without the rows of the split under test."""
    image = find(columns, ("image", *ID_NAMES))
    if image is None:
        raise InvalidArgumentError(f"{path}: no column names the image; found {', '.join(columns)}.")
    part = find(columns, ("split",))
    rows = list(range(len(columns[image])))
    if part is not None and split is not None:
        rows = [i for i in rows if part_of(columns[part][i]) != part_of(split)]
    names, groups = columns[image], lesions_or_patients(columns, columns[image])[1]
    return [names[i] for i in rows], None if groups is None else [groups[i] for i in rows]


def refuse(overlaps: Iterable[Overlap], *, allow: bool = False) -> list[str]:
    """Refuse what is shared, or say it.

    Returns:
        One sentence per overlap.

    Raises:
        LeakageError: Something is shared and `allow` is false.
    """
    sentences = [f"{overlap}." for overlap in overlaps if overlap]
    if sentences and not allow:
        raise LeakageError(
            " ".join(sentences)
            + " Figures on data that were seen before flatter the model: evaluate on other data, or go on "
            "with `allow_leakage`, which the report will say.",
            parameter="allow_leakage",
        )
    return sentences
