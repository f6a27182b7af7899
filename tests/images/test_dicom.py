"""DICOM files to pixels: encodings, colours and depths of every file that pydicom brings, and of made ones."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from skinclf.errors import ImageError
from skinclf.images.decode import load_image, load_picture
from skinclf.images.dicom import frames, streams
from skinclf.images.preprocess import Preprocess
from skinclf.images.synthetic import synthetic_lesion

pydicom = pytest.importorskip("pydicom")

from pydicom.data import get_testdata_files
from support.dicom_files import (
    dicom_dataset,
    encoded,
    of_array,
    of_jpeg,
    with_ids,
    without_markers,
)
from support.pictures import encode

ARRAY = synthetic_lesion(3, width=64, height=48)
JPEG = encode(ARRAY, quality=92)
JPEG2000 = "1.2.840.10008.1.2.4.90"


def code(source: Any) -> str:
    with pytest.raises(ImageError) as error:
        load_image(source)
    return error.value.code


def full_jpeg(array: Any, **options: Any) -> bytes:
    return encode(array, quality=100, subsampling=0, **options)


# Every file that pydicom brings: the word of its row; nothing where there are pixels.
WORDS = {
    "GDCMJ2K_TextGBR.dcm": "truncated",
    "SC_rgb_jpeg_gdcm.dcm": "codec_missing",
    "SC_rgb_rle_16bit_2frame.dcm": "multi_frame",
    "SC_rgb_rle_2frame.dcm": "multi_frame",
    "SC_rgb_rle_32bit_2frame.dcm": "multi_frame",
    "badVR.dcm": "unreadable",
    "no_meta.dcm": "not_an_image",  # its first byte is no tag's
}
READ = {
    "SC_jpeg_no_color_transform.dcm", "SC_jpeg_no_color_transform_2.dcm", "SC_rgb_dcmtk_+eb+cr.dcm",
    "SC_rgb_dcmtk_+eb+cy+n1.dcm", "SC_rgb_dcmtk_+eb+cy+n2.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm",
    "SC_rgb_dcmtk_+eb+cy+s2.dcm", "SC_rgb_dcmtk_+eb+cy+s4.dcm", "SC_rgb_gdcm_KY.dcm",
    "SC_rgb_jls_lossy_line.dcm", "SC_rgb_jls_lossy_sample.dcm", "SC_rgb_jpeg.dcm", "SC_rgb_jpeg_app14_dcmd.dcm",
    "SC_rgb_jpeg_dcmd.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_jpeg_lossy_gdcm.dcm", "SC_rgb_rle.dcm",
    "SC_rgb_rle_16bit.dcm", "SC_rgb_rle_32bit.dcm", "SC_rgb_small_odd.dcm", "SC_rgb_small_odd_big_endian.dcm",
    "SC_rgb_small_odd_jpeg.dcm", "SC_ybr_full_422_uncompressed.dcm",
}  # fmt: skip
#: Of another kind of object than dermoscopy, and in colour.
OTHER_KINDS = {"ExplVR_BigEnd.dcm", "examples_jpeg2k.dcm", "examples_palette.dcm", "examples_rgb_color.dcm"}
NO_PIXELS = {
    "DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-empty.dcm", "DICOMDIR-implicit", "DICOMDIR-nooffset", "DICOMDIR-nopatient", "DICOMDIR-reordered",
    "ExplVR_BigEndNoMeta.dcm", "ExplVR_LitEndNoMeta.dcm", "UN_sequence.dcm", "empty_charset_LEI.dcm", "no_meta_group_length.dcm", "priv_SQ.dcm", "reportsi.dcm", "reportsi_with_empty_number_tags.dcm", "rtplan.dcm",
    "rtplan_truncated.dcm", "rtstruct.dcm", "test-SR.dcm", "waveform_ecg.dcm",
}  # fmt: skip


def bundled() -> list[Path]:
    """Every DICOM file of pydicom's own test set that lies in its wheel."""
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    found = [p for p in map(Path, get_testdata_files()) if p.is_relative_to(folder) and p.is_file()]
    return sorted(
        p
        for p in found
        if p.name != "README" and p.suffix not in {".txt", ".json", ".dump", ".icc", ".gz", ".py", ".zip"}
    )


def pydicom_pixels(path: Path, *, bits: int = 8) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = pydicom.dcmread(path, force=True)
        array = pydicom.pixels.pixel_array(read)
        if read.PhotometricInterpretation == "PALETTE COLOR":
            array = pydicom.pixels.apply_color_lut(array, read) >> 8
    return (
        (array >> (8 * array.dtype.itemsize - 8)).astype(np.uint8)
        if array.dtype.itemsize > 1 and bits
        else array
    )


def test_the_test_set_is_there():
    names = {p.name for p in bundled()}
    assert READ | OTHER_KINDS | set(WORDS) <= names
    assert len(bundled()) > 75


@pytest.mark.parametrize("path", bundled(), ids=lambda p: f"{p.parent.name}-{p.name}")
def test_every_file_of_pydicom_gives_the_right_word_or_the_right_pixels(path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            pixels = load_image(path)
        except ImageError as error:
            failed = error
        else:
            failed = None
    if path.name in READ:
        assert failed is None
        # Only the YCbCr arithmetic of uncompressed files differs, by rounding.
        off = 1 if path.name == "SC_ybr_full_422_uncompressed.dcm" else 0
        assert np.abs(pixels.astype(int) - pydicom_pixels(path)).max() <= off
        return
    assert failed is not None
    without = path.name in NO_PIXELS or path.parent.name == "SE000000"
    expected = WORDS.get(path.name, "no_pixels" if without else "not_dermoscopy")
    assert failed.code == expected, str(failed)
    assert str(failed).startswith(f"{path}: ")


@pytest.mark.parametrize("name", sorted(OTHER_KINDS))
def test_pixels_of_other_kinds_of_objects_are_right_too(name: str):
    path = next(p for p in bundled() if p.name == name)
    with path.open("rb") as file:
        found = frames.read_frame(file, name, most=10**8, any_kind=True)
    if isinstance(found, frames.Encoded):
        found = Image.open(io.BytesIO(found.data))
    bits = 0 if name == "examples_palette.dcm" else 8
    assert np.array_equal(np.asarray(found), pydicom_pixels(path, bits=bits))


def test_every_frame_of_a_film_is_right():
    path = next(p for p in bundled() if p.name == "examples_ybr_color.dcm")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = pydicom.pixels.pixel_array(path)
    for number in (1, 17, 30):
        with path.open("rb") as file:
            found = frames.read_frame(file, "x", frame=number, most=10**8, any_kind=True)
        assert isinstance(found, frames.Encoded)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(found.data))), whole[number - 1])


@pytest.mark.parametrize(
    "name", ["SC_rgb_rle_2frame.dcm", "SC_rgb_rle_16bit_2frame.dcm", "SC_rgb_rle_32bit_2frame.dcm"]
)
def test_the_second_frame_of_a_pair_is_right(name: str):
    path = next(p for p in bundled() if p.name == name)
    assert np.array_equal(load_image(f"{path}#2"), pydicom_pixels(path)[1])
    assert not np.array_equal(load_image(f"{path}#1"), load_image(f"{path}#2"))


@pytest.mark.parametrize("planar", [0, 1])
def test_planes_and_pixels_give_the_same(planar: int):
    stored = ARRAY if planar == 0 else ARRAY.transpose(2, 0, 1)
    made = dicom_dataset(stored.tobytes(), rows=48, columns=64)
    made.PlanarConfiguration = planar
    assert np.array_equal(load_image(encoded(made)), ARRAY)


@pytest.mark.parametrize("stored", [10, 12, 16])
def test_of_many_bits_the_top_8_of_those_stored_are_taken(stored: int):
    low = np.random.default_rng(0).integers(0, 1 << (stored - 8), ARRAY.shape)
    wide = ((ARRAY.astype(np.uint16) << (stored - 8)) + low).astype("<u2")
    assert np.array_equal(load_image(encoded(of_array(wide, bits=16, stored=stored))), ARRAY)


def test_uncompressed_ycbcr_is_that_of_pillow():
    ycbcr = np.asarray(Image.fromarray(ARRAY).convert("YCbCr"))
    expected = np.asarray(Image.fromarray(ARRAY).convert("YCbCr").convert("RGB"))
    assert np.array_equal(load_image(encoded(of_array(ycbcr, colours="YBR_FULL"))), expected)


@pytest.mark.parametrize("segmented", [False, True])
def test_a_palette_is_shifted(segmented: bool):
    indices = (ARRAY[..., 0] // 4).astype(np.uint8)
    table = (np.arange(64, dtype="<u2") * 4 * 257).astype("<u2")
    made = dicom_dataset(indices.tobytes(), rows=48, columns=64, samples=1, colours="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [64, 0, 16])
        if segmented:
            data = struct.pack("<66H", 0, 64, *table)
            setattr(made, f"Segmented{colour}PaletteColorLookupTableData", data)
        else:
            setattr(made, f"{colour}PaletteColorLookupTableData", table.tobytes())
    expected = (table >> 8).astype(np.uint8)[indices]
    assert np.array_equal(load_image(encoded(made)), np.stack([expected] * 3, axis=-1))


def test_a_palette_cannot_expand_without_bound():
    made = dicom_dataset(bytes(48 * 64), rows=48, columns=64, samples=1, colours="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [64, 0, 16])
        setattr(made, f"Segmented{colour}PaletteColorLookupTableData", struct.pack("<3H", 1, 65535, 9) * 1000)
    assert code(encoded(made)) == "unreadable"


def test_a_jpeg_has_the_pixels_that_it_has_outside():
    for options in ({}, {"subsampling": 0}, {"progressive": True}, {"quality": 30}):
        jpeg = encode(ARRAY, **options)
        assert np.array_equal(load_image(encoded(of_jpeg(jpeg))), load_image(jpeg))


def test_a_jpeg_is_decoded_at_the_same_reduced_size():
    jpeg = encode(synthetic_lesion(1, width=1200, height=900))
    draft = Preprocess(height=100, width=100, scaled_decoding=2).reduction
    inside = load_picture(encoded(of_jpeg(jpeg)), draft=draft)
    assert inside.size == (300, 225)
    assert np.array_equal(np.asarray(inside), np.asarray(load_picture(jpeg, draft=draft)))


def test_the_orientation_of_exif_is_no_concern_of_dicom():
    exif = Image.Exif()
    exif[0x0112] = 6
    jpeg = encode(ARRAY, exif=exif)
    assert load_image(jpeg).shape == (64, 48, 3)
    assert np.array_equal(load_image(encoded(of_jpeg(jpeg))), load_image(encode(ARRAY)))


def test_a_jpeg_without_markers_that_is_declared_rgb_is_decoded_as_what_it_is():
    jpeg = full_jpeg(ARRAY)
    bare = without_markers(jpeg)
    assert b"JFIF" not in bare
    right = load_image(jpeg)
    assert np.array_equal(load_image(encoded(of_jpeg(bare, colours="RGB"))), right)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pydicom.pixels.pixel_array(io.BytesIO(encoded(of_jpeg(bare, colours="RGB"))))
    assert np.abs(theirs.astype(int) - right).mean() > 30  # what reading by the header alone gives


@pytest.mark.parametrize(
    ("ids", "declared", "ycbcr"),
    [
        ((1, 2, 3), "RGB", True),
        ((1, 2, 3), "YBR_FULL_422", True),
        ((0, 1, 2), "RGB", False),
        ((0, 1, 2), "YBR_FULL", True),
        ((82, 71, 66), "RGB", False),
        ((82, 71, 66), "YBR_FULL", True),
    ],
)
def test_component_ids_decide_and_then_the_header(ids: Any, declared: str, ycbcr: bool):
    bare = with_ids(without_markers(full_jpeg(ARRAY)), ids)
    raw = Image.open(io.BytesIO(full_jpeg(ARRAY)))
    raw.draft("YCbCr", raw.size)
    expected = raw.convert("RGB") if ycbcr else Image.frombytes("RGB", raw.size, raw.tobytes())
    assert (
        np.abs(load_image(encoded(of_jpeg(bare, colours=declared))).astype(int) - np.asarray(expected)).max()
        <= 1
    )


@pytest.mark.parametrize("jfif", [True, False])
def test_the_transform_of_an_adobe_marker_decides_first(jfif: bool):
    jpeg = full_jpeg(ARRAY)
    raw = Image.open(io.BytesIO(jpeg))
    raw.draft("YCbCr", raw.size)
    body = b"Adobe\0\x64\0\0\0\0\0"
    note = b"\xff\xee" + struct.pack(">H", len(body) + 2) + body
    rest = jpeg[2:] if jfif else without_markers(jpeg)[2:]
    found = load_image(encoded(of_jpeg(jpeg[:2] + note + rest, colours="YBR_FULL")))
    assert np.array_equal(found, np.frombuffer(raw.tobytes(), np.uint8).reshape(ARRAY.shape))


def test_jpeg_2000_is_that_of_pillow():
    stream = encode(ARRAY, "JPEG2000", no_jp2=True)
    assert streams.read_jpeg2000(stream).components == 3
    made = dicom_dataset([stream], rows=48, columns=64, syntax=JPEG2000, colours="YBR_RCT")
    assert np.array_equal(load_image(encoded(made)), ARRAY)


def test_jpeg_2000_without_transform_follows_the_header():
    ycbcr = np.asarray(Image.fromarray(ARRAY).convert("YCbCr"))
    stream = encode(ycbcr, "JPEG2000", no_jp2=True, mct=0)
    assert not streams.read_jpeg2000(stream).transformed
    made = dicom_dataset([stream], rows=48, columns=64, syntax=JPEG2000, colours="YBR_FULL")
    expected = Image.fromarray(ARRAY).convert("YCbCr").convert("RGB")
    assert np.array_equal(load_image(encoded(made)), np.asarray(expected))
