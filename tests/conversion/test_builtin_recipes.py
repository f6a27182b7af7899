"""The recipes that ship with skinclf: their members are the measured ones, and everything that was fitted is theirs."""

from __future__ import annotations

import json

import pytest

from skinclf.conversion.verify import verify_model
from skinclf.decisions.held_out import read_held_out
from skinclf.images.synthetic import synthetic_lesion
from skinclf.inference.predictor import Predictor
from skinclf.models.combination import check_member
from skinclf.models.load import load_spec
from skinclf.models.registry import DEFAULT, get_model, list_models

RECIPES = [model.name for model in list_models() if model.folder is not None and model.members]


@pytest.mark.parametrize("name", RECIPES)
def test_its_members_are_those_that_were_measured(name):
    """Red after a member was released anew: run `python tools/best_recipe.py` (docs/training.md)."""
    spec = load_spec(name)
    assert spec.recipe is not None
    for member in spec.recipe.members:
        assert get_model(str(member.model)).folder is not None, "works offline"
        check_member(name, member, load_spec(member.model))


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_fitted_is_its_own(name):
    spec, default = load_spec(name), load_spec(DEFAULT)
    assert spec.calibration is not None
    assert spec.decision is not None
    assert spec.operating_points.keys() == default.operating_points.keys()
    held_out = read_held_out(model=name)
    point = spec.operating_points[str(spec.default_operating_point)]
    malignant = [label.code for label in spec.labels if label.malignant]
    score = held_out.joined.predictions.in_order(spec.labels)[:, [spec.labels.position(c) for c in malignant]]
    positive = held_out.joined.labels.truth(None, spec.labels).astype(bool)
    flagged = score.sum(axis=1, dtype="float32") >= point["threshold"]
    assert flagged[positive].sum() == point["tp"]
    assert flagged[~positive].sum() == point["fp"]


@pytest.mark.parametrize("name", RECIPES)
def test_it_is_used_by_its_name(name):
    known = get_model(name)
    facts = [get_model(member).file_facts() for member in known.members]
    assert known.file_facts() == tuple(map(sum, zip(*facts, strict=True)))
    assert json.loads(json.dumps(known.to_dict()))["members"] == list(known.members)
    predictor = Predictor(name, workers=0)
    assert predictor.threshold_from == f"operating point {predictor.spec.default_operating_point}"
    assert predictor.threshold_notices == ()
    assert predictor.predict(synthetic_lesion(0)).status == "ok"
    assert verify_model(name).ok
