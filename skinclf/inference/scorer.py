"""`Scorer`: what the batch engine asks of whatever turns images into probabilities.

One network is a scorer (`ModelScorer`); so can be several networks, or one with test-time augmentation.
A scorer splits the work in two: `prepare` runs in decode workers, one image at a time, and `score` runs
where the network is, a batch at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from skinclf.errors import ImageError, ModelError
from skinclf.images.decode import ImageSource, load_picture
from skinclf.images.preprocess import Preprocess
from skinclf.models.precision import reduced_fingerprint, reduced_info
from skinclf.models.probabilities import probabilities
from skinclf.models.spec import ModelSpec
from skinclf.runtimes.base import Runtime

#: What one image becomes: one array for each slot of the scorer's `layout`.
Pixels: TypeAlias = tuple[npt.NDArray[Any], ...]
Prepare: TypeAlias = Callable[[ImageSource], Pixels]


class Slot(NamedTuple):
    """Shape and dtype of one array of `Pixels`, so that batch buffers can be made once."""

    shape: tuple[int, ...]
    dtype: npt.DTypeLike


@dataclass(frozen=True, slots=True)
class Scores:
    """What a scorer says about a batch of N images.

    Attributes:
        probabilities: Shape (N, K), float32, in label order.
        columns: Values of the scorer's extra columns by name, each of length N.
        embeddings: Shape (N, D), float32, when they were asked for.
    """

    probabilities: npt.NDArray[np.float32]
    columns: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    embeddings: npt.NDArray[np.float32] | None = None

    def take(self, rows: Sequence[int]) -> Scores:
        """The rows asked for, in that order."""
        at = np.asarray(rows, np.intp)
        vectors = None if self.embeddings is None else self.embeddings[at]
        return Scores(self.probabilities[at], {k: v[at] for k, v in self.columns.items()}, vectors)

    @staticmethod
    def join(parts: list[Scores]) -> Scores:
        """One `Scores` from several, in order."""
        first = parts[0]
        columns = {name: np.concatenate([p.columns[name] for p in parts]) for name in first.columns}
        embeddings = None
        if first.embeddings is not None:
            embeddings = np.concatenate([p.embeddings for p in parts if p.embeddings is not None])
        return Scores(np.concatenate([p.probabilities for p in parts]), columns, embeddings)


class Scorer(Protocol):
    """Images to probabilities, in two steps."""

    @property
    def spec(self) -> ModelSpec:
        """The contract that labels, thresholds and operating points are taken from."""

    @property
    def layout(self) -> tuple[Slot, ...]:
        """The arrays that `prepare` returns."""

    @property
    def prepare(self) -> Prepare:
        """Decodes one image, or raises `ImageError`; can be pickled, so that processes may run it."""

    @property
    def columns(self) -> Mapping[str, type]:
        """Extra columns of the table: name to `float`, `int`, `bool` or `str`."""

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """All that decides the numbers, in JSON types; a run is resumed only under an equal one."""

    @property
    def info(self) -> Mapping[str, Any]:
        """What the manifest says about it: at least `runtime`, `device` and `precision`.

        `band`, where it is known, says how near to a threshold a reduced precision leaves a decision in doubt.
        """

    @property
    def batch_size(self) -> int:
        """Images per call of `score` when nobody says."""

    def stage(self, batch: Pixels) -> Pixels:
        """Bring a batch to where `score` reads it: on CUDA a copy there, elsewhere the batch itself.

        Called from another thread than `score`, so that the copy of one batch overlaps with the scores of another.

        Args:
            batch: See `score`.
        """

    def score(self, batch: Pixels) -> Scores:
        """Probabilities of a batch.

        Args:
            batch: The arrays of `layout`, each with a leading axis of N images, as they are or as `stage` gave
                them. Only valid during the call.
        """


@dataclass(frozen=True, slots=True)
class LoadPixels:
    """`prepare` for one `Preprocess`."""

    preprocess: Preprocess

    def __call__(self, source: ImageSource) -> Pixels:
        """Decode and resize one image.

        Raises:
            ImageError: It cannot be read.
        """
        return (self.preprocess.pixels(load_picture(source, draft=self.preprocess.draft_size)),)


class ModelScorer:
    """One network on one runtime; see `Scorer`."""

    columns: Mapping[str, type] = {}

    def __init__(self, spec: ModelSpec, runtime: Runtime, *, embeddings: bool = False) -> None:
        """Bind a contract to the runtime that executes it.

        Args:
            spec: The model's contract.
            runtime: Its network on a device.
            embeddings: Also return what enters the last layer.

        Raises:
            ModelError: Embeddings are asked of a runtime that has none.
        """
        if embeddings and not hasattr(runtime, "embed"):
            raise ModelError(f"The {runtime.name} runtime gives no embeddings; use --runtime torch.")
        self.spec = spec
        self.runtime = runtime
        self.prepare: Prepare = LoadPixels(spec.preprocess)
        self._embeddings = embeddings

    @property
    def layout(self) -> tuple[Slot, ...]:
        """See `Scorer.layout`."""
        p = self.spec.preprocess
        return (Slot((p.height, p.width, 3), p.pixel_dtype),)

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """See `Scorer.fingerprint`."""
        kind, how = self.runtime.device.partition(":")[0], (self.runtime.name, self.runtime.precision)
        return {
            **self.spec.fingerprint,
            "activation": self.spec.activation,
            "runtime": self.runtime.name,
            "precision": self.runtime.precision,
            "device": kind,
            **reduced_fingerprint(self.spec, *how),
        }

    @property
    def info(self) -> Mapping[str, Any]:
        """See `Scorer.info`."""
        return {
            "runtime": self.runtime.name,
            "device": self.runtime.device,
            "precision": self.runtime.precision,
            **reduced_info(self.spec, self.runtime.name, self.runtime.precision),
        }

    @property
    def batch_size(self) -> int:
        """See `batch_size_for`."""
        return batch_size_for(self.runtime)

    def stage(self, batch: Pixels) -> Pixels:
        """See `Scorer.stage`."""
        return stage(self.runtime, batch)

    def score(self, batch: Pixels) -> Scores:
        """See `Scorer.score`."""
        (pixels,) = batch
        vectors = None
        if self._embeddings:
            raw, vectors = self.runtime.embed(pixels)  # type: ignore[attr-defined]
        else:
            raw = self.runtime.run(pixels)
        return Scores(probabilities(raw, self.spec.activation, self.spec.calibration), {}, vectors)


def stage(runtime: Runtime, batch: Pixels) -> Pixels:
    """A batch where a runtime reads it, for those that can take it ahead of time (`TorchRuntime.stage`)."""
    ahead = getattr(runtime, "stage", None)
    return batch if ahead is None else tuple(ahead(pixels) for pixels in batch)


def batch_size_for(runtime: Runtime) -> int:
    """Images that keep a runtime busy: 128 on an accelerator; 16 on a CPU, and four for each stream where it has more.

    A multiple of 16, so that an image's place in its batch cannot show (see `skinclf.inference.engine`).
    """
    if runtime.device != "cpu":
        return 128
    return 16 * max(1, -(-getattr(runtime, "streams", 1) // 4))


def failure(error: Exception, source: object) -> ImageError:
    """Any error of one image as an `ImageError`, so that it costs one row and not the run."""
    if isinstance(error, ImageError):
        return error
    name = source if isinstance(source, str) or hasattr(source, "__fspath__") else type(source).__name__
    return ImageError("unreadable", f"{name}: {type(error).__name__}: {' '.join(str(error).split())}")
