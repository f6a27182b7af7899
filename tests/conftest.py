"""Shared fixtures: synthetic pictures, damaged files, tiny real bundles, and no network."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
import socket
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

# Before huggingface_hub is imported anywhere: no test reads or fills the user's cache or token.
_HOME = tempfile.mkdtemp(prefix="skinclf-tests-")
os.environ["HF_HOME"] = _HOME
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# TensorFlow and triton (which torch and timm import late) each carry an LLVM: loaded in this order they live
# together, in the other order the process aborts.
with contextlib.suppress(ImportError):
    import triton  # noqa: F401

import numpy as np
import pytest
from PIL import Image

from skinclf.images.decode import RGBArray
from skinclf.images.preprocess import Preprocess, scaling
from skinclf.images.synthetic import synthetic_lesion
from skinclf.labels import HAM10000, MALIGNANT, LabelSet

if TYPE_CHECKING:
    from torch import Tensor

    from skinclf.models.spec import ModelSpec

pytest_plugins = ("support.hub_fixtures",)

IMAGES_IN_DIR = 8


def pytest_unconfigure() -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(autouse=True)
def _log_as_found() -> Iterator[None]:
    """A command sets the level and the handlers of the library's log; the next test finds them as they were."""
    logger = logging.getLogger("skinclf")
    level, handlers = logger.level, logger.handlers[:]
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection beyond this machine fails at once, with an error that names this rule."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def check(family: int, address: Any) -> None:
        if family in {socket.AF_INET, socket.AF_INET6}:
            host = str(address[0])
            if host not in {"localhost", "::1", "0.0.0.0", ""} and not host.startswith("127."):
                raise ConnectionRefusedError(f"tests have no network: connection to {address} refused")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        check(self.family, address)
        return connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        check(self.family, address)
        return connect_ex(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)


# --- pictures ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def _lesion() -> RGBArray:
    return synthetic_lesion(7, width=160, height=120)


@pytest.fixture
def synthetic_image(_lesion: RGBArray) -> RGBArray:
    """One synthetic picture, (120, 160, 3) uint8; the test's own copy."""
    return _lesion.copy()


def encode(array: RGBArray, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def _jpegs() -> list[bytes]:
    return [
        encode(synthetic_lesion(seed, width=120 + 8 * seed, height=90), quality=90)
        for seed in range(IMAGES_IN_DIR)
    ]


@pytest.fixture
def image_dir(tmp_path: Path, _jpegs: list[bytes]) -> Path:
    """A folder of eight small synthetic JPEGs of different widths, `img-0.jpg` to `img-7.jpg`; the test's own."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number, data in enumerate(_jpegs):
        (folder / f"img-{number}.jpg").write_bytes(data)
    return folder


# --- damaged files ----------------------------------------------------------------------------


class Damaged(NamedTuple):
    """A file that must fail, and the code it must fail with."""

    path: Path
    code: str


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, pixels: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (
        _png_chunk(b"IHDR", header) + _png_chunk(b"IDAT", zlib.compress(pixels)) + _png_chunk(b"IEND", b"")
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


def _wrong_crc(png: bytes) -> bytes:
    """Flip a bit of the pixel data's checksum."""
    at = png.index(b"IDAT")
    length = struct.unpack(">I", png[at - 4 : at])[0]
    data = bytearray(png)
    data[at + 4 + length] ^= 0xFF
    return bytes(data)


def _jpeg_of_zero_size(jpeg: bytes) -> bytes:
    at = jpeg.index(b"\xff\xc0")
    return jpeg[: at + 5] + b"\0\0\0\0" + jpeg[at + 9 :]


_JPEG = encode(synthetic_lesion(1, width=160, height=120), quality=90)
_PNG = encode(synthetic_lesion(1, width=80, height=60), "PNG")
_GIF = encode(synthetic_lesion(1, width=80, height=60), "GIF")
_WEBP = encode(synthetic_lesion(1, width=80, height=60), "WEBP")
_TIFF = encode(synthetic_lesion(1, width=80, height=60), "TIFF", compression="tiff_lzw")

# Codes follow one rule: what Pillow cannot even open is `not_an_image`, what it cannot decode `truncated`
# or `unreadable`. (A cut TIFF has lost its directory, which stands at the end.)
#: Damaged content by kind: file name, bytes, expected code.
DAMAGED_BYTES: dict[str, tuple[str, bytes, str]] = {
    "empty": ("empty.jpg", b"", "empty"),
    "zero_bytes": ("zeros.jpg", bytes(4096), "not_an_image"),
    "text": ("text.jpg", b"This is not an image.\n", "not_an_image"),
    "html": ("page.jpg", b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "not_an_image"),
    "random": ("random.jpg", np.random.default_rng(0).bytes(5000), "not_an_image"),
    "lfs_pointer": (
        "pointer.jpg",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "not_an_image",
    ),
    "half_header_jpeg": ("header.jpg", _JPEG[:12], "not_an_image"),
    "half_header_png": ("header.png", _PNG[:20], "not_an_image"),
    "zip": ("archive.png", b"PK\x03\x04" + bytes(200), "not_an_image"),
    "truncated_jpeg": ("cut.jpg", _JPEG[: len(_JPEG) // 2], "truncated"),
    "truncated_jpeg_late": ("cut-late.jpg", _JPEG[:-200], "truncated"),
    "truncated_png": ("cut.png", _PNG[: len(_PNG) // 2], "truncated"),
    "truncated_gif": ("cut.gif", _GIF[: len(_GIF) // 2], "truncated"),
    "truncated_tiff": ("cut.tif", _TIFF[: len(_TIFF) // 2], "not_an_image"),
    "truncated_webp": ("cut.webp", _WEBP[: len(_WEBP) // 2], "not_an_image"),
    "png_crc": ("crc.png", _wrong_crc(_PNG), "unreadable"),
    "bomb_png": ("bomb.png", _png(60_000, 60_000, bytes(1000)), "too_large"),
    "large_png": ("large.png", _png(9_500, 9_500, bytes(1000)), "too_large"),
    "zero_size_png": ("zero.png", _png(0, 10, b""), "not_an_image"),
    "zero_size_jpeg": ("zero.jpg", _jpeg_of_zero_size(_JPEG), "not_an_image"),
}
_SPECIAL = ("missing", "directory", "dangling_link", "no_permission", "fifo")


@pytest.fixture(scope="session")
def damaged_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Damaged]]:
    """Damaged files by kind, each with the `ImageError.code` it must give. Read only.

    `no_permission` is absent for root, whom permissions do not stop; `fifo` where the system has none.
    """
    folder = tmp_path_factory.mktemp("damaged")
    files: dict[str, Damaged] = {}
    for kind, (name, data, code) in DAMAGED_BYTES.items():
        path = folder / f"{kind}-{name}"
        path.write_bytes(data)
        files[kind] = Damaged(path, code)
    files["missing"] = Damaged(folder / "missing.jpg", "missing")
    directory = folder / "directory.jpg"
    directory.mkdir()
    files["directory"] = Damaged(directory, "unreadable")
    link = folder / "link.jpg"
    link.symlink_to(folder / "nowhere.jpg")
    files["dangling_link"] = Damaged(link, "missing")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "fifo.jpg")
        files["fifo"] = Damaged(folder / "fifo.jpg", "unreadable")
    locked = folder / "locked.jpg"
    locked.write_bytes(_JPEG)
    locked.chmod(0)
    if not os.access(locked, os.R_OK):
        files["no_permission"] = Damaged(locked, "unreadable")
    yield files
    locked.chmod(0o600)


@pytest.fixture(params=[*DAMAGED_BYTES, *_SPECIAL])
def damaged_file(request: pytest.FixtureRequest, damaged_files: dict[str, Damaged]) -> Damaged:
    """Each damaged kind in turn."""
    if request.param not in damaged_files:
        pytest.skip(f"{request.param}: cannot be made for this user on this system")
    return damaged_files[request.param]


# --- bundles ----------------------------------------------------------------------------------


def random_network(architecture: str, outputs: int, *, seed: int) -> dict[str, Tensor]:
    """State of a timm network with reproducible weights, whose batch norms are not the identity.

    The gain keeps activations alive, so that different pictures give clearly different outputs.
    """
    import timm
    import torch

    state = timm.create_model(architecture, pretrained=False, num_classes=outputs).state_dict()
    random = torch.Generator().manual_seed(seed)
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            value.fill_(1)
        elif name.endswith("running_var"):
            value.copy_(torch.rand(value.shape, generator=random) + 0.5)
        elif name.endswith("running_mean"):
            value.copy_(torch.randn(value.shape, generator=random) * 0.2)
        elif value.ndim == 1:
            centre = 1.0 if name.endswith("weight") else 0.0
            value.copy_(torch.randn(value.shape, generator=random) * 0.1 + centre)
        else:
            value.copy_(torch.randn(value.shape, generator=random) * (2 / value[0].numel()) ** 0.5)
    return state


def make_bundle(
    folder: Path,
    labels: LabelSet,
    preprocess: Preprocess,
    *,
    architecture: str = "test_efficientnet",
    seed: int = 0,
    half: bool = False,
    **fields: Any,
) -> ModelSpec:
    """Write a real bundle around a random network, with a golden sample that plain timm computed."""
    import timm
    import torch

    from skinclf.images.decode import load_image
    from skinclf.models.architectures import load_tensors
    from skinclf.models.bundle import write_bundle
    from skinclf.models.probabilities import probabilities
    from skinclf.models.spec import Golden, ModelSpec

    spec = ModelSpec(
        name=folder.name,
        architecture=architecture,
        labels=labels,
        preprocess=preprocess,
        **{"license": "CC0-1.0", "source": str(folder)} | fields,
    )
    state = random_network(architecture, spec.num_outputs, seed=seed)
    if half:
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    network = timm.create_model(architecture, pretrained=False, num_classes=spec.num_outputs).eval()
    load_tensors(network, state, name=folder.name)
    picture = encode(synthetic_lesion(11, width=160, height=120), "PNG")
    pixels = preprocess.pixels(load_image(picture))
    with torch.inference_mode():
        scores = network(torch.from_numpy(preprocess.normalize(pixels[None]))).numpy()
    expected = tuple(float(p) for p in probabilities(scores, spec.activation)[0])
    golden = Golden("golden/sample.png", expected, 1e-5, "timm, CPU float32")
    return write_bundle(
        folder,
        spec.replace(golden=(golden,)),
        state,
        card="# A random network for tests\n\nIt knows nothing about skin.\n",
        golden={golden.file: picture},
    )


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A seven-class (HAM10000) softmax bundle at 64 px with two operating points. Read only: copy before changing."""
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    points = {"sensitivity_90": {"threshold": 0.35, "sensitivity": 0.9}, "youden": {"threshold": 0.42}}
    make_bundle(folder, HAM10000, scaling("torch", height=64, width=64), operating_points=points)
    return folder


@pytest.fixture(scope="session")
def two_label_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benign/malignant bundle at 48 x 64 px: one sigmoid output, BGR, OpenCV resize, float16 weights,
    temperature calibration, a default operating point. Read only: copy before changing.
    """
    from skinclf.models.probabilities import Calibration

    folder = tmp_path_factory.mktemp("bundles") / "two-label"
    make_bundle(
        folder,
        MALIGNANT,
        scaling("caffe", height=48, width=64, library="opencv", std=(58.0, 57.0, 57.0)),
        seed=1,
        half=True,
        activation="sigmoid",
        calibration=Calibration("temperature", (0.8,)),
        operating_points={"sensitivity_95": {"threshold": 0.3}},
        default_operating_point="sensitivity_95",
    )
    return folder


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a seven-class `bundle/` and the `metrics.json` of its test predictions. Read only."""
    from support.hub_publishing import evaluated_bundle

    return evaluated_bundle(tmp_path_factory.mktemp("evaluated"))


@pytest.fixture
def bundle_copy(tmp_path: Path, tiny_bundle: Path) -> Path:
    """A copy of `tiny_bundle` that the test may damage."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


@pytest.fixture
def bundle_factory() -> Callable[..., ModelSpec]:
    """`make_bundle`, for tests that need another network, label set or preprocessing."""
    return make_bundle
