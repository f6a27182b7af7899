"""Options of `skinclf tune-threshold`: a frozen dataclass for each group of them."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skinclf_cli.options import EXISTING, EXISTING_FOLDER, INSIDE, packed
from skinclf_cli.types import Codes

if TYPE_CHECKING:
    from skinclf.decisions.guarantees import Grade
    from skinclf.decisions.tune import Criterion
    from skinclf.metrics.clusters import Combine

_RATE = click.FloatRange(0, 1, min_open=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class CriterionOptions:
    """Options of which one states the criterion."""

    target_sensitivity: float | None
    target_specificity: float | None
    target_ppv: float | None
    cost_ratio: float | None
    youden: bool

    def criterion(self) -> Criterion:
        """The criterion that is stated.

        Raises:
            UsageError: None is stated, or several are.
        """
        from skinclf.decisions.tune import Criterion

        stated = [value for value in (*astuple(self)[:-1], self.youden or None) if value is not None]
        if len(stated) != 1:
            raise click.UsageError("State one criterion, for example --target-sensitivity 0.9.")
        return Criterion(
            target_sensitivity=self.target_sensitivity,
            target_specificity=self.target_specificity,
            target_ppv=self.target_ppv,
            cost_ratio=self.cost_ratio,
            youden=self.youden,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions:
    """Options that name the labelled predictions, or the images to predict."""

    predictions: Path | None
    labels: Path | None
    split: str | None
    run_dir: Path | None
    image_dir: Path | None
    max_unmatched: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleOptions:
    """Options of the decision rule and of what is claimed about it."""

    grade: Grade
    confidence: float
    prevalence: float | None
    positive: tuple[str, ...] | None
    group_by: str | None
    combine: Combine
    per_class: bool
    cost_matrix: Path | None
    balanced: bool


criterion_options = packed(
    "goal",
    CriterionOptions,
    click.option(
        "--target-sensitivity", type=_RATE, help="Sensitivity to reach at the highest possible specificity."
    ),
    click.option(
        "--target-specificity", type=_RATE, help="Specificity to reach at the highest possible sensitivity."
    ),
    click.option(
        "--target-ppv",
        type=_RATE,
        help="Positive predictive value to reach at the highest possible sensitivity.",
    ),
    click.option(
        "--cost-ratio",
        type=click.FloatRange(0, min_open=True),
        help="Cost of a missed positive in false alarms; chooses the threshold of least cost.",
    ),
    click.option("--youden", is_flag=True, help="Choose the highest sum of sensitivity and specificity."),
    title="Criterion, exactly one",
)

rule_options = packed(
    "rule",
    RuleOptions,
    click.option(
        "--grade",
        type=click.Choice(["empirical", "expected", "guaranteed"]),
        default="empirical",
        show_default=True,
        help="Strength of the claim: the target is reached on these data, on average, or with --confidence.",
    ),
    click.option(
        "--confidence",
        type=INSIDE,
        default=0.95,
        show_default=True,
        help="Confidence level of intervals and of the guarantee.",
    ),
    click.option(
        "--prevalence",
        type=INSIDE,
        help="Share of positives where the model will be used; adds predictive values for it.",
    ),
    click.option(
        "--positive",
        type=Codes(),
        help="Comma-separated codes of the positive classes. Default: the malignant ones.",
    ),
    click.option(
        "--group-by",
        metavar="COLUMN",
        help="Column of lesions (lesion_id) or patients, to decide once for each. Default: once per image.",
    ),
    click.option(
        "--combine",
        type=click.Choice(["max", "mean"]),
        default="max",
        show_default=True,
        help="Combination of the images of a lesion with --group-by.",
    ),
    click.option(
        "--per-class",
        is_flag=True,
        help="Choose a threshold for each class against the rest too; `predict` then decides the class by them.",
    ),
    click.option(
        "--cost-matrix",
        type=EXISTING,
        help="CSV table of costs with a row per true class; with the file, the predicted class is the one of least "
        "expected cost, also beside --per-class.",
    ),
    click.option(
        "--balanced",
        is_flag=True,
        help="Fit a rule for the predicted class that has the highest balanced accuracy; `predict` then decides by "
        "it.",
    ),
    title="Rule and claim",
)

data_options = packed(
    "data",
    DataOptions,
    click.option(
        "--predictions",
        type=EXISTING,
        help="Predictions table. Default: the model's own held-out predictions.",
    ),
    click.option(
        "--labels",
        type=EXISTING,
        help="Reference labels: a table of 0/1, class codes or one-hot columns, or a folder per class.",
    ),
    click.option("--split", help="Name of the split of the labels that is used. Default: all rows."),
    click.option("--run-dir", type=EXISTING_FOLDER, help="Folder of a training run, for its predictions."),
    click.option(
        "--image-dir",
        type=EXISTING_FOLDER,
        help="Folder of images, also in subfolders; those with labels are predicted first, with the model or "
        "combination that is named.",
    ),
    click.option(
        "--max-unmatched",
        type=click.FloatRange(0, 1),
        default=0.05,
        show_default=True,
        help="Largest share of predictions that may lack a label.",
    ),
    title="Data",
)
