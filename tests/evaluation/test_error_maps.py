"""Maps of the most confident errors: of the model that answered, and of no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.colour_square import red_model, with_square

from skinclf.errors import InvalidArgumentError, MismatchError
from skinclf.evaluation.report.maps import error_maps
from skinclf.evaluation.report.page import write_report
from skinclf.explanation import Explainer


@pytest.fixture
def explainer() -> Explainer:
    return Explainer(red_model(), method="gradcam", runtime="torch", workers=0)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    found = {}
    for number in range(3):
        found[f"a{number}"] = tmp_path / f"a{number}.png"
        picture = with_square(64, 64, 8 + 12 * number, 20, 12 + 2 * number, seed=number)
        Image.fromarray(picture).save(found[f"a{number}"])
    found["gone"] = tmp_path / "gone.png"
    return found


def errors(explainer: Explainer, files: dict[str, Path], *, truth: bool = True) -> dict[str, Any]:
    """Metrics whose errors are the answers of the model, each said to be wrong."""
    rows: list[dict[str, Any]] = []
    for name, path in files.items():
        row = {
            "image": name,
            "positive": None,
            "probability": None,
            "predicted": "malignant",
            "confidence": 0.5,
        }
        row["truth"] = None
        if path.is_file():
            values = explainer.predictor.predict(path).probabilities
            row["predicted"] = max(values, key=lambda code: values[code])
            row["confidence"] = values[row["predicted"]]
        if truth:
            row["truth"] = "benign" if row["predicted"] == "malignant" else "malignant"
        rows.append(row)
    rows.sort(key=lambda row: -row["confidence"])
    kind = "confident" if truth else "missed"
    return {"errors": {"confident": [], "missed": [], "false_alarms": [], kind: rows}}


def test_the_answer_against_the_reference_is_explained(explainer, files):
    metrics = errors(explainer, files)
    found = error_maps(metrics, files, explainer, 4)
    first = metrics["errors"]["confident"][0]
    assert list(found) == [row["image"] for row in metrics["errors"]["confident"]]
    assert found[first["image"]].uri.startswith("data:image/jpeg;base64,")
    assert f"log-odds of {first['predicted']}" in found[first["image"]].words
    assert found["gone"].uri == ""
    assert found["gone"].words.startswith("No map: ")
    assert list(error_maps(metrics, files, explainer, 1)) == [first["image"]]


def test_without_reference_classes_the_explainers_own_target_is_taken(explainer, files):
    found = error_maps(errors(explainer, files, truth=False), files, explainer, 2)
    assert len(found) == 2
    assert all("log-odds of malignant" in one.words for one in found.values() if one.uri)


def test_predictions_of_another_model_are_refused(explainer, files):
    metrics = errors(explainer, files)
    metrics["errors"]["confident"][0]["confidence"] -= 0.1
    with pytest.raises(MismatchError, match="would belong to another model") as caught:
        error_maps(metrics, files, explainer, 3)
    assert caught.value.parameter == "model"
    metrics["errors"]["confident"][0]["predicted"] = "mel"
    with pytest.raises(MismatchError, match="has no such class"):
        error_maps(metrics, files, explainer, 3)


def test_maps_need_images_and_an_explainer(explainer, files, tmp_path):
    metrics = errors(explainer, files)
    for given in ({"images": files}, {"explainer": explainer}):
        with pytest.raises(InvalidArgumentError, match="need the images and an explainer"):
            write_report(metrics, tmp_path, explain=2, **given)
