"""Quantised (int8) networks of a bundle, beside the float32 weights, for OpenVINO.

What they compute depends on the images that set their ranges, so they are made on purpose and once
(`skinclf.conversion.quantize`), never from the images of a run. The bundle's contract holds their hashes and what
was lost.
"""

from __future__ import annotations

from pathlib import Path

from skinclf._utils.files import sha256_file
from skinclf.errors import ModelError
from skinclf.models.identity import ModelIdentity
from skinclf.models.loaded import LoadedModel
from skinclf.models.spec import ModelSpec

#: In the bundle's folder: OpenVINO's graph, and its numbers.
GRAPH, NUMBERS = "int8/model.xml", "int8/model.bin"
KEY = "openvino:int8"


def quantized_files(spec: ModelSpec) -> tuple[str, ...]:
    """Names of the quantised network's files inside a bundle; empty when it has none."""
    return (GRAPH, NUMBERS) if "quantized" in spec.precisions.get(KEY, {}) else ()


def quantized_network(model: LoadedModel) -> Path:
    """The graph of a bundle's quantised network, checked against the contract.

    Raises:
        ModelError: The model has no quantised network, the network is damaged, or it was made from other weights.
    """
    spec = model.spec
    if model.folder is None or not quantized_files(spec):
        raise ModelError(
            f"{spec.name}: this model has no int8 network. Make a bundle that has one: "
            "`skinclf.conversion.quantize_model` (extra int8)."
        )
    model.check_weights()
    record = spec.precisions[KEY]["quantized"]
    if other := ModelIdentity.from_dict(record["made_from"]).differences(spec.identity):
        raise ModelError(f"{spec.name}: its int8 network was made from other {' and '.join(other)}.")
    for name in (GRAPH, NUMBERS):
        path = model.folder / name
        if not path.is_file() or sha256_file(path) != record["files"][name]:
            raise ModelError(f"{path}: missing or damaged; its SHA-256 is not the one in config.json.")
    return model.folder / GRAPH


def made_from(spec: ModelSpec) -> dict[str, str | None]:
    """Weights and preprocessing that a quantised network is bound to, as the contract records them."""
    return {"weights_sha256": spec.weights_sha256, "preprocess": spec.preprocess.fingerprint}
