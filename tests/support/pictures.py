"""Synthetic pictures: one as an array, a folder of them, and `encode` for any file format."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from skinclf.images.decode import RGBArray
from skinclf.images.synthetic import synthetic_lesion

IMAGES_IN_DIR = 8


@pytest.fixture(scope="session")
def _lesion() -> RGBArray:
    return synthetic_lesion(7, width=160, height=120)


@pytest.fixture
def synthetic_image(_lesion: RGBArray) -> RGBArray:
    """One synthetic picture, (120, 160, 3) uint8; the test's own copy."""
    return _lesion.copy()


def encode(array: RGBArray, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def _jpegs() -> list[bytes]:
    return [
        encode(synthetic_lesion(seed, width=120 + 8 * seed, height=90), quality=90)
        for seed in range(IMAGES_IN_DIR)
    ]


@pytest.fixture
def image_dir(tmp_path: Path, _jpegs: list[bytes]) -> Path:
    """A folder of eight small synthetic JPEGs of different widths, `img-0.jpg` to `img-7.jpg`; the test's own."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number, data in enumerate(_jpegs):
        (folder / f"img-{number}.jpg").write_bytes(data)
    return folder
