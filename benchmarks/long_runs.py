"""Test results of finished runs as a table for docs/training.md: `python benchmarks/long_runs.py runs/*`.

Each argument is the folder of a run that was exported with its report, or of one that came with skinclf: a bundle whose
card, with `metrics.json`, lies in `model_cards/` under the same name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from skinclf.models.bundle import read_spec

CARDS = Path(__file__).parent.parent / "model_cards"


def cell(item: Mapping[str, Any] | None) -> str:
    """Format an estimate with its interval."""
    if not item or item["value"] is None:
        return ""
    return f"{item['value']:.3f} ({item['low']:.3f}-{item['high']:.3f})"


@click.command()
@click.argument(
    "runs", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
def main(runs: tuple[Path, ...]) -> None:
    """Print one row for each run."""
    print(
        "| model | pixels | epochs, seed | minutes on | ROC-AUC malignant | PR-AUC malignant | macro ROC-AUC | "
        "balanced accuracy | ECE, top label | specificity at 90 % sensitivity |"
    )
    print("|---" * 10 + "|")
    for run in runs:
        bundle = run / "bundle" if (run / "bundle").is_dir() else run
        spec = read_spec(bundle)
        own = run / "evaluation" / "metrics.json"
        metrics = json.loads((own if own.is_file() else CARDS / spec.name / "metrics.json").read_text())
        training, config = spec.training, spec.training["config"]
        many, two = metrics["multiclass"] or {}, metrics["binary"] or {}
        cells = [
            f"`{spec.name}`",
            f"{config['augment']['size']}, then {spec.preprocess.height}",
            f"{config['optim']['epochs']}, {training['seed']}",
            f"{training['minutes']} on {training['hardware']}",
            cell(two.get("roc_auc")),
            cell(two.get("pr_auc")),
            cell(many.get("roc_auc_macro")),
            cell(many.get("balanced_accuracy")),
            cell(many.get("ece_top_label")),
            cell(two.get("specificity_at_sensitivity", {}).get("0.9")),
        ]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
