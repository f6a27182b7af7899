"""Registry of published models: repository, file, labels and preprocessing by short name.

Nothing heavy is imported, so that listing the models is fast: preprocessing is kept as
plain mappings and becomes a `Preprocess` when it is asked for.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

from skinclf._utils.notice import NOTICE
from skinclf.errors import InvalidArgumentError, ModelError
from skinclf.labels import HAM10000, MALIGNANT, LabelSet

if TYPE_CHECKING:
    from skinclf.images.preprocess import Preprocess

Adapter: TypeAlias = Literal["bundle", "keras", "torch", "timm", "onnx", "auto"]

#: Name of the model that is used when none is named; `default` means the same.
DEFAULT = "ham10000-efficientnet-lite0"
#: Bundles that ship with skinclf; every folder with a `config.json` is a model.
#: Tensors of a weights file that are no trainable parameters, and the entry that is no tensor.
_NOT_TRAINED = ("running_mean", "running_var", "num_batches_tracked", "__metadata__")
_MAX_HEADER = 100 * 1024 * 1024
BUILTIN = Path(__file__).parent / "builtin"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedModel:
    """A model that is known by name.

    Attributes:
        name: Short name.
        repo_id: Hub repository; None for a built-in bundle.
        revision: Full commit sha where one is known, else a branch. Outputs record the sha it led to.
        filename: Weights file in the repository or folder.
        adapter: Format of the file: `bundle`, `keras`, `torch`, `timm`, `onnx`, or `auto` when
            the files themselves decide.
        license: SPDX id or words for the weights.
        labels: Labels in output order with malignant flags; None when unknown.
        variants: Preprocessing by name, default first: either every field of `Preprocess`, or the name of
            a `scaling` with the fields that differ from its defaults. Empty when unknown.
        disclaimer: Sentence that is shown with the model.
        verified: Whether labels and preprocessing come from the authors' own code; False where only third
            parties state them.
        description: One or two sentences.
        task: `binary` or `multiclass`.
        folder: Folder of its files on this machine; None when they are on the Hub.
        sha256: Hash of the weights file, when known; of a recipe, of what decides its mean.
        members: Names of the models that a recipe averages; empty for one model.
    """

    name: str
    repo_id: str | None
    revision: str | None
    filename: str
    adapter: Adapter
    license: str
    labels: LabelSet | None
    variants: Mapping[str, Mapping[str, Any]]
    disclaimer: str = NOTICE
    verified: bool
    description: str
    task: str
    folder: Path | None = None
    sha256: str | None = None
    members: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """`builtin`, or the repository id."""
        return self.repo_id or "builtin"

    def preprocess(self, variant: str | None = None) -> Preprocess:
        """Preprocessing of the model's input.

        Args:
            variant: Key of `variants`; None takes the default.

        Raises:
            InvalidArgumentError: `variant` is not among `variants`.
            ModelError: No preprocessing is known for the model.
        """
        from skinclf.images.preprocess import Preprocess, scaling

        if not self.variants:
            raise ModelError(
                f"{self.name}: no preprocessing is known for this model. State `preprocess`.",
                parameter="preprocess",
            )
        name = next(iter(self.variants)) if variant is None else variant
        if name not in self.variants:
            raise InvalidArgumentError(
                f"{self.name} has no preprocessing {name!r}; expected one of {', '.join(self.variants)}."
            )
        fields = dict(self.variants[name])
        if "scaling" not in fields:
            return Preprocess.from_dict(fields)
        try:
            return scaling(fields.pop("scaling"), **fields)
        except TypeError as error:
            raise ModelError(f"{self.name}: preprocessing {name!r} is malformed: {error}.") from None

    @property
    def verified_words(self) -> str:
        """Scope of `verified` in words."""
        if self.folder is not None:
            return (
                "yes: labels, preprocessing and recorded probabilities; `skinclf models verify` replays them. "
                "Accuracy: see its card"
            )
        if self.verified:
            return "yes: labels and preprocessing are those of the authors' own code; accuracy is not covered"
        return "no: labels and preprocessing are stated by third parties only"

    @property
    def input_size(self) -> tuple[int, int] | None:
        """Width and height of the input in pixels, by the default preprocessing; None when unknown."""
        fields = next(iter(self.variants.values()), {})
        return (fields["width"], fields["height"]) if {"width", "height"} <= set(fields) else None

    def file_facts(self) -> tuple[int, int] | None:
        """Bytes of the weights file and number of trainable parameters, from its header; None when not on this machine.

        Only safetensors files say the number of parameters without being loaded. A recipe has those of its members.
        """
        if self.members:
            parts = [get_model(name).file_facts() for name in self.members]
            known = [part for part in parts if part is not None]
            whole = sum(size for size, _ in known), sum(count for _, count in known)
            return whole if len(known) == len(parts) else None
        if self.folder is None or not self.filename.endswith(".safetensors"):
            return None
        path = self.folder / self.filename
        try:
            with path.open("rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                header = json.loads(file.read(min(length, _MAX_HEADER)))
            size = path.stat().st_size
        except (OSError, ValueError, struct.error) as error:
            raise ModelError(f"{path}: the weights cannot be read: {error}.") from None
        shapes = [x["shape"] for name, x in header.items() if not name.endswith(_NOT_TRAINED)]
        return size, sum(math.prod(shape) for shape in shapes)

    def replace(self, **changes: Any) -> PublishedModel:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """JSON form (`folder` stays out: it holds on one machine only)."""
        return {
            "name": self.name,
            "repo_id": self.repo_id,
            "revision": self.revision,
            "filename": self.filename,
            "sha256": self.sha256,
            "adapter": self.adapter,
            "task": self.task,
            "verified": self.verified,
            "license": self.license,
            **(self.labels.to_dict() if self.labels else {"taxonomy": None, "labels": None}),
            "preprocess": {key: dict(value) for key, value in self.variants.items()},
            "disclaimer": self.disclaimer,
            "description": self.description,
            "members": list(self.members),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PublishedModel:
        """Read the JSON form.

        Raises:
            ModelError: A field is missing or has an unusable value.
        """
        try:
            labels = LabelSet.from_dict(data) if data["labels"] else None
            variants = {str(key): dict(value) for key, value in data["preprocess"].items()}
            texts = {
                key: str(data[key])
                for key in ("name", "filename", "license", "disclaimer", "description", "task")
            }
            optional = {
                key: None if data[key] is None else str(data[key])
                for key in ("repo_id", "revision", "sha256")
            }
            adapter, verified = data["adapter"], bool(data["verified"])
            members = tuple(str(name) for name in data.get("members") or ())
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(
                f"The description of a published model is incomplete or malformed: {error!r}."
            ) from None
        if adapter not in get_args(Adapter):
            raise ModelError(f"adapter is one of {', '.join(get_args(Adapter))}; received {adapter!r}.")
        path = PurePosixPath(texts["filename"])
        if path.is_absolute() or ".." in path.parts or "\\" in texts["filename"] or not path.parts:
            raise ModelError(f"filename {texts['filename']!r} does not stay in the model's folder.")
        return cls(
            **cast("dict[str, Any]", {**texts, **optional}),
            adapter=adapter,
            verified=verified,
            labels=labels,
            variants=variants,
            members=members,
        )


def list_models() -> tuple[PublishedModel, ...]:
    """Every model known by name: built-in ones first, the default before all.

    Raises:
        ModelError: The configuration of a built-in model is damaged.
    """
    found = [(path, path.stat()) for path in sorted(BUILTIN.glob("*/config.json"))]
    builtin = [_builtin(path.parent, stat.st_mtime_ns, stat.st_size) for path, stat in found]
    return (*sorted(builtin, key=lambda model: model.name != DEFAULT), *_PUBLISHED)


def find_model(name: str) -> PublishedModel | None:
    """The model of this short name or repository id, or None."""
    wanted = DEFAULT if name == "default" else name
    return next((model for model in list_models() if wanted in {model.name, model.repo_id}), None)


def get_model(name: str) -> PublishedModel:
    """The model of this short name or repository id.

    Raises:
        ModelError: No such model is known; the message names those that are spelt alike.
    """
    model = find_model(name)
    if model is None:
        known = [key for entry in list_models() for key in (entry.name, entry.repo_id) if key]
        by_lower = {key.lower(): key for key in known}
        close = [by_lower[key] for key in get_close_matches(name.lower(), by_lower, n=3)]
        hint = f"Did you mean {' or '.join(close)}?" if close else f"Known: {', '.join(known)}."
        raise ModelError(
            f"No model is known by the name {name!r}. {hint} A repository on the Hub is user/repo, "
            "a file or a folder is its path."
        )
    return model


@cache
def _builtin(folder: Path, _mtime_ns: int, _size: int) -> PublishedModel:
    """The entry of a bundle that ships with skinclf; read again only when its configuration has changed."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        own = config["skinclf"]
        labels = LabelSet.from_dict(own)
        architecture, domain, recipe = config["architecture"], own["domain"], own.get("recipe")
        members = tuple(str(member["model"]) for member in recipe["members"]) if recipe else ()
        network = (
            f"the mean of {' and '.join(members)} over the views {recipe['tta']}," if recipe else architecture
        )
        return PublishedModel(
            name=folder.name,
            repo_id=None,
            revision=None,
            filename="config.json" if recipe else "model.safetensors",
            adapter="bundle",
            license=str(own["license"]),
            labels=labels,
            variants={"default": own["preprocess"]},
            verified=True,
            description=f"Ships with skinclf and works offline: {network} for {domain}.",
            task="binary" if len(labels) == 2 else "multiclass",
            folder=folder,
            sha256=own.get("weights_sha256"),
            members=members,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{folder}: the built-in model is damaged ({error!r}). Install skinclf again."
        ) from None


def _variants(**named: dict[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    return MappingProxyType({key.replace("_", "-"): MappingProxyType(value) for key, value in named.items()})


_SQUASH = {"height": 224, "width": 224, "fit": "squash"}
_PUBLISHED = (
    PublishedModel(
        name="skin-lesion-resnet50",
        repo_id="devatreya/skin-lesion-resnet50",
        revision="main",
        filename="resnet50_best.h5",
        adapter="keras",
        license="see the repository",
        labels=MALIGNANT,
        variants=_variants(
            # The resize that the network was trained with, and the one of its author's README script.
            opencv={"scaling": "caffe", **_SQUASH, "library": "opencv", "interpolation": "bilinear"},
            pillow_bicubic={"scaling": "caffe", **_SQUASH, "library": "pillow", "interpolation": "bicubic"},
        ),
        verified=True,
        description="ResNet50, benign or malignant, trained on HAM10000 split by lesion. Its author "
        "reports ROC-AUC 0.890 and sensitivity 0.806 on 1,505 test images.",
        task="binary",
    ),
    PublishedModel(
        name="efficientnetv2s-skin-cancer-classifier",
        repo_id="Miguel764/efficientnetv2s-skin-cancer-classifier",
        revision="main",
        filename="efficientnetv2s.h5",
        adapter="keras",
        license="MIT",
        labels=HAM10000,
        variants=_variants(
            pillow_bicubic={"scaling": "tf", **_SQUASH, "library": "pillow", "interpolation": "bicubic"},
        ),
        verified=False,
        description="Third-party EfficientNetV2-S for the seven classes of HAM10000. Unverified: label "
        "order and preprocessing are what its users state.",
        task="multiclass",
    ),
)
