"""`skinclf data`: get, check, prepare and explore training data."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from skinclf_cli import console
from skinclf_cli.types import Codes

_FILE = click.Path(path_type=Path, exists=True)
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
_NEW = click.Path(path_type=Path, file_okay=False)
_FORMATS = ("ham10000", "isic2019", "onehot", "labels", "folders", "prefix")

_metadata = click.option(
    "--metadata",
    type=_FILE,
    multiple=True,
    help="Labels: a table, or a folder of classes. Again for a table with more, such as lesion ids.",
)
_image_dir = click.option(
    "--image-dir",
    "image_dirs",
    type=_FOLDER,
    multiple=True,
    help="Folder of images; may be given several times.",
)
_format = click.option("--format", type=click.Choice(_FORMATS), help="Of the labels. Default: looked at.")
_workers = click.option(
    "--workers", type=click.IntRange(min=1), default=4, show_default=True, help="Decoding threads."
)
_distance = click.option(
    "--duplicate-distance",
    "distance",
    type=click.IntRange(0, 128),
    default=40,
    show_default=True,
    help="Bits of 256 by which near-duplicates may differ.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")


@click.group()
def data() -> None:
    """Get, check, prepare and explore training data."""


@data.command()
@click.argument("name", type=click.Choice(["ham10000", "isic2019"], case_sensitive=False))
@click.option("--output", type=_NEW, required=True, help="Folder for the files and SOURCE.json.")
@click.option("--source", help="dataverse, isic or kaggle. Default: those without a token, in turn.")
@click.option(
    "--mirror",
    "mirrors",
    multiple=True,
    metavar="URL",
    help="Base URL to use instead of the source's own; may be given several times.",
)
@click.option("--remove-archives", is_flag=True, help="Remove archives when they are unpacked.")
@_json
def download(
    *,
    name: str,
    output: Path,
    source: str | None,
    mirrors: tuple[str, ...],
    remove_archives: bool,
    as_json: bool,
) -> None:
    """Fetch a public data set; the same command goes on after an interruption.

    \b
    skinclf data download ham10000 --output ham10000
    skinclf data download isic2019 --output isic2019 --source kaggle
    """  # noqa: D301 - click's paragraph mark
    from skinclf_training.data.sources.catalogue import find_dataset
    from skinclf_training.data.sources.download import download as run
    from skinclf_training.data.sources.download import label_tables

    dataset = find_dataset(name)
    console.talk(f"{dataset.title}\nLicence: {dataset.licence}\nCite: " + "\n      ".join(dataset.citations))
    with _bytes() as show:
        record = run(
            name, output, source=source, mirrors=mirrors, keep_archives=not remove_archives, progress=show
        )
    if as_json:
        console.json_out(record)
    else:
        console.table(
            ("file", "bytes", "sha256"),
            [(file, f"{entry['bytes']:,}", entry["sha256"][:16]) for file, entry in record["files"].items()],
        )
    tables = " ".join(f"--metadata {path}" for path in label_tables(record, output))
    console.talk(
        f"Next: skinclf data prepare {tables} --image-dir {output} --labels {dataset.taxonomy} "
        f"--output {output}-prepared"
    )


@data.command()
@_metadata
@_image_dir
@click.option("--output", type=_NEW, required=True, help="Folder for check.json; give it to prepare too.")
@_format
@_workers
@_distance
@_json
@click.pass_context
def check(context: click.Context, /, *, as_json: bool, metadata: tuple[Path, ...], **options: Any) -> None:
    """Decode every image and compare labels with files; goes on where it was stopped.

    Exits with 3 when an image is missing or cannot be read.
    """
    from skinclf_training.data.check_report import check_data, check_table

    if not metadata:
        raise click.UsageError("Name the labels with --metadata.")
    with _images("Checking") as show:
        report = check_data(metadata, progress=show, **options)
    for image, reason in list(report["rejected"].items())[:20]:
        console.talk(f"{image}: {reason}")
    if as_json:
        console.json_out(report)
    else:
        console.table(("", ""), check_table(report))
    if report["rejected"]:
        context.exit(3)


@data.command()
@_metadata
@_image_dir
@click.option("--output", type=_NEW, required=True, help="Folder for split.csv and split.json.")
@_format
@click.option(
    "--labels",
    default="ham10000",
    show_default=True,
    help="Classes to train: a taxonomy (also malignant, melanoma), or codes in output order.",
)
@click.option(
    "--from-labels",
    metavar="TAXONOMY",
    help="Taxonomy of the table, where translating it to --labels loses something.",
)
@click.option("--drop-class", "drop_classes", type=Codes(), help="Classes to leave out, such as SCC.")
@click.option("--ratios", default="70/15/15", show_default=True, help="Shares of train, val and test.")
@click.option("--folds", type=click.IntRange(min=2), help="Write OUTPUT/fold0, ... for cross-validation.")
@click.option("--seed", type=int, default=42, show_default=True)
@click.option("--image-level", is_flag=True, help="Split by image, where no lesion ids are known.")
@click.option("--use-split", type=_FILE, help="Keep the split of this table or folder.")
@click.option("--allow-shared-lesions", is_flag=True, help="Keep it although lesions are in several parts.")
@click.option(
    "--merge-duplicates", is_flag=True, help="Keep near-duplicates of different lesions in one part."
)
@_distance
@click.option(
    "--max-missing",
    type=click.FloatRange(0, 1),
    default=0.05,
    show_default=True,
    help="Largest share of images that may be missing or unreadable.",
)
@_workers
@_json
def prepare(
    *,
    metadata: tuple[Path, ...],
    image_dirs: tuple[Path, ...],
    output: Path,
    ratios: str,
    drop_classes: tuple[str, ...] | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Check every image and write a lesion-grouped, class-stratified split.

    \b
    skinclf data prepare --metadata HAM10000_metadata.csv --image-dir images --output prepared
    skinclf data prepare --metadata labels.csv --image-dir images --labels malignant --folds 5 --output cv
    skinclf data prepare --use-split labels_binary_split.csv --image-dir images --labels malignant --output theirs
    """  # noqa: D301 - click's paragraph mark
    from skinclf_training.data.prepare import prepare as run
    from skinclf_training.data.split import parse_ratios

    shares = parse_ratios(ratios)
    with _images("Checking") as show:
        result = run(
            metadata,
            image_dirs,
            output,
            shares=shares,
            drop_classes=drop_classes or (),
            progress=show,
            **options,
        )
    manifests = result.get("splits", [result])
    _say(manifests[0])
    if as_json:
        console.json_out(result)
    for manifest in manifests:
        place = output if "fold" not in manifest else output / f"fold{manifest['fold']}"
        _show(manifest, place, quiet=as_json)


@data.command()
@click.option("--data", "folder", type=_FOLDER, required=True, help="Folder made by `skinclf data prepare`.")
@click.option("--output", type=_NEW, help="Folder for the report. Default: DATA/explore.")
@click.option(
    "--samples",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="Pictures of each class on the sample sheet.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Decides which.")
@_workers
@_json
def explore(*, folder: Path, output: Path | None, as_json: bool, **options: Any) -> None:
    """Describe a prepared data set: classes, people, pictures, lesions, samples.

    Writes explore.html (one file), explore.json and figures/*.png.
    """
    from skinclf_training.data.explore.explore import explore as run
    from skinclf_training.data.prepared import read_prepared

    target = output or folder / "explore"
    with _images("Looking") as show:
        numbers = run(read_prepared(folder), target, progress=show, **options)
    if as_json:
        console.json_out(numbers)
    else:
        console.table(
            ("class", "images", "lesions", "share"),
            [
                (x["code"], f"{x['images']:,}", f"{x['lesions']:,}", f"{x['share']:.1%}")
                for x in numbers["classes"]
            ],
        )
    console.talk(f"Written: {target / 'explore.html'}")


def _say(manifest: Mapping[str, Any]) -> None:
    """What was left out, translated or looks wrong."""
    for image, reason in {**manifest["rejected"], **manifest["left_out"]}.items():
        console.talk(f"Left out {image}: {reason}")
    for code, count in manifest["dropped_classes"].items():
        console.talk(f"Left out {count} images of class {code}")
    walk = manifest["crosswalk"]
    if walk["lossy"]:
        console.talk(f"Labels of {walk['from']} became {walk['to']}: {walk['lossy']}")
    if manifest["images_without_lesion_id"]:
        console.talk(
            f"{manifest['images_without_lesion_id']} images have no lesion id; each is its own group"
        )
    if manifest.get("images_not_in_split"):
        console.talk(f"Left out {manifest['images_not_in_split']} images that the split does not name")


def _show(manifest: Mapping[str, Any], folder: Path, *, quiet: bool) -> None:
    from skinclf_training.data.prepare import split_table

    crossing = manifest["identical_files_across_parts"]
    if crossing:
        console.talk(f"Warning: {len(crossing)} groups of identical files lie across parts: {crossing[:3]}")
    near = manifest["near_duplicates"]
    if near["across_parts"]:
        first = ", ".join(" and ".join(pair["images"]) for pair in near["across_parts"][:3])
        console.talk(
            f"Warning: {len(near['across_parts'])} pairs of different lesions look alike (at most {near['distance']} "
            f"of 256 bits apart) and lie in different parts: {first}; --merge-duplicates keeps them together"
        )
    if not quiet:
        header, *rows = split_table(manifest)
        console.table(header, rows)
    console.talk(
        f"{manifest['images']} images of {manifest['lesions']} lesions, "
        f"{manifest['lesions_in_several_parts']} lesions in several parts; "
        f"split {manifest['split_sha256'][:16]} in {folder}"
    )


@contextmanager
def _images(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar that counts images, on terminals."""
    if not sys.stderr.isatty() or console.verbosity() < 0:
        yield None
        return
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    with Progress(
        *Progress.get_default_columns()[:2],
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console.stderr(),
        transient=True,
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _bytes() -> Iterator[Callable[[str, int, int | None], None] | None]:
    """A bar for each file that is fetched, on terminals."""
    if not sys.stderr.isatty() or console.verbosity() < 0:
        yield None
        return
    from rich.progress import DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    with Progress(
        *Progress.get_default_columns()[:2],
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console.stderr(),
    ) as bar:
        tasks: dict[str, Any] = {}

        def show(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done, total=total)

        yield show
