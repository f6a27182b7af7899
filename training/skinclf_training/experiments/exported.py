"""Whether the bundle and the predictions of a run are those of its present history."""

from __future__ import annotations

from pathlib import Path

from skinclf.models.bundle import is_bundle
from skinclf_training.recipes.run_folder import HISTORY

BUNDLE = "bundle"


def is_exported(run: Path, part: str) -> bool:
    """Whether a run has a bundle, and predictions of a part that are at least as recent as its history."""
    predictions, history = run / f"predictions_{part}.csv", run / HISTORY
    return (
        is_bundle(run / BUNDLE)
        and predictions.is_file()
        and history.is_file()
        and predictions.stat().st_mtime_ns >= history.stat().st_mtime_ns
    )
