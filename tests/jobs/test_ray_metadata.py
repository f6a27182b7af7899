"""Age, sex and site on a real local Ray runtime: the same numbers as on one machine."""

from __future__ import annotations

import json
import os

import pytest
from support.metadata import fake_terms
from support.two_inputs import ENCODING, options, save_onnx

from skinclf.conversion.convert import convert_model
from skinclf.errors import InvalidArgumentError
from skinclf.inference.predictor import Predictor
from skinclf.models.bundle import read_spec, write_spec

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"


@pytest.mark.slow
def test_fused_on_a_cluster_as_on_one_machine(tmp_path, bundle_copy, image_dir):
    pytest.importorskip("ray")
    import pyarrow.parquet as pq

    from skinclf.jobs.ray import predict_with_ray

    spec = read_spec(bundle_copy)
    write_spec(bundle_copy, spec.replace(metadata=fake_terms(spec)))
    names = [str(path) for path in sorted(image_dir.iterdir())[:3]]
    table = tmp_path / "m.csv"
    table.write_text("image,age\nimg-0,70\nimg-1,30\n")
    with pytest.raises(InvalidArgumentError, match="`metadata` needs a model by name or path"):
        predict_with_ray(names, tmp_path / "x", model=lambda: None, metadata=table)
    out = tmp_path / "out"
    run = predict_with_ray(
        names,
        out,
        model=bundle_copy,
        runtime="torch",
        metadata=table,
        quiet=True,
        num_cpus=0.5,
        concurrency=1,
    )
    assert run.failed == 0
    rows = sorted(pq.read_table(out).to_pylist(), key=lambda row: row["image"])
    local = Predictor(bundle_copy, runtime="torch", device="cpu", workers=0).with_metadata(table, names)
    for row, one in zip(rows, local.stream(names), strict=True):
        assert row["probability_malignant"] == pytest.approx(one.probability_malignant, abs=1e-6)
        assert row["metadata_shift"] == pytest.approx(one.extra["metadata_shift"], abs=1e-4)
    assert rows[0]["metadata_shift"] > 0 > rows[1]["metadata_shift"]
    assert rows[2]["metadata_shift"] == 0
    manifest = json.loads((out / "_run.json").read_text())
    assert manifest["identity"]["metadata"]["columns"] == {"age": "age"}
    assert manifest["identity"]["model"]["metadata"] == local.spec.metadata.fingerprint


@pytest.mark.slow
@pytest.mark.parametrize("form", ["file", "bundle"])
def test_a_model_that_takes_the_entries_itself_on_a_cluster(tmp_path, image_dir, form):
    pytest.importorskip("ray")
    pytest.importorskip("onnx")
    import pyarrow.parquet as pq

    from skinclf.jobs.ray import predict_with_ray

    model, encoding = tmp_path / "two.onnx", tmp_path / "encoding.json"
    save_onnx(model)
    encoding.write_text(json.dumps(ENCODING))
    given = {"options": options(encoding)}
    if form == "bundle":
        convert_model(model, tmp_path / "bundle", **given)
        model = tmp_path / "bundle"
        given = {}
    names = [str(path) for path in sorted(image_dir.iterdir())[:3]]
    table = tmp_path / "m.csv"
    table.write_text("image,age,sex,site\nimg-0,70,male,face\nimg-1,30,female,palms/soles\n")
    out = tmp_path / "out"
    run = predict_with_ray(
        names,
        out,
        model=model,
        runtime="onnxruntime",
        metadata=table,
        quiet=True,
        num_cpus=0.5,
        concurrency=1,
        **given,
    )
    assert run.failed == 0
    rows = sorted(pq.read_table(out).to_pylist(), key=lambda row: row["image"])
    predictor = Predictor(model, runtime="onnxruntime", device="cpu", workers=0, **given)
    for row, one in zip(rows, predictor.with_metadata(table, names).stream(names), strict=True):
        for code, p in one.probabilities.items():
            assert row[f"p_{code}"] == pytest.approx(p, abs=1e-6)
    assert not {"p_image_malignant", "metadata_shift"} & rows[0].keys()
    alone = [one.probability_malignant for one in predictor.stream(names)]
    moved = [abs(row["probability_malignant"] - p) > 1e-4 for row, p in zip(rows, alone, strict=True)]
    assert moved == [True, True, False]
    identity = json.loads((out / "_run.json").read_text())["identity"]
    assert identity["metadata"]["columns"] == {"age": "age", "sex": "sex", "site": "site"}
    assert identity["model"]["metadata"] == predictor.spec.encoding.fingerprint
