"""What the page of `skinclf serve` shows of a built-in model, written beside its weights from the files of its card.

Usage: python -m skinclf_training.publishing.evidence [NAME ...]
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from skinclf._utils.files import replace_file
from skinclf.explanation.checks.files import FILE as CHECKS
from skinclf.models.load import load_model
from skinclf.models.registry import list_models
from skinclf_training.publishing.card import METRICS, check_same_model, read_evaluation
from skinclf_training.publishing.card_text import About, cards_dir, find_about

log = logging.getLogger("skinclf")
#: Parts of `metrics.json` that are kept; curves and errors are in the card.
_KEPT = (
    "schema",
    "kind",
    "skinclf_version",
    "created",
    "notice",
    "name",
    "model",
    "settings",
    "threshold",
    "subgroups",
)
_DATA = ("labels_file", "split", "n", "lesions", "fingerprint")


def shown_part(metrics: dict[str, Any], about: About) -> dict[str, Any]:
    """The parts of an evaluation that the page shows, under their own names, and sentences of the card as `about`."""
    return {
        **{key: metrics[key] for key in _KEPT},
        "data": {key: metrics["data"][key] for key in _DATA},
        "about": {
            "limitations": list(about.limitations),
            "failure_modes": list(about.failure_modes),
            "citation": about.citation,
        },
    }


def write_all(names: Collection[str] = ()) -> list[Path]:
    """Write both files of built-in models whose cards have them.

    Args:
        names: Names of the models, none for all.

    Raises:
        MismatchError: A card is of another model.
    """
    written = []
    for known in list_models():
        if known.folder is None or (names and known.name not in names):
            continue
        card, spec = cards_dir() / known.name, load_model(known.name).spec
        for name in (METRICS, CHECKS):
            if not (card / name).is_file():
                continue
            content = (
                read_evaluation(card / name) if name == METRICS else json.loads((card / name).read_text())
            )
            check_same_model(content, spec, card / name)
            kept = shown_part(content, find_about(spec)) if name == METRICS else content
            path = Path(known.folder) / name
            replace_file(path, (json.dumps(kept, indent=1) + "\n").encode())
            log.info("%s: %s bytes", path, f"{path.stat().st_size:,}")
            written.append(path)
    return written


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    write_all(sys.argv[1:])
