"""`skinclf push`: publish a model with its card on the Hub."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from skinclf_cli import console
from skinclf_cli.options import EXISTING_FILE, EXISTING_FOLDER, about_option, json_option


@click.command()
@click.argument("source", metavar="RUN_OR_BUNDLE", type=EXISTING_FOLDER)
@click.argument("repo_id", metavar="USER/REPO")
@click.option(
    "--metrics",
    type=EXISTING_FILE,
    help="File metrics.json of this bundle. Default: the one beside it or in the run's evaluation/; a run "
    "without one is evaluated.",
)
@about_option
@click.option(
    "--private", is_flag=True, help="Create the repository as private; fails where it exists and is public."
)
@click.option("--create-pr", is_flag=True, help="Propose the commit as a pull request.")
@click.option(
    "--revision", metavar="BRANCH", help="Branch of the commit; created when it is missing. Default: main."
)
@click.option("--message", help="Message of the commit.")
@click.option("--dry-run", is_flag=True, help="List the files and print the card; send nothing.")
@json_option
def push(
    *,
    source: Path,
    repo_id: str,
    metrics: Path | None,
    about: Path | None,
    private: bool,
    create_pr: bool,
    revision: str | None,
    message: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Publish a run or bundle with card, figures and golden sample as one commit of USER/REPO.

    The published model is downloaded again and its golden sample replayed. The token comes from HF_TOKEN or
    `hf auth login`.
    """
    from skinclf_training.publishing.publish import push as publish

    made = publish(
        source,
        repo_id,
        metrics=metrics,
        about=about,
        private=private,
        create_pr=create_pr,
        revision=revision,
        message=message,
        dry_run=dry_run,
    )
    if made.left_out:
        console.message(f"Left out: {', '.join(made.left_out)}.")
    if as_json:
        console.json_out(asdict(made))
        return
    if dry_run:
        console.table(("file", "bytes"), [(name, f"{size:,}") for name, size in made.files.items()])
        console.out("")
        console.out(made.card.rstrip())
        console.message(f"Nothing was sent; {repo_id} would get these {len(made.files)} files in one commit.")
        return
    console.message(f"Published and replayed. Use it with: --model {repo_id}@{made.revision}")
    console.out(str(made.url))
