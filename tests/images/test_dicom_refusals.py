"""DICOM files that are refused, frames by name, discovery, and that pydicom's words stay inside."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skinclf.errors import ImageError
from skinclf.images import decode, formats
from skinclf.images.decode import load_image
from skinclf.images.dicom import files
from skinclf.images.discovery import Inputs, scan_directory
from skinclf.images.synthetic import synthetic_lesion

pydicom = pytest.importorskip("pydicom")

from support.dicom_files import (
    JPEG_BASELINE,
    dicom_dataset,
    encoded,
    of_array,
    of_jpeg,
)
from support.pictures import encode

ARRAY = synthetic_lesion(3, width=64, height=48)
JPEG = encode(ARRAY, quality=92)
JPEG_LS, HTJ2K, LOSSLESS = (
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.70",
)
US = "1.2.840.10008.5.1.4.1.1.6.1"


def code(source: Any) -> str:
    with pytest.raises(ImageError) as error:
        load_image(source)
    return error.value.code


def full_jpeg(array: Any, **options: Any) -> bytes:
    return encode(array, quality=100, subsampling=0, **options)


@pytest.mark.parametrize("monochrome", ["MONOCHROME1", "MONOCHROME2"])
def test_grey_is_refused(monochrome: str):
    native = dicom_dataset(bytes(48 * 64), rows=48, columns=64, samples=1, colours=monochrome)
    assert code(encoded(native)) == "not_dermoscopy"
    grey = encode(ARRAY[..., 0])
    assert code(encoded(of_jpeg(grey, samples=1, colours=monochrome))) == "not_dermoscopy"


@pytest.mark.parametrize(
    ("sop_class", "modality", "read"),
    [
        ("1.2.840.10008.5.1.4.1.1.77.1.7", "DMS", True),
        ("1.2.840.10008.5.1.4.1.1.77.1.4", "XC", True),
        ("1.2.840.10008.5.1.4.1.1.7", "OT", True),
        ("1.2.840.10008.5.1.4.1.1.7.4", "", True),
        ("1.2.840.10008.5.1.4.1.1.7", "US", False),
        ("1.2.840.10008.5.1.4.1.1.77.1.1", "ES", False),
        (US, "US", False),
    ],
)
def test_the_kind_of_object_decides(sop_class: str, modality: str, read: bool):
    data = encoded(of_array(ARRAY, sop_class=sop_class, modality=modality))
    if read:
        assert load_image(data).shape == ARRAY.shape
    else:
        assert code(data) == "not_dermoscopy"


def test_frames_are_named(tmp_path: Path):
    others = [full_jpeg(synthetic_lesion(n, width=64, height=48)) for n in range(3)]
    (tmp_path / "film.dcm").write_bytes(encoded(of_jpeg(*others)))
    (tmp_path / "one.dcm").write_bytes(encoded(of_jpeg(JPEG)))
    film = str(tmp_path / "film.dcm")
    assert code(film) == "multi_frame"
    assert code(f"{film}#0") == code(f"{film}#4") == "missing"
    for number, stream in enumerate(others, 1):
        assert np.array_equal(load_image(f"{film}#{number}"), load_image(stream))
    assert list(Inputs((tmp_path,))) == [film, str(tmp_path / "one.dcm")]
    assert list(Inputs((tmp_path,), frames="first")) == [f"{film}#1", str(tmp_path / "one.dcm")]
    expected = [*(f"{film}#{n}" for n in (1, 2, 3)), str(tmp_path / "one.dcm")]
    assert list(Inputs((tmp_path,), frames="all")) == expected
    assert Inputs((tmp_path,), frames="all").count() is None
    assert Inputs((tmp_path,), frames="first").count() == 2


def test_frames_of_other_files_are_missing(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(JPEG)
    assert code(f"{tmp_path / 'a.jpg'}#1") == "missing"
    (tmp_path / "a.jpg#1").write_bytes(JPEG)  # a name of its own
    assert load_image(f"{tmp_path / 'a.jpg'}#1").shape == ARRAY.shape


def test_frames_that_are_not_there_are_not_named(tmp_path: Path):
    made = of_array(ARRAY)
    made.NumberOfFrames = 2_000_000_000
    (tmp_path / "a.dcm").write_bytes(encoded(made))
    assert list(Inputs((tmp_path,), frames="all")) == [str(tmp_path / "a.dcm")]
    assert code(tmp_path / "a.dcm") == "truncated"


@pytest.mark.parametrize(
    ("syntax", "package"),
    [(LOSSLESS, "python-gdcm"), (JPEG_LS, "pyjpegls"), (HTJ2K, "pylibjpeg-openjpeg")],
)
def test_a_missing_codec_is_named(syntax: str, package: str, monkeypatch: pytest.MonkeyPatch):
    from pydicom.pixels.common import CoderBase

    lossless = JPEG.replace(b"\xff\xc0", b"\xff\xc3")
    made = dicom_dataset([lossless], rows=48, columns=64, syntax=syntax)
    monkeypatch.setattr(CoderBase, "is_available", property(lambda _: False))
    with pytest.raises(ImageError, match=f"install the package {package}") as error:
        load_image(encoded(made))
    assert error.value.code == "codec_missing"


def test_size_is_checked_before_anything_is_decoded():
    made = of_array(ARRAY, sop_class="1.2.840.10008.5.1.4.1.1.7", modality="OT")
    made.Rows = made.Columns = 65535
    assert code(encoded(made)) == "too_large"
    made.Rows = made.Columns = 4096
    assert code(encoded(made)) == "truncated"
    made.Rows = 0
    assert code(encoded(made)) == "zero_size"
    stream = encode(ARRAY)
    at = stream.index(b"\xff\xc0") + 5
    huge = stream[:at] + struct.pack(">HH", 60000, 60000) + stream[at + 4 :]
    assert code(encoded(dicom_dataset([huge], rows=48, columns=64, syntax=JPEG_BASELINE))) == "too_large"


def deflated(dataset: Any, *, pad: int = 0) -> bytes:
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    plain = encoded(dataset) + bytes(pad)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    head = io.BytesIO()
    head.write(bytes(128) + b"DICM")
    pydicom.filewriter.write_file_meta_info(head, dataset.file_meta, enforce_standard=True)
    (length,) = struct.unpack_from("<I", plain, 140)
    pack = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return head.getvalue() + pack.compress(plain[144 + length :]) + pack.flush()


def test_deflated_files_are_read_and_bounded(monkeypatch: pytest.MonkeyPatch):
    data = deflated(of_array(ARRAY))
    assert np.array_equal(load_image(data), ARRAY)
    assert code(data[:-200]) == "truncated"
    monkeypatch.setattr(files, "MAX_INFLATED", 100_000)
    assert np.array_equal(load_image(data), ARRAY)
    assert code(deflated(of_array(ARRAY), pad=100_000)) == "too_large"


def test_every_truncation_is_an_image_error():
    for whole in (encoded(of_array(ARRAY)), encoded(of_jpeg(JPEG))):
        for end in (133, 140, 200, 300, 500, 800, 1000, len(whole) - 1000):
            with pytest.raises(ImageError):
                load_image(whole[:end])


def test_noise_in_a_header_is_an_image_error_or_an_image():
    whole, rng = bytearray(encoded(of_jpeg(JPEG))), np.random.default_rng(5)
    for _ in range(150):
        data = bytearray(whole)
        for at in rng.integers(132, 900, 6):
            data[at] = rng.integers(256)
        with suppress(ImageError):
            load_image(bytes(data))


def test_found_by_content_and_by_ending(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    data = encoded(of_array(ARRAY))
    for name in ("IM0001", "1.2.840.113619.2", "a.dcm", "b.DICOM", "DICOMDIR", "c.bin"):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "README").write_text("no image")
    found = [Path(p).name for p in scan_directory(tmp_path)]
    assert sorted(found) == ["1.2.840.113619.2", "IM0001", "a.dcm", "b.DICOM"]
    assert "2 without an extension" in caplog.text
    assert np.array_equal(load_image(tmp_path / "c.bin"), ARRAY)


def test_no_preamble_only_under_the_ending(tmp_path: Path):
    bare = encoded(of_array(ARRAY))[132:]
    (tmp_path / "a.dcm").write_bytes(bare)
    (tmp_path / "a").write_bytes(bare)
    (tmp_path / "text.dcm").write_text("no image at all" * 20)
    (tmp_path / "jpeg.dcm").write_bytes(JPEG)
    assert np.array_equal(load_image(tmp_path / "a.dcm"), ARRAY)
    assert code(tmp_path / "a") == code(tmp_path / "text.dcm") == "not_an_image"
    assert np.array_equal(load_image(tmp_path / "jpeg.dcm"), load_image(JPEG))


def test_without_the_extra_one_sentence_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "a.dcm").write_bytes(encoded(of_array(ARRAY)))
    (tmp_path / "a.jpg").write_bytes(JPEG)
    for module in (formats, decode):
        monkeypatch.setattr(module, "has_dicom", lambda: False)
    with pytest.raises(ImageError, match=r"skinclf\[dicom\]") as error:
        load_image(tmp_path / "a.dcm")
    assert error.value.code == "unsupported"
    assert [Path(p).name for p in scan_directory(tmp_path)] == ["a.jpg"]
    assert "1 of them is DICOM: install the extra `dicom`" in caplog.text


def test_ordinary_images_do_not_import_pydicom():
    program = (
        "import sys, io; from PIL import Image; from skinclf.images.decode import load_image; b = io.BytesIO();"
        "Image.new('RGB', (9, 9)).save(b, 'PNG'); load_image(b.getvalue());"
        "assert not {'pydicom', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_pydicom_says_nothing(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture):
    made = of_jpeg(JPEG, colours="RGB")  # pydicom warns of the JFIF marker
    made.PatientBirthDate = "19600102"
    data = encoded(made).replace(b"19600102", b"canary!!")  # an invalid date
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_image(data)
    assert not caught
    assert "canary" not in caplog.text + "".join(capfd.readouterr())
    assert JPEG_BASELINE not in caplog.text
