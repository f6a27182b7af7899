"""`ModelSpec`: the specification that every model must have before skinclf runs it.

On disk it is `config.json`: top-level keys in timm's Hub format, so that plain timm reads it too,
and everything of skinclf's own in one `"skinclf"` block.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, cast, get_args

from packaging.version import InvalidVersion, Version

from skinclf._utils.lfs import refuse_pointer
from skinclf._version import __version__
from skinclf.errors import InvalidArgumentError, MismatchError, ModelError
from skinclf.images.preprocess import Preprocess
from skinclf.labels import LabelSet
from skinclf.models.class_decision import ClassDecision
from skinclf.models.identity import ModelIdentity
from skinclf.models.metadata_encoding import MetadataEncoding
from skinclf.models.metadata_terms import MetadataTerms
from skinclf.models.probabilities import Activation, Calibration
from skinclf.models.recipe import Recipe

SCHEMA = 1
#: Larger config files are refused before they are parsed.
MAX_CONFIG_BYTES = 16 * 1024 * 1024
#: Precisions below float32; and, as `runtime:precision`, the key of scaled decoding in `ModelSpec.precisions`.
REDUCED = ("bf16", "fp16", "int8")
DECODING, SCALED = "decoding", "scaled"


@dataclass(frozen=True, slots=True)
class Golden:
    """A recorded input with the probabilities it must give.

    Attributes:
        file: Image path inside the bundle.
        probabilities: Expected probabilities in label order (uncalibrated, float32 runtime).
        tolerance: Largest absolute difference allowed.
        source: Framework and version that computed them.
    """

    file: str
    probabilities: tuple[float, ...]
    tolerance: float
    source: str

    def __post_init__(self) -> None:
        path = PurePosixPath(self.file)
        if path.is_absolute() or ".." in path.parts or "\\" in self.file or not path.name:
            raise ModelError(f"A golden sample lies inside its bundle; received the path {self.file!r}.")
        if not all(map(math.isfinite, (*self.probabilities, self.tolerance))) or self.tolerance <= 0:
            raise ModelError(
                f"Golden sample {self.file!r}: probabilities and a positive tolerance are finite numbers."
            )


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Specification of a model: network, labels, preprocessing, calibration, thresholds, provenance.

    It is immutable, comparable and holds no weights.

    Attributes:
        name: Short name or repository id that people use.
        architecture: timm name (`mobilenetv2_100`) or a skinclf builder (`skinclf/...`).
        labels: Ordered labels; as many as the network has outputs (one sigmoid output serves two).
        preprocess: Preprocessing of the network's input.
        activation: Kind of the network's outputs, see `skinclf.models.probabilities`.
        model_args: Keyword arguments of the builder.
        calibration: Applied to the logits at prediction, or None.
        operating_points: Named thresholds on P(malignant): name to `{"threshold": ..., evidence}`.
        default_operating_point: Name of the operating point that is used by default; None means 0.5.
        decision: Rule for the predicted class; None predicts the most probable class.
        metadata: Terms that age, sex and site add to the log-probabilities where a user gives them, or None.
        fused: Whether predictions are with `metadata`, see `skinclf.inference.metadata.fused`; never stored.
        encoding: Vector of age, sex and site that the network takes beside the image, or None.
        recipe: Models and views that are averaged in place of one network, or None.
        golden: Recorded samples that `skinclf models verify` replays.
        precisions: Measured effect of reduced precisions (`runtime:precision`) and of scaled decoding
            (`decoding:scaled`) to a record, see `skinclf.models.precision`.
        gate: Record of the image gate in the bundle, see `skinclf.inference.gate`; empty without one.
        training: Provenance: data, split hash, seed, code version, and so on.
        license: SPDX id or words for the weights.
        domain: Images that the model is meant for, in words.
        source: Origin of the model: `builtin`, a repository id or a path.
        revision: Commit sha on the Hub, when it came from there.
        weights_sha256: Hash of the weights file; what thresholds and resumed runs are bound to.
    """

    name: str
    architecture: str
    labels: LabelSet
    preprocess: Preprocess
    activation: Activation = "softmax"
    model_args: Mapping[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None
    operating_points: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    default_operating_point: str | None = None
    decision: ClassDecision | None = None
    metadata: MetadataTerms | None = None
    fused: bool = False
    encoding: MetadataEncoding | None = None
    recipe: Recipe | None = None
    golden: tuple[Golden, ...] = ()
    precisions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    gate: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    license: str = ""
    domain: str = "dermoscopic images of pigmented skin lesions"
    source: str = ""
    revision: str | None = None
    weights_sha256: str | None = None

    def __post_init__(self) -> None:
        if self.activation not in get_args(Activation):
            raise ModelError(f"activation is one of {get_args(Activation)}; received {self.activation!r}.")
        if self.activation == "sigmoid" and len(self.labels) != 2:
            raise ModelError(f"A single sigmoid output serves two labels; received {self.labels.codes}.")
        if self.activation == "independent" and self.calibration is not None:
            raise ModelError(
                "A model with independent outputs takes no calibration, which is for exclusive classes."
            )
        if (self.activation == "independent") == self.labels.exclusive:
            object.__setattr__(
                self, "labels", replace(self.labels, exclusive=self.activation != "independent")
            )
        if self.recipe is not None:
            self.recipe.check(self.name, self.weights_sha256)
        count = len(self.labels)
        for sample in self.golden:
            if len(sample.probabilities) != count:
                raise ModelError(
                    f"Golden sample {sample.file!r} has {len(sample.probabilities)} of {count} probabilities."
                )
        if self.calibration is not None:
            self.calibration.check(count)
        if self.default_operating_point not in {None, *self.operating_points}:
            raise ModelError(f"Default operating point {self.default_operating_point!r} is not among them.")
        if self.decision is not None:
            try:
                object.__setattr__(self, "decision", self.decision.in_order(self.labels.codes))
            except MismatchError as error:
                raise ModelError(f"Rule for the predicted class: {error}") from None
        for name, point in self.operating_points.items():
            value = point.get("threshold")
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ModelError(f"Operating point {name!r} has no finite threshold.")
        for name, record in self.precisions.items():
            band = record.get("band")
            number = isinstance(band, (int, float)) and 0 <= band <= 1
            wide = record.get("band_log_odds")
            width = wide is None or (isinstance(wide, (int, float)) and 0 <= wide < math.inf)
            if name.partition(":")[2] not in {*REDUCED, SCALED} or not (band is None or number) or not width:
                raise ModelError(
                    f"Precision record {name!r}: expected a reduced precision, a band of 0 to 1, a width from 0 on."
                )

    @property
    def num_outputs(self) -> int:
        """Width of the network's last layer."""
        return 1 if self.activation == "sigmoid" else len(self.labels)

    @property
    def threshold(self) -> float:
        """Default threshold on P(malignant)."""
        if self.default_operating_point is None:
            return 0.5
        return float(self.operating_points[self.default_operating_point]["threshold"])

    @property
    def fingerprint(self) -> dict[str, str | None]:
        """Hashes of everything that decides the probabilities; artefacts such as thresholds are bound to it."""
        found = {
            "weights_sha256": self.weights_sha256,
            "preprocess": self.preprocess.fingerprint,
            "labels": self.labels.fingerprint,
            "calibration": self.calibration.fingerprint if self.calibration else None,
        }
        taken = self.encoding or (self.metadata if self.fused else None)
        found |= {"metadata": taken.fingerprint} if taken else {}
        return found | ({"recipe": self.recipe.fingerprint} if self.recipe else {})

    @property
    def identity(self) -> ModelIdentity:
        """Name, revision and fingerprint, to compare with what an artefact records."""
        return ModelIdentity.from_dict({"name": self.name, "revision": self.revision, **self.fingerprint})

    def replace(self, **changes: Any) -> ModelSpec:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def to_config(self) -> dict[str, Any]:
        """The content of `config.json`."""
        own = {
            "schema": SCHEMA,
            "min_version": "0.1.0",
            "skinclf_version": __version__,
            "name": self.name,
            **self.labels.to_dict(),
            "activation": self.activation,
            "preprocess": self.preprocess.to_dict(),
            "calibration": self.calibration.to_dict() if self.calibration else None,
            "operating_points": {k: dict(v) for k, v in self.operating_points.items()},
            "default_operating_point": self.default_operating_point,
            "decision": self.decision.to_dict() if self.decision else None,
            "metadata": self.metadata.to_dict() if self.metadata else None,
            **({"encoding": self.encoding.to_dict()} if self.encoding else {}),
            **({"recipe": self.recipe.to_dict()} if self.recipe else {}),
            "golden": [{**asdict(g), "probabilities": list(g.probabilities)} for g in self.golden],
            "precisions": {k: dict(v) for k, v in self.precisions.items()},
            **({"gate": dict(self.gate)} if self.gate else {}),
            "training": dict(self.training),
            "license": self.license,
            "domain": self.domain,
            "weights_sha256": self.weights_sha256,
        }
        config: dict[str, Any] = {
            "architecture": self.architecture,
            "num_classes": self.num_outputs,
            "label_names": list(self.labels.codes),
            "label_descriptions": {x.code: x.name for x in self.labels},
            "model_args": dict(self.model_args),
        }
        if not self.architecture.startswith("skinclf/"):
            config["pretrained_cfg"] = self._pretrained_cfg()
        config["skinclf"] = own
        return config

    def _pretrained_cfg(self) -> dict[str, Any]:
        p = self.preprocess
        # timm scales by 1/255 first; its mean and std are those of the same affine map.
        mean = [m / (255 * p.scale) for m in p.mean]
        std = [s / (255 * p.scale) for s in p.std]
        return {
            "tag": "skinclf",
            "custom_load": False,
            "input_size": [3, p.height, p.width],
            "test_input_size": None,
            "fixed_input_size": False,
            "interpolation": p.interpolation,
            "crop_pct": p.crop_pct if p.fit == "crop" else 1.0,
            "test_crop_pct": None,
            "crop_mode": {"squash": "squash", "crop": "center", "pad": "border"}[p.fit],
            "mean": mean,
            "std": std,
            "num_classes": self.num_outputs,
            "license": self.license,
            "origin_url": None,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, source: str, revision: str | None = None) -> ModelSpec:
        """Read `config.json`.

        Raises:
            ModelError: The `skinclf` block is missing, from a newer schema, or incomplete.
        """
        own = config.get("skinclf")
        if not isinstance(own, Mapping):
            raise ModelError(
                f"{source}: config.json has no 'skinclf' block, hence no labels or preprocessing to trust. "
                "State `labels` and `preprocess`."
            )
        try:
            newer = Version(str(own.get("min_version", "0"))) > Version(__version__)
        except InvalidVersion as error:
            raise ModelError(f"{source}: config.json has an unreadable min_version: {error}.") from None
        if own.get("schema") != SCHEMA or newer:
            raise ModelError(
                f"{source}: for schema {own.get('schema')}, skinclf {own.get('min_version')} or later; "
                f"this is schema {SCHEMA}, skinclf {__version__}. Update skinclf."
            )
        try:
            golden = tuple(
                Golden(
                    str(g["file"]),
                    tuple(map(float, g["probabilities"])),
                    float(g["tolerance"]),
                    str(g["source"]),
                )
                for g in own.get("golden", ())
            )
            spec = cls(
                name=str(own["name"]),
                architecture=str(config["architecture"]),
                labels=LabelSet.from_dict(own),
                preprocess=Preprocess.from_dict(own["preprocess"]),
                activation=cast("Activation", own["activation"]),
                model_args=dict(config.get("model_args") or {}),
                calibration=Calibration.from_dict(own["calibration"]) if own.get("calibration") else None,
                operating_points={str(k): dict(v) for k, v in (own.get("operating_points") or {}).items()},
                default_operating_point=own.get("default_operating_point"),
                decision=ClassDecision.from_dict(own["decision"]) if own.get("decision") else None,
                metadata=MetadataTerms.from_dict(own["metadata"]) if own.get("metadata") else None,
                encoding=MetadataEncoding.from_dict(own["encoding"]) if own.get("encoding") else None,
                recipe=Recipe.from_dict(own["recipe"]) if own.get("recipe") else None,
                golden=golden,
                precisions={str(k): dict(v) for k, v in (own.get("precisions") or {}).items()},
                gate=dict(own.get("gate") or {}),
                training=dict(own.get("training") or {}),
                license=str(own.get("license", "")),
                domain=str(own.get("domain", "")),
                source=source,
                revision=revision,
                weights_sha256=own.get("weights_sha256"),
            )
        except InvalidArgumentError as error:
            raise ModelError(f"{source}: config.json: {error}") from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"{source}: config.json is incomplete or malformed: {error!r}.") from None
        codes = list(spec.labels.codes)
        if config.get("label_names", codes) != codes:
            raise ModelError(
                f"{source}: label_names are {config['label_names']}, but the 'skinclf' block has {codes}."
            )
        if config.get("num_classes") != spec.num_outputs:
            raise ModelError(
                f"{source}: num_classes is {config.get('num_classes')} but the labels and activation ask for "
                f"{spec.num_outputs} outputs."
            )
        return spec


def read_config(path: Path) -> dict[str, Any]:
    """Parse a `config.json`, within a size limit.

    Raises:
        ModelError: The file is missing, too large or no JSON object.
    """
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ModelError(
                f"{path}: larger than {MAX_CONFIG_BYTES:,} bytes; that is no model configuration."
            )
        refuse_pointer(path)
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not readable as JSON: {error}.") from None
    if not isinstance(data, dict):
        raise ModelError(f"{path}: expected a JSON object, found {type(data).__name__}.")
    return data
