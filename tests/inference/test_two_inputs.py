"""Networks that take age, sex and site beside the image: torch and ONNX on every runtime, and what goes with them."""

from __future__ import annotations

import csv
import json
import logging

import numpy as np
import pytest
import torch
from support.fake_scorer import FakeScorer
from support.metadata import TERMS
from support.two_inputs import ENCODING, OPTIONS, WIDTH, options, save_onnx

from skinclf.conversion.convert import convert_model
from skinclf.conversion.export import export_model
from skinclf.conversion.verify import verify_model
from skinclf.errors import InvalidArgumentError, MismatchError, ModelError
from skinclf.explanation.gradients import GradientNetwork
from skinclf.images.decode import load_image
from skinclf.inference.ensemble import EnsembleScorer
from skinclf.inference.gate.fit import measure_images
from skinclf.inference.notes.dicom_ids import DicomIdsScorer
from skinclf.inference.predictor import Predictor
from skinclf.inference.scorer import ModelScorer
from skinclf.inference.tta import TtaScorer
from skinclf.jobs.run import write_predictions
from skinclf.models.bundle import read_spec
from skinclf.models.load import load_model, load_spec
from skinclf.models.options import ModelOptions
from skinclf.runtimes.cache import artefact_folder
from skinclf.runtimes.create import create_runtime
from skinclf.tables.patient_metadata import Patient
from skinclf_cli.main import run

pytest.importorskip("onnx")
ENTRIES = (
    {"age": 70, "sex": "male", "site": "face"},
    {},
    {"age": 20, "sex": "female", "site": "back"},
    {"sex": "male"},
    {"age": 45, "site": "foot"},
    {"site": "palms/soles"},
    {"age": 0},
    {"age": 45, "sex": "female", "site": "trunk"},
)


class Made:
    """One model in its forms: network, file, declaration, bundle."""

    def __init__(self, folder):
        self.folder, self.file, self.encoding = folder, folder / "two.onnx", folder / "encoding.json"
        self.network = save_onnx(self.file)
        self.encoding.write_text(json.dumps(ENCODING))
        self.options = options(self.encoding)
        self.bundle = folder / "bundle"
        convert_model(self.file, self.bundle, options=self.options)
        self.spec = read_spec(self.bundle)

    def theirs(self, paths, entries):
        """Probabilities by the network itself."""
        prepare = self.spec.preprocess
        x = prepare.normalize(np.stack([prepare.pixels(load_image(path)) for path in paths]))
        vectors = self.spec.encoding.encode([Patient.of(one) for one in entries])
        with torch.inference_mode():
            scores = self.network(torch.from_numpy(x), torch.from_numpy(vectors))
        return scores.softmax(1).numpy()

    def scorer(self, kind=ModelScorer, *more):
        loaded = load_model(self.bundle)
        return kind(loaded.spec, create_runtime(loaded, runtime="torch", device="cpu"), *more)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Made(tmp_path_factory.mktemp("two"))


@pytest.fixture
def paths(image_dir):
    return sorted(image_dir.glob("img-*.jpg"))


def values(predictions):
    assert [p.status for p in predictions] == ["ok"] * len(predictions)
    return np.stack([p.values for p in predictions])


def table(folder, paths):
    file = folder / "m.csv"
    rows = [
        f"{path.stem},{one.get('age', '')},{one.get('sex', '')},{one.get('site', '')}"
        for path, one in zip(paths, ENTRIES, strict=True)
    ]
    file.write_text("\n".join(["isic_id,age_approx,gender,region", *rows]) + "\n")
    return file


def test_the_file_and_its_bundle_are_the_network_on_every_runtime(made, paths):
    expected = made.theirs(paths, ENTRIES)
    assert np.ptp(made.theirs(paths[:1] * 8, ENTRIES), axis=0).max() > 0.1  # the entries matter
    found = {"file": Predictor(made.file, options=made.options, workers=0, batch_size=3)}
    for runtime in ("torch", "openvino", "onnxruntime"):
        found[runtime] = Predictor(made.bundle, runtime=runtime, device="cpu", workers=1, batch_size=3)
    for name, predictor in found.items():
        own = values(predictor.predict(paths, metadata=list(ENTRIES)))
        assert np.abs(own - expected).max() < 1e-5, name
        one = predictor.predict(paths[0], metadata=ENTRIES[0])
        assert np.abs(one.values - expected[0]).max() < 1e-5, name
        assert not {"p_image_malignant", "metadata_shift"} & set(predictor.columns) | set(one.extra)


def test_the_inputs_may_stand_in_any_order_and_the_batch_be_fixed(made, paths, tmp_path):
    expected = made.theirs(paths, ENTRIES)
    for name, more in (("swapped", {"swapped": True}), ("fixed", {"batch": None})):
        save_onnx(tmp_path / f"{name}.onnx", **more)
        predictor = Predictor(tmp_path / f"{name}.onnx", options=made.options, workers=0)
        assert np.abs(values(predictor.predict(paths, metadata=list(ENTRIES))) - expected).max() < 1e-5
    convert_model(tmp_path / "swapped.onnx", tmp_path / "bundle", options=made.options)
    predictor = Predictor(tmp_path / "bundle", runtime="openvino", workers=0)
    assert np.abs(values(predictor.predict(paths, metadata=list(ENTRIES))) - expected).max() < 1e-5


def test_without_metadata_every_entry_is_missing_as_declared_and_it_is_said_once(made, paths, caplog):
    predictor = Predictor(made.scorer(), workers=0)
    with caplog.at_level(logging.WARNING, logger="skinclf"):
        own = values(predictor.predict(paths))
        predictor.predict(paths)
    said = [r.message for r in caplog.records if "no metadata was given" in r.message]
    assert len(said) == 1
    assert np.abs(own - made.theirs(paths, [{}] * 8)).max() < 1e-5
    assert np.array_equal(own, values(predictor.predict(paths, metadata=[{}] * 8)))


def test_a_table_is_joined_and_what_has_no_column_is_named(made, paths, tmp_path):
    joined = Predictor(made.scorer(), workers=0).with_metadata(table(tmp_path, paths), paths)
    assert np.abs(values(list(joined.stream(paths))) - made.theirs(paths, ENTRIES)).max() < 1e-5
    assert joined.metadata.notices == (
        "The model has no column for these words, which count as missing: 'palms/soles' (1).",
    )
    file = tmp_path / "m.csv"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:2]))
    shorter = Predictor(made.scorer(), workers=0).with_metadata(file, paths)
    assert "no row for 7 of 8 images, whose entries count as missing" in shorter.metadata.notices[0]
    with pytest.raises(InvalidArgumentError, match="not among the images"):
        list(shorter.stream([*paths, __file__]))


def test_a_failed_image_costs_its_own_row(made, paths, damaged_files):
    bad = damaged_files["truncated_jpeg"].path
    sources = [paths[0], bad, paths[2]]
    found = Predictor(made.scorer(), workers=0, batch_size=16).predict(sources, metadata=list(ENTRIES[:3]))
    assert [p.status for p in found] == ["ok", "truncated", "ok"]
    expected = made.theirs([paths[0], paths[2]], [ENTRIES[0], ENTRIES[2]])
    assert np.abs(values([found[0], found[2]]) - expected).max() < 1e-5


def test_views_share_the_entries_of_their_image(made, paths):
    views = TtaScorer(made.spec, made.scorer().runtime, "flips")
    own = values(Predictor(views, workers=0).predict(paths, metadata=list(ENTRIES)))
    turned = []
    for turns, mirror in ((0, False), (0, True), (2, False), (2, True)):
        arrays = [np.rot90(load_image(path), turns) for path in paths]
        arrays = [np.ascontiguousarray(a[:, ::-1] if mirror else a) for a in arrays]
        turned.append(values(Predictor(made.scorer(), workers=0).predict(arrays, metadata=list(ENTRIES))))
    # The views are turned after the resize, whose rounding is not symmetric to the bit.
    assert np.abs(own - np.mean(turned, axis=0)).max() < 2e-2
    blank = values(Predictor(views, workers=0).predict(paths))
    assert np.abs(own - blank).max() > 0.05


def test_an_ensemble_gives_each_member_what_it_takes(made, paths):
    plain, two, views = FakeScorer(), made.scorer(), TtaScorer(made.spec, made.scorer().runtime, "flips")
    members = [plain, two, views, FakeScorer(seed=1)]
    entries = list(ENTRIES)
    expected = np.mean(
        [
            values(Predictor(plain, workers=0).predict(paths)),
            values(Predictor(two, workers=0).predict(paths, metadata=entries)),
            values(Predictor(views, workers=0).predict(paths, metadata=entries)),
            values(Predictor(FakeScorer(seed=1), workers=0).predict(paths)),
        ],
        axis=0,
    )
    for scorer in (EnsembleScorer(members), DicomIdsScorer(EnsembleScorer(members))):
        found = values(Predictor(scorer, workers=1).predict(paths, metadata=entries))
        assert np.abs(found - expected).max() < 1e-6
    own = EnsembleScorer([plain, two]).spec.identity
    other = made.scorer()
    other.spec = other.spec.replace(encoding=None)
    assert own.differences(EnsembleScorer([plain, other]).spec.identity) == ("weights",)


def test_a_bundle_keeps_the_encoding_and_its_golden_sample_uses_it(made, tmp_path):
    config = json.loads((made.bundle / "config.json").read_text())
    assert config["skinclf"]["encoding"] == ENCODING
    assert made.spec.golden[0].source.startswith("onnxruntime")
    for runtime in ("torch", "openvino"):
        assert verify_model(made.bundle, runtime=runtime).ok
    config["skinclf"]["encoding"]["entries"][2]["divide"] = 1
    other = tmp_path / "other"
    other.mkdir()
    for file in ("model.safetensors", "golden"):
        (other / file).symlink_to(made.bundle / file)
    (other / "config.json").write_text(json.dumps(config))
    assert not verify_model(other).ok
    # A network compiled for one encoding never answers for another.
    folders = {artefact_folder(read_spec(folder), "openvino") for folder in (made.bundle, other)}
    assert len(folders) == 2


def test_what_is_stated_has_to_fit_the_file(made, tmp_path, bundle_copy):
    without = ModelOptions(**OPTIONS)
    with pytest.raises(
        ModelError, match=r"vector of 10 numbers beside the image\. State `metadata_encoding`"
    ):
        load_model(made.file, options=without)
    short = tmp_path / "short.json"
    short.write_text(json.dumps({"entries": ENCODING["entries"][2:]}))
    with pytest.raises(
        ModelError, match=r"takes 10 numbers; `metadata_encoding` declares 2 \(age 1, age 1\)"
    ):
        load_model(made.file, options=options(short))
    with pytest.raises(ModelError, match=r"`metadata_encoding`.*contradicts it"):
        load_model(made.bundle, options=ModelOptions(metadata_encoding=short))
    with pytest.raises(ModelError, match=r"`metadata_encoding`.*contradicts it"):
        load_model(bundle_copy, options=ModelOptions(metadata_encoding=made.encoding))
    assert load_spec(made.bundle, options=ModelOptions(metadata_encoding=made.encoding)) == made.spec


def test_an_encoding_for_a_file_with_one_input_is_refused(made, tmp_path):
    from support.onnx_file import save

    save(tmp_path / "one.onnx", size=32)
    with pytest.raises(InvalidArgumentError, match="takes the image alone; leave out `metadata_encoding`"):
        load_model(tmp_path / "one.onnx", options=made.options)


def test_a_second_input_that_is_no_vector_is_refused(made, tmp_path):
    from onnx import TensorProto, helper
    from support.onnx_file import save

    for name, kind, dims in (("i", TensorProto.INT64, ["n", 4]), ("t", TensorProto.FLOAT, ["n", 4, 4])):
        save(
            tmp_path / f"{name}.onnx",
            size=32,
            extra_inputs=[helper.make_tensor_value_info("more", kind, dims)],
        )
        with pytest.raises(ModelError, match="the second input, more, is"):
            load_model(tmp_path / f"{name}.onnx", options=made.options)


def test_what_is_only_for_the_picture_alone_says_so(made, paths, tmp_path):
    loaded = load_model(made.bundle)
    predictor = Predictor(made.scorer(), workers=0)
    with pytest.raises(ModelError, match="takes age, sex and site itself; leave out `metadata_terms`"):
        predictor.with_metadata([{}], paths[:1], terms=TERMS)
    for act in (
        lambda: GradientNetwork(loaded),
        lambda: export_model(loaded, tmp_path / "x.onnx", format="onnx"),
        lambda: measure_images(loaded, [str(path) for path in paths]),
    ):
        with pytest.raises(ModelError, match=r"takes age, sex and site itself; .* the picture alone"):
            act()
    with pytest.raises(ModelError, match="takes age, sex and site beside the image"):
        loaded.torch_network()(torch.zeros(1, 3, 32, 32))


def test_the_manifest_says_what_was_used_and_another_table_is_another_run(made, paths, tmp_path):
    from skinclf.jobs.output import Output

    file, out = table(tmp_path, paths), tmp_path / "p.csv"
    plain = Predictor(made.scorer(), workers=0)
    write_predictions(plain.with_metadata(file, paths), paths, out)
    identity = json.loads((tmp_path / "p.csv.run.json").read_text())["identity"]
    assert identity["model"]["metadata"] == made.spec.encoding.fingerprint
    assert identity["metadata"]["columns"] == {"age": "age_approx", "sex": "gender", "site": "region"}
    header = out.read_text().splitlines()[0].split(",")
    assert not {"p_image_malignant", "metadata_shift"} & set(header)
    with out.open("r+b") as kept:  # cut off after some rows
        kept.truncate(out.stat().st_size - 200)
    again = Output(path=out, resume=True)
    assert write_predictions(plain.with_metadata(file, paths), paths, again).complete
    with out.open(newline="") as rows:
        found = [[float(row[f"p_{code}"]) for code in made.spec.labels.codes] for row in csv.DictReader(rows)]
    assert np.abs(np.array(found) - made.theirs(paths, ENTRIES)).max() < 1e-5
    file.write_text(file.read_text().replace("70", "71"))
    with pytest.raises(MismatchError, match=r"metadata\.sha256"):
        write_predictions(plain.with_metadata(file, paths), paths, again)
    with pytest.raises(MismatchError, match="metadata"):
        write_predictions(plain, paths, again)


def test_on_the_command_line(made, paths, image_dir, tmp_path, capsys):
    file, out = table(tmp_path, paths), tmp_path / "p.csv"
    sized = ["--labels", "ham10000", "--preprocess", "unit-pillow", "--input-size", "32"]
    given = [str(made.file), *sized, "--metadata-encoding", str(made.encoding)]
    listed = [str(path) for path in paths]
    assert run(["predict", *listed, "--model", *given, "--metadata", str(file), "-o", str(out)]) == 0
    assert "'palms/soles' (1)" in capsys.readouterr().err
    with out.open(newline="") as rows:
        found = [[float(row[f"p_{code}"]) for code in made.spec.labels.codes] for row in csv.DictReader(rows)]
    assert np.abs(np.array(found) - made.theirs(paths, ENTRIES)).max() < 1e-5
    assert made.spec.encoding.width == WIDTH
    assert run(["convert", *given, "--output", str(tmp_path / "bundle")]) in {0, 2}
