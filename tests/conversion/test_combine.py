"""A recipe is a bundle of members: its numbers are their mean, and nothing but the very members answers for it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skinclf.conversion.combine import combine
from skinclf.conversion.export import export_model
from skinclf.conversion.verify import verify_model
from skinclf.decisions.threshold_file import Threshold, resolve_threshold
from skinclf.decisions.thresholds import tune_threshold
from skinclf.errors import InvalidArgumentError, MismatchError, ModelError, OutputError
from skinclf.images.preprocess import scaling
from skinclf.inference.predictor import Predictor
from skinclf.labels import HAM10000
from skinclf.models.bundle import read_spec, write_spec
from skinclf.models.class_decision import ClassDecision
from skinclf.models.load import load_model, load_spec
from skinclf.models.probabilities import Calibration, probabilities

FAST = {"runtime": "torch", "device": "cpu", "workers": 0}


@pytest.fixture
def members(tmp_path, bundle_factory, tiny_bundle):
    """Two bundles side by side, each with a default operating point and a rule for the predicted class."""
    rule = ClassDecision(codes=HAM10000.codes, thresholds=(0.9, 0.9, 0.9, 0.9, 1e-6, 0.9, 0.9))
    point = {"operating_points": {"s": {"threshold": 0.01}}, "default_operating_point": "s", "decision": rule}
    first = Path(shutil.copytree(tiny_bundle, tmp_path / "a"))
    write_spec(first, read_spec(first).replace(name="a", **point))
    bundle_factory(tmp_path / "b", HAM10000, scaling("torch", height=48, width=48), seed=5, **point)
    return first, tmp_path / "b"


def values(predictor, image):
    return np.asarray(predictor.predict(image).values)


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_a_recipe_gives_the_numbers_of_its_members_by_weight_and_view(
    members, tmp_path, synthetic_image, runtime
):
    written = combine(members, tmp_path / "best", weights=[3, 1], tta="flips", name="best")
    fast = {**FAST, "runtime": runtime}
    recipe = Predictor(tmp_path / "best", **fast)
    each = [values(Predictor(m, tta="flips", **fast), synthetic_image) for m in members]
    np.testing.assert_allclose(values(recipe, synthetic_image), 0.75 * each[0] + 0.25 * each[1], atol=1e-6)
    joined = Predictor(members, weights=[6, 2], tta="flips", **fast)
    assert recipe.fingerprint == joined.fingerprint
    assert recipe.spec.identity.differences(joined.spec.identity) == ()
    assert not list((tmp_path / "best").glob("*.safetensors"))
    assert load_spec(tmp_path / "best").fingerprint == written.fingerprint


def test_views_of_one_model_are_a_recipe_and_one_view_is_none(members, tmp_path, synthetic_image):
    combine(members[:1], tmp_path / "turned", tta="d4")
    turned = Predictor(tmp_path / "turned", **FAST)
    np.testing.assert_array_equal(
        values(turned, synthetic_image), values(Predictor(members[0], tta="d4", **FAST), synthetic_image)
    )
    with pytest.raises(ModelError, match="several models, or views"):
        combine(members[:1], tmp_path / "one")


def test_no_operating_point_and_no_rule_of_a_member_decides_for_the_whole(members, synthetic_image):
    one = Predictor(members[0], **FAST)
    assert (one.threshold, one.threshold_from) == (0.01, "operating point s")
    assert one.decision is not None
    for whole in (Predictor(members[0], tta="flips", **FAST), Predictor(members, **FAST)):
        assert (whole.threshold, whole.threshold_from, whole.decision) == (0.5, "more probable side", None)
        assert "No threshold was measured" in whole.threshold_notices[0]
        found = whole.predict(synthetic_image)
        assert found.index == int(np.argmax(found.values))
        with pytest.raises(InvalidArgumentError, match=r"operating points \(none\)"):
            resolve_threshold("s", whole.spec)
        assert whole.with_threshold(0.2).threshold_from == "stated"


def test_a_recipe_has_a_calibration_points_and_a_rule_of_its_own(members, tmp_path, synthetic_image):
    folder = tmp_path / "best"
    plain = combine(members, folder)
    before = values(Predictor(folder, **FAST), synthetic_image)
    rule = ClassDecision(codes=HAM10000.codes, thresholds=(1e-6, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9))
    calibration = Calibration("temperature", (2.0,))
    points = {"s90": {"threshold": 0.2}}
    write_spec(
        folder,
        plain.replace(
            calibration=calibration, operating_points=points, default_operating_point="s90", decision=rule
        ),
    )
    predictor = Predictor(folder, **FAST)
    expected = probabilities(before[None], "identity", calibration)[0]
    assert np.abs(expected - before).max() > 0.01
    np.testing.assert_allclose(values(predictor, synthetic_image), expected, atol=1e-6)
    assert (predictor.threshold, predictor.threshold_from) == (0.2, "operating point s90")
    assert predictor.threshold_notices == ()
    assert predictor.predict(synthetic_image).label == HAM10000.codes[0]
    # A threshold of the recipe before its calibration does not fit it any more.
    point = tune_threshold([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], target_sensitivity=0.9)
    stale = Threshold.of(point, name="x", model=plain)
    assert stale.check(plain) == ()
    with pytest.raises(MismatchError, match="other calibration"):
        stale.check(predictor.spec)


@pytest.mark.parametrize("change", ["weights", "preprocess", "calibration", "damaged", "gone"])
def test_a_changed_member_is_refused_in_one_sentence(members, tmp_path, bundle_factory, change):
    combine(members, tmp_path / "best")
    victim = members[1]
    spec = read_spec(victim)
    if change == "weights":
        shutil.rmtree(victim)
        bundle_factory(victim, HAM10000, spec.preprocess, seed=6)
    elif change == "preprocess":
        write_spec(victim, spec.replace(preprocess=scaling("tf", height=48, width=48)))
    elif change == "calibration":
        write_spec(victim, spec.replace(calibration=Calibration("temperature", (0.5,))))
    elif change == "damaged":
        file = victim / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    else:
        shutil.rmtree(victim)
    error = ModelError if change in {"damaged", "gone"} else MismatchError
    words = {"damaged": "SHA-256", "gone": "member ../b cannot be loaded"}
    said = words.get(change, rf"best: its member \.\./b has changed .*other {change}")
    with pytest.raises(error, match=said):
        Predictor(tmp_path / "best", **FAST)


def test_a_recipe_changed_by_hand_is_refused(members, tmp_path):
    combine(members, tmp_path / "best")
    path = tmp_path / "best" / "config.json"
    config = json.loads(path.read_text())
    config["skinclf"]["recipe"]["weights"] = [0.9, 0.1]
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match="changed by hand"):
        load_spec(tmp_path / "best")


def test_what_cannot_be_combined_is_refused(members, two_label_bundle, tmp_path, bundle_factory):
    a, b = members
    combine(members, tmp_path / "best")
    with pytest.raises(ModelError, match="is a recipe itself"):
        combine([tmp_path / "best", a], tmp_path / "nested")
    with pytest.raises(InvalidArgumentError, match="same classes"):
        combine([a, two_label_bundle], tmp_path / "mixed")
    with pytest.raises(InvalidArgumentError, match="one weight per model"):
        combine(members, tmp_path / "w", weights=[1])
    with pytest.raises(ModelError, match="positive weight"):
        combine(members, tmp_path / "w", weights=[1, 0])
    with pytest.raises(InvalidArgumentError, match="expected none, flips"):
        combine(members, tmp_path / "w", tta="d5")
    bundle_factory(tmp_path / "wide", HAM10000, scaling("torch", height=48, width=64), seed=8)
    with pytest.raises(InvalidArgumentError, match="turns an input of 48 x 64"):
        combine([a, tmp_path / "wide"], tmp_path / "w", tta="d4")
    with pytest.raises(OutputError, match="not empty"):
        combine(members, b)
    assert not (tmp_path / "w").exists()
    for options in ({"tta": "flips"}, {"weights": [1.0]}):
        with pytest.raises(InvalidArgumentError, match="states its weights and views itself"):
            Predictor(tmp_path / "best", **FAST, **options)
    with pytest.raises(InvalidArgumentError, match="cannot be a member"):
        Predictor([tmp_path / "best", a], **FAST)


def test_what_needs_one_network_names_the_members(members, tmp_path):
    combine(members, tmp_path / "best", name="best")
    loaded = load_model(tmp_path / "best")
    asked = (
        lambda: export_model(loaded, tmp_path / "x.onnx", format="onnx"),
        loaded.torch_network,
        lambda: Predictor(loaded, embeddings=True, **FAST),
    )
    for ask in asked:
        with pytest.raises(
            ModelError, match="has no network of its own; name one of its members instead: a, b"
        ):
            ask()
    with pytest.raises(InvalidArgumentError, match="one model on one view"):
        Predictor(loaded, gate="mark", **FAST)


def test_the_golden_samples_of_every_member_are_replayed(members, tmp_path):
    combine(members, tmp_path / "best", name="best")
    report = verify_model(tmp_path / "best")
    assert report.ok
    assert (report.name, [check.file for check in report.checks]) == (
        "best",
        ["a/golden/sample.png", "b/golden/sample.png"],
    )
    spec = read_spec(members[1])
    other = replace(spec.golden[0], probabilities=spec.golden[0].probabilities[::-1])
    write_spec(members[1], spec.replace(golden=(other,)))
    assert [check.ok for check in verify_model(tmp_path / "best").checks] == [True, False]


def test_a_recipe_inherits_what_its_members_were_trained_on_where_they_agree(members, tmp_path):
    for folder, split in zip(members, ("x", "y"), strict=True):
        write_spec(folder, read_spec(folder).replace(training={"data": "HAM10000", "split_sha256": split}))
    assert combine(members, tmp_path / "best").training == {"data": "HAM10000"}


def test_built_in_members_are_named_and_the_folder_may_move(tmp_path):
    spec = combine(["ham10000-mobilenetv2", "ham10000-efficientnet-lite0"], tmp_path / "best")
    assert spec.recipe is not None
    assert [member.model for member in spec.recipe.members] == [
        "ham10000-mobilenetv2",
        "ham10000-efficientnet-lite0",
    ]
    shutil.move(tmp_path / "best", tmp_path / "elsewhere")
    loaded = load_model(tmp_path / "elsewhere")
    assert [member.spec.name for member in loaded.members] == [
        "ham10000-mobilenetv2",
        "ham10000-efficientnet-lite0",
    ]
