"""The image gate in a bundle: `gate.safetensors`, and a block of `config.json` that binds it to the model."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from skinclf._utils.files import replace_file, writing
from skinclf.errors import InvalidArgumentError, MismatchError, ModelError
from skinclf.inference.gate.familiarity import Calibration, Gaussian
from skinclf.inference.gate.gate import Gate, other_classes
from skinclf.inference.gate.mode import GateMode
from skinclf.inference.gate.picture import BLOCKS, MEASURES
from skinclf.models.bundle import GATE, read_spec, write_spec
from skinclf.models.identity import ModelIdentity
from skinclf.models.loaded import LoadedModel

logger = logging.getLogger("skinclf")
#: Larger files are refused before they are read.
_MAX_BYTES = 64 * 1024 * 1024


def choose_gate(models: Sequence[LoadedModel], mode: GateMode | None, *, tta: str = "none") -> Gate | None:
    """The gate to use, or None for none.

    Args:
        models: Loaded models of a scorer.
        mode: What was asked for; None is `mark` for one model on one view that has a gate, and otherwise `off`. A model
            whose preprocessing was changed has none. Neither has one with a later calibration that changes predicted
            classes, and the log says so.
        tta: Test-time augmentation.

    Raises:
        InvalidArgumentError: The mode is unknown, or was asked for with several models or views.
        ModelError: A gate was asked for and the model has none, or its file is damaged.
        MismatchError: The gate was made for another model.
    """
    if mode is not None and mode not in get_args(GateMode):
        raise InvalidArgumentError(
            f"`gate` is one of {', '.join(get_args(GateMode))}; received {mode!r}.", parameter="gate"
        )
    if mode == "off":
        return None
    one = len(models) == 1 and tta == "none" and not models[0].members
    if mode is None:
        return read_gate(models[0]) if one and _usable(models[0]) else None
    if not one:
        raise InvalidArgumentError(
            "The image gate is that of one model on one view; leave out ensembles, recipes and `tta`, or use "
            "`gate='off'`.",
            parameter="gate",
        )
    gate = read_gate(models[0])
    if gate is None:
        raise ModelError(
            f"{models[0].spec.name}: this model has no image gate. Fit one (`skinclf.inference.gate.fit_gate`), or "
            "use `gate='off'`.",
            parameter="gate",
        )
    return gate


def _usable(model: LoadedModel) -> bool:
    """Whether the bundle's gate, if any, was made for the model as it was loaded."""
    made_from = model.spec.gate.get("made_from")
    if not isinstance(made_from, dict):
        return True
    if ModelIdentity.from_dict(made_from).differences(model.spec.identity):
        return False
    if other_classes(made_from, model.spec):
        logger.warning(
            "%s: its image gate is not used; it was fitted before a calibration that changes predicted classes, and "
            "has to be fitted again.",
            model.spec.name,
        )
        return False
    return True


def read_gate(model: LoadedModel) -> Gate | None:
    """The gate of a bundle, checked; None where it has none.

    Raises:
        ModelError: The file is missing, damaged, or not the one that the configuration records.
        MismatchError: The gate was made for another model, or with other measures of a picture.
    """
    record = model.spec.gate
    if not record or model.folder is None:
        return None
    path = model.folder / GATE
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ModelError(f"{path}: larger than {_MAX_BYTES:,} bytes; that is no image gate.")
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}.") from None
    found = hashlib.sha256(data).hexdigest()
    if found != record.get("sha256"):
        raise ModelError(
            f"{path}: SHA-256 is {found[:12]}..., config.json records {str(record.get('sha256'))[:12]}.... The file "
            "is damaged or was replaced; fit the gate again, or use `gate='off'`.",
            parameter="gate",
        )
    gate = _parsed(data, record, path)
    gate.check(model.spec)
    return gate


def _parsed(data: bytes, record: Any, path: Path) -> Gate:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(data)
        alpha, made_from = float(record["alpha"]), dict(record["made_from"])
        evidence = dict(record.get("evidence") or {})
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: not a complete image gate: {error!r}.") from None
    if not 0 < alpha < 1 or not made_from.get("weights_sha256"):
        raise ModelError(
            f"{path}: an image gate has an `alpha` between 0 and 1, and names the weights of its model."
        )
    version = tensors["measures"].tolist() if "measures" in tensors else None
    if version != [MEASURES]:
        kept = "no version" if version is None else f"version {', '.join(map(str, version))}"
        raise MismatchError(
            f"{path}: fitted with {kept} of the measures of a picture, and this skinclf has version {MEASURES}; fit "
            "the gate again (`skinclf.inference.gate.fit_gate`), or use `gate='off'`.",
            parameter="gate",
        )
    return Gate(
        features=Gaussian.from_tensors(tensors, "features"),
        looks={block: Gaussian.from_tensors(tensors, block) for block in BLOCKS},
        calibration=Calibration.from_tensors(tensors),
        alpha=alpha,
        made_from=made_from,
        evidence=evidence,
        sha256=hashlib.sha256(data).hexdigest(),
    )


def write_gate(folder: Path, gate: Gate) -> str:
    """Store a gate in a bundle; the configuration comes last.

    Args:
        folder: Folder of the bundle of the model that the gate was made for.
        gate: The gate.

    Returns:
        SHA-256 of the file.

    Raises:
        MismatchError: The bundle holds another model.
        OutputError: The folder cannot be written.
    """
    from safetensors.numpy import save

    spec = read_spec(folder)
    gate.check(spec)
    data = save(gate.tensors())
    sha256 = hashlib.sha256(data).hexdigest()
    record = {
        "sha256": sha256,
        "alpha": gate.alpha,
        "made_from": dict(gate.made_from),
        "evidence": dict(gate.evidence),
    }
    with writing(folder / GATE):
        replace_file(folder / GATE, data)
    write_spec(folder, spec.replace(gate=record))
    return sha256
