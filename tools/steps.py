"""Steps that the tools of this folder share: one command of skinclf, a folder in its place, a page of a card."""

from __future__ import annotations

import csv
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILTIN = ROOT / "skinclf" / "models" / "builtin"
CARDS = ROOT / "model_cards"
PAGES = ROOT / "docs" / "project"
#: Calibration and sensitivities of the thresholds of every model that ships; the first threshold is its own.
CALIBRATION, SENSITIVITIES = "vector", ("0.90", "0.95", "0.80")
#: Stand-ins for photographs of each size, a third of it for the largest.
STAND_INS = "90"


def skinclf(*arguments: str | Path, codes: Sequence[int] = (0,)) -> None:
    """Run one command of skinclf, say which, and stop where it ends with another exit code."""
    command("skinclf", *arguments, codes=codes)


def command(module: str, *arguments: str | Path, codes: Sequence[int] = (0,)) -> None:
    """Run a module of Python with arguments, say so, and stop where it ends with another exit code."""
    words = [str(argument) for argument in arguments]
    print("$ skinclf" if module == "skinclf" else f"$ python -m {module}", shlex.join(words), flush=True)
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}  # the benchmarks are found from any folder
    done = subprocess.run([sys.executable, "-m", module, *words], env=environment, check=False)
    if done.returncode not in codes:
        raise SystemExit(done.returncode)


def listed(images: Path, labels: Path, split: str, target: Path) -> Path:
    """Write the list of the images of one split, and return its path."""
    with labels.open(newline="", encoding="utf-8") as file:
        names = [row["image_id"] for row in csv.DictReader(file) if row["split"] == split]
    target.write_text("".join(f"{images / name}.jpg\n" for name in names), encoding="utf-8")
    return target


def tune(folder: Path) -> Path:
    """Calibrate a bundle on its held-out predictions and store its thresholds and its rule.

    Returns:
        File of the threshold that becomes the bundle's own.
    """
    skinclf("calibrate", "--model", folder, "--method", CALIBRATION, "--output", folder)
    for path in folder.glob("calibration.*"):
        path.unlink()
    files = [folder.with_name(f"sensitivity-{target}.json") for target in SENSITIVITIES]
    for target, file in zip(SENSITIVITIES, files, strict=True):
        goal = ("--target-sensitivity", target, "--balanced", "--store", f"sensitivity-{target}", "--no-plot")
        skinclf("tune-threshold", "--model", folder, *goal, "--output", file)
    return files[0]


def terms(folder: Path, labels: Path) -> None:
    """Fit the terms of age, sex and site on the training images, and store them where they help."""
    unused = folder.with_name("unused.json")
    # Terms that do not win on the held-out images are not stored, which is exit code 1.
    where = ("--table", labels, "--split", "train", "--store", "--output", unused)
    skinclf("metadata", "fit", "--model", folder, *where, codes=(0, 1))


def compare_terms(folder: Path, table: Path, labels: Path) -> None:
    """Store in a bundle what its terms change on the test part."""
    read = ("--predictions", table, "--labels", labels, "--split", "test", "--store")
    skinclf("metadata", "compare", "--model", folder, *read, "--output", folder.with_name("unused.json"))


def evaluate(table: Path, labels: Path, threshold: Path, target: Path) -> Path:
    """Evaluate a table of predictions on the test part of its labels, into a new folder."""
    shutil.rmtree(target, ignore_errors=True)
    read = ("--predictions", table, "--labels", labels, "--split", "test")
    skinclf("evaluate", *read, "--threshold", threshold, "--output", target)
    return target


def scaled_decoding(folder: Path, images: Path, photographs: Path) -> None:
    """Store what decoding large photographs down moves, measured on stand-ins."""
    if not photographs.is_dir():
        made = ("--textures", images, "--count", STAND_INS, "--save", photographs)
        command("benchmarks.answers.scaled_decoding", *made)
    skinclf("models", "precision", folder, "--scaled-decoding", "--images", photographs, "--store")


def place(source: Path, target: Path) -> None:
    """Replace a folder by a copy of another."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def write_card(folder: Path, measured: Path, cards: Path) -> None:
    """Write the card of a bundle from the JSON files of a folder, and give it its page among the documents."""
    card = cards / folder.name
    shutil.rmtree(card, ignore_errors=True)
    card.mkdir(parents=True)
    for path in measured.glob("*.json"):
        shutil.copyfile(path, card / path.name)
    skinclf("card", folder, "--metrics", card / "metrics.json", "--output", card)
    if cards == CARDS:
        _page(f"card-{folder.name}")
        command("skinclf_training.publishing.evidence", folder.name)


def _page(name: str) -> None:
    page, index = PAGES / f"{name}.md", PAGES / "index.md"
    if page.is_file():
        return
    page.write_text(
        "The text of this page comes from a file of the repository; docs/conf.py names it.\n",
        encoding="utf-8",
    )
    lines = index.read_text(encoding="utf-8").split("\n")
    last = max(n for n, line in enumerate(lines) if line.startswith("card-"))
    index.write_text("\n".join([*lines[: last + 1], name, *lines[last + 1 :]]), encoding="utf-8")
