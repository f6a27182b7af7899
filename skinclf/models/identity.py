"""`ModelIdentity`: which model an artefact (threshold, label sets, int8 network, table) belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

#: Everything that decides a model's probabilities: key in files to the word in messages.
BOUND: Mapping[str, str] = MappingProxyType(
    {
        "weights_sha256": "weights",
        "preprocess": "preprocessing",
        "labels": "label map",
        "calibration": "calibration",
        "metadata": "metadata terms or encoding",
        "recipe": "combination of models and views",
    }
)


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Name and fingerprint of a model, as artefacts record them.

    Attributes:
        name: Name of the model, for messages; None when it is not recorded.
        revision: Commit on the Hub; None for a local or built-in model.
        bound: The keys of `BOUND` that are recorded. A calibration of None means that the model has none; weights
            of None are not recorded. `metadata` of None, as where it is not recorded, means the picture alone, and
            `recipe` of None one model on one view.
    """

    name: str | None
    revision: str | None
    bound: Mapping[str, str | None]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelIdentity:
        """Read the JSON form; other keys are passed over."""
        bound = {key: data[key] for key in BOUND if key in data}
        if bound.get("weights_sha256", "") is None:
            del bound["weights_sha256"]
        if bound:
            bound.setdefault("metadata", None)
            # Files of earlier versions name the views instead; no recipe has such a hash.
            views = data.get("tta") or "none"
            bound.setdefault("recipe", None if views == "none" else f"tta {views}")
        return cls(data.get("name"), data.get("revision"), bound)

    def to_dict(self) -> dict[str, str | None]:
        """JSON form, with every key of `BOUND`; what is not recorded is None."""
        return {
            "name": self.name,
            "revision": self.revision,
            **{key: self.bound.get(key) for key in BOUND},
        }

    def differences(self, other: ModelIdentity) -> tuple[str, ...]:
        """Facts that both record and that differ, in words such as `weights`; empty where the artefact fits.

        Of another combination of models and views that alone is said: nothing else of it is comparable.
        """
        shared = (key for key in BOUND if key in self.bound and key in other.bound)
        found = tuple(BOUND[key] for key in shared if self.bound[key] != other.bound[key])
        return (BOUND["recipe"],) if BOUND["recipe"] in found else found

    def unknown(self, other: ModelIdentity) -> tuple[str, ...]:
        """Facts that at least one of both does not record, in words."""
        return tuple(word for key, word in BOUND.items() if key not in self.bound or key not in other.bound)
