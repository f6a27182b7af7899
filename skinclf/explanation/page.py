"""`index.html`: originals and overlays side by side with their numbers; no scripts, nothing fetched."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator
from html import escape
from pathlib import Path

from PIL import Image

from skinclf._utils.files import writing
from skinclf._utils.notice import NOTICE
from skinclf.errors import ImageError
from skinclf.explanation.folder import MapFolder
from skinclf.explanation.overlay import SENTENCE
from skinclf.images.decode import load_image

#: Longest side of an original on the page, in pixels; overlays are shown from their files.
SIZE = 320
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1a1a1a}"
    "figure{display:grid;grid-template-columns:1fr 1fr;gap:.5rem;margin:0 0 2rem}img{width:100%;height:auto}"
    "figcaption{grid-column:1/-1}.failed{border-left:4px solid #a33;padding-left:.7rem}code{overflow-wrap:anywhere}"
)


def write_page(folder: MapFolder) -> None:
    """Write the page of a finished run.

    Raises:
        OutputError: The page cannot be written.
    """
    partial = folder.page.with_name(f".{folder.page.name}.part")
    with writing(folder.page):
        # Written as it is made: a page of many thumbnails does not fit in memory.
        with partial.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.writelines(_lines(folder))
        partial.replace(folder.page)


def _lines(folder: MapFolder) -> Iterator[str]:
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield '<meta name="viewport" content="width=device-width">\n<title>Maps</title>\n'
    yield f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>Maps</h1>\n<p><strong>{SENTENCE} {NOTICE}</strong></p>\n"
    yield '<p>Numbers: <a href="maps.csv">maps.csv</a>. Left: the picture. Right: the map.</p>\n'
    for row in folder.rows():
        yield _failed(row) if row["status"] != "ok" else _figure(row)
    yield "</body>\n</html>\n"


def _failed(row: dict[str, str]) -> str:
    text = f"{escape(row['status'])}. {escape(row['error'])}"
    return f'<p class="failed"><code>{escape(row["image"])}</code>: {text}</p>\n'


def _figure(row: dict[str, str]) -> str:
    name, overlay = escape(row["image"]), escape(_url(row["overlay"]))
    layer = f" at <code>{escape(row['layer'])}</code>" if row["layer"] else ""
    inside = f", {float(row['inside_mask']):.0%} of it inside the mask" if row["inside_mask"] else ""
    numbers = (
        f"P({escape(row['target'])}) {float(row['p']):.3f}, log-odds {float(row['log_odds']):+.2f}; predicted: "
        f"{escape(row['predicted_class'])}; {escape(row['method'])}{layer}: what {row['direction']} it, maximum "
        f"{float(row['maximum']):.3g}, total {float(row['mass']):.3g}{inside}; the model saw "
        f"{float(row['seen']):.0%} of the picture."
    )
    return (
        f'<figure>\n{_original(row["image"])}<a href="{overlay}"><img src="{overlay}" alt="Map of {name}" '
        f'loading="lazy"></a>\n<figcaption><code>{name}</code>: {numbers}</figcaption>\n</figure>\n'
    )


def _original(image: str) -> str:
    try:
        picture = Image.fromarray(load_image(image))
    except ImageError as error:  # it was there when its map was made
        return f"<p>{escape(str(error))}</p>\n"
    picture.thumbnail((SIZE, SIZE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/jpeg;base64,{data}" alt="{escape(image)}">\n'


def _url(name: str) -> str:
    from urllib.parse import quote

    return quote(os.fsencode(Path(name).name))
