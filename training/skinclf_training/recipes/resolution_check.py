"""Check for a train-test resolution discrepancy: structures of another size in training than in validation."""

from __future__ import annotations

import math

from skinclf_training.config.schema import Config

#: Ratio of sizes, either way, from which a run logs a warning.
_APART = 1.25


def magnification(config: Config) -> float:
    """Ratio of the size of a structure, in pixels, on an average training picture and on a validation picture.

    Only `batch` augmentation cuts its crops out of the stored picture as it is; the other presets resize as
    their projects did.

    Returns:
        The ratio; 1 where both agree, and for presets other than `batch`.
    """
    augment, data, preprocess = config.augment, config.data, config.preprocess
    if augment.preset != "batch":
        return 1.0
    shrunk = config.distill.student_size / augment.size if config.distill.student_size else 1.0
    training = math.sqrt(augment.scale[0] * augment.scale[1]) * shrunk
    rows, columns = preprocess.height / data.store_height, preprocess.width / data.store_width
    if preprocess.fit == "crop":
        validation = max(rows, columns) / preprocess.crop_pct
    elif preprocess.fit == "pad":
        validation = min(rows, columns)
    else:
        validation = math.sqrt(rows * columns)
    return training / validation


def magnified(config: Config) -> str | None:
    """Warning where training and validation show structures at clearly different sizes, else None.

    A network learns how large structures are. Touvron et al., "Fixing the train-test resolution discrepancy",
    NeurIPS 2019.
    """
    ratio = magnification(config)
    if 1 / _APART <= ratio <= _APART:
        return None
    rows, columns = (max(1, round(n / ratio)) for n in (config.data.store_height, config.data.store_width))
    return (
        f"Training shows structures {ratio:.2f} times as large as validation and prediction will, which costs "
        f"accuracy. Set `data.store_height: {rows}` and `data.store_width: {columns}`, or another `augment.scale`."
    )
