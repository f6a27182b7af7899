"""Which functions train and export for a framework; the one place that imports either on demand."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from skinclf_training.data.prepare import Prepared
    from skinclf_training.recipes.bundle_export import Export


class Framework(NamedTuple):
    """What the frameworks have in common.

    Attributes:
        train: As `skinclf_training.torch.trainer.train`.
        export: As `skinclf_training.torch.export.export_run`.
    """

    train: Callable[..., list[dict[str, float]]]
    export: Callable[..., Export]


def framework(name: str) -> Framework:
    """The functions of `torch` or `tensorflow`.

    Raises:
        MissingDependencyError: TensorFlow is not installed.
    """
    if name == "tensorflow":
        from skinclf_training.keras.export import export_run
        from skinclf_training.keras.trainer import train

        return Framework(train, export_run)
    from skinclf_training.torch.export import export_run as export_torch
    from skinclf_training.torch.trainer import train as train_torch

    return Framework(train_torch, export_torch)


def default_data_name(prepared: Prepared) -> str:
    """What people call the data, as far as its labels tell."""
    return "ISIC 2019" if prepared.labels.name.startswith("isic2019") else "HAM10000"
