"""The cards that are committed: each is rendered from the evaluation beside it, and holds its figures."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image
from support.cards import cell, front_matter, percent

from skinclf.models.bundle import read_spec
from skinclf.models.registry import BUILTIN
from skinclf_training.publishing.card import DRAWN_FROM, make_card

ROOT = Path(__file__).parents[2]
RELEASED = sorted(path.parent for path in (ROOT / "model_cards").glob("*/metrics.json"))


@pytest.mark.parametrize("folder", RELEASED, ids=lambda path: path.name)
def test_a_committed_card_holds_its_committed_evaluation(folder):
    """Rendered anew from the shipped bundle and the committed metrics.json, nothing may differ."""
    committed = (folder / "README.md").read_text(encoding="utf-8")
    card = make_card(BUILTIN / folder.name, folder / "metrics.json")
    assert front_matter(committed) == front_matter(card.text)
    assert committed.split("---\n", 2)[2] == card.text.split("---\n", 2)[2]
    digest = hashlib.sha256((folder / "metrics.json").read_bytes()).hexdigest()
    assert card.figures
    for name in card.figures:
        with Image.open(folder / name) as image:
            assert image.text[DRAWN_FROM] == digest


@pytest.mark.parametrize("folder", RELEASED, ids=lambda path: path.name)
def test_the_headline_figures_of_a_committed_card(folder):
    """The same by hand, in case the template itself drifts."""
    metrics = json.loads((folder / "metrics.json").read_text())
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert cell(text, "Balanced accuracy") == percent(metrics["multiclass"]["balanced_accuracy"])
    auc = metrics["binary"]["roc_auc"]
    assert cell(text, "ROC-AUC").startswith(f"{auc['value']:.3f} ({auc['low']:.3f}")
    point = metrics["operating_point"]["image"]
    assert cell(text, f"{point['n']:,} images") == percent(point["sensitivity"])
    values = {e["name"]: e["value"] for e in front_matter(text)["model-index"][0]["results"][0]["metrics"]}
    assert values["Accuracy"] == metrics["multiclass"]["accuracy"]["value"]
    assert values["ROC-AUC, malignant"] == auc["value"]


def test_a_drifted_card_is_noticed(evaluated, tmp_path, monkeypatch):
    folder = tmp_path / "bundle"
    make_card(evaluated / "bundle", evaluated / "metrics.json").write(folder)
    monkeypatch.setattr(sys.modules[__name__], "BUILTIN", evaluated)
    test_a_committed_card_holds_its_committed_evaluation(folder)
    path = folder / "README.md"
    text = path.read_text(encoding="utf-8")
    figure = re.search(r"Balanced accuracy \| (\d)", text)
    path.write_text(
        text[: figure.start(1)] + str((int(figure[1]) + 1) % 10) + text[figure.end(1) :], encoding="utf-8"
    )
    with pytest.raises(AssertionError):
        test_a_committed_card_holds_its_committed_evaluation(folder)
    with pytest.raises(AssertionError):
        test_the_headline_figures_of_a_committed_card(folder)


@pytest.mark.parametrize("model", sorted(p.parent.name for p in BUILTIN.glob("*/config.json")))
def test_every_built_in_model_has_a_card(model):
    assert (ROOT / "model_cards" / model / "README.md").is_file()
    assert (ROOT / "model_cards" / model / "metrics.json").is_file()


RESNET = ROOT / "model_cards" / "skin-lesion-resnet50"


def test_the_recommended_card_repeats_what_its_author_published():
    reported = yaml.safe_load((RESNET / "reported.yaml").read_text(encoding="utf-8"))["reported"]
    text = (RESNET / "README.md").read_text(encoding="utf-8")
    assert f"threshold of {reported.pop('threshold')}" in text
    for name, value in reported.items():
        assert (f"{value:,}" if isinstance(value, int) else f"{value:.4f}") in text, name
    values = {e["type"]: e["value"] for e in front_matter(text)["model-index"][0]["results"][0]["metrics"]}
    assert values == {
        "accuracy": reported["accuracy"],
        "roc_auc": reported["roc_auc"],
        "average_precision": reported["pr_auc"],
        "precision": reported["precision"],
        "recall": reported["recall"],
    }
    assert "as its author published" in text


def test_the_confusion_matrix_that_its_metrics_imply():
    """Of all matrices of 1,505 images, exactly one rounds to the author's accuracy, precision and recall."""
    content = yaml.safe_load((RESNET / "reported.yaml").read_text(encoding="utf-8"))
    reported, implied = content["reported"], content["implied"]
    n, found = reported["n"], []

    def rounds(value: float, name: str) -> bool:
        return f"{value:.4f}" == f"{reported[name]:.4f}"

    for positives in range(1, n):
        near = round(reported["recall"] * positives)
        for tp in (
            t for t in (near - 1, near, near + 1) if 0 < t <= positives and rounds(t / positives, "recall")
        ):
            flagged = round(tp / reported["precision"])
            for fp in (f - tp for f in range(flagged - 2, flagged + 3)):
                tn = n - positives - fp
                if (
                    fp >= 0
                    and tn >= 0
                    and rounds(tp / (tp + fp), "precision")
                    and rounds((tp + tn) / n, "accuracy")
                ):
                    found.append((tp, positives - tp, fp, tn))
    assert found == [(implied["tp"], implied["fn"], implied["fp"], implied["tn"])]
    tp, fn, fp, tn = found[0]
    assert (tp, fn, fp, tn) == (232, 56, 221, 996)
    assert tp + fn == reported["malignant"]
    assert implied["specificity"] == round(tn / (tn + fp), 4)
    assert implied["npv"] == round(tn / (tn + fn), 4)
    text = (RESNET / "README.md").read_text(encoding="utf-8")
    assert "| malignant | 232 | 56 |" in text
    assert "| benign | 221 | 996 |" in text
    for name in ("specificity", "npv"):
        assert f"{implied[name]:.4f}" in text


def test_the_recommended_card_and_the_registry_agree():
    from skinclf.models.registry import get_model

    model = get_model("skin-lesion-resnet50")
    text = (RESNET / "README.md").read_text(encoding="utf-8")
    assert model.repo_id in text
    assert model.filename in text
    assert f"skinclf predict --model {model.name}" in text
    assert all(f"{mean:.6g}" in text for mean in model.preprocess().mean)


@pytest.mark.parametrize("model", sorted(p.parent.name for p in BUILTIN.glob("*/config.json")))
def test_the_card_of_a_built_in_model_compares_both_by_age_sex_and_site(model):
    spec = read_spec(BUILTIN / model)
    text = (ROOT / "model_cards" / model / "README.md").read_text(encoding="utf-8")
    if spec.recipe is not None and spec.metadata is None:
        assert "## Age, sex and site" not in text
        return
    comparison = spec.metadata.evidence["comparison"]
    assert comparison["split"] == "test"
    assert comparison["summary"] in text
    groups = {group["name"]: group for group in comparison["groups"]}
    assert {name.partition("=")[0] for name in groups} == {"all", "age", "sex", "site"}
    for kind in ("age", "sex", "site"):
        parts = [group for name, group in groups.items() if name.startswith(f"{kind}=")]
        assert sum(group["images"] for group in parts) == groups["all"]["images"]
    for name, group in groups.items():
        (row,) = (line for line in text.splitlines() if line.startswith(f"| {name} | {group['images']:,} |"))
        if group["verdict"] != "few":
            before, after, low, high = group["malignant_roc_auc"]
            assert f"{before:.3f} to {after:.3f} ({low:.3f} to {high:.3f})" in row
    worse = [name for name, group in groups.items() if group["verdict"] == "worse"]
    sentence = f"Worse beyond the interval: {', '.join(worse)}." if worse else "No subgroup is worse"
    assert sentence in comparison["summary"]
    # A group is worse where the whole interval of one of its differences lies below 0.
    for name, group in groups.items():
        below = [key for key, value in group.items() if isinstance(value, list) and value[3] < 0]
        assert bool(below) == (name in worse)
