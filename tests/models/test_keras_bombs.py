"""Hostile archives and configurations of Keras: refused with a sentence, nothing exhausted."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
from support.keras_fixtures import layer, sequential, stated, tiny, tiny_weights, write_h5, write_keras

from skinclf.errors import ModelError, UnsafeModelError
from skinclf.models.formats.keras.file import import_keras

NAMES = {"conv": "conv2d", "out": "dense"}


def load(path: Path) -> Any:
    return import_keras(path, stated(3, height=16), name="evil", source="x")


def h5(folder: Path, config: Any = None, change: Callable[[h5py.File], None] | None = None) -> Path:
    return write_h5(folder / "evil.h5", config or tiny(), tiny_weights(), change=change)


def keras(folder: Path, config: Any = None, extra: dict[str, bytes] | None = None) -> Path:
    return write_keras(folder / "evil.keras", config or tiny(), tiny_weights(), names=NAMES, extra=extra)


# --- zip -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../../escape.txt", "/etc/cron.d/x", "a/../../b", "..\\..\\x", "C:/x", "\\\\host\\x"]
)
def test_path_traversal(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafeModelError, match="points outside the archive"):
        load(keras(tmp_path, extra={name: b"x"}))
    assert not (tmp_path.parent / "escape.txt").exists()


def test_links_in_archives(tmp_path: Path) -> None:
    path = keras(tmp_path)
    entry = zipfile.ZipInfo("assets")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(UnsafeModelError, match="points outside"):
        load(path)


def bomb(folder: Path, name: str, size: int) -> Path:
    path = keras(folder)
    with zipfile.ZipFile(path) as archive:
        parts = {entry: archive.read(entry) for entry in archive.namelist() if entry != name}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, data in parts.items():
            archive.writestr(entry, data)
        with archive.open(name, "w", force_zip64=True) as file:
            block = bytes(1 << 20)
            for _ in range(size >> 20):
                file.write(block)
    return path


def test_zip_bomb(tmp_path: Path) -> None:
    path = bomb(tmp_path, "model.weights.h5", 96 << 20)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(UnsafeModelError, match="unpack to"):
        load(path)


def test_large_config(tmp_path: Path) -> None:
    with pytest.raises(UnsafeModelError, match=r"config\.json is larger than"):
        load(bomb(tmp_path, "config.json", 20 << 20))
    padded = json.dumps(tiny()) + " " * (17 << 20)
    with pytest.raises(ModelError, match=r"larger than|message too large|HDF5"):
        load(h5(tmp_path, config=padded))


def test_a_size_that_lies(tmp_path: Path) -> None:
    """The directory declares less than the entry unpacks to."""
    path = keras(tmp_path)
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("model.weights.h5").file_size
    data = path.read_bytes()
    place = data.rindex(size.to_bytes(4, "little"))
    path.write_bytes(data[:place] + (size // 2).to_bytes(4, "little") + data[place + 4 :])
    with pytest.raises(ModelError, match="damaged or incomplete"):
        load(path)


def test_two_entries_of_one_name(tmp_path: Path) -> None:
    path = keras(tmp_path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("config.json", "{}")
    with pytest.raises(UnsafeModelError, match="two of one name"):
        load(path)


def test_archives_that_are_no_models(tmp_path: Path) -> None:
    path = tmp_path / "other.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ModelError, match=r"no \.keras file"):
        load(path)


# --- JSON ----------------------------------------------------------------------------------------


def nested_models(depth: int) -> dict[str, Any]:
    config = tiny()
    for _ in range(depth):
        config = {"class_name": "Sequential", "config": {"name": "m", "layers": [config | {"name": "m"}]}}
    return config


def multiplying(depth: int, times: int) -> dict[str, Any]:
    """Each model calls the next one several times in a row; only the innermost layer does nothing, often."""
    start = {"class_name": "InputLayer", "name": "i", "config": {"name": "i"}, "inbound_nodes": []}
    inner: dict[str, Any] = {"class_name": "Dropout", "config": {"name": "x"}}
    for _ in range(depth):
        first = 1 if inner["class_name"] == "Functional" else 0
        calls = [[["i", 0, 0, {}]], *([["x", first + n, 0, {}]] for n in range(times - 1))]
        config = {
            "name": "x",
            "layers": [start, {**inner, "name": "x", "inbound_nodes": calls}],
            "input_layers": [["i", 0, 0]],
            "output_layers": [["x", first + times - 1, 0]],
        }
        inner = {"class_name": "Functional", "config": config}
    return inner


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("[" * 200_000, "not readable as JSON"),
        ('{"class_name":' * 50_000, "not readable as JSON"),
        ('{"class_name": "Sequential", "config": {"layers": [' + "9" * 10_000 + "]}}", "evil: "),
        (json.dumps(nested_models(50)), "nested more than"),
        (json.dumps(sequential(*[layer("Dropout", f"d{i}") for i in range(12_000)])), "more than 10,000"),
        (
            json.dumps(sequential(layer("Dense", "d", units=1 << 23), layer("Dense", "e", units=1 << 23))),
            "evil: ",
        ),
        (
            json.dumps(sequential(layer("UpSampling2D", "u", size=[4000, 4000]))),
            "would make a tensor of shape",
        ),
        (json.dumps(tiny(layer("ZeroPadding2D", "z", padding=10**9))), "'z'.*padding"),
        (json.dumps(tiny(layer("ZeroPadding2D", "z", padding=60_000))), "'z' would make a tensor"),
        (json.dumps(tiny(layer("Resizing", "z", height=10**6, width=10**6))), "'z' would make a tensor"),
        (json.dumps(tiny(layer("Resizing", "z", height=10**6, width=1))), "size"),
        (json.dumps(sequential(layer("Flatten", "f"), layer("Dense", "out", units=10**9))), "'out'.*units"),
        (json.dumps(tiny(layer("Conv2D", "c", filters=10**6, kernel_size=1000, padding="same"))), "evil: "),
        (json.dumps(tiny(layer("Reshape", "r", target_shape=[10**6, -1]))), "'r' cannot reshape"),
        (
            json.dumps(tiny(layer("MaxPooling2D", "m", pool_size=100_000, strides=1, padding="same"))),
            "at 'm' it would keep 40,",
        ),
        (json.dumps(tiny(layer("Dropout", "x" * 600))), "no usable name"),
    ],
    ids=[
        *(
            "deep",
            "deep objects",
            "digits",
            "models",
            "layers",
            "wide",
            "large",
            "padding",
            "pixels",
            "resized",
        ),
        *("line", "dense", "kernel", "reshape", "pool", "name"),
    ],
)
def test_hostile_configs_cost_nothing(tmp_path: Path, config: str, message: str) -> None:
    resource = pytest.importorskip("resource")
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(ModelError, match=message):
        load(keras(tmp_path, config))
    assert time.process_time() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 1024


def test_normalisation_without_variables_costs_nothing(tmp_path: Path) -> None:
    """No variable in the file bounds its size, so no parameter is made for it."""
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    config = tiny(
        layer("UpSampling2D", "u", size=[700, 700]),
        layer("LayerNormalization", "n", axis=[1, 2, 3], center=False, scale=False),
    )
    model = load(h5(tmp_path, config))
    assert sum(p.numel() for p in model.torch_network().parameters()) == 3 * 3 * 3 * 4 + 4 + 4 * 3 + 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_many_large_tensors_at_one_time(tmp_path: Path) -> None:
    """Each is small enough; together they would not be."""
    inner = layer("UpSampling2D", "u", size=[300, 300])
    branches = [{**inner, "name": f"u{i}", "inbound_nodes": [[["in", 0, 0, {}]]]} for i in range(20)]
    start = {
        "class_name": "InputLayer",
        "name": "in",
        "config": {"batch_input_shape": [None, 16, 16, 3]},
        "inbound_nodes": [],
    }
    join = {**layer("Add", "a"), "name": "a", "inbound_nodes": [[[f"u{i}", 0, 0, {}] for i in range(20)]]}
    pool = {**layer("GlobalAveragePooling2D", "p"), "name": "p", "inbound_nodes": [[["a", 0, 0, {}]]]}
    soft = {**layer("Softmax", "s"), "name": "s", "inbound_nodes": [[["p", 0, 0, {}]]]}
    ends = {"input_layers": [["in", 0, 0]], "output_layers": [["s", 0, 0]]}
    config = {"class_name": "Functional", "config": {"layers": [start, *branches, join, pool, soft], **ends}}
    with pytest.raises(ModelError, match=r"it would keep [\d,]+ numbers of one image"):
        load(write_h5(tmp_path / "m.h5", config, {}))


def test_models_that_multiply(tmp_path: Path) -> None:
    """A few lines of JSON may not ask for four million calls; what they ask for in earnest is read."""
    start = time.process_time()
    for depth, message in ((4, "output has shape"), (11, "calls layers more than 100,000 times")):
        with pytest.raises(ModelError, match=message):
            load(write_h5(tmp_path / "m.h5", multiplying(depth, 4), {}))
    assert time.process_time() - start < 20


@pytest.mark.parametrize(
    "name",
    ["../../x", "pop", "forward", "__class__", "a.b", "Ünïcödé", "'; import os", "1", "layers", "weight"],
)
def test_odd_names_are_only_names(tmp_path: Path, name: str) -> None:
    config = tiny()
    config["config"]["layers"][1]["config"]["name"] = name
    weights = tiny_weights()
    weights[name] = weights.pop("conv")
    if name.startswith("../"):
        path = write_keras(tmp_path / "m.keras", config, weights, names={name: "conv2d", "out": "dense"})
    else:
        path = write_h5(tmp_path / "m.h5", config, weights)
    model = load(path)
    keys = [key for key in model.torch_network().state_dict() if key.startswith("layers.")]
    assert all(part.isidentifier() for key in keys for part in key.split("."))
