"""`skinclf explain`: draw maps of where a model is sensitive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from skinclf_cli import console
from skinclf_cli.commands.predict.options import (
    ExecutionOptions,
    InputOptions,
    ModelChoice,
    execution_options,
    input_options,
    model_choice_options,
)
from skinclf_cli.errors import DONE, INTERRUPTED, PARTLY_FAILED
from skinclf_cli.interrupts import resume_command, stopping
from skinclf_cli.options import EXISTING_FOLDER, FOLDER, hub_options, json_option, model_options, packed
from skinclf_cli.progress import run_bar

if TYPE_CHECKING:
    from skinclf.explanation.explainer import Explainer
    from skinclf.models.options import HubOptions, ModelOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class MapOptions:
    """Options of what is explained, how, and where the maps go."""

    output: Path | None
    method: str
    target: str | None
    layer: str | None
    list_layers: bool
    scale: Literal["image", "common"]
    masks: Path | None
    resume: bool
    overwrite: bool


map_options = packed(
    "maps",
    MapOptions,
    click.option(
        "-o", "--output", type=FOLDER, help="Folder for overlays, raw maps, maps.csv and index.html."
    ),
    click.option(
        "--method",
        type=click.Choice(
            ["auto", "gradcam", "saliency", "smoothgrad", "integrated-gradients", "occlusion", "rise"]
        ),
        default="auto",
        show_default=True,
        metavar="METHOD",
        help="Method of the maps: gradcam, saliency, smoothgrad, integrated-gradients, occlusion, rise, or auto, "
        "which takes gradcam where the model has gradients, else occlusion.",
    ),
    click.option(
        "--target",
        metavar="NAME|CODE|A-B",
        help="Log-odds to explain: malignant, predicted, the code of a class, or two codes, one class against "
        "another. Default: malignant where the labels declare it, else predicted.",
    ),
    click.option(
        "--layer", help="Layer of gradcam. Default: the last one that keeps the places of the image."
    ),
    click.option("--list-layers", is_flag=True, help="Print the layers that gradcam can take, and stop."),
    click.option(
        "--scale",
        type=click.Choice(["image", "common"]),
        default="image",
        show_default=True,
        help="Strongest colour: the maximum of each map, or that of all maps, which makes them comparable.",
    ),
    click.option(
        "--masks",
        type=EXISTING_FOLDER,
        help="Folder of lesion masks, for the share of each map inside its lesion.",
    ),
    click.option("--resume", is_flag=True, help="Complete an interrupted run, or start one."),
    click.option("--overwrite", is_flag=True, help="Replace the maps of an earlier run."),
)


@click.command()
@input_options
@map_options
@model_choice_options
@model_options
@hub_options
@execution_options
@json_option
def explain(
    *,
    source: InputOptions,
    maps: MapOptions,
    choice: ModelChoice,
    options: ModelOptions,
    hub: HubOptions,
    execution: ExecutionOptions,
    as_json: bool,
) -> int:
    """Draw maps of where a model is sensitive: an overlay, a raw map and a row for each image.

    A map does not say why the model is right.

    \b
    skinclf explain lesion.jpg --output maps/
    skinclf explain --image-dir imgs/ --output maps/ --target mel-nv
    skinclf explain --list-layers --model bundle/
    """  # noqa: D301 - click's paragraph mark
    if maps.list_layers:
        for line in _explainer(maps, choice, options, hub, execution).layers:
            click.echo(line)
        return DONE
    if maps.output is None:
        raise click.UsageError("Give --output, the folder of the maps.")
    from skinclf.explanation.folder import MapFolder
    from skinclf.explanation.run import write_explanations
    from skinclf.jobs.progress import Stop

    inputs = source.inputs()
    folder = MapFolder(path=maps.output, resume=maps.resume, overwrite=maps.overwrite)
    folder.check()
    explainer = _explainer(maps, choice, options, hub, execution)
    info = explainer.predictor.scorer.info
    layer = f" at {explainer.layer}" if explainer.layer else ""
    console.message(
        f"{explainer.predictor.spec.name} on {info['device']}: {info['runtime']}, {info['precision']}; "
        f"{explainer.method}{layer}, target {explainer.target}"
    )
    stop = Stop()
    with stopping(stop), run_bar(inputs) as show:
        summary = write_explanations(
            explainer, inputs, folder, scale=maps.scale, masks=maps.masks, stop=stop, progress=show
        )
    if as_json:
        console.json_out({"output": str(maps.output), **summary.to_dict()})
    console.message(
        f"{summary}. A map shows where this model is sensitive, not why it is right. For research and education; "
        "never a diagnosis."
    )
    if not summary.complete:
        click.echo(f"Interrupted. Continue with: {resume_command()}", err=True)
        return INTERRUPTED
    return PARTLY_FAILED if summary.failed else DONE


def _explainer(
    maps: MapOptions,
    choice: ModelChoice,
    options: ModelOptions,
    hub: HubOptions,
    execution: ExecutionOptions,
) -> Explainer:
    from skinclf.explanation.explainer import Explainer

    return Explainer(
        list(choice.model) or None,
        method="gradcam" if maps.list_layers and maps.method == "auto" else maps.method,
        target=maps.target,
        layer=maps.layer,
        options=options,
        hub=hub,
        tta=choice.tta,
        average=choice.average,
        weights=choice.weights,
        device=execution.device,
        runtime=execution.runtime,
        precision=execution.precision,
        batch_size=execution.batch_size,
        workers=execution.workers,
        processes=execution.processes,
    )
