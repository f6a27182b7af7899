"""What a user gives the predictor: models, images and numbers, in any of their forms."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np

from skinclf.errors import InvalidArgumentError
from skinclf.inference.scorer import Scorer
from skinclf.models.loaded import LoadedModel
from skinclf.models.options import HubOptions, ModelOptions

#: Types that name or hold a model.
Model: TypeAlias = "str | os.PathLike[str] | LoadedModel | Scorer | None"
_SINGLE = (str, bytes, bytearray, os.PathLike)


def load_given(model: Any, options: ModelOptions, hub: HubOptions, runtime: str) -> LoadedModel:
    """A loaded model from its name, path or itself.

    Raises:
        InvalidArgumentError: `model` is a scorer, which cannot be a member.
        ModelError: The model cannot be loaded.
    """
    if isinstance(model, LoadedModel):
        return model
    if isinstance(model, Scorer):
        raise InvalidArgumentError(
            "A scorer cannot be a member of a sequence of models; join scorers by "
            "`skinclf.inference.ensemble.EnsembleScorer`.",
            parameter="model",
        )
    from skinclf.models.load import load_model

    return load_model(None if model is None else os.fspath(model), options=options, hub=hub, runtime=runtime)


def name_of(source: Any, number: int) -> str:
    """Name of an image: its path, or `image-<n>`."""
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else f"image-{number}"


def is_single(source: Any) -> bool:
    """Whether it is one image and not an iterable of them."""
    from PIL import Image

    if isinstance(source, np.ndarray):
        return source.ndim != 4
    return isinstance(source, (*_SINGLE, Image.Image)) or not isinstance(source, Iterable)


def check_numbers(
    *, batch_size: int | None = None, workers: int | None = None, threshold: float | None = None
) -> None:
    """Check the numbers of a predictor; None takes a default.

    Raises:
        InvalidArgumentError: A number lies outside its range.
    """
    if batch_size is not None and batch_size < 1:
        raise InvalidArgumentError(
            f"`batch_size` is at least 1; received {batch_size}.", parameter="batch_size"
        )
    if workers is not None and workers < 0:
        raise InvalidArgumentError(f"`workers` is at least 0; received {workers}.", parameter="workers")
    if threshold is not None and not 0 <= threshold <= 1:
        raise InvalidArgumentError(
            f"`threshold` is between 0 and 1; received {threshold}.", parameter="threshold"
        )
