"""Bundles: what is read is what was written, or it is refused."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from skinclf._utils.files import replace_file, sha256_file
from skinclf.errors import ModelError, OutputError
from skinclf.images.decode import load_image
from skinclf.images.preprocess import Preprocess, scaling
from skinclf.labels import HAM10000
from skinclf.models.architectures import build_network, load_tensors
from skinclf.models.bundle import CARD, CONFIG, WEIGHTS, is_bundle, read_spec, read_weights, write_bundle
from skinclf.models.probabilities import probabilities
from skinclf.models.spec import ModelSpec


def rewrite(folder, **changes):
    """Change keys of the skinclf block of a bundle's configuration."""
    path = folder / CONFIG
    config = json.loads(path.read_text())
    config["skinclf"].update(changes)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize("which", ["tiny_bundle", "two_label_bundle"])
def test_a_bundle_loads_and_replays_its_golden_sample(which, request):
    folder = request.getfixturevalue(which)
    spec = read_spec(folder)
    network = load_tensors(build_network(spec), read_weights(folder, spec), name=spec.name)
    assert not network.training
    assert all(p.dtype == torch.float32 for p in network.parameters())
    (golden,) = spec.golden
    pixels = spec.preprocess.pixels(load_image(folder / golden.file))
    with torch.inference_mode():
        scores = network(torch.from_numpy(spec.preprocess.normalize(pixels[None]))).numpy()
    found = probabilities(scores, spec.activation)[0]
    np.testing.assert_allclose(found, golden.probabilities, atol=golden.tolerance)
    assert 0.01 < found.max() < 0.999, "a golden sample that any network passes proves nothing"


def test_the_random_networks_tell_pictures_apart(tiny_bundle, image_dir):
    spec = read_spec(tiny_bundle)
    network = load_tensors(build_network(spec), read_weights(tiny_bundle, spec), name=spec.name)
    batch = np.stack([spec.preprocess.pixels(load_image(p)) for p in sorted(image_dir.iterdir())])
    with torch.inference_mode():
        scores = network(torch.from_numpy(spec.preprocess.normalize(batch))).numpy()
    found = probabilities(scores, spec.activation)
    assert (np.ptp(found, axis=0) > 0.02).any()
    assert len({tuple(row) for row in found.tolist()}) == len(found)


def test_plain_timm_reads_a_bundle(tiny_bundle):
    timm = pytest.importorskip("timm")
    spec = read_spec(tiny_bundle)
    theirs = timm.create_model(f"local-dir:{tiny_bundle}", pretrained=True).eval()
    ours = load_tensors(build_network(spec), read_weights(tiny_bundle, spec), name=spec.name)
    batch = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(theirs(batch), ours(batch))
    data = timm.data.resolve_model_data_config(theirs)
    assert tuple(data["input_size"]) == (3, 64, 64)
    assert data["mean"] == pytest.approx(spec.preprocess.mean)
    assert data["std"] == pytest.approx(spec.preprocess.std)


def test_what_is_written_is_what_is_read(tmp_path):
    tensors = {"a": torch.arange(6).reshape(2, 3).half(), "b.c": torch.tensor(3)}
    spec = ModelSpec("m", "resnet18", HAM10000, Preprocess(), source=str(tmp_path / "new" / "m"))
    written = write_bundle(
        tmp_path / "new" / "m", spec, tensors, card="# Card", golden={"golden/x.png": b"123"}
    )
    folder = tmp_path / "new" / "m"
    assert is_bundle(folder)
    assert read_spec(folder) == written
    assert written.weights_sha256 == sha256_file(folder / WEIGHTS)
    again = read_weights(folder, written)
    assert {k: (v.dtype, v.tolist()) for k, v in again.items()} == {
        k: (v.dtype, v.tolist()) for k, v in tensors.items()
    }
    assert (folder / CARD).read_text() == "# Card"
    assert (folder / "golden" / "x.png").read_bytes() == b"123"
    assert sorted(p.name for p in folder.iterdir()) == [CARD, CONFIG, "golden", WEIGHTS]


def test_non_contiguous_and_sliced_tensors_are_written_as_seen(tmp_path):
    base = torch.arange(12).reshape(3, 4)
    spec = ModelSpec("m", "resnet18", HAM10000, Preprocess())
    spec = write_bundle(tmp_path, spec, {"t": base.T, "part": base[1:, ::2]})
    again = read_weights(tmp_path, spec)
    assert again["t"].tolist() == base.T.tolist()
    assert again["part"].tolist() == base[1:, ::2].tolist()


def test_a_folder_without_both_files_is_no_bundle(tmp_path, bundle_copy):
    assert is_bundle(bundle_copy)
    assert not is_bundle(tmp_path / "nowhere")
    (bundle_copy / WEIGHTS).unlink()
    assert not is_bundle(bundle_copy)


# --- damage -----------------------------------------------------------------------------------


def test_weights_of_another_model_are_refused(bundle_copy, two_label_bundle):
    spec = read_spec(bundle_copy)
    (bundle_copy / WEIGHTS).write_bytes((two_label_bundle / WEIGHTS).read_bytes())
    with pytest.raises(ModelError, match="SHA-256"):
        read_weights(bundle_copy, spec)


def test_one_flipped_bit_is_noticed(bundle_copy):
    spec = read_spec(bundle_copy)
    data = bytearray((bundle_copy / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (bundle_copy / WEIGHTS).write_bytes(data)
    with pytest.raises(ModelError, match="damaged or was replaced"):
        read_weights(bundle_copy, spec)


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, -1])
def test_truncated_weights_are_refused_even_without_a_hash(bundle_copy, keep):
    rewrite(bundle_copy, weights_sha256=None)
    path = bundle_copy / WEIGHTS
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(ModelError, match="not a complete safetensors file"):
        read_weights(bundle_copy, read_spec(bundle_copy))


@pytest.mark.parametrize(
    "data", [b"\x80\x05pickle", b"PK\x03\x04" + bytes(60), b"\x89HDF\r\n\x1a\n" + bytes(60)]
)
def test_other_formats_under_that_name_are_refused(bundle_copy, data):
    rewrite(bundle_copy, weights_sha256=None)
    (bundle_copy / WEIGHTS).write_bytes(data)
    with pytest.raises(ModelError, match="not a complete safetensors file"):
        read_weights(bundle_copy, read_spec(bundle_copy))


def test_missing_weights_are_named(bundle_copy):
    spec = read_spec(bundle_copy)
    (bundle_copy / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=WEIGHTS):
        read_weights(bundle_copy, spec)


def test_missing_unexpected_and_misshapen_tensors_are_named(tiny_bundle):
    spec = read_spec(tiny_bundle)
    tensors = read_weights(tiny_bundle, spec)
    tensors.pop("conv_stem.weight")
    tensors["head.weight"] = torch.zeros(3)
    tensors["classifier.bias"] = torch.zeros(8)
    with pytest.raises(ModelError) as caught:
        load_tensors(build_network(spec), tensors, name="mine")
    message = str(caught.value)
    assert "mine" in message
    assert "Missing: conv_stem.weight" in message
    assert "Unexpected: head.weight" in message
    assert "classifier.bias (8,) instead of (7,)" in message


def test_every_single_missing_tensor_is_noticed(tiny_bundle):
    spec = read_spec(tiny_bundle)
    network, tensors = build_network(spec), read_weights(tiny_bundle, spec)
    for name in tensors:
        if name.endswith("num_batches_tracked"):
            continue
        with pytest.raises(ModelError, match="Missing"):
            load_tensors(network, {k: v for k, v in tensors.items() if k != name}, name="m")


def test_architectures_that_cannot_be_built_are_refused(bundle_copy):
    spec = read_spec(bundle_copy)
    for change in (
        {"architecture": "no_such_net"},
        {"architecture": "skinclf/none"},
        {"model_args": {"nonsense": 1}},
    ):
        with pytest.raises(ModelError):
            build_network(spec.replace(**change))


# --- writing ----------------------------------------------------------------------------------


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("x")
    spec = ModelSpec("m", "resnet18", HAM10000, scaling("torch"))
    with pytest.raises(OutputError, match="cannot be written"):
        write_bundle(tmp_path / "file" / "bundle", spec, {"a": torch.zeros(1)})


def test_replacing_a_file_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    replace_file(path, b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_the_configuration_is_written_last(tmp_path, monkeypatch):
    """A crash before the end leaves no folder that looks like a bundle."""
    import skinclf.models.bundle as module

    order = []
    monkeypatch.setattr(module, "replace_file", lambda path, data: order.append(path.name))
    spec = ModelSpec("m", "resnet18", HAM10000, scaling("torch"))
    write_bundle(tmp_path, spec, {"a": torch.zeros(1)}, card="#", golden={"golden/a.png": b""})
    assert order == [WEIGHTS, "a.png", CARD, CONFIG]
