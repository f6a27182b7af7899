"""Hostile Keras files: refused with a sentence, nothing run, nothing exhausted."""

from __future__ import annotations

import base64
import json
import marshal
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from keras_fixtures import layer, sequential, stated, tiny, tiny_weights, write_h5, write_keras

from skinclf.errors import ModelError, UnsafeModelError
from skinclf.weights.keras_file import import_keras

NAMES = {"conv": "conv2d", "out": "dense"}


def load(path: Path) -> Any:
    return import_keras(path, stated(3, height=16), name="evil", source="x")


def h5(folder: Path, config: Any = None, change: Callable[[h5py.File], None] | None = None) -> Path:
    return write_h5(folder / "evil.h5", config or tiny(), tiny_weights(), change=change)


def keras(folder: Path, config: Any = None, extra: dict[str, bytes] | None = None) -> Path:
    return write_keras(folder / "evil.keras", config or tiny(), tiny_weights(), names=NAMES, extra=extra)


# --- code --------------------------------------------------------------------------------------


def payload(marker: Path) -> str:
    """Compiled code that would make a file, packed as Keras packs the code of a Lambda."""
    code = compile(f"open({str(marker)!r}, 'w').close()", "payload", "exec")
    return base64.b64encode(marshal.dumps(code)).decode()


def lambda_layer(marker: Path) -> dict[str, Any]:
    legacy = [payload(marker) + "\n", None, None]
    return layer("Lambda", "sneaky", function=legacy, function_type="lambda", arguments={})


def lambda_value(marker: Path) -> dict[str, Any]:
    inner = {"code": payload(marker), "defaults": None, "closure": None}
    return {"class_name": "__lambda__", "config": {"value": inner}}


HIDING: dict[str, Callable[[Path], dict[str, Any]]] = {
    "plain": lambda_layer,
    "nested": lambda m: sequential(lambda_layer(m)) | {"name": "inside"},
    "wrapped": lambda m: layer("TimeDistributed", "wrapper", layer=lambda_layer(m)),
    "modern": lambda m: layer("Lambda", "sneaky", function=lambda_value(m)),
    "activation": lambda m: layer("Activation", "sneaky", activation=lambda_value(m)),
    "inner_activation": lambda m: layer("Dense", "sneaky", units=3, activation=lambda_value(m)),
    "initializer": lambda m: layer("Dense", "sneaky", units=3, kernel_initializer=lambda_value(m)),
}


@pytest.mark.parametrize("form", [h5, keras])
@pytest.mark.parametrize("place", HIDING)
def test_lambdas_never_run(tmp_path: Path, form: Callable[..., Path], place: str) -> None:
    marker = tmp_path / "it-ran"
    with pytest.raises(UnsafeModelError, match=r"Lambda.*skinclf never runs") as caught:
        load(form(tmp_path, tiny(HIDING[place](marker))))
    assert "sneaky" in str(caught.value)
    assert not marker.exists()


def test_the_payload_is_real(tmp_path: Path) -> None:
    """What the tests above keep from running would run."""
    marker = tmp_path / "it-ran"
    exec(marshal.loads(base64.b64decode(payload(marker))))
    assert marker.exists()


@pytest.mark.parametrize("form", [h5, keras])
@pytest.mark.parametrize(
    "how",
    [
        {"registered_name": "mine>Conv2D"},
        {"module": "os.path", "registered_name": None},
        {"class_name": "Custom>Conv2D"},
    ],
)
def test_custom_classes_are_refused_even_under_known_names(
    tmp_path: Path, form: Callable[..., Path], how: dict[str, Any]
) -> None:
    bad = {**layer("Conv2D", "disguised", filters=4, kernel_size=[1, 1]), **how}
    with pytest.raises(UnsafeModelError, match="'disguised' is of the custom class"):
        load(form(tmp_path, tiny(bad)))


# --- HDF5 ----------------------------------------------------------------------------------------


def _external_link(file: h5py.File) -> None:
    del file["model_weights/conv/conv/kernel:0"]
    file["model_weights/conv/conv/kernel:0"] = h5py.ExternalLink("/etc/passwd", "/x")


def _soft_link(file: h5py.File) -> None:
    del file["model_weights/conv/conv/bias:0"]
    file["model_weights/conv/conv/bias:0"] = h5py.SoftLink("/model_weights/out/out/bias:0")


def _loop(file: h5py.File) -> None:
    file["model_weights/conv/again"] = file["model_weights"]


def _external_storage(file: h5py.File) -> None:
    del file["model_weights/conv/conv/bias:0"]
    file["model_weights/conv/conv"].create_dataset("bias:0", (4,), "f4", external=[("/etc/passwd", 0, 16)])


def _virtual(file: h5py.File) -> None:
    del file["model_weights/conv/conv/bias:0"]
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    file["model_weights/conv/conv"].create_virtual_dataset("bias:0", layout)


def _nothing_stored(file: h5py.File) -> None:
    del file["model_weights/conv/conv/bias:0"]
    file["model_weights/conv/conv"].create_dataset("bias:0", (1 << 40,), "f4")


def _compressed_bomb(file: h5py.File) -> None:
    file.create_dataset("bomb", (1 << 38,), "f4", chunks=(1 << 20,), compression="gzip")


def _unknown_filter(file: h5py.File) -> None:
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((4,))
    plan.set_filter(32008, h5py.h5z.FLAG_OPTIONAL)
    space = h5py.h5s.create_simple((4,))
    h5py.h5d.create(file.id, b"odd", h5py.h5t.IEEE_F32LE, space, dcpl=plan)


def _deep(file: h5py.File) -> None:
    group = file
    for _ in range(100):
        group = group.create_group("g")


def _named_type(file: h5py.File) -> None:
    file["kind"] = np.dtype("f4")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_external_link, "link to somewhere else"),
        (_soft_link, "link to somewhere else"),
        (_loop, "linked twice"),
        (_external_storage, "stored in another file"),
        (_virtual, "put together from other files"),
        (_nothing_stored, "declares 4,398,046,511,104 bytes and stores 0"),
        (_compressed_bomb, "unpack to"),
        (_unknown_filter, r"filters \[32008\]"),
        (_deep, "too many of them"),
        (_named_type, "neither a group nor a dataset"),
    ],
)
def test_hdf5_tricks(tmp_path: Path, change: Callable[[h5py.File], None], message: str) -> None:
    with pytest.raises(UnsafeModelError, match=message):
        load(h5(tmp_path, change=change))


def test_a_configuration_is_one_text(tmp_path: Path) -> None:
    """A thousand references may all name one long text; lists of texts are never read."""

    def several(file: h5py.File) -> None:
        text = file.attrs["model_config"]
        del file.attrs["model_config"]
        file.attrs["model_config"] = [text] * 50

    with pytest.raises(UnsafeModelError, match="no single text"):
        load(h5(tmp_path, change=several))


def test_lists_of_names_are_not_needed(tmp_path: Path) -> None:
    def wrong(file: h5py.File) -> None:
        file["model_weights"].attrs["layer_names"] = ["x" * 100] * 600
        file["model_weights/conv"].attrs["weight_names"] = ["y" * 100] * 600

    assert load(h5(tmp_path, change=wrong)).network is not None


def test_ordinary_compression_is_read(tmp_path: Path) -> None:
    def compress(file: h5py.File) -> None:
        group = file["model_weights/conv/conv"]
        kernel = group["kernel:0"][()]
        del group["kernel:0"]
        group.create_dataset("kernel:0", data=kernel, compression="gzip", shuffle=True, fletcher32=True)

    assert load(h5(tmp_path, change=compress)).network is not None


@pytest.mark.parametrize("form", [h5, keras])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_truncated(tmp_path: Path, form: Callable[..., Path], share: float) -> None:
    path = form(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError, match="evil: "):
        load(path)


@pytest.mark.parametrize("form", [h5, keras])
def test_flipped_bytes_never_surprise(tmp_path: Path, form: Callable[..., Path]) -> None:
    """Damage anywhere is a `ModelError`, or harmless; nothing else ever comes out."""
    path = form(tmp_path)
    data, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        damaged = bytearray(data)
        for position in rng.integers(0, len(data), 4):
            damaged[position] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            load(path)
        except ModelError:
            refused += 1
    assert refused > 3


def test_damage_in_an_archive_is_noticed(tmp_path: Path) -> None:
    """A flipped bit inside a tensor changes no shape; the archive's checksum finds it."""
    path = keras(tmp_path)
    data = bytearray(path.read_bytes())
    kernel = tiny_weights()["conv"]["kernel"].tobytes()
    data[data.index(kernel) + 5] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(ModelError, match="damaged or incomplete"):
        load(path)


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
            "name": "x", "layers": [start, {**inner, "name": "x", "inbound_nodes": calls}],
            "input_layers": [["i", 0, 0]], "output_layers": [["x", first + times - 1, 0]],
        }  # fmt: skip
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
    assert sum(p.numel() for p in model.network.parameters()) == 3 * 3 * 3 * 4 + 4 + 4 * 3 + 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_many_large_tensors_at_one_time(tmp_path: Path) -> None:
    """Each is small enough; together they would not be."""
    inner = layer("UpSampling2D", "u", size=[300, 300])
    branches = [{**inner, "name": f"u{i}", "inbound_nodes": [[["in", 0, 0, {}]]]} for i in range(20)]
    start = {"class_name": "InputLayer", "name": "in", "config": {"batch_input_shape": [None, 16, 16, 3]},
             "inbound_nodes": []}  # fmt: skip
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
    keys = [key for key in model.network.state_dict() if key.startswith("layers.")]
    assert all(part.isidentifier() for key in keys for part in key.split("."))
