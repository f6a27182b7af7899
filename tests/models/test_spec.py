"""The contract of a model: complete or refused."""

from __future__ import annotations

import json
import math

import pytest

from skinclf import __version__
from skinclf.errors import ModelError
from skinclf.images.enhance import Step
from skinclf.images.preprocess import Preprocess, scaling
from skinclf.labels import HAM10000, MALIGNANT
from skinclf.models.class_decision import ClassDecision
from skinclf.models.probabilities import Calibration
from skinclf.models.spec import MAX_CONFIG_BYTES, Golden, ModelSpec, read_config


def full_spec(**changes) -> ModelSpec:
    """Every field away from its default."""
    fields = {
        "name": "skin/model",
        "architecture": "mobilenetv2_100",
        "labels": HAM10000,
        "preprocess": scaling("torch", height=192, width=256, steps=(Step("jpeg", {"quality": 90}),)),
        "activation": "identity",
        "model_args": {"drop_rate": 0.1},
        "calibration": Calibration("vector", (1.1,) * 7, (0.1,) * 7),
        "operating_points": {"sensitivity_90": {"threshold": 0.2, "n": 300}, "youden": {"threshold": 0.4}},
        "default_operating_point": "youden",
        "decision": ClassDecision(codes=HAM10000.codes, thresholds=(0.1, 0.2, 0.3, 0.05, 0.25, 0.6, 0.07)),
        "golden": (Golden("golden/a.png", (0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1), 1e-4, "torch"),),
        "training": {"seed": 7, "split_sha256": "abc"},
        "license": "CC-BY-NC-4.0",
        "domain": "dermoscopy",
        "weights_sha256": "0" * 64,
    }
    return ModelSpec(**{**fields, **changes})


def read_back(spec: ModelSpec, **changes) -> ModelSpec:
    config = json.loads(json.dumps(spec.to_config()))
    return ModelSpec.from_config({**config, **changes}, source=spec.source)


def changed(spec: ModelSpec, **changes) -> dict:
    """Config of a spec with some keys of the skinclf block changed; `...` removes a key."""
    config = json.loads(json.dumps(spec.to_config()))
    for key, value in changes.items():
        if value is ...:
            del config["skinclf"][key]
        else:
            config["skinclf"][key] = value
    return config


def test_round_trip_keeps_every_field():
    spec = full_spec()
    assert read_back(spec) == spec
    minimal = ModelSpec("m", "resnet18", HAM10000, Preprocess())
    assert read_back(minimal) == minimal


def test_source_and_revision_come_from_where_it_was_read():
    spec = ModelSpec.from_config(full_spec().to_config(), source="me/model", revision="a" * 40)
    assert (spec.source, spec.revision) == ("me/model", "a" * 40)


def test_top_level_keys_are_timms_and_ours_are_in_one_block():
    config = full_spec().to_config()
    assert set(config) == {
        "architecture",
        "num_classes",
        "label_names",
        "label_descriptions",
        "model_args",
        "pretrained_cfg",
        "skinclf",
    }
    assert config["num_classes"] == 7
    assert config["label_names"] == list(HAM10000.codes)
    assert config["skinclf"]["skinclf_version"] == __version__


def test_pretrained_cfg_has_only_keys_that_timm_knows_and_says_the_same_preprocessing():
    models = pytest.importorskip("timm.models")
    spec = full_spec(preprocess=scaling("tf", height=96, width=96, fit="crop", crop_pct=0.875))
    cfg = models.PretrainedCfg(**spec.to_config()["pretrained_cfg"])
    assert cfg.input_size == [3, 96, 96]
    assert (cfg.crop_pct, cfg.crop_mode, cfg.interpolation) == (0.875, "center", "bilinear")
    # x / 127.5 - 1 is (x / 255 - 0.5) / 0.5
    assert cfg.mean == pytest.approx((0.5, 0.5, 0.5))
    assert cfg.std == pytest.approx((0.5, 0.5, 0.5))


@pytest.mark.parametrize(("fit", "mode"), [("squash", "squash"), ("pad", "border")])
def test_crop_pct_is_only_told_to_timm_when_something_is_cropped(fit, mode):
    cfg = full_spec(preprocess=Preprocess(fit=fit, crop_pct=0.5)).to_config()["pretrained_cfg"]
    assert (cfg["crop_mode"], cfg["crop_pct"]) == (mode, 1.0)


def test_own_architectures_have_no_pretrained_cfg():
    assert "pretrained_cfg" not in full_spec(architecture="skinclf/keras_resnet50").to_config()


def test_outputs_and_threshold():
    assert full_spec().num_outputs == 7
    assert full_spec().threshold == 0.4
    assert full_spec(default_operating_point=None).threshold == 0.5
    two = ModelSpec("m", "resnet18", MALIGNANT, Preprocess(), activation="sigmoid")
    assert two.num_outputs == 1
    assert two.to_config()["num_classes"] == 1
    assert read_back(two) == two


@pytest.mark.parametrize(
    "change",
    [
        {"weights_sha256": "1" * 64},
        {"preprocess": Preprocess()},
        {"labels": HAM10000.__class__("ham10000", tuple(reversed(HAM10000.labels)))},
        {"calibration": None},
    ],
)
def test_fingerprint_changes_with_what_decides_the_numbers(change):
    assert full_spec(**change).fingerprint != full_spec().fingerprint


@pytest.mark.parametrize("change", [{"name": "other"}, {"license": "MIT"}, {"training": {}}, {"source": "x"}])
def test_fingerprint_ignores_what_does_not(change):
    assert full_spec(**change).fingerprint == full_spec().fingerprint


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"activation": "relu"}, "activation"),
        ({"activation": "sigmoid"}, "two labels"),
        ({"default_operating_point": "other"}, "not among them"),
        ({"operating_points": {"a": {}}, "default_operating_point": None}, "finite threshold"),
        (
            {"operating_points": {"a": {"threshold": math.nan}}, "default_operating_point": None},
            "finite threshold",
        ),
        (
            {"operating_points": {"a": {"threshold": "0.5"}}, "default_operating_point": None},
            "finite threshold",
        ),
        ({"calibration": Calibration("vector", (1.0,) * 6)}, "7 factors"),
        ({"calibration": Calibration("vector", (1.0,) * 7, (0.0,) * 3)}, "3 offsets"),
        ({"calibration": Calibration("temperature", (1.0, 2.0))}, "1 factors"),
        ({"golden": (Golden("a.png", (0.5, 0.5), 1e-4, "x"),)}, "2 of 7"),
    ],
)
def test_impossible_specs_are_refused(change, words):
    with pytest.raises(ModelError, match=words):
        full_spec(**change)


@pytest.mark.parametrize("file", ["/etc/passwd", "../other/a.png", "golden/../../a.png", "..\\a.png", ""])
def test_a_golden_sample_stays_inside_its_bundle(file):
    with pytest.raises(ModelError, match="inside its bundle"):
        Golden(file, (0.5, 0.5), 1e-4, "x")


@pytest.mark.parametrize(
    ("probabilities", "tolerance"), [((math.nan, 0.5), 1e-4), ((0.5, 0.5), 0.0), ((0.5, 0.5), math.inf)]
)
def test_a_golden_sample_that_anything_passes_is_refused(probabilities, tolerance):
    with pytest.raises(ModelError, match="finite"):
        Golden("a.png", probabilities, tolerance, "x")


@pytest.mark.parametrize("key", ["name", "taxonomy", "labels", "activation", "preprocess"])
def test_missing_parts_of_the_contract_are_refused(key):
    with pytest.raises(ModelError):
        ModelSpec.from_config(changed(full_spec(), **{key: ...}), source="somewhere")


@pytest.mark.parametrize("key", ["architecture", "num_classes"])
def test_missing_top_level_keys_are_refused(key):
    config = full_spec().to_config()
    del config[key]
    with pytest.raises(ModelError, match="somewhere"):
        ModelSpec.from_config(config, source="somewhere")


@pytest.mark.parametrize("block", [None, [], "x", 3])
def test_a_config_without_our_block_says_what_to_state(block):
    config = {"architecture": "resnet18", "num_classes": 7, "label_names": ["a"] * 7, "skinclf": block}
    with pytest.raises(ModelError, match="`labels` and `preprocess`"):
        ModelSpec.from_config(config, source="somewhere")


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"schema": None},
        {"schema": "1"},
        {"min_version": "999.0.0"},
        {"min_version": "1000"},
    ],
)
def test_newer_schemas_ask_for_an_update(change):
    with pytest.raises(ModelError, match="Update skinclf"):
        ModelSpec.from_config(changed(full_spec(), **change), source="somewhere")


@pytest.mark.parametrize(
    "change",
    [
        {"labels": 3},
        {"min_version": "soon"},
        {"labels": [{"code": "a"}]},
        {"preprocess": {}},
        {"preprocess": None},
        {"activation": None},
        {"activation": []},
        {"operating_points": {"a": 3}},
        {"operating_points": [1]},
        {"golden": 3},
        {"golden": [{"file": "a"}]},
        {"golden": [{"file": "a", "probabilities": "x", "tolerance": 1, "source": ""}]},
        {"calibration": {"method": "vector"}},
        {"calibration": "none"},
        {"training": 3},
        {"default_operating_point": "nobody"},
        {"default_operating_point": ["youden"]},
    ],
)
def test_malformed_blocks_are_refused(change):
    with pytest.raises(ModelError):
        ModelSpec.from_config(changed(full_spec(), **change), source="somewhere")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_classes": 8}, "num_classes is 8"),
        ({"num_classes": None}, "num_classes is None"),
        ({"label_names": list(reversed(HAM10000.codes))}, "label_names"),
        ({"label_names": 7}, "label_names"),
        ({"model_args": 3}, "malformed"),
    ],
)
def test_contradictions_are_refused(change, words):
    with pytest.raises(ModelError, match=words):
        read_back(full_spec(), **change)


# --- config.json ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not readable as JSON"),
        (b"{", "not readable as JSON"),
        (b"\xff\xfe", "not readable as JSON"),
        (b"[" * 100_000, "not readable as JSON"),
        (b"[1]", "expected a JSON object, found list"),
        (b'"text"', "found str"),
        (b" " * (MAX_CONFIG_BYTES + 1), "no model configuration"),
    ],
    ids=["empty", "cut", "binary", "deep", "list", "string", "large"],
)
def test_files_that_are_no_configuration(tmp_path, data, words):
    path = tmp_path / "config.json"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=words):
        read_config(path)


def test_a_missing_configuration(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        read_config(tmp_path / "config.json")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ModelError):
        read_config(tmp_path / "folder")


def test_a_rule_for_other_classes_is_refused_and_another_order_is_not():
    rule = full_spec().decision
    turned = rule.in_order(tuple(reversed(HAM10000.codes)))
    assert full_spec(decision=turned).decision == rule
    with pytest.raises(ModelError, match="Rule for the predicted class"):
        full_spec(decision=ClassDecision(codes=("a", "b"), thresholds=(0.1, 0.2)))
    with pytest.raises(ModelError, match="decision among classes needs"):
        ModelSpec.from_config(changed(full_spec(), decision={"rule": "class_thresholds"}), source="x")
