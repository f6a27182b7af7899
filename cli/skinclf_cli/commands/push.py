"""`skinclf push`: a model with its card to the Hub."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from skinclf_cli import console
from skinclf_cli.options import about_option, json_option


@click.command()
@click.argument(
    "source", metavar="RUN_OR_BUNDLE", type=click.Path(path_type=Path, exists=True, file_okay=False)
)
@click.argument("repo_id", metavar="USER/REPO")
@click.option(
    "--metrics",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="metrics.json of this bundle; by default the one beside it or in the run's evaluation/; "
    "a run without one is evaluated.",
)
@about_option
@click.option("--private", is_flag=True, help="Make a new repository private; refuse one that is public.")
@click.option("--create-pr", is_flag=True, help="Propose the commit as a pull request.")
@click.option("--revision", metavar="BRANCH", help="Branch to commit to; made when it is not there.")
@click.option("--message", help="Of the commit.")
@click.option("--dry-run", is_flag=True, help="List the files and print the card; send nothing.")
@json_option
def push(source: Path, repo_id: str, dry_run: bool, as_json: bool, **options: Any) -> None:  # noqa: FBT001
    """Publish a run or bundle with card, figures and golden sample as one commit of USER/REPO.

    What was published is fetched again and its golden sample replayed. The token is HF_TOKEN's or
    `hf auth login`'s.
    """
    from skinclf_training.publishing.publish import push as publish

    made = publish(source, repo_id, dry_run=dry_run, **options)
    if made.left_out:
        console.talk(f"Left out: {', '.join(made.left_out)}.")
    if as_json:
        console.json_out(asdict(made))
        return
    if dry_run:
        console.table(("file", "bytes"), [(name, f"{size:,}") for name, size in made.files.items()])
        console.out("")
        console.out(made.card.rstrip())
        console.talk(f"Nothing was sent; {repo_id} would get these {len(made.files)} files in one commit.")
        return
    console.talk(f"Published and replayed. Use it with: --model {repo_id}@{made.revision}")
    console.out(str(made.url))
