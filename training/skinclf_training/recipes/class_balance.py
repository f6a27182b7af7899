"""Class imbalance: class weights of the loss, a weighted sampler, or copies.

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
    sampler: Literal["shuffle", "weighted", "copies"],
    rng: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """Draw the rows of one epoch, in order.

    Args:
        rows: Rows of the store that are trained on, shape (N,).
        targets: Label index of every row of the store (not only of `rows`).
        classes: Number of classes.
        sampler: Sampler: `shuffle` and `copies` (every row once; `copies` has repeated rows, see `balanced_copies`)
            or `weighted` (N draws with replacement; an image of class c has weight n / (k n_c), so that every class
            is equally likely).
        rng: Source of the order.

    Returns:
        Shape (N,), int64.

    Raises:
        InvalidArgumentError: The sampler is `weighted` and a class has no row.
    """
    if sampler != "weighted":
        return rows[rng.permutation(len(rows))]
    own = targets[rows]
    chance = 1 / (classes * _counts(own, classes)[own])
    return rng.choice(rows, size=len(rows), replace=True, p=chance / chance.sum())


def balanced_copies(
    rows: npt.NDArray[np.int64], targets: npt.NDArray[np.int64], classes: int, *, seed: int
) -> npt.NDArray[np.int64]:
    """Rows with copies, so that every class has as many as the largest one.

    Every row occurs; within a class the numbers of copies differ by at most one, and the seed says which rows have the
    additional one.

    Args:
        rows: Rows of the store that are trained on, shape (N,).
        targets: Label index of every row of the store.
        classes: Number of classes.
        seed: Random seed.

    Returns:
        Shape (classes times the size of the largest class,), int64, ascending.

    Raises:
        InvalidArgumentError: A class has no row.
    """
    counts = _counts(targets[rows], classes)
    rng = np.random.default_rng(seed)
    parts = []
    for index, count in enumerate(counts):
        own = rows[targets[rows] == index]
        whole, rest = divmod(int(counts.max()), int(count))
        parts += [np.repeat(own, whole), rng.permutation(own)[:rest]]
    return np.sort(np.concatenate(parts))


def copies_note(config: Config) -> str | None:
    """What balanced copies do to probabilities, in a sentence; None for other samplers."""
    if config.data.sampler != "copies":
        return None
    return (
        "Balanced copies: training sees all classes equally often, so probabilities are those of a population with "
        "equal shares and too high for rare classes; calibrate the model and choose its threshold on images with the "
        "shares that it will meet, such as the validation part."
    )


def stacked(config: Config) -> str | None:
    """Warning for a run that corrects class imbalance more than once, else None.

    A weighted sampler, like copies, already shows every class equally often; class weights on top of it square the
    correction, which overrates rare classes and spoils calibration.
    """
    if config.data.sampler == "shuffle" or config.loss.class_weights == "none":
        return None
    focal = " and a focal loss" if config.loss.kind == "focal" else ""
    return (
        f"The sampler {config.data.sampler!r} is stacked with {config.loss.class_weights!r} class weights{focal}: rare "
        "classes are corrected for twice, and probabilities will be too high for them. "
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
