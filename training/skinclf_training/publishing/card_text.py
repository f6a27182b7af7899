"""Text of a model card that no file of a run holds: intended use, limitations, data and their licence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from skinclf.errors import InvalidArgumentError
from skinclf.models.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Description of the training data.

    Attributes:
        name: Name of the data.
        id: Id in the card's `model-index`.
        license: Licence, as it is usually written.
        license_url: Address of the licence.
        url: Address of the data.
        description: Origin of the images and of the labels.
        hub: Ids of data sets on the Hub, for the card's `datasets`.
    """

    name: str
    id: str
    license: str
    license_url: str
    url: str
    description: str
    hub: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Text of a card.

    Attributes:
        data: The training data.
        intended: Intended uses.
        out_of_scope: Uses that are out of scope.
        limitations: Known limits; a card without any is refused.
        failure_modes: Images on which the model is known or expected to fail.
        citation: BibTeX of the data.
        base_model: Id on the Hub of the model that training started from; None where there is none.
    """

    data: Data
    intended: tuple[str, ...]
    out_of_scope: tuple[str, ...]
    limitations: tuple[str, ...]
    failure_modes: tuple[str, ...]
    citation: str
    base_model: str | None = None


def read_about(path: Path) -> About:
    """Read the text of a card from YAML; `model_cards/ham10000.yaml` shows every key.

    Raises:
        InvalidArgumentError: The file cannot be read, a key is missing or unknown, or the limitations are empty.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidArgumentError(f"{path}: cannot be read as YAML: {error}.") from None
    if not isinstance(content, Mapping) or not isinstance(content.get("data"), Mapping):
        raise InvalidArgumentError(f"{path}: expected keys such as data, limitations and citation.")
    given = dict(content)
    for key in ("intended", "out_of_scope", "limitations", "failure_modes"):
        given[key] = _sentences(given.get(key), key, path)
    try:
        about = About(**given | {"data": _data(given["data"])})
    except TypeError as error:
        raise InvalidArgumentError(f"{path}: {str(error).replace('__init__()', 'the file')}.") from None
    if not about.citation or not about.data.license:
        raise InvalidArgumentError(f"{path}: a card names the citation and the licence of its data.")
    return about


def find_about(spec: ModelSpec) -> About:
    """The text that comes with skinclf for the data that a model was trained on.

    Raises:
        InvalidArgumentError: skinclf has no text for those data.
    """
    name = str(spec.training.get("data") or "")
    path = cards_dir() / f"{re.sub('[^a-z0-9]+', '-', name.lower())}.yaml"
    if not name or not path.is_file():
        known = ", ".join(sorted(p.stem for p in cards_dir().glob("*.yaml")))
        raise InvalidArgumentError(
            f"{spec.name}: trained on {name or 'data without a name'}, and skinclf knows the limits of "
            f"models trained on {known} only. State them in a YAML file and name it as `about`.",
            parameter="about",
        )
    return read_about(path)


def cards_dir() -> Path:
    """The folder `model_cards`: installed beside this module, or in a source checkout."""
    here = Path(__file__).resolve().parents[1]
    places = (here / "model_cards", here.parents[1] / "model_cards")
    return next((place for place in places if place.is_dir()), places[0])


def _data(given: Mapping[str, Any]) -> Data:
    hub = given.get("hub") or ()
    return Data(**{**given, "hub": (hub,) if isinstance(hub, str) else tuple(hub)})


def _sentences(value: Any, key: str, path: Path) -> tuple[str, ...]:
    found = (
        tuple(str(item).strip() for item in value or () if str(item).strip())
        if isinstance(value, list)
        else ()
    )
    if not found:
        raise InvalidArgumentError(
            f"{path}: {key} is empty. A card says what its model is for, what not, and where it fails: "
            "give a list of sentences."
        )
    return found


def without_blank_runs(text: str) -> str:
    """Remove trailing blanks and repeated empty lines."""
    lines: list[str] = []
    for line in (raw.rstrip() for raw in text.strip().splitlines()):
        if line or (lines and lines[-1]):
            lines.append(line)
    return "\n".join(lines) + "\n"
