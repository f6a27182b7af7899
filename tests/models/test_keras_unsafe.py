"""Hostile Keras files: refused with a sentence, nothing run, nothing exhausted."""

from __future__ import annotations

import base64
import marshal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
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

    assert load(h5(tmp_path, change=wrong)).has_network


def test_ordinary_compression_is_read(tmp_path: Path) -> None:
    def compress(file: h5py.File) -> None:
        group = file["model_weights/conv/conv"]
        kernel = group["kernel:0"][()]
        del group["kernel:0"]
        group.create_dataset("kernel:0", data=kernel, compression="gzip", shuffle=True, fletcher32=True)

    assert load(h5(tmp_path, change=compress)).has_network


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
