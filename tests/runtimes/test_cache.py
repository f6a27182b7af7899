"""The cache of compiled networks: it answers only for weights that are there and as recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from skinclf.errors import ModelError
from skinclf.models.load import load_model
from skinclf.runtimes.create import create_runtime


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SKINCLF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def pixels(folder: Path) -> np.ndarray:
    spec = json.loads((folder / "config.json").read_text())["skinclf"]["preprocess"]
    return np.random.default_rng(0).integers(0, 256, (2, spec["height"], spec["width"], 3), dtype=np.uint8)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "garbage": lambda path: path.write_bytes(b"garbage\n"),
    "one bit": flip,
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "gone": lambda path: path.unlink(),
    "a link to nothing": lambda path: (path.unlink(), path.symlink_to("nowhere")),
    "a pointer": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    ("runtime", "package"), [("openvino", "openvino"), ("onnxruntime", "onnx"), ("auto", "openvino")]
)
def test_a_compiled_network_never_answers_for_other_weights(
    bundle_copy: Path, runtime: str, package: str, damage: str
) -> None:
    pytest.importorskip(package)
    pytest.importorskip("onnxruntime")
    create_runtime(load_model(bundle_copy), runtime=runtime, device="cpu").run(pixels(bundle_copy))
    DAMAGES[damage](bundle_copy / "model.safetensors")
    with pytest.raises(ModelError, match=r"replaced|cannot be read|LFS pointer"):
        create_runtime(load_model(bundle_copy), runtime=runtime, device="cpu")


@pytest.mark.parametrize("damage", ["cut short", "one bit", "gone", "garbage"])
def test_a_damaged_artefact_is_made_again(bundle_copy: Path, cache: Path, damage: str) -> None:
    pytest.importorskip("openvino")
    x = pixels(bundle_copy)
    first = create_runtime(load_model(bundle_copy), runtime="openvino", device="cpu").run(x)
    (numbers,) = cache.rglob("model.bin")
    DAMAGES[damage](numbers)
    again = create_runtime(load_model(bundle_copy), runtime="openvino", device="cpu").run(x)
    np.testing.assert_array_equal(again, first)
    (whole,) = cache.rglob("model.bin")
    assert whole.stat().st_size > 1000
