"""`skinclf train`: train a model, or go on with a run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from skinclf_cli import console


@click.command()
@click.option("--config", help="YAML file, or the name of a configuration that comes with skinclf.")
@click.option(
    "--data",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder made by `skinclf data prepare`; one made with --folds trains them all.",
)
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Folder of the run.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY.SUB=VALUE", help="Override a key of the configuration."
)
@click.option(
    "--resume",
    type=click.Choice(["auto", "never"]),
    default="auto",
    show_default=True,
    help="Go on when the run's folder holds a checkpoint, or refuse it.",
)
@click.option("--max-steps", type=click.IntRange(min=1), help="Stop after so many steps, for trials.")
@click.option(
    "--golden-image",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Picture for the bundle's golden sample; a synthetic one by default.",
)
@click.option("--data-name", help="Of the training data, for the record; by default what its labels tell.")
@click.option(
    "--push-to",
    metavar="USER/REPO",
    help="Publish the bundle with its card when done, as `skinclf push` does.",
)
@click.option("--print-config", is_flag=True, help="Print the resolved configuration and stop.")
@click.option(
    "--list-configs", is_flag=True, help="List the configurations that come with skinclf, and stop."
)
def train(
    config: str | None,
    folder: Path | None,
    output: Path | None,
    overrides: tuple[str, ...],
    resume: Literal["auto", "never"],
    max_steps: int | None,
    golden_image: Path | None,
    data_name: str | None,
    push_to: str | None,
    print_config: bool,  # noqa: FBT001
    list_configs: bool,  # noqa: FBT001
) -> None:
    """Train a model and export its best epoch to OUTPUT/bundle.

    The same command goes on after a kill, to the same weights as without it. With folds as data, each is a run in
    OUTPUT/foldN, and OUTPUT/predictions_oof.csv has every image as the one model saw it that did not learn from it.
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
    if folder is None or output is None:
        raise click.UsageError("Training needs --data and --output.")
    from skinclf_training.experiments.cross_validation import cross_validate, is_folds

    folds = is_folds(folder)
    if push_to is not None:
        if folds:
            raise click.UsageError(
                "--push-to publishes one model; folds give several. Push one: skinclf push."
            )
        from skinclf_training.publishing.upload import Target

        Target(push_to)  # a misspelt name is refused before the hours of training, not after
    if console.verbosity() == 0:
        console.setup_logging(1)
    console.talk(resolved.to_yaml())
    if folds:
        report = cross_validate(
            resolved,
            folder,
            output,
            resume=resume,
            max_steps=max_steps or -1,
            golden_image=golden_image,
            data_name=data_name,
        )
        console.talk(f"Report: {report}")
        return
    from skinclf_training.data.prepare import read_prepared
    from skinclf_training.experiments.backends import default_data_name, framework
    from skinclf_training.torch.distributed import rank

    chosen, prepared = framework(resolved.framework), read_prepared(folder)
    chosen.train(resolved, prepared, output, resume=resume, max_steps=max_steps or -1)
    if rank():
        return
    chosen.export(
        output,
        prepared,
        output / "bundle",
        golden_image=golden_image,
        data_name=data_name or default_data_name(prepared),
    )
    console.talk(f"Bundle in {output / 'bundle'}, predictions beside it.")
    if resolved.log.report:
        from skinclf_training.experiments.run_report import write_run_report

        console.talk(f"Report: {write_run_report(output, output / 'bundle')}")
    if push_to is not None:
        from skinclf_training.publishing.publish import push

        made = push(output, push_to)
        console.talk(f"Published and replayed. Use it with: --model {push_to}@{made.revision}")
        console.out(str(made.url))
