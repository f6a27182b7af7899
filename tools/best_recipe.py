r"""Build the recipe `ham10000-best` from its members: mean, calibration, thresholds, figures, card.

Run it after a member was released anew, since the recipe is refused from then on. It runs skinclf's own commands, says
each of them, and goes on where it was interrupted:

    python tools/best_recipe.py --images HAM10000 --labels data/prepared/split.csv --other-images ISIC2017 \
        --other-labels data/isic2017/split.csv
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from skinclf._utils.arrays import Float32
from skinclf.conversion.combine import combine
from skinclf.decisions.held_out import read_held_out
from skinclf.decisions.predicted import carry
from skinclf.evaluation.ensemble_weights import read_members
from skinclf.evaluation.labelled_predictions import LabelledPredictions
from skinclf.evaluation.metric_set import MetricSet
from skinclf.inference.ensemble import averaged
from skinclf.inference.predictor import Predictor
from skinclf.models.bundle import read_spec, write_spec
from skinclf.models.probabilities import probabilities
from skinclf.models.recipe import Average
from skinclf.models.spec import ModelSpec

ROOT = Path(__file__).resolve().parents[1]
NAME, TTA = "ham10000-best", "d4"
MEMBERS = ("ham10000-mobilenetv2", "ham10000-efficientnet-lite0")
#: Shares of two members that are tried.
SHARES = ((3, 7), (4, 6), (1, 1), (6, 4), (7, 3))
#: Images of each part on which the recipe itself is compared with the mean of its members' tables.
CHECKED = 16
CALIBRATION, SENSITIVITIES = "vector", ("0.90", "0.95", "0.80")


def main() -> None:
    """Build everything in a work folder, then put it in its places."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of HAM10000's images")
    parser.add_argument("--labels", type=Path, required=True, help="its split.csv")
    parser.add_argument("--other-images", type=Path, help="folder of ISIC 2017's images")
    parser.add_argument("--other-labels", type=Path, help="its split.csv")
    parser.add_argument("--members", nargs="+", default=MEMBERS, help="models of the recipe")
    parser.add_argument("--name", default=NAME, help="name of the recipe")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / NAME, help="folder of the predictions")
    parser.add_argument("--builtin", type=Path, default=ROOT / "skinclf" / "models" / "builtin")
    parser.add_argument("--cards", type=Path, default=ROOT / "model_cards")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)

    folder = given.work / given.name
    labels = given.labels
    fit(folder, given.members, given.name, given.images, labels)
    card, table = test(folder, given.members, given.images, labels, "test")
    compared = ("--predictions", table, "--labels", labels, "--split", "test", "--store")
    if read_spec(folder).metadata is not None:
        skinclf("metadata", "compare", "--model", folder, *compared, "--output", given.work / "unused.json")
    if given.other_images is not None:
        other, _ = test(folder, given.members, given.other_images, given.other_labels, "isic-2017")
        shutil.copyfile(other / "metrics.json", card / "other-isic-2017.json")
    compare(folder, card, [given.cards / Path(member).name for member in given.members])
    place(folder, given.builtin / given.name)
    measured, card = card, given.cards / given.name
    shutil.rmtree(card, ignore_errors=True)
    card.mkdir(parents=True)
    for path in (measured / "metrics.json", *measured.glob("other-*.json")):
        shutil.copyfile(path, card / path.name)
    skinclf("card", given.builtin / given.name, "--metrics", card / "metrics.json", "--output", card)
    if given.name == NAME:
        page(ROOT / "docs" / "project", f"card-{NAME}")
        subprocess.run([sys.executable, "-m", "skinclf_training.publishing.evidence"], check=True)


def fit(folder: Path, members: Sequence[str], name: str, images: Path, labels: Path) -> None:
    """The recipe with all that is fitted on the validation part."""
    cases = read_members(predict(folder, members, images, labels, "val"), labels, split="val")
    average, shares = choose(cases)
    shutil.rmtree(folder, ignore_errors=True)
    spec = combine(members, folder, average=average, weights=shares, tta=TTA, name=name)
    table = write_mean(folder.with_name("mean-val.csv"), cases, spec)
    carry(folder, read_held_out(predictions=table, labels=labels, spec=spec, split="val"))
    skinclf("calibrate", "--model", folder, "--method", CALIBRATION, "--output", folder)
    for path in folder.glob("calibration.*"):
        path.unlink()
    for target in SENSITIVITIES:
        goal = ("--target-sensitivity", target, "--balanced", "--store", f"sensitivity-{target}", "--no-plot")
        skinclf("tune-threshold", "--model", folder, *goal, "--output", thresholds(folder, target))
    terms = ("--table", labels, "--split", "train", "--store", "--output", folder.with_name("unused.json"))
    # Terms that do not win on the held-out images are not stored, which is exit code 1.
    skinclf("metadata", "fit", "--model", folder, *terms, codes=(0, 1))


def choose(cases: Sequence[LabelledPredictions]) -> tuple[Average, tuple[float, ...]]:
    """Kind of the mean, and shares of the members, of the highest malignant ROC-AUC."""
    kinds: tuple[Average, ...] = ("probability", "logit")
    weights = SHARES if len(cases) == 2 else ((1.0,) * len(cases),)
    keys = ("binary.roc_auc", "binary.pr_auc", "multiclass.log_loss", "multiclass.balanced_accuracy")
    found = []
    print("mean, shares: malignant ROC-AUC, PR-AUC, log-loss and balanced accuracy on the validation part")
    for kind in kinds:
        for shares in weights:
            mean = mean_of(cases, shares, kind)
            malignant = [cases[0].labels.position(code) for code in cases[0].positive_codes]
            score = np.ascontiguousarray(mean[:, malignant]).sum(axis=1, dtype=np.float32)
            own = replace(cases[0], probabilities=mean.astype(np.float64), score=score)
            panel = MetricSet(own, 0.5).values()
            print(f"  {kind}, {shares}:", *(f"{panel[key]:.4f}" for key in keys), flush=True)
            found.append((panel[keys[0]], kind, shares))
    return max(found, key=lambda row: row[0])[1:]


def mean_of(cases: Sequence[LabelledPredictions], shares: Sequence[float], average: Average) -> Float32:
    """What a recipe answers before its calibration, from the members' predictions."""
    values = np.stack([case.probabilities for case in cases]).astype(np.float32)
    return averaged(values, [share / sum(shares) for share in shares], average)


def write_mean(table: Path, cases: Sequence[LabelledPredictions], spec: ModelSpec) -> Path:
    """The predictions of a recipe, with its calibration."""
    assert spec.recipe is not None
    mean = mean_of(cases, spec.recipe.weights, spec.recipe.average)
    values = probabilities(mean, "identity", spec.calibration)
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", *(f"p_{code}" for code in spec.labels.codes)])
        writer.writerows([name, *map(str, row)] for name, row in zip(cases[0].ids, values, strict=True))
    return table


def test(folder: Path, members: Sequence[str], images: Path, labels: Path, name: str) -> tuple[Path, Path]:
    """An evaluation on the part `test` of labels: its folder, and the table of predictions."""
    spec = read_spec(folder)
    cases = read_members(predict(folder, members, images, labels, name), labels, split="test")
    table = write_mean(folder.with_name(f"{name}.csv"), cases, spec)
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:: max(1, len(cases[0]) // CHECKED)]
    for row, found in zip(rows, Predictor(folder).stream([row["image"] for row in rows]), strict=True):
        expected = [float(row[f"p_{code}"]) for code in spec.labels.codes]
        if not np.allclose(found.values, expected, atol=1e-4):
            raise SystemExit(f"{row['image']}: the recipe gives {found.values}, its members {expected}.")
    found = folder.with_name(name)
    shutil.rmtree(found, ignore_errors=True)
    threshold = ("--threshold", thresholds(folder, SENSITIVITIES[0]))
    read = ("--predictions", table, "--labels", labels, "--split", "test")
    skinclf("evaluate", *read, *threshold, "--output", found)
    return found, table


def compare(folder: Path, card: Path, others: Sequence[Path]) -> None:
    """Store the figures of the members' cards beside those of the recipe, and a sentence on each part."""
    rows, sentences = [], []
    names = {"metrics.json": "test part", "other-isic-2017.json": "other cameras of ISIC 2017"}
    for file, data in names.items():
        own = [path / file for path in (card, *others)]
        if not all(path.is_file() for path in own):
            continue
        found = [json.loads(path.read_text(encoding="utf-8")) for path in own]
        rows += [
            {
                "model": metrics["model"]["name"],
                "data": data,
                "images": metrics["data"]["n"],
                "roc_auc": metrics["binary"]["roc_auc"],
                "pr_auc": metrics["binary"]["pr_auc"],
                "balanced_accuracy": metrics["multiclass"]["balanced_accuracy"],
            }
            for metrics in found
        ]
        recipe, *alone = rows[-len(own) :]
        others_said = " and ".join(f"{row['roc_auc']['value']:.3f} of `{row['model']}`" for row in alone)
        sentences.append(
            f"On the {data} its malignant ROC-AUC is {recipe['roc_auc']['value']:.3f}; alone: {others_said}."
        )
    spec = read_spec(folder)
    told = {"rows": rows, "sentences": sentences}
    write_spec(folder, spec.replace(training={**spec.training, "compared": told}))


def page(folder: Path, name: str) -> None:
    """Give the card its page among the documents."""
    (folder / f"{name}.md").write_text(
        "The text of this page comes from a file of the repository; docs/conf.py names it.\n",
        encoding="utf-8",
    )
    index = folder / "index.md"
    text, before = index.read_text(encoding="utf-8"), f"card-{MEMBERS[0]}\n"
    if f"{name}\n" not in text:
        index.write_text(text.replace(before, f"{before}{name}\n"), encoding="utf-8")


def thresholds(folder: Path, target: str) -> Path:
    """File of the threshold of a sensitivity."""
    return folder.with_name(f"sensitivity-{target}.json")


def predict(folder: Path, members: Sequence[str], images: Path, labels: Path, name: str) -> list[Path]:
    """Tables of the members' predictions over the views, made once: of the part `val` by that name, else of `test`."""
    listed, part = folder.with_name(f"{name}.txt"), "val" if name == "val" else "test"
    with labels.open(newline="", encoding="utf-8") as file:
        names = [row["image_id"] for row in csv.DictReader(file) if row["split"] == part]
    listed.write_text("".join(f"{images / name}.jpg\n" for name in names), encoding="utf-8")
    tables = [folder.with_name(f"{Path(member).name}-{name}.csv") for member in members]
    for member, table in zip(members, tables, strict=True):
        options = ("--model", member, "--tta", TTA, "--gate", "off", "--output", table, "--resume")
        skinclf("predict", "--from-file", listed, *options)
    return tables


def place(source: Path, target: Path) -> None:
    """Replace a folder by a copy of another."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def skinclf(*arguments: str | Path, codes: Sequence[int] = (0,)) -> None:
    """Run one command of skinclf, say which, and stop where it ends with another exit code."""
    words = [str(argument) for argument in arguments]
    print("$ skinclf", shlex.join(words), flush=True)
    done = subprocess.run([sys.executable, "-m", "skinclf", *words], check=False)
    if done.returncode not in codes:
        raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
