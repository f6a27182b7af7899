"""A bundle: a folder or Hub repository with `config.json`, `model.safetensors`, `README.md` and `golden/`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from skinclf._utils.files import replace_file, sha256_file, writing
from skinclf._utils.lfs import refuse_pointer
from skinclf.errors import ModelError
from skinclf.models.spec import ModelSpec, read_config

if TYPE_CHECKING:
    from torch import Tensor

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CARD = "README.md"
#: Statistics of the image gate, where the bundle has one; `skinclf.inference.gate` reads it.
GATE = "gate.safetensors"


def is_bundle(folder: Path) -> bool:
    """Whether a folder holds a bundle's two indispensable files, or a recipe, which has no weights."""
    return (folder / CONFIG).is_file() and ((folder / WEIGHTS).is_file() or is_recipe(folder))


def is_recipe(folder: Path) -> bool:
    """Whether a folder holds a recipe of other models."""
    try:
        own = read_config(folder / CONFIG).get("skinclf")
    except ModelError:
        return False
    return isinstance(own, Mapping) and bool(own.get("recipe"))


def read_spec(folder: Path, *, source: str | None = None, revision: str | None = None) -> ModelSpec:
    """Read the specification of a bundle; the weights are not touched.

    Raises:
        ModelError: The configuration is missing, malformed or incomplete.
    """
    return ModelSpec.from_config(
        read_config(folder / CONFIG), source=source or str(folder), revision=revision
    )


def read_weights(folder: Path, spec: ModelSpec) -> dict[str, Tensor]:
    """Read a bundle's tensors (as stored, float16 included), checked against the recorded hash.

    Raises:
        ModelError: The weights are missing, damaged, or not those that the configuration records.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = folder / WEIGHTS
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None
    _must_be_recorded(path, data, hashlib.sha256(data).hexdigest(), spec)
    try:
        tensors: dict[str, Tensor] = load(data)
    except (SafetensorError, ValueError) as error:
        raise ModelError(f"{path}: not a complete safetensors file: {error}.") from None
    return tensors


def check_weights(folder: Path, spec: ModelSpec) -> None:
    """Compare a bundle's weights with the recorded hash, without torch.

    Raises:
        ModelError: The weights are missing, damaged, or not those that the configuration records.
    """
    path = folder / WEIGHTS
    try:
        with path.open("rb") as file:
            head = file.read(512)
        found = sha256_file(path)
    except OSError as error:
        raise _unreadable(path, error) from None
    _must_be_recorded(path, head, found, spec)


def _unreadable(path: Path, error: OSError) -> ModelError:
    return ModelError(f"{path}: cannot be read: {error.strerror or error}.")


def _must_be_recorded(path: Path, head: bytes, found: str, spec: ModelSpec) -> None:
    refuse_pointer(path, head)
    if spec.weights_sha256 and found != spec.weights_sha256:
        raise ModelError(
            f"{path}: SHA-256 is {found[:12]}..., the configuration records {spec.weights_sha256[:12]}.... "
            "The file is damaged or was replaced; fetch or export it again."
        )


def write_bundle(
    folder: Path,
    spec: ModelSpec,
    tensors: Mapping[str, Tensor],
    *,
    card: str | None = None,
    golden: Mapping[str, bytes] | None = None,
) -> ModelSpec:
    """Write a bundle; `config.json` comes last, so a folder with one is complete.

    Args:
        folder: Made when missing; files of the same names are replaced atomically.
        spec: Specification; `weights_sha256` is set to the hash of the written file, and a gate, which belongs to
            other weights, is left out.
        tensors: State dict in the dtype to store.
        card: Text of `README.md`.
        golden: Image bytes by the file names in `spec.golden`.

    Returns:
        The spec as written.

    Raises:
        OutputError: The folder cannot be written.
    """
    from safetensors.torch import save

    data = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, metadata={"format": "pt"})
    spec = spec.replace(weights_sha256=hashlib.sha256(data).hexdigest(), gate={})
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / WEIGHTS, data)
        for name, content in (golden or {}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            replace_file(folder / name, content)
        if card is not None:
            replace_file(folder / CARD, card.encode())
        replace_file(folder / CONFIG, (json.dumps(spec.to_config(), indent=2) + "\n").encode())
    return spec


def write_spec(folder: Path, spec: ModelSpec) -> None:
    """Replace the specification of a bundle and keep its weights; the folder is made where it is missing.

    Raises:
        OutputError: The folder cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / CONFIG, (json.dumps(spec.to_config(), indent=2) + "\n").encode())
