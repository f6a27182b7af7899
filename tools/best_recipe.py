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
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from steps import (
    BUILTIN,
    CARDS,
    ROOT,
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

NAME, TTA = "ham10000-best", "d4"
MEMBERS = ("ham10000-mobilenetv2", "ham10000-efficientnet-lite0")
#: Shares of two members that are tried.
SHARES = ((3, 7), (4, 6), (1, 1), (6, 4), (7, 3))
#: Images of each part on which the recipe itself is compared with the mean of its members' tables.
CHECKED = 16


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
    parser.add_argument("--builtin", type=Path, default=BUILTIN)
    parser.add_argument("--cards", type=Path, default=CARDS)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)

    folder = given.work / given.name
    labels = given.labels
    threshold = fit(folder, given.members, given.name, given.images, labels)
    card, table = test(folder, given.members, given.images, labels, "test", threshold)
    if read_spec(folder).metadata is not None:
        compare_terms(folder, table, labels)
    if given.other_images is not None:
        images, labels = given.other_images, given.other_labels
        other, _ = test(folder, given.members, images, labels, "isic-2017", threshold)
        shutil.copyfile(other / "metrics.json", card / "other-isic-2017.json")
    scaled_decoding(folder, given.images, given.work.parent / "stand-ins")
    compare(folder, card, [given.cards / Path(member).name for member in given.members])
    place(folder, given.builtin / given.name)
    write_card(given.builtin / given.name, card, given.cards)


def fit(folder: Path, members: Sequence[str], name: str, images: Path, labels: Path) -> Path:
    """The recipe with all that is fitted on the validation part; the file of its threshold."""
    cases = read_members(predict(folder, members, images, labels, "val"), labels, split="val")
    average, shares = choose(cases)
    shutil.rmtree(folder, ignore_errors=True)
    spec = combine(members, folder, average=average, weights=shares, tta=TTA, name=name)
    table = write_mean(folder.with_name("mean-val.csv"), cases, spec)
    carry(folder, read_held_out(predictions=table, labels=labels, spec=spec, split="val"))
    threshold = tune(folder)
    terms(folder, labels)
    return threshold


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


def test(
    folder: Path, members: Sequence[str], images: Path, labels: Path, name: str, threshold: Path
) -> tuple[Path, Path]:
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
    return evaluate(table, labels, threshold, folder.with_name(name)), table


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


def predict(folder: Path, members: Sequence[str], images: Path, labels: Path, name: str) -> list[Path]:
    """Tables of the members' predictions over the views, made once: of the part `val` by that name, else of `test`."""
    names = listed(images, labels, "val" if name == "val" else "test", folder.with_name(f"{name}.txt"))
    tables = [folder.with_name(f"{Path(member).name}-{name}.csv") for member in members]
    for member, table in zip(members, tables, strict=True):
        options = ("--model", member, "--tta", TTA, "--gate", "off", "--output", table, "--resume")
        skinclf("predict", "--from-file", names, *options)
    return tables


if __name__ == "__main__":
    main()
