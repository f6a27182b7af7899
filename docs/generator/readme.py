"""Blocks of README.md that are made from files: figures of the built-in models."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from generator import tables
from skinclf.models.registry import BUILTIN, DEFAULT, PublishedModel, list_models

#: A block between two comments; what stands in it is made.
_BLOCK = re.compile(
    r"(?P<head><!-- (?P<name>\w+): made by docs/generate\.py -->\n).*?(?P<tail><!-- end -->)", re.DOTALL
)


def pages() -> dict[str, str]:
    """README.md with its blocks of now."""
    text = (tables.ROOT / "README.md").read_text(encoding="utf-8")
    makers = {"figures": _figures}
    return {
        "../../README.md": _BLOCK.sub(lambda m: f"{m['head']}{makers[m['name']]()}{m['tail']}", text),
    }


def _figures() -> str:
    """One row for each figure, one column for each built-in model, the default first."""
    models = {m.name: m for m in list_models() if m.repo_id is None}
    names = sorted(models, key=lambda n: n != DEFAULT)
    metrics = {
        name: json.loads((tables.ROOT / "model_cards" / name / "metrics.json").read_text(encoding="utf-8"))
        for name in names
    }
    head = [f"`{name}`{' (default)' if name == DEFAULT else ''}" for name in names]
    rows = [[title, *(_cell(metrics[name], path) for name in names)] for title, *path in tables.FIGURES]
    rows += _other_cameras(names)
    facts = [model.file_facts() for model in (models[name] for name in names)]
    sizes = [f"{fact[0] / 1e6:.1f} MB" if fact else "" for fact in facts]
    lines = [["", *head], ["---"] * (1 + len(names)), *rows, ["size of the weights", *sizes]]
    table = "".join(f"| {' | '.join(line)} |\n".replace("|  |", "| |") for line in lines)
    data, settings = metrics[DEFAULT]["data"], metrics[DEFAULT]["settings"]
    rare = min(metrics[DEFAULT]["per_class"], key=lambda row: row["support"])
    aucs = [_of_class(metrics[name], rare["code"])["roc_auc"]["value"] for name in names]
    label = next(x["name"] for x in data["labels"] if x["code"] == rare["code"]).lower()
    return (
        f"{table}\n{data['n']:,} images of {data['lesions']:,} lesions; {settings['confidence']:.0%} intervals. "
        f"The macro ROC-AUC hangs on {label}\n"
        f"({_listed([f'{value:.2f}' for value in aucs])}, on {rare['support']} test images). ISIC 2017 are other "
        f"cameras and clinics: a third of its images,\nwhich no model was trained on.\n{_recipes(models)}"
    )


def _listed(words: list[str]) -> str:
    """Words as a sentence lists them."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _recipes(models: Mapping[str, PublishedModel]) -> str:
    """What each recipe averages, and where it is better or worse than the default."""
    told = []
    for name, model in models.items():
        if not model.members:
            continue
        config = json.loads((BUILTIN / name / "config.json").read_text(encoding="utf-8"))["skinclf"]
        sentences = config["training"].get("compared", {}).get("sentences", [])
        views = config["recipe"]["tta"]
        members = " and ".join(f"`{member}`" for member in model.members)
        told.append(f"\n`{name}` is the mean of {members} over the views `{views}`.\n" + "\n".join(sentences))
    return "\n".join(told) + ("\n" if told else "")


def _other_cameras(names: list[str]) -> list[list[str]]:
    """Rows of the test part of ISIC 2017, as the cards have them."""
    cards = [tables.ROOT / "model_cards" / name / "other-isic-2017.json" for name in names]
    metrics = [json.loads(card.read_text(encoding="utf-8")) for card in cards]
    rows = [
        [f"{title}, ISIC 2017", *(_cell(found, path) for found in metrics)]
        for title, *path in tables.FIGURES
        if path[0] in {"binary", "operating_point"} and path[-1] != "pr_auc"
    ]
    melanoma = [_cell(_of_class(found, "mel"), ["roc_auc"]) for found in metrics]
    return [*rows, ["ROC-AUC, melanoma, ISIC 2017", *melanoma]]


def _cell(metrics: Mapping[str, Any], path: list[str]) -> str:
    value: Any = metrics
    for key in path:
        value = value[key]
    return f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"


def _of_class(metrics: Mapping[str, Any], code: str) -> Any:
    return next(row for row in metrics["per_class"] if row["code"] == code)
