"""`skinclf export`: make a bundle from a training run."""

from __future__ import annotations

from pathlib import Path

import click

from skinclf_cli import console
from skinclf_cli.options import EXISTING_FILE, EXISTING_FOLDER, FOLDER


@click.command()
@click.argument("run", type=EXISTING_FOLDER)
@click.option("--output", type=FOLDER, required=True, help="Folder of the bundle.")
@click.option(
    "--data",
    "folder",
    type=EXISTING_FOLDER,
    help="Folder made by `skinclf data prepare`. Default: the one of the run.",
)
@click.option(
    "--golden-image",
    type=EXISTING_FILE,
    help="Image for the golden sample. Default: a synthetic image.",
)
@click.option("--name", help="Name of the model. Default: that of the configuration.")
@click.option(
    "--license", "license_", default="CC-BY-NC-4.0", show_default=True, help="Licence of the weights."
)
@click.option(
    "--data-name", help="Name of the training data in the record. Default: derived from its labels."
)
@click.option(
    "--test-part",
    is_flag=True,
    help="Predict and evaluate the test part too, which stays unseen otherwise.",
)
def export(
    *,
    run: Path,
    output: Path,
    folder: Path | None,
    golden_image: Path | None,
    name: str | None,
    license_: str,
    data_name: str | None,
    test_part: bool,
) -> None:
    """Write the bundle of RUN's best epoch, with its validation predictions and its report."""
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
        test_part=test_part,
    )
    if config.log.report:
        from skinclf_training.experiments.run_report import write_run_report

        console.message(f"Report: {write_run_report(run, output)}")
    console.table(["validation", "value"], [[key, f"{value:.4f}"] for key, value in made.figures.items()])
    console.message(
        f"Bundle in {output}; predictions: {', '.join(str(p) for p in made.predictions.values())}"
    )
