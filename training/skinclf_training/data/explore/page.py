"""HTML page of the exploration report: one file without scripts or remote content."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from skinclf._utils.files import replace_file, writing
from skinclf._utils.notice import NOTICE
from skinclf.evaluation.report.page import percent, stylesheet
from skinclf.evaluation.report.pictures import data_uri
from skinclf_training.data.explore import figures as draw

#: Figure, its title, and whether it takes the whole width.
SECTIONS: tuple[tuple[str, str, bool], ...] = (
    ("classes", "Classes", False),
    ("people", "Age, sex and site", True),
    ("by_class", "Age, sex and site by class", True),
    ("pictures", "Pictures", False),
    ("lesions", "Images per lesion", False),
    ("samples", "Samples", False),
)


def write_page(numbers: Mapping[str, Any], output: Path, files: Mapping[str, Sequence[Path]]) -> list[Path]:
    """Draw the figures and write `explore.html`.

    Args:
        numbers: Content of `explore.json`.
        output: Folder with a subfolder `figures`.
        files: Pictures of each class, for the sample sheet.

    Returns:
        The page and its figures.

    Raises:
        OutputError: A file cannot be written.
    """
    figures: dict[str, tuple[Path, str]] = {}
    with writing(output):
        for name, _, _ in SECTIONS:
            path = output / "figures" / f"{name}.png"
            path.unlink(missing_ok=True)
            arguments = (numbers, path, files) if name == "samples" else (numbers, path)
            caption = getattr(draw, name)(*arguments)
            if caption is not None:
                figures[name] = path, caption
        page = output / "explore.html"
        replace_file(page, render(numbers, figures).encode())
    return [page, *(path for path, _ in figures.values())]


def render(numbers: Mapping[str, Any], figures: Mapping[str, tuple[Path, str]]) -> str:
    """The page as text.

    Args:
        numbers: Content of `explore.json`.
        figures: File and caption by name.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": percent}
    template = resources.files("skinclf_training.data.explore").joinpath("explore.html.j2").read_text("utf-8")
    page: str = environment.from_string(template).render(
        n=numbers,
        notice=NOTICE,
        css=stylesheet(),
        sections=SECTIONS,
        figures={
            name: {"uri": _embedded(name, path), "caption": caption}
            for name, (path, caption) in figures.items()
        },
    )
    return page


def _embedded(name: str, path: Path) -> str:
    """A figure inside the page; photographs as JPEG, a tenth of their PNG."""
    if name != "samples":
        return data_uri(path.read_bytes(), "image/png")
    from PIL import Image

    buffer = io.BytesIO()
    Image.open(path).convert("RGB").save(buffer, "JPEG", quality=85, optimize=True)
    return data_uri(buffer.getvalue(), "image/jpeg")
