"""The graphs that built-in models bring (`skinclf.runtimes.ready_graph`), written again after their weights changed.

Usage: python -m skinclf_training.publishing.ready_graphs
"""

from __future__ import annotations

import logging

from skinclf.models.load import load_model
from skinclf.models.registry import list_models
from skinclf.runtimes.openvino import unfolded_graph
from skinclf.runtimes.ready_graph import write_ready_graph

log = logging.getLogger("skinclf")


def write_all() -> None:
    """Write the graph of every built-in model beside its weights.

    Raises:
        ModelError: A network cannot be converted, or has a constant that is none of its tensors.
    """
    for known in list_models():
        if known.folder is None or known.members:  # a recipe has those of its members
            continue
        model = load_model(known.name)
        for path in write_ready_graph(model, unfolded_graph(model)):
            log.info("%s: %s bytes", path, f"{path.stat().st_size:,}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    write_all()
