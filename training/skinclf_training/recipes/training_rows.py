"""Rows of the training part as an epoch takes them: weights of images from a column, and balanced copies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from skinclf.errors import InvalidArgumentError
from skinclf.tables.label_columns import column_named
from skinclf_training.config.schema import Config
from skinclf_training.data.prepared import SPLIT_CSV, Prepared
from skinclf_training.recipes.class_balance import balanced_copies


def sample_weights(sets: Sequence[Prepared], column: str | None) -> npt.NDArray[np.float32] | None:
    """Factor of each image on its loss, from a column of `split.csv`.

    The weights are scaled to an average of 1 over the training images with a weight above 0, which keeps the loss and
    the learning rate that suits where they are without weights.

    Args:
        sets: Prepared data sets whose rows follow each other; each needs the column.
        column: Name of the column, in any case; None for no weights.

    Returns:
        Shape (images of all sets,), 0 outside the training parts; None without a column.

    Raises:
        InvalidArgumentError: The column is missing, a training image has no finite weight of at least 0, or all of
            them are 0.
    """
    if column is None:
        return None
    values = np.concatenate([_weights(prepared, column) for prepared in sets])
    if not (values > 0).any():
        raise InvalidArgumentError(
            f"`data.weight_column` {column}: the weight of every training image is 0; expected some above 0.",
            parameter="overrides",
        )
    return np.asarray(values / values[values > 0].mean(), np.float32)


def _weights(prepared: Prepared, column: str) -> npt.NDArray[np.float64]:
    table = prepared.folder / SPLIT_CSV
    try:
        name = column_named(prepared.columns, column, table, "overrides")
    except InvalidArgumentError:
        raise InvalidArgumentError(
            f"{table}: no column {column!r} for `data.weight_column`; found {', '.join(prepared.columns)}.",
            parameter="overrides",
        ) from None
    values = np.zeros(len(prepared.images))
    for row in prepared.rows("train"):
        cell = prepared.columns[name][row]
        try:
            values[row] = float(cell)
        except ValueError:
            values[row] = np.nan
        if not (np.isfinite(values[row]) and values[row] >= 0):
            raise InvalidArgumentError(
                f"{table}: column {name}: image {prepared.images[row]} has the weight {cell!r}; "
                "expected a finite number of at least 0 for every training image.",
                parameter="overrides",
            )
    return values


def with_weight(
    rows: npt.NDArray[np.int64], weights: npt.NDArray[np.float32] | None
) -> npt.NDArray[np.int64]:
    """Rows without the images whose weight is 0."""
    return rows if weights is None else rows[weights[rows] > 0]


def epoch_base(
    rows: npt.NDArray[np.int64],
    targets: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float32] | None,
    classes: int,
    config: Config,
) -> npt.NDArray[np.int64]:
    """Rows that every epoch has, in ascending order: images with a weight, and their copies.

    Args:
        rows: Training rows of the store.
        targets: Label index of every row of the store.
        weights: Factors from `sample_weights`, or None.
        classes: Number of classes.
        config: Configuration of the run.
    """
    kept = with_weight(rows, weights)
    if config.data.sampler != "copies":
        return kept
    return balanced_copies(kept, targets, classes, seed=config.seed)


def weight_note(weights: npt.NDArray[np.float32] | None, rows: npt.NDArray[np.int64]) -> str | None:
    """Sentence on the weights of the training images; None without weights."""
    if weights is None:
        return None
    own = weights[rows]
    kept = own[own > 0]
    return (
        f"Weights of {len(kept)} training images lie between {kept.min():.4g} and {kept.max():.4g} around an "
        f"average of 1; {len(own) - len(kept)} images of weight 0 are left out."
    )
