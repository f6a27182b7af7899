"""A prepared data set on disk: `split.csv` and `split.json`, written whole and read back with checks."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf._utils.files import replace_file, writing
from skinclf.errors import InvalidArgumentError
from skinclf.labels import LabelSet
from skinclf_training.data.locate import find_images
from skinclf_training.data.reading.metadata import Record
from skinclf_training.data.split import SPLITS, shared_groups, split_hash

SPLIT_CSV = "split.csv"
MANIFEST = "split.json"
FOLDS = "folds.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Prepared data set: files, labels, lesions and parts of its images.

    Attributes:
        folder: Folder of `split.csv` and `split.json`.
        labels: Taxonomy, in output order.
        images: Image ids.
        lesions: Lesion id of every image.
        targets: Label index of every image, shape (N,), int64.
        parts: Part of every image: `train`, `val` or `test`.
        paths: File of every image.
        manifest: Content of `split.json`.
        columns: Every column of `split.csv`, as text.
    """

    folder: Path
    labels: LabelSet
    images: tuple[str, ...]
    lesions: tuple[str, ...]
    targets: npt.NDArray[np.int64]
    parts: tuple[str, ...]
    paths: tuple[Path, ...]
    manifest: Mapping[str, Any]
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """SHA-256 of the assignment of images to parts."""
        return str(self.manifest["split_sha256"])

    @property
    def cache(self) -> Path:
        """Folder for decoded stores; the folds of one data set share it."""
        return self.folder / str(self.manifest.get("cache", "cache"))

    def rows(self, part: str) -> npt.NDArray[np.int64]:
        """Row numbers of one part, ascending."""
        return np.asarray([i for i, p in enumerate(self.parts) if p == part], dtype=np.int64)


def write_prepared(
    folder: Path, records: Sequence[Record], parts: Sequence[str], manifest: Mapping[str, Any]
) -> None:
    """Write `split.csv`, its rows by part in `split_<part>.csv`, and `split.json`, each whole or not at all.

    Raises:
        OutputError: The folder cannot be written.
    """
    # The table's own columns first, then what skinclf knows, which wins over columns of the same name.
    rows = [
        {
            **r.columns,
            "image_id": r.image,
            "lesion_id": r.lesion,
            "label": r.label,
            "split": part,
            **({} if r.file is None else {"file": relative(r.file, folder)}),
        }
        for r, part in zip(records, parts, strict=True)
    ]
    names = list(dict.fromkeys(k for r in rows for k in r))
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for part in SPLITS:
            own = [row for row in rows if row["split"] == part]
            replace_file(folder / f"split_{part}.csv", _table(names, own))
        replace_file(folder / SPLIT_CSV, _table(names, rows))
        replace_file(folder / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())


def _table(names: Sequence[str], rows: Sequence[Mapping[str, str]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()


def read_prepared(folder: Path) -> Prepared:
    """Read the output of `prepare` and check its hash and files.

    Raises:
        InvalidArgumentError: The folder is not a prepared data set or holds folds, the split was changed, or images
            are missing.
    """
    if (folder / FOLDS).is_file():
        raise InvalidArgumentError(f"{folder}: holds folds; expected one split, such as {folder / 'fold0'}.")
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        with (folder / SPLIT_CSV).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError) as error:
        raise InvalidArgumentError(
            f"{folder}: not a prepared data set ({error}). Prepare the data first."
        ) from None
    images, parts = [r["image_id"] for r in rows], [r["split"] for r in rows]
    if split_hash(images, parts) != manifest["split_sha256"]:
        raise InvalidArgumentError(
            f"{folder / SPLIT_CSV}: differs from the hash in {MANIFEST}; prepare the data again."
        )
    shared = shared_groups([r["lesion_id"] for r in rows], parts)
    if shared and not manifest.get("shared_lesions_allowed", False):
        raise InvalidArgumentError(
            f"{folder / SPLIT_CSV}: a lesion is in several parts; prepare the data again."
        )
    labels = LabelSet.from_dict(manifest)
    paths = _paths(folder, rows, manifest)
    gone = [image for image, path in zip(images, paths, strict=True) if path is None or not path.is_file()]
    if gone:
        raise InvalidArgumentError(
            f"{folder}: {len(gone)} images are no longer there, such as {gone[0]}; prepare the data again."
        )
    return Prepared(
        folder=folder,
        labels=labels,
        images=tuple(images),
        lesions=tuple(r["lesion_id"] for r in rows),
        targets=np.asarray([labels.position(r["label"]) for r in rows], dtype=np.int64),
        parts=tuple(parts),
        paths=tuple(path for path in paths if path is not None),
        manifest=manifest,
        columns={name: tuple(r[name] for r in rows) for name in rows[0]},
    )


def image_files(folder: Path) -> dict[str, Path]:
    """Files of the images of prepared data by name, as far as they are still there.

    Args:
        folder: Folder of the prepared data.
    """
    with (folder / SPLIT_CSV).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    found = zip(rows, _paths(folder, rows, manifest), strict=True)
    return {row["image_id"]: path for row, path in found if path is not None and path.is_file()}


def _paths(folder: Path, rows: Sequence[Mapping[str, str]], manifest: Mapping[str, Any]) -> list[Path | None]:
    if rows and "file" in rows[0]:
        return [folder / r["file"] for r in rows]
    names = {r["image_id"]: r["image_id"] for r in rows}
    index = find_images(names, [folder / d for d in manifest["image_dirs"]])
    return [index.get(r["image_id"]) for r in rows]


def relative(path: Path, start: Path) -> str:
    """Path relative to a folder, so that data and split can move together."""
    try:
        return Path(os.path.relpath(path.resolve(), start.resolve())).as_posix()
    except ValueError:  # another drive of Windows
        return str(path.resolve())
