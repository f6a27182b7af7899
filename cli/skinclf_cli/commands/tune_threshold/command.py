"""`skinclf tune-threshold`: choose a decision threshold on labelled predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skinclf_cli import console
from skinclf_cli.commands.predict.options import ModelChoice, model_choice_options
from skinclf_cli.commands.tune_threshold.options import (
    CriterionOptions,
    DataOptions,
    RuleOptions,
    criterion_options,
    data_options,
    rule_options,
)
from skinclf_cli.commands.tune_threshold.report import report_data, report_result
from skinclf_cli.options import TableOptions, table_options
from skinclf_cli.predicted import predict_labelled, spec_of_choice
from skinclf_cli.types import OutputFile

if TYPE_CHECKING:
    from skinclf.decisions.held_out import HeldOutPredictions


_NO_BUNDLE = (
    "--store needs a bundle on this machine: --model FOLDER. Several models become one by "
    "`skinclf models combine`."
)


@click.command()
@criterion_options
@rule_options
@data_options
@model_choice_options
@table_options
@click.option("--name", help="Name of the operating point. Default: made from the criterion.")
@click.option(
    "--store",
    metavar="NAME",
    help="Name under which the bundle --model FOLDER also stores the operating point, and the rule for the predicted "
    "class where one was fitted.",
)
@click.option(
    "--output",
    type=OutputFile(),
    default="threshold.json",
    show_default=True,
    help="Threshold file to write; - for stdout.",
)
@click.option(
    "--plot/--no-plot",
    default=True,
    show_default=True,
    help="Draw threshold_analysis.png beside threshold.json.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the content of the file to stdout.")
def tune_threshold(
    *,
    goal: CriterionOptions,
    rule: RuleOptions,
    data: DataOptions,
    choice: ModelChoice,
    table: TableOptions,
    name: str | None,
    store: str | None,
    output: Path,
    plot: bool,
    as_json: bool,
) -> None:
    """Choose a decision threshold on held-out predictions, with intervals for every figure.

    \b
    skinclf tune-threshold --target-sensitivity 0.9
    skinclf tune-threshold --target-sensitivity 0.9 --grade guaranteed \\
        --group-by lesion_id
    skinclf tune-threshold --target-sensitivity 0.95 --predictions preds.csv \\
        --labels labels.csv
    skinclf tune-threshold --target-sensitivity 0.9 --model a/ --model b/ \\
        --tta d4 --image-dir val/ --labels labels.csv
    """  # noqa: D301 - click's paragraph mark
    from skinclf._utils.json import read_json
    from skinclf.decisions.store import store_operating_point
    from skinclf.decisions.tune import tune
    from skinclf.decisions.tuning_data import without_hashes

    criterion = goal.criterion()
    held_out = _held_out(data, choice, table, output)
    report_data(held_out)
    result = tune(
        held_out,
        criterion=criterion,
        positive=rule.positive,
        group_by=rule.group_by,
        combine=rule.combine,
        grade=rule.grade,
        confidence=rule.confidence,
        prevalence=rule.prevalence,
        name=name,
        per_class=rule.per_class,
        cost_matrix=rule.cost_matrix,
        balanced=rule.balanced,
    )
    to_stdout = str(output) == "-"
    written = [] if to_stdout else [str(output)]
    if not to_stdout:
        result.threshold.write(output)
    if to_stdout:
        content = dict(result.threshold.data)
        console.json_out({**content, "data": without_hashes(content.get("data") or {})})
    elif as_json:
        console.json_out(read_json(output))
    else:
        report_result(result)
    if store is not None:
        folder = held_out.folder or _folder(choice)
        if held_out.spec is None or folder is None:
            raise click.UsageError(_NO_BUNDLE)
        store_operating_point(folder, result.threshold, name=store)
        written.append(f"operating point {store!r} of {folder}")
    if plot and not to_stdout:
        from skinclf.evaluation.report.threshold_figure import draw_threshold

        picture = output.with_name(f"{output.stem}_analysis.png")
        draw_threshold(picture, result)
        written.append(str(picture))
    if written:
        console.message(f"Written: {', '.join(written)}")


def _held_out(
    data: DataOptions, choice: ModelChoice, table: TableOptions, output: Path
) -> HeldOutPredictions:
    """The predictions that are named, or made of images."""
    from skinclf.decisions.held_out import read_held_out

    shared: dict[str, Any] = {
        "split": data.split,
        "max_unmatched": data.max_unmatched,
        "label_options": table.options(),
    }
    if data.image_dir is None:
        spec = spec_of_choice(choice)
        return read_held_out(
            predictions=data.predictions,
            labels=data.labels,
            run_dir=data.run_dir,
            model=choice.model[0] if choice.model and spec is None else None,
            spec=spec,
            **shared,
        )
    if data.predictions is not None or data.run_dir is not None:
        raise click.UsageError("Give one of --predictions, --run-dir and --image-dir.")
    if data.labels is None:
        raise click.UsageError("--image-dir needs --labels.")
    stem = "threshold" if str(output) == "-" else output.stem
    table_file = (Path() if str(output) == "-" else output.parent) / f"{stem}_predictions.csv"
    return predict_labelled(choice, data.image_dir, data.labels, table_file, **shared)


def _folder(choice: ModelChoice) -> Path | None:
    """Folder of the one bundle that is named; None for any other model."""
    if len(choice.model) != 1 or choice.tta != "none":
        return None
    folder = Path(choice.model[0])
    from skinclf.models.bundle import is_bundle

    return folder if is_bundle(folder) else None
