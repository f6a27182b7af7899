"""Test results of finished runs: `python -m benchmarks.training.long_runs runs/* --json long-runs.json`.

Each argument is the folder of a run that was exported with its report. Those of the models that come with skinclf stand
in docs/training.md, which takes them from their bundles and cards.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from benchmarks.results import json_option, report, rounded, write
from skinclf.models.bundle import read_spec

FIGURES = {
    "binary": ("roc_auc", "pr_auc", "specificity_at_sensitivity"),
    "multiclass": ("roc_auc_macro", "balanced_accuracy", "ece_top_label"),
}


@click.command()
@click.argument(
    "runs", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@json_option
def main(runs: tuple[Path, ...], output: Path | None) -> None:
    """Print what is known of each run."""
    rows = []
    for run in runs:
        bundle = run / "bundle" if (run / "bundle").is_dir() else run
        spec = read_spec(bundle)
        metrics = json.loads((run / "evaluation" / "metrics.json").read_text())
        training, config = spec.training, spec.training["config"]
        rows.append(
            {
                "name": spec.name,
                "sizes": [config["augment"]["size"], spec.preprocess.height],
                "epochs": config["optim"]["epochs"],
                "seed": training["seed"],
                "minutes": training["minutes"],
                "hardware": training["hardware"],
                **{part: {key: metrics[part].get(key) for key in keys} for part, keys in FIGURES.items()},
            }
        )
        print(json.dumps(rounded(rows[-1], 3), indent=1))
    write(output, report(rounded({"rows": rows}, 3)))


if __name__ == "__main__":
    main()
