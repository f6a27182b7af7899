"""`skinclf explain`: draw maps of where a model is sensitive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

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
from skinclf_cli.options import (
    EXISTING,
    EXISTING_FILE,
    EXISTING_FOLDER,
    FOLDER,
    hub_options,
    json_option,
    model_options,
    packed,
)
from skinclf_cli.progress import check_bar, run_bar
from skinclf_cli.types import Codes

if TYPE_CHECKING:
    from skinclf.explanation.explainer import Explainer
    from skinclf.images.discovery import Inputs
    from skinclf.models.options import HubOptions, ModelOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class MapOptions:
    """Options of what is explained, how, and where the maps go."""

    output: Path | None
    method: tuple[tuple[str, ...], ...]
    target: str | None
    layer: str | None
    list_layers: bool
    scale: Literal["image", "common"]
    masks: Path | None
    metadata: Path | None
    metadata_terms: Path | None
    resume: bool
    overwrite: bool

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of methods, each once."""
        return tuple(dict.fromkeys(name for given in self.method for name in given))


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """Options of the checks that take the place of maps."""

    check: tuple[tuple[str, ...], ...]
    check_labels: Path | None
    check_images: int


map_options = packed(
    "maps",
    MapOptions,
    click.option(
        "-o", "--output", type=FOLDER, help="Folder for overlays, raw maps, maps.csv and index.html."
    ),
    click.option(
        "--method",
        type=Codes(),
        multiple=True,
        default=["auto"],
        show_default="auto",
        metavar="METHOD,...",
        help="Method of the maps: gradcam, saliency, smoothgrad, integrated-gradients, occlusion, rise, or auto, "
        "which takes gradcam where the model has gradients, else occlusion. Several are shown side by side.",
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
        help="Folder of lesion masks, for the share of each map inside its lesion, and for --check masks.",
    ),
    click.option(
        "--metadata",
        type=EXISTING_FILE,
        metavar="TABLE",
        help="Table of age, sex and site by image; adds what the picture and each entry contribute to the log-odds of "
        "malignancy. Maps are of the picture alone.",
    ),
    click.option(
        "--metadata-terms",
        type=EXISTING_FILE,
        metavar="FILE",
        help="File of `skinclf metadata fit` with what age, sex and site add. Default: that of the model.",
    ),
    click.option("--resume", is_flag=True, help="Complete an interrupted run, or start one."),
    click.option("--overwrite", is_flag=True, help="Replace the maps of an earlier run."),
)

check_options = packed(
    "checks",
    CheckOptions,
    click.option(
        "--check",
        type=Codes(),
        multiple=True,
        metavar="CHECK,...",
        help="Check the method instead of drawing maps: randomisation (maps change with the weights), faithfulness "
        "(insertion and deletion), masks (maps lie on lesions; needs --masks). Writes explanation.json.",
    ),
    click.option(
        "--check-labels",
        type=EXISTING,
        help="Reference labels, for the figures of --check masks by class and their intervals over lesions.",
    ),
    click.option(
        "--check-images",
        type=click.IntRange(min=2),
        default=50,
        show_default=True,
        help="Images of the checks randomisation and faithfulness, evenly from the inputs.",
    ),
)


@click.command()
@input_options
@map_options
@check_options
@model_choice_options
@model_options
@hub_options
@execution_options
@json_option
def explain(
    *,
    source: InputOptions,
    maps: MapOptions,
    checks: CheckOptions,
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
    skinclf explain --image-dir imgs/ --output maps/ --method gradcam,occlusion
    skinclf explain --image-dir imgs/ --output checks/ \\
        --check randomisation,faithfulness
    skinclf explain --list-layers --model bundle/
    """  # noqa: D301 - click's paragraph mark
    if maps.metadata_terms is not None and maps.metadata is None:
        raise click.UsageError("--metadata-terms needs --metadata TABLE.")
    make = Make(maps, choice, options, hub, execution)
    if maps.list_layers:
        for line in make.explainers(("gradcam",) if maps.methods == ("auto",) else maps.methods)[0].layers:
            click.echo(line)
        return DONE
    if maps.output is None:
        raise click.UsageError("Give --output, the folder of the maps or of the checks.")
    inputs = source.inputs()
    if any(checks.check):
        if maps.metadata is not None:
            raise click.UsageError(
                "--check measures maps, which are of the picture alone; leave out --metadata."
            )
        return _check(make, checks, inputs, maps.output, as_json=as_json)
    from skinclf.explanation.folder import MapFolder
    from skinclf.explanation.run import write_explanations
    from skinclf.inference.metadata.fused import read_terms
    from skinclf.jobs.progress import Stop

    folder = MapFolder(path=maps.output, resume=maps.resume, overwrite=maps.overwrite)
    if len(maps.methods) == 1:
        folder.check()
    explainers = make.explainers(maps.methods)
    for explainer in explainers:
        console.message(_words(explainer))
    stop = Stop()
    with stopping(stop), run_bar(inputs) as show:
        how: Any = {"scale": maps.scale, "masks": maps.masks, "stop": stop, "progress": show}
        if maps.metadata is not None:
            how["metadata"] = str(maps.metadata)
            how["terms"] = None if maps.metadata_terms is None else read_terms(maps.metadata_terms)
        given: Any = explainers if len(explainers) > 1 else explainers[0]
        summary = write_explanations(given, inputs, folder, **how)
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


def _check(make: Make, checks: CheckOptions, inputs: Inputs, output: Path, *, as_json: bool) -> int:
    """Run the checks, write their results and print them in words."""
    from skinclf.explanation.checks.files import check_free, write_checks
    from skinclf.explanation.checks.run import check_explanations, check_words

    check_free(output, overwrite=make.maps.overwrite)
    if len(make.maps.methods) > 1:
        raise click.UsageError("--check takes one --method at a time.")
    (explainer,) = make.explainers(make.maps.methods)
    console.message(_words(explainer))
    with check_bar() as show:
        found = check_explanations(
            explainer,
            inputs,
            tuple(dict.fromkeys(name for given in checks.check for name in given)),
            masks=make.maps.masks,
            labels=checks.check_labels,
            most=checks.check_images,
            progress=show,
        )
    path = write_checks(output, found)
    if as_json:
        console.json_out(found)
    else:
        for line in check_words(found):
            console.out(line)
    console.message(f"Written: {path}")
    return PARTLY_FAILED if found["failed"] or found.get("masks", {}).get("failed") else DONE


def _words(explainer: Explainer) -> str:
    info = explainer.predictor.scorer.info
    layer = f" at {explainer.layer}" if explainer.layer else ""
    return (
        f"{explainer.predictor.spec.name} on {info['device']}: {info['runtime']}, {info['precision']}; "
        f"{explainer.method}{layer}, target {explainer.target}"
    )


@dataclass(frozen=True, slots=True)
class Make:
    """Options of the explainers."""

    maps: MapOptions
    choice: ModelChoice
    options: ModelOptions
    hub: HubOptions
    execution: ExecutionOptions

    def explainers(self, methods: tuple[str, ...]) -> list[Explainer]:
        """One explainer for each method; `auto` and what it stands for are one."""
        from skinclf.explanation.explainer import Explainer

        first = Explainer(list(self.choice.model) or None, method=methods[0], **self._given(methods[0]))
        found = {first.method: first}
        for method in methods[1:]:
            made = Explainer(first.models, method=method, **self._given(method))
            found.setdefault(made.method, made)
        return list(found.values())

    def _given(self, method: str) -> dict[str, Any]:
        several = len(self.maps.methods) > 1
        return {
            "target": self.maps.target,
            "layer": None if several and method not in {"auto", "gradcam"} else self.maps.layer,
            "options": self.options,
            "hub": self.hub,
            "tta": self.choice.tta,
            "average": self.choice.average,
            "weights": self.choice.weights,
            "device": self.execution.device,
            "runtime": self.execution.runtime,
            "precision": self.execution.precision,
            "batch_size": self.execution.batch_size,
            "workers": self.execution.workers,
            "processes": self.execution.processes,
        }
