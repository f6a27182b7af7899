"""The image gate: quality of a picture, artefacts, and whether it is of the kind that the model was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "Gate",
    "GatedScorer",
    "Reason",
    "fit_gate",
    "read_gate",
    "write_gate",
]

if TYPE_CHECKING:
    from skinclf.inference.gate.fit import fit_gate
    from skinclf.inference.gate.gate import Gate
    from skinclf.inference.gate.reasons import Reason
    from skinclf.inference.gate.scorer import GatedScorer
    from skinclf.inference.gate.store import read_gate, write_gate
else:
    from skinclf._utils.lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "skinclf.inference.gate.fit": ["fit_gate"],
            "skinclf.inference.gate.gate": ["Gate"],
            "skinclf.inference.gate.reasons": ["Reason"],
            "skinclf.inference.gate.scorer": ["GatedScorer"],
            "skinclf.inference.gate.store": ["read_gate", "write_gate"],
        },
    )
