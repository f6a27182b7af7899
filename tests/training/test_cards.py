"""Model cards: what is in them comes from the bundle and its evaluation, and from nowhere else."""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from PIL import Image
from support.metadata import fake_terms

from skinclf.errors import InvalidArgumentError, MismatchError
from skinclf.models.bundle import read_spec
from skinclf.models.registry import BUILTIN
from skinclf_training.publishing.card import DRAWN_FROM, make_card, read_evaluation, render_card
from skinclf_training.publishing.card_text import cards_dir, find_about, read_about

ROOT = Path(__file__).parents[2]
RELEASED = sorted(path.parent for path in (ROOT / "model_cards").glob("*/metrics.json"))


@pytest.fixture(scope="module")
def metrics(evaluated: Path) -> dict:
    return json.loads((evaluated / "metrics.json").read_text())


@pytest.fixture(scope="module")
def card(evaluated: Path):
    return make_card(evaluated / "bundle", evaluated / "metrics.json", repo_id="user/lesions")


def front_matter(text: str) -> dict:
    """As any reader of YAML sees it."""
    return yaml.safe_load(text.split("---\n")[1])


def cell(text: str, row: str, column: int = 1) -> str:
    line = next(line for line in text.splitlines() if line.startswith(f"| {row} |"))
    return line.split(" | ")[column].strip(" |")


def percent(item: dict) -> str:
    return f"{100 * item['value']:.1f}\u2009% ({100 * item['low']:.1f}\u2013{100 * item['high']:.1f})"


def test_front_matter(card, metrics):
    data = front_matter(card.text)
    assert data["license"] == "cc-by-nc-4.0"
    assert data["library_name"] == "timm"
    assert data["pipeline_tag"] == "image-classification"
    assert {"skinclf", "dermoscopy", "medical"} <= set(data["tags"])
    (model,) = data["model-index"]
    (result,) = model["results"]
    assert result["dataset"] == {"name": "HAM10000", "type": "ham10000", "split": "test"}
    values = {entry["name"]: entry["value"] for entry in result["metrics"]}
    assert values["Balanced accuracy"] == metrics["multiclass"]["balanced_accuracy"]["value"]
    assert values["Macro ROC-AUC"] == metrics["multiclass"]["roc_auc_macro"]["value"]
    assert values["ROC-AUC, malignant"] == metrics["binary"]["roc_auc"]["value"]
    point = metrics["operating_point"]["image"]
    assert values["Sensitivity, malignant, at threshold 0.3000, by image"] == point["sensitivity"]["value"]
    assert set(data["metrics"]) == {entry["type"] for entry in result["metrics"]}


def test_tables_hold_the_evaluation(card, metrics):
    overall, point = metrics["multiclass"], metrics["operating_point"]
    assert cell(card.text, "Balanced accuracy") == percent(overall["balanced_accuracy"])
    assert cell(card.text, "`mel`", 2) == percent(metrics["per_class"][4]["recall"])
    assert cell(card.text, "84 images") == percent(point["image"]["sensitivity"])
    assert cell(card.text, "42 lesions (max)", 2) == percent(point["lesion"]["specificity"])
    for row in metrics["subgroups"]:
        assert f": {row['value']} | {row['n']} | {row['n_positive']} |" in card.text
    slope = metrics["binary"]["slope"]
    assert cell(card.text, "Calibration slope").startswith(f"{slope['value']:.2f} ({slope['low']:.2f}")


def test_every_section_is_there(card):
    sections = re.findall(r"^## (.*)$", card.text, re.MULTILINE)
    assert sections == [
        "Classes",
        "Intended use",
        "Out of scope",
        "Get started",
        "Data, licence and split",
        "Preprocessing",
        "Results",
        "Operating points",
        "Calibration",
        "Subgroups",
        "Limitations and known failure modes",
        "Training procedure",
        "Environment",
        "Citation",
    ]
    assert "Not a medical device" in card.text
    assert "skinclf predict --model user/lesions" in card.text
    assert 'timm.create_model("hf-hub:user/lesions"' in card.text
    assert "`sensitivity_90` (default) | 0.3000" in card.text
    assert "no lesion or image of the test part is shared with: " in card.text


def test_the_folders_of_the_machine_stay_there(card):
    assert "weights.safetensors" in card.text
    assert "/home/somebody" not in card.text


def test_figures_are_beside_it(card, evaluated, tmp_path):
    names = {path.name for path in card.write(tmp_path / "out")}
    assert names == {"README.md", "metrics.json", "roc.png", "reliability.png", "confusion.png"}
    digest = hashlib.sha256((evaluated / "metrics.json").read_bytes()).hexdigest()
    for name, png in card.figures.items():
        assert f"]({name})" in card.text
        with Image.open(io.BytesIO(png)) as image:
            assert image.text[DRAWN_FROM] == digest
            assert min(image.size) > 300


CHECKED = {
    "kind": "skinclf-explanation-checks",
    "schema": 1,
    "method": "gradcam",
    "layer": "bn2",
    "target": "malignant",
    "failed": {},
    "masks": {
        "images": 12,
        "passed": True,
        "all": {
            name: {"map": {"value": 0.771, "low": 0.7, "high": 0.8}, "centre": {"value": 0.6}, "chance": 0.25}
            for name in ("pointing", "energy", "iou_0.5")
        },
    },
}


def test_checks_of_maps_stand_in_the_card_of_their_model(evaluated, metrics, tmp_path):
    bundle, beside = evaluated / "bundle", tmp_path / "metrics.json"
    beside.write_bytes((evaluated / "metrics.json").read_bytes())
    checks = tmp_path / "explanation.json"
    checks.write_text(json.dumps(CHECKED | {"model": metrics["model"]}))
    card = make_card(bundle, beside)
    assert "## Maps of where it is sensitive" in card.text
    assert "- Lesion masks: passed (12 images)." in card.text
    assert "in a share of 0.771 (0.700 to 0.800); a centred Gaussian 0.600, chance 0.250" in card.text
    card.write(tmp_path / "out")
    assert (tmp_path / "out" / "explanation.json").read_bytes() == checks.read_bytes()
    assert make_card(bundle, evaluated / "metrics.json", checks=checks).text == card.text
    checks.write_text(json.dumps(CHECKED | {"model": {**metrics["model"], "weights_sha256": "f" * 64}}))
    with pytest.raises(MismatchError, match="other weights"):
        make_card(bundle, beside)
    checks.write_text("{}")
    with pytest.raises(InvalidArgumentError, match="holds no checks"):
        make_card(bundle, beside)


SHIFTED = {
    "kind": "skinclf-robustness",
    "schema": 1,
    "threshold": 0.25,
    "split": "test",
    "images": 40,
    "malignant": 9,
    "confidence": 0.95,
    "summary": "The largest loss is that of gamma-1.4.",
    "shifts": [
        {"shift": "none", "sensitivity": 0.9, "specificity": 0.8, "roc_auc": 0.93, "differences": {}},
        {
            "shift": "gamma-1.4",
            "sensitivity": 0.85,
            "specificity": 0.75,
            "roc_auc": 0.91,
            "differences": {
                name: {"value": -0.05, "low": -0.1, "high": 0.01}
                for name in ("sensitivity", "specificity", "roc_auc")
            },
        },
    ],
}


def test_shifted_images_stand_in_the_card_of_their_model(evaluated, metrics, tmp_path):
    beside = tmp_path / "metrics.json"
    beside.write_bytes((evaluated / "metrics.json").read_bytes())
    path = tmp_path / "robustness.json"
    path.write_text(json.dumps(SHIFTED | {"model": metrics["model"]}))
    card = make_card(evaluated / "bundle", beside)
    assert "## Another camera" in card.text
    assert "| gamma-1.4 | 0.850 (-0.100 to 0.010) | 0.750" in card.text
    assert "at the frozen threshold 0.2500" in card.text
    card.write(tmp_path / "out")
    assert (tmp_path / "out" / "robustness.json").read_bytes() == path.read_bytes()
    path.write_text(json.dumps(SHIFTED | {"model": {**metrics["model"], "weights_sha256": "f" * 64}}))
    with pytest.raises(MismatchError, match="other weights"):
        make_card(evaluated / "bundle", beside)


def test_no_number_comes_from_elsewhere(evaluated, metrics):
    """With every figure of the evaluation replaced by 0.77 or 77, no other figure is left in the results."""

    def replaced(value):
        if isinstance(value, dict):
            return {key: replaced(item) for key, item in value.items()}
        if isinstance(value, list):
            return [replaced(item) for item in value]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return value
        return 77 if isinstance(value, int) else 0.77

    spec = read_spec(evaluated / "bundle").replace(operating_points={}, default_operating_point=None)
    text = render_card(spec, replaced(metrics), find_about(spec))
    results = text[text.index("## Results") : text.index("## Limitations")]
    results = re.sub(r"`[^`]*`|\((max|mean)\)|<40|40-59|60\+|at 80|at 90|at 95|PR-AUC|F1", "", results)
    found = set(re.findall(r"(?<![\w.])\d+(?:\.\d+)?", results.replace("0 |\n", "").replace("1 |\n", "")))
    assert found <= {
        "77",
        "77.0",
        "0.77",
        "0.770",
        "0.7700",
        "0.5",
        "0.3",
    }  # 0.3: the threshold as it was given


def test_it_says_when_a_leak_was_allowed_or_not_looked_for(evaluated, metrics):
    spec = read_spec(evaluated / "bundle")
    about = find_about(spec)
    leaky = metrics | {"leakage": metrics["leakage"] | {"found": ["Lesion L1 was trained on."]}}
    assert "**found, and the evaluation was told to go on.** Lesion L1" in render_card(spec, leaky, about)
    blind = metrics | {"leakage": metrics["leakage"] | {"compared_with": []}}
    assert "**not checked**" in render_card(spec, blind, about)


def test_a_two_label_model(two_label_bundle, evaluated, metrics):
    spec = read_spec(two_label_bundle).replace(training={"data": "HAM10000"})
    bare = metrics | {"multiclass": None, "per_class": [], "subgroups": []}
    text = render_card(spec, bare, find_about(spec))
    assert "Binary classifier" in text
    assert "no subgroup was looked at" in text
    assert "all classes" not in text
    assert front_matter(text)["license"] == "cc0-1.0"


def test_no_card_without_limitations(evaluated, tmp_path):
    content = yaml.safe_load((cards_dir() / "ham10000.yaml").read_text(encoding="utf-8"))
    for empty in ([], None, ["  "]):
        path = tmp_path / "about.yaml"
        path.write_text(yaml.safe_dump(content | {"limitations": empty}))
        with pytest.raises(InvalidArgumentError, match="limitations is empty"):
            make_card(evaluated / "bundle", evaluated / "metrics.json", about=path)


def test_no_card_for_data_that_nobody_described(evaluated, metrics):
    spec = read_spec(evaluated / "bundle")
    for training in ({}, {"data": "my clinic"}):
        with pytest.raises(InvalidArgumentError, match="`about`"):
            find_about(spec.replace(training=training))


def test_an_about_file_with_a_missing_or_unknown_key(tmp_path):
    content = yaml.safe_load((cards_dir() / "ham10000.yaml").read_text(encoding="utf-8"))
    path = tmp_path / "about.yaml"
    path.write_text(yaml.safe_dump(content | {"limits": ["none"]}))
    with pytest.raises(InvalidArgumentError, match="limits"):
        read_about(path)
    del content["citation"]
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(InvalidArgumentError, match="citation"):
        read_about(path)
    path.write_text("- just\n- a list\n")
    with pytest.raises(InvalidArgumentError, match="expected keys"):
        read_about(path)


def test_no_card_without_an_evaluation(evaluated, metrics, tmp_path):
    with pytest.raises(InvalidArgumentError, match="A card needs an evaluation"):
        make_card(evaluated / "bundle", tmp_path / "metrics.json")
    for content in ({"kind": "other"}, metrics | {"multiclass": None, "binary": None}):
        (tmp_path / "metrics.json").write_text(json.dumps(content))
        with pytest.raises(InvalidArgumentError):
            read_evaluation(tmp_path / "metrics.json")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, "does not record which model"),
        ({"weights_sha256": "0" * 64, "name": "other"}, "other weights"),
    ],
)
def test_no_card_from_the_evaluation_of_another_model(evaluated, metrics, tmp_path, model, message):
    (tmp_path / "metrics.json").write_text(json.dumps(metrics | {"model": model}))
    with pytest.raises(MismatchError, match=message):
        make_card(evaluated / "bundle", tmp_path / "metrics.json")


def test_the_command(evaluated, tmp_path):
    from skinclf_cli.main import run

    folder = tmp_path / "out"
    code = run(
        [
            "card",
            str(evaluated / "bundle"),
            "--metrics",
            str(evaluated / "metrics.json"),
            "--output",
            str(folder),
        ]
    )
    assert code == 0
    assert "skinclf predict --model bundle" in (folder / "README.md").read_text(encoding="utf-8")
    assert (
        run(["card", str(evaluated), "--metrics", str(evaluated / "metrics.json"), "--output", str(folder)])
        == 1
    )


# --- the cards that are committed --------------------------------------------------------------


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


# --- the card that skinclf recommends for the published ResNet50 --------------------------------

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


def test_what_metadata_changes_is_in_the_card(evaluated, metrics):
    spec = read_spec(evaluated / "bundle")
    about = find_about(spec)
    assert "## Age, sex and site" not in render_card(spec, metrics, about)
    groups = [
        {
            "name": "all",
            "images": 9,
            "malignant": 4,
            "verdict": "worse",
            "malignant_roc_auc": [0.9, 0.8, -0.15, -0.05],
        },
        {"name": "sex=female", "images": 3, "malignant": 1, "verdict": "few"},
    ]
    comparison = {
        "split": "test",
        "confidence": 0.95,
        "summary": "Worse beyond the interval: all.",
        "groups": groups,
    }
    evidence = {"term_lesions": 12, "held_out_images": 34}
    terms = replace(fake_terms(spec), evidence=evidence)
    text = render_card(spec.replace(metadata=terms), metrics, about)
    assert "They have not been compared on a test part" in text
    terms = replace(terms, evidence=evidence | {"comparison": comparison})
    text = render_card(spec.replace(metadata=terms), metrics, about)
    assert "Worse beyond the interval: all." in text
    assert "| all | 9 | 4 | 0.900 to 0.800 (-0.150 to -0.050) |" in text
    assert "| sex=female | 3 | 1 |  |  |  |" in text


@pytest.mark.parametrize("model", sorted(p.parent.name for p in BUILTIN.glob("*/config.json")))
def test_the_card_of_a_built_in_model_compares_both_by_age_sex_and_site(model):
    spec = read_spec(BUILTIN / model)
    text = (ROOT / "model_cards" / model / "README.md").read_text(encoding="utf-8")
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
