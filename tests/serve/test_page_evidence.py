"""The page with what stands beside a picture: entries and their shares, the gate, checks of maps, figures by subgroup."""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.metadata import fake_terms
from support.overlays import clean_lesion
from support.pictures import encode
from support.server import running

from skinclf.labels import HAM10000
from skinclf.models.bundle import read_spec, write_spec
from skinclf.models.class_decision import ClassDecision
from skinclf_cli.errors import PARTLY_FAILED
from skinclf_cli.main import run

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra `dev`)")
expect = sync_api.expect

MAP = 60_000
ANSWERED = "#rows tr:is([data-state=ok], [data-state=failed])"
NAMES = ("lesion-1.jpg", "lesion-2.jpg", "noise.png")
FIGURE = {"value": 0.9, "low": 0.8, "high": 0.95}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, gated_bundle):
    """A model with a gate, terms, operating points for both, and files of its evaluation; and three images."""
    place = tmp_path_factory.mktemp("evidence")
    model = Path(shutil.copytree(gated_bundle, place / "model"))
    spec = read_spec(model)
    point = {"n": 100, "tp": 18, "fn": 2, "tn": 60, "fp": 20}
    points = {"half": {"threshold": 0.5, **point}, "most": {"threshold": 0.2, **point}}
    terms = replace(
        fake_terms(spec),
        operating_points={"half": {"threshold": 0.45, **point}, "most": {"threshold": 0.15, **point}},
        default_operating_point="half",
    )
    write_spec(model, spec.replace(operating_points=points, default_operating_point="half", metadata=terms))
    identity = read_spec(model).identity.to_dict()
    row = {"n": 50, "n_positive": 9, "sensitivity": FIGURE, "specificity": FIGURE, "roc_auc": None}
    rows = [{"column": "age_band", "value": "60+", **row}, {"column": "sex", "value": "female", **row}]
    metrics = {
        "kind": "skinclf-metrics",
        "schema": 1,
        "model": identity,
        "data": {"labels_file": "labels.csv", "split": "test", "n": 100, "lesions": 80},
        "settings": {"confidence": 0.95},
        "threshold": {"value": 0.5},
        "subgroups": rows,
        "about": {"limitations": ["Two sites only."], "failure_modes": ["Ink."], "citation": "@article{a}"},
    }
    (model / "metrics.json").write_text(json.dumps(metrics))
    images = place / "images"
    images.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (150, 200, 3)).astype(np.uint8)
    for seed, name in enumerate(NAMES[:2]):
        (images / name).write_bytes(encode(clean_lesion(200 + seed, width=200, height=150), quality=95))
    (images / NAMES[2]).write_bytes(encode(noise, "PNG"))
    return place


@pytest.fixture(scope="module")
def address(folder):
    with running(folder / "model", workers=1, processes=False, allow_ungated=True) as server:
        yield server.url.rstrip("/")


def uploaded(page, folder):
    page.set_input_files("#files", [folder / "images" / name for name in NAMES])
    page.check("#confirm")
    expect(page.locator(ANSWERED)).to_have_count(3)
    expect(page.locator("#progress")).to_be_hidden()


def state_entries(page, *, age="", sex="", site=""):
    page.locator("#entries summary").click()
    page.fill("#entry-age", age)
    page.select_option("#entry-sex", sex)
    page.select_option("#entry-site", site)
    page.click("#entries-apply")


def test_entries_change_one_image_and_say_what_each_contributed(folder, address, open_page, tmp_path):
    page = open_page(address).page
    uploaded(page, folder)
    expect(page.locator("#chosen")).to_have_text("0.500half")
    page.click("#rows tr:nth-child(1) button")
    alone = page.locator("#detail .verdict .p").text_content()
    expect(page.locator("#entries")).not_to_have_attribute("open", "")
    assert page.locator("#entry-site option").all_text_contents()[:3] == ["not stated", "head/neck", "face"]
    expect(page.locator("#shares")).to_have_count(0)
    state_entries(page, age="70", sex="male", site="face")
    expect(page.locator("#shares tr")).to_have_count(5)
    expect(page.locator("#detail .verdict .p")).not_to_have_text(alone)
    expect(page.locator("#shares")).to_contain_text(f"picture alone: {alone.split()[-1]}")
    shown = [
        float(text.replace("\N{MINUS SIGN}", "-"))
        for text in page.locator("#shares .number").all_text_contents()
    ]
    assert sum(shown[:4]) == pytest.approx(shown[4], abs=0.03)
    assert min(shown[1:4]) > 0
    page.click("#detail-close")
    expect(page.locator("#rows tr:nth-child(1)")).to_contain_text("with age 70, male, face; picture alone")
    # The threshold is now the one of this name that was measured with metadata.
    expect(page.locator("#chosen")).to_have_text("0.450half")
    expect(page.locator("#fused")).to_contain_text("Measured with age, sex and site")
    (folder / "patients.csv").write_text("image,age,sex,site\nlesion-1.jpg,70,male,face\n")
    with page.expect_download() as waiting:
        page.click("#download")
    with contextlib.chdir(folder / "images"):
        options = ["--model", str(folder / "model"), "--gate", "refuse", "-o", str(tmp_path / "t.csv")]
        assert run(["predict", *NAMES, "--metadata", "../patients.csv", *options]) == PARTLY_FAILED
    assert waiting.value.path().read_bytes() == (tmp_path / "t.csv").read_bytes()
    page.click("#rows tr:nth-child(1) button")
    page.click("#entries-clear")
    expect(page.locator("#detail .verdict .p")).to_have_text(alone)
    expect(page.locator("#chosen")).to_have_text("0.500half")


def test_a_refused_image_says_why_and_is_shown_only_when_asked(folder, address, open_page):
    page = open_page(address).page
    uploaded(page, folder)
    refused = page.locator("#rows tr:nth-child(3)")
    expect(refused).to_contain_text("No probability.")
    expect(refused).to_contain_text("noticed: unfamiliar")
    refused.locator("button").click()
    expect(page.locator("#detail .gated")).to_contain_text("Familiarity")
    expect(page.locator("#detail")).not_to_contain_text("P(malignant)")
    page.click("#show-anyway")
    expect(page.locator("#ungated")).to_contain_text("The gate refuses this image")
    expect(page.locator("#detail .verdict")).to_contain_text("P(malignant)")
    expect(page.locator("#overlay")).to_be_visible(timeout=MAP)
    page.click("#detail-close")
    expect(refused).to_contain_text("unfit for this model: unfamiliar")


def test_a_server_that_refuses_offers_nothing_else(folder, open_page):
    with running(folder / "model", workers=1, processes=False) as server:
        page = open_page(server.url.rstrip("/")).page
        uploaded(page, folder)
        page.click("#rows tr:nth-child(3) button")
        expect(page.locator("#detail .gated")).to_contain_text("gives no probability of images that its gate")
        expect(page.locator("#show-anyway")).to_have_count(0)


def test_the_model_panel_shows_subgroups_limits_and_which_rule_names_a_class(folder, address, open_page):
    page = open_page(address).page
    expect(page.locator("#rule")).to_contain_text("the most probable class, whatever the threshold")
    page.click("#about-open")
    table = page.locator("#subgroups")
    expect(table).to_contain_text(
        "100 images of 80 lesions (labels.csv, test part), the picture alone, flagged from 0.500"
    )
    expect(table).to_contain_text("Skin type was not recorded")
    assert table.locator("tbody .group").all_text_contents() == ["Age", "Sex"]
    expect(table).to_contain_text("90.0 %80.0 to 95.0 %")
    about = page.locator("#about")
    for words in (
        "Two sites only.",
        "Ink.",
        "no class for squamous cell carcinoma or Merkel cell",
        "get no probability",
    ):
        expect(about).to_contain_text(words)
    expect(page.locator("#model-checks")).to_contain_text("were not checked")


def test_the_verdict_on_maps_stands_beside_the_map(folder, open_page):
    model = Path(shutil.copytree(folder / "model", folder / "checked"))
    number = {"value": 0.5, "low": 0.4, "high": 0.6}
    stage = {"down_to": "stem", "weights": 1.0, "ssim": number, "spearman": number, "flat": 0}
    found = {"images": 9, "pairs": 9, "baseline_ssim": number, "stages": [stage], "passed": False}
    content = {
        "kind": "skinclf-explanation-checks",
        "schema": 1,
        "model": read_spec(model).identity.to_dict(),
    }
    content |= {"method": "gradcam", "target": "malignant", "layer": "x", "randomisation": found}
    (model / "explanation.json").write_text(json.dumps(content))
    with running(model, workers=1, processes=False, runtime="torch") as server:
        page = open_page(server.url.rstrip("/")).page
        uploaded(page, folder)
        page.click("#rows tr:nth-child(1) button")
        expect(page.locator("#map-checks")).to_contain_text("failed 1 of 1 checks", timeout=MAP)
        expect(page.locator("#map-checks li")).to_have_text(
            "✗ The map depends on what the model learnt: failed"
        )
        page.locator("#map-checks summary").click()
        expect(page.locator("#map-checks")).to_contain_text("Randomised weights: failed.")


def test_rules_name_the_same_class_as_in_python(address, open_page):
    random = np.random.default_rng(3)
    p = random.dirichlet(np.ones(7), 40).astype(np.float32)
    costs = tuple(map(tuple, random.integers(0, 9, (7, 7)).astype(float)))
    rules = [
        ClassDecision(codes=HAM10000.codes, thresholds=(0.1, 0.2, 0.0, 0.4, 0.5, 0.6, 0.7)),
        ClassDecision(codes=HAM10000.codes, costs=costs),
    ]
    page = open_page(address).page
    script = """async ([rows, decision, labels]) => {
        const m = await import('/static/decision.js');
        return rows.map((row) => m.decided({ ...row, probability_malignant: 0.1 }, { value: 0.5, decision }, labels).index);
    }"""
    labels = [{"code": label.code, "name": label.name, "malignant": label.malignant} for label in HAM10000]
    rows = [{f"p_{c}": float(str(v)) for c, v in zip(HAM10000.codes, row, strict=True)} for row in p]
    for rule in (*rules, None):
        found = page.evaluate(script, [rows, None if rule is None else rule.to_dict(), labels])
        expected = p.argmax(axis=1) if rule is None else rule.decide(p)
        assert found == expected.tolist()
