"""Prepare a data set: read labels, check images, split by lesion, write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from skinclf._utils.json import write_json
from skinclf.errors import InvalidArgumentError, LeakageError
from skinclf.labels import LabelSet, parse_labels
from skinclf.tables.reference import LabelOptions
from skinclf_training.data.check import JOURNAL, ImageCheck, check_images
from skinclf_training.data.checked import CheckedData, shares_of, split_table
from skinclf_training.data.dicom_columns import with_dicom_columns
from skinclf_training.data.locate import find_images
from skinclf_training.data.near_duplicates import DISTANCE, merge_groups, near_pairs
from skinclf_training.data.prepared import FOLDS, Prepared, read_prepared, relative
from skinclf_training.data.reading.metadata import Record, Records, read_records, with_ids
from skinclf_training.data.reading.split_files import ExistingSplit, read_split
from skinclf_training.data.reading.targets import to_taxonomy
from skinclf_training.data.split import (
    SPLITS,
    fold_splits,
    folds_beside_test,
    grouped_split,
    shared_groups,
)

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
    test_share: float | None = None,
    use_split: Path | None = None,
    allow_shared_lesions: bool = False,
    distance: int = DISTANCE,
    merge_duplicates: bool = False,
    dicom: bool = False,
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
            and val. Beside a test part (`test_share`, or that of `use_split`) they are dealt over all other images:
            each of these is in `val` of exactly one fold, and `test` is the same in all.
        test_share: Percentage of the images that all folds leave out as one test part, above 0 and below 100; with the
            ratio of `shares`, it is the test part of a single split. None leaves nothing out.
        use_split: Table or folder whose split is kept, see `skinclf_training.data.reading.split_files.read_split`; with
            `folds`, only its test part.
        allow_shared_lesions: Whether an existing split may have lesions in several parts.
        distance: Largest number of bits, of 256, by which near-duplicates differ, see
            `skinclf_training.data.near_duplicates`.
        merge_duplicates: Whether near-duplicates of different lesions stay in one part.
        dicom: Whether age, sex and site of DICOM headers become columns, see `skinclf.images.dicom.coarse`.
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
    _check_test_share(test_share, folds=folds, use_split=use_split)
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
    if dicom:
        records = with_dicom_columns(records, found.paths)
    groups = [r.lesion for r in records]
    pairs = near_pairs([found.facts[r.image].similar for r in records], distance=distance)
    pairs = [(i, j, bits) for i, j, bits in pairs if groups[i] != groups[j]]
    if merge_duplicates:
        groups = merge_groups(groups, [(i, j) for i, j, _ in pairs])
    data = CheckedData(read, targets, found, tuple(records), tuple(groups), tuple(pairs), image_dirs)
    common = {"seed": seed, "near_bits": distance, "merged": merge_duplicates}
    if existing is not None and folds is not None:
        inside, parts = _test_of(data, existing, allow=allow_shared_lesions)
        return _write_folds(
            data.only(inside),
            output,
            parts,
            folds,
            {**common, "split_source": relative(existing.source, output)},
        )
    if existing is not None:
        return _keep(data, existing, output, common, allow=allow_shared_lesions)
    data.refuse_poor(max(len(shares), (folds or 0) + (test_share is not None)))
    origins = [r.origin for r in records]
    if folds is None:
        parts = grouped_split(groups, origins, shares=shares, seed=seed)
        return data.write(output, records, parts, {"shares": dict(shares), **common})
    if test_share is not None:
        rest = (1 - test_share / 100) / (shares["train"] + shares["val"])
        own = {"train": shares["train"] * rest, "val": shares["val"] * rest, "test": test_share / 100}
        parts = grouped_split(groups, origins, shares=own, seed=seed)
        return _write_folds(data, output, parts, folds, {**common, "test_share": test_share})
    val_share = shares["val"] / (shares["train"] + shares["val"])
    splits = fold_splits(groups, origins, folds=folds, val_share=val_share, seed=seed)
    manifests = [
        data.write(
            output / f"fold{i}",
            records,
            parts,
            {"fold": i, "folds": folds, "shares": shares_of(parts), "cache": "../cache", **common},
        )
        for i, parts in enumerate(splits)
    ]
    write_json(
        output / FOLDS,
        {"schema": 1, "folds": folds, "splits": [m["split_sha256"] for m in manifests], "seed": seed},
    )
    return {"folds": folds, "splits": manifests}


def _check_test_share(test_share: float | None, *, folds: int | None, use_split: Path | None) -> None:
    if test_share is None:
        return
    if folds is None:
        raise InvalidArgumentError(
            "`test_share` is for `folds`; a single split states its test part in its ratios, such as 70/15/15.",
            parameter="test_share",
        )
    if use_split is not None:
        raise InvalidArgumentError(
            "An existing split has its own test part: `test_share` and `use_split` exclude each other.",
            parameter="test_share",
        )
    if not 0 < test_share < 100:
        raise InvalidArgumentError(
            f"`test_share` is {test_share:g}; expected a percentage above 0 and below 100, such as 15.",
            parameter="test_share",
        )


def _write_folds(
    data: CheckedData, output: Path, parts: Sequence[str], folds: int, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Write folds over everything but a test part, which is the same in all of them."""
    origins = [r.origin for r in data.records]
    splits = folds_beside_test(data.groups, origins, folds=folds, parts=parts, seed=extra["seed"])
    manifests = [
        data.write(
            output / f"fold{i}",
            data.records,
            own,
            {"fold": i, "folds": folds, "shares": shares_of(own), "cache": "../cache", **extra},
        )
        for i, own in enumerate(splits)
    ]
    write_json(
        output / FOLDS,
        {
            "schema": 1,
            "folds": folds,
            "splits": [m["split_sha256"] for m in manifests],
            "seed": extra["seed"],
            "left_out": "val",
            "test_images": list(parts).count("test"),
        },
    )
    return {"folds": folds, "splits": manifests}


def _test_of(data: CheckedData, existing: ExistingSplit, *, allow: bool) -> tuple[list[int], list[str]]:
    """Rows that an existing split names, and their parts; refused where its test part shares lesions with the rest."""
    found = existing.parts(data.records)
    inside = [i for i, part in enumerate(found) if part is not None]
    parts = ["test" if found[i] == "test" else "train" for i in inside]
    shared = shared_groups([data.records[i].lesion for i in inside], parts)
    if shared and not allow:
        raise LeakageError(
            f"{existing.source}: {shared} lesions are in its test part and in another one. Figures on such data "
            "flatter the model: leave a part out anew with `test_share`, or keep this one with `allow_shared_lesions`.",
            parameter="allow_shared_lesions",
        )
    return inside, parts


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
    data: CheckedData, existing: ExistingSplit, output: Path, common: Mapping[str, Any], *, allow: bool
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
        "shares": shares_of(parts),
        "split_source": relative(existing.source, output),
        "shared_lesions_allowed": allow,
        "images_not_in_split": len(data.records) - len(records),
        **common,
        "seed": None,
    }
    return data.write(output, records, parts, extra)
