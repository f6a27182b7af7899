"""`Recipe`: which models are averaged, over which views, and how; what thresholds of the whole are bound to."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeAlias

from skinclf.errors import MismatchError, ModelError

Average: TypeAlias = Literal["probability", "logit"]
#: Word in the place of a network's name.
ARCHITECTURE = "skinclf/ensemble"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One model of a recipe.

    Attributes:
        fingerprint: Hashes of weights, preprocessing, labels and calibration, as `ModelSpec.fingerprint`.
        model: Built-in or registered name, or Hub repository; None for a path.
        revision: Commit on the Hub; None for a model that is not there.
        path: Path from the recipe's folder, with forward slashes; None for a name. Models that were joined without a
            bundle have neither.
    """

    fingerprint: Mapping[str, str | None]
    model: str | None = None
    revision: str | None = None
    path: str | None = None

    @property
    def named(self) -> str:
        """Name for messages."""
        return self.model or self.path or "an unnamed model"

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        where = {"path": self.path} if self.path else {"model": self.model, "revision": self.revision}
        return {**where, "fingerprint": dict(self.fingerprint)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Models that are averaged.

    Attributes:
        members: At least one model, in the order of `weights`.
        weights: Weight of each member; scaled to sum to 1.
        average: Mean of `probability` (arithmetic) or of `logit` (geometric, normalised).
        tta: Views of each image, a key of `skinclf.inference.tta.VIEWS`, or `none`.
    """

    members: tuple[Member, ...]
    weights: tuple[float, ...]
    average: Average = "probability"
    tta: str = "none"

    def __post_init__(self) -> None:
        numbers = all(math.isfinite(weight) and weight > 0 for weight in self.weights)
        if not self.members or len(self.weights) != len(self.members) or not numbers:
            raise ModelError(
                f"An average has one positive weight per model; received {len(self.members)} models and the weights "
                f"{', '.join(f'{w:g}' for w in self.weights) or '(none)'}."
            )
        if self.average not in {"probability", "logit"}:
            raise ModelError(f"A recipe averages probability or logit; received {self.average!r}.")
        if len(self.members) == 1 and self.tta == "none":
            raise ModelError("A recipe combines several models, or views of one by `tta`.", parameter="tta")
        for member in self.members:
            if "recipe" in member.fingerprint:
                raise ModelError(
                    f"{member.named} is a recipe itself; name its members instead.", parameter="model"
                )
        total = math.fsum(self.weights)
        object.__setattr__(self, "weights", tuple(weight / total for weight in self.weights))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides the mean: members, weights, kind of mean, views."""
        # Nine digits, so that weights scaled twice stay the same.
        content = {
            "members": [dict(member.fingerprint) for member in self.members],
            "weights": [round(weight, 9) for weight in self.weights],
            "average": self.average,
            "tta": self.tta,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def check(self, name: str, recorded: str | None) -> None:
        """Refuse a recipe that is not the recorded one.

        Args:
            name: Name of the recipe, for messages.
            recorded: Recorded fingerprint.

        Raises:
            ModelError: The hashes differ.
        """
        if recorded != self.fingerprint:
            raise ModelError(
                f"{name}: weights_sha256 is not the hash of the recipe's members, weights and views, so the recipe was "
                "changed by hand. Make it again."
            )

    def moved(self, source: Path, target: Path) -> Recipe:
        """The same recipe in another folder, from which the members' paths then start.

        Args:
            source: Folder that the paths start from.
            target: New folder.
        """
        members = [
            member
            if member.path is None
            else replace(member, path=relative_path(source / member.path, target))
            for member in self.members
        ]
        return replace(self, members=tuple(members))

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "members": [member.to_dict() for member in self.members],
            "weights": list(self.weights),
            "average": self.average,
            "tta": self.tta,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Recipe:
        """Read the JSON form.

        Raises:
            ModelError: A field is missing or wrong.
        """
        try:
            members = tuple(_member(entry) for entry in data["members"])
            weights = tuple(float(weight) for weight in data["weights"])
            return cls(members=members, weights=weights, average=data["average"], tta=str(data["tta"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"Recipe: {error!r}.") from None


def relative_path(path: Path, folder: Path) -> str:
    """Path from a folder, with forward slashes.

    Raises:
        ModelError: Both lie on different drives.
    """
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:
        raise ModelError(f"{path}: on another drive than {folder}; keep both on one.") from None


def combined_name(names: Sequence[str], tta: str) -> str:
    """Name of models that are averaged, such as `a + b (d4)`."""
    return " + ".join(names) + ("" if tta == "none" else f" ({tta})")


def changed_member(name: str, member: Member, changed: Sequence[str]) -> MismatchError:
    """The error of a member that is not the recorded one any more.

    Args:
        name: Name of the recipe.
        member: The member as recorded.
        changed: Keys of the fingerprint that differ.
    """
    words = ", ".join("weights" if key == "weights_sha256" else key for key in changed)
    return MismatchError(
        f"{name}: its member {member.named} has changed since the recipe was made (other {words}); put that "
        "model back, or make a new recipe and measure it."
    )


def _member(entry: Mapping[str, Any]) -> Member:
    path, model, revision = entry.get("path"), entry.get("model"), entry.get("revision")
    if (path is None) == (model is None):
        raise ModelError("A member of a recipe has either `model` or `path`.")
    if path is not None and (PurePosixPath(path).is_absolute() or "\\" in path or ":" in path):
        raise ModelError(f"A member's path starts from the recipe's folder; received {path!r}.")
    prints = {str(key): None if value is None else str(value) for key, value in entry["fingerprint"].items()}
    if not prints.get("weights_sha256"):
        raise ModelError(f"Recipe: no hash of the weights of {model or path}.")
    return Member(
        fingerprint=prints,
        model=None if model is None else str(model),
        revision=None if revision is None else str(revision),
        path=path,
    )
