"""`skinclf evaluate`: metrics with intervals and a report, from predictions and labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skinclf_cli import console
from skinclf_cli.labels_report import report_left_out
from skinclf_cli.options import (
    EXISTING,
    EXISTING_FOLDER,
    FOLDER,
    INSIDE,
    TableOptions,
    bootstrap_seed_option,
    confidence_option,
    open_option,
    replicates_option,
    table_options,
)
from skinclf_cli.types import Codes

if TYPE_CHECKING:
    from skinclf.metrics.clusters import Combine


@click.command()
@click.option("--predictions", type=EXISTING, required=True, help="Predictions table.")
@click.option(
    "--labels", type=EXISTING, required=True, help="Reference labels: a table, or a folder per class."
)
@table_options
@click.option("--split", help="Name of the split of the labels that is used. Default: all rows.")
@click.option(
    "--threshold",
    metavar="FILE|NUMBER",
    help="Threshold that was fixed before this test. Default: that of the prediction run, else 0.5.",
)
@click.option(
    "--positive",
    type=Codes(),
    help="Comma-separated codes of the positive classes. Default: the malignant ones.",
)
@click.option("--taxonomy", help="Label set of the predictions, where their columns do not say it.")
@click.option(
    "--group-by",
    metavar="COLUMN",
    help="Column of images that belong together. Default: the lesions, else the patients, when known.",
)
@click.option(
    "--combine",
    type=click.Choice(["max", "mean"]),
    help="Combination of the images of a lesion. Default: that of the threshold file.",
)
@click.option(
    "--subgroup",
    "subgroups",
    type=Codes(),
    metavar="COLUMN[=VALUE],...",
    help="Subgroups to measure. Default: age_band, sex, site and dx_type=histo, when known.",
)
@click.option(
    "--prevalence",
    type=INSIDE,
    help="Share of positives where the model will be used; adds predictive values for it.",
)
@click.option("--compare", type=EXISTING, help="Predictions of another model on the same images.")
@click.option(
    "--compare-threshold",
    metavar="FILE|NUMBER",
    help="Threshold of the other model. Default: that of its prediction run.",
)
@click.option(
    "--tuned-on",
    type=EXISTING,
    multiple=True,
    help="Table of images that trained, tuned or calibrated the model; may be given several times.",
)
@click.option("--allow-leakage", is_flag=True, help="Continue when lesions under test were used before.")
@click.option("--images", type=EXISTING_FOLDER, help="Folder of the images, to show the errors.")
@click.option(
    "--explain",
    type=click.IntRange(0, 12),
    default=0,
    show_default=True,
    metavar="N",
    help="Maps of so many of the most confident errors in the report; needs --images.",
)
@click.option(
    "--model",
    metavar="NAME|FOLDER|FILE|REPO",
    help="Model that made the predictions, for --explain. Default: the built-in one.",
)
@click.option("--name", help="Name of the model in the report.")
@confidence_option
@replicates_option
@bootstrap_seed_option
@click.option(
    "--output",
    type=FOLDER,
    default=Path("evaluation"),
    show_default=True,
    help="Folder for metrics.json, report.html and figures.",
)
@open_option
@click.option("--json", "as_json", is_flag=True, help="Print the metrics to stdout as JSON too.")
def evaluate(
    *,
    predictions: Path,
    labels: Path,
    table: TableOptions,
    split: str | None,
    threshold: str | None,
    positive: tuple[str, ...] | None,
    taxonomy: str | None,
    group_by: str | None,
    combine: Combine | None,
    subgroups: tuple[str, ...] | None,
    prevalence: float | None,
    compare: Path | None,
    compare_threshold: str | None,
    tuned_on: tuple[Path, ...],
    allow_leakage: bool,
    images: Path | None,
    explain: int,
    model: str | None,
    name: str | None,
    confidence: float,
    replicates: int,
    seed: int,
    output: Path,
    show: bool,
    as_json: bool,
) -> None:
    """Measure predictions against reference labels, with an interval for every figure.

    \b
    skinclf evaluate --predictions preds.csv --labels labels.csv
    skinclf evaluate --predictions preds.csv --labels split.csv --split test \\
        --threshold threshold.json
    """  # noqa: D301 - click's paragraph mark
    from skinclf.evaluation.evaluate import evaluate as measure

    explainer = None
    if explain:
        if images is None:
            raise click.UsageError("--explain needs --images, the folder of the images.")
        from skinclf.explanation.explainer import Explainer

        explainer = Explainer(model)
    result = measure(
        predictions,
        labels,
        split=split,
        label_set=taxonomy,
        threshold=threshold,
        positive=positive,
        group_by=group_by,
        combine=combine,
        subgroups=subgroups,
        prevalence=prevalence,
        compare=compare,
        compare_threshold=compare_threshold,
        tuned_on=tuned_on,
        allow_leakage=allow_leakage,
        name=name,
        confidence=confidence,
        replicates=replicates,
        seed=seed,
        label_options=table.options(),
    )
    files = result.write(output, images=images, explainer=explainer, explain=explain)
    if as_json:
        console.json_out(dict(result.metrics))
    else:
        console.table(("", "value", "interval"), _rows(result.metrics))
    data = result.metrics["data"]
    report_left_out(data["labels_left_out"], data["note"])
    console.message(_groups(result.metrics["settings"]["group_by"]))
    for leak in result.metrics["leakage"]["found"]:
        console.message(f"Warning: {leak}")
    for file in result.metrics["leakage"]["not_compared"]:
        console.message(
            f"Warning: {file} lies apart from its .hashes.json, so images under test could not be compared with "
            "those it was tuned on."
        )
    if not result.metrics["threshold"]["given"]:
        console.message("No threshold was given: 0.5 was used, which was not chosen for this model.")
    console.message(f"Written: {', '.join(str(path) for path in files[:2])} and {len(files) - 2} figures")
    console.report(output / "report.html", show=show)


def _groups(column: str | None) -> str:
    """What the intervals take as independent."""
    if column is None:
        return "The labels name neither lesions nor patients: every image counts as independent."
    if column == "lesion_id":
        return "Images of one lesion count as dependent."
    return f"Images of one {column} count as dependent."


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
    group = metrics["settings"]["group_by"]
    for unit, word in (("image", "image"), ("lesion", "lesion" if group == "lesion_id" else group)):
        if point and point[unit]:
            found += [(f"{rate} by {word}", point[unit][rate]) for rate in ("sensitivity", "specificity")]
    for name, item in found:
        if item["value"] is None:
            continue
        known = item["low"] is not None
        yield name, f"{item['value']:.3f}", f"{item['low']:.3f}-{item['high']:.3f}" if known else ""
