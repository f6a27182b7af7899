"""`skinclf card`: the card of a bundle, with its figures."""

from __future__ import annotations

from pathlib import Path

import click

from skinclf_cli import console
from skinclf_cli.options import about_option


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--metrics",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="metrics.json that `skinclf evaluate` wrote for this bundle.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for README.md, its figures and metrics.json.",
)
@click.option("--repo", "repo_id", metavar="USER/REPO", help="Where the model will be found on the Hub.")
@about_option
def card(bundle: Path, metrics: Path, output: Path, repo_id: str | None, about: Path | None) -> None:
    """Write the model card of BUNDLE; every figure in it comes from the evaluation or the bundle.

    Without --repo the evaluation's whole report lies beside it.
    """
    import tempfile

    from skinclf._utils.files import replace_file
    from skinclf._utils.json import read_json
    from skinclf.evaluation.report import write_report
    from skinclf_training.publishing.card import make_card

    written = make_card(bundle, metrics, about=about, repo_id=repo_id).write(output)
    if repo_id is None:
        with tempfile.TemporaryDirectory() as folder:
            write_report(read_json(metrics), Path(folder))
            replace_file(output / "report.html", (Path(folder) / "report.html").read_bytes())
        written.append(output / "report.html")
    for path in written:
        console.out(str(path))
