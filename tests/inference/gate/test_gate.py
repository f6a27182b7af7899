"""The gate of a bundle: bound to its model, the same in every runtime, and in every table."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load, save
from support.overlays import clean_lesion, hair

from skinclf import Predictor
from skinclf.errors import ImageError, InvalidArgumentError, MismatchError, ModelError
from skinclf.inference.gate import fit_gate, read_gate, write_gate
from skinclf.inference.gate.fit import malignant_images
from skinclf.inference.gate.picture import MEASURES
from skinclf.jobs.output import Output
from skinclf.jobs.run import write_predictions
from skinclf.jobs.shards import Shard
from skinclf.models.bundle import read_spec, write_spec
from skinclf.models.load import load_model
from skinclf.models.probabilities import Calibration
from skinclf.tables.predictions import read_predictions

NEW = range(140, 152)


def made(bundle: Path, **options) -> Predictor:
    return Predictor(
        str(bundle), **{"runtime": "torch", "device": "cpu", "workers": 0, "batch_size": 4, **options}
    )


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    folder = tmp_path / "in"
    folder.mkdir()
    rng = np.random.default_rng(0)
    pictures = {f"a{seed}.png": clean_lesion(seed, width=200, height=150) for seed in NEW}
    pictures["b-hair.png"] = hair(clean_lesion(3, width=200, height=150), rng)
    pictures["c-noise.png"] = rng.integers(0, 256, (150, 200, 3), dtype=np.uint8)
    pictures["d-grey.png"] = np.repeat(pictures["a140.png"][..., :1], 3, axis=2)
    for name, picture in pictures.items():
        Image.fromarray(picture).save(folder / name)
    (folder / "e-empty.png").write_bytes(b"")
    return sorted(map(str, folder.iterdir()))


def read(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return {Path(row["image"]).name: row for row in csv.DictReader(file)}


def test_familiar_lesions_pass_and_noise_does_not(gated_bundle, images):
    marked = made(gated_bundle, gate="mark", gate_marks=True)
    rows = {Path(row.image).name: row for row in marked.predict(images)}
    assert all(rows[f"a{seed}.png"].extra["gate"] in {"ok", "marked"} for seed in NEW)
    assert "hair" in rows["b-hair.png"].extra["gate_reasons"]
    assert rows["c-noise.png"].extra["gate"] == "unfit"
    assert rows["c-noise.png"].extra["gate_reasons"].split("|")[0] == "unfamiliar"
    assert rows["c-noise.png"].extra["p_familiar"] == np.float32(1 / 61)
    assert "grey" in rows["d-grey.png"].extra["gate_reasons"]
    assert rows["c-noise.png"].ok


def test_marks_are_sought_when_asked_for_and_change_no_p_value(gated_bundle, images):
    hair = next(name for name in images if "hair" in name)
    plain, marked = (made(gated_bundle, gate="mark", gate_marks=marks) for marks in (False, True))
    assert "hair" not in plain.predict(hair).extra["gate_reasons"]
    assert "hair" in marked.predict(hair).extra["gate_reasons"]
    assert plain.predict(hair).extra["p_familiar"] == marked.predict(hair).extra["p_familiar"]
    assert plain.scorer.fingerprint != marked.scorer.fingerprint


def test_the_default_marks_where_there_is_a_gate_and_changes_nothing_else(gated_bundle, tiny_bundle, images):
    off = made(gated_bundle, gate="off")
    assert "gate" not in off.columns
    assert "gate" not in off.scorer.fingerprint
    default, mark = made(gated_bundle), made(gated_bundle, gate="mark")
    assert default.columns == mark.columns
    assert default.scorer.fingerprint == mark.scorer.fingerprint
    marked = default.predict(images[:3])
    for with_gate, without in zip(marked, off.predict(images[:3]), strict=True):
        assert with_gate.values == without.values
    assert "gate" not in made(tiny_bundle).columns
    with pytest.raises(ModelError, match="no image gate"):
        made(tiny_bundle, gate="mark")
    with pytest.raises(InvalidArgumentError, match="received 'maybe'"):
        made(gated_bundle, gate="maybe")


def test_a_model_that_is_told_to_preprocess_otherwise_has_no_gate_by_default(gated_bundle):
    model = load_model(gated_bundle)
    changed = replace(
        model, spec=model.spec.replace(preprocess=replace(model.spec.preprocess, interpolation="nearest"))
    )
    how = {"runtime": "torch", "device": "cpu", "workers": 0}
    assert "gate" in Predictor(model, **how).columns
    assert "gate" not in Predictor(changed, **how).columns
    with pytest.raises(MismatchError, match="other preprocessing"):
        Predictor(changed, **how, gate="mark")


@pytest.mark.parametrize("options", [{"tta": "flips"}, {"model": 2}])
def test_ensembles_and_views_have_no_gate(gated_bundle, options):
    model = [str(gated_bundle)] * options.pop("model", 1)
    plain = Predictor(model, runtime="torch", device="cpu", workers=0, **options)
    assert "gate" not in plain.columns
    with pytest.raises(InvalidArgumentError, match="one model on one view"):
        Predictor(model, runtime="torch", device="cpu", workers=0, gate="refuse", **options)


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_runtimes_agree(gated_bundle, images, runtime):
    pytest.importorskip(runtime)
    expected = [row for row in made(gated_bundle, gate="mark").predict(images) if row.ok]
    found = [row for row in made(gated_bundle, runtime=runtime, gate="mark").predict(images) if row.ok]
    for a, b in zip(expected, found, strict=True):
        # One calibration image may change places.
        assert abs(a.extra["p_familiar"] - b.extra["p_familiar"]) <= 1.01 / 61
        assert a.extra["gate"] == b.extra["gate"]


def test_refused_images_have_no_probability_and_say_why(gated_bundle, images):
    predictor = made(gated_bundle, gate="refuse")
    rows = {Path(row.image).name: row for row in predictor.predict(images)}
    noise = rows["c-noise.png"]
    assert (noise.status, noise.ok, noise.extra["gate"]) == ("gated", False, "unfit")
    assert "does not look like those that the model was trained on" in noise.error
    assert "probability_malignant" not in noise.to_dict()
    with pytest.raises(ImageError, match="refused by the image gate"):
        predictor.predict(next(name for name in images if "noise" in name))
    assert rows["b-hair.png"].ok == (rows["b-hair.png"].extra["gate"] != "unfit")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_tables_have_the_gate_of_refused_images(gated_bundle, images, tmp_path, kind):
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"out.{kind}"
    summary = write_predictions(made(gated_bundle, gate="refuse"), images, path)
    assert summary.statuses["empty"] == 1
    assert summary.statuses["gated"] >= 2
    if kind == "csv":
        rows = list(read(path).values())
    elif kind == "jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    else:
        import pyarrow.parquet as pq

        rows = pq.read_table(path).to_pylist()
    assert len(rows) == len(images)
    for row in rows:
        refused, failed = row["status"] == "gated", row["status"] == "empty"
        assert (row["gate"] == "unfit") == refused
        assert bool(row["gate"]) != failed
        assert bool(row["p_familiar"]) != failed
        assert (row["p_nv"] in {None, ""}) == (refused or failed)
        assert bool(row["error"]) == (refused or failed)


def test_resuming_needs_the_same_gate_and_gives_the_same_bytes(gated_bundle, gated_copy, images, tmp_path):
    whole, part = tmp_path / "whole.csv", tmp_path / "part.csv"
    write_predictions(made(gated_bundle, gate="mark"), images, whole)
    shutil.copy(whole, part)
    shutil.copy(tmp_path / "whole.csv.run.json", tmp_path / "part.csv.run.json")
    part.write_bytes(b"".join(whole.read_bytes().splitlines(keepends=True)[:7]))
    write_predictions(made(gated_bundle, gate="mark"), images, Output(path=part, resume=True))
    assert part.read_bytes() == whole.read_bytes()
    for other in (made(gated_bundle, gate="refuse"), made(gated_bundle, gate="off")):
        with pytest.raises(MismatchError, match="gate"):
            write_predictions(other, images, Output(path=part, resume=True))
    spec = read_spec(gated_copy)
    write_spec(gated_copy, spec.replace(gate={**spec.gate, "alpha": 0.3}))
    with pytest.raises(MismatchError, match="alpha"):
        write_predictions(made(gated_copy, gate="mark"), images, Output(path=part, resume=True))


def test_shards_and_workers_give_the_same_rows(gated_bundle, images, tmp_path):
    write_predictions(made(gated_bundle, gate="mark"), images, tmp_path / "whole.csv")
    expected = read(tmp_path / "whole.csv")
    for index in (1, 2):
        path = tmp_path / f"part-{index}.csv"
        write_predictions(made(gated_bundle, workers=2, gate="mark"), images, path, shard=Shard(index, 2))
        assert all(row == expected[name] for name, row in read(path).items())


def test_a_damaged_gate_is_refused(gated_copy, images):
    path = gated_copy / "gate.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="damaged or was replaced"):
        made(gated_copy, gate="mark")
    assert made(gated_copy, gate="off").predict(images[0]).ok
    path.unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        made(gated_copy, gate="mark")


def test_a_gate_of_another_model_is_refused(gated_bundle, gated_copy, tiny_bundle):
    gate = read_gate(load_model(gated_bundle))
    assert gate is not None
    spec = read_spec(gated_copy)
    record = {**spec.gate, "made_from": {**spec.gate["made_from"], "weights_sha256": "0" * 64}}
    write_spec(gated_copy, spec.replace(gate=record))
    with pytest.raises(MismatchError, match="other weights"):
        made(gated_copy, gate="mark")
    changed = spec.replace(preprocess=load_model(tiny_bundle).spec.preprocess.__class__())
    with pytest.raises(MismatchError, match="preprocessing"):
        gate.check(changed)


@pytest.mark.parametrize(
    ("version", "said"), [(None, "no version"), (1, "version 1"), (MEASURES + 1, f"version {MEASURES + 1}")]
)
def test_a_gate_of_other_measures_is_refused(gated_copy, images, version, said):
    path = gated_copy / "gate.safetensors"
    tensors = load(path.read_bytes())
    assert tensors.pop("measures").tolist() == [MEASURES]
    if version is not None:
        tensors["measures"] = np.asarray([version], np.int32)
    data = save(tensors)
    path.write_bytes(data)
    spec = read_spec(gated_copy)
    write_spec(gated_copy, spec.replace(gate={**spec.gate, "sha256": hashlib.sha256(data).hexdigest()}))
    with pytest.raises(
        MismatchError, match=f"{said} of the measures .* this skinclf has version {MEASURES};"
    ):
        made(gated_copy, gate="mark")
    assert made(gated_copy, gate="off").predict(images[0]).ok


def test_new_weights_have_no_gate(gated_copy):
    from skinclf.models.bundle import read_weights, write_bundle

    spec = read_spec(gated_copy)
    assert spec.gate
    tensors = read_weights(gated_copy, spec)
    assert write_bundle(gated_copy, spec, tensors).gate == {}


def vector(spec):
    return Calibration("vector", (1.0,) * len(spec.labels), (3.0, *(0.0,) * (len(spec.labels) - 1)))


def test_a_calibration_that_changes_classes_needs_a_new_gate(gated_copy, images, caplog):
    spec = read_spec(gated_copy)
    write_spec(gated_copy, spec.replace(calibration=Calibration("temperature", (1.7,))))
    assert "gate" in made(gated_copy).columns
    assert caplog.records == []

    write_spec(gated_copy, spec.replace(calibration=vector(spec)))
    assert "gate" not in made(gated_copy).columns
    assert ["fitted again" in record.getMessage() for record in caplog.records] == [True]
    for mode in ("mark", "refuse"):
        with pytest.raises(MismatchError, match="another calibration"):
            made(gated_copy, gate=mode)

    lesions = [clean_lesion(seed, width=200, height=150) for seed in range(110)]
    fitted = fit_gate(
        load_model(gated_copy), lesions[:55], lesions[55:], runtime="torch", device="cpu", workers=0
    )
    write_gate(gated_copy, fitted)
    assert made(gated_copy, gate="mark").predict(images[0]).extra["gate"] == "ok"
    # And the other way: what was fitted under that calibration is not used without it.
    write_spec(gated_copy, read_spec(gated_copy).replace(calibration=None))
    with pytest.raises(MismatchError, match="another calibration"):
        made(gated_copy, gate="mark")


def test_the_limit_spares_malignant_images(gated_bundle):
    lesions = [clean_lesion(seed, width=64, height=48) for seed in range(120)]
    model = load_model(gated_bundle)
    how = {"runtime": "torch", "device": "cpu", "workers": 0, "alpha": 0.5}
    free = fit_gate(model, lesions[:60], lesions[60:], **how)
    bound = fit_gate(model, lesions[:60], lesions[60:], malignant=[True] * 60, **how)
    assert free.alpha == 0.5
    assert bound.alpha < 0.05
    assert bound.evidence["malignant_refused"]["k"] <= 0.02 * 60
    assert free.evidence["refused"]["k"] == 30


def test_malignant_images_are_found_by_path_name_or_stem(gated_bundle, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("image,dx\na,mel\nb.jpg,nv\n/x/c.jpg,bcc\n")
    spec = load_model(gated_bundle).spec
    assert malignant_images(["/y/a.jpg", "/z/b.jpg", "/x/c.jpg"], table, spec) == [True, False, True]
    with pytest.raises(InvalidArgumentError, match="no label"):
        malignant_images(["/y/d.jpg"], table, spec)


def test_a_stored_gate_is_the_fitted_one(gated_copy):
    gate = read_gate(load_model(gated_copy))
    assert gate is not None
    assert (gated_copy / "gate.safetensors").stat().st_size < 3_000_000
    assert write_gate(gated_copy, gate) == gate.sha256


def test_a_table_with_the_gate_is_read_with_its_classes_alone(gated_bundle, images, tmp_path):
    path = tmp_path / "marked.csv"
    write_predictions(made(gated_bundle, gate="mark"), images, path)
    assert read_predictions(path).codes == load_model(gated_bundle).spec.labels.codes
