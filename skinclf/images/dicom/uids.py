"""Identifiers of DICOM objects, for tables that are joined with an archive; only where a caller asks for them."""

from __future__ import annotations

import io
import re
from pathlib import Path

from skinclf.errors import ImageError
from skinclf.images.decode import ImageSource
from skinclf.images.dicom.files import open_dicom, quiet
from skinclf.images.dicom.frame_names import split_frame
from skinclf.images.formats import has_dicom, is_dicom

#: Columns of a table, and the attributes that they are taken from.
UIDS = {
    "sop_instance_uid": "SOPInstanceUID",
    "series_instance_uid": "SeriesInstanceUID",
    "study_instance_uid": "StudyInstanceUID",
}
#: Longest UID (PS3.5, 9).
MAX_LENGTH = 64
_UID = re.compile(r"[0-9.]{1,64}")


def read_uids(source: ImageSource) -> tuple[str, ...]:
    """Values of `UIDS` in order; empty for other files, and where an attribute holds no UID.

    Args:
        source: Path, also of a frame, or encoded bytes; other sources have none.
    """
    try:
        if isinstance(source, (bytes, bytearray, memoryview)):
            return _read(io.BytesIO(bytes(source)), "bytes")
        if isinstance(source, (str, Path)):
            path = Path(source)
            path = path if path.exists() else split_frame(path)[0]
            with path.open("rb") as file:
                return _read(file, str(path))
    except (OSError, ImageError):
        pass
    return ("",) * len(UIDS)


def _read(file: io.BytesIO | io.BufferedReader, name: str) -> tuple[str, ...]:
    if not has_dicom() or not is_dicom(file, name):
        return ("",) * len(UIDS)
    header = open_dicom(file, name).header
    with quiet():
        values = [str(header.get(attribute) or "") for attribute in UIDS.values()]
    # An attribute may hold any text; only what has the form of a UID is one.
    return tuple(value if _UID.fullmatch(value) else "" for value in values)
