"""Class imbalance: class weights of the loss, or a weighted sampler.

With n images, k classes and n_c images of class c, the weights are proportional to

| kind | weight of class c | scale |
|---|---|---|
| `balanced` | n / (k n_c), as in scikit-learn | as it is; the average over images is 1 |
| `sqrt` | its square root | the average over images is 1 |
| `pos_weight` | 1 for class 0, n_0 / n_1 for class 1 | as it is |
| `none` | 1 | as it is |

An average of 1 keeps the loss, and with it the learning rate that suits, where it is without weights. Projects
that scale otherwise (SkinConditionAssistant: the bare square roots; Dermalyze: a sum of k) differ by one
factor on all weights, thus on the whole loss; only the focal loss with `focal_pt: weighted` feels it further.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from skinclf.errors import InvalidArgumentError
from skinclf_training.config.schema import Config


def class_weights(targets: npt.NDArray[np.int64], classes: int, kind: str) -> npt.NDArray[np.float32]:
    """Compute the loss weight of every class; the table of the module has the formulas.

    Args:
        targets: Label index of every training image, shape (N,).
        classes: Number of classes; each must occur, unless `kind` is `none`.
        kind: Kind of weights: `none`, `balanced`, `sqrt` or `pos_weight` (two classes).

    Returns:
        Shape (classes,), float32.

    Raises:
        InvalidArgumentError: A class has no image, `kind` is unknown, or `pos_weight` meets other than two classes.
    """
    if kind == "none":
        return np.ones(classes, dtype=np.float32)
    share = _counts(targets, classes) / len(targets)
    if kind == "pos_weight":
        if classes != 2:
            raise InvalidArgumentError(
                f"`class_weights: pos_weight` is for two classes; the data have {classes}. Use `balanced`."
            )
        return np.asarray([1.0, share[0] / share[1]], dtype=np.float32)
    exponents = {"sqrt": -0.5, "balanced": -1.0}
    if kind not in exponents:
        raise InvalidArgumentError(
            f"Unknown class weights {kind!r}; expected none, sqrt, balanced or pos_weight."
        )
    weights = share ** exponents[kind]
    return np.asarray(weights / (weights * share).sum(), dtype=np.float32)


def epoch_rows(
    rows: npt.NDArray[np.int64],
    targets: npt.NDArray[np.int64],
    classes: int,
    *,
    sampler: Literal["shuffle", "weighted"],
    rng: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """Draw the rows of one epoch, in order.

    Args:
        rows: Rows of the store that are trained on, shape (N,).
        targets: Label index of every row of the store (not only of `rows`).
        classes: Number of classes.
        sampler: Sampler: `shuffle` (every row once) or `weighted` (N draws with replacement; an image of class c has
            weight n / (k n_c), so that every class is equally likely).
        rng: Source of the order.

    Returns:
        Shape (N,), int64.

    Raises:
        InvalidArgumentError: The sampler is `weighted` and a class has no row.
    """
    if sampler == "shuffle":
        return rows[rng.permutation(len(rows))]
    own = targets[rows]
    chance = 1 / (classes * _counts(own, classes)[own])
    return rng.choice(rows, size=len(rows), replace=True, p=chance / chance.sum())


def stacked(config: Config) -> str | None:
    """Warning for a run that corrects class imbalance more than once, else None.

    A weighted sampler already shows every class equally often; class weights on top of it square the
    correction, which overrates rare classes and spoils calibration.
    """
    if config.data.sampler != "weighted" or config.loss.class_weights == "none":
        return None
    focal = " and a focal loss" if config.loss.kind == "focal" else ""
    return (
        f"The weighted sampler is stacked with {config.loss.class_weights!r} class weights{focal}: rare classes "
        "are corrected for twice, and probabilities will be too high for them. "
        "Set `data.sampler: shuffle` or `loss.class_weights: none`."
    )


def _counts(targets: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.int64]:
    """Number of images of every class."""
    counts = np.bincount(targets, minlength=classes)
    absent = np.flatnonzero(counts == 0).tolist()
    if absent or len(counts) > classes:
        raise InvalidArgumentError(
            f"Received {counts.tolist()} training images by class; expected at least one of each of {classes} "
            f"classes. Classes without an image: {absent}. Leave them out of the labels, add images, or set "
            "`loss.class_weights: none` and `data.sampler: shuffle`."
        )
    return np.asarray(counts, dtype=np.int64)
