"""What tests of decoding share: pictures encoded, outcomes named."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from skinclf.errors import ImageError
from skinclf.images.decode import RGBArray, load_image

ORIENTATION = 0x0112


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def assert_rgb(array: RGBArray, shape: tuple[int, ...]) -> None:
    assert array.shape == (*shape, 3)
    assert array.dtype == np.uint8
    assert array.flags.c_contiguous
    assert array.flags.writeable


def code_of(source: Any, **options: Any) -> str:
    with pytest.raises(ImageError) as caught:
        load_image(source, **options)
    assert str(caught.value).endswith(".")
    return caught.value.code


OUTCOMES = {
    "ok",
    "empty",
    "not_an_image",
    "truncated",
    "unreadable",
    "too_large",
    "zero_size",
    "unsupported",
    "lfs_pointer",
}


def outcome(data: bytes) -> str:
    """`ok` for an RGB array, or the code of the typed failure; anything else escapes."""
    try:
        array = load_image(data)
    except ImageError as error:
        return error.code
    assert_rgb(array, array.shape[:2])
    return "ok"


def with_orientation(array: RGBArray, orientation: int, kind: str = "PNG") -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(Image.fromarray(np.ascontiguousarray(array)), kind, exif=exif)
