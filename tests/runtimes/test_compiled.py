"""The compiled network of a built-in model: the same bits as one compiled now, and never for other weights."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skinclf.errors import ModelError
from skinclf.images.synthetic import synthetic_lesion
from skinclf.models.load import load_model
from skinclf.models.registry import list_models
from skinclf.runtimes.create import create_runtime

pytest.importorskip("openvino")
BUILT_IN = [known.name for known in list_models() if known.folder is not None and not known.members]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKINCLF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _own(folder: Path, name: str | None = None):
    """A built-in model, from a copy of its folder."""
    if not folder.exists():
        shutil.copytree(load_model(name).folder, folder)
    copied = load_model(folder)
    return replace(copied, spec=copied.spec.replace(source="builtin"))


def _scores(model):
    pictures = [synthetic_lesion(seed, width=320, height=240) for seed in range(4)]
    pixels = np.stack([model.spec.preprocess.pixels(picture) for picture in pictures])
    return create_runtime(model, runtime="openvino", device="cpu").run(pixels)


def _no_compiler(monkeypatch):
    """Make any use of the compiler an error, so that an answer can only come from the cache."""
    import openvino

    def refuse(*_):
        raise AssertionError("compiled")

    monkeypatch.setattr(openvino.Core, "compile_model", refuse)


@pytest.mark.parametrize("name", BUILT_IN)
def test_it_gives_the_same_bits(name, cache, monkeypatch):
    first = _scores(load_model(name))
    assert len(list(cache.rglob("network.blob"))) == 1
    _no_compiler(monkeypatch)
    np.testing.assert_array_equal(_scores(load_model(name)), first)


@pytest.mark.parametrize("damage", ["one bit", "gone", "other"])
def test_it_never_answers_for_other_weights(tmp_path, damage):
    model = _own(tmp_path / "model")
    _scores(model)
    path = tmp_path / "model" / "model.safetensors"
    data = bytearray(path.read_bytes())
    if damage == "one bit":
        data[-100] ^= 1
        path.write_bytes(bytes(data))
    elif damage == "gone":
        path.unlink()
    else:
        shutil.copy(load_model(BUILT_IN[-1]).folder / "model.safetensors", path)
    for again in (model, _own(tmp_path / "model")):
        with pytest.raises(ModelError, match=r"replaced|cannot be read"):
            create_runtime(again, runtime="openvino", device="cpu")


def test_a_damaged_graph_is_refused(tmp_path):
    _scores(_own(tmp_path / "model"))
    path = tmp_path / "model" / "openvino.xml"
    path.write_bytes(path.read_bytes().replace(b"Clamp", b"Clamq", 1))
    with pytest.raises(ModelError, match="damaged"):
        create_runtime(_own(tmp_path / "model"), runtime="openvino", device="cpu")


@pytest.mark.parametrize("damage", ["one bit", "no hashes", "refused"])
def test_a_damaged_one_is_made_again(tmp_path, cache, monkeypatch, damage):
    model = _own(tmp_path / "model")
    first = _scores(model)
    (path,) = cache.rglob("network.blob")
    if damage == "one bit":
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    elif damage == "no hashes":
        (path.parent / "sha256.json").unlink()
    else:
        path.write_bytes(b"nothing that OpenVINO wrote")
        (path.parent / "sha256.json").write_text(
            json.dumps({path.name: hashlib.sha256(path.read_bytes()).hexdigest()})
        )
    np.testing.assert_array_equal(_scores(model), first)
    _no_compiler(monkeypatch)
    np.testing.assert_array_equal(_scores(model), first)


@pytest.mark.parametrize("what", ["cores", "instructions", "graph", "version"])
def test_another_machine_graph_or_version_has_its_own(tmp_path, cache, monkeypatch, what):
    import openvino

    _scores(_own(tmp_path / "model"))
    if what == "cores":
        monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(97)), raising=False)
    elif what == "instructions":
        other = tmp_path / "cpuinfo"
        other.write_text("flags\t: fpu sse2\n")
        monkeypatch.setattr("skinclf.runtimes.ready_graph._PROCESSOR", other)
    elif what == "graph":
        monkeypatch.setattr("skinclf.runtimes.ready_graph.ready_graph_hash", lambda _: "0")
    else:
        monkeypatch.setattr(openvino, "__version__", "0.0.0")
    _scores(_own(tmp_path / "model"))
    assert len(list(cache.rglob("network.blob"))) == 2


def test_embeddings_are_kept_apart_from_the_plain_network(cache, monkeypatch):
    model = load_model(BUILT_IN[0])
    pixels = np.zeros((2, 224, 224, 3), np.uint8)
    plain = create_runtime(model, runtime="openvino", device="cpu").run(pixels)
    first = create_runtime(model, runtime="openvino", device="cpu", embeddings=True).embed(pixels)
    assert len(list(cache.rglob("network.blob"))) == 2
    _no_compiler(monkeypatch)
    again = create_runtime(model, runtime="openvino", device="cpu", embeddings=True).embed(pixels)
    for kept, compiled in zip(again, first, strict=True):
        np.testing.assert_array_equal(kept, compiled)
    np.testing.assert_array_equal(create_runtime(model, runtime="openvino", device="cpu").run(pixels), plain)


def test_openvino_keeps_its_converter():
    script = (
        "import sys\n"
        "from skinclf.runtimes.openvino import need_openvino\n"
        "ov = need_openvino()\n"
        "assert 'openvino.tools.ovc' not in sys.modules\n"
        "from openvino import convert_model\n"
        "assert ov.convert_model is convert_model and 'openvino_telemetry' not in sys.modules\n"
        "import openvino.tools.ovc\n"
        "assert openvino.tools.ovc.convert_model is convert_model and not hasattr(ov, 'nothing')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
