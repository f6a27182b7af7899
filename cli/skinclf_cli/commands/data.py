"""`skinclf data`: prepare training data."""

from __future__ import annotations

from pathlib import Path

import click

from skinclf_cli import console


@click.group()
def data() -> None:
    """Prepare training data."""


@data.command()
@click.option("--metadata", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True,
              help="Table with image, label and lesion columns, comma or tab separated.")  # fmt: skip
@click.option("--image-dir", "image_dirs", type=click.Path(path_type=Path, exists=True, file_okay=False),
              multiple=True, required=True, help="Folder of images; may be given several times.")  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), required=True,
              help="Folder for split.csv and split.json.")  # fmt: skip
@click.option("--labels", default="ham10000", show_default=True, help="Taxonomy, or codes in output order.")
@click.option("--ratios", default="70/15/15", show_default=True, help="Shares of train, val and test.")
@click.option("--seed", type=int, default=42, show_default=True)
@click.option("--max-missing", type=click.FloatRange(0, 1), default=0.05, show_default=True,
              help="Largest share of images that may be missing or unreadable.")  # fmt: skip
@click.option("--workers", type=click.IntRange(min=1), default=4, show_default=True, help="Decoding threads.")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest instead of the table.")
def prepare(
    metadata: Path,
    image_dirs: tuple[Path, ...],
    output: Path,
    labels: str,
    ratios: str,
    seed: int,
    max_missing: float,
    workers: int,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Check every image and write one lesion-grouped, class-stratified split."""
    from skinclf_training.data.prepare import prepare as run
    from skinclf_training.data.prepare import split_table
    from skinclf_training.data.split import parse_ratios

    shares = parse_ratios(ratios)
    manifest = run(
        metadata,
        image_dirs,
        output,
        labels=labels,
        shares=shares,
        seed=seed,
        max_missing=max_missing,
        workers=workers,
    )
    for image, reason in manifest["rejected"].items():
        console.talk(f"Left out {image}: {reason}")
    crossing = manifest["identical_files_across_parts"]
    if crossing:
        console.talk(f"Warning: {len(crossing)} groups of identical files lie across parts: {crossing[:3]}")
    if as_json:
        console.json_out(manifest)
    else:
        header, *rows = split_table(manifest)
        console.table(header, rows)
    console.talk(
        f"{manifest['images']} images of {manifest['lesions']} lesions, "
        f"{manifest['lesions_in_several_parts']} lesions in several parts; "
        f"split {manifest['split_sha256'][:16]} in {output}"
    )
