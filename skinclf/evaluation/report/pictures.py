"""Thumbnails of the images named in a report."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from pathlib import Path

from skinclf.errors import ImageError
from skinclf.images.decode import load_image
from skinclf.images.discovery import scan_directory
from skinclf.tables.predictions import stem

#: Longer side in pixels.
SIZE = 224


def thumbnails(names: Iterable[str], folder: Path) -> dict[str, str]:
    """Data URIs of small JPEGs, by image name; names without a readable file are left out.

    Args:
        names: Image names as in the predictions.
        folder: Searched with its subfolders, by file name without ending.

    Raises:
        InvalidArgumentError: `folder` cannot be listed.
    """
    wanted = {stem(name): name for name in names}
    files: dict[str, Path] = {}
    for found in scan_directory(folder, recursive=True):
        key = stem(str(found))
        if key in wanted:
            files.setdefault(wanted[key], Path(found))
    result = {}
    for name, path in files.items():
        try:
            result[name] = data_uri(_small(path), "image/jpeg")
        except ImageError:  # the table beside it still names the image
            continue
    return result


def _small(path: Path) -> bytes:
    from PIL import Image

    picture = Image.fromarray(load_image(path, draft=(SIZE, SIZE)))
    picture.thumbnail((SIZE, SIZE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82, optimize=True)
    return buffer.getvalue()


def data_uri(data: bytes, kind: str) -> str:
    """Content that a page can hold in itself."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
