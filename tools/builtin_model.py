r"""Make a built-in model of a trained bundle: calibration, thresholds, rule, gate, every measurement, card.

It runs the commands of docs/training.md, says each of them, and puts the model in its place. Measurements in `--work`
that a command left there are kept, so that an interrupted run goes on; a card refuses those of other weights:

    python tools/builtin_model.py runs/ham10000-efficientnet-lite0/bundle --images HAM10000 \
        --labels data/prepared/split.csv --other-images ISIC2017 --other-labels data/isic2017/split.csv \
        --masks masks --photographs photographs
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from steps import (
    BUILTIN,
    CARDS,
    ROOT,
    command,
    compare_terms,
    evaluate,
    listed,
    place,
    scaled_decoding,
    skinclf,
    terms,
    tune,
    write_card,
)

from skinclf.models.bundle import read_spec


def main() -> None:
    """Build everything in a work folder, then put it in its places."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, help="bundle of the run, never changed")
    parser.add_argument("--name", help="name of the model; default: that of the bundle")
    parser.add_argument("--images", type=Path, required=True, help="folder of HAM10000's images")
    parser.add_argument("--labels", type=Path, required=True, help="its split.csv")
    parser.add_argument("--other-images", type=Path, required=True, help="folder of ISIC 2017's images")
    parser.add_argument("--other-labels", type=Path, required=True, help="its split.csv")
    parser.add_argument("--masks", type=Path, required=True, help="folder of masks of lesions, by image id")
    parser.add_argument("--photographs", type=Path, required=True, help="pictures that are no dermoscopy")
    parser.add_argument("--work", type=Path, help="folder of what is measured; default: build/NAME")
    parser.add_argument("--builtin", type=Path, default=BUILTIN)
    parser.add_argument("--cards", type=Path, default=CARDS)
    given = parser.parse_args()
    name = given.name or str(read_spec(given.bundle).name)
    work = given.work or ROOT / "build" / name
    work.mkdir(parents=True, exist_ok=True)

    folder, measured = work / name, work / "card"
    place(given.bundle, folder)
    threshold = tune(folder)
    terms(folder, given.labels)
    test = predict(folder, given.images, given.labels, work / "test.csv")
    if read_spec(folder).metadata is not None:
        compare_terms(folder, test, given.labels)
    evaluate(test, given.labels, threshold, measured)
    other = predict(folder, given.other_images, given.other_labels, work / "isic-2017.csv")
    found = evaluate(other, given.other_labels, threshold, work / "isic-2017")
    scaled_decoding(folder, given.images, work.parent / "stand-ins")
    keep(found / "metrics.json", measured / "other-isic-2017.json")
    keep(shifts(folder, work, given.labels), measured)
    keep(maps(folder, work, given.images, given.masks), measured)
    gate(folder, given, work / f"gate-{name}.json")
    finish(folder, measured, given.builtin, given.cards)


def predict(folder: Path, images: Path, labels: Path, table: Path) -> Path:
    """Predictions on the test part of labels, from the pictures alone."""
    names = listed(images, labels, "test", table.with_suffix(".txt"))
    options = ("--gate", "off", "--output", table, "--resume")
    skinclf("predict", "--model", folder, "--from-file", names, *options)
    return table


def shifts(folder: Path, work: Path, labels: Path) -> Path:
    """What another camera would do to the answers on the test part."""
    found, read = work / "robustness.json", ("--labels", labels, "--split", "test")
    if not found.is_file():
        names = work / "test.txt"
        skinclf("robustness", "--model", folder, "--from-file", names, *read, "--output", found)
    return found


def maps(folder: Path, work: Path, images: Path, masks: Path) -> Path:
    """Checks of maps on the images of which a mask is at hand."""
    found, names = work / "maps" / "explanation.json", work / "masks.txt"
    if not found.is_file():
        stems = sorted({path.stem.removesuffix("_segmentation") for path in masks.glob("*.png")})
        names.write_text("".join(f"{images / stem}.jpg\n" for stem in stems), encoding="utf-8")
        checks = ("--check", "randomisation,faithfulness,masks", "--masks", masks)
        skinclf("explain", "--model", folder, "--from-file", names, *checks, "--output", found.parent)
    return found


def gate(folder: Path, given: argparse.Namespace, report: Path) -> None:
    """Fit the image gate and store it; the report goes to the documents."""
    ours = ("--ham", given.images, "--split", given.labels, "--photographs", given.photographs)
    split = given.other_labels
    theirs = ("--isic", given.other_images, "--isic-split", split, "--isic-labels", split)
    command("benchmarks.gate.fit", folder, *ours, *theirs, "--bundle", folder, "--out", report)
    if given.builtin == BUILTIN:
        keep(report, ROOT / "docs")


def finish(folder: Path, measured: Path, builtin: Path, cards: Path) -> None:
    """Put the model and its card in their places."""
    placed = builtin / folder.name
    place(folder, placed)
    if builtin == BUILTIN:
        command("skinclf_training.publishing.ready_graphs", folder.name)
    skinclf("models", "verify", placed)
    write_card(placed, measured, cards)


def keep(source: Path, target: Path) -> None:
    """Copy a file to a file or into a folder."""
    shutil.copyfile(source, target / source.name if target.is_dir() else target)


if __name__ == "__main__":
    main()
