"""Odd DICOM files: each gives the right word or the right pixels, one row, and nothing of its header."""

from __future__ import annotations

import csv
import io
import logging
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")

from pydicom.encaps import encapsulate, encapsulate_extended
from support.dicom_canaries import WORD
from support.dicom_files import NATIVE, dicom_dataset, encoded, of_array, of_jpeg
from support.fake_scorer import FakeScorer
from support.pictures import encode

from skinclf.errors import ImageError
from skinclf.images.decode import load_image
from skinclf.images.discovery import Inputs
from skinclf.images.synthetic import synthetic_lesion
from skinclf.inference.predictor import Predictor
from skinclf.jobs.run import write_predictions

ARRAY = synthetic_lesion(3, width=64, height=48)
JPEG = encode(ARRAY, quality=92)
SYNTAX = "1.2.840.10008.1.2."
BIG = SYNTAX + "2"


def but(made: Any, **values: Any) -> Any:
    """The object with other values; None takes one away."""
    for name, value in values.items():
        if value is None:
            delattr(made, name)
        else:
            setattr(made, name, value)
    return made


def deep(order: str = "<", **options: Any) -> Any:
    pixels = (ARRAY.astype(np.uint16) * 257).astype(f"{order}u2").tobytes()
    return dicom_dataset(pixels, rows=48, columns=64, bits=16, **options)


def grey(colours: str) -> Any:
    return dicom_dataset(ARRAY[..., 0].tobytes(), rows=48, columns=64, samples=1, colours=colours)


def palette(*, segmented: bool = False, whole: bool = True) -> Any:
    made = grey("PALETTE COLOR")
    for colour, top in zip(("Red", "Green", "Blue"), (255 * 256, 255 * 200, 255 * 180), strict=True):
        name = f"{colour}PaletteColorLookupTable"
        setattr(made, f"{name}Descriptor", [256, 0, 16])
        table = np.linspace(0, top, 256).astype("<u2")
        if segmented:
            setattr(made, f"Segmented{name}Data", np.array([0, 1, 0, 1, 255, top], "<u2").tobytes())
        elif whole or colour != "Blue":
            setattr(made, f"{name}Data", table.tobytes())
    return made


def with_offsets(*, wrong: bool = False) -> Any:
    made = of_jpeg(JPEG, JPEG, JPEG)
    made.PixelData, offsets, lengths = encapsulate_extended([JPEG, JPEG, JPEG])
    made.ExtendedOffsetTable = b"\xff" * len(offsets) if wrong else offsets
    made.ExtendedOffsetTableLengths = lengths
    return made


def other_packing(**options: Any) -> Any:
    return but(of_jpeg(JPEG), PixelData=encapsulate([JPEG], **options))


def bomb() -> bytes:
    made = of_array(ARRAY, syntax=SYNTAX + "1.99")
    head = io.BytesIO()
    head.write(bytes(128) + b"DICM")
    pydicom.filewriter.write_file_meta_info(head, made.file_meta, enforce_standard=True)
    pack = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return head.getvalue() + b"".join(pack.compress(bytes(1 << 22)) for _ in range(70)) + pack.flush()


def without_meta(*, preamble: bool) -> bytes:
    data = encoded(of_array(ARRAY))
    (length,) = struct.unpack_from("<I", data, 140)
    return (data[:132] if preamble else b"") + data[144 + length :]


def document() -> Any:
    made = of_array(ARRAY, sop_class="1.2.840.10008.5.1.4.1.1.104.1", modality="OT")
    return but(made, PixelData=None, EncapsulatedDocument=b"%PDF-1.4 " + WORD.encode())


def with_icon() -> Any:
    icon = pydicom.Dataset()
    icon.Rows, icon.Columns, icon.SamplesPerPixel, icon.PhotometricInterpretation = 8, 8, 3, "RGB"
    icon.PixelData = bytes(192)
    icon["PixelData"].VR = "OB"
    return but(of_array(ARRAY), PixelData=None, IconImageSequence=[icon])


def private() -> Any:
    made = of_array(ARRAY)
    made.private_block(0x0099, WORD, create=True).add_new(1, "LO", WORD)
    return made


#: By name: the file, and the word of its row; "frames" where `frames="all"` gives one good row for each of three.
FILES: dict[str, tuple[Callable[[], Any], str]] = {
    "big-endian": (lambda: of_array(ARRAY, syntax=BIG), "ok"),
    "big-endian-16": (lambda: deep(">", syntax=BIG), "ok"),
    "implicit": (lambda: of_array(ARRAY, syntax="1.2.840.10008.1.2"), "ok"),
    "deep": (deep, "ok"),
    "no-high-bit": (lambda: but(of_array(ARRAY), HighBit=None), "ok"),
    "no-interpretation": (lambda: but(of_array(ARRAY), PhotometricInterpretation=None), "unsupported"),
    "no-interpretation-jpeg": (lambda: but(of_jpeg(JPEG), PhotometricInterpretation=None), "ok"),
    "canary-interpretation": (lambda: of_array(ARRAY, colours=WORD), "unsupported"),
    "video-colours": (lambda: of_array(ARRAY, colours="YBR_PARTIAL_420"), "unsupported"),
    "one-sample": (lambda: but(of_array(ARRAY), SamplesPerPixel=1), "unsupported"),
    "four-samples": (lambda: but(of_array(ARRAY), SamplesPerPixel=4), "unsupported"),
    "no-samples": (lambda: but(of_array(ARRAY), SamplesPerPixel=0), "unsupported"),
    "one-sample-jpeg": (lambda: but(of_jpeg(JPEG), SamplesPerPixel=1), "ok"),
    "no-order": (lambda: but(of_array(ARRAY), PlanarConfiguration=None), "unreadable"),
    "wrong-order": (lambda: but(of_array(ARRAY), PlanarConfiguration=2), "unreadable"),
    "signed": (lambda: but(of_array(ARRAY), PixelRepresentation=1), "unsupported"),
    "no-bits": (lambda: but(of_array(ARRAY), BitsAllocated=None), "unreadable"),
    "no-sign": (lambda: but(of_array(ARRAY), PixelRepresentation=None), "unreadable"),
    "unnamed-samples": (lambda: but(of_array(ARRAY), SamplesPerPixel=None), "unreadable"),
    "no-rows": (lambda: but(of_array(ARRAY), Rows=None), "zero_size"),
    "zero-frames": (lambda: but(of_array(ARRAY), NumberOfFrames=0), "ok"),
    "frames-that-are-not-there": (lambda: but(of_array(ARRAY), NumberOfFrames=3), "truncated"),
    "film": (lambda: of_jpeg(JPEG, JPEG, JPEG), "frames"),
    "native-film": (lambda: but(of_array(np.concatenate([ARRAY] * 3)), Rows=48, NumberOfFrames=3), "frames"),
    "offsets": (with_offsets, "frames"),
    "wrong-offsets": (lambda: with_offsets(wrong=True), "unreadable"),
    "no-offsets": (lambda: other_packing(has_bot=False), "ok"),
    "fragments": (lambda: other_packing(fragments_per_frame=4), "ok"),
    "cut": (lambda: encoded(of_array(ARRAY))[:-500], "truncated"),
    "cut-jpeg": (lambda: encoded(of_jpeg(JPEG))[:-300], "truncated"),
    "no-bytes": (lambda: but(of_array(ARRAY), PixelData=b""), "truncated"),
    "grey-1": (lambda: grey("MONOCHROME1"), "not_dermoscopy"),
    "grey-2": (lambda: grey("MONOCHROME2"), "not_dermoscopy"),
    "palette": (palette, "ok"),
    "palette-in-segments": (lambda: palette(segmented=True), "ok"),
    "half-a-palette": (lambda: palette(whole=False), "unreadable"),
    "bomb": (bomb, "too_large"),
    "document": (document, "no_pixels"),
    "icon": (with_icon, "no_pixels"),
    "slide": (lambda: of_jpeg(JPEG, sop_class="1.2.840.10008.5.1.4.1.1.77.1.6", modality="SM"), "not_dermoscopy"),
    "video": (lambda: dicom_dataset([bytes(200)], rows=48, columns=64, syntax=SYNTAX + "4.102"), "unsupported"),
    "rle": (lambda: dicom_dataset([b"\xff" * 500], rows=48, columns=64, syntax=SYNTAX + "5"), "unreadable"),
    "jpeg-that-is-none": (lambda: but(of_jpeg(JPEG), PixelData=encapsulate([b"\x89PNG" * 90])), "unreadable"),
    "jpeg-called-native": (lambda: of_jpeg(JPEG, syntax=NATIVE), "truncated"),
    "no-meta": (lambda: without_meta(preamble=False), "ok"),
    "no-meta-but-a-preamble": (lambda: without_meta(preamble=True), "ok"),
    "nothing-else": (lambda: bytes(128) + b"DICM", "no_pixels"),
    "private": (private, "ok"),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("odd")
    with warnings.catch_warnings():  # of pydicom, about what is written
        warnings.simplefilter("ignore")
        for name, (make, _) in FILES.items():
            data = make()
            (made / f"{name}.dcm").write_bytes(data if isinstance(data, bytes) else encoded(data))
    return made


def test_each_gives_its_rows_with_the_right_word(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    caplog.set_level(logging.DEBUG)
    table = tmp_path / "t.csv"
    write_predictions(Predictor(FakeScorer(), workers=0), Inputs((folder,), frames="all"), table)
    found: dict[str, list[str]] = {}
    with table.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(Path(row["image"]).name.partition(".dcm")[0], []).append(row["status"])
    several = {name: 3 for name, (_, word) in FILES.items() if word == "frames"}
    several |= {"frames-that-are-not-there": 3, "wrong-offsets": 3}
    expected = {name: ["ok" if word == "frames" else word] for name, (_, word) in FILES.items()}
    assert found == {name: words * several.get(name, 1) for name, words in expected.items()}
    # Private values, words of another vocabulary and documents stay in their file.
    printed = capfd.readouterr()
    texts = [path.read_text(encoding="utf-8") for path in tmp_path.iterdir()]
    assert WORD not in "".join([*texts, caplog.text, printed.out, printed.err])


def test_those_that_are_read_have_the_right_pixels(folder: Path):
    jpeg = load_image(JPEG)
    for name, (_, word) in FILES.items():
        if word not in {"ok", "frames"} or "palette" in name:
            continue
        frames = ["#1", "#2", "#3"] if word == "frames" else [""]
        for frame in frames:
            pixels = load_image(f"{folder / name}.dcm{frame}")
            assert pixels.tolist() in (ARRAY.tolist(), jpeg.tolist()), name
    table = np.stack([np.linspace(0, 255 * step, 256).astype(np.uint16) for step in (256, 200, 180)], axis=1)
    expected = (table[ARRAY[..., 0]] >> 8).astype(np.uint8)
    for name in ("palette", "palette-in-segments"):
        assert np.array_equal(load_image(folder / f"{name}.dcm"), expected), name


def test_of_several_frames_one_has_to_be_named(folder: Path):
    for name, (_, word) in FILES.items():
        if word == "frames":
            with pytest.raises(ImageError) as error:
                load_image(folder / f"{name}.dcm")
            assert error.value.code == "multi_frame", name
