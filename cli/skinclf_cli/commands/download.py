"""`skinclf download`: a folder that `--model` takes on a machine without network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skinclf_cli import console
from skinclf_cli.options import FOLDER, hub_options, json_option

if TYPE_CHECKING:
    from skinclf.models.options import HubOptions


@click.command()
@click.argument("model")
@click.option("--to", "folder", type=FOLDER, required=True, help="Folder that receives the files.")
@hub_options
@json_option
def download(*, model: str, folder: Path, hub: HubOptions, as_json: bool) -> None:
    """Download MODEL (a name or a Hub repository) into a folder for use without network.

    Run again after an interruption, it downloads only missing or damaged files. A private repository needs
    HF_TOKEN or `hf auth login`.
    """
    from skinclf.models.hub.fetch import download_to

    result = download_to(model, folder, hub=hub)
    if as_json:
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
    else:
        at = f"{result.repo_id} at commit {result.revision}" if result.revision else "a built-in model"
        console.message(f"Fetched {at}.")
        console.out(str(result.folder))
    console.message(f"Use it with: --model {folder}")
