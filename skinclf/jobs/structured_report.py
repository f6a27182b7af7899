"""DICOM structured reports of predictions: TID 1500 with one TID 1501 group for the image; needs the extra `dicom`.

A report goes back into the study of its image, so it carries what files it there (`_FILED_BY`), and nothing else of
the image's header. Names of reports are their UIDs, which follow from the image, the model and the threshold: the same
prediction replaces its report. Reports are unverified and preliminary, and say that they are for research.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skinclf._utils.files import write_bytes, writing
from skinclf._utils.notice import NOTICE
from skinclf._version import __version__
from skinclf.errors import ImageError, MissingExtraError
from skinclf.images.dicom.files import open_dicom, quiet
from skinclf.images.dicom.frame_names import split_frame
from skinclf.images.formats import is_dicom
from skinclf.inference.prediction import Prediction

if TYPE_CHECKING:
    from skinclf.inference.predictor import Predictor

logger = logging.getLogger("skinclf")
#: Attributes of the image that a report repeats: its patient, its study, and a lesion that is followed.
_FILED_BY = (
    "SpecificCharacterSet", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "TrackingID", "TrackingUID",
)  # fmt: skip
#: Values that Patient's Sex may have; some archives hold others.
_SEXES = frozenset({"M", "F", "O"})
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
#: Names of classes and decisions: no public terminology has all of them.
SCHEME = "99SKINCLF"
_MANUFACTURER = "skinclf"
#: Longest meaning of a code.
_LONGEST = 64


class ReportWriter:
    """Writes a structured report for each prediction of a DICOM file.

    Attributes:
        written: Number of reports.
        left_out: Number of predictions of files that are no DICOM, or lack what a report is filed by.
    """

    def __init__(self, folder: Path, predictor: Predictor) -> None:
        """Prepare the folder.

        Args:
            folder: Folder of the reports; made when it is missing.
            predictor: Predictor whose predictions are reported.

        Raises:
            MissingExtraError: highdicom is not installed.
            OutputError: The folder cannot be made.
        """
        try:
            with quiet():
                import highdicom  # noqa: F401 - early, before anything is computed
        except ImportError:
            raise MissingExtraError("dicom", "A DICOM structured report") from None
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self.written, self.left_out = 0, 0
        self._folder, self._spec = folder, predictor.spec
        self._identity = json.dumps(
            {**predictor.scorer.fingerprint, "threshold": predictor.threshold, "version": __version__},
            sort_keys=True,
            default=str,
        )

    def write(self, predictions: Sequence[Prediction]) -> None:
        """Write the reports of predictions; failed ones have none.

        Raises:
            OutputError: A report cannot be written.
        """
        for prediction in predictions:
            if not prediction.ok:
                continue
            made = self._report(prediction)
            if made is None:
                self.left_out += 1
                continue
            uid, data = made
            write_bytes(self._folder / f"{uid}.dcm", data)
            self.written += 1

    def finish(self) -> None:
        """Log how many predictions have no report."""
        if self.left_out:
            logger.warning(
                "Predictions without a structured report: %d. Their files are no DICOM, or lack the UIDs of study, "
                "series and object.",
                self.left_out,
            )

    def _report(self, prediction: Prediction) -> tuple[str, bytes] | None:
        path, frame = Path(prediction.image), None
        try:
            if not path.exists():
                path, frame = split_frame(path)
            with path.open("rb") as file:
                header = open_dicom(file, prediction.image).header if is_dicom(file, str(path)) else None
        except (OSError, ImageError):
            return None
        with quiet():
            try:
                image = _filed_by(header)
                return None if image is None else self._document(prediction, image, frame)
            except Exception as error:  # its words may be values of the header
                logger.warning("%s: no structured report (%s).", prediction.image, type(error).__name__)
                return None

    def _document(self, prediction: Prediction, image: Any, frame: int | None) -> tuple[str, bytes]:
        from highdicom import sr
        from pydicom import dcmwrite
        from pydicom.sr.codedict import codes
        from pydicom.uid import generate_uid

        def uid(*parts: str) -> str:
            return str(generate_uid(entropy_srcs=[*parts, self._identity]))

        source = (str(image.SOPInstanceUID), str(frame))
        device = sr.DeviceObserverIdentifyingAttributes(
            uid=uid("device"),
            name=f"{_MANUFACTURER} {__version__}",
            manufacturer_name=_MANUFACTURER,
            model_name=self._spec.name,
        )
        content = sr.MeasurementReport(
            observation_context=sr.ObservationContext(
                observer_device_context=sr.ObserverContext(
                    observer_type=codes.DCM.Device, observer_identifying_attributes=device
                )
            ),
            procedure_reported=sr.CodedConcept("446078004", "SCT", "Dermoscopic photography"),
            imaging_measurements=[self._group(prediction, image, frame, uid("lesion", *source))],
            title=codes.DCM.ImagingMeasurementReport,
        )
        content[0].ContentSequence.append(
            sr.TextContentItem(
                name=codes.DCM.Comment, value=NOTICE, relationship_type=sr.RelationshipTypeValues.CONTAINS
            )
        )
        report = sr.ComprehensiveSR(
            evidence=[image],
            content=content[0],
            series_instance_uid=uid("series", image.StudyInstanceUID),
            series_number=9900,
            sop_instance_uid=uid("report", *source),
            instance_number=frame or 1,
            manufacturer=_MANUFACTURER,
            is_complete=True,
            is_final=False,
            is_verified=False,
            series_description="AI result, for research use only",
        )
        report.ManufacturerModelName, report.SoftwareVersions = self._spec.name[:_LONGEST], __version__
        buffer = io.BytesIO()
        dcmwrite(buffer, report, enforce_file_format=True)
        return str(report.SOPInstanceUID), buffer.getvalue()

    def _group(self, prediction: Prediction, image: Any, frame: int | None, lesion: str) -> Any:
        from highdicom import sr
        from pydicom.sr.codedict import codes

        def concept(code: str, meaning: str) -> Any:
            return sr.CodedConcept(code, SCHEME, meaning[:_LONGEST])

        def probability(code: str, meaning: str, value: float) -> Any:
            return sr.Measurement(name=concept(code, meaning), value=value, unit=codes.UCUM.NoUnits)

        labels, p = self._spec.labels, prediction.probability_malignant
        numbers = [
            probability(
                f"p_{label.code}", f"Probability of {label.name}", prediction.probabilities[label.code]
            )
            for label in labels
        ]
        answers = [("predicted_class", "Predicted class", prediction.label, prediction.name)]
        if p is not None:
            numbers.append(probability("malignancy", "Probability of malignancy", p))
            decided = ("flagged", "Flagged") if prediction.flagged else ("not_flagged", "Not flagged")
            answers.append(("decision", "Decision at the threshold", *decided))
        return sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(
                uid=str(image.get("TrackingUID") or lesion),
                identifier=str(image.get("TrackingID") or "lesion"),
            ),
            algorithm_id=sr.AlgorithmIdentification(
                name=self._spec.name,
                version=f"{_MANUFACTURER} {__version__}",
                parameters=[
                    f"weights_sha256={self._spec.weights_sha256}",
                    f"threshold={np.float32(prediction.threshold)!s}",
                ],
            ),
            measurements=numbers,
            qualitative_evaluations=[
                sr.QualitativeEvaluation(name=concept(name, title), value=concept(value, meaning))
                for name, title, value, meaning in answers
            ],
            source_images=[
                sr.SourceImageForMeasurementGroup(
                    str(image.SOPClassUID), str(image.SOPInstanceUID), None if frame is None else [frame]
                )
            ],
        )


def _filed_by(header: Any) -> Any:
    """The attributes of `_FILED_BY` of an image; None where there is no image, or it cannot be referred to."""
    from pydicom import Dataset

    if header is None or not all(header.get(name) for name in _NEEDED):
        return None
    image = Dataset()
    for name in _FILED_BY:
        if name in header:
            setattr(image, name, header.get(name))
    if image.get("PatientSex") not in _SEXES:
        image.PatientSex = ""
    return image
