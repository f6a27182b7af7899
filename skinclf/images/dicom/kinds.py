"""Which DICOM objects may hold dermoscopy: a rule on their SOP class and modality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skinclf.errors import ImageError

#: SOP classes that are read, by UID; dermoscopes write the first, older systems one of the others.
CLASSES: Mapping[str, str] = {
    "1.2.840.10008.5.1.4.1.1.77.1.7": "Dermoscopic Photography Image Storage",
    "1.2.840.10008.5.1.4.1.1.77.1.4": "VL Photographic Image Storage",
    "1.2.840.10008.5.1.4.1.1.77.1.4.1": "Video Photographic Image Storage",
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture Image Storage",
    "1.2.840.10008.5.1.4.1.1.7.4": "Multi-frame True Color Secondary Capture Image Storage",
}
#: Modalities that are read: dermoscopy, external camera photography, other; some secondary captures state none.
MODALITIES = frozenset({"DMS", "XC", "OT", ""})
#: Modalities that a message may name: terms of the standard, so that no other text of a header is repeated.
_TERMS = frozenset({
    "CR", "CT", "DX", "ECG", "ES", "GM", "IO", "IVOCT", "IVUS", "KO", "MG", "MR", "NM", "OCT", "OP", "OPT", "PR", "PT",
    "PX", "REG", "RF", "RTDOSE", "RTIMAGE", "RTPLAN", "RTSTRUCT", "SEG", "SM", "SR", "US", "XA",
})  # fmt: skip


def check_kind(header: Any, name: str) -> None:
    """Refuse an object that cannot hold dermoscopy.

    Args:
        header: `pydicom.Dataset`.
        name: Name of the file for messages.

    Raises:
        ImageError: The SOP class or the modality is another than those of `CLASSES` and `MODALITIES`.
    """
    uid, modality = str(header.get("SOPClassUID") or ""), str(header.get("Modality") or "").strip()
    if uid in CLASSES and modality in MODALITIES:
        return
    from pydicom.uid import UID_dictionary

    kind = UID_dictionary[uid][0] if uid in UID_dictionary else "an object of no standard class"
    term = f", modality {modality}" if modality in _TERMS else ""
    raise ImageError(
        "not_dermoscopy",
        f"{name}: {kind}{term}; expected dermoscopic or photographic images or secondary captures, of modality "
        "DMS, XC or OT.",
    )
