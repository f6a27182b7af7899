"""Age, sex and site of DICOM headers as columns of the records, where their table does not have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from skinclf._utils.columns import find
from skinclf.errors import MissingExtraError
from skinclf.images.dicom.coarse import coarse_facts
from skinclf.images.formats import has_dicom
from skinclf_training.data.reading.metadata import Record

#: Columns, with the names under which a table may have them already.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "age": ("age", "age_approx"),
    "sex": ("sex", "gender"),
    "localization": ("localization", "anatom_site_general", "site"),
}


def with_dicom_columns(records: Sequence[Record], paths: Mapping[str, Path]) -> list[Record]:
    """Records with the columns of `coarse_facts`; a column that the table has stays as it is.

    Args:
        records: Records with an image.
        paths: File of each image.

    Raises:
        MissingExtraError: pydicom is not installed.
    """
    if not has_dicom():
        raise MissingExtraError("dicom", "Reading headers of DICOM files")
    header = dict.fromkeys(name for record in records for name in record.columns)
    wanted = [name for name, others in _NAMES.items() if find(header, others) is None]
    result = []
    for record in records:
        facts = coarse_facts(paths[record.image])
        result.append(replace(record, columns={**record.columns, **{n: facts.get(n, "") for n in wanted}}))
    return result
