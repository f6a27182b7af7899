"""`skinclf gate check`: what the image gate says of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skinclf_cli import console
from skinclf_cli.commands.predict.options import InputOptions, input_options
from skinclf_cli.errors import DONE, PARTLY_FAILED
from skinclf_cli.options import device_option, hub_options, json_option, runtime_option
from skinclf_cli.progress import image_bar
from skinclf_cli.types import OutputFile

if TYPE_CHECKING:
    from skinclf.models.options import HubOptions


@click.command(short_help="Measure images, and list those that a model should not answer for.")
@input_options
@click.option("--model", help="Model with a gate. Default: the built-in model.")
@click.option(
    "-o",
    "--output",
    type=OutputFile(),
    default="gate.csv",
    show_default=True,
    help="Table to write.",
)
@click.option("--page", type=OutputFile(), help="Page of the worst images to write, such as gate.html.")
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
@runtime_option("auto")
@device_option("auto")
@hub_options
@json_option
def check(
    *,
    source: InputOptions,
    model: str | None,
    output: Path,
    page: Path | None,
    overwrite: bool,
    runtime: str,
    device: str,
    hub: HubOptions,
    as_json: bool,
) -> int:
    """Measure images, and list those that a model should not answer for.

    \b
    skinclf gate check --image-dir imgs/ --output gate.csv --page gate.html
    """  # noqa: D301 - click's paragraph mark
    from skinclf.inference.gate.reasons import SENTENCES, Reason
    from skinclf.jobs.gate_check import check_images
    from skinclf.models.load import load_model

    loaded = load_model(model, hub=hub)
    images = list(source.inputs())
    with image_bar("Checking") as show:
        summary = check_images(
            loaded,
            images,
            output,
            page,
            runtime=runtime,
            device=device,
            overwrite=overwrite,
            progress=None if show is None else lambda done: show(done, len(images)),
        )
    if as_json:
        console.json_out(summary.to_dict())
    else:
        rows = [(word, f"{n:,}", "") for word, n in summary.verdicts.most_common()]
        rows += [(word, f"{n:,}", SENTENCES[Reason(word)]) for word, n in summary.reasons.most_common()]
        if summary.duplicates:
            rows.append(("duplicates", f"{summary.duplicates:,}", "look the same as an earlier image"))
        console.table(("", "images", ""), rows)
    console.message(f"Written: {output}" + (f" and {page}" if page else ""))
    return PARTLY_FAILED if summary.failed else DONE
