"""Messages of `skinclf data prepare` about a split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skinclf_cli import console
from skinclf_cli.labels_report import report_left_out as report_labels_left_out


def report_left_out(manifest: Mapping[str, Any]) -> None:
    """Print what was left out, translated or is questionable."""
    for image, reason in {**manifest["rejected"], **manifest["left_out"]}.items():
        console.message(f"Left out {image}: {reason}")
    report_labels_left_out(manifest["dropped_classes"], manifest["labels_note"])
    walk = manifest["crosswalk"]
    if walk["lossy"]:
        console.message(f"Labels of {walk['from']} became {walk['to']}: {walk['lossy']}")
    if manifest["images_without_lesion_id"]:
        console.message(
            f"{manifest['images_without_lesion_id']} images have no lesion id; each is its own group"
        )
    if manifest.get("images_not_in_split"):
        console.message(f"Left out {manifest['images_not_in_split']} images that the split does not name")


def report_split(manifest: Mapping[str, Any], folder: Path, *, with_table: bool) -> None:
    """Print warnings, the table of parts and classes, and the totals of a split."""
    from skinclf_training.data.prepare import split_table

    crossing = manifest["identical_files_across_parts"]
    if crossing:
        console.message(
            f"Warning: {len(crossing)} groups of identical files lie across parts: {crossing[:3]}"
        )
    near = manifest["near_duplicates"]
    if near["across_parts"]:
        first = ", ".join(" and ".join(pair["images"]) for pair in near["across_parts"][:3])
        console.message(
            f"Warning: {len(near['across_parts'])} pairs of different lesions look alike (at most {near['distance']} "
            f"of 256 bits apart) and lie in different parts: {first}; --merge-duplicates keeps them together"
        )
    if with_table:
        header, *rows = split_table(manifest)
        console.table(header, rows)
    console.message(
        f"{manifest['images']} images of {manifest['lesions']} lesions, "
        f"{manifest['lesions_in_several_parts']} lesions in several parts; "
        f"split {manifest['split_sha256'][:16]} in {folder}"
    )
