"""`skinclf models precision`: measure the effect of a reduced precision, or of scaled decoding."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skinclf_cli.commands.models.images import images_option, read_images, report_loss
from skinclf_cli.options import device_option, hub_options, json_option, runtime_option
from skinclf_cli.progress import step_bar

if TYPE_CHECKING:
    from skinclf.models.options import HubOptions


@click.command(short_help="Measure the effect of a reduced precision, or of scaled decoding.")
@click.argument("name", required=False)
@images_option
@click.option(
    "--precision",
    type=click.Choice(["bf16", "fp16", "int8"]),
    default=None,
    help="Precision that is compared with float32. Default: bf16.",
)
@click.option(
    "--scaled-decoding",
    is_flag=True,
    help="Compare large JPEGs decoded down, as the model declares it, with the same decoded in full.",
)
@runtime_option("auto")
@device_option("auto")
@click.option(
    "--limit",
    type=click.IntRange(min=20),
    default=2000,
    show_default=True,
    help="Largest number of images; from more, a fixed random sample is drawn.",
)
@click.option("--store", is_flag=True, help="Record the effect in the bundle, so that predict can mark rows.")
@hub_options
@json_option
def precision(
    *,
    name: str | None,
    images: Path,
    precision: str | None,
    scaled_decoding: bool,
    runtime: str,
    device: str,
    limit: int,
    store: bool,
    hub: HubOptions,
    as_json: bool,
) -> None:
    """Measure the effect of a reduced precision on the model NAME, against float32 on the same images.

    With --scaled-decoding that of decoding large JPEGs down; IMAGES are then photographs as a camera makes them.
    """
    from skinclf.conversion.precision_loss import (
        choose_images,
        measure_precision,
        measure_scaled_decoding,
    )
    from skinclf.models.bundle import write_spec
    from skinclf.models.load import load_model
    from skinclf.models.precision import with_record

    if scaled_decoding and precision is not None:
        raise click.UsageError("--precision and --scaled-decoding are measured one by one; leave one out.")
    model = load_model(name, hub=hub)
    if store and (model.folder is None or model.spec.revision is not None):
        raise click.UsageError("--store writes into a bundle's folder; make one with skinclf models convert.")
    chosen = choose_images(read_images(images), limit)
    with step_bar(len(chosen)) as show:
        measure = (
            measure_scaled_decoding
            if scaled_decoding
            else partial(measure_precision, precision=precision or "bf16")
        )
        loss = measure(
            model,
            chosen,
            runtime=runtime,
            device=device,
            progress=lambda done: show("measuring", done),
        )
    if store and model.folder is not None:
        kept = model.spec.precisions.get(loss.key, {})
        more = {"quantized": kept["quantized"]} if "quantized" in kept else {}
        write_spec(model.folder, with_record(model.spec, loss, **more))
    report_loss(loss, as_json=as_json)
