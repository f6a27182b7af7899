"""Reading `.pth`, `.pt`, `.bin` and `.safetensors` files: tensors and plain values, never code.

`torch.load(weights_only=True)` is the only unpickler, and it only ever sees archives that were checked
first: uncompressed entries that fit into the file. The tensors are mapped, not read, so that a storage
can neither be larger than its entry nor cost memory before it is used.
"""

from __future__ import annotations

import pickle  # the exception alone; nothing is unpickled here
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from skinclf._utils.lfs import refuse_pointer
from skinclf.errors import ModelError, UnsafeModelError
from skinclf.models.formats.plain_values import plain_values_allowed
from skinclf.models.formats.state_dicts import find_state

_MAX_ENTRIES = 100_000
_MAX_PICKLE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Content of a checkpoint file.

    Attributes:
        tensors: State dict, without the prefixes of wrappers such as DataParallel.
        extra: Values beside the state dict: epoch, config, optimiser state, ...
    """

    tensors: dict[str, torch.Tensor]
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape by name."""
        return {name: tuple(value.shape) for name, value in self.tensors.items()}


def read_checkpoint(path: Path, key: str | None = None) -> Checkpoint:
    """Read a checkpoint; its format follows from its first bytes, not from its name.

    Args:
        path: Path of the file.
        key: Key of the state dict, for a file that holds several; None chooses as `find_state` does.

    Raises:
        UnsafeModelError: The file asks for more than tensors and plain values.
        ModelError: The file is missing, damaged, or no checkpoint at all.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}.") from None
    refuse_pointer(path, head)
    if head.startswith(b"PK"):
        return _split(_read_archive(path), path, key)
    if head[8:9] == b"{":
        return _split(_read_safetensors(path), path, key)
    if head[:1] == b"\x80" or head[257:262] == b"ustar":
        raise UnsafeModelError(
            f"{path}: a bare pickle or a checkpoint of PyTorch before 1.6; such files can run code and are "
            "never opened. Load it where you trust it and save its state_dict with a current PyTorch."
        )
    raise ModelError(f"{path}: neither a PyTorch checkpoint nor a safetensors file.")


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path}: not a complete safetensors file: {error}.") from None
    return tensors


def _read_archive(path: Path) -> Any:
    _check_archive(path)
    try:
        with plain_values_allowed():
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"(?:GLOBAL|class) ([\w.]+)", str(error))
        what = f" ({found[1]})" if found else ""
        raise UnsafeModelError(
            f"{path}: holds more than tensors and plain values{what}; opening that could run code, so it was "
            "not opened. Load it where you trust it and save its state_dict alone."
        ) from None
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: damaged or no PyTorch checkpoint: {reason}") from None


def _check_archive(path: Path) -> None:
    """Refuse an archive that could unpack to more than its size, or that holds a program."""
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ModelError(f"{path}: damaged or incomplete: {error}.") from None
    names = [entry.filename for entry in entries]
    if any(name.endswith("constants.pkl") or "/code/" in name for name in names):
        raise UnsafeModelError(
            f"{path}: a TorchScript program, not a state dict; skinclf runs no code from files."
        )
    pickles = [entry for entry in entries if entry.filename.endswith("data.pkl")]
    if len(pickles) != 1:
        raise ModelError(f"{path}: a zip archive, but no PyTorch checkpoint.")
    packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    if packed or sum(entry.file_size for entry in entries) > size or len(entries) > _MAX_ENTRIES:
        raise UnsafeModelError(
            f"{path}: its {len(entries)} entries unpack to more than the file; PyTorch never writes that."
        )
    if pickles[0].file_size > _MAX_PICKLE_BYTES:
        raise UnsafeModelError(
            f"{path}: its description is larger than {_MAX_PICKLE_BYTES:,} bytes; that is no network."
        )


def _split(content: Any, path: Path, key: str | None) -> Checkpoint:
    """The state dict and the rest."""
    if not isinstance(content, Mapping):
        raise ModelError(
            f"{path}: holds a {type(content).__name__}; expected a state dict. "
            "Save model.state_dict(), not the model."
        )
    return Checkpoint(*find_state(content, path, key))
