"""What the gate refuses, what was measured of a model, and which rule names a class: as the API tells it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.overlays import clean_lesion
from support.pictures import encode
from support.server import Running, running

from skinclf.errors import InvalidArgumentError
from skinclf.inference.predictor import Predictor
from skinclf.labels import HAM10000
from skinclf.models.class_decision import ClassDecision
from skinclf.models.load import load_model
from skinclf.serve.evidence import Evidence
from skinclf.serve.settings import ServeSettings
from skinclf_cli.main import run
from skinclf_training.publishing.card_text import cards_dir, find_about
from skinclf_training.publishing.evidence import shown_part

NOISE = np.random.default_rng(0).integers(0, 256, (150, 200, 3)).astype(np.uint8)
FILES = [
    ("noise.png", encode(NOISE, "PNG")),
    ("lesion.jpg", encode(clean_lesion(200, width=200, height=150), quality=95)),
]
RAW = {"Content-Type": "image/png", "Accept": "application/json"}


def asked(server: Running, query: str = "") -> tuple[int, dict]:
    answer = server.predict(FILES, query)
    return answer.status, answer.json()


def test_what_the_gate_refuses_stays_refused_unless_the_operator_allows_it(gated_bundle: Path):
    with running(gated_bundle, processes=False) as server:
        assert server.get("/v1/models").json()["gate"] == {"mode": "refuse", "allow_ungated": False}
        _, answer = asked(server)
        assert [row["status"] for row in answer["predictions"]] == ["gated", "ok"]
        assert answer["predictions"][0]["gate"] == "unfit"
        assert answer["predictions"][0]["probability_malignant"] is None
        status, refused = asked(server, "?gate=mark")
        assert (status, refused["error"]["code"]) == (403, "gate_refuses")
        assert server.request("POST", "/v1/explanations?gate=mark", FILES[0][1], RAW).status == 403
        assert asked(server, "?gate=refuse") == (200, answer)
        assert asked(server, "?gate=off")[0] == 422
        assert server.predict(FILES).json() == answer


def test_an_allowed_request_gets_the_numbers_that_marking_gives(gated_bundle: Path):
    expected = Predictor(gated_bundle, gate="mark").predict([content for _, content in FILES])
    with running(gated_bundle, processes=False, allow_ungated=True) as server:
        assert server.get("/v1/models").json()["gate"]["allow_ungated"] is True
        assert asked(server)[1]["predictions"][0]["status"] == "gated"
        _, shown = asked(server, "?gate=mark")
        for row, prediction in zip(shown["predictions"], expected, strict=True):
            assert np.float32(row["probability_malignant"]) == np.float32(prediction.probability_malignant)
            assert row["gate_reasons"] == prediction.extra["gate_reasons"]
        assert shown["predictions"][0]["gate"] == "unfit"
        assert server.request("POST", "/v1/explanations", FILES[0][1], RAW).status == 422
        assert server.request("POST", "/v1/explanations?gate=mark", FILES[0][1], RAW).status == 200


def test_a_server_without_a_refusing_gate_has_nothing_to_allow(gated_bundle: Path):
    with (
        pytest.raises(InvalidArgumentError, match="for a gate that refuses; the gate of this server is mark"),
        running(gated_bundle, processes=False, allow_ungated=True, gate="mark"),
    ):
        pass
    assert ServeSettings().allow_ungated is False


def test_the_command_line_hands_the_gate_on(monkeypatch: pytest.MonkeyPatch):
    given: list[dict] = []
    monkeypatch.setattr("skinclf.serve.server.serve", lambda *_models, **options: given.append(options))
    assert run(["serve", "--gate", "mark"]) == 0
    assert run(["serve", "--allow-ungated"]) == 0
    assert [options["gate"] for options in given] == ["mark", None]
    assert [options["settings"].allow_ungated for options in given] == [False, True]


def test_the_built_in_models_bring_the_figures_of_their_cards():
    for name in ("ham10000-mobilenetv2", "ham10000-efficientnet-lite0"):
        model, card = load_model(name), cards_dir() / name
        assert model.folder is not None
        metrics = json.loads((card / "metrics.json").read_text(encoding="utf-8"))
        assert json.loads((model.folder / "metrics.json").read_text(encoding="utf-8")) == shown_part(
            metrics, find_about(model.spec)
        )
        checks = json.loads((card / "explanation.json").read_text(encoding="utf-8"))
        assert json.loads((model.folder / "explanation.json").read_text(encoding="utf-8")) == checks
        found = Evidence.of(model)
        assert found.notices == ()
        assert found.subgroups is not None
        assert found.checks is not None
        assert {row["column"] for row in found.subgroups["rows"]} >= {"age_band", "sex"}
        assert found.checks["passed"] == {
            k: checks[k]["passed"] for k in ("randomisation", "faithfulness", "masks")
        }
        assert found.checks_of("gradcam", "malignant") is found.checks
        assert found.checks_of("occlusion", "malignant") is None
        assert found.checks_of("gradcam", "mel") is None


def test_figures_of_another_model_and_damaged_files_are_named_and_not_shown(
    tiny_bundle: Path, tmp_path: Path
):
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "tiny"))
    assert Evidence.of(load_model(str(folder))) == Evidence()
    builtin = load_model().folder
    assert builtin is not None
    shutil.copy(builtin / "metrics.json", folder)
    (folder / "explanation.json").write_text("{}")
    found = Evidence.of(load_model(str(folder)))
    assert (found.subgroups, found.checks) == (None, None)
    assert "metrics.json: of another model: other weights" in found.notices[0]
    assert "explanation.json: holds no checks of maps" in found.notices[1]
    content = json.loads((builtin / "metrics.json").read_text())
    content["model"] = {}
    content["subgroups"] = [{"column": "sex"}]
    (folder / "metrics.json").write_text(json.dumps(content))
    assert "'value'" in Evidence.of(load_model(str(folder))).notices[0]


def test_maps_carry_the_verdict_on_their_method():
    picture = encode(clean_lesion(1, width=120, height=90), quality=90)
    with running(processes=False, gate="off", runtime="torch") as server:
        raw = {"Content-Type": "image/jpeg", "Accept": "application/json"}
        told = server.request("POST", "/v1/explanations", picture, raw).json()
        other = server.request("POST", "/v1/explanations?target=mel", picture, raw).json()
        described = server.get("/v1/models").json()["models"][0]
    assert told["checks"] == described["map_checks"]
    assert told["checks"]["passed"]["randomisation"] is True
    assert any("Insertion and deletion: failed" in sentence for sentence in told["checks"]["sentences"])
    assert other["checks"] is None


def test_a_threshold_says_which_rule_names_the_class(tiny_bundle: Path, tmp_path: Path):
    rule = ClassDecision(codes=HAM10000.codes, thresholds=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7))
    file = tmp_path / "threshold.json"
    file.write_text(json.dumps({"threshold": 0.31, "decision": rule.to_dict()}))
    with running(tiny_bundle, threshold=str(file), processes=False, force=True) as server:
        offered = {entry["name"]: entry for entry in server.get("/v1/thresholds").json()["thresholds"]}
        (row,) = server.predict(FILES[1:]).json()["predictions"]
        (plain,) = server.predict(FILES[1:], "?threshold=youden").json()["predictions"]
    (chosen,) = [entry for entry in offered.values() if entry["default"]]
    assert chosen["decision"]["thresholds"] == list(rule.thresholds)
    assert chosen["decision"]["words"].startswith("thresholds per class (")
    assert offered["youden"]["decision"] is None
    p = np.asarray([[row[f"p_{code}"] for code in HAM10000.codes]])
    assert row["predicted_label"] == int(rule.decide(p)[0])
    # The rule belongs to the file's threshold; another point has the model's own, which is the most probable class.
    assert plain["predicted_label"] == int(p.argmax())
