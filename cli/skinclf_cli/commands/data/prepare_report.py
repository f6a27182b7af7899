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
    grouped_by, alone = manifest.get("grouped_by"), manifest["images_without_lesion_id"]
    if grouped_by is None:
        console.message("The labels name neither lesions nor patients; every image is its own group")
    elif alone:
        console.message(f"{alone} images have no {grouped_by}; each is its own group")
    if manifest.get("images_not_in_split"):
        console.message(f"Left out {manifest['images_not_in_split']} images that the split does not name")


def report_split(manifest: Mapping[str, Any], folder: Path, *, with_table: bool) -> None:
    """Print warnings, the table of parts and classes, and the totals of a split."""
    from skinclf.tables.reference import LESION_NAMES
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
    if manifest.get("patients_in_several_parts"):
        console.message(
            f"Warning: {manifest['patients_in_several_parts']} patients have lesions in several parts; lesions "
            "are kept together, patients are not"
        )
    if with_table:
        header, *rows = split_table(manifest)
        console.table(header, rows)
    grouped_by = manifest.get("grouped_by")
    groups = (
        "lesions" if grouped_by is None or grouped_by.lower() in LESION_NAMES else f"groups by {grouped_by}"
    )
    console.message(
        f"{manifest['images']} images of {manifest['lesions']} {groups}, "
        f"{manifest['lesions_in_several_parts']} of them in several parts; "
        f"split {manifest['split_sha256'][:16]} in {folder}"
    )
