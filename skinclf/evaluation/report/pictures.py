"""Thumbnails of the images named in a report."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from skinclf.errors import ImageError
from skinclf.images.decode import load_image
from skinclf.images.discovery import scan_directory
from skinclf.tables.names import pair_names

#: Longer side in pixels.
SIZE = 224


def find_files(names: Iterable[str], folder: Path) -> dict[str, Path]:
    """Image files by image name; names without one are left out.

    Args:
        names: Image names as in the predictions.
        folder: Searched with its subfolders, by the longest common end of the path.

    Raises:
        InvalidArgumentError: `folder` cannot be listed.
    """
    wanted = list(dict.fromkeys(names))
    found = [Path(file) for file in scan_directory(folder, recursive=True)]
    # A name that could mean several files gets no picture: a wrong one is worse than none.
    partners = pair_names(wanted, [str(file.absolute()) for file in found]).partners
    return {name: found[j] for name, j in zip(wanted, partners, strict=True) if j is not None}


def thumbnails(files: Mapping[str, Path]) -> dict[str, str]:
    """Data URIs of small JPEGs, by image name; files that cannot be read are left out.

    Args:
        files: Image file by name.
    """
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
