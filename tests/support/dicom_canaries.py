"""DICOM objects in which every attribute that a standard dictionary knows holds a canary."""

from __future__ import annotations

import io
import struct
from functools import cache
from typing import Any

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.datadict import DicomDictionary
from pydicom.dataset import FileDataset
from pydicom.tag import Tag

#: Texts that stand in every value of that kind.
WORD, NUMBER, UID_ROOT = "KANARIE", "7316", "1.2.3.731673167316"
DATE = "19370316"
#: What must not be found anywhere.
CANARIES = (WORD, WORD.lower(), WORD.title(), NUMBER, UID_ROOT, DATE, "1937-03-16")
_TEXTS = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
#: Groups that say how the file and its pixels are encoded, and what is left to the test.
_KEPT_GROUPS = {0x0000, 0x0002, 0x0004, 0x0028, 0x7FE0, 0xFFFA, 0xFFFE}
_KEPT = {"SOPClassUID", "Modality", "SpecificCharacterSet"}


def _value(vr: str, number: int) -> Any:
    if vr in _TEXTS:
        return f"{WORD}^{number}" if vr == "PN" else f"{WORD}{number}"
    numbers = {"DS": f"{NUMBER}.{number}", "IS": f"{NUMBER}{number}", "FL": 7316.25, "FD": 7316.5}
    numbers |= dict.fromkeys(("SL", "UL", "SV", "UV"), int(NUMBER) * 1000 + number % 1000)
    texts = {"DA": DATE, "TM": "071316", "DT": f"{DATE}071316", "AS": "073Y", "UI": f"{UID_ROOT}.{number}"}
    binary = dict.fromkeys(("OB", "UN"), (WORD * 2).encode()[:14])
    return {**numbers, **texts, **binary}.get(vr)


def with_canaries(dataset: FileDataset) -> bytes:
    """The file of an object with a canary in every attribute of the dictionary that is not about the encoding.

    They stand before the object's own elements, out of order, because pydicom takes seconds to sort and write them.
    """
    for tag in [tag for tag in dataset.keys() if tag in _tags()]:  # noqa: SIM118 - its elements
        del dataset[tag]
    dataset.file_meta.MediaStorageSOPInstanceUID = f"{UID_ROOT}.1"
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    data = buffer.getvalue()
    (length,) = struct.unpack_from("<I", data, 140)
    return data[: 144 + length] + _canaries() + data[144 + length :]


def number_of_canaries() -> int:
    """Number of attributes that hold one."""
    return len(_tags())


@cache
def _tags() -> frozenset[int]:
    return frozenset(int(tag) for tag in dcmread(io.BytesIO(_canaries()), force=True).keys())  # noqa: SIM118


@cache
def _canaries() -> bytes:
    dataset, filled = Dataset(), 0
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if (tag >> 16) in _KEPT_GROUPS or keyword in _KEPT or not keyword:
            continue
        kind = vr.partition(" or ")[0]
        if kind == "SQ":
            item = Dataset()
            item.PatientName, item.TextValue, item.UID = f"{WORD}^Nested", f"{WORD} nested", f"{UID_ROOT}.9"
            dataset.add_new(Tag(tag), "SQ", [item])
        elif (value := _value(kind, filled)) is not None:
            dataset.add_new(Tag(tag), kind, value)
        else:
            continue
        filled += 1
    private = dataset.private_block(0x0099, f"{WORD} private", create=True)
    private.add_new(1, "LO", f"{WORD} secret")
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True)
    return buffer.getvalue()
