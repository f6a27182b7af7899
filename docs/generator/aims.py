"""The block of aims: what the default model should reach, beside what its card holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from generator.markdown import table
from skinclf.models.registry import DEFAULT

CARD = Path(__file__).resolve().parents[2] / "model_cards" / DEFAULT
OTHER = "other-isic-2017.json"
#: Figure, where it stands in `metrics.json`, aim, and which side of it is good.
_TEST = (
    ("ROC-AUC, malignant", ("binary", "roc_auc"), 0.945, "at least"),
    ("PR-AUC, malignant", ("binary", "pr_auc"), 0.84, "at least"),
    ("specificity at 90 % sensitivity", ("binary", "specificity_at_sensitivity", "0.9"), 0.83, "at least"),
    ("sensitivity at the stored threshold", ("operating_point", "image", "sensitivity"), 0.9, "at least"),
    ("macro ROC-AUC", ("multiclass", "roc_auc_macro"), 0.955, "at least"),
    ("balanced accuracy", ("multiclass", "balanced_accuracy"), 0.77, "at least"),
    ("recall of melanoma", ("per_class", "mel", "recall"), 0.65, "at least"),
    ("ECE, top label", ("multiclass", "ece_top_label"), 0.03, "at most"),
)
_OTHER = (
    ("ROC-AUC, melanoma", ("per_class", "mel", "roc_auc"), 0.83, "at least"),
    ("sensitivity at the stored threshold", ("operating_point", "image", "sensitivity"), 0.85, "at least"),
)
#: Images per second of whole runs on two cores, without the gate.
_SPEED = 80
SPEED = Path(__file__).resolve().parents[1] / "measured" / "builtin-models.json"
#: Figures of the cross-validation, over all left-out images.
FOLDS = Path(__file__).resolve().parents[1] / "measured" / "folds.json"
#: Largest loss of sensitivity that a shift of the picture may cost.
_SHIFT = 0.05


def aims() -> str:
    """Every aim of the default model with the measured figure, its interval and whether it is met."""
    test, other, robustness = (_card(name) for name in ("metrics.json", OTHER, "robustness.json"))
    folds = json.loads(FOLDS.read_text(encoding="utf-8"))
    rows = [_row("HAM10000, test part", test, folds["metrics"], *aim) for aim in _TEST]
    rows += [_row("ISIC 2017, kept third", other, {}, *aim) for aim in _OTHER]
    rows.append(_speed())
    rows += [_shift(shift) for shift in robustness["shifts"] if shift["shift"] != "none"]
    lead = (
        f"`{DEFAULT}`, one model without further views; {test['data']['n']:,} and {other['data']['n']:,} images,\n"
        "95 % intervals by lesion. Beside them what a shorter training of the same network reaches out of fold, on\n"
        f"{folds['images']:,} images ([folds](../training.md#folds)):\n\n"
    )
    return lead + table(("pictures", "figure", "aim", "measured", "met", "out of fold"), rows)


def _row(
    pictures: str,
    metrics: Mapping[str, Any],
    folds: Mapping[str, Any],
    words: str,
    path: tuple[str, ...],
    aim: float,
    side: str,
) -> list[str]:
    value = _at(metrics, path)
    met = value["value"] >= aim if side == "at least" else value["value"] <= aim
    beside = _interval(_at(folds, path)) if path[1] in folds.get(path[0], {}) else ""
    return [pictures, words, f"{side} {aim:g}", _interval(value), "yes" if met else "no", beside]


def _at(metrics: Mapping[str, Any], path: tuple[str, ...]) -> Mapping[str, float]:
    value: Any = metrics
    for key in path:
        value = next(c for c in value if c["code"] == key) if isinstance(value, list) else value[key]
    found: Mapping[str, float] = value
    return found


def _interval(value: Mapping[str, float]) -> str:
    return f"{value['value']:.3f} ({value['low']:.3f}-{value['high']:.3f})"


def _speed() -> list[str]:
    found = json.loads(SPEED.read_text(encoding="utf-8"))
    rate = next(row for row in found["models"] if row["model"] == DEFAULT)["images_per_s"]["without"]
    measured = f"{rate['median']:.1f} ({rate['low']:.1f}-{rate['high']:.1f})"
    words, cores = "images a second, start-up included", found["machine"]["cores"]
    met = "yes" if rate["median"] >= _SPEED else "no"
    return [f"600 x 450 JPEGs, {cores} cores", words, f"at least {_SPEED}", measured, met, ""]


def _shift(shift: Mapping[str, Any]) -> list[str]:
    change = shift["differences"]["sensitivity"]
    measured = f"{change['value']:+.3f} ({change['low']:+.3f} to {change['high']:+.3f})"
    met = "yes" if abs(change["value"]) <= _SHIFT else "no"
    words = f"change of sensitivity under `{shift['shift']}`"
    return ["HAM10000, test part", words, f"within {_SHIFT:g}", measured, met, ""]


def _card(name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((CARD / name).read_text(encoding="utf-8"))
    return found


#: Name of a block to its maker, from the repository alone.
OWN = {"aims": aims}
