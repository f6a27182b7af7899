"""`Predictor`: the front door of the SDK."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from skinclf import batch
from skinclf.errors import ImageError, InvalidInputError
from skinclf.images import ImageSource
from skinclf.inputs import scan_directory
from skinclf.labels import LabelSet
from skinclf.loaded import LoadedModel
from skinclf.prediction import Prediction
from skinclf.preprocess import Preprocess
from skinclf.runtimes import create_runtime
from skinclf.scores import probabilities
from skinclf.spec import ModelSpec

_SINGLE = (str, bytes, bytearray, os.PathLike)


class Predictor:
    """Classify dermoscopic images with one model.

    For research and education; never a diagnosis.

    Example:
        >>> from skinclf import Predictor
        >>> predictor = Predictor()  # the built-in model
        >>> print(predictor.predict("lesion.jpg"))  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | LoadedModel | None = None,
        *,
        device: str = "auto",
        runtime: str = "auto",
        precision: str = "auto",
        batch_size: int | None = None,
        workers: int | None = None,
        threshold: float | None = None,
        labels: LabelSet | str | None = None,
        preprocess: Preprocess | str | Path | None = None,
        malignant: Sequence[str] | None = None,
        architecture: str | None = None,
        revision: str | None = None,
        offline: bool = False,
        cache_dir: Path | None = None,
        token: str | None = None,
    ) -> None:
        """Load a model and put it on its device.

        Args:
            model: None for the built-in model; a registered name, a Hub repository (`user/repo`), a
                bundle folder, a model file, or a model already loaded.
            device: `auto`, `cpu`, `cuda[:n]` or `mps`; a device that is named must be there.
            runtime: `auto` or one of `skinclf.runtimes.RUNTIMES`.
            precision: `auto`, `fp32`, `bf16`, `fp16` or `int8`.
            batch_size: Images per run of the network; None lets skinclf choose.
            workers: Decode threads; 0 decodes in the calling thread; None lets skinclf choose.
            threshold: Threshold on the probability of malignancy in [0, 1]; None takes the model's own.
            labels: For files that do not say it: labels in output order, as `LabelSet` or text.
            preprocess: For files that do not say it: a `Preprocess`, a scaling's name or a JSON file.
            malignant: Codes that count as malignant, for custom labels.
            architecture: For bare weights: the network's name.
            revision: Branch, tag or commit on the Hub.
            offline: Never use the network.
            cache_dir: Where downloads are kept; None is the Hub's own cache.
            token: Hub token; None uses the Hub's own rules.

        Raises:
            ModelError: The model cannot be loaded.
            DeviceError: The device is not there.
            InvalidInputError: An argument has an unusable value.
        """
        if batch_size is not None and batch_size < 1:
            raise InvalidInputError(f"batch_size is at least 1; received {batch_size}.")
        if workers is not None and workers < 0:
            raise InvalidInputError(f"workers is at least 0; received {workers}.")
        if threshold is not None and not 0 <= threshold <= 1:
            raise InvalidInputError(f"threshold is between 0 and 1; received {threshold}.")
        if isinstance(model, LoadedModel):
            loaded = model
        else:
            from skinclf.loading import load_model

            loaded = load_model(
                os.fspath(model) if model is not None else None,
                labels=labels,
                preprocess=preprocess,
                malignant=malignant,
                architecture=architecture,
                revision=revision,
                offline=offline,
                cache_dir=cache_dir,
                token=token,
            )
        self._spec = loaded.spec
        self._runtime = create_runtime(loaded, runtime=runtime, device=device, precision=precision)
        self._batch_size = batch_size or 16
        self._workers = batch.default_workers() if workers is None else workers
        self._threshold = loaded.spec.threshold if threshold is None else float(threshold)

    @property
    def spec(self) -> ModelSpec:
        """The model's contract."""
        return self._spec

    @property
    def threshold(self) -> float:
        """Threshold on the probability of malignancy in use."""
        return self._threshold

    @overload
    def predict(self, source: ImageSource) -> Prediction: ...
    @overload
    def predict(self, source: Iterable[ImageSource]) -> list[Prediction]: ...
    def predict(self, source: ImageSource | Iterable[ImageSource]) -> Prediction | list[Prediction]:
        """Classify one input, or many in batches.

        Args:
            source: A path, encoded bytes, PIL image or array (H, W, 3) uint8 RGB; or any iterable of them.

        Returns:
            One `Prediction`, or a list in input order in which failed inputs have `ok` False.

        Raises:
            ImageError: A single input could not be read. (In a list, failures are recorded.)
        """
        if not _is_single(source):
            return list(self.stream(source))  # type: ignore[arg-type]
        result = next(self.stream([source]))  # type: ignore[list-item]
        if not result.ok:
            raise ImageError(result.status, result.error)
        return result

    def stream(self, sources: Iterable[ImageSource]) -> Iterator[Prediction]:
        """Classify inputs lazily: one `Prediction` each, in input order, in bounded memory.

        Failed inputs are recorded (`ok` is False), never skipped and never replaced.
        """
        names: list[str] = []

        def named() -> Iterator[ImageSource]:
            for number, source in enumerate(sources):
                names.append(str(source) if isinstance(source, (str, os.PathLike)) else f"image-{number}")
                yield source

        outcomes = batch.stream(
            named(), self._runtime, self._spec.preprocess, batch_size=self._batch_size, workers=self._workers
        )
        for outcome in outcomes:
            yield self._prediction(names.pop(0), outcome)

    def predict_dir(self, folder: str | os.PathLike[str], *, recursive: bool = False) -> Iterator[Prediction]:
        """Classify the images of a folder, in natural order.

        Raises:
            InvalidInputError: The folder cannot be listed.
        """
        return self.stream(scan_directory(Path(folder), recursive=recursive))

    def _prediction(self, name: str, outcome: batch.Outcome) -> Prediction:
        if outcome.error is not None:
            return Prediction(
                name, self._spec.labels, None, self._threshold, outcome.error.code, str(outcome.error)
            )
        scores = np.asarray(outcome.scores)[None]
        values = probabilities(scores, self._spec.activation, self._spec.calibration)[0]
        return Prediction(name, self._spec.labels, tuple(values.tolist()), self._threshold)


def _is_single(source: Any) -> bool:
    from PIL import Image

    if isinstance(source, np.ndarray):
        return source.ndim != 4
    return isinstance(source, (*_SINGLE, Image.Image)) or not isinstance(source, Iterable)
