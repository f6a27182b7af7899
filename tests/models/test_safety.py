"""Hostile model files: refused with a sentence, and nothing in them runs."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from support.bundles import random_network
from support.timm_folder import timm_folder
from support.transformers_folder import VIT, write

from skinclf.errors import ModelError, UnsafeModelError
from skinclf.images.preprocess import scaling
from skinclf.labels import HAM10000
from skinclf.models.architectures import restore_network
from skinclf.models.formats.torch_file import read_checkpoint
from skinclf.models.load import load_model
from skinclf.models.options import ModelOptions
from skinclf.models.spec import ModelSpec

STATED = ModelOptions(labels=HAM10000, preprocess=scaling("unit", height=64, width=64))


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.fixture
def marker(tmp_path) -> Path:
    return tmp_path / "the-payload-ran"


@pytest.fixture(scope="module")
def state():
    return random_network("resnet18", 7, seed=0)


def bare_pickle(path, marker, state):
    path.write_bytes(pickle.dumps(Payload(marker)))


def pickled_state(path, marker, state):
    path.write_bytes(pickle.dumps({"fc.weight": [1.0], "x": Payload(marker)}, protocol=0))


def torch_object(path, marker, state):
    torch.save(Payload(marker), path)


def beside_the_weights(path, marker, state):
    torch.save({"model_state_dict": state, "config": {"deep": [Payload(marker)]}}, path)


def among_the_weights(path, marker, state):
    torch.save({**state, "fc.weight": Payload(marker)}, path)


def before_zip(path, marker, state):
    torch.save({"a": torch.zeros(2), "x": Payload(marker)}, path, _use_new_zipfile_serialization=False)


def tar(path, marker, state):
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name in ("sys_info", "pickle", "tensors"):
            data = pickle.dumps(Payload(marker))
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def in_a_plain_zip(path, marker, state):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps(Payload(marker)))
        archive.writestr("model/version", "3\n")


def two_descriptions(path, marker, state):
    torch.save({"a": torch.zeros(2)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("evil/data.pkl", pickle.dumps(Payload(marker)))


def whole_network(path, marker, state):
    network = torch.nn.Linear(2, 2)
    network.extra = Payload(marker)
    torch.save(network, path)


ATTACKS = [
    bare_pickle,
    pickled_state,
    torch_object,
    beside_the_weights,
    among_the_weights,
    before_zip,
    tar,
    in_a_plain_zip,
    two_descriptions,
    whole_network,
]


def test_the_payload_would_run(marker):
    pickle.loads(pickle.dumps(Payload(marker)))
    assert marker.exists()


@pytest.mark.parametrize(
    "name", ["model.pth", "model.pt", "model.bin", "model.h5", "model.keras", "model.onnx"]
)
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_payload_in_a_file_never_runs(tmp_path, marker, state, attack, name):
    attack(tmp_path / name, marker, state)
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path / name, options=STATED).torch_network()
    assert not marker.exists()
    message = str(caught.value)
    assert name in message
    assert "\n" not in message
    assert message.endswith(".") or "PytorchStreamReader" in message


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_payload_in_pytorch_model_bin_never_runs(tmp_path, marker, state, attack):
    for folder in (timm_folder(tmp_path / "timm"), write(tmp_path / "vit", VIT)):
        (folder / "model.safetensors").unlink()
        attack(folder / "pytorch_model.bin", marker, state)
        with pytest.raises(ModelError):
            load_model(folder).torch_network()
        assert not marker.exists()


@pytest.mark.parametrize("attack", [torch_object, beside_the_weights, among_the_weights, whole_network])
def test_code_is_named_as_the_reason(tmp_path, marker, state, attack):
    attack(tmp_path / "m.pth", marker, state)
    with pytest.raises(UnsafeModelError, match="could run code"):
        load_model(tmp_path / "m.pth", options=STATED)


def test_torchscript_programs_are_refused(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "m.pt")
    with pytest.raises(UnsafeModelError, match="TorchScript"):
        load_model(tmp_path / "m.pt", options=STATED)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_truncated_files(tmp_path, state, kind, share):
    from safetensors.torch import save_file

    path = tmp_path / f"m.{kind}"
    if kind == "pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError, match=r"empty|complete|damaged|not a model"):
        load_model(path, options=STATED)


def test_flipped_bits_are_model_errors_at_most(tmp_path):
    torch.save({"state_dict": {"a": torch.ones(3)}, "epoch": 1}, tmp_path / "m.pth")
    data = (tmp_path / "m.pth").read_bytes()
    for position in range(0, len(data), 9):
        broken = bytearray(data)
        broken[position] ^= 0x11
        (tmp_path / "m.pth").write_bytes(broken)
        try:
            read_checkpoint(tmp_path / "m.pth")
        except ModelError:
            continue  # any other exception fails the test


def test_a_storage_shorter_than_its_tensor(tmp_path):
    torch.save({"w": torch.ones(5000)}, tmp_path / "good.pth")
    with zipfile.ZipFile(tmp_path / "good.pth") as good, zipfile.ZipFile(tmp_path / "m.pth", "w") as short:
        for name in good.namelist():
            data = good.read(name)
            short.writestr(name, data[:64] if "/data/" in name else data)
    with pytest.raises(ModelError):
        read_checkpoint(tmp_path / "m.pth")


def test_compressed_archives_are_refused_unread(tmp_path):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", pickle.dumps({"w": 1}))
        archive.writestr("m/data/0", b"\0" * 50_000_000)
    assert path.stat().st_size < 100_000
    with pytest.raises(UnsafeModelError, match="unpack to more than the file"):
        load_model(path, options=STATED)


def test_a_keras_archive_bomb_is_refused(tmp_path):
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b"[" * 60_000_000)
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", b"")
    assert path.stat().st_size < 100_000
    with pytest.raises(ModelError):
        load_model(path, options=STATED)


def test_a_tensor_that_is_larger_than_its_memory_is_refused(tmp_path):
    huge = torch.zeros(1).expand(1_000_000, 1_000_000)
    torch.save({"fc.weight": huge}, tmp_path / "m.pth")
    assert (tmp_path / "m.pth").stat().st_size < 10_000
    with pytest.raises(ModelError, match=r"unusable: fc\.weight|no state dict of plain tensors"):
        read_checkpoint(tmp_path / "m.pth")


@pytest.mark.parametrize(
    "odd",
    [
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        lambda: torch.zeros(3, device="meta"),
        lambda: 3.0,
    ],
)
def test_what_is_no_plain_tensor_is_refused(tmp_path, odd):
    torch.save({"state_dict": {"conv1.weight": torch.zeros(2), "odd": odd()}}, tmp_path / "m.pth")
    with pytest.raises(ModelError):
        read_checkpoint(tmp_path / "m.pth")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([1, 2], "holds a list"),
        (torch.zeros(3), "holds a Tensor"),
        ({}, "no state dict"),
        ({"epoch": 3, "lr": 0.1}, "Its keys are epoch, lr"),
    ],
)
def test_checkpoints_without_a_state_dict(tmp_path, content, says):
    torch.save(content, tmp_path / "m.pth")
    with pytest.raises(ModelError, match=says):
        read_checkpoint(tmp_path / "m.pth")


def test_a_safetensors_header_that_lies(tmp_path):
    for size in (2**63, 200_000_000, 10):
        (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", size) + b'{"a":{"dtype":"F32"}}')
        with pytest.raises(ModelError, match="safetensors"):
            load_model(tmp_path / "m.safetensors", options=STATED)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"skinclf": ' + "[" * 100_000,
        '{"skinclf": {}}',
        '{"skinclf": 3, "architecture": "resnet18"}',
        '{"architecture": "resnet18", "num_classes": 1e999}',
        '{"architecture": "resnet18", "num_classes": 7, "label_names": {"0": "a"}, "pretrained_cfg": {"input_size": [3, 1e30, 5]}}',
        '{"model_type": "vit", "id2label": {"0": "a", "1": "b"}, "image_size": 1e308}',
        "\x00",
        "null",
    ],
)
def test_hostile_configurations_are_model_errors(tmp_path, text):
    folder = timm_folder(tmp_path / "m")
    (folder / "config.json").write_text(text)
    with pytest.raises(ModelError):
        load_model(folder).torch_network()


def test_a_huge_configuration_is_not_parsed(tmp_path):
    folder = timm_folder(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "padding": "x" * 17_000_000}))
    with pytest.raises(ModelError, match="larger than"):
        load_model(folder)


def test_a_bundle_that_asks_for_the_network_or_a_file(bundle_copy):
    config = json.loads((bundle_copy / "config.json").read_text())
    for change in (
        {"architecture": "hf-hub:evil/net"},
        {"model_args": {"checkpoint_path": "/etc/passwd"}},
        {"architecture": "skinclf/../../evil"},
        {"model_args": {"stem_size": 10**8}},
    ):
        (bundle_copy / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(ModelError):
            load_model(bundle_copy).torch_network()


def _in_little_memory(action):
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match=r"model_args ask for [\d,]+ numbers; the weights hold"):
        action()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024


def test_a_graph_larger_than_its_weights_costs_no_memory(tmp_path):
    wide = 30_000
    parts = {
        "mean": ["global_mean", {}],
        "a": ["linear", {"in": 3, "out": wide}],
        "b": ["linear", {"in": wide, "out": wide}],
        "c": ["linear", {"in": wide, "out": 7}],
    }
    calls = [[name, [number]] for number, name in enumerate(parts)]
    spec = ModelSpec(
        name="wide",
        architecture="skinclf/keras-graph",
        labels=HAM10000,
        preprocess=scaling("raw", height=8, width=8),
        model_args={"graph": {"version": 1, "input": [8, 8], "layers": parts, "calls": calls}},
    )
    _in_little_memory(lambda: restore_network(spec, {"layers.c.bias": torch.zeros(7)}))


def test_a_transformer_larger_than_its_weights_costs_no_memory():
    args = {"image_size": 32, "patch_size": 16, "width": 8192, "depth": 8, "heads": 8, "hidden": 65536}
    spec = ModelSpec(
        name="deep",
        architecture="skinclf/transformers-vit",
        labels=HAM10000,
        preprocess=scaling("tf", height=32, width=32),
        model_args={**args, "qkv_bias": True, "eps": 1e-6},
    )
    _in_little_memory(lambda: restore_network(spec, {"head.bias": torch.zeros(7)}))
