"""`skinclf export`: from a run to a bundle."""

from __future__ import annotations

from pathlib import Path

import click

from skinclf_cli import console


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of the bundle."
)
@click.option(
    "--data",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder made by `skinclf data prepare`; by default the run's own.",
)
@click.option(
    "--golden-image",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Picture to record as the golden sample; a synthetic one by default.",
)
@click.option("--name", help="Of the model; by default the configuration's.")
@click.option("--license", "license_", default="CC-BY-NC-4.0", show_default=True, help="Of the weights.")
@click.option("--data-name", help="Of the training data, for the record; by default what its labels tell.")
def export(
    run: Path,
    output: Path,
    folder: Path | None,
    golden_image: Path | None,
    name: str | None,
    license_: str,
    data_name: str | None,
) -> None:
    """Write the bundle of RUN's best epoch, with its validation and test predictions and its report."""
    from skinclf_training.config.read import load_config
    from skinclf_training.data.prepare import read_prepared
    from skinclf_training.experiments.backends import default_data_name, framework
    from skinclf_training.recipes.run_folder import CONFIG, data_folder

    prepared = read_prepared(folder or data_folder(run))
    config = load_config(str(run / CONFIG))
    made = framework(config.framework).export(
        run,
        prepared,
        output,
        golden_image=golden_image,
        name=name,
        license=license_,
        data_name=data_name or default_data_name(prepared),
    )
    if config.log.report:
        from skinclf_training.experiments.run_report import write_run_report

        console.talk(f"Report: {write_run_report(run, output)}")
    console.table(["validation", "value"], [[key, f"{value:.4f}"] for key, value in made.figures.items()])
    console.talk(f"Bundle in {output}; predictions: {', '.join(str(p) for p in made.predictions.values())}")
