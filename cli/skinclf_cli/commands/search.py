"""`skinclf search`: find a good configuration by training many."""

from __future__ import annotations

from pathlib import Path

import click

from skinclf_cli import console
from skinclf_cli.options import json_option


@click.command()
@click.option(
    "--config",
    required=True,
    help="What every trial starts from: a YAML file, or the name of a configuration.",
)
@click.option(
    "--data",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Folder made by `skinclf data prepare`.",
)
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of the search."
)
@click.option(
    "--space",
    "space_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="YAML file: keys of the configuration, each with what it may be.",
)
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    help="Finished trials in the end, pruned and failed ones included. Default: all of a grid.",
)
@click.option("--sampler", type=click.Choice(["tpe", "random", "grid"]), default="tpe", show_default=True)
@click.option(
    "--pruner",
    type=click.Choice(["median", "none"]),
    default="median",
    show_default=True,
    help="Stop trials that are worse than the median of those before at the same epoch.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of the sampler; the runs have the configuration's own.",
)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY.SUB=VALUE", help="Override a key of the configuration."
)
@click.option(
    "--keep",
    type=click.Choice(["best", "all"]),
    default="best",
    show_default=True,
    help="Whose checkpoints stay.",
)
@json_option
def search(
    *,
    config: str,
    folder: Path,
    output: Path,
    space_file: Path,
    trials: int | None,
    sampler: str,
    pruner: str,
    seed: int,
    overrides: tuple[str, ...],
    keep: str,
    as_json: bool,
) -> None:
    """Train many configurations and report the best, by the validation figure that `select` names.

    The same command goes on after a kill: the interrupted trial from its checkpoint, then the trials that are
    missing. Raise --trials to go on with a finished search.

    \b
    skinclf search --config ham10000-mobilenetv2-plain --data data/prepared --output runs/search \\
        --space space.yaml --trials 30
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

    outcome = run(
        resolved,
        read_prepared(folder),
        output,
        space,
        trials=trials,
        sampler=sampler,  # type: ignore[arg-type]  # click.Choice has checked it
        pruner=pruner,  # type: ignore[arg-type]
        seed=seed,
        keep=keep,  # type: ignore[arg-type]
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
    console.talk(f"Written: {output / 'best.yaml'}, {output / 'report.html'}, {output / 'trials.csv'}")
