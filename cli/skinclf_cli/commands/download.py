"""`skinclf download`: a folder that `--model` takes on a machine without network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skinclf_cli import console
from skinclf_cli.options import hub_options, json_option

if TYPE_CHECKING:
    from skinclf.models.hub.fetch import FetchResult
    from skinclf.models.options import HubOptions


@click.command()
@click.argument("model")
@click.option(
    "--to", "folder", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to fill."
)
@json_option
@hub_options
def download(model: str, folder: Path, hub: HubOptions, as_json: bool) -> None:  # noqa: FBT001
    """Fetch MODEL (a name or a Hub repository) into a folder for use without network.

    Run again after an interruption, it fetches what is missing or damaged. A private repository needs
    HF_TOKEN or `hf auth login`.
    """
    from skinclf.models.hub.fetch import download_to

    report(download_to(model, folder, hub=hub), as_json=as_json)
    console.talk(f"Use it with: --model {folder}")


def report(result: FetchResult, *, as_json: bool) -> None:
    """Say what was fetched: the folder on stdout and the commit on stderr, or everything as JSON."""
    if not as_json:
        at = f"{result.repo_id} at commit {result.revision}" if result.revision else "a built-in model"
        console.talk(f"Fetched {at}.")
        console.out(str(result.folder))
        return
    files = [
        {"name": name, "path": str(path), "bytes": path.stat().st_size, "sha256": result.sha256[name]}
        for name, path in result.files.items()
    ]
    console.json_out(
        {
            "repo_id": result.repo_id,
            "revision": result.revision,
            "folder": str(result.folder),
            "files": files,
        }
    )
