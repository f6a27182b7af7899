"""DICOM objects made of pictures, and the JPEG streams to put into them."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid

DERMOSCOPY = "1.2.840.10008.5.1.4.1.1.77.1.7"
JPEG_BASELINE = str(JPEGBaseline8Bit)
NATIVE = str(ExplicitVRLittleEndian)


def dicom_dataset(
    pixels: bytes | list[bytes],
    *,
    rows: int,
    columns: int,
    syntax: str = NATIVE,
    colours: str = "RGB",
    sop_class: str = DERMOSCOPY,
    modality: str = "DMS",
    samples: int = 3,
    bits: int = 8,
    stored: int | None = None,
    frames: int = 1,
    **values: Any,
) -> FileDataset:
    """A dermoscopic image object; a list of pixels is one encoded stream for each frame."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = syntax
    made = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID = generate_uid(), generate_uid()
    made.Modality = modality
    made.PatientID, made.PatientName, made.PatientBirthDate, made.PatientSex = "p1", "A^B", "19600102", "F"
    made.StudyDate, made.StudyTime, made.StudyID, made.AccessionNumber = "20260101", "120000", "s1", "a1"
    made.ReferringPhysicianName, made.SeriesNumber, made.InstanceNumber = "", 1, 1
    made.Rows, made.Columns, made.SamplesPerPixel = rows, columns, samples
    made.PhotometricInterpretation = colours
    made.BitsAllocated, made.BitsStored = bits, stored or bits
    made.HighBit, made.PixelRepresentation = made.BitsStored - 1, 0
    if samples > 1:
        made.PlanarConfiguration = 0
    if frames > 1:
        made.NumberOfFrames = frames
    made.PixelData = encapsulate(pixels) if isinstance(pixels, list) else pixels
    made["PixelData"].VR = "OB" if isinstance(pixels, list) or bits == 8 else "OW"
    for name, value in values.items():
        setattr(made, name, value)
    return made


def of_array(array: Any, **options: Any) -> FileDataset:
    """An object that holds an array (H, W, 3) without compression."""
    return dicom_dataset(
        np.ascontiguousarray(array).tobytes(), rows=array.shape[0], columns=array.shape[1], **options
    )


def of_jpeg(
    *streams: bytes, syntax: str = JPEG_BASELINE, colours: str = "YBR_FULL_422", **options: Any
) -> FileDataset:
    """An object that holds streams, one a frame, byte by byte as they are."""
    width, height = Image.open(io.BytesIO(streams[0])).size
    return dicom_dataset(
        list(streams),
        rows=height,
        columns=width,
        syntax=syntax,
        colours=colours,
        frames=len(streams),
        **options,
    )


def encoded(dataset: FileDataset) -> bytes:
    """The bytes of the file."""
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def without_markers(stream: bytes) -> bytes:
    """A JPEG without JFIF and Adobe markers."""
    return re.sub(rb"\xff\xe0..JFIF.{10}|\xff\xee..Adobe.{7}", b"", stream, flags=re.DOTALL)


def with_ids(stream: bytes, ids: tuple[int, int, int]) -> bytes:
    """A JPEG whose components have other identifiers."""
    at = stream.index(b"\xff\xc0") + 10
    scan = stream.index(b"\xff\xda") + 5
    data = bytearray(stream)
    for i, new in enumerate(ids):
        data[at + 3 * i] = new
        data[scan + 2 * i] = new
    return bytes(data)
