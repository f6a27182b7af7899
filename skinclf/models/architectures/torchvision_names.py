"""torchvision's classification networks, recognised by the names and shapes of their tensors without the classifier."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

_TABLE = Path(__file__).with_name("torchvision_layouts.json")


class TorchvisionLayout(NamedTuple):
    """Where a network of torchvision keeps its classifier.

    Attributes:
        name: torchvision's name of the network.
        head: Name of the layer that gives the outputs.
        root: Module that holds it and no other layer with weights; what is under it does not count for recognition.
    """

    name: str
    head: str
    root: str


def torchvision_layout(shapes: Mapping[str, tuple[int, ...]]) -> TorchvisionLayout | None:
    """The network whose state dict has these names and shapes, whatever its classifier; None when there is none.

    ResNet 18 to 152 and the EfficientNets are not among them: they load without torchvision.

    Args:
        shapes: Shapes of a state dict by name.
    """
    for root, known in _layouts().items():
        if any(key.startswith(f"{root}.") for key in shapes) and (found := known.get(digest(shapes, root))):
            return found
    return None


def named_layout(name: str) -> TorchvisionLayout | None:
    """The layout of a network by torchvision's name; None when it is not in the table."""
    return next((x for known in _layouts().values() for x in known.values() if x.name == name), None)


def digest(shapes: Mapping[str, tuple[int, ...]], root: str) -> str:
    """Hash of the names and shapes of a state dict without a module and without the counters of batch norms."""
    kept = sorted(
        f"{key} {list(shape)}"
        for key, shape in shapes.items()
        if not key.startswith(f"{root}.") and not key.endswith("num_batches_tracked")
    )
    return hashlib.sha256("\n".join(kept).encode()).hexdigest()[:16]


@cache
def _layouts() -> Mapping[str, Mapping[str, TorchvisionLayout]]:
    """Layouts by root and digest."""
    found: dict[str, dict[str, TorchvisionLayout]] = {}
    for entry in json.loads(_TABLE.read_text(encoding="utf-8")):
        for name, value in entry["networks"].items():
            layout = TorchvisionLayout(name, entry["head"], entry["root"])
            found.setdefault(entry["root"], {})[value] = layout
    return found
