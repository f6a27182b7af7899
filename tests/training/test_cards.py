"""Model cards: what is in them comes from the bundle and its evaluation, and from nowhere else."""

from __future__ import annotations

import hashlib
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from PIL import Image
from support.cards import cell, front_matter, percent
from support.metadata import fake_terms

from skinclf.errors import InvalidArgumentError, MismatchError
from skinclf.models.bundle import read_spec
from skinclf_training.publishing.card import DRAWN_FROM, make_card, read_evaluation, render_card
from skinclf_training.publishing.card_text import cards_dir, find_about, read_about

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def metrics(evaluated: Path) -> dict:
    return json.loads((evaluated / "metrics.json").read_text())


@pytest.fixture(scope="module")
def card(evaluated: Path):
    return make_card(evaluated / "bundle", evaluated / "metrics.json", repo_id="user/lesions")


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
