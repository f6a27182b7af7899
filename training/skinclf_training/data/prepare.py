"""`skinclf data prepare`: check, split, write; and reading the result back."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf.bundle import replace_file
from skinclf.errors import InvalidInputError, OutputError
from skinclf.labels import LabelSet, parse_labels
from skinclf_training.data.check import check_images, index_images
from skinclf_training.data.metadata import read_metadata
from skinclf_training.data.split import SPLITS, grouped_split, shared_groups, split_hash

SPLIT_CSV = "split.csv"
MANIFEST = "split.json"
_LISTED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A prepared data set: which image is where, what it shows, and to which part it belongs.

    Attributes:
        folder: Where `split.csv` and `split.json` are.
        labels: Taxonomy, in output order.
        images: Image ids.
        lesions: Lesion id of every image.
        targets: Label index of every image, shape (N,), int64.
        parts: `train`, `val` or `test` of every image.
        paths: File of every image.
        manifest: Content of `split.json`.
    """

    folder: Path
    labels: LabelSet
    images: tuple[str, ...]
    lesions: tuple[str, ...]
    targets: npt.NDArray[np.int64]
    parts: tuple[str, ...]
    paths: tuple[Path, ...]
    manifest: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """SHA-256 of the assignment of images to parts."""
        return str(self.manifest["split_sha256"])

    def rows(self, part: str) -> npt.NDArray[np.int64]:
        """Row numbers of one part, ascending."""
        return np.asarray([i for i, p in enumerate(self.parts) if p == part], dtype=np.int64)


def prepare(
    metadata: Path,
    image_dirs: Sequence[Path],
    output: Path,
    *,
    labels: str = "ham10000",
    shares: Mapping[str, float],
    seed: int = 42,
    max_missing: float = 0.05,
    workers: int = 4,
) -> dict[str, Any]:
    """Check every image and write one lesion-grouped, class-stratified split.

    Args:
        metadata: Table with image, label and lesion columns, comma or tab separated.
        image_dirs: Folders that hold the images, searched with their subfolders.
        output: Folder for `split.csv` and `split.json`.
        labels: Taxonomy of the table.
        shares: Part name to share, see `skinclf_training.data.split.parse_ratios`.
        seed: Of the split.
        max_missing: Largest share of images that may be missing or unreadable.
        workers: Decoding threads.

    Returns:
        The manifest, as written to `split.json`.

    Raises:
        InvalidInputError: Unknown labels, too many missing images, or a class with fewer lesions than parts.
        OutputError: The folder cannot be written.
    """
    taxonomy = parse_labels(labels)
    records = read_metadata(metadata, taxonomy)
    found = check_images([r.image for r in records], index_images(image_dirs), workers=workers)
    if len(found.rejected) > max_missing * len(records):
        listed = "\n".join(f"  {image}: {reason}" for image, reason in list(found.rejected.items())[:_LISTED])
        more = f"\n  ... and {len(found.rejected) - _LISTED} more" if len(found.rejected) > _LISTED else ""
        raise InvalidInputError(
            f"{len(found.rejected)} of {len(records)} images are missing or unreadable, more than "
            f"the allowed share of {max_missing:g}:\n{listed}{more}\n"
            "Add their folder with --image-dir or raise --max-missing."
        )
    records = [r for r in records if r.image in found.paths]
    lesions_of = {code: {r.lesion for r in records if r.label == code} for code in taxonomy.codes}
    poor = [code for code, lesions in lesions_of.items() if len(lesions) < len(shares)]
    if poor:
        raise InvalidInputError(f"Too few lesions to fill {len(shares)} parts in: {', '.join(poor)}.")
    images, groups = [r.image for r in records], [r.lesion for r in records]
    parts = grouped_split(groups, [r.label for r in records], shares=shares, seed=seed)
    where: dict[str, set[str]] = {part: set() for part in shares}
    for image, part in zip(images, parts, strict=True):
        where[part].add(image)
    crossing = [g for g in found.duplicates if sum(bool(where[p] & set(g)) for p in shares) > 1]
    manifest: dict[str, Any] = {
        "schema": 1,
        "taxonomy": taxonomy.name,
        "labels": taxonomy.to_dict()["labels"],
        "seed": seed,
        "shares": dict(shares),
        "split_sha256": split_hash(images, parts),
        "images": len(images),
        "lesions": len(set(groups)),
        "counts": {p: dict(_counts(p, parts, [r.label for r in records], taxonomy)) for p in shares},
        "lesions_per_part": {
            p: len({g for g, q in zip(groups, parts, strict=True) if q == p}) for p in shares
        },
        "lesions_in_several_parts": shared_groups(groups, parts),
        "identical_files": [list(g) for g in found.duplicates],
        "identical_files_across_parts": [list(g) for g in crossing],
        "rejected": dict(found.rejected),
        "sizes": {f"{w}x{h}": n for (w, h), n in Counter(found.sizes.values()).most_common(_LISTED)},
        "metadata": _relative(metadata, output),
        "image_dirs": [_relative(d, output) for d in image_dirs],
    }
    # The table's own columns first, then what skinclf knows, which wins over columns of the same name.
    rows = [
        {**r.columns, "image_id": r.image, "lesion_id": r.lesion, "label": r.label, "split": part}
        for r, part in zip(records, parts, strict=True)
    ]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    try:
        output.mkdir(parents=True, exist_ok=True)
        replace_file(output / SPLIT_CSV, buffer.getvalue().encode())
        replace_file(output / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
    except OSError as error:
        raise OutputError(f"{output}: cannot be written: {error.strerror or error}.") from None
    return manifest


def read_prepared(folder: Path) -> Prepared:
    """Read what `prepare` wrote, and check that it still is what it says.

    Raises:
        InvalidInputError: Not a prepared folder, a changed split, or images that have gone.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        rows = list(csv.DictReader((folder / SPLIT_CSV).read_text(encoding="utf-8").splitlines()))
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"{folder}: not a prepared data set ({error}). Run: skinclf data prepare"
        ) from None
    images, parts = [r["image_id"] for r in rows], [r["split"] for r in rows]
    if split_hash(images, parts) != manifest["split_sha256"]:
        raise InvalidInputError(
            f"{folder / SPLIT_CSV}: differs from the hash in {MANIFEST}; prepare the data again."
        )
    if shared_groups([r["lesion_id"] for r in rows], parts):
        raise InvalidInputError(
            f"{folder / SPLIT_CSV}: a lesion is in several parts; prepare the data again."
        )
    labels = LabelSet.from_dict(manifest)
    index = index_images([folder / d for d in manifest["image_dirs"]])
    gone = [image for image in images if image not in index]
    if gone:
        raise InvalidInputError(
            f"{folder}: {len(gone)} images are no longer there, such as {gone[0]}; prepare the data again."
        )
    return Prepared(
        folder=folder,
        labels=labels,
        images=tuple(images),
        lesions=tuple(r["lesion_id"] for r in rows),
        targets=np.asarray([labels.position(r["label"]) for r in rows], dtype=np.int64),
        parts=tuple(parts),
        paths=tuple(index[image] for image in images),
        manifest=manifest,
    )


def split_table(manifest: Mapping[str, Any]) -> list[list[str]]:
    """Rows of the per-split table: header, one row per class, a total and the lesions."""
    counts = manifest["counts"]
    codes = [label["code"] for label in manifest["labels"]]
    table = [["class", *counts, "all"]]
    for code in codes:
        numbers = [counts[p][code] for p in counts]
        table.append([code, *map(str, numbers), str(sum(numbers))])
    totals = [sum(counts[p].values()) for p in counts]
    table.append(["images", *map(str, totals), str(sum(totals))])
    lesions = manifest["lesions_per_part"]
    table.append(["lesions", *(str(lesions[p]) for p in counts), str(manifest["lesions"])])
    return table


def _counts(part: str, parts: Sequence[str], labels: Sequence[str], taxonomy: LabelSet) -> dict[str, int]:
    counter = Counter(label for label, p in zip(labels, parts, strict=True) if p == part)
    return {code: counter[code] for code in taxonomy.codes}


def _relative(path: Path, start: Path) -> str:
    # Relative, so that data and split can move together.
    try:
        return Path(os.path.relpath(path.resolve(), start.resolve())).as_posix()
    except ValueError:
        return str(path.resolve())


__all__ = ["SPLITS", "Prepared", "prepare", "read_prepared", "split_table"]
