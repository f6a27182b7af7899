"""Age, sex and site of a DICOM header in coarse words, for tables of training data; the rest stays in the file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skinclf.errors import ImageError
from skinclf.images.dicom.files import open_dicom, quiet
from skinclf.images.formats import has_dicom, is_dicom

#: Years of one step of the age, and the last step, which stands for all higher ages.
AGE_STEP, LAST_AGE = 5, 85
SEXES: Mapping[str, str] = {"M": "male", "F": "female"}
#: Words of HAM10000 for a site, by terms of Body Part Examined (PS3.16, annex L).
_BODY_PARTS: Mapping[str, str] = {
    **{word.upper(): word for word in ("abdomen", "back", "chest", "ear", "face", "foot", "hand", "neck")},
    **{word.upper(): word for word in ("scalp", "trunk")},
    **dict.fromkeys(("ARM", "UPPERARM", "FOREARM", "SHOULDER"), "upper extremity"),
    **dict.fromkeys(("LEG", "THIGH", "KNEE", "CALF"), "lower extremity"),
}
#: The same by SNOMED CT code of Anatomic Region Sequence.
_REGIONS: Mapping[str, str] = {
    "818981001": "abdomen", "77568009": "back", "816094009": "chest", "117590005": "ear", "28347008": "ear",
    "89545001": "face", "60819002": "face", "45206002": "face", "56459004": "foot", "85562004": "hand",
    "45048000": "neck", "41695006": "scalp", "22943007": "trunk", "53120007": "upper extremity",
    "40983000": "upper extremity", "14975008": "upper extremity", "16982005": "upper extremity",
    "61685007": "lower extremity", "68367000": "lower extremity", "30021000": "lower extremity",
    "72696002": "lower extremity",
}  # fmt: skip
_AGE = re.compile(r"([0-9]{3})([DWMY])")
_DATE = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})")
_UNITS = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}


def coarse_facts(path: Path) -> dict[str, str]:
    """Columns `age`, `sex` and `localization` of a DICOM file, empty where the header has nothing that is mapped.

    The age is in whole steps of five years, rounded down, 85 and above together; sex is `male` or `female`; the site is
    one of the words of HAM10000.

    Args:
        path: File; another than a DICOM file gives no columns.
    """
    if not has_dicom():
        return {}
    try:
        with path.open("rb") as file:
            if not is_dicom(file, str(path)):
                return {}
            header = open_dicom(file, str(path)).header
    except (OSError, ImageError):
        return {}
    with quiet():
        years = _years(header)
        age = "" if years is None else str(min(LAST_AGE, int(years) // AGE_STEP * AGE_STEP))
        return {"age": age, "sex": SEXES.get(_text(header, "PatientSex"), ""), "localization": _site(header)}


def _text(header: Any, name: str) -> str:
    """An attribute as text; empty where pydicom cannot make sense of it."""
    try:
        return str(header.get(name) or "").strip()
    except Exception:  # an attribute of any form; its error may hold the value
        return ""


def _years(header: Any) -> float | None:
    stated = _AGE.fullmatch(_text(header, "PatientAge"))
    if stated is not None:
        return int(stated[1]) / _UNITS[stated[2]]
    born, seen = (_DATE.fullmatch(_text(header, name)) for name in ("PatientBirthDate", "StudyDate"))
    if born is None or seen is None:
        return None
    years = int(seen[1]) - int(born[1]) - (seen.groups()[1:] < born.groups()[1:])
    return float(years) if 0 <= years < 130 else None


def _site(header: Any) -> str:
    try:
        regions = [str(item.get("CodeValue") or "") for item in header.get("AnatomicRegionSequence") or ()]
    except Exception:  # a sequence that is none
        regions = []
    known = [_REGIONS[code] for code in regions if code in _REGIONS]
    return known[0] if known else _BODY_PARTS.get(_text(header, "BodyPartExamined").upper(), "")
