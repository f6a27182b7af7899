"""`Predictor`: classification of images, folders and streams with one model or an ensemble."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from skinclf.errors import ImageError
from skinclf.images.decode import ImageSource
from skinclf.images.discovery import scan_directory
from skinclf.inference.decode_workers import default_workers
from skinclf.inference.engine import Batch, Times, stream
from skinclf.inference.metadata.joined import JoinedMetadata, Metadata, join_for
from skinclf.inference.notes.scaled_decoding import known_effects
from skinclf.inference.outcomes import outcomes_of
from skinclf.inference.prediction import Prediction
from skinclf.inference.scorer import Scorer
from skinclf.inference.sources import Model, check_numbers, is_single, load_given, name_of
from skinclf.inference.threshold_origin import STATED, UsedThreshold
from skinclf.models.class_decision import ClassDecision
from skinclf.models.metadata_terms import MetadataTerms
from skinclf.models.options import HubOptions, ModelOptions
from skinclf.models.spec import ModelSpec

if TYPE_CHECKING:
    from skinclf.inference.conformal_sets import ConformalSets
    from skinclf.inference.gate.mode import GateMode
    from skinclf.models.recipe import Average

K = TypeVar("K")


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
        model: Model | Sequence[Model] = None,
        *,
        options: ModelOptions = ModelOptions(),
        hub: HubOptions = HubOptions(),
        device: str = "auto",
        runtime: str = "auto",
        precision: str = "auto",
        batch_size: int | None = None,
        workers: int | None = None,
        processes: bool | None = False,
        embeddings: bool = False,
        tta: str = "none",
        average: Average = "probability",
        weights: Sequence[float] | None = None,
        conformal: ConformalSets | None = None,
        refer_below: float | None = None,
        dicom_ids: bool = False,
        gate: GateMode | None = None,
        gate_marks: bool = False,
        threshold: float | None = None,
        decision: ClassDecision | None = None,
    ) -> None:
        """Load a model and put it on its device.

        Args:
            model: Model to use: None (the built-in one), a registered name, a Hub repository (`user/repo`), a bundle
                folder, a model file, a loaded model, or a `Scorer` with its own runtime. A sequence is an ensemble.
            options: Facts that the model's files lack: labels, preprocessing, malignant classes, architecture.
            hub: Revision, cache and token for the Hugging Face Hub.
            device: `auto`, `cpu`, `cuda[:n]` or `mps`; a named device must be available.
            runtime: `auto` or another one of `skinclf.runtimes.RUNTIMES`.
            precision: `auto`, `fp32`, `bf16`, `fp16` or `int8`.
            batch_size: Images per call of the network; None: 16 on a CPU (more on one with many cores), 128 on an
                accelerator. Halved when memory runs out.
            workers: Number of decode workers; 0 decodes in the calling thread; None: one per core, at most 16, and in a
                long run as many as are measured to be needed.
            processes: Whether workers are processes, which scale to many cores and survive an image that
                kills its decoder; None: beyond 6 workers. Scripts then need the `__main__` guard.
            embeddings: Whether to return the inputs of the last layer too (`Prediction.embedding`).
            tta: Test-time augmentation: `none`, `flips`, `d4` or `d4+zoom`; see `skinclf.inference.tta`.
            average: Mean of an ensemble: of `probability`, or of `logit`.
            weights: Weights of an ensemble, one positive number per member; None weighs members equally.
            conformal: Label sets that add the columns `label_set` and `label_set_size`.
            refer_below: Probability in (0, 1], below which the column `referred` is true; None adds no column.
            dicom_ids: Whether to add the columns of `skinclf.images.dicom.uids.UIDS`, empty for other files.
            gate: Image gate, `off`, `mark` or `refuse`; None is `mark` for one model that has a gate, on one view.
            gate_marks: Whether the gate looks for hair, rulers, bubbles and text too, which takes longer.
            threshold: Threshold on the probability of malignancy, in [0, 1]; None takes the model's own.
            decision: Rule for the predicted class, such as `skinclf.decisions.Threshold.decision`; None takes the
                model's own. Without a rule the most probable class is predicted, and of two classes with one
                malignant the one that the threshold says.

        Raises:
            ModelError: The model cannot be loaded.
            DeviceError: The device is not available.
            InvalidArgumentError: An argument lies outside its range, or arguments exclude one another.
        """
        check_numbers(batch_size=batch_size, workers=workers, threshold=threshold)
        several = isinstance(model, Sequence) and not isinstance(model, str)
        given: list[Model] = list(model) if several else [model]  # type: ignore[arg-type, list-item]
        if len(given) == 1 and isinstance(given[0], Scorer):
            scorer = given[0]
        else:
            from skinclf.inference.factory import make_scorer

            loaded = [load_given(m, options, hub, runtime) for m in given]
            scorer = make_scorer(
                loaded,
                device=device,
                runtime=runtime,
                precision=precision,
                embeddings=embeddings,
                tta=tta,
                average=average,
                weights=weights,
                conformal=conformal,
                refer_below=refer_below,
                dicom_ids=dicom_ids,
                gate=gate,
                gate_marks=gate_marks,
            )
        self._scorer = scorer
        self._batch_size = batch_size
        self._workers = workers
        self._processes = processes
        self._spec = scorer.spec
        self._metadata: JoinedMetadata | None = None
        self._stated = threshold is not None, decision is not None
        given_one = None if threshold is None else UsedThreshold(float(threshold))
        self._used = given_one or UsedThreshold.of_contract(scorer, scorer.spec)
        rule = decision or scorer.spec.decision
        self._decision = None if rule is None else rule.in_order(scorer.spec.labels.codes)
        self._doubt = known_effects(scorer.info)

    @property
    def spec(self) -> ModelSpec:
        """The model's contract; with metadata that of the fused predictions."""
        return self._spec

    @property
    def scorer(self) -> Scorer:
        """Scorer that turns images into probabilities."""
        return self._scorer

    @property
    def columns(self) -> Mapping[str, type]:
        """Extra columns of its tables; `near_threshold` where what may change decisions has a known effect."""
        beside = {} if self._metadata is None else self._metadata.columns
        doubt: dict[str, type] = {"near_threshold": bool} if any(self._doubt.values()) else {}
        return {**self._scorer.columns, **beside, **doubt}

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """Everything that decides the numbers: that of the scorer, and of the metadata terms in use."""
        return {**self._scorer.fingerprint, **({} if self._metadata is None else self._metadata.fingerprint)}

    @property
    def metadata(self) -> JoinedMetadata | None:
        """Age, sex and site of the images, as `with_metadata` joined them; None where the picture alone counts."""
        return self._metadata

    @property
    def threshold(self) -> float:
        """Threshold on the probability of malignancy in use."""
        return self._used.value

    @property
    def decision(self) -> ClassDecision | None:
        """Rule for the predicted class in use, in label order; None without one."""
        return self._decision

    @property
    def threshold_notices(self) -> tuple[str, ...]:
        """Sentences on a threshold that was neither stated nor measured for this recipe; logged at first use."""
        return self._used.notices

    @property
    def threshold_from(self) -> str:
        """Origin of the threshold in words, see `skinclf.inference.threshold_origin.UsedThreshold`."""
        return self._used.origin

    def with_threshold(
        self, threshold: float, *, decision: ClassDecision | None = None, origin: str = STATED
    ) -> Predictor:
        """The same loaded model with another threshold in [0, 1].

        Args:
            threshold: Threshold on the probability of malignancy, in [0, 1].
            decision: Rule for the predicted class; None keeps the one in use.
            origin: Origin of the threshold, for `threshold_from`.

        Raises:
            InvalidArgumentError: `threshold` lies outside [0, 1].
            MismatchError: `decision` is among other classes than the model's.
        """
        check_numbers(threshold=threshold)
        result = copy(self)
        result._used = UsedThreshold(float(threshold), origin)
        if decision is not None:
            result._decision = decision.in_order(self.spec.labels.codes)
        result._stated = True, self._stated[1] or decision is not None
        return result

    def with_metadata(
        self,
        metadata: Metadata | JoinedMetadata,
        names: Iterable[str | os.PathLike[str]] = (),
        *,
        terms: MetadataTerms | None = None,
    ) -> Predictor:
        """The same model with age, sex and site, and, unless stated, the threshold that was measured with them.

        Args:
            metadata: Path of a table or `skinclf.tables.patient_metadata.PatientTable`, or for each image a mapping
                such as `{"age": 45, "sex": "female", "site": "back"}`.
            names: All images that will be classified, such as `skinclf.images.discovery.Inputs.listed()`.
            terms: Terms fitted for this model; None takes its own.

        Raises:
            InvalidArgumentError: The metadata cannot be read or joined with the images.
            ModelError: The model has no terms.
            MismatchError: The terms, or the label sets in use, belong to another model or to the picture alone.
        """
        result = copy(self)
        spec, encodings = self._scorer.spec, self._scorer.encodings
        result._spec, result._metadata = join_for(spec, metadata, names, terms, encodings)
        self._scorer.check_annotations(result._spec)
        if not self._stated[0]:
            result._used = UsedThreshold.of_contract(self._scorer, result._spec)
        result._decision = self._decision if self._stated[1] or encodings else None
        return result

    @property
    def batch_size(self) -> int | None:
        """Images per call of the network; None where the scorer's default applies."""
        return self._batch_size

    @property
    def workers(self) -> int:
        """Number of decode workers, where none was given the one that a run begins with."""
        return default_workers() if self._workers is None else self._workers

    @overload
    def predict(self, source: ImageSource, *, metadata: Metadata | None = None) -> Prediction: ...  # type: ignore[overload-overlap]
    @overload
    def predict(
        self, source: Iterable[ImageSource], *, metadata: Metadata | None = ...
    ) -> list[Prediction]: ...
    def predict(
        self, source: ImageSource | Iterable[ImageSource], *, metadata: Metadata | None = None
    ) -> Prediction | list[Prediction]:
        """Classify one input, or many in batches.

        Args:
            source: A path, encoded bytes, PIL image or array (H, W, 3) uint8 RGB; or any iterable of them.
            metadata: Age, sex and site as for `with_metadata`; None takes the picture alone.

        Returns:
            One `Prediction`, or a list in input order in which failed inputs have `ok` False.

        Raises:
            ImageError: A single input could not be read. (In a list, failures are recorded.)
        """
        if metadata is not None:
            if is_single(source):
                return self.with_metadata(metadata, [name_of(source, 0)]).predict(cast("ImageSource", source))
            sources = list(cast("Iterable[ImageSource]", source))
            names = [name_of(one, number) for number, one in enumerate(sources)]
            return self.with_metadata(metadata, names).predict(sources)
        if not is_single(source):
            return list(self.stream(source))  # type: ignore[arg-type]
        self._used = self._used.told()
        named = [(name_of(source, 0), source)]
        beside = None if self._metadata is None else self._metadata.beside
        (batch,) = stream(named, self._scorer, batch_size=1, workers=0, beside=beside)  # type: ignore[arg-type]
        (result,) = self.predictions(batch)
        if not result.ok:
            raise ImageError(result.status, result.error)
        return result

    def stream(self, sources: Iterable[ImageSource]) -> Iterator[Prediction]:
        """Classify inputs lazily: one `Prediction` each, in input order, in bounded memory.

        Failed inputs are recorded (`ok` is False), never skipped and never replaced. Inputs are taken up to
        three batches ahead.
        """
        named = ((name_of(source, number), source) for number, source in enumerate(sources))
        for batch in self.batches(named):
            yield from self.predictions(batch)

    def predict_dir(self, folder: str | os.PathLike[str], *, recursive: bool = False) -> Iterator[Prediction]:
        """Classify the images of a folder, in natural order.

        Raises:
            InvalidArgumentError: The folder cannot be listed.
        """
        return self.stream(scan_directory(folder, recursive=recursive))

    def to_pandas(self, sources: Iterable[ImageSource], *, top_k: int = 0) -> Any:
        """Classify inputs into a `pandas.DataFrame` with the columns of the predictions table.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        from skinclf.inference.schema import Schema, to_frame

        return to_frame(Schema(self.spec.labels, top_k, self.columns), self.stream(sources))

    def batches(
        self,
        inputs: Iterable[tuple[K, ImageSource | None]],
        *,
        batch_size: int | None = None,
        continued: bool = False,
        times: Times | None = None,
    ) -> Iterator[Batch[K]]:
        """The engine under `stream`: see `skinclf.inference.engine.stream`."""
        self._used = self._used.told()
        return stream(
            inputs,
            self._scorer,
            batch_size=batch_size or self._batch_size or self._scorer.batch_size,
            workers=self._workers,
            processes=self._processes,
            continued=continued,
            times=times,
            beside=None if self._metadata is None else self._metadata.beside,
        )

    def predictions(self, batch: Batch[str]) -> list[Prediction]:
        """Predictions of a batch whose keys are the names of its inputs."""
        scored = batch.scored
        if scored is not None and self._metadata is not None and self._metadata.terms is not None:
            scored = self._scorer.annotate(self._metadata.fuse(batch.keys, scored, self.spec))
        return outcomes_of(
            replace(batch, scored=scored),
            self.spec.labels,
            threshold=self._used.value,
            decision=self._decision,
            **self._doubt,
        )
