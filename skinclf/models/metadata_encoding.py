"""`MetadataEncoding`: age, sex and site as the vector of numbers that a network takes beside the image.

A file with two inputs does not record what its second one means, so that the encoding is declared, entry by entry in
the order of the vector:

- `{"entry": "age", "divide": 90, "missing": 0.5}`, or `mean` and `std`;
- `{"entry": "sex", "words": ["female", "male", null], "missing": [0, 0, 1]}`: one column for each word, 1 for the one
  that holds. A list of words shares a column; null is a column of no word. A site takes the column of the nearest
  wider site of `skinclf.tables.patient_metadata.SITES` that has one;
- `{"entry": "sex", "values": {"female": 0, "male": 1}, "missing": 0.5}`: one column, a number for each word;
- `{"entry": "age", "indicator": true}`: 1 where the entry is missing, else 0.

`missing` is what stands in the columns for an absent entry; it is always declared.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skinclf._utils.arrays import Float32
from skinclf._utils.json import read_json
from skinclf.errors import InvalidArgumentError, ModelError
from skinclf.tables.patient_metadata import SITES, Patient, wider_sites

ENTRIES = ("age", "sex", "site")
_SEXES = ("female", "male")
_MAX_WIDTH = 4096
#: Entries of the golden sample of a bundle whose network takes them.
GOLDEN_PATIENT = Patient(age=50.0, sex="female", site="posterior torso")


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedEntry:
    """The columns of one entry.

    Attributes:
        entry: `age`, `sex` or `site`.
        missing: What stands in the columns where the entry is absent, one number each.
        mean: Subtracted from the age.
        std: Divides the age.
        words: Rows of the columns by word, for `sex` and `site`.
        indicator: Whether the one column says that the entry is missing.
    """

    entry: str
    missing: tuple[float, ...]
    mean: float = 0.0
    std: float = 1.0
    words: Mapping[str, tuple[float, ...]] | None = None
    indicator: bool = False

    def row(self, patient: Patient) -> tuple[float, ...] | None:
        """Numbers of the columns; None where the entry is absent, or is a site that no column is for."""
        value = getattr(patient, self.entry)
        if value is None:
            return None
        if self.indicator:
            return (0.0,)
        if self.words is None:
            return ((float(value) - self.mean) / self.std,)
        nearest = reversed(wider_sites(value)) if self.entry == "site" else (value,)
        return next((self.words[word] for word in nearest if word in self.words), None)


@dataclass(frozen=True, slots=True)
class MetadataEncoding:
    """What the second input of a network means.

    Attributes:
        entries: Entries in the order of their columns.
        declared: The declaration, as `from_dict` takes it.
    """

    entries: tuple[EncodedEntry, ...]
    declared: tuple[Mapping[str, Any], ...]

    @property
    def width(self) -> int:
        """Numbers that the network takes for one image."""
        return sum(len(entry.missing) for entry in self.entries)

    @property
    def fingerprint(self) -> str:
        """Short hash of the declaration; thresholds and tables are bound to it."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def encode(self, patients: Sequence[Patient | None]) -> Float32:
        """The vectors of images, shape (N, `width`), float32; None stands for an image without any entry."""
        known: dict[Patient, int] = {}
        at = [known.setdefault(patient or Patient(), len(known)) for patient in patients]
        rows = [[x for e in self.entries for x in e.row(patient) or e.missing] for patient in known]
        return np.asarray(rows, np.float32).reshape(-1, self.width)[np.asarray(at, np.intp)]

    def without_column(self, patients: Sequence[Patient | None]) -> Counter[str]:
        """Words of the vocabulary that no column is for, and that therefore count as missing, with their counts."""
        with_words = {e.entry: e for e in self.entries if e.words is not None}
        counts = Counter(patient for patient in patients if patient is not None)
        found: Counter[str] = Counter()
        for patient, count in counts.items():
            for name, entry in with_words.items():
                word = getattr(patient, name)
                if word is not None and entry.row(patient) is None:
                    found[word] += count
        return found

    def check(self, width: int | None, name: str) -> None:
        """Refuse an encoding of another width than the input of a file.

        Args:
            width: Numbers that the file takes for one image; None where it does not say.
            name: Name of the model, for messages.

        Raises:
            ModelError: The widths differ.
        """
        if width not in {None, self.width}:
            columns = ", ".join(f"{entry.entry} {len(entry.missing)}" for entry in self.entries)
            raise ModelError(
                f"{name}: its second input takes {width} numbers; `metadata_encoding` declares {self.width} "
                f"({columns}).",
                parameter="metadata_encoding",
            )

    def to_dict(self) -> dict[str, Any]:
        """JSON form: the declaration."""
        return {"entries": [dict(entry) for entry in self.declared]}

    @classmethod
    def from_dict(cls, data: Any) -> MetadataEncoding:
        """Read a declaration.

        Raises:
            ModelError: A field is missing, unknown or wrong; the entry is named.
        """
        listed = data.get("entries") if isinstance(data, Mapping) and set(data) == {"entries"} else None
        if not isinstance(listed, (list, tuple)) or not listed:
            raise _wrong('expected an object {"entries": [...]}, one object for each entry in order')
        entries = tuple(_entry(item, number) for number, item in enumerate(listed, start=1))
        result = cls(entries, tuple(dict(item) for item in listed))
        if result.width > _MAX_WIDTH:
            raise _wrong(f"{result.width} columns are more than {_MAX_WIDTH}")
        return result


def read_encoding(given: MetadataEncoding | Mapping[str, Any] | str | Path) -> MetadataEncoding:
    """A `MetadataEncoding` from itself, its declaration, or the path of a JSON file with it.

    Raises:
        InvalidArgumentError: The file cannot be read, or declares no encoding.
    """
    if isinstance(given, MetadataEncoding):
        return given
    try:
        return MetadataEncoding.from_dict(
            given if isinstance(given, Mapping) else read_json(Path(given).expanduser())
        )
    except ModelError as error:
        raise InvalidArgumentError(str(error), parameter="metadata_encoding") from None


def need_picture_alone(encoding: MetadataEncoding | None, name: str, what: str) -> None:
    """Refuse a model that takes metadata where only the picture can be given.

    Args:
        encoding: Encoding of the model, or None.
        name: Name of the model.
        what: What is for models of the picture alone, such as "int8".

    Raises:
        ModelError: The model takes metadata itself.
    """
    if encoding is not None:
        raise ModelError(
            f"{name} takes age, sex and site itself; {what} is only for models of the picture alone."
        )


def _wrong(what: str) -> ModelError:
    return ModelError(f"`metadata_encoding`: {what}.", parameter="metadata_encoding")


def _entry(item: Any, number: int) -> EncodedEntry:
    entry = item.get("entry") if isinstance(item, Mapping) else None
    if entry not in ENTRIES:
        raise _wrong(
            f"entry {number} names {str(entry)[:40]!r}; each is an object with `entry`: age, sex or site"
        )
    where = f"entry {number} ({entry})"
    if "indicator" in item:
        if set(item) != {"entry", "indicator"} or item["indicator"] is not True:
            raise _wrong(f"{where}: an indicator is {{'entry': ..., 'indicator': true}} and nothing else")
        return EncodedEntry(entry=entry, missing=(1.0,), indicator=True)
    if "missing" not in item:
        raise _wrong(f"{where}: `missing`, what stands for an absent entry, is not declared")
    if entry == "age":
        return _age(item, where)
    forms = {"words", "values"} & set(item)
    if len(forms) != 1 or set(item) - {"entry", "missing", *forms}:
        raise _wrong(
            f"{where}: expected `missing` and one of `words` (a column each) and `values` (one column)"
        )
    vocabulary = _SEXES if entry == "sex" else tuple(SITES)
    words: dict[str, tuple[float, ...]] = {}
    if "values" in item:
        given = item["values"]
        words = {w: (_number(v, where),) for w, v in given.items()} if isinstance(given, Mapping) else {}
        width = 1
    else:
        columns = item["words"] if isinstance(item["words"], (list, tuple)) else []
        width = len(columns)
        for place, column in enumerate(columns):
            for word in [] if column is None else [column] if isinstance(column, str) else list(column):
                if word in words:
                    raise _wrong(f"{where}: {word!r} has two columns")
                words[word] = tuple(float(i == place) for i in range(width))
    unknown = [str(word) for word in words if word not in vocabulary]
    if unknown or not words:
        raise _wrong(f"{where}: {unknown or 'no word'}; the vocabulary is {', '.join(vocabulary)}")
    return EncodedEntry(entry=entry, missing=_missing(item["missing"], width, where), words=words)


def _age(item: Mapping[str, Any], where: str) -> EncodedEntry:
    scaled = set(item) - {"entry", "missing"}
    if scaled not in ({"divide"}, {"mean", "std"}):
        raise _wrong(f"{where}: expected `missing` and either `divide` or `mean` and `std`")
    mean, std = _number(item.get("mean", 0), where), _number(item.get("std", item.get("divide")), where)
    if std <= 0:
        raise _wrong(f"{where}: the age is divided by a positive number; received {std:g}")
    return EncodedEntry(entry="age", missing=_missing(item["missing"], 1, where), mean=mean, std=std)


def _missing(given: Any, width: int, where: str) -> tuple[float, ...]:
    numbers = list(given) if isinstance(given, (list, tuple)) else [given] * width
    if len(numbers) != width:
        raise _wrong(
            f"{where}: `missing` has {len(numbers)} numbers for {width} columns; state one, or one each"
        )
    return tuple(_number(x, where) for x in numbers)


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _wrong(f"{where}: {str(value)[:40]!r} is no finite number")
    return float(value)
