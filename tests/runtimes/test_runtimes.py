"""Every runtime gives the torch numbers, on every scaling, batch size and start."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from skinclf.errors import DeviceError, InvalidArgumentError, ModelError
from skinclf.images.preprocess import scaling
from skinclf.models import bundle
from skinclf.models.architectures import build_network, load_tensors
from skinclf.models.loaded import LoadedModel
from skinclf.models.probabilities import probabilities
from skinclf.runtimes import create
from skinclf.runtimes.base import Runtime
from skinclf.runtimes.create import PRECISIONS, RUNTIMES, create_runtime

EXACT = 1e-5


def load(folder: Path, preprocess: str = "torch") -> LoadedModel:
    spec = bundle.read_spec(folder)
    network = load_tensors(build_network(spec), bundle.read_weights(folder, spec), name=spec.name)
    size = {"height": spec.preprocess.height, "width": spec.preprocess.width}
    return LoadedModel(spec=spec.replace(preprocess=scaling(preprocess, **size)), network=network)


def pixels_for(model: LoadedModel, count: int = 9) -> np.ndarray:
    shape = (count, model.spec.preprocess.height, model.spec.preprocess.width, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def reference(model: LoadedModel, pixels: np.ndarray) -> np.ndarray:
    import torch

    with torch.inference_mode():
        scores = model.torch_network()(torch.from_numpy(model.spec.preprocess.normalize(pixels))).numpy()
    return probabilities(scores, model.spec.activation)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKINCLF_CACHE", str(tmp_path / "cache"))


def runtime_or_skip(name: str) -> str:
    for package in {"openvino": ["openvino"], "onnxruntime": ["onnxruntime", "onnx"]}.get(name, []):
        pytest.importorskip(package)
    return name


@pytest.mark.parametrize("scale", ["torch", "caffe", "tf", "unit"])
@pytest.mark.parametrize("name", ["torch", "openvino", "onnxruntime"])
def test_float32_runtimes_agree_with_the_reference(name: str, scale: str, tiny_bundle: Path) -> None:
    model = load(tiny_bundle, scale)
    pixels = pixels_for(model)
    expected = reference(model, pixels)
    assert expected.std(axis=0).max() > 1e-3, "a constant network would prove nothing"
    runtime = create_runtime(model, runtime=runtime_or_skip(name), device="cpu", precision="fp32")
    found = probabilities(runtime.run(pixels), model.spec.activation)
    np.testing.assert_allclose(found, expected, atol=EXACT, rtol=0)


@pytest.mark.parametrize("name", ["torch", "openvino", "onnxruntime"])
def test_batch_size_does_not_matter(name: str, tiny_bundle: Path) -> None:
    model = load(tiny_bundle)
    pixels = pixels_for(model)
    runtime = create_runtime(model, runtime=runtime_or_skip(name), device="cpu")
    whole = probabilities(runtime.run(pixels), model.spec.activation)
    single = [
        probabilities(runtime.run(pixels[i : i + 1]), model.spec.activation)[0] for i in range(len(pixels))
    ]
    np.testing.assert_allclose(np.stack(single), whole, atol=1e-6, rtol=0)


def test_bf16_is_close_but_not_the_same(tiny_bundle: Path) -> None:
    model = load(tiny_bundle)
    pixels = pixels_for(model)
    runtime = create_runtime(model, runtime="torch", device="cpu", precision="bf16")
    found = probabilities(runtime.run(pixels), model.spec.activation)
    gap = np.abs(found - reference(model, pixels)).max()
    assert 0 < gap < 0.1


@pytest.mark.parametrize("name", ["torch", "torch-compile"])
def test_staged_pixels_give_the_same_scores(name: str, tiny_bundle: Path) -> None:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "torch-compile" and device == "cpu":
        pytest.skip("compiles for a minute; the path is the same")
    model = load(tiny_bundle)
    runtime = create_runtime(model, runtime=name, device=device)
    batches = [pixels_for(model) for _ in range(3)]
    staged = [runtime.stage(pixels) for pixels in batches]
    for pixels, ahead in zip(batches, staged, strict=True):
        assert str(getattr(ahead, "device", device)).startswith(device)
        np.testing.assert_array_equal(runtime.run(ahead), runtime.run(pixels))
        np.testing.assert_array_equal(runtime.embed(ahead)[1], runtime.embed(pixels)[1])


def test_embeddings_are_found_where_another_library_has_replaced_the_linear_function(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As older versions of NNCF do in a process that has quantised a network."""
    import torch

    model = load(tiny_bundle)
    runtime = create_runtime(model, runtime="torch", device="cpu")
    pixels = pixels_for(model)
    _, expected = runtime.embed(pixels)
    monkeypatch.setattr(torch.nn.functional, "linear", partial(torch.nn.functional.linear))
    np.testing.assert_array_equal(runtime.embed(pixels)[1], expected)


def test_staging_pins_copies_and_keeps_the_memory_until_the_network_has_read_it(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps for CUDA, in their order, on a machine without it."""
    import torch

    steps: list[str] = []

    class Stream:
        def __enter__(self) -> None:
            steps.append("enter")

        def __exit__(self, *error: object) -> None:
            steps.append("leave")

        def synchronize(self) -> None:
            steps.append("synchronize")

    def note(step: str):  # type: ignore[no-untyped-def]
        return lambda tensor, *_: steps.append(step) or tensor

    model = load(tiny_bundle)
    runtime = create_runtime(model, runtime="torch", device="cpu")
    pixels = pixels_for(model)
    expected = runtime.run(pixels)
    monkeypatch.setattr(runtime, "_copies", Stream())
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "the network's")
    monkeypatch.setattr(torch.Tensor, "pin_memory", note("pin"))
    monkeypatch.setattr(torch.Tensor, "record_stream", note("record"))
    staged = runtime.stage(pixels)
    assert steps == ["enter", "pin", "leave", "synchronize"]
    np.testing.assert_array_equal(runtime.run(staged), expected)
    assert steps[4:] == ["record"]


def test_float32_is_whole_whatever_the_process_allows(tiny_bundle: Path) -> None:
    import torch

    runtime = create_runtime(load(tiny_bundle), runtime="torch", device="cpu")
    seen = []
    runtime._network.register_forward_pre_hook(
        lambda *_: seen.append((torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()))
    )
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    try:
        torch.backends.cudnn.allow_tf32 = True
        torch.set_float32_matmul_precision("medium")
        runtime.run(pixels_for(load(tiny_bundle)))
        assert seen == [(False, "highest")]
        assert (torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()) == (True, "medium")
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])


def test_onnx_runtime_on_cuda_is_asked_for_float32() -> None:
    from skinclf.runtimes.onnx import _provider

    chosen = _provider("cuda:1", ["CUDAExecutionProvider", "CPUExecutionProvider"])
    assert chosen == ("cuda:1", ("CUDAExecutionProvider", {"device_id": 1, "use_tf32": 0}))


def test_auto_is_float32_on_the_cpu(tiny_bundle: Path) -> None:
    runtime = create_runtime(load(tiny_bundle), device="cpu")
    assert (runtime.precision, runtime.device) == ("fp32", "cpu")


def test_a_named_device_that_is_not_there_is_refused(tiny_bundle: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    for name in ("auto", "torch"):
        with pytest.raises(DeviceError, match="cuda"):
            create_runtime(load(tiny_bundle), runtime=name, device="cuda")


@pytest.mark.parametrize(
    "options", [{"runtime": "tensorrt"}, {"precision": "fp8"}, {"device": "gpu"}, {"device": "cuda:x"}]
)
def test_unknown_options_are_usage_errors(options: dict[str, str], tiny_bundle: Path) -> None:
    with pytest.raises(InvalidArgumentError):
        create_runtime(load(tiny_bundle), **options)


def test_every_named_choice_is_known() -> None:
    assert RUNTIMES[0] == PRECISIONS[0] == "auto"


def test_a_model_without_a_network_says_so(tiny_bundle: Path) -> None:
    spec = bundle.read_spec(tiny_bundle)
    with pytest.raises(ModelError, match="no torch network"):
        create_runtime(LoadedModel(spec=spec), runtime="torch", device="cpu")


def test_a_runtime_says_why_it_was_taken(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(tiny_bundle)
    assert create_runtime(model, runtime="torch", device="cpu").reason == "requested"
    monkeypatch.setattr(create, "_installed", lambda package: False)
    assert create_runtime(model, device="cpu").reason == "auto: the fastest runtime installed for a CPU"
    monkeypatch.setattr(create, "_installed", lambda package: package == "openvino")

    make = create._make

    def refuses(name: str, *arguments: object, **options: object) -> Runtime:
        if name == "openvino":
            raise ModelError("an operation is unknown to it")
        return make(name, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(create, "_make", refuses)
    runtime = create_runtime(model, device="cpu")
    assert runtime.name == "torch"
    assert "openvino cannot run this model (an operation is unknown to it)" in runtime.reason


def test_openvino_that_is_not_installed_is_named(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(DeviceError, match="OpenVINO is not installed"):
        create_runtime(load(tiny_bundle), runtime="openvino", device="cpu")


def test_a_compiled_artefact_is_reused_without_building_the_network(tiny_bundle: Path) -> None:
    pytest.importorskip("openvino")
    model = load(tiny_bundle)
    pixels = pixels_for(model)
    first = create_runtime(model, runtime="openvino").run(pixels)

    def never() -> None:
        raise AssertionError("the network was built although its compiled form is cached")

    cached = LoadedModel(spec=model.spec, build=never)  # type: ignore[arg-type]
    np.testing.assert_array_equal(create_runtime(cached, runtime="openvino").run(pixels), first)
    other = LoadedModel(
        spec=model.spec.replace(preprocess=scaling("caffe", height=64, width=64)), build=never
    )  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        create_runtime(other, runtime="openvino")


@pytest.mark.parametrize(("device", "streams", "size"), [("cpu", 2, 16), ("cpu", 5, 32), ("cuda:0", 1, 128)])
def test_the_batch_is_as_large_as_the_machine_has_use_for(device: str, streams: int, size: int) -> None:
    class Anywhere(Runtime):
        def run(self, pixels: np.ndarray) -> np.ndarray:
            return pixels

    runtime = Anywhere()
    runtime.device, runtime.streams = device, streams
    assert runtime.preferred_batch_size == size


def test_openvino_gives_an_image_the_same_bits_alone_and_in_company(tiny_bundle: Path) -> None:
    pytest.importorskip("openvino")
    model = load(tiny_bundle)
    pixels = pixels_for(model, 7)
    runtime = create_runtime(model, runtime="openvino", device="cpu")
    alone = np.concatenate([runtime.run(pixels[i : i + 1]) for i in range(7)])
    np.testing.assert_array_equal(runtime.run(pixels), alone)


def test_folding_batchnorm_changes_no_number(tiny_bundle: Path) -> None:
    import torch

    from skinclf.runtimes.fuse import fuse_batchnorm

    network = load(tiny_bundle).torch_network()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    fused = fuse_batchnorm(network)
    norms = sum(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    left = sum(isinstance(m, torch.nn.BatchNorm2d) for m in fused.modules())
    assert left < norms
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(fused(x), network(x), atol=1e-5, rtol=1e-5)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items()), "the original was changed"


def test_importing_the_runtimes_room_imports_no_torch() -> None:
    code = "import sys, skinclf.runtimes.create; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_activations_work_in_place_only_where_nobody_else_looks():
    import torch
    from torch import nn

    from skinclf.runtimes.fuse import fuse_batchnorm

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.alone = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.SiLU()
            self.second, self.shared, self.first = nn.Conv2d(4, 4, 1), nn.ReLU(), nn.ReLU()

        def forward(self, x):
            y = self.second(self.alone(self.norm(self.conv(self.first(x)))))
            return y + self.shared(y)

    torch.manual_seed(0)
    network = Net().eval()
    x = torch.randn(2, 3, 8, 8)
    before = x.clone()
    with torch.inference_mode():
        fused = fuse_batchnorm(network)
        assert torch.allclose(fused(x), network(x), atol=1e-6)
    assert torch.equal(x, before)
    assert fused.alone.inplace
    assert not fused.shared.inplace
    assert not fused.first.inplace
    assert not network.alone.inplace
