"""Tables of patient metadata: age, sex and site of each image, under the names that public data sets use.

Only these three entries are read. Columns such as `dx_type`, `lesion_id`, dates and file names carry the diagnosis or
how it was made, and cannot enter: nothing else of a table is kept.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from skinclf._utils.columns import find, read_columns
from skinclf._utils.missing import is_unnamed
from skinclf.errors import InvalidArgumentError
from skinclf.tables.names import listed, pair_tables
from skinclf.tables.reference import LabelOptions, id_column_of

#: Column names in use by entry, in lower case: HAM10000, ISIC archive, BCN20000, PAD-UFES-20.
COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "age": ("age", "age_approx", "age_years", "patient_age"),
        "sex": ("sex", "gender", "patient_sex"),
        "site": (
            "site",
            "localization",
            "localisation",
            "anatom_site_general",
            "anatom_site_general_challenge",
            "anatomical_site",
            "anatom_site",
            "anatomic_site",
            "region",
            "location",
        ),
    }
)
OLDEST = 120
SEXES: Mapping[str, str] = MappingProxyType(
    {"female": "female", "f": "female", "woman": "female", "male": "male", "m": "male", "man": "male"}
)
#: The vocabulary of sites: each with the wider site that it is part of, or None.
SITES: Mapping[str, str | None] = MappingProxyType(
    {
        "head/neck": None,
        "face": "head/neck",
        "scalp": "head/neck",
        "ear": "head/neck",
        "neck": "head/neck",
        "torso": None,
        "anterior torso": "torso",
        "chest": "anterior torso",
        "abdomen": "anterior torso",
        "posterior torso": "torso",
        "upper extremity": None,
        "hand": "upper extremity",
        "lower extremity": None,
        "foot": "lower extremity",
        "palms/soles": None,
        "oral/genital": None,
    }
)
_OTHER_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "head and neck": "head/neck",
        "head": "head/neck",
        "forehead": "face",
        "nose": "face",
        "lip": "face",
        "cheek": "face",
        "trunk": "torso",
        "lateral torso": "torso",
        "back": "posterior torso",
        "arm": "upper extremity",
        "forearm": "upper extremity",
        "leg": "lower extremity",
        "thigh": "lower extremity",
        "palm": "palms/soles",
        "sole": "palms/soles",
        "acral": "palms/soles",
        "genital": "oral/genital",
        "oral": "oral/genital",
    }
)


@dataclass(frozen=True, slots=True)
class Patient:
    """What is known beside one image; None for what is not.

    Attributes:
        age: Age in years, 0 to 120.
        sex: `female` or `male`.
        site: Key of `SITES`.
    """

    age: float | None = None
    sex: str | None = None
    site: str | None = None

    @property
    def blank(self) -> bool:
        """Whether nothing is known."""
        return self.age is None and self.sex is None and self.site is None

    @classmethod
    def of(cls, entries: Patient | Mapping[str, Any]) -> Patient:
        """The entries of one image as a user states them, such as `{"age": 45, "sex": "female", "site": "back"}`.

        Keys are those of `COLUMNS`, in any case. Blank text, None and `unknown` are absent.

        Raises:
            InvalidArgumentError: Another key, two keys of one entry, an impossible age, or a word in no vocabulary.
        """
        if isinstance(entries, Patient):
            return entries
        if not isinstance(entries, Mapping):
            raise InvalidArgumentError(
                f"`metadata` of one image is a mapping of age, sex and site; received {type(entries).__name__}.",
                parameter="metadata",
            )
        entry_of = {name: entry for entry, names in COLUMNS.items() for name in names}
        cells: dict[str, str] = {}
        for key, value in entries.items():
            entry = entry_of.get(str(key).lower())
            if entry is None or entry in cells:
                raise InvalidArgumentError(
                    f"`metadata`: {key!r} is not expected; the entries are age, sex and site, once each.",
                    parameter="metadata",
                )
            cells[entry] = "" if value is None else str(value)
        sex, site = _sex(cells.get("sex", "")), _site(cells.get("site", ""))
        for name, found, known in (("sex", sex, ("female", "male")), ("site", site, tuple(SITES))):
            if found is None and not is_unnamed(cells.get(name, "")):
                raise InvalidArgumentError(
                    f"`metadata`: the {name} {cells[name]!r} is not in the vocabulary: {', '.join(known)}.",
                    parameter="metadata",
                )
        return cls(_age(cells.get("age", ""), "`metadata`"), sex, site)


@dataclass(frozen=True, slots=True)
class PatientTable:
    """Patient metadata by image.

    Attributes:
        ids: Image names as the source gives them.
        patients: Entries of each image.
        columns: Column of the source by entry: those of age, sex and site that it has.
        source: Name of the file, for messages and manifests; `table` for one from memory.
        sha256: Hash of the entries that were read.
        notices: Sentences on words and columns that count as absent.
    """

    ids: tuple[str, ...]
    patients: tuple[Patient, ...]
    columns: Mapping[str, str]
    source: str
    sha256: str
    notices: tuple[str, ...] = ()

    def of_images(self, names: Sequence[str]) -> tuple[Patient | None, ...]:
        """Entries of each image, joined by the longest common end of the paths; None where the table has no row.

        Args:
            names: Image names, each once.

        Raises:
            InvalidArgumentError: A name could mean several rows, an image occurs twice, or no image has a row.
        """
        pairing = pair_tables(names, self.ids, "images", "metadata")
        if names and all(j is None for j in pairing.partners):
            raise InvalidArgumentError(
                f"{self.source}: none of the {len(names)} images has a row of metadata: {listed(names, 3)}. "
                f"Names in the table: {listed(self.ids, 3)}.",
                parameter="metadata",
            )
        return tuple(None if j is None else self.patients[j] for j in pairing.partners)


def read_patients(path: Path | str, *, id_column: str | None = None) -> PatientTable:
    """Read a table of patient metadata: the image, and at least one of age, sex and site.

    Args:
        path: CSV, JSON lines or Parquet, as for predictions and labels.
        id_column: Column that names the image; None finds it by the names in use.

    Raises:
        InvalidArgumentError: No such table, no column of age, sex or site, or an impossible age.
    """
    source = Path(path)
    columns = read_columns(source)
    ids = tuple(columns[id_column_of(columns, source, LabelOptions(id_column=id_column))])
    found = {entry: name for entry, names in COLUMNS.items() if (name := find(columns, names)) is not None}
    if not found:
        wanted = "; ".join(f"{entry}: {', '.join(names)}" for entry, names in COLUMNS.items())
        raise InvalidArgumentError(
            f"{source}: no column of age, sex or site; found {', '.join(columns)}. Names in use: {wanted}.",
            parameter="metadata",
        )
    blank = [""] * len(ids)
    ages, sexes, sites = (columns[found[entry]] if entry in found else blank for entry in COLUMNS)
    read: dict[tuple[str, str, str], Patient] = {}  # few words stand in many rows
    for name, *cells in zip(ids, ages, sexes, sites, strict=True):
        age, sex, site = key = (cells[0], cells[1], cells[2])
        if key not in read:
            read[key] = Patient(_age(age, f"{source}: {name}"), _sex(sex), _site(site))
    patients = tuple(read[key] for key in zip(ages, sexes, sites, strict=True))
    notices = [
        _unknown(source.name, found[entry], cells, known)
        for entry, cells, known in (
            ("sex", sexes, [patient.sex for patient in patients]),
            ("site", sites, [patient.site for patient in patients]),
        )
        if entry in found
    ]
    lacking = [entry for entry in COLUMNS if entry not in found]
    if lacking:
        notices.append(f"{source.name}: no column of {' or '.join(lacking)}, which count as absent.")
    rows = "\n".join(f"{name}\t{p.age}\t{p.sex}\t{p.site}" for name, p in zip(ids, patients, strict=True))
    return PatientTable(
        ids,
        patients,
        found,
        source.name,
        hashlib.sha256(rows.encode("utf-8", "surrogatepass")).hexdigest(),
        tuple(notice for notice in notices if notice),
    )


def wider_sites(site: str) -> tuple[str, ...]:
    """A site of the vocabulary and those that it is part of, from the widest to itself."""
    wider = SITES[site]
    return (*(() if wider is None else wider_sites(wider)), site)


def _age(cell: str, where: str) -> float | None:
    if is_unnamed(cell):
        return None
    try:
        age = float(cell)
    except ValueError:
        age = math.nan
    if not 0 <= age <= OLDEST:
        raise InvalidArgumentError(
            f"{where}: the age {cell!r} is not a number of years from 0 to {OLDEST}, with a decimal point; leave the "
            "cell blank where the age is not known.",
            parameter="metadata",
        )
    return age


def _sex(cell: str) -> str | None:
    return SEXES.get(cell.strip().lower())


def _site(cell: str) -> str | None:
    word = " ".join(cell.lower().replace("_", " ").split()).replace(" / ", "/")
    for form in (word, word.removesuffix("s")):
        if form in SITES:
            return form
        if form in _OTHER_WORDS:
            return _OTHER_WORDS[form]
    return None


def _unknown(source: str, column: str, cells: Sequence[str], known: Sequence[str | None]) -> str:
    words = Counter(
        cell.strip()
        for cell, value in zip(cells, known, strict=True)
        if value is None and not is_unnamed(cell)
    )
    if not words:
        return ""
    counted = [f"{word!r} ({n})" for word, n in words.most_common()]
    return f"{source}: column {column}: words that are in no vocabulary count as absent: {listed(counted)}."
