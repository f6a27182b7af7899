"""`index.html`: originals and overlays side by side with their numbers; no scripts, nothing fetched."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from PIL import Image

from skinclf._utils.files import writing
from skinclf._utils.notice import NOTICE
from skinclf.errors import ImageError
from skinclf.explanation.folder import PARTS, MapFolder
from skinclf.explanation.overlay import SENTENCE
from skinclf.images.decode import load_image

#: Longest side of an original on the page, in pixels; overlays are shown from their files.
SIZE = 320
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:WIDTHrem;padding:0 1rem;color:#1a1a1a}"
    "figure{display:grid;grid-template-columns:COLUMNS;gap:.5rem;margin:0 0 2rem}img{width:100%;height:auto}"
    ".parts{border-collapse:collapse;margin-top:.4rem}.parts th{font-weight:400;text-align:left;padding-right:.8rem}"
    ".parts td.n{text-align:right;padding-right:.8rem;font-variant-numeric:tabular-nums}"
    ".parts .bar{position:relative;width:12rem;background:"
    "linear-gradient(#888,#888) center/1px 100% no-repeat #f0f0f0}.parts .bar i{position:absolute;top:25%;height:50%;"
    "background:#0d5f8c}.parts .bar i.down{background:#777}"
    "figcaption{grid-column:1/-1}.failed{border-left:4px solid #a33;padding-left:.7rem}code{overflow-wrap:anywhere}"
)


def write_page(folder: MapFolder) -> None:
    """Write the page of a finished run.

    Raises:
        OutputError: The page cannot be written.
    """
    _write(folder, [(folder, "")])


def write_common_page(folder: MapFolder, parts: Sequence[MapFolder]) -> None:
    """Write the page that shows several methods side by side.

    Args:
        folder: Gets the page.
        parts: Folders inside it, one for each method, of finished runs over the same images.

    Raises:
        OutputError: The page cannot be written.
    """
    _write(folder, [(part, f"{part.path.name}/") for part in parts])


def _write(folder: MapFolder, parts: Sequence[tuple[MapFolder, str]]) -> None:
    partial = folder.page.with_name(f".{folder.page.name}.part")
    with writing(folder.page):
        # Written as it is made: a page of many thumbnails does not fit in memory.
        with partial.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.writelines(_lines(parts))
        partial.replace(folder.page)


def _lines(parts: Sequence[tuple[MapFolder, str]]) -> Iterator[str]:
    style = _STYLE.replace("COLUMNS", " ".join(["1fr"] * (len(parts) + 1)))
    style = style.replace("WIDTH", str(60 if len(parts) == 1 else 24 * (len(parts) + 1)))
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield '<meta name="viewport" content="width=device-width">\n<title>Maps</title>\n'
    yield f"<style>{style}</style>\n</head>\n<body>\n<h1>Maps</h1>\n<p><strong>{SENTENCE} {NOTICE}</strong></p>\n"
    tables = ", ".join(f'<a href="{escape(below)}maps.csv">{escape(below)}maps.csv</a>' for _, below in parts)
    yield f"<p>Numbers: {tables}. Left: the picture. Right of it: the map{'s' if len(parts) > 1 else ''}.</p>\n"
    folders = [below for _, below in parts]
    for rows in zip(*(part.rows() for part, _ in parts), strict=True):
        yield _row(list(zip(rows, folders, strict=True)))
    yield "</body>\n</html>\n"


def _row(cells: Sequence[tuple[dict[str, str], str]]) -> str:
    """One image: its picture beside its maps, or the reason why it has none."""
    good = [(row, below) for row, below in cells if row["status"] == "ok"]
    failed = "".join(_failed(row, below) for row, below in cells if row["status"] != "ok")
    if not good:
        same = {(row["status"], row["error"]) for row, _ in cells}
        return _failed(cells[0][0]) if len(same) == 1 else failed
    name = escape(good[0][0]["image"])
    maps = "".join(_map(row, below) for row, below in good)
    numbers = "<br>".join(_numbers(row) for row, _ in good)
    return (
        f"<figure>\n{_original(good[0][0]['image'])}{maps}\n<figcaption><code>{name}</code>: {numbers}"
        f"{_parts(good[0][0])}</figcaption>\n</figure>\n{failed}"
    )


def _failed(row: dict[str, str], below: str = "") -> str:
    method = f" ({escape(below.rstrip('/'))})" if below else ""
    text = f"{escape(row['status'])}. {escape(row['error'])}"
    return f'<p class="failed"><code>{escape(row["image"])}</code>{method}: {text}</p>\n'


def _map(row: dict[str, str], below: str) -> str:
    overlay = escape(f"{below}{_url(row['overlay'])}")
    alt = (
        f"{escape(row['method'])} map of {escape(row['image'])}"
        if below
        else f"Map of {escape(row['image'])}"
    )
    return f'<a href="{overlay}"><img src="{overlay}" alt="{alt}" loading="lazy"></a>'


def _numbers(row: dict[str, str]) -> str:
    layer = f" at <code>{escape(row['layer'])}</code>" if row["layer"] else ""
    inside = f", {float(row['inside_mask']):.0%} of it inside the mask" if row["inside_mask"] else ""
    return (
        f"P({escape(row['target'])}) {float(row['p']):.3f}, log-odds {float(row['log_odds']):+.2f}; predicted: "
        f"{escape(row['predicted_class'])}; {escape(row['method'])}{layer}: what {row['direction']} it, maximum "
        f"{float(row['maximum']):.3g}, total {float(row['mass']):.3g}{inside}; the model saw "
        f"{float(row['seen']):.0%} of the picture."
    )


def _parts(row: dict[str, str]) -> str:
    """A bar for the picture and each entry: what it adds to the log-odds of malignancy, or takes from them."""
    if not row["fused_log_odds"]:
        return ""
    values = {key: float(row[column]) for column, key in PARTS.items()}
    most = max(map(abs, values.values())) or 1.0
    lines = ""
    for key, value in values.items():
        width = 50 * abs(value) / most
        left = 50 - width if value < 0 else 50
        bar = f'<i class="{"down" if value < 0 else "up"}" style="left:{left:.1f}%;width:{width:.1f}%"></i>'
        words = {"image": "picture", "total": "all together"}.get(key, key)
        lines += (
            f'<tr><th scope="row">{words}</th><td class="n">{value:+.2f}</td><td class="bar">{bar}</td></tr>'
        )
    return f'<table class="parts"><caption>Log-odds of malignancy from</caption>{lines}</table>'


def _original(image: str) -> str:
    try:
        picture = Image.fromarray(load_image(image, draft=(SIZE, SIZE)))
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
