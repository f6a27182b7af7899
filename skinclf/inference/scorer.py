"""`Scorer`: the interface between the batch engine and networks, ensembles and test-time augmentation.

One network is a scorer (`ModelScorer`); so can be several networks, or one with test-time augmentation.
A scorer splits the work in two: `prepare` runs in decode workers, one image at a time, and `score` runs
where the network is, a batch at a time.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from skinclf.errors import ImageError
from skinclf.images.decode import ImageSource, load_picture
from skinclf.images.named_bytes import NamedBytes
from skinclf.images.preprocess import Preprocess
from skinclf.models.metadata_encoding import MetadataEncoding
from skinclf.models.precision import reduced_fingerprint, reduced_info
from skinclf.models.probabilities import probabilities
from skinclf.models.spec import ModelSpec
from skinclf.runtimes.base import Runtime, no_embeddings

logger = logging.getLogger("skinclf")
#: What one image becomes: one array for each slot of the scorer's `layout`.
Pixels: TypeAlias = tuple[npt.NDArray[Any], ...]
Prepare: TypeAlias = Callable[[ImageSource], Pixels]


class Slot(NamedTuple):
    """Shape and dtype of one array of `Pixels`, so that batch buffers can be made once."""

    shape: tuple[int, ...]
    dtype: npt.DTypeLike


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """Scores of a batch of N images.

    Attributes:
        probabilities: Shape (N, K), float32, in label order.
        columns: Values of the scorer's extra columns by name, each of length N.
        embeddings: Inputs of the last layer, shape (N, D), float32, or None.
        refusals: Reasons why images get no answer, as sentences without the image's name, length N; empty where there
            is one. None when nothing is refused.
        scaled: Whether each picture was decoded down, shape (N,), bool; None where nothing notes it.
    """

    probabilities: npt.NDArray[np.float32]
    columns: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    embeddings: npt.NDArray[np.float32] | None = None
    refusals: npt.NDArray[np.object_] | None = None
    scaled: npt.NDArray[np.bool_] | None = None

    def take(self, rows: Sequence[int]) -> ScoredBatch:
        """Selected rows, in the given order."""
        at = np.asarray(rows, np.intp)
        vectors = None if self.embeddings is None else self.embeddings[at]
        refusals = None if self.refusals is None else self.refusals[at]
        columns = {k: v[at] for k, v in self.columns.items()}
        scaled = None if self.scaled is None else self.scaled[at]
        return ScoredBatch(self.probabilities[at], columns, vectors, refusals, scaled)

    @staticmethod
    def join(parts: list[ScoredBatch]) -> ScoredBatch:
        """One `ScoredBatch` from several, in order."""
        first = parts[0]
        columns = {name: np.concatenate([p.columns[name] for p in parts]) for name in first.columns}
        embeddings = None
        if first.embeddings is not None:
            embeddings = np.concatenate([p.embeddings for p in parts if p.embeddings is not None])
        refusals = None
        if first.refusals is not None:
            refusals = np.concatenate([p.refusals for p in parts if p.refusals is not None])
        scaled = None
        if first.scaled is not None:
            scaled = np.concatenate([p.scaled for p in parts if p.scaled is not None])
        values = np.concatenate([p.probabilities for p in parts])
        return ScoredBatch(values, columns, embeddings, refusals, scaled)


class Scorer(ABC):
    """Images to probabilities, in two steps; `engine.stream` runs it.

    Attributes:
        spec: Contract that labels, thresholds and operating points are taken from.
        prepare: Decodes one image, or raises `ImageError`; can be pickled, so that processes may run it.
        columns: Extra columns of the table: name to `float`, `int`, `bool` or `str`.
        one_by_one: Whether images are computed one by one, so that the size of a batch cannot show in the numbers.
        encodings: Meaning of the vectors that its networks take beside the image, one for each such network.
    """

    spec: ModelSpec
    prepare: Prepare
    columns: Mapping[str, type] = MappingProxyType({})
    one_by_one: bool = False
    encodings: tuple[MetadataEncoding, ...] = ()

    @property
    @abstractmethod
    def layout(self) -> tuple[Slot, ...]:
        """Arrays that `prepare` returns."""

    @property
    @abstractmethod
    def fingerprint(self) -> Mapping[str, Any]:
        """Everything that decides the numbers, in JSON types; a run is resumed only under an equal one."""

    @property
    @abstractmethod
    def info(self) -> Mapping[str, Any]:
        """Facts for the run manifest: at least `runtime`, `device` and `precision`.

        `band`, where it is known, says how near to a threshold a reduced precision leaves a decision in doubt.
        """

    @property
    @abstractmethod
    def batch_size(self) -> int:
        """Default number of images per call of `score`."""

    @property
    def bare(self) -> Scorer:
        """The scorer without what only takes notes beside it; by default itself."""
        return self

    def stage(self, batch: Pixels) -> Pixels:
        """Copy a batch to where `score` reads it: on CUDA to the device; by default the batch itself.

        Called from another thread than `score`, so that the copy of one batch overlaps with the scores of another.

        Args:
            batch: As for `score`.
        """
        return batch

    def annotate(self, scored: ScoredBatch) -> ScoredBatch:
        """The batch with the columns that follow from its probabilities alone; by default the batch itself."""
        return scored

    def check_annotations(self, spec: ModelSpec) -> None:  # noqa: B027 - most scorers have none
        """Refuse a contract that these columns were not made for.

        Raises:
            MismatchError: Label sets of another model, or of the picture alone.
        """

    @abstractmethod
    def score(self, batch: Pixels) -> ScoredBatch:
        """Probabilities of a batch.

        Args:
            batch: Arrays of `layout`, each with a leading axis of N images, as they are or as `stage` returned them;
                behind them, where metadata is given, a vector of each of `encodings`. Only valid during the call.
        """


class WrappedScorer(Scorer):
    """Base of the scorers that add to another one; what they do not override is that of the other."""

    def __init__(self, base: Scorer) -> None:
        self._base = base
        self.spec, self.prepare, self.columns = base.spec, base.prepare, base.columns
        self.one_by_one, self.encodings = base.one_by_one, base.encodings

    @property
    def layout(self) -> tuple[Slot, ...]:
        return self._base.layout

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        return self._base.fingerprint

    @property
    def info(self) -> Mapping[str, Any]:
        return self._base.info

    @property
    def batch_size(self) -> int:
        return self._base.batch_size

    def stage(self, batch: Pixels) -> Pixels:
        return self._base.stage(batch)

    def annotate(self, scored: ScoredBatch) -> ScoredBatch:
        return self._base.annotate(scored)

    def check_annotations(self, spec: ModelSpec) -> None:
        self._base.check_annotations(spec)


@dataclass(frozen=True, slots=True)
class LoadPixels:
    """`prepare` for one `Preprocess`."""

    preprocess: Preprocess

    def __call__(self, source: ImageSource) -> Pixels:
        """Decode and resize one image.

        Raises:
            ImageError: The image cannot be read.
        """
        return (self.preprocess.pixels(load_picture(source, draft=self.preprocess.reduction)),)


class NetworkScorer(Scorer):
    """Base of the scorers that run one network on one runtime."""

    def __init__(self, spec: ModelSpec, runtime: Runtime, prepare: Prepare) -> None:
        self.spec = spec
        self.runtime = runtime
        self.prepare = prepare
        self._told = False
        self.encodings = () if spec.encoding is None else (spec.encoding,)

    @property
    def layout(self) -> tuple[Slot, ...]:
        p = self.spec.preprocess
        return (Slot((p.height, p.width, 3), p.pixel_dtype),)

    def split(self, batch: Pixels) -> tuple[Pixels, Pixels]:
        """The arrays of `layout`, and what stands behind them; without metadata, that of absent entries."""
        count = len(self.layout)
        beside = batch[count:]
        if self.encodings and not beside:
            if not self._told:
                logger.warning(
                    "%s: no metadata was given; age, sex and site count as missing.", self.spec.name
                )
                self._told = True
            beside = tuple(encoding.encode([None] * len(batch[0])) for encoding in self.encodings)
        return batch[:count], beside

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        return {
            **self.spec.fingerprint,
            "activation": self.spec.activation,
            "runtime": self.runtime.name,
            "precision": self.runtime.precision,
            "device": self.runtime.device.partition(":")[0],
            **reduced_fingerprint(self.spec, self.runtime.name, self.runtime.precision),
        }

    @property
    def info(self) -> Mapping[str, Any]:
        return {
            "runtime": self.runtime.name,
            "device": self.runtime.device,
            "precision": self.runtime.precision,
            "runtime_reason": self.runtime.reason,
            **reduced_info(self.spec, self.runtime.name, self.runtime.precision),
        }

    @property
    def batch_size(self) -> int:
        return self.runtime.preferred_batch_size


class ModelScorer(NetworkScorer):
    """One network on one runtime."""

    def __init__(self, spec: ModelSpec, runtime: Runtime, *, embeddings: bool = False) -> None:
        """Bind a contract to the runtime that executes it.

        Args:
            spec: Contract of the model.
            runtime: Network of the model on a device.
            embeddings: Whether to return the inputs of the last layer too.

        Raises:
            ModelError: The runtime gives no embeddings.
        """
        if embeddings and not runtime.gives_embeddings:
            raise no_embeddings(runtime)
        super().__init__(spec, runtime, LoadPixels(spec.preprocess))
        self.one_by_one = runtime.one_by_one
        self._embeddings = embeddings

    def stage(self, batch: Pixels) -> Pixels:
        return tuple(self.runtime.stage(pixels) for pixels in batch)

    def score(self, batch: Pixels) -> ScoredBatch:
        (pixels,), beside = self.split(batch)
        vectors = None
        if self._embeddings:
            raw, vectors = self.runtime.embed(pixels, *beside)
        else:
            raw = self.runtime.run(pixels, *beside)
        return ScoredBatch(probabilities(raw, self.spec.activation, self.spec.calibration), {}, vectors)


def failure(error: Exception, source: object) -> ImageError:
    """The `ImageError` that records an unexpected error of one image, so that it costs one row and not the run.

    Args:
        error: Error of decoding.
        source: Input that was decoded.
    """
    if isinstance(error, ImageError):
        return error
    named = isinstance(source, (str, NamedBytes)) or hasattr(source, "__fspath__")
    name = source if named else type(source).__name__
    return ImageError("unreadable", f"{name!s}: {type(error).__name__}: {' '.join(str(error).split())}")
