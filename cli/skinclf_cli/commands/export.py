"""`skinclf export`: make a bundle from a training run, or a file of another library from any model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from skinclf.models.options import HubOptions, ModelOptions
from skinclf_cli import console
from skinclf_cli.options import (
    EXISTING_FILE,
    EXISTING_FOLDER,
    hub_options,
    json_option,
    model_options,
    packed,
)

_BUNDLE = "bundle"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What goes with the export of a training run.

    Attributes:
        data: Folder of the prepared data; None takes that of the run.
        name: Name of the model; None takes that of the configuration.
        license_: Licence of the weights.
        data_name: Name of the training data; None derives it from the labels.
        test_part: Whether the test part is predicted and evaluated.
    """

    data: Path | None = None
    name: str | None = None
    license_: str = "CC-BY-NC-4.0"
    data_name: str | None = None
    test_part: bool = False


run_options = packed(
    "training",
    RunOptions,
    click.option(
        "--data",
        type=EXISTING_FOLDER,
        help="Folder made by `skinclf data prepare`. Default: the one of the run.",
    ),
    click.option("--name", help="Name of the model. Default: that of the configuration."),
    click.option(
        "--license",
        "license_",
        default="CC-BY-NC-4.0",
        show_default=True,
        help="Licence of the weights.",
    ),
    click.option(
        "--data-name", help="Name of the training data in the record. Default: derived from its labels."
    ),
    click.option(
        "--test-part",
        is_flag=True,
        help="Predict and evaluate the test part too, which stays unseen otherwise.",
    ),
    title="Bundle of a training run",
)


@click.command()
@click.argument("source")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the bundle or SavedModel, or file with the ending of the format.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice([_BUNDLE, "onnx", "openvino", "tflite", "saved-model", "torchscript", "safetensors"]),
    default=_BUNDLE,
    show_default=True,
    metavar="FORMAT",
    help="Format: bundle, onnx (.onnx), openvino (.xml), tflite (.tflite), saved-model (a folder), torchscript "
    "(.pt) or safetensors (.safetensors).",
)
@click.option(
    "--golden-image",
    type=EXISTING_FILE,
    help="Image that the exported model is checked on. Default: a synthetic image.",
)
@run_options
@model_options
@hub_options
@json_option
def export(
    *,
    source: str,
    output: Path,
    format_: str,
    golden_image: Path | None,
    training: RunOptions,
    options: ModelOptions,
    hub: HubOptions,
    as_json: bool,
) -> None:
    """Write the bundle of a training run, or a model in the format of another library.

    SOURCE is the folder of a training run, whose best epoch becomes a bundle with its validation predictions and
    its report; or any model, as for `skinclf predict --model`. A model in another format takes RGB pixels 0 to 255
    after the resize and gives probabilities; labels and preprocessing stand in a JSON file beside it, and it is
    written only if its own library computes the model's probabilities.

    \b
    skinclf export runs/plain --output bundles/plain
    skinclf export bundles/plain --format onnx --output plain.onnx
    """  # noqa: D301 - click's paragraph mark
    if _is_run(Path(source)):
        if format_ != _BUNDLE:
            raise click.UsageError(
                f"{source} is a training run. Make its bundle first (skinclf export {source} --output BUNDLE), then "
                f"export that with --format {format_}."
            )
        if (options, hub) != (ModelOptions(), HubOptions()):
            raise click.UsageError(
                f"{source} is a training run, which records its labels and preprocessing itself."
            )
        _export_run(Path(source), output, golden_image, training, as_json=as_json)
        return
    if training != RunOptions():
        raise click.UsageError(
            f"{source} is no folder of a training run; --data, --name, --license, --data-name and --test-part belong "
            "to one."
        )
    if format_ == _BUNDLE:
        from skinclf.conversion.convert import convert_model

        spec = convert_model(source, output, sample=golden_image, options=options, hub=hub)
        result = {"path": str(output), "format": format_, **spec.to_config()}
        said = f"{spec.name}: golden sample by {', '.join(golden.source for golden in spec.golden)}."
    else:
        from skinclf.conversion.export import export_model

        samples = () if golden_image is None else (golden_image,)
        made = export_model(source, output, format=format_, samples=samples, options=options, hub=hub)
        result = made.to_dict()
        said = (
            f"{made.by} computes the model's probabilities to within {made.difference:.1g} on {made.images} images. "
            f"Labels and preprocessing: {made.facts}"
        )
    if as_json:
        console.json_out(result)
        return
    console.message(said)
    console.out(str(output))


def _is_run(folder: Path) -> bool:
    """Whether this is the folder of a training run; its bundle, which has no such configuration, is a model."""
    from skinclf.models.bundle import is_bundle

    return folder.is_dir() and (folder / "config.yaml").is_file() and not is_bundle(folder)


def _export_run(
    run: Path, output: Path, golden_image: Path | None, training: RunOptions, *, as_json: bool
) -> None:
    from skinclf_training.config.read import load_config
    from skinclf_training.data.prepare import read_prepared
    from skinclf_training.experiments.backends import default_data_name, framework
    from skinclf_training.recipes.run_folder import CONFIG, data_folder

    prepared = read_prepared(training.data or data_folder(run))
    config = load_config(str(run / CONFIG))
    made = framework(config.framework).export(
        run,
        prepared,
        output,
        golden_image=golden_image,
        name=training.name,
        license=training.license_,
        data_name=training.data_name or default_data_name(prepared),
        test_part=training.test_part,
    )
    if config.log.report:
        from skinclf_training.experiments.run_report import write_run_report

        console.message(f"Report: {write_run_report(run, output)}")
    if as_json:
        predictions = {part: str(path) for part, path in made.predictions.items()}
        console.json_out(
            {"path": str(output), "format": _BUNDLE, "figures": made.figures, "predictions": predictions}
        )
        return
    console.table(["validation", "value"], [[key, f"{value:.4f}"] for key, value in made.figures.items()])
    console.message(
        f"Bundle in {output}; predictions: {', '.join(str(p) for p in made.predictions.values())}"
    )
