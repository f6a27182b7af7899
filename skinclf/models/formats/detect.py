"""Format detection by content; names and extensions decide nothing."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal, TypeAlias

from skinclf._utils.lfs import refuse_pointer
from skinclf.errors import ModelError
from skinclf.models.bundle import CONFIG
from skinclf.models.spec import read_config

FileKind: TypeAlias = Literal["torch", "keras", "onnx"]
FolderKind: TypeAlias = Literal["bundle", "timm", "transformers"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ONNX_NEXT_FIELD = frozenset({0x12, 0x1A, 0x22, 0x28, 0x3A, 0x42})


def file_kind(path: Path) -> FileKind:
    """Format of a file: `torch` (safetensors too), `keras` or `onnx`.

    Raises:
        ModelError: The file cannot be read, or has no known format.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}.") from None
    if not head:
        raise ModelError(f"{path}: the file is empty.")
    refuse_pointer(path, head)
    if head.startswith(_HDF5):
        return "keras"
    if head.startswith(b"PK"):
        return _archive_kind(path)
    # safetensors: length of a JSON header, then the header; a bare pickle is for the torch reader to refuse.
    if head[8:9] == b"{" or head[:1] == b"\x80" or head[257:262] == b"ustar":
        return "torch"
    # protobuf: the field `ir_version`, then another of a model's fields.
    if len(head) > 2 and head[0] == 0x08 and 0 < head[1] < 0x40 and head[2] in _ONNX_NEXT_FIELD:
        return "onnx"
    raise ModelError(
        f"{path}: not a model file that skinclf knows; expected safetensors, a PyTorch checkpoint, "
        "Keras (.h5, .keras) or ONNX."
    )


def folder_kind(folder: Path) -> FolderKind:
    """Format of a folder with a `config.json`: `bundle`, `timm` or `transformers`.

    Raises:
        ModelError: The folder has no `config.json`, or one of no known format.
    """
    if (folder / "saved_model.pb").is_file():
        raise ModelError(
            f"{folder}: a TensorFlow SavedModel, a program without the layers that it came from. Load it with the "
            "library that wrote it and save the Keras model as .keras or .h5, or convert it with tf2onnx and use "
            "the .onnx file."
        )
    if not (folder / CONFIG).is_file():
        files = ", ".join(sorted(p.name for p in folder.iterdir() if p.is_file())[:8]) or "no files"
        raise ModelError(
            f"{folder}: no {CONFIG} in it ({files}). Name a model file itself, or a model's folder."
        )
    config = read_config(folder / CONFIG)
    if "skinclf" in config:
        return "bundle"
    if isinstance(config.get("architecture"), str):
        return "timm"
    if isinstance(config.get("model_type"), str):
        return "transformers"
    raise ModelError(f"{folder}: its {CONFIG} is none of skinclf, timm or transformers.")


def _archive_kind(path: Path) -> FileKind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ModelError(f"{path}: a damaged or incomplete zip archive: {error}.") from None
    if {"config.json", "model.weights.h5"} <= names:
        return "keras"
    if any(name.endswith(".pkl") for name in names):
        return "torch"
    raise ModelError(f"{path}: a zip archive, but neither a Keras model nor a PyTorch checkpoint.")
