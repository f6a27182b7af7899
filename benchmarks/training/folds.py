"""Figures of a cross-validation for the documents: `python -m benchmarks.training.folds runs/folds --json FILE`.

The argument is the folder that `skinclf train` wrote with folds as `--data` and `--test-part`.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from benchmarks.results import json_option, rounded, write
from skinclf.models.bundle import read_spec

#: Figures over all left-out images that docs/explanation/aims.md sets beside those of the default model; those of the
#: predicted class are not among them, since the default model decides by another rule.
BESIDE = {
    "binary": ("roc_auc", "pr_auc", "specificity_at_sensitivity"),
    "multiclass": ("roc_auc_macro", "ece_top_label"),
}
NOTE = "Trained with the command of docs/training.md; bundles and predictions of the folds are not kept."


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@json_option
def main(run: Path, output: Path | None) -> None:
    """Print the figures, with the time that the folds took."""
    found = json.loads((run / "report.json").read_text(encoding="utf-8"))
    metrics = json.loads((run / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    training = [read_spec(run / f"fold{number}" / "bundle").training for number in range(found["folds"])]
    content = {
        "command": "-m benchmarks.training.folds RUN",
        "note": NOTE,
        "epochs": training[0]["config"]["optim"]["epochs"],
        "seed": training[0]["seed"],
        "minutes": sum(one["minutes"] for one in training),
        "hardware": training[0]["hardware"],
        **found,
        "metrics": {part: {name: metrics[part][name] for name in names} for part, names in BESIDE.items()},
    }
    print(json.dumps(rounded(content, 3), indent=1))
    write(output, rounded(content, 3))


if __name__ == "__main__":
    main()
