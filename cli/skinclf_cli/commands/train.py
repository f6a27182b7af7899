"""`skinclf train`: train a model, or continue a run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from skinclf_cli import console
from skinclf_cli.options import EXISTING_FILE, EXISTING_FOLDER, FOLDER, set_option
from skinclf_cli.progress import train_bar


@click.command()
@click.option("--config", help="Configuration: a YAML file, or the name of one that comes with skinclf.")
@click.option(
    "--data",
    "folder",
    type=EXISTING_FOLDER,
    help="Folder made by `skinclf data prepare`; one with folds trains all of them.",
)
@click.option(
    "--output",
    type=FOLDER,
    help="Folder of the run. Default: runs/DATE-NAME, with the name of the configuration.",
)
@set_option
@click.option(
    "--resume",
    type=click.Choice(["auto", "never"]),
    default="auto",
    show_default=True,
    help="Use of a checkpoint in the folder of the run: auto continues from it, never refuses the folder.",
)
@click.option(
    "--max-steps", type=click.IntRange(min=1), help="Number of steps after which training stops, for trials."
)
@click.option(
    "--test-part",
    is_flag=True,
    help="Predict and evaluate the test part too, which stays unseen otherwise.",
)
@click.option(
    "--golden-image",
    type=EXISTING_FILE,
    help="Image for the golden sample of the bundle. Default: a synthetic image.",
)
@click.option(
    "--data-name", help="Name of the training data in the record. Default: derived from its labels."
)
@click.option(
    "--push-to",
    metavar="USER/REPO",
    help="Hub repository that receives the bundle with its card at the end, as by `skinclf push`; the card needs "
    "--test-part.",
)
@click.option("--print-config", is_flag=True, help="Print the resolved configuration and exit.")
@click.option("--list-configs", is_flag=True, help="List the configurations that come with skinclf and exit.")
def train(
    *,
    config: str | None,
    folder: Path | None,
    output: Path | None,
    overrides: tuple[str, ...],
    resume: Literal["auto", "never"],
    max_steps: int | None,
    test_part: bool,
    golden_image: Path | None,
    data_name: str | None,
    push_to: str | None,
    print_config: bool,
    list_configs: bool,
) -> None:
    """Train a model and export its best epoch to OUTPUT/bundle.

    The same command continues after a kill, to the same weights as without it, and leaves a finished run as it is.
    With folds as data, each fold is a run in OUTPUT/foldN, and OUTPUT/predictions_oof.csv has the out-of-fold
    prediction of every image.
    """
    from skinclf_training.config.read import known_configs, load_config

    if list_configs:
        rows = [[c.name, c.framework, c.model.architecture, c.labels, c.about] for c in known_configs()]
        console.table(["name", "framework", "architecture", "labels", "about"], rows)
        return
    if config is None:
        raise click.UsageError("Training needs --config; --list-configs shows those that come with skinclf.")
    resolved = load_config(config, overrides)
    if print_config:
        console.out(resolved.to_yaml())
        return
    if folder is None:
        raise click.UsageError("Training needs --data.")
    if output is None and resolved.optim.devices != 1:
        raise click.UsageError("Several processes train into one folder; name it with --output.")
    from skinclf_training.experiments.cross_validation import cross_validate, is_folds, read_folds
    from skinclf_training.recipes.run_folder import default_run

    folds = is_folds(folder)
    if push_to is not None:
        if folds:
            raise click.UsageError(
                "--push-to publishes one model; folds give several. Push one: skinclf push."
            )
        if not test_part:
            raise click.UsageError(
                "--push-to publishes a card with figures of the test part; add --test-part."
            )
        from skinclf_training.publishing.upload import Target

        Target(push_to)  # a misspelt name fails before the hours of training, not after
    from skinclf_training.data.prepare import read_prepared

    prepared = read_folds(folder)[0] if folds else read_prepared(folder)
    run = output or default_run(resolved, prepared.hash, fresh=resume == "never")
    if console.verbosity() == 0:
        console.setup_logging(1)
    console.message(resolved.to_yaml())
    console.message(f"Run: {run}")
    if folds:
        with train_bar() as (progress, on_batch):
            report = cross_validate(
                resolved,
                folder,
                run,
                resume=resume,
                max_steps=max_steps or -1,
                golden_image=golden_image,
                data_name=data_name,
                test_part=test_part,
                progress=progress,
                on_batch=on_batch,
            )
        console.message(f"Report: {report}")
        return
    from skinclf_training.experiments.backends import default_data_name, framework
    from skinclf_training.experiments.exported import BUNDLE, is_exported
    from skinclf_training.torch.distributed import rank

    chosen = framework(resolved.framework)
    with train_bar() as (progress, on_batch):
        chosen.train(
            resolved,
            prepared,
            run,
            resume=resume,
            max_steps=max_steps or -1,
            progress=progress,
            on_batch=on_batch,
        )
    if rank():
        return
    if is_exported(run, "val") and (not test_part or is_exported(run, "test")):
        console.message(
            f"Finished before: {run / BUNDLE}. `skinclf export` makes a bundle with another name or golden image."
        )
    else:
        chosen.export(
            run,
            prepared,
            run / BUNDLE,
            golden_image=golden_image,
            data_name=data_name or default_data_name(prepared),
            test_part=test_part,
        )
        console.message(f"Bundle in {run / BUNDLE}, predictions beside it.")
        if resolved.log.report:
            from skinclf_training.experiments.run_report import write_run_report

            console.message(f"Report: {write_run_report(run, run / BUNDLE)}")
    if push_to is not None:
        from skinclf_training.publishing.publish import push

        made = push(run, push_to)
        console.message(f"Published and replayed. Use it with: --model {push_to}@{made.revision}")
        console.out(str(made.url))
