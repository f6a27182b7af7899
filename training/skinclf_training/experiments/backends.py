"""Training and export functions of a framework, imported on demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from skinclf_training.config.schema import Config
from skinclf_training.data.prepared import Prepared

if TYPE_CHECKING:
    from skinclf_training.recipes.batch_progress import BatchProgress
    from skinclf_training.recipes.bundle_export import Export


class Train(Protocol):
    """Signature of `skinclf_training.torch.trainer.train` and its counterpart in TensorFlow."""

    def __call__(
        self,
        config: Config,
        prepared: Prepared,
        run: Path,
        *,
        resume: Literal["auto", "never"] = "auto",
        progress: Callable[[int, int], None] | None = None,
        max_steps: int = -1,
        on_epoch: Callable[[dict[str, float]], bool] | None = None,
        on_batch: Callable[[BatchProgress], None] | None = None,
    ) -> list[dict[str, float]]:
        """Train a network and return the history, one row per epoch."""


class ExportRun(Protocol):
    """Signature of `skinclf_training.torch.export.export_run` and its counterpart in TensorFlow."""

    def __call__(
        self,
        run: Path,
        prepared: Prepared,
        output: Path,
        *,
        golden_image: Path | None = None,
        name: str | None = None,
        license: str = "CC-BY-NC-4.0",  # noqa: A002 - key of the bundle
        data_name: str = "HAM10000",
        test_part: bool = False,
    ) -> Export:
        """Write the bundle of the best epoch of a run."""


@dataclass(frozen=True, slots=True)
class Framework:
    """Functions of a framework.

    Attributes:
        train: Function that trains a network into a run folder.
        export: Function that exports a run to a bundle.
    """

    train: Train
    export: ExportRun


def framework(name: Literal["torch", "tensorflow"]) -> Framework:
    """Import the functions of a framework.

    Raises:
        MissingExtraError: TensorFlow is not installed.
    """
    if name == "tensorflow":
        from skinclf_training.keras.export import export_run
        from skinclf_training.keras.trainer import train

        return Framework(train, export_run)
    from skinclf_training.torch.export import export_run as export_torch
    from skinclf_training.torch.trainer import train as train_torch

    return Framework(train_torch, export_torch)


def default_data_name(prepared: Prepared) -> str:
    """Name of the training data, derived from its labels."""
    return "ISIC 2019" if prepared.labels.name.startswith("isic2019") else "HAM10000"
