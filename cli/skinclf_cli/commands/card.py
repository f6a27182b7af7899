"""`skinclf card`: the card of a bundle, with its figures."""

from __future__ import annotations

from pathlib import Path

import click

from skinclf_cli import console
from skinclf_cli.options import EXISTING_FILE, EXISTING_FOLDER, FOLDER, about_option


@click.command()
@click.argument("bundle", type=EXISTING_FOLDER)
@click.option(
    "--metrics",
    type=EXISTING_FILE,
    required=True,
    help="File metrics.json that `skinclf evaluate` wrote for this bundle.",
)
@click.option(
    "--output",
    type=FOLDER,
    required=True,
    help="Folder for README.md, its figures and metrics.json.",
)
@click.option(
    "--repo", "repo_id", metavar="USER/REPO", help="Hub repository that the card names as the model's place."
)
@click.option(
    "--checks",
    type=EXISTING_FILE,
    help="File explanation.json that `skinclf explain --check` wrote for this bundle. Default: the one beside "
    "--metrics, if there is one.",
)
@click.option(
    "--robustness",
    type=EXISTING_FILE,
    help="File that `skinclf robustness` wrote for this bundle. Default: robustness.json beside --metrics, if there is "
    "one.",
)
@about_option
def card(
    *,
    bundle: Path,
    metrics: Path,
    output: Path,
    repo_id: str | None,
    checks: Path | None,
    robustness: Path | None,
    about: Path | None,
) -> None:
    """Write the model card of BUNDLE, with figures from its evaluation.

    Without --repo, the whole report of the evaluation is written beside it.
    """
    import tempfile

    from skinclf._utils.files import replace_file
    from skinclf._utils.json import read_json
    from skinclf.evaluation.report import write_report
    from skinclf_training.publishing.card import METRICS, make_card

    written = make_card(
        bundle, metrics, about=about, repo_id=repo_id, checks=checks, robustness=robustness
    ).write(output)
    if repo_id is None:
        with tempfile.TemporaryDirectory() as folder:
            write_report(read_json(output / METRICS), Path(folder))
            replace_file(output / "report.html", (Path(folder) / "report.html").read_bytes())
        written.append(output / "report.html")
    for path in written:
        console.out(str(path))
