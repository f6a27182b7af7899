"""Reduced precision: its loss is measured and recorded, doubtful decisions are marked, int8 travels in a bundle."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from support.fake_scorer import FakeScorer
from support.pictures import encode
from support.run_helpers import manifest, write

from skinclf.conversion.precision_loss import LEAST_IMAGES, choose_images, measure_precision
from skinclf.errors import InvalidArgumentError, MismatchError, ModelError
from skinclf.images.synthetic import synthetic_lesion
from skinclf.inference.predictor import Predictor
from skinclf.models import bundle
from skinclf.models.load import load_model
from skinclf.models.precision import PrecisionLoss, band, in_doubt, log_odds, with_record
from skinclf.models.probabilities import Calibration
from skinclf.models.spec import ModelSpec
from skinclf.runtimes.create import create_runtime
from skinclf_cli.main import run

pytestmark = pytest.mark.usefixtures("_own_cache")


@pytest.fixture
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKINCLF_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Paths of 44 small pictures and one damaged file."""
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(44):
        (folder / f"{seed}.jpg").write_bytes(encode(synthetic_lesion(seed, width=80, height=60), quality=90))
    (folder / "x.jpg").write_bytes(b"no image")
    return sorted(map(str, folder.iterdir()))


def loss_of(spec: ModelSpec, **changes) -> PrecisionLoss:
    fields = {
        "runtime": "torch",
        "precision": "bf16",
        "images": 99,
        "band": 0.01,
        "mean_change": 0.001,
        "largest_change": 0.02,
        "agreement": 1.0,
        "decisions_changed": 0,
        "threshold": spec.threshold,
        "model": spec.fingerprint,
        "versions": {},
    }
    return PrecisionLoss(**{**fields, **changes})


def test_the_loss_is_that_of_two_runs(bundle_copy, pictures):
    model = load_model(bundle_copy)
    loss = measure_precision(model, pictures, precision="bf16", runtime="torch", device="cpu")
    both = [
        [p for p in Predictor(model, runtime="torch", precision=x, device="cpu").stream(pictures) if p.ok]
        for x in ("fp32", "bf16")
    ]
    moved = [abs(a.probability_malignant - b.probability_malignant) for a, b in zip(*both, strict=True)]
    assert loss.images == 44
    assert 0 < loss.band == pytest.approx(max(moved), abs=1e-7)
    assert loss.mean_change == pytest.approx(np.mean(moved), abs=1e-7)
    assert loss.largest_change >= loss.mean_change
    assert loss.agreement == np.mean([a.index == b.index for a, b in zip(*both, strict=True)])
    assert loss.decisions_changed == sum(a.flagged != b.flagged for a, b in zip(*both, strict=True))
    assert "torch:bf16 on 44 images" in str(loss)


def test_a_record_survives_the_bundle_and_is_bound_to_the_model(bundle_copy):
    spec = bundle.read_spec(bundle_copy)
    bundle.write_spec(bundle_copy, with_record(spec, loss_of(spec)))
    again = bundle.read_spec(bundle_copy)
    assert band(again, "torch", "bf16") == 0.01
    assert band(again, "openvino", "bf16") is band(again, "torch", "fp32") is None
    assert band(again.replace(calibration=Calibration("temperature", (2.0,))), "torch", "bf16") is None
    for name, bad in (
        ("torch:fp32", {"band": 0.1}),
        ("torch:bf16", {"band": 2.0}),
        ("torch:bf16", {"band": "x"}),
        ("torch:bf16", {"band": 0.1, "band_log_odds": -1}),
    ):
        with pytest.raises(ModelError, match="Precision record"):
            spec.replace(precisions={name: bad})


def test_no_decision_changes_outside_the_band_and_rows_inside_are_marked(bundle_copy, pictures, tmp_path):
    model = load_model(bundle_copy)
    exact = list(Predictor(model, runtime="torch", device="cpu").stream(pictures))
    cut = float(np.median([p.probability_malignant for p in exact if p.ok]))
    loss = measure_precision(model, pictures, precision="bf16", runtime="torch", device="cpu")
    bundle.write_spec(bundle_copy, with_record(model.spec, loss))
    out = tmp_path / "o.csv"
    options = {"runtime": "torch", "precision": "bf16", "device": "cpu", "threshold": cut}
    write(out, pictures, predictor=Predictor(bundle_copy, **options))
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[-3:] == ["near_threshold", "status", "error"]
    unmarked = 0
    for row, before in zip(rows, exact, strict=True):
        if not before.ok:
            assert row["near_threshold"] == ""
            continue
        gap = log_odds(np.float32(row["probability_malignant"])) - log_odds(np.float32(cut))
        near = abs(gap) <= loss.band_log_odds
        assert row["near_threshold"] == str(int(near))
        flipped = row["flagged"] != str(int(before.probability_malignant >= np.float32(cut)))
        unmarked += flipped and not near
    assert unmarked == 0  # 44 images show nothing below 6.6 %, and that without an exception
    assert {row["near_threshold"] for row in rows} == {"0", "1", ""}
    ran = manifest(out)["run"]
    assert ran["band"] == loss.band
    assert ran["band_log_odds"] == loss.band_log_odds
    assert ran["band_share"] == loss.band_share == pytest.approx(1 - 0.05 ** (1 / 44))
    # Another band marks other rows: that is another run.
    bundle.write_spec(bundle_copy, with_record(model.spec, loss_of(model.spec)))
    with pytest.raises(MismatchError, match="band"):
        write(out, pictures, predictor=Predictor(bundle_copy, **options), resume=True)


def test_which_rows_are_in_doubt():
    old, new = {"band": 0.2}, {"band": 0.2, "band_log_odds": 0.5}
    assert in_doubt([old], 0.3, 0.15)  # a record from before: the largest change
    assert not in_doubt([new], 0.3, 0.15)
    assert in_doubt([new], 0.2, 0.15)
    assert in_doubt([new], 0.3, 0.15, fused=True)  # a threshold of its own for every row
    assert in_doubt([new], 1.0, 1.0)
    assert not in_doubt([], 0.15, 0.15)
    # Two effects at once: their bands add up.
    assert in_doubt([new, new], 0.3, 0.15) == (2 * new["band_log_odds"] >= log_odds(0.3) - log_odds(0.15))
    assert in_doubt([old, {"band": 0.0}], 0.3, 0.15)


def test_float32_and_unmeasured_precisions_mark_nothing(bundle_copy, pictures):
    for precision in ("fp32", "bf16"):
        predictor = Predictor(bundle_copy, runtime="torch", device="cpu", precision=precision)
        assert "near_threshold" not in predictor.columns
        assert "near_threshold" not in predictor.predict(pictures[0]).extra
    assert Predictor(FakeScorer()).columns == {}


def test_every_view_of_test_time_augmentation_keeps_the_band(bundle_copy, pictures):
    spec = bundle.read_spec(bundle_copy)
    bundle.write_spec(bundle_copy, with_record(spec, loss_of(spec, band_log_odds=0.5, band_share=0.01)))
    predictor = Predictor(bundle_copy, runtime="torch", device="cpu", precision="bf16", tta="flips")
    assert "band_log_odds" not in predictor.scorer.info  # it holds for one look, the largest change for all
    assert list(predictor.columns) == ["tta_spread", "near_threshold"]
    assert predictor.scorer.fingerprint["band"] == 0.01
    assert isinstance(predictor.predict(pictures[0]).extra["near_threshold"], bool)


def test_the_choice_of_images_is_stable_and_in_order():
    names = [f"{i}" for i in range(100)]
    chosen = choose_images(names, 30)
    assert chosen == choose_images(iter(names), 30)
    assert chosen == sorted(chosen, key=int)
    assert len(set(chosen)) == 30
    assert choose_images(names, None) == choose_images(names, 200) == names


def test_too_little_to_measure_is_an_error(bundle_copy, pictures):
    model = load_model(bundle_copy)
    with pytest.raises(InvalidArgumentError, match=f"at least {LEAST_IMAGES}"):
        measure_precision(model, pictures[:5], precision="bf16", runtime="torch", device="cpu")
    with pytest.raises(InvalidArgumentError, match="fp32"):
        measure_precision(model, pictures, precision="fp32")


def test_int8_without_a_quantised_network_says_how_to_make_one(tiny_bundle):
    pytest.importorskip("openvino")
    for runtime in ("auto", "openvino"):
        with pytest.raises(ModelError, match=r"skinclf\.conversion\.quantize_model"):
            create_runtime(load_model(tiny_bundle), runtime=runtime, device="cpu", precision="int8")


def test_quantised_networks_travel_in_the_bundle_with_their_loss(tiny_bundle, pictures, tmp_path, capsys):
    pytest.importorskip("nncf")
    folder, listing = tmp_path / "int8", tmp_path / "list.txt"
    listing.write_text("\n".join(pictures))
    command = ["models", "quantize", str(tiny_bundle), str(folder), "--images", str(listing)]
    assert run([*command, "--calibration", "15", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    spec = bundle.read_spec(folder)
    record = spec.precisions["openvino:int8"]
    assert {**said, "quantized": record["quantized"]} == record
    assert record["images"] + record["quantized"]["images"] == 44  # the damaged file counts nowhere
    assert record["band"] > 0
    assert spec.weights_sha256 == bundle.read_spec(tiny_bundle).weights_sha256

    predictor = Predictor(folder, precision="int8", device="cpu")
    exact = Predictor(folder, runtime="openvino", device="cpu")
    assert predictor.scorer.info == {
        "runtime": "openvino",
        "device": "cpu",
        "precision": "int8",
        "runtime_reason": "auto: the runtime of int8 networks",
        **{key: record[key] for key in ("band", "band_log_odds", "band_share", "band_confidence")},
    }
    gaps = [
        np.abs(np.subtract(a.values, b.values)).max()
        for a, b in zip(predictor.stream(pictures[:8]), exact.stream(pictures[:8]), strict=True)
    ]
    assert 0 < max(gaps) < 0.2
    # Two quantisations of the same weights are two models.
    assert predictor.scorer.fingerprint["quantized"] == record["quantized"]["files"]
    assert "quantized" not in exact.scorer.fingerprint

    graph = folder / "int8" / "model.xml"
    graph.write_bytes(graph.read_bytes() + b" ")
    with pytest.raises(ModelError, match="SHA-256"):
        Predictor(folder, precision="int8", device="cpu")
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    bundle.write_spec(other, spec.replace(weights_sha256="0" * 64))
    with pytest.raises(ModelError, match="damaged or was replaced"):
        Predictor(other, precision="int8", device="cpu")


def test_quantisation_needs_images_and_an_empty_folder(tiny_bundle, pictures, tmp_path):
    pytest.importorskip("nncf")
    from skinclf.conversion.quantize import quantize_model
    from skinclf.errors import OutputError

    with pytest.raises(InvalidArgumentError, match="at least 40"):
        quantize_model(load_model(tiny_bundle), pictures[:10], tmp_path / "new")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    with pytest.raises(OutputError, match="not an empty folder"):
        quantize_model(load_model(tiny_bundle), pictures, tmp_path / "full")


def test_precision_is_measured_and_stored_by_the_command_line(bundle_copy, pictures, tmp_path, capsys):
    listing = tmp_path / "list.txt"
    listing.write_text("\n".join(pictures))
    command = ["models", "precision", str(bundle_copy), "--images", str(listing), "--runtime", "torch"]
    assert run([*command, "--limit", "30", "--store", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert bundle.read_spec(bundle_copy).precisions == {"torch:bf16": record}
    out = tmp_path / "o.csv"
    predict = [
        "predict",
        pictures[0],
        "--model",
        str(bundle_copy),
        "--runtime",
        "torch",
        "--output",
        str(out),
    ]
    assert run([*predict, "--precision", "bf16"]) == 0
    assert "marked near_threshold" in capsys.readouterr().err
    assert out.read_text().splitlines()[0].endswith(",near_threshold,status,error")
    assert run([*predict, "--precision", "fp16", "--overwrite"]) == 0
    assert "was not measured" in capsys.readouterr().err


def test_openvino_is_imported_without_its_usage_statistics():
    pytest.importorskip("openvino")
    code = (
        "import sys; from skinclf.runtimes.openvino import need_openvino; need_openvino(); "
        "sys.exit('openvino_telemetry' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_quantised_network_is_published_and_fetched_with_its_bundle(evaluated, tmp_path):
    from skinclf.models.hub.fetch import _model_files
    from skinclf.runtimes.int8 import KEY, quantized_files
    from skinclf_training.publishing.publish import stage

    folder, target = tmp_path / "bundle", tmp_path / "staged"
    shutil.copytree(evaluated / "bundle", folder)
    target.mkdir()
    (folder / "int8").mkdir()
    for name in ("model.xml", "model.bin"):
        (folder / "int8" / name).write_text(name)
    record = {"quantized": {"files": {}, "made_from": {}}}
    bundle.write_spec(folder, bundle.read_spec(folder).replace(precisions={KEY: record}))
    stage(folder, evaluated / "metrics.json", target, repo_id="user/repo")
    names = [p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file()]
    assert set(quantized_files(bundle.read_spec(target))) <= set(names)
    assert {"int8/model.xml", "int8/model.bin"} <= set(_model_files(names, "user/repo", None))
