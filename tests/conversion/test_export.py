"""`skinclf.conversion.export`: files of other libraries that compute the model's own probabilities."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from support.bundles import make_bundle

from skinclf.conversion import export_formats
from skinclf.conversion.export import FACTS, export_model
from skinclf.conversion.export_formats import FORMATS
from skinclf.errors import InvalidArgumentError, MissingExtraError, ModelError, OutputError
from skinclf.images.preprocess import Preprocess, scaling
from skinclf.images.synthetic import synthetic_lesion
from skinclf.inference.predictor import Predictor
from skinclf.labels import HAM10000
from skinclf.models.options import ModelOptions
from skinclf.models.probabilities import Calibration
from skinclf_cli.main import run

NEEDS = {"onnx": ("onnx", "onnxruntime"), "openvino": ("openvino",), "tflite": ("tensorflow", "onnx")}
NEEDS["saved-model"] = NEEDS["tflite"]


def needed(name: str) -> None:
    for package in NEEDS.get(name, ()):
        if find_spec(package) is None:
            pytest.skip(f"needs {package}")


def facts_of(path: Path) -> dict[str, object]:
    text = (path / FACTS if path.suffix == "" else path.with_suffix(".json")).read_text()
    facts: dict[str, object] = json.loads(text)
    return facts


def ours(bundle: Path) -> np.ndarray:
    """Probabilities of `predict` for one image that is no part of the check."""
    found = Predictor(bundle, runtime="torch").predict(synthetic_lesion(5)).probabilities
    return np.asarray(list(found.values()))


def theirs(name: str, path: Path) -> np.ndarray:
    """Probabilities of the same image by the library alone, with nothing but the file and its facts."""
    facts = facts_of(path)
    preprocess = Preprocess.from_dict(facts["preprocess"])  # type: ignore[arg-type]
    pixels = preprocess.pixels(synthetic_lesion(5))[None].astype(np.float32)
    if name == "onnx":
        import onnxruntime

        return onnxruntime.InferenceSession(str(path)).run(None, {"pixels": pixels})[0][0]
    if name == "openvino":
        import openvino

        return openvino.Core().compile_model(str(path), "CPU")(pixels)[0][0]
    if name == "torchscript":
        return torch.jit.load(str(path))(torch.from_numpy(pixels))[0].detach().numpy()
    import tensorflow as tf

    if name == "saved-model":
        return tf.saved_model.load(str(path)).signatures["serving_default"](tf.constant(pixels))[
            "probabilities"
        ][0]
    interpreter = tf.lite.Interpreter(model_path=str(path))
    return interpreter.get_signature_runner()(pixels=pixels)["probabilities"][0]


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "safetensors"])
@pytest.mark.parametrize("which", ["tiny_bundle", "two_label_bundle"])
def test_another_library_gives_what_predict_gives(
    tmp_path: Path, request: pytest.FixtureRequest, which: str, name: str
) -> None:
    needed(name)
    bundle: Path = request.getfixturevalue(which)
    path = tmp_path / f"model{FORMATS[name]}"
    made = export_model(bundle, path, format=name)
    assert made.path == path
    assert (made.images, made.difference <= 1e-5) == (4, True)
    np.testing.assert_allclose(theirs(name, path), ours(bundle), atol=1e-5)
    assert [p for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_weights_alone_are_the_state_dict_with_the_name_of_its_network(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    import timm
    from safetensors.torch import load_file

    export_model(tiny_bundle, tmp_path / "w.safetensors", format="safetensors")
    facts = facts_of(tmp_path / "w.safetensors")
    network = timm.create_model(str(facts["architecture"]), num_classes=7)
    network.load_state_dict(load_file(tmp_path / "w.safetensors"))
    pixels = Preprocess.from_dict(facts["preprocess"]).normalize(  # type: ignore[arg-type]
        Preprocess.from_dict(facts["preprocess"]).pixels(synthetic_lesion(5))[None]  # type: ignore[arg-type]
    )
    with torch.inference_mode():
        found = network.eval()(torch.from_numpy(pixels)).softmax(1)[0].numpy()
    np.testing.assert_allclose(found, ours(tiny_bundle), atol=1e-5)


@pytest.mark.parametrize(
    "fields",
    [
        {"calibration": Calibration("vector", (0.9, 1.1, 1, 1, 1, 0.5, 1), (0.1, 0, 0, 0, 0, -0.2, 0))},
        {"activation": "independent"},
        {"activation": "identity"},
    ],
    ids=["vector", "independent", "identity"],
)
def test_every_kind_of_output_is_the_one_that_predict_writes(
    tmp_path: Path, fields: dict[str, object]
) -> None:
    bundle = tmp_path / "b"
    if fields.get("activation") == "identity":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
        make_bundle(tmp_path / "a", HAM10000, scaling("torch", height=64, width=64))
        export_model(tmp_path / "a", tmp_path / "a.onnx", format="onnx")
        stated = ModelOptions(
            labels="ham10000", preprocess=tmp_path / "a.json"
        )  # the facts are read as they are
        export_model(tmp_path / "a.onnx", tmp_path / "m.pt", format="torchscript", options=stated)
        bundle = tmp_path / "a"
    else:
        make_bundle(bundle, HAM10000, scaling("torch", height=64, width=64), **fields)
        export_model(bundle, tmp_path / "m.pt", format="torchscript")
    np.testing.assert_allclose(theirs("torchscript", tmp_path / "m.pt"), ours(bundle), atol=1e-5)


def test_an_isotonic_table_is_no_layer(tmp_path: Path) -> None:
    curve = Calibration("isotonic", (1.0,), curve=((0.1, 0.2), (0.9, 0.8)), group=(0, 1, 4))
    make_bundle(tmp_path / "b", HAM10000, scaling("torch", height=64, width=64), calibration=curve)
    with pytest.raises(ModelError, match="isotonic calibration is a table"):
        export_model(tmp_path / "b", tmp_path / "m.pt", format="torchscript")
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_what_another_library_computes_otherwise_is_not_published(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = export_formats.TorchScript.run
    monkeypatch.setattr(export_formats.TorchScript, "run", lambda *given: kept(*given) + 2e-5)
    with pytest.raises(ModelError, match=r"differ by 2[\d.]*e-05"):
        export_model(tiny_bundle, tmp_path / "m.pt", format="torchscript")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "path"), [("onnx", "m.xml"), ("saved-model", "m.pb"), ("openvino", "m")])
def test_the_ending_is_that_of_the_format(tmp_path: Path, tiny_bundle: Path, name: str, path: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"the format {name} is a"):
        export_model(tiny_bundle, tmp_path / path, format=name)


def test_nothing_is_replaced(tmp_path: Path, tiny_bundle: Path) -> None:
    (tmp_path / "m.json").write_text("mine")
    with pytest.raises(OutputError, match=r"m\.json exists already"):
        export_model(tiny_bundle, tmp_path / "m.pt", format="torchscript")
    assert (tmp_path / "m.json").read_text() == "mine"


def test_a_library_that_is_missing_is_one_sentence(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_formats, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"skinclf\[onnx\]"):
        export_model(tiny_bundle, tmp_path / "m.onnx", format="onnx")


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files there")
@pytest.mark.parametrize("name", ["torchscript", "safetensors", "openvino"])
def test_a_disk_that_takes_no_more_is_one_sentence(tmp_path: Path, tiny_bundle: Path, name: str) -> None:
    needed(name)
    code = (
        "import resource, signal, sys; from skinclf_cli.main import run;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
        "sys.exit(run(sys.argv[1:]))"
    )
    path = tmp_path / f"m{FORMATS[name]}"
    command = ["export", str(tiny_bundle), "--format", name, "--output", str(path)]
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"Error: {path}: cannot be written")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_a_file_and_says_by_what_it_was_checked(
    tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.pt"
    assert run(["export", str(tiny_bundle), "--format", "torchscript", "--output", str(path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["path"], said["format"], said["images"]) == (str(path), "torchscript", 4)
    facts = facts_of(path)
    assert [x["code"] for x in facts["labels"]] == list(HAM10000.codes)  # type: ignore[attr-defined]
    assert str(tmp_path) not in path.with_suffix(".json").read_text()
    assert run(["export", str(tiny_bundle), "--output", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "config.json").is_file()


def test_options_of_a_training_run_belong_to_one(
    tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", str(tiny_bundle), "--output", str(tmp_path / "b"), "--name", "x"]) == 2
    assert "no folder of a training run" in capsys.readouterr().err
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("{}")
    assert (
        run(["export", str(tmp_path / "run"), "--format", "onnx", "--output", str(tmp_path / "b.onnx")]) == 2
    )
    assert "Make its bundle first" in capsys.readouterr().err
