r"""Fit the image gate of a model on HAM10000, and measure what it costs and what it catches.

    python -m benchmarks.gate.fit MODEL --ham FOLDER --split split.csv --isic FOLDER --photographs FOLDER \
        --out gate.json

Training images fit it, validation images calibrate it and set its limit, test images state its false refusals.
Photographs and ISIC 2017 are measured only; pictures that are no photographs are drawn
(`benchmarks.gate.not_dermoscopy`). A model that was trained on a part of ISIC 2017 names its split with
`--isic-split`: that part fits too, and the test part is measured. `--isic-labels` adds the false refusals of its
malignant images.
With `--bundle FOLDER` the gate is stored in that bundle. What was measured is kept beside OUT, for a second run.

    python -m benchmarks.gate.fit MODEL --cost 5 --work FOLDER --out gate-cost.json

Whole runs of `skinclf predict` over 512 JPEGs of 600 x 450 pixels, in turn without and with the gate, five times each.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.metrics import roc_auc_score

from benchmarks.common import machine, make_images
from benchmarks.gate.not_dermoscopy import KINDS, draw_one
from skinclf._utils.environment import versions
from skinclf.inference.gate.fit import ALPHA, Measured, fit_measured, measure_images
from skinclf.inference.gate.gate import Gate
from skinclf.inference.gate.limits import is_tiny, reasons_of
from skinclf.inference.gate.reasons import Reason, verdict
from skinclf.inference.gate.store import write_gate
from skinclf.metrics.intervals import clopper_pearson
from skinclf.models.load import load_model
from skinclf.models.loaded import LoadedModel

MALIGNANT = ("mel", "bcc", "akiec")
#: What lies over the skin or frames it, and is no fault of the lesion.
ARTEFACTS = (Reason.HAIR, Reason.RULER, Reason.INK, Reason.GEL_BUBBLES, Reason.TEXT, Reason.DARK_CORNERS)
DRAWN = 60


def measured(model: LoadedModel, images: list[Path], cache: Path, name: str) -> Measured:
    """What the gate measures of images; kept for these weights, preprocessing and calibration alone."""
    identity = json.dumps(model.spec.fingerprint, sort_keys=True).encode()
    path = cache / f"{name}-{hashlib.sha256(identity).hexdigest()[:16]}.npz"
    if path.is_file():
        with np.load(path) as kept:
            return Measured(kept["features"], kept["measures"], kept["predicted"], kept["rows"])
    found = measure_images(model, [str(x) for x in images], workers=2, marks=True)
    cache.mkdir(parents=True, exist_ok=True)
    np.savez(
        path, features=found.features, measures=found.measures, predicted=found.predicted, rows=found.rows
    )
    return found


def outcome(gate: Gate, found: Measured) -> dict[str, Any]:
    """Of each image: strangeness, p-value, reasons and verdict."""
    p = gate.p_familiar(found.features, found.measures, found.predicted)
    reasons = []
    for row, value in zip(found.measures, p, strict=True):
        strange = [Reason.UNFAMILIAR] if value <= np.float32(gate.alpha) else []
        reasons.append(strange + reasons_of(row))
    unfit = [verdict(r, tiny=is_tiny(m)) == "unfit" for r, m in zip(reasons, found.measures, strict=True)]
    strange = gate.strangeness(found.features, found.measures)
    return {"p": p, "reasons": reasons, "unfit": np.asarray(unfit), "strange": strange}


def share(k: int, n: int) -> dict[str, Any]:
    low, high = clopper_pearson(k, n)
    return {"k": k, "n": n, "share": k / n, "low": float(low), "high": float(high)}


def refused(result: dict[str, Any], chosen: np.ndarray | None = None) -> dict[str, Any]:
    unfit = result["unfit"] if chosen is None else result["unfit"][chosen]
    return share(int(unfit.sum()), len(unfit))


def counts(result: dict[str, Any]) -> dict[str, Any]:
    """How many images have each reason, and how many of those are refused."""
    every = Counter(reason for reasons in result["reasons"] for reason in reasons)
    held = Counter(
        r for rs, unfit in zip(result["reasons"], result["unfit"], strict=True) if unfit for r in rs
    )
    return {
        r.value: {**share(every[r], len(result["reasons"])), "refused": held[r]} for r in Reason if every[r]
    }


def by_artefact(result: dict[str, Any]) -> dict[str, Any]:
    """How many of the images with each artefact are refused, whatever for."""
    found = {r.value: np.asarray([r in reasons for reasons in result["reasons"]]) for r in ARTEFACTS}
    return {word: refused(result, marked) for word, marked in found.items() if marked.any()}


def drawn(folder: Path) -> list[Path]:
    paths = []
    for kind in KINDS:
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for seed in range(DRAWN):
            path = folder / kind / f"{seed}.png"
            if not path.is_file():
                Image.fromarray(draw_one(kind, seed)).save(path)
            paths.append(path)
    return paths


def isic_images(args: argparse.Namespace, part: str) -> list[Path]:
    """Images of one part of the split of the other data set."""
    with args.isic_split.open(newline="") as file:
        return [args.isic / f"{row['image_id']}.jpg" for row in csv.DictReader(file) if row["split"] == part]


def joined(first: Measured, second: Measured) -> Measured:
    names = ("features", "measures", "predicted", "rows")
    return Measured(*(np.concatenate([getattr(first, n), getattr(second, n)]) for n in names))


def evaluate(
    gate: Gate, model: LoadedModel, args: argparse.Namespace, parts: dict[str, Any]
) -> dict[str, Any]:
    cache = args.out.with_suffix("")
    test, dx = parts["test"]
    ours = outcome(gate, test)
    dx = np.asarray(dx)[test.rows]
    malignant = np.isin(dx, MALIGNANT)
    report: dict[str, Any] = {
        "model": model.spec.name,
        "weights_sha256": model.spec.weights_sha256,
        "alpha": gate.alpha,
        "fit": gate.evidence,
        "test": {
            "all": refused(ours),
            "malignant": refused(ours, malignant),
            "by_class": {code: refused(ours, dx == code) for code in sorted(set(dx))},
            "by_artefact": by_artefact(ours),
            "reasons": counts(ours),
            "p_at_most": {str(a): float((ours["p"] <= a).mean()) for a in (0.01, 0.05, 0.1, 0.25, 0.5)},
        },
        "versions": versions(),
    }
    if args.isic:
        images = sorted(args.isic.glob("*.jpg")) if args.isic_split is None else isic_images(args, "test")
        found = measured(model, images, cache, f"isic-{len(images)}")
        other = outcome(gate, found)
        report["other_cameras"] = {
            "refused": refused(other),
            "by_artefact": by_artefact(other),
            "reasons": counts(other),
        }
        if args.isic_labels is not None:
            with args.isic_labels.open(newline="") as file:
                label = {row["image_id"]: row["dx"] for row in csv.DictReader(file)}
            theirs = np.asarray([label[images[i].stem] for i in found.rows])
            report["other_cameras"]["malignant"] = refused(other, np.isin(theirs, MALIGNANT))
    sets: dict[str, tuple[Measured, np.ndarray]] = {}
    if args.photographs:
        found = measured(model, sorted(args.photographs.rglob("*.jpg")), cache, "photographs")
        sets["photographs"] = (found, np.full(len(found.rows), "photograph"))
    paths = drawn(cache / "drawn")
    found = measured(model, paths, cache, "drawings")
    sets["drawn"] = (found, np.asarray([paths[i].parent.name for i in found.rows]))
    for name, (found, kinds) in sets.items():
        theirs = outcome(gate, found)
        truth = np.repeat([0, 1], [len(ours["strange"]), len(theirs["strange"])])
        report[name] = {
            "auroc": float(roc_auc_score(truth, np.concatenate([ours["strange"], theirs["strange"]]))),
            "auroc_p": float(roc_auc_score(truth, -np.concatenate([ours["p"], theirs["p"]]))),
            "refused": refused(theirs),
            "by_kind": {kind: refused(theirs, kinds == kind) for kind in sorted(set(kinds))},
            "unfamiliar": share(int((theirs["p"] <= np.float32(gate.alpha)).sum()), len(theirs["p"])),
        }
    return report


def summary(report: dict[str, Any]) -> dict[str, Any]:
    """What the card of the model says."""
    test = report["test"]
    found = {"test part, all": test["all"], "malignant": test["malignant"]}
    found |= {f"`{code}`": value for code, value in test["by_class"].items()}
    found |= {f"marked `{word}`": value for word, value in test["by_artefact"].items()}
    if "other_cameras" in report:
        other = report["other_cameras"]
        found["ISIC 2017, other cameras"] = other["refused"]
        if "malignant" in other:
            found["ISIC 2017, malignant"] = other["malignant"]
        found |= {f"ISIC 2017, marked `{word}`": value for word, value in other["by_artefact"].items()}
    caught = {}
    if "photographs" in report:
        caught["photographs of things, animals, scenes"] = report["photographs"]["refused"]
    caught |= {f"drawn: {kind}": value for kind, value in report["drawn"]["by_kind"].items()}
    return {"dermoscopy": found, "other": caught}


def cost(model: str, repeats: int, work: Path) -> dict[str, Any]:
    """Wall and CPU seconds of whole runs without the gate, with it, and with all of its marks."""
    ways = {
        "off": ["--gate", "off"],
        "mark": ["--gate", "mark"],
        "marks": ["--gate", "mark", "--gate-marks"],
    }
    make_images(work / "images", 512)
    command = [sys.executable, "-m", "skinclf", "-q", "predict", "--image-dir", str(work / "images")]
    command += ["--model", model, "--overwrite", "-o", str(work / "out.csv")]
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for repeat in range(-1, repeats):  # the first fills caches
        for way, options in ways.items():
            before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run([*command, *options], check=True)
            after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            if repeat >= 0:
                runs[way].append({"wall": wall, "cpu": cpu})
    medians = {
        way: {key: statistics.median(run[key] for run in found) for key in ("wall", "cpu")}
        for way, found in runs.items()
    }
    more = {
        way: {key: medians[way][key] / medians["off"][key] - 1 for key in ("wall", "cpu")}
        for way in ("mark", "marks")
    }
    return {
        "model": model,
        "images": 512,
        "runs": runs,
        "medians": medians,
        "more": more,
        "machine": machine(),
        "versions": versions(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--cost", type=int, metavar="REPEATS")
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--ham", type=Path)
    parser.add_argument("--split", type=Path)
    parser.add_argument("--isic", type=Path)
    parser.add_argument("--isic-split", type=Path)
    parser.add_argument("--isic-labels", type=Path, help="Table with `image_id` and `dx`.")
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--alpha", type=float, default=ALPHA, help="Largest p-value of an unfamiliar image.")
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.cost:
        report = cost(args.model, args.cost, args.work)
        args.out.write_text(json.dumps(report, indent=2) + "\n")
        print(json.dumps(report["more"], indent=2))
        return
    if args.ham is None or args.split is None:
        parser.error("--ham and --split are needed, or --cost")
    with args.split.open(newline="") as file:
        rows = list(csv.DictReader(file))
    model = load_model(args.model)
    parts: dict[str, Any] = {}
    for name in ("train", "val", "test"):
        own = [row for row in rows if row["split"] == name]
        images = [args.ham / f"{row['image_id']}.jpg" for row in own]
        found = measured(model, images, args.out.with_suffix(""), name)
        parts[name] = (found, [row["dx"] for row in own])
    held, dx = parts["val"]
    malignant = np.isin(np.asarray(dx)[held.rows], MALIGNANT)
    fitted = parts["train"][0]
    if args.isic_split is not None:
        images = isic_images(args, "train")
        fitted = joined(fitted, measured(model, images, args.out.with_suffix(""), "isic-train"))
    gate = fit_measured(model, fitted, held, malignant=malignant, alpha=args.alpha)
    report = evaluate(gate, model, args, parts)
    if args.bundle:
        write_gate(args.bundle, replace(gate, evidence={**gate.evidence, "measured": summary(report)}))
    args.out.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
