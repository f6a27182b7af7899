"""`skinclf evaluate`: metrics with intervals and a report, from predictions and labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from skinclf_cli import console
from skinclf_cli.types import Codes

_FILE = click.Path(path_type=Path, exists=True)
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
_INSIDE = click.FloatRange(0, 1, min_open=True, max_open=True)


@click.command()
@click.option("--predictions", type=_FILE, required=True, help="Predictions table.")
@click.option("--labels", type=_FILE, required=True, help="Reference: a table, or a folder per class.")
@click.option("--split", help="Only rows of this split of the labels.")
@click.option(
    "--threshold",
    metavar="FILE|NUMBER",
    help="Fixed before this test. Default: that of the prediction run, else 0.5.",
)
@click.option("--positive", type=Codes(), help="Positive class or classes. Default: the malignant ones.")
@click.option("--taxonomy", help="Label set of the predictions, when their columns do not say it.")
@click.option(
    "--group-by", metavar="COLUMN", help="Images that belong together. Default: the lesions, when known."
)
@click.option(
    "--combine",
    type=click.Choice(["max", "mean"]),
    help="How a lesion's images combine. Default: as the threshold file says.",
)
@click.option(
    "--subgroup",
    "subgroups",
    type=Codes(),
    metavar="COLUMN[=VALUE],...",
    help="Default: age_band, sex, site and dx_type=histo, when known.",
)
@click.option("--prevalence", type=_INSIDE, help="Share of positives where the model will be used.")
@click.option("--compare", type=_FILE, help="Predictions of another model on the same images.")
@click.option("--compare-threshold", metavar="FILE|NUMBER", help="Its threshold. Default: its run's.")
@click.option(
    "--tuned-on",
    type=_FILE,
    multiple=True,
    help="Table of images that trained, tuned or calibrated; repeatable.",
)
@click.option("--allow-leakage", is_flag=True, help="Go on when lesions under test were seen before.")
@click.option("--images", type=_FOLDER, help="Folder of the images, to show the errors.")
@click.option("--name", help="What the report calls the model.")
@click.option("--confidence", type=_INSIDE, default=0.95, show_default=True, help="Of all intervals.")
@click.option(
    "--replicates",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    help="Of the bootstrap by lesion.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bootstrap.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("evaluation"),
    show_default=True,
    help="Folder for metrics.json, report.html and figures.",
)
@click.option("--json", "as_json", is_flag=True, help="Write the metrics to stdout too.")
def evaluate(
    *,
    predictions: Path,
    labels: Path,
    taxonomy: str | None,
    images: Path | None,
    output: Path,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure predictions against reference labels, with an interval for every figure.

    \b
    skinclf evaluate --predictions preds.csv --labels labels.csv --output evaluation
    skinclf evaluate --predictions preds.csv --labels split.csv --split test --threshold threshold.json
    """  # noqa: D301 - click's paragraph mark
    from skinclf.evaluation.evaluate import evaluate as measure

    result = measure(predictions, labels, label_set=taxonomy, **options)
    files = result.write(output, images=images)
    if as_json:
        console.json_out(dict(result.metrics))
    else:
        console.table(("", "value", "interval"), _rows(result.metrics))
    for leak in result.metrics["leakage"]["found"]:
        console.talk(f"Warning: {leak}")
    if not result.metrics["threshold"]["given"]:
        console.talk("No threshold was given: 0.5 was used, which nobody chose for this model.")
    console.talk(f"Written: {', '.join(str(path) for path in files[:2])} and {len(files) - 2} figures")


def _rows(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The headline figures."""
    point, binary, overall = metrics["operating_point"], metrics["binary"], metrics["multiclass"]
    found = [("accuracy", overall["accuracy"])] if overall else []
    if overall:
        found += [("balanced accuracy", overall["balanced_accuracy"]), ("macro F1", overall["macro_f1"])]
        found += [("macro ROC-AUC", overall["roc_auc_macro"])]
    if binary:
        name = "+".join(binary["positive"])
        found += [(f"ROC-AUC {name}", binary["roc_auc"]), (f"PR-AUC {name}", binary["pr_auc"])]
        found += [(f"calibration error {name}", binary["ece"])]
    for unit in ("image", "lesion"):
        if point and point[unit]:
            found += [(f"{rate} by {unit}", point[unit][rate]) for rate in ("sensitivity", "specificity")]
    for name, item in found:
        if item["value"] is None:
            continue
        known = item["low"] is not None
        yield name, f"{item['value']:.3f}", f"{item['low']:.3f}-{item['high']:.3f}" if known else ""
