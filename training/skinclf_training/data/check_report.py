"""Check report of a data set: unreadable images, missing rows, duplicates, label conflicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from skinclf._utils.json import write_json
from skinclf.tables.reference import LabelOptions
from skinclf_training.data.check import JOURNAL, check_images
from skinclf_training.data.locate import find_images, index_images
from skinclf_training.data.near_duplicates import DISTANCE, near_pairs
from skinclf_training.data.reading.metadata import read_records

REPORT = "check.json"
_LISTED = 100


def check_data(
    metadata: Sequence[Path],
    image_dirs: Sequence[Path],
    output: Path,
    *,
    format: str | None = None,  # noqa: A002 - name of the option
    workers: int = 4,
    distance: int = DISTANCE,
    label_options: LabelOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Decode every image and compare tables with folders.

    An interrupted check continues where it stopped, and `prepare` with the same output folder decodes nothing again.

    Args:
        metadata: Tables or folders of labels, as for `skinclf_training.data.reading.metadata.read_records`.
        image_dirs: Folders that hold the images of a table.
        output: Folder for `check.json` and the journal.
        format: Format of the labels; None detects it.
        workers: Number of decoding threads.
        distance: Largest number of bits, of 256, by which near-duplicates differ.
        label_options: Columns, names and classes of the table that the user states.
        progress: Function that is called with (checked, total) at intervals.

    Returns:
        Content of `check.json`.

    Raises:
        InvalidArgumentError: The labels or a folder cannot be read.
        OutputError: The folder cannot be written.
    """
    read = read_records(metadata, format=format, options=label_options)
    records = read.records
    own = {r.image: r.file for r in records if r.file is not None}
    index = own or find_images({r.image: r.name for r in records}, image_dirs)
    found = check_images(
        [r.image for r in records], index, workers=workers, journal=output / JOURNAL, progress=progress
    )
    readable = [r for r in records if r.image in found.facts]
    pairs = near_pairs([found.facts[r.image].similar for r in readable], distance=distance)
    near = [
        [readable[i].image, readable[j].image, bits]
        for i, j, bits in pairs
        if readable[i].lesion != readable[j].lesion
    ]
    labels_of: dict[str, set[str]] = {}
    for record in records:
        labels_of.setdefault(record.lesion, set()).add(record.label)
    used = set(index.values())
    without_row = [] if own else sorted(i for i, file in index_images(image_dirs).items() if file not in used)
    report: dict[str, Any] = {
        "schema": 1,
        "format": read.format,
        "tables": [str(path) for path in read.tables],
        "images": len(records),
        "readable": len(readable),
        "decoded_now": found.decoded,
        "rejected": dict(found.rejected),
        "left_out": dict(read.left_out),
        "files_without_a_row": {"count": len(without_row), "first": without_row[:_LISTED]},
        "images_with_lesion_id": read.lesions,
        "lesions": len(labels_of),
        "lesions_with_several_labels": sorted(g for g, labels in labels_of.items() if len(labels) > 1),
        "dropped": dict(read.dropped),
        "labels": dict(Counter(r.label for r in records).most_common()),
        "sizes": dict(found.sizes.most_common(_LISTED)),
        "identical_files": [list(group) for group in found.duplicates],
        "near_duplicates": {"distance": distance, "pairs": near},
    }
    write_json(output / REPORT, report)
    return report


def check_table(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The report as lines of a table."""
    missing = sum(reason.startswith("missing") for reason in report["rejected"].values())
    sizes = ", ".join(f"{size} ({n:,})" for size, n in list(report["sizes"].items())[:4])
    return [
        ("format", report["format"]),
        ("images", f"{report['images']:,}"),
        ("readable", f"{report['readable']:,}"),
        ("missing", f"{missing:,}"),
        ("unreadable", f"{len(report['rejected']) - missing:,}"),
        ("files without a row", f"{report['files_without_a_row']['count']:,}"),
        ("with a lesion id", f"{report['images_with_lesion_id']:,}"),
        ("lesions", f"{report['lesions']:,}"),
        ("lesions with several labels", f"{len(report['lesions_with_several_labels']):,}"),
        ("labels", ", ".join(f"{label} {n:,}" for label, n in report["labels"].items())),
        ("sizes", sizes + (", ..." if len(report["sizes"]) > 4 else "")),
        ("groups of identical files", f"{len(report['identical_files']):,}"),
        ("near-duplicates of different lesions", f"{len(report['near_duplicates']['pairs']):,}"),
    ]
