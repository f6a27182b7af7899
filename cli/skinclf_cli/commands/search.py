"""`skinclf search`: search for a good training configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from skinclf_cli import console
from skinclf_cli.options import EXISTING_FILE, EXISTING_FOLDER, FOLDER, json_option, set_option
from skinclf_cli.progress import train_bar

if TYPE_CHECKING:
    from skinclf_training.experiments.search import Pruner, Sampler


@click.command()
@click.option(
    "--config",
    required=True,
    help="Configuration that every trial starts from: a YAML file, or the name of one that comes with skinclf.",
)
@click.option(
    "--data",
    "folder",
    type=EXISTING_FOLDER,
    required=True,
    help="Folder made by `skinclf data prepare`.",
)
@click.option("--output", type=FOLDER, required=True, help="Folder of the search.")
@click.option(
    "--space",
    "space_file",
    type=EXISTING_FILE,
    required=True,
    help="YAML file of the search space: keys of the configuration, each with its possible values.",
)
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    help="Number of trials in all, pruned and failed ones included. Default: all of a grid.",
)
@click.option(
    "--sampler",
    type=click.Choice(["tpe", "random", "grid"]),
    default="tpe",
    show_default=True,
    help="Method that proposes configurations.",
)
@click.option(
    "--pruner",
    type=click.Choice(["median", "none"]),
    default="median",
    show_default=True,
    help="Rule that stops trials early: worse than the median of earlier trials at the same epoch, or never.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Random seed of the sampler; the runs use that of the configuration.",
)
@set_option
@click.option(
    "--keep",
    type=click.Choice(["best", "all"]),
    default="best",
    show_default=True,
    help="Trials whose checkpoints are kept.",
)
@json_option
def search(
    *,
    config: str,
    folder: Path,
    output: Path,
    space_file: Path,
    trials: int | None,
    sampler: Sampler,
    pruner: Pruner,
    seed: int,
    overrides: tuple[str, ...],
    keep: Literal["best", "all"],
    as_json: bool,
) -> None:
    """Train many configurations and report the best by the validation metric that `select` names.

    The same command continues after a kill: the interrupted trial from its checkpoint, then the missing trials.
    Raise --trials to continue a finished search.

    \b
    skinclf search --config ham10000-mobilenetv2-plain --data data/prepared \\
        --output runs/search --space space.yaml --trials 30
    """  # noqa: D301 - click's paragraph mark
    from skinclf_training.config.read import load_config
    from skinclf_training.experiments.search_space import load_space

    resolved = load_config(config, overrides)
    space = load_space(space_file, resolved)
    if console.verbosity() == 0:
        console.setup_logging(1)
    from skinclf._utils.json import jsonable
    from skinclf_training.data.prepare import read_prepared
    from skinclf_training.experiments.search import search as run
    from skinclf_training.experiments.search_report import short

    with train_bar() as (progress, on_batch):
        outcome = run(
            resolved,
            read_prepared(folder),
            output,
            space,
            trials=trials,
            sampler=sampler,
            pruner=pruner,
            seed=seed,
            keep=keep,
            progress=progress,
            on_batch=on_batch,
        )
    if as_json:
        console.json_out(jsonable(outcome.to_dict()))
    else:
        keys = list(space.distributions)
        console.table(
            ["trial", "state", outcome.figure, "epoch", *keys],
            [
                [t.number, t.state, "" if t.value is None else f"{t.value:.4f}", t.best_epoch or ""]
                + [short(t.params[key]) for key in keys]
                for t in outcome.ranked()[:10]
            ],
        )
    console.message(f"Written: {output / 'best.yaml'}, {output / 'report.html'}, {output / 'trials.csv'}")
