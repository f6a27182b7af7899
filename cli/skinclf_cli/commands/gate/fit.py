"""`skinclf gate fit`: fit the image gate of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skinclf_cli import console
from skinclf_cli.commands.models.images import images_option, read_images
from skinclf_cli.options import EXISTING, device_option, hub_options, json_option, runtime_option
from skinclf_cli.progress import step_bar

if TYPE_CHECKING:
    from skinclf.models.options import HubOptions


@click.command(short_help="Fit the image gate of a model.")
@click.argument("name")
@images_option
@click.option(
    "--calibration",
    required=True,
    type=EXISTING,
    help="Folder of images that the model was not trained on, or a file with a list of paths.",
)
@click.option(
    "--labels",
    type=EXISTING,
    help="Reference labels of the calibration images; bounds the share of malignant ones that is held back.",
)
@runtime_option("auto")
@device_option("auto")
@hub_options
@json_option
def fit(
    *,
    name: str,
    images: Path,
    calibration: Path,
    labels: Path | None,
    runtime: str,
    device: str,
    hub: HubOptions,
    as_json: bool,
) -> None:
    """Fit the image gate of the model NAME on its training images, and store it in the bundle.

    \b
    skinclf gate fit bundle/ --images train.txt --calibration val.txt \\
        --labels labels.csv
    """  # noqa: D301 - click's paragraph mark
    from skinclf.inference.gate.fit import fit_gate, malignant_images
    from skinclf.inference.gate.store import write_gate
    from skinclf.models.load import load_model

    model = load_model(name, hub=hub)
    if model.folder is None or model.spec.revision is not None or model.spec.source == "builtin":
        raise click.UsageError(
            "The gate is stored in a bundle's folder; make one with skinclf models convert."
        )
    train, held = read_images(images), read_images(calibration)
    malignant = None if labels is None else malignant_images(held, labels, model.spec)
    with step_bar(len(train)) as show:
        gate = fit_gate(
            model, train, held, malignant=malignant, runtime=runtime, device=device, progress=show
        )
    write_gate(model.folder, gate)
    if as_json:
        console.json_out({"alpha": gate.alpha, **gate.evidence})
    console.message(
        f"Stored in {model.folder}: {gate.evidence['images']:,} images fitted, "
        f"{gate.evidence['calibration_images']:,} to calibrate; unfamiliar at p <= {gate.alpha:.3g}."
    )
