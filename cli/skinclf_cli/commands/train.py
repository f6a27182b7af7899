"""`skinclf train`: train a model, or go on with a run."""

from __future__ import annotations

from pathlib import Path

import click

from skinclf_cli import console


@click.command()
@click.option(
    "--config", required=True, help="YAML file, or the name of a configuration that comes with skinclf."
)
@click.option("--data", "folder", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Folder made by `skinclf data prepare`.")  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Folder of the run.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY.SUB=VALUE", help="Override a key of the configuration."
)
@click.option("--resume", type=click.Choice(["auto", "never"]), default="auto", show_default=True,
              help="Go on when the run's folder holds a checkpoint, or refuse it.")  # fmt: skip
@click.option("--max-steps", type=click.IntRange(min=1), help="Stop after so many steps, for trials.")
@click.option("--golden-image", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Picture for the bundle's golden sample; a synthetic one by default.")  # fmt: skip
@click.option("--push-to", metavar="USER/REPO",
              help="Publish the bundle with its card when done, as `skinclf push` does.")  # fmt: skip
@click.option("--print-config", is_flag=True, help="Print the resolved configuration and stop.")
def train(
    config: str,
    folder: Path | None,
    output: Path | None,
    overrides: tuple[str, ...],
    resume: str,
    max_steps: int | None,
    golden_image: Path | None,
    push_to: str | None,
    print_config: bool,  # noqa: FBT001
) -> None:
    """Train a model and export its best epoch to OUTPUT/bundle.

    The same command goes on after a kill, to the same weights as without it.
    """
    from skinclf_training.config import load_config

    resolved = load_config(config, overrides)
    if print_config:
        console.out(resolved.to_yaml())
        return
    if folder is None or output is None:
        raise click.UsageError("Training needs --data and --output.")
    if push_to is not None:
        from skinclf_training.upload import Target

        Target(push_to)  # a misspelt name is refused before the hours of training, not after
    if console.verbosity() == 0:
        console.setup_logging(1)
    console.talk(resolved.to_yaml())
    from skinclf_training.data.prepare import read_prepared
    from skinclf_training.export import export_run
    from skinclf_training.train import train as run

    prepared = read_prepared(folder)
    rows = run(
        resolved, prepared, output, resume="never" if resume == "never" else "auto", max_steps=max_steps or -1
    )
    if not rows:
        console.talk("Stopped before the first epoch ended; there is nothing to export.")
        return
    export_run(output, prepared, output / "bundle", golden_image=golden_image)
    console.talk(f"Bundle in {output / 'bundle'}, predictions beside it.")
    if push_to is not None:
        from skinclf_training.publish import push

        made = push(output, push_to)
        console.talk(f"Published and replayed. Use it with: --model {push_to}@{made.revision}")
        console.out(str(made.url))
