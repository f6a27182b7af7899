"""The OpenVINO graph of a built-in model: made from its weights, the same numbers, refused for anything else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from skinclf.errors import ModelError
from skinclf.images.synthetic import synthetic_lesion
from skinclf.models.load import load_model
from skinclf.models.registry import list_models
from skinclf.runtimes.create import create_runtime
from skinclf.runtimes.openvino import unfolded_graph
from skinclf.runtimes.ready_graph import GRAPH, PLACES, has_ready_graph, write_ready_graph

openvino = pytest.importorskip("openvino")
BUILT_IN = [known.name for known in list_models() if known.folder is not None and not known.members]


@pytest.fixture
def own(tmp_path):
    """The default built-in model, from a copy of its folder."""
    loaded = load_model(BUILT_IN[0])
    folder = tmp_path / "model"
    shutil.copytree(loaded.folder, folder)
    copied = load_model(folder)
    return replace(copied, spec=copied.spec.replace(source="builtin"))


def _pixels(spec):
    pictures = [synthetic_lesion(seed, width=320, height=240) for seed in range(3)]
    return np.stack([spec.preprocess.pixels(picture) for picture in pictures])


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_model_brings_one_that_gives_the_numbers_of_torch(name):
    loaded = load_model(name)
    assert has_ready_graph(loaded)
    pixels = _pixels(loaded.spec)
    found = create_runtime(loaded, runtime="openvino", device="cpu").run(pixels)
    expected = create_runtime(loaded, runtime="torch", device="cpu").run(pixels)
    assert np.abs(found - expected).max() < 1e-4


def test_it_is_what_the_weights_give(own):
    before = json.loads((own.folder / PLACES).read_text())
    write_ready_graph(own, unfolded_graph(own))
    after = json.loads((own.folder / PLACES).read_text())
    names = [[name for *_, name in record["pieces"] if name] for record in (before, after)]
    assert sorted(names[0]) == sorted(names[1])
    assert after["bytes"] == before["bytes"] or after["openvino"] != before["openvino"]


def test_the_first_run_needs_neither_torch_nor_a_cache(tmp_path):
    script = (
        "import sys; from skinclf import Predictor; from skinclf.images.synthetic import synthetic_lesion\n"
        "Predictor(runtime='openvino', workers=0).predict(synthetic_lesion(0))\n"
        "print('torch' in sys.modules)"
    )
    environment = {**os.environ, "SKINCLF_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == "False"
    assert not list(tmp_path.rglob("*.bin"))


def test_other_operations_are_refused(own):
    path = own.folder / GRAPH
    path.write_bytes(path.read_bytes().replace(b"Clamp", b"Clamq", 1))
    with pytest.raises(ModelError, match="damaged"):
        create_runtime(own, runtime="openvino", device="cpu")


def test_other_preprocessing_is_converted_anew(own):
    other = replace(own.spec.preprocess, scale=own.spec.preprocess.scale * 2)
    changed = replace(own, spec=own.spec.replace(preprocess=other))
    assert not has_ready_graph(changed)
    pixels = _pixels(own.spec)
    found = create_runtime(changed, runtime="openvino", device="cpu").run(pixels)
    expected = create_runtime(changed, runtime="torch", device="cpu").run(pixels)
    assert np.abs(found - expected).max() < 1e-4


def test_damaged_weights_are_refused(own):
    path = own.folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ModelError):
        create_runtime(own, runtime="openvino", device="cpu")


def test_a_bundle_from_elsewhere_does_not_bring_operations(own):
    foreign = replace(own, spec=own.spec.replace(source="somebody/model"))
    assert not has_ready_graph(foreign)
