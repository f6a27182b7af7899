"""Blocks about models: figures of the built-in ones from their bundles and cards, and of runs from their results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from generator.markdown import machine_of, table
from skinclf.models.registry import BUILTIN, DEFAULT, list_models

CARDS = Path(__file__).resolve().parents[2] / "model_cards"
_GAINS = {
    "malignant_roc_auc": "malignant ROC-AUC",
    "specificity_at_0.9_sensitivity": "specificity at 90 % sensitivity",
    "balanced_accuracy": "balanced accuracy",
}
_RATES = ("sensitivity", "specificity")
_ROWS = (
    ("ROC-AUC malignant", "binary", "roc_auc"),
    ("PR-AUC malignant", "binary", "pr_auc"),
    ("macro ROC-AUC", "multiclass", "roc_auc_macro"),
    ("balanced accuracy", "multiclass", "balanced_accuracy"),
    ("ECE, top label", "multiclass", "ece_top_label"),
    ("specificity at 90 % sensitivity", "binary", "specificity_at_sensitivity", "0.9"),
)


def builtin_models() -> list[str]:
    """Names of the models that come with skinclf, the default first."""
    return sorted((m.name for m in list_models() if m.repo_id is None), key=lambda name: name != DEFAULT)


def metadata_gains() -> str:
    """What metadata changes on the test part, and changed where its exponent was chosen."""
    rows, texts, images = [], [], 0
    for name in builtin_models():
        terms = _config(name).get("metadata")
        if not terms or "comparison" not in terms["evidence"]:
            continue
        comparison = terms["evidence"]["comparison"]
        whole = next(group for group in comparison["groups"] if group["name"] == "all")
        images = whole["images"]
        for number, (key, words) in enumerate(_GAINS.items()):
            before, after, low, high = whole[key]
            cells = [f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f} ({low:+.3f} to {high:+.3f})"]
            rows.append(["" if number else f"`{name}`", words, *cells])
        gain = terms["evidence"]["gains"]["malignant_roc_auc"]["difference"]
        worse = [group["name"] for group in comparison["groups"] if group["verdict"] == "worse"]
        named = ", ".join(f"`{group}`" for group in worse) or "none"
        texts.append(
            f"- `{name}`: on the validation part, whose lesions chose the exponent (cross-fitted), the gain in\n"
            f"  ROC-AUC was {gain['value']:+.3f} ({gain['low']:.3f} to {gain['high']:.3f}). Subgroups of the test\n"
            f"  part that get worse beyond their interval: {named}."
        )
    head = ("model", "figure", "picture", "with metadata", "difference")
    lead = (
        f"Built-in models on the lesion-grouped test part of HAM10000 ({images:,} images, 95 % intervals of the\n"
        "paired difference):\n\n"
    )
    return f"{lead}{table(head, rows).replace('|  |', '| |')}\n" + "\n".join(texts) + "\n"


def trained() -> str:
    """How the built-in models were trained, and how good they are on the test part."""
    rows = []
    for name in builtin_models():
        config = _config(name)
        if config.get("recipe"):
            continue
        metrics = json.loads((CARDS / name / "metrics.json").read_text(encoding="utf-8"))
        training, recipe = config["training"], config["training"]["config"]
        rows.append(
            [
                f"`{name}`",
                f"{recipe['augment']['size']}, then {config['preprocess']['height']}",
                f"{recipe['optim']['epochs']}, {training['seed']}",
                f"{training['minutes']} on {training['hardware']}",
                *(_estimate(metrics, path) for _, *path in _ROWS),
            ]
        )
    return table(("model", "pixels", "epochs, seed", "minutes on", *(words for words, *_ in _ROWS)), rows)


def configurations(results: Mapping[str, Any], page: Path) -> str:  # noqa: ARG001 - the form of all makers
    """Every configuration, briefly trained."""
    rows = [
        [
            f"`{row['name']}`",
            row["network"],
            str(row["steps"]),
            ", ".join(f"{loss:.3f}" for loss in row["losses"]),
            f"{row['val_macro_auc']:.3f}",
            f"{row['minutes']:.1f}",
        ]
        for row in results["rows"]
    ]
    head = (
        "configuration",
        "network",
        "steps",
        "training loss, first and last epoch",
        "validation macro ROC-AUC",
        "minutes",
    )
    return f"{machine_of(results)}\n\n{table(head, rows)}"


def preprocessing(results: Mapping[str, Any], page: Path) -> str:  # noqa: ARG001
    """What another decoder or resize moves."""
    rows = [
        [
            row["name"],
            f"{row['grey']:.2f}",
            f"{row['mean']:.3f}",
            f"{row['largest']:.2f}",
            str(row["changed"]),
        ]
        for row in results["rows"]
    ]
    head = (
        f"`{results['model']}`, torch, float32",
        "grey levels, mean",
        "P(malignant), mean",
        "P(malignant), largest",
        f"decisions changed, of {results['images']}",
    )
    text = f"Decisions at the model's default threshold, {results['threshold']:.3f}. {machine_of(results)}"
    return f"{text}\n\n{table(head, rows)}"


def folds(results: Mapping[str, Any], page: Path) -> str:  # noqa: ARG001
    """A cross-validation: figures of all images and of each fold, thresholds and what they do on the test part."""
    rows = [
        [
            row["figure"].replace("_", " "),
            "" if row["all"] is None else _interval(row["all"]),
            f"{row['mean']:.3f}",
            f"{row['std']:.3f}",
            *(f"{value:.3f}" for value in row["folds"]),
        ]
        for row in results["figures"]
    ]
    numbers = [f"fold {number}" for number in range(results["folds"])]
    head = ("figure", "all images (95 % interval)", "mean of folds", "standard deviation", *numbers)
    text = (
        f"{results['images']:,} images; {results['epochs']} epochs a fold, seed {results['seed']}, "
        f"{results['minutes']:.0f} minutes in all on {results['hardware']}."
    )
    return f"{text}\n\n{table(head, rows)}\n{_thresholds_of_folds(results)}"


def _thresholds_of_folds(results: Mapping[str, Any]) -> str:
    rows = [
        [
            "all of them" if row["fold"] is None else f"fold {row['fold']}",
            f"{row['malignant']:,}",
            f"{row['threshold']:.3f}",
            *(_interval(row[part][rate]) for part in ("left_out", "test") for rate in _RATES),
        ]
        for row in results["thresholds"]
    ]
    head = ("left-out images", "malignant", "threshold", *_RATES, *(f"{rate}, test part" for rate in _RATES))
    text = (
        f"Thresholds for a sensitivity of {100 * results['target_sensitivity']:.0f} % on the left-out images. "
        "On the test part, that of a fold is\n"
        "used with the model of that fold, that of all images with the mean of the models:"
    )
    return f"{text}\n\n{table(head, rows)}"


def distilled(results: Mapping[str, Any], page: Path) -> str:  # noqa: ARG001
    """The binary ResNet50 beside the published figures of the original."""
    text = (CARDS / "skin-lesion-resnet50" / "reported.yaml").read_text(encoding="utf-8")
    reported = yaml.safe_load(text)["reported"]
    rows = [
        [words, _interval(results["figures"][key]), f"{reported[name]:.3f}"]
        for words, key, name in (
            ("ROC-AUC", "roc_auc", "roc_auc"),
            ("PR-AUC", "pr_auc", "pr_auc"),
            ("accuracy", "accuracy", "accuracy"),
            ("recall (sensitivity)", "sensitivity", "recall"),
            ("precision", "ppv", "precision"),
        )
    ]
    head = (
        f"test part, threshold {results['threshold']}",
        f"here: {results['images']:,} images ({results['confidence']:.0%} interval)",
        f"published: {reported['n']:,} images",
    )
    return f"{machine_of(results)}\n\n{table(head, rows)}"


def _config(name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((BUILTIN / name / "config.json").read_text(encoding="utf-8"))
    own: Mapping[str, Any] = found["skinclf"]
    return own


def _estimate(metrics: Mapping[str, Any], path: list[str]) -> str:
    value: Any = metrics
    for key in path:
        value = (value or {}).get(key)
    return _interval(value) if value else ""


def _interval(value: Mapping[str, float]) -> str:
    return f"{value['value']:.3f} ({value['low']:.3f}-{value['high']:.3f})"


#: Name of a block to its maker, from the repository alone.
OWN = {"metadata gains": metadata_gains, "trained models": trained}
#: The same with the file of results.
BLOCKS = {
    "configurations": (configurations, "configurations.json"),
    "preprocessing": (preprocessing, "preprocessing.json"),
    "folds": (folds, "folds.json"),
    "distilled": (distilled, "resnet50-distilled.json"),
}
