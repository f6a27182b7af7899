"""Checked data before and after a split: labels, images, near-duplicates, and the record of a split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from skinclf.errors import InvalidArgumentError
from skinclf.labels import LabelSet
from skinclf_training.data.check import ImageCheck
from skinclf_training.data.near_duplicates import BITS
from skinclf_training.data.prepared import relative, write_prepared
from skinclf_training.data.reading.metadata import Record, Records
from skinclf_training.data.reading.targets import Targets
from skinclf_training.data.split import SPLITS, shared_groups, split_hash

_LISTED = 20


@dataclass(frozen=True, slots=True)
class CheckedData:
    """Labels, images and near-duplicates before the split.

    Attributes:
        read: Labels as they were read.
        targets: Labels in the taxonomy that is trained.
        found: Checked images.
        records: Records with an image.
        groups: Group of every record, which stays in one part.
        pairs: Near-duplicates of different groups: rows of both, and the bits between them.
        image_dirs: Folders of the images.
    """

    read: Records
    targets: Targets
    found: ImageCheck
    records: tuple[Record, ...]
    groups: tuple[str, ...]
    pairs: tuple[tuple[int, int, int], ...]
    image_dirs: Sequence[Path]

    def only(self, rows: Sequence[int]) -> CheckedData:
        """The data without the other rows."""
        place = {row: i for i, row in enumerate(rows)}
        return replace(
            self,
            records=tuple(self.records[i] for i in rows),
            groups=tuple(self.groups[i] for i in rows),
            pairs=tuple((place[i], place[j], n) for i, j, n in self.pairs if i in place and j in place),
        )

    def refuse_poor(self, parts: int) -> None:
        """Check that every class has a lesion for each part.

        Raises:
            InvalidArgumentError: A class has fewer lesions than parts.
        """
        lesions = {
            code: {g for g, r in zip(self.groups, self.records, strict=True) if r.label == code}
            for code in self.targets.labels.codes
        }
        poor = [f"{code} ({len(groups)})" for code, groups in lesions.items() if len(groups) < parts]
        if poor:
            raise InvalidArgumentError(
                f"Too few lesions to fill {parts} parts in: {', '.join(poor)}. Leave such a class out with "
                "`drop_classes`, or choose another taxonomy with `labels`."
            )

    def write(
        self, folder: Path, records: Sequence[Record], parts: Sequence[str], extra: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Write one split and return its manifest."""
        manifest = self._manifest(folder, records, parts, extra)
        write_prepared(folder, records, parts, manifest)
        return manifest

    def _manifest(
        self, folder: Path, records: Sequence[Record], parts: Sequence[str], extra: Mapping[str, Any]
    ) -> dict[str, Any]:
        images, lesions = [r.image for r in records], [r.lesion for r in records]
        labels = self.targets.labels
        part_of = dict(zip(images, parts, strict=True))
        same = [list(group) for group in self.found.duplicates if set(group) & part_of.keys()]
        walk = self.targets.crosswalk
        settings = dict(extra)
        bits, merged = settings.pop("near_bits"), settings.pop("merged")
        known = sum(r.lesion != r.image for r in records)
        return {
            "schema": 1,
            **labels.to_dict(),
            **settings,
            "split_sha256": split_hash(images, parts),
            "images": len(images),
            "lesions": len(set(lesions)),
            "images_without_lesion_id": len(images) - known if self.read.lesions else len(images),
            "image_ids": {p: [i for i, q in zip(images, parts, strict=True) if q == p] for p in SPLITS},
            "counts": {p: _counts(p, parts, records, labels) for p in SPLITS},
            "lesions_per_part": {
                p: len({g for g, q in zip(lesions, parts, strict=True) if q == p}) for p in SPLITS
            },
            "lesions_in_several_parts": shared_groups(lesions, parts),
            "identical_files": same,
            "identical_files_across_parts": [g for g in same if len({part_of.get(i) for i in g}) > 1],
            "near_duplicates": self._near(part_of, bits, merged=merged),
            "rejected": dict(self.found.rejected),
            "left_out": dict(self.read.left_out),
            "dropped_classes": dict(self.targets.dropped),
            "crosswalk": {"from": walk.source, "to": walk.target, "lossy": walk.lossy},
            "sizes": dict(self.found.sizes.most_common(_LISTED)),
            "format": self.read.format,
            "metadata": relative(self.read.tables[0], folder),
            "tables": [relative(path, folder) for path in self.read.tables],
            "image_dirs": [relative(d, folder) for d in self.image_dirs],
        }

    def _near(self, part_of: Mapping[str, str], bits: int, *, merged: bool) -> dict[str, Any]:
        """Pairs that look alike and are not of one lesion; all those that cross parts are named."""
        pairs: list[dict[str, Any]] = [
            {
                "images": [self.records[i].image, self.records[j].image],
                "lesions": [self.records[i].lesion, self.records[j].lesion],
                "labels": [self.records[i].label, self.records[j].label],
                "bits": apart,
            }
            for i, j, apart in self.pairs
        ]
        inside = [p for p in pairs if all(image in part_of for image in p["images"])]
        return {
            "hash": f"perceptual, {BITS} bits",
            "distance": bits,
            "merged": merged,
            "pairs": len(inside),
            "across_parts": [p for p in inside if len({part_of[image] for image in p["images"]}) > 1],
        }


def shares_of(parts: Sequence[str]) -> dict[str, float]:
    """Share of the images in each part."""
    return {part: parts.count(part) / len(parts) for part in SPLITS}


def _counts(part: str, parts: Sequence[str], records: Sequence[Record], labels: LabelSet) -> dict[str, int]:
    counter = Counter(r.label for r, p in zip(records, parts, strict=True) if p == part)
    return {code: counter[code] for code in labels.codes}


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
