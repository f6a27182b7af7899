"""Prepare a data set: read labels, check images, split by lesion, write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skinclf._utils.json import write_json
from skinclf.errors import InvalidArgumentError, LeakageError
from skinclf.labels import LabelSet, parse_labels
from skinclf.tables.reference import LabelOptions
from skinclf_training.data.check import JOURNAL, ImageCheck, check_images
from skinclf_training.data.locate import find_images
from skinclf_training.data.near_duplicates import BITS, DISTANCE, merge_groups, near_pairs
from skinclf_training.data.prepared import (
    FOLDS,
    Prepared,
    patients_in_several_parts,
    read_prepared,
    relative,
    split_table,
    write_prepared,
)
from skinclf_training.data.reading.metadata import Record, Records, read_records, with_ids
from skinclf_training.data.reading.split_files import ExistingSplit, read_split
from skinclf_training.data.reading.targets import Targets, to_taxonomy
from skinclf_training.data.split import SPLITS, fold_splits, grouped_split, shared_groups, split_hash

__all__ = ["SPLITS", "Prepared", "prepare", "read_prepared", "split_table"]

_LISTED = 20


def prepare(
    metadata: Path | Sequence[Path],
    image_dirs: Sequence[Path],
    output: Path,
    *,
    labels: str = "ham10000",
    shares: Mapping[str, float],
    seed: int = 42,
    max_missing: float = 0.05,
    workers: int = 4,
    format: str | None = None,  # noqa: A002 - the option's name
    from_labels: str | None = None,
    label_options: LabelOptions | None = None,
    image_level: bool = False,
    folds: int | None = None,
    use_split: Path | None = None,
    allow_shared_lesions: bool = False,
    distance: int = DISTANCE,
    merge_duplicates: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Check every image and write a lesion-grouped, class-stratified split.

    The split depends on lesions, the classes of the source and the seed alone: the same images land in the
    same parts whether all classes, malignancy or melanoma is the target.

    Args:
        metadata: Labels as a table or a folder of classes, then tables with more about the same images, see
            `skinclf_training.data.reading.metadata.read_records`; empty takes the labels from `use_split`.
        image_dirs: Folders that hold the images, searched with their subfolders.
        output: Folder for `split.csv` and `split.json`; with `folds`, for one such folder per fold.
        labels: Taxonomy to train: that of the source, or one that a declared crosswalk leads to.
        shares: Part name to share, see `skinclf_training.data.split.parse_ratios`.
        seed: Random seed of the split.
        max_missing: Largest share of images that may be missing or unreadable.
        workers: Number of decoding threads.
        format: Format of the labels, a key of `FORMATS`; None detects it.
        from_labels: Taxonomy of the source; needed for a crosswalk between classes that loses something.
        label_options: Columns, names and classes of the table that the user states.
        image_level: Whether to split by image where neither lesions nor patients are known.
        folds: Number of cross-validation folds, in which every image is tested once; `shares` give the ratio of train
            and val.
        use_split: Table or folder whose split is kept, see `skinclf_training.data.reading.split_files.read_split`.
        allow_shared_lesions: Whether an existing split may have lesions in several parts.
        distance: Largest number of bits, of 256, by which near-duplicates differ, see
            `skinclf_training.data.near_duplicates`.
        merge_duplicates: Whether near-duplicates of different lesions stay in one part.
        progress: Function that is called with (checked, total) at intervals.

    Returns:
        The manifest, as written to `split.json`; with `folds`, `{"folds": ..., "splits": [manifest, ...]}`.

    Raises:
        InvalidArgumentError: Labels without a class, too many missing images, a class with fewer lesions than
            parts, or neither lesion ids nor patient ids.
        LeakageError: An existing split has lesions in several parts.
        OutputError: The folder cannot be written.
    """
    sources = [metadata] if isinstance(metadata, Path) else list(metadata)
    if folds is not None and use_split is not None:
        raise InvalidArgumentError(
            "An existing split has no folds: `folds` and `use_split` exclude each other."
        )
    existing = read_split(use_split) if use_split is not None else None
    target, options = parse_labels(labels), label_options or LabelOptions()
    source = parse_labels(from_labels) if from_labels is not None else None
    read = _read(sources, existing, format, source or target, options)
    if not read.lesions and not image_level:
        raise InvalidArgumentError(
            f"{read.tables[0]}: no lesion ids and no patient ids, and images of one lesion in several parts make every "
            "figure too good. Add a table that has them as a second `metadata`, or split by image with `image_level`.",
            parameter="image_level",
        )
    drop = options.drop_classes
    targets = to_taxonomy(read.records, target, source=source, drop=drop, dropped_before=read.dropped)
    found = check_images(
        [r.image for r in targets.records],
        _index(targets.records, image_dirs),
        workers=workers,
        journal=output / JOURNAL,
        progress=progress,
    )
    _refuse_missing(found, len(targets.records), max_missing)
    records = [r for r in targets.records if r.image in found.paths]
    groups = [r.lesion for r in records]
    pairs = near_pairs([found.facts[r.image].similar for r in records], distance=distance)
    pairs = [(i, j, bits) for i, j, bits in pairs if groups[i] != groups[j]]
    if merge_duplicates:
        groups = merge_groups(groups, [(i, j) for i, j, _ in pairs])
    data = _Data(read, targets, found, tuple(records), tuple(groups), tuple(pairs), image_dirs)
    common = {"seed": seed, "near_bits": distance, "merged": merge_duplicates}
    if existing is not None:
        return _keep(data, existing, output, common, allow=allow_shared_lesions)
    data.refuse_poor(max(len(shares), folds or 0))
    origins = [r.origin for r in records]
    if folds is None:
        parts = grouped_split(groups, origins, shares=shares, seed=seed)
        return data.write(output, records, parts, {"shares": dict(shares), **common})
    val_share = shares["val"] / (shares["train"] + shares["val"])
    splits = fold_splits(groups, origins, folds=folds, val_share=val_share, seed=seed)
    manifests = [
        data.write(
            output / f"fold{i}",
            records,
            parts,
            {"fold": i, "folds": folds, "shares": _shares(parts), "cache": "../cache", **common},
        )
        for i, parts in enumerate(splits)
    ]
    write_json(
        output / FOLDS,
        {"schema": 1, "folds": folds, "splits": [m["split_sha256"] for m in manifests], "seed": seed},
    )
    return {"folds": folds, "splits": manifests}


@dataclass(frozen=True, slots=True)
class _Data:
    """Labels, images and near-duplicates before the split."""

    read: Records
    targets: Targets
    found: ImageCheck
    records: tuple[Record, ...]
    groups: tuple[str, ...]
    pairs: tuple[tuple[int, int, int], ...]
    image_dirs: Sequence[Path]

    def refuse_poor(self, parts: int) -> None:
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
            "grouped_by": self.read.group_column,
            "patients_in_several_parts": patients_in_several_parts(records, parts),
            "images_without_lesion_id": len(images) - known if self.read.lesions else len(images),
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
            "labels_note": self.read.note,
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


def _read(
    sources: Sequence[Path],
    existing: ExistingSplit | None,
    format: str | None,  # noqa: A002
    labels: LabelSet,
    options: LabelOptions,
) -> Records:
    """The labels: of the tables that were named, else of the split that is kept."""
    if sources:
        return read_records(sources, format=format, labels=labels, options=options)
    if existing is None:
        raise InvalidArgumentError(
            "Nothing to prepare: name the table of labels as `metadata`.", parameter="metadata"
        )
    if existing.lesions and not existing.tables:
        raise InvalidArgumentError(
            f"{existing.source}: has no labels; name their table as `metadata`.", parameter="metadata"
        )
    if not existing.tables:
        return read_records([existing.source], format=format, labels=labels, options=options)
    reads = [
        read_records([table], format=format, labels=labels, options=options) for table in existing.tables
    ]
    return Records(
        format=reads[0].format,
        records=with_ids([r for read in reads for r in read.records]),
        lesions=sum(read.lesions for read in reads),
        tables=tuple(table for read in reads for table in read.tables),
        left_out={},
        group_column=next((read.group_column for read in reads if read.group_column), None),
        dropped=sum((Counter(read.dropped) for read in reads), Counter[str]()),
        note="; ".join(dict.fromkeys(read.note for read in reads if read.note)),
    )


def _index(records: Sequence[Record], image_dirs: Sequence[Path]) -> Mapping[str, Path]:
    own = {r.image: r.file for r in records if r.file is not None}
    if own:
        return own
    if not image_dirs:
        raise InvalidArgumentError(
            "A table names images but not where they are: name their folder in `image_dirs`.",
            parameter="image_dirs",
        )
    return find_images({r.image: r.name for r in records}, image_dirs)


def _refuse_missing(found: ImageCheck, total: int, max_missing: float) -> None:
    if len(found.rejected) <= max_missing * total:
        return
    listed = "\n".join(f"  {image}: {reason}" for image, reason in list(found.rejected.items())[:_LISTED])
    more = f"\n  ... and {len(found.rejected) - _LISTED} more" if len(found.rejected) > _LISTED else ""
    raise InvalidArgumentError(
        f"{len(found.rejected)} of {total} images are missing or unreadable, more than "
        f"the allowed share of {max_missing:g}:\n{listed}{more}\n"
        "Add their folder to `image_dirs` or raise `max_missing`.",
        parameter="max_missing",
    )


def _keep(
    data: _Data, existing: ExistingSplit, output: Path, common: Mapping[str, Any], *, allow: bool
) -> dict[str, Any]:
    """Write an existing split unchanged; refuse one that shares lesions unless it is allowed."""
    found = existing.parts(data.records)
    inside = [(r, part) for r, part in zip(data.records, found, strict=True) if part is not None]
    records, parts = [r for r, _ in inside], [part for _, part in inside]
    shared = shared_groups([r.lesion for r in records], parts)
    if shared and not allow:
        tested = {r.lesion for r, part in inside if part == "train"}
        seen = {p: [r.lesion in tested for r, q in inside if q == p] for p in ("val", "test")}
        shares = ", ".join(f"{sum(hits) / len(hits):.1%} of the {p} images" for p, hits in seen.items())
        raise LeakageError(
            f"{existing.source}: {shared} lesions are in several parts; {shares} show a lesion that is in train. "
            "Figures on such data flatter the model: split anew without `use_split`, or keep this one with "
            "`allow_shared_lesions`, which the manifest records.",
            parameter="allow_shared_lesions",
        )
    extra = {
        "shares": _shares(parts),
        "split_source": relative(existing.source, output),
        "shared_lesions_allowed": allow,
        "images_not_in_split": len(data.records) - len(records),
        **common,
        "seed": None,
    }
    return data.write(output, records, parts, extra)


def _shares(parts: Sequence[str]) -> dict[str, float]:
    return {part: parts.count(part) / len(parts) for part in SPLITS}


def _counts(part: str, parts: Sequence[str], records: Sequence[Record], labels: LabelSet) -> dict[str, int]:
    counter = Counter(r.label for r, p in zip(records, parts, strict=True) if p == part)
    return {code: counter[code] for code in labels.codes}
