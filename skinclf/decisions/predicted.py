"""Held-out predictions made on the spot: labelled images are classified, and the table is read with its labels."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from skinclf._utils.files import replace_file, writing
from skinclf._utils.public import short_names
from skinclf.decisions.held_out import PREDICTIONS, HeldOutPredictions, read_held_out
from skinclf.errors import InvalidArgumentError, MismatchError
from skinclf.images.discovery import Inputs
from skinclf.inference.predictor import Predictor
from skinclf.jobs.job import Progress
from skinclf.jobs.output import Output
from skinclf.jobs.progress import Stop
from skinclf.jobs.run import write_predictions
from skinclf.tables.names import pair_tables
from skinclf.tables.reference import LabelOptions, read_labels


def predict_held_out(
    predictor: Predictor,
    images: Inputs,
    labels: Path,
    output: Path,
    *,
    split: str | None = None,
    max_unmatched: float = 0.05,
    label_options: LabelOptions | None = None,
    stop: Stop | None = None,
    progress: Progress | None = None,
) -> HeldOutPredictions:
    """Classify the labelled ones among images, and read the table as held-out predictions of the predictor.

    Thresholds that are tuned on them are bound to the predictor's whole combination of models and views. The table and
    its manifest stay; the same call completes an interrupted table and computes nothing twice.

    Args:
        predictor: Predictor of one model, several, or a recipe.
        images: Images, of which those with a label are classified.
        labels: Labels table or folder.
        output: Table to write or complete, `.csv`.
        split: Only labels of this split.
        max_unmatched: Largest tolerated share of predictions without a label.
        label_options: Columns, names and classes of the labels table that the user states.
        stop: Request to end the run after the batches in progress.
        progress: Function called with the `Summary` after every batch.

    Raises:
        InvalidArgumentError: No image has a label, or names are ambiguous.
        MismatchError: The table is that of another run.
        KeyboardInterrupt: The run was stopped.
        OutputError: The table cannot be written.
    """
    table = read_labels(labels, predictor.spec.labels, split=split, options=label_options)
    found = tuple(images)
    pairing = pair_tables(found, table.ids, "images", "labels")
    labelled = tuple(name for name, row in zip(found, pairing.partners, strict=True) if row is not None)
    if not labelled:
        raise InvalidArgumentError(
            f"None of the {len(found)} images has a label in {labels}; name the images as the labels do.",
            parameter="labels",
        )
    inputs = replace(images, names=labelled)
    try:
        summary = write_predictions(
            predictor, inputs, Output(path=output, resume=True), stop=stop, progress=progress
        )
    except MismatchError as error:
        raise MismatchError(
            f"{error} Remove {output}, or name another `output`.", parameter="output"
        ) from None
    if not summary.complete:
        raise KeyboardInterrupt(f"Interrupted. The same command goes on from {output}.")
    return read_held_out(
        predictions=output,
        labels=labels,
        spec=predictor.spec,
        split=split,
        max_unmatched=max_unmatched,
        label_options=label_options,
    )


def carry(folder: Path, held_out: HeldOutPredictions) -> Path:
    """Store held-out predictions in a bundle, so that thresholds, calibration and label sets are fitted on them.

    Args:
        folder: Folder of the bundle that made them.
        held_out: Labelled predictions of its classes, from the picture alone.

    Returns:
        Path of the table.

    Raises:
        InvalidArgumentError: The labels do not name the classes.
        OutputError: The folder cannot be written.
    """
    joined, codes, labels = held_out.joined, held_out.class_codes, held_out.classes
    if codes is None:
        raise InvalidArgumentError(
            f"{held_out.labels}: says 0 or 1 only; predictions that travel with a model name its classes.",
            parameter="labels",
        )
    values = joined.predictions.in_order(labels).astype(np.float32)
    names = short_names(joined.predictions.ids)
    columns: dict[str, Iterable[object]] = {"image": names}
    if joined.labels.lesion_id is not None:
        columns[joined.labels.group_column or "lesion_id"] = joined.labels.lesion_id
    columns |= {"label": codes, **{f"p_{code}": values[:, k] for k, code in enumerate(labels.codes)}}
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([str(cell) for cell in row] for row in zip(*columns.values(), strict=True))
    path = folder / PREDICTIONS
    with writing(path):
        replace_file(path, buffer.getvalue().encode())
    return path
