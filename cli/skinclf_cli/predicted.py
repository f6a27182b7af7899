"""Held-out predictions of a command: those that it reads, or those that it makes of labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinclf_cli import console
from skinclf_cli.interrupts import stopping
from skinclf_cli.progress import run_bar

if TYPE_CHECKING:
    from skinclf.decisions.held_out import HeldOutPredictions
    from skinclf.models.spec import ModelSpec
    from skinclf_cli.commands.predict.options import ModelChoice


def predict_labelled(
    choice: ModelChoice, image_dir: Path, labels: Path, output: Path, **reading: Any
) -> HeldOutPredictions:
    """Classify the labelled images of a folder and its subfolders, and read the table with its labels.

    Args:
        choice: One model, several, or a recipe.
        image_dir: Folder of images.
        labels: Reference labels.
        output: Table to write or complete.
        **reading: Further keywords of `skinclf.decisions.predicted.predict_held_out`.
    """
    from skinclf.decisions.predicted import predict_held_out
    from skinclf.images.discovery import Inputs
    from skinclf.inference.predictor import Predictor
    from skinclf.jobs.progress import Stop

    inputs = Inputs((str(image_dir),), recursive=True).listed()
    predictor = Predictor(
        list(choice.model) or None,
        tta=choice.tta,
        average=choice.average,
        weights=choice.weights,
        gate="off",
    )
    # What it flags does not matter here.
    predictor = predictor.with_threshold(predictor.threshold, origin=predictor.threshold_from)
    console.message(f"{predictor.spec.name}: predictions of labelled images go to {output}")
    stop = Stop()
    with stopping(stop), run_bar(inputs) as show:
        return predict_held_out(predictor, inputs, labels, output, stop=stop, progress=show, **reading)


def spec_of_choice(choice: ModelChoice) -> ModelSpec | None:
    """The contract of several models or views; None for one model, which readers load by its name."""
    if len(choice.model) < 2 and choice.tta == "none":
        return None
    from skinclf.models.combination import combined_spec
    from skinclf.models.load import load_spec

    specs = [load_spec(model) for model in choice.model or (None,)]
    return combined_spec(specs, tta=choice.tta, average=choice.average, weights=choice.weights)
