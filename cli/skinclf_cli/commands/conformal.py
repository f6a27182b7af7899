"""`skinclf conformal`: fit label sets that hold the true class at a stated rate."""

from __future__ import annotations

from pathlib import Path

import click

from skinclf_cli import console
from skinclf_cli.types import OutputFile

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "--coverage", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.9, show_default=True
)
@click.option(
    "--by",
    "group",
    type=click.Choice(["malignant", "class"]),
    default="malignant",
    show_default=True,
    help="Coverage holds within malignant and benign, or within each class.",
)
@click.option(
    "--predictions", type=_FILE, help="Held-out predictions. Default: those that travel with the model."
)
@click.option("--labels", type=click.Path(exists=True, path_type=Path), help="Their labels.")
@click.option("--model", help="The model that made them. Default: the built-in model.")
@click.option("--output", type=OutputFile(), default="conformal.json", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Report as JSON on stdout.")
def conformal(
    coverage: float,
    group: str,
    predictions: Path | None,
    labels: Path | None,
    model: str | None,
    output: Path,
    as_json: bool,  # noqa: FBT001 - click passes flags by name
) -> None:
    """Fit label sets on held-out predictions, for `skinclf predict --conformal FILE`.

    The report shows coverage and set size on the same images, by class: it checks the fit, it is no test.
    """
    from skinclf.decisions.conformal import coverage_by, fit_conformal, write_conformal
    from skinclf.decisions.held_out import read_held_out
    from skinclf.errors import InvalidArgumentError
    from skinclf.evaluation.cases import label_set_of

    held_out = read_held_out(predictions=predictions, labels=labels, model=model)
    table, truth = held_out.joined.predictions, held_out.joined.labels.codes
    if table.codes is None or table.probabilities is None or truth is None:
        raise InvalidArgumentError(
            "Label sets need a probability per class (p_<code>) and class codes as labels."
        )
    label_set = held_out.label_set or label_set_of(table)
    values = table.in_order(label_set)
    fingerprint = held_out.spec.fingerprint if held_out.spec else None
    sets = fit_conformal(
        truth,
        values,
        label_set,
        coverage=coverage,
        group=group,  # type: ignore[arg-type]  # click checks the choice
        model=fingerprint,
    )
    write_conformal(output, sets)
    rows = coverage_by(sets, truth, values, {"class": truth})
    if as_json:
        console.json_out({**sets.to_dict(), "output": str(output), "check": rows})
        return
    shown = [[r["value"], r["n"], f"{r['coverage']:.3f}", f"{r['mean_size']:.2f}"] for r in rows]
    console.table(["class", "images", "covered", "mean set size"], shown)
    console.talk(f"Wrote {output}: label sets at {coverage:.0%} coverage within each {group} group.")
