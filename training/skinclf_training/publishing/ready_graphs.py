"""The graphs that built-in models bring (`skinclf.runtimes.ready_graph`), written again after their weights changed.

Usage: python -m skinclf_training.publishing.ready_graphs [NAME ...]
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection

from skinclf.models.load import load_model
from skinclf.models.registry import list_models
from skinclf.runtimes.openvino import unfolded_graph
from skinclf.runtimes.ready_graph import write_ready_graph

log = logging.getLogger("skinclf")


def write_all(names: Collection[str] = ()) -> None:
    """Write the graph of built-in models beside their weights.

    Args:
        names: Names of the models, none for all.

    Raises:
        ModelError: A network cannot be converted, or has a constant that is none of its tensors.
    """
    for known in list_models():
        if known.folder is None or known.members:  # a recipe has those of its members
            continue
        if names and known.name not in names:
            continue
        model = load_model(known.name)
        for path in write_ready_graph(model, unfolded_graph(model)):
            log.info("%s: %s bytes", path, f"{path.stat().st_size:,}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    write_all(sys.argv[1:])
