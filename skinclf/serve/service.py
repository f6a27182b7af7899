"""`Service`: one loaded model with its thresholds, its batcher and, when they are asked for, its explanations."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from skinclf._utils.notice import NOTICE
from skinclf._version import __version__
from skinclf.conversion.verify import replay
from skinclf.errors import ImageError, InvalidArgumentError, ModelError
from skinclf.images.named_bytes import NamedBytes
from skinclf.inference.decode_limits import DecodeLimits
from skinclf.inference.factory import make_scorer
from skinclf.inference.gate.mode import GateMode
from skinclf.inference.prediction import Prediction
from skinclf.inference.predictor import Predictor
from skinclf.inference.schema import Schema
from skinclf.inference.scorer import NetworkScorer, Scorer
from skinclf.models.loaded import LoadedModel
from skinclf.models.metadata_terms import MetadataTerms
from skinclf.models.options import HubOptions, ModelOptions
from skinclf.models.spec import ModelSpec
from skinclf.serve.batcher import Batcher, Outcome
from skinclf.serve.evidence import Evidence
from skinclf.serve.explanations import Explanations
from skinclf.serve.metrics import Metrics
from skinclf.serve.patients import Fused, batch_of, offer
from skinclf.serve.settings import ServeSettings
from skinclf.serve.thresholds import OfferedThreshold, Thresholds
from skinclf.tables.patient_metadata import Patient

logger = logging.getLogger("skinclf")
#: Keys of a model's training record that are told.
_PLAIN = frozenset({"device", "runtime", "precision"})
_DEFAULTS: Mapping[str, Any] = {"tta": "none", "average": "probability"}
#: Malignant diagnoses that many data sets leave out, by code.
_OFTEN_MISSING: Mapping[str, str] = {"scc": "squamous cell carcinoma", "mcc": "Merkel cell carcinoma"}
_TRAINING = ("data", "split_sha256", "seed", "epochs", "selected_by", "init")


class Service:
    """What the server answers from.

    Args:
        models: Model to serve, as for `Predictor`; several are averaged.
        settings: Limits of the server.
        threshold: Threshold in use where a request names none: a file, an operating point or a number.
        force: Whether a threshold file that was made for another model is accepted.
        options: Facts that the model's files lack.
        hub: Revision, cache and token for the Hugging Face Hub.
        batch_size: Images per call of the network; None takes the scorer's own.
        workers: Number of decode workers; None: one per core, at most 16.
        processes: Whether decode workers are processes with limits, which hostile images cannot harm the server from.
        limits: What one image may take in a decode process.
        metadata_terms: What age, sex and site add, fitted for this model; None takes its own.
        execution: Further parameters of `Predictor`: `device`, `runtime`, `precision`, `tta`, `average`, `weights`,
            `conformal`, `refer_below`.

    Attributes:
        predictor: Predictor with the default threshold.
        thresholds: Thresholds that requests may name.
        fused: The model with age, sex and site; None where it has no terms for them.
        evidence: What was measured of each model and lies beside it.
        gate: What the image gate does, `off`, `mark` or `refuse`.
        notices: Sentences for the user of the server.
        checks: Golden samples that were replayed at the start, in words.
    """

    def __init__(
        self,
        models: Sequence[str | LoadedModel | None] = (None,),
        *,
        settings: ServeSettings = ServeSettings(),
        threshold: str | None = None,
        force: bool = False,
        options: ModelOptions = ModelOptions(),
        hub: HubOptions = HubOptions(),
        batch_size: int | None = None,
        workers: int | None = None,
        processes: bool = True,
        limits: DecodeLimits | None = DecodeLimits(),
        metadata_terms: MetadataTerms | None = None,
        **execution: Any,
    ) -> None:
        """Load, check against the golden samples, and start the batcher.

        Raises:
            ModelError: A model cannot be loaded, or gives other probabilities for its golden sample than recorded.
            InvalidArgumentError: An argument has a value that cannot be used.
            MismatchError: The threshold file, or the metadata terms, were made for another model.
        """
        from skinclf.models.load import load_model

        gate: GateMode | None = execution.pop("gate", None)
        marks = execution.pop("gate_marks", False)
        runtime = execution.get("runtime", "auto")
        self.settings = settings
        self.models = [
            m if isinstance(m, LoadedModel) else load_model(m, options=options, hub=hub, runtime=runtime)
            for m in (models or (None,))
        ]
        self.checks, checked = _replayed(self.models, execution)
        plain = (
            len(checked) == 1
            and not self.models[0].members
            and all(
                name in _PLAIN or value is None or value == _DEFAULTS.get(name)
                for name, value in execution.items()
            )
        )
        if gate is None and plain and self.models[0].spec.gate:
            gate = "refuse"  # who sends one image sees an answer, and no column beside it
        plain = plain and gate in {None, "off"}
        self.gate: GateMode = gate or "off"
        if settings.allow_ungated and self.gate != "refuse":
            raise InvalidArgumentError(
                f"`allow_ungated` is for a gate that refuses; the gate of this server is {self.gate}.",
                parameter="allow_ungated",
            )
        scorer = (
            checked[0] if plain else make_scorer(self.models, gate=self.gate, gate_marks=marks, **execution)
        )
        predictor = Predictor(scorer, batch_size=batch_size, workers=workers)
        self.thresholds = Thresholds(predictor, threshold, force=force)
        self.evidence = [Evidence.of(model) for model in self.models]
        told = [notice for found in self.evidence for notice in found.notices]
        self.notices = (*self.thresholds.notices, *told)
        self._base = predictor
        self.fused = offer(predictor, threshold, force=force, terms=metadata_terms)
        self.predictor = self.thresholds.applied(self.thresholds.default, predictor)
        self.schema = Schema(predictor.spec.labels, 0, predictor.columns)
        self.metrics = Metrics()
        self.batcher = Batcher(
            scorer,
            batch_size=batch_size or scorer.batch_size,
            max_wait=settings.max_wait / 1000,
            max_queue=settings.max_queue,
            workers=self.predictor.workers,
            processes=processes,
            limits=limits if processes else None,
            metrics=self.metrics,
        )
        explained = settings.explanations and predictor.spec.labels.exclusive
        self.explanations = Explanations(self.models, execution) if explained else None
        self._warm_up()

    @property
    def ready(self) -> bool:
        """Whether images are classified."""
        return self.batcher.alive

    @property
    def spec(self) -> ModelSpec:
        """The contract of the model, or of the ensemble."""
        return self.predictor.spec

    def offered(self, *, with_metadata: bool) -> Thresholds | Fused:
        """What finds the threshold of a request, for the picture alone or with metadata.

        Raises:
            InvalidArgumentError: Metadata was given, and the model has no terms for it.
        """
        if not with_metadata:
            return self.thresholds
        if self.fused is None:
            raise InvalidArgumentError(
                "This server takes no metadata: its model has no terms for age, sex and site, or it gives label sets "
                "of the picture alone.",
                parameter="metadata",
            )
        return self.fused

    def predictions(
        self,
        names: Sequence[str],
        outcomes: Sequence[Outcome],
        threshold: OfferedThreshold,
        patients: Sequence[Patient] | None = None,
    ) -> list[Prediction]:
        """Predictions of one request at a threshold, with the entries of its images where it has some."""
        if patients is not None and self.fused is not None:
            made = self.fused.predictions(names, outcomes, threshold, patients)
        else:
            predictor = self.predictor
            if threshold != self.thresholds.default:
                predictor = self.thresholds.applied(threshold, self._base)
            made = []
            for name, outcome in zip(names, outcomes, strict=True):
                made += predictor.predictions(batch_of(name, outcome))
        for prediction in made:
            self.metrics.image(prediction.status)
        return made

    @cached_property
    def model(self) -> dict[str, Any]:
        """What answered: the object `model` of every answer."""
        info = self.predictor.scorer.info
        return {
            "name": self.spec.name,
            "revision": self.spec.revision,
            "weights_sha256": self.spec.weights_sha256,
            "preprocess": self.spec.preprocess.fingerprint,
            "runtime": info["runtime"],
            "precision": info["precision"],
        }

    @cached_property
    def described(self) -> dict[str, Any]:
        """The answer of `/v1/models`."""
        info = self.predictor.scorer.info
        return {
            "models": [
                _described(model.spec, info, found) | found.to_dict()
                for model, found in zip(self.models, self.evidence, strict=True)
            ],
            "columns": list(self.schema.columns),
            "explanations": self.explanations is not None,
            "metadata": None if self.fused is None else self.fused.vocabulary,
            "metadata_columns": None if self.fused is None else list(self.fused.schema.columns),
            "gate": {"mode": self.gate, "allow_ungated": self.settings.allow_ungated},
            "limits": {"max_files": self.settings.max_files, "max_upload": self.settings.max_upload},
            "notice": NOTICE,
            "version": __version__,
        }

    def close(self) -> None:
        """Finish what is in hand and stop."""
        self.batcher.close()
        if self.explanations is not None:
            self.explanations.close()

    def _warm_up(self) -> None:
        """Send a picture through decoders, batcher and network, so that the first request waits for nothing."""
        from PIL import Image

        from skinclf.images.synthetic import synthetic_lesion

        buffer = io.BytesIO()
        Image.fromarray(synthetic_lesion(0, width=160, height=120)).save(buffer, "PNG")
        picture = buffer.getvalue()
        workers = max(1, self.predictor.workers)
        sources = [NamedBytes(picture, "start")] * min(workers, self.settings.max_queue)
        outcomes = self.batcher.submit(sources, seconds=120).done.result()
        for outcome in outcomes:
            if isinstance(outcome, ImageError):
                self.close()
                raise ModelError(f"The decoders failed on a sound picture: {outcome}")


def _replayed(
    models: Sequence[LoadedModel], execution: Mapping[str, Any]
) -> tuple[tuple[str, ...], list[Scorer]]:
    """Replay the golden samples on the runtimes that will answer; what was found, and a scorer for each model."""
    said, scorers = [], []
    wanted = {key: value for key, value in execution.items() if key in _PLAIN}
    for model in (one for given in models for one in given.members or (given,)):
        name = model.spec.name
        scorer: Scorer = make_scorer([model], gate="off", **wanted).bare
        scorers.append(scorer)
        assert isinstance(scorer, NetworkScorer)
        precision = scorer.info["precision"]
        checks = replay(model, scorer.runtime)
        for check in checks:
            allowed = (
                check.tolerance if precision == "fp32" else _allowed(model.spec, scorer, check.tolerance)
            )
            if not check.difference <= allowed:
                raise ModelError(
                    f"{name}: the golden sample {check.file} comes out {check.difference:.2g} from what was recorded; "
                    f"at most {allowed:.2g} is allowed for {scorer.info['runtime']}, {precision}. The server does "
                    "not start with a model that computes something else; `skinclf models verify` shows more."
                )
        said.append(
            f"{name}: {len(checks)} golden sample{'s' if len(checks) != 1 else ''} replayed, as recorded."
            if checks
            else f"{name}: no golden sample to replay, so its probabilities were not checked."
        )
    return tuple(said), scorers


def _allowed(spec: ModelSpec, scorer: NetworkScorer, tolerance: float) -> float:
    """The largest change that was measured for a reduced precision."""
    record = spec.precisions.get(f"{scorer.info['runtime']}:{scorer.info['precision']}", {})
    return max(tolerance, float(record.get("largest_change") or 0.05))


def _described(spec: ModelSpec, info: Mapping[str, Any], evidence: Evidence) -> dict[str, Any]:
    codes = ", ".join(spec.labels.codes)
    limits = [
        f"It knows {len(spec.labels)} classes ({codes}) and gives every picture one of them, whatever it shows.",
        *_unknown(spec),
        f"It is meant for {spec.domain}; for other pictures its probabilities mean nothing.",
    ]
    trained = spec.training.get("data")
    if trained:
        limits.append(f"It was trained on {trained}; elsewhere it may be wrong more often.")
    limits += evidence.limits
    return {
        "name": spec.name,
        "architecture": spec.architecture,
        "weights_sha256": spec.weights_sha256,
        "preprocess": spec.preprocess.fingerprint,
        "runtime": info["runtime"],
        "precision": info["precision"],
        "labels": [
            {"code": label.code, "name": label.name, "malignant": label.malignant} for label in spec.labels
        ],
        "license": spec.license,
        "domain": spec.domain,
        "limits": limits,
        "training": {key: spec.training[key] for key in _TRAINING if spec.training.get(key) is not None},
    }


def _unknown(spec: ModelSpec) -> list[str]:
    """Malignant diagnoses that a model of several classes has none for."""
    known = {code.lower() for code in spec.labels.codes} | {label.name.lower() for label in spec.labels}
    missing = [name for code, name in _OFTEN_MISSING.items() if not {code, name.lower()} & known]
    if len(spec.labels) < 3 or not missing:
        return []
    return [f"It has no class for {' or '.join(missing)}: such a lesion gets another name."]
