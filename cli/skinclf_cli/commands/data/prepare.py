"""`skinclf data prepare`: check images and write a split."""

from __future__ import annotations

from pathlib import Path

import click

from skinclf_cli import console
from skinclf_cli.commands.data.options import (
    distance_option,
    format_option,
    image_dir_option,
    metadata_option,
    workers_option,
)
from skinclf_cli.commands.data.prepare_report import report_left_out, report_split
from skinclf_cli.options import EXISTING, FOLDER, TableOptions, json_option, table_options
from skinclf_cli.progress import image_bar


@click.command(short_help="Check images and write a split by lesion.")
@metadata_option
@image_dir_option
@click.option("--output", type=FOLDER, required=True, help="Folder for split.csv and split.json.")
@format_option
@click.option(
    "--labels",
    default="ham10000",
    show_default=True,
    help="Classes to train: a taxonomy (also malignant, melanoma), or codes in output order.",
)
@click.option(
    "--from-labels",
    metavar="TAXONOMY",
    help="Taxonomy of the table, where its translation to --labels loses something.",
)
@table_options
@click.option("--ratios", default="70/15/15", show_default=True, help="Shares of train, val and test.")
@click.option(
    "--folds",
    type=click.IntRange(min=2),
    help="Number of cross-validation folds, written to OUTPUT/fold0, OUTPUT/fold1, ...; no folds by default.",
)
@click.option(
    "--test-share",
    type=click.FloatRange(1, 99),
    metavar="PERCENT",
    help="Percentage of images that all folds leave out as one common test part; each other image is then in the "
    "validation part of one fold. Default: every image is tested in one fold.",
)
@click.option("--seed", type=int, default=42, show_default=True, help="Random seed of the split.")
@click.option(
    "--image-level", is_flag=True, help="Split by image, where neither lesions nor patients are known."
)
@click.option(
    "--use-split", type=EXISTING, help="Table or folder whose split is kept; with --folds, its test part."
)
@click.option(
    "--allow-shared-lesions", is_flag=True, help="Keep an existing split in which parts share lesions."
)
@click.option(
    "--merge-duplicates", is_flag=True, help="Keep near-duplicates of different lesions in one part."
)
@distance_option
@click.option(
    "--dicom",
    is_flag=True,
    help="Columns age (in steps of 5 years), sex and localization from the headers of DICOM files.",
)
@click.option(
    "--max-missing",
    type=click.FloatRange(0, 1),
    default=0.05,
    show_default=True,
    help="Largest share of images that may be missing or unreadable.",
)
@workers_option
@json_option
def prepare(
    *,
    metadata: tuple[Path, ...],
    image_dirs: tuple[Path, ...],
    output: Path,
    format: str | None,  # noqa: A002 - the name of the option
    labels: str,
    from_labels: str | None,
    table: TableOptions,
    ratios: str,
    folds: int | None,
    test_share: float | None,
    seed: int,
    image_level: bool,
    use_split: Path | None,
    allow_shared_lesions: bool,
    merge_duplicates: bool,
    distance: int,
    dicom: bool,
    max_missing: float,
    workers: int,
    as_json: bool,
) -> None:
    """Check every image and write a split that is grouped by lesion and stratified by class.

    \b
    skinclf data prepare --metadata HAM10000_metadata.csv --image-dir images \\
        --output prepared
    skinclf data prepare --metadata labels.csv --image-dir images \\
        --labels malignant --folds 5 --test-share 15 --output cv
    skinclf data prepare --use-split labels_binary_split.csv --image-dir images \\
        --labels malignant --output theirs
    """  # noqa: D301 - click's paragraph mark
    from skinclf_training.data.prepare import prepare as run
    from skinclf_training.data.split import parse_ratios

    with image_bar("Checking") as show:
        result = run(
            metadata,
            image_dirs,
            output,
            format=format,
            labels=labels,
            from_labels=from_labels,
            label_options=table.options(),
            shares=parse_ratios(ratios),
            folds=folds,
            test_share=test_share,
            seed=seed,
            image_level=image_level,
            use_split=use_split,
            allow_shared_lesions=allow_shared_lesions,
            merge_duplicates=merge_duplicates,
            distance=distance,
            dicom=dicom,
            max_missing=max_missing,
            workers=workers,
            progress=show,
        )
    manifests = result.get("splits", [result])
    report_left_out(manifests[0])
    if as_json:
        console.json_out(result)
    for manifest in manifests:
        folder = output if "fold" not in manifest else output / f"fold{manifest['fold']}"
        report_split(manifest, folder, with_table=not as_json)
