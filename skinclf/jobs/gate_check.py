"""A folder of images through the image gate: a table of what was measured, and a page of the worst."""

from __future__ import annotations

import base64
import heapq
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from skinclf._utils.files import writing
from skinclf._utils.notice import NOTICE
from skinclf.errors import ImageError, InvalidArgumentError, ModelError
from skinclf.images.decode import load_picture
from skinclf.inference.gate.duplicates import SIGNATURE, NearDuplicates
from skinclf.inference.gate.mode import GATE_COLUMNS
from skinclf.inference.gate.picture import NAMES
from skinclf.inference.gate.reasons import SENTENCES, Reason
from skinclf.inference.gate.scorer import GatedScorer
from skinclf.inference.gate.store import read_gate
from skinclf.inference.prediction import Prediction
from skinclf.inference.predictor import Predictor
from skinclf.inference.schema import number
from skinclf.inference.scorer import ModelScorer
from skinclf.jobs.formats import csv_bytes, printable
from skinclf.models.loaded import LoadedModel
from skinclf.runtimes.create import create_runtime

#: Images on the page.
WORST = 60
_COLUMNS = ("image", *GATE_COLUMNS, *NAMES, "duplicate_of", "status", "error")
_SIZE = 240
_RANK = {"unfit": 0, "marked": 1, "ok": 2}
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1a1a1a}"
    "main{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:1.2rem}figure{margin:0}"
    "img{width:100%;height:auto}.unfit{border-top:4px solid #a33}.marked{border-top:4px solid #c90}"
    "code{overflow-wrap:anywhere}"
)


@dataclass(slots=True)
class GateSummary:
    """Counts of a check.

    Attributes:
        verdicts: Number of images by verdict.
        reasons: Number of images by reason.
        duplicates: Number of images that look the same as an earlier one.
        failed: Number of images that could not be read.
    """

    verdicts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    failed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "verdicts": dict(self.verdicts),
            "reasons": dict(self.reasons),
            "duplicates": self.duplicates,
            "failed": self.failed,
        }


def check_images(
    model: LoadedModel,
    images: Iterable[str | os.PathLike[str]],
    table: Path,
    page: Path | None = None,
    *,
    runtime: str = "auto",
    device: str = "auto",
    workers: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> GateSummary:
    """Write what the gate says of each image, and a page of those that it likes least.

    Args:
        model: Model with a gate.
        images: Paths.
        table: CSV file to write: one row for each image, in order.
        page: HTML file to write, with at most `WORST` images; None for none.
        runtime: Runtime, as for `create_runtime`.
        device: Device, as for `create_runtime`.
        workers: Number of decode workers; None: one per core.
        overwrite: Whether existing files are replaced.
        progress: Function of the number of images that are done.

    Raises:
        ModelError: The model has no gate.
        InvalidArgumentError: A file exists and `overwrite` is not set.
        OutputError: A file cannot be written.
    """
    gate = read_gate(model)
    if gate is None:
        raise ModelError(
            f"{model.spec.name}: this model has no image gate. Fit one (`skinclf.inference.gate.fit_gate`)."
        )
    for path in (table, page):
        if path is not None and path.exists() and not overwrite:
            raise InvalidArgumentError(
                f"{path} exists; set `overwrite` to replace it.", parameter="overwrite"
            )
    made = create_runtime(model, runtime=runtime, device=device, embeddings=True)
    scorer = GatedScorer(ModelScorer(model.spec, made, embeddings=True), gate, measures=True)
    predictor = Predictor(scorer, workers=workers)
    summary, seen = GateSummary(), NearDuplicates()
    worst: list[tuple[tuple[int, float], int, Prediction]] = []
    with writing(table), table.open("wb") as file:
        file.write(csv_bytes([_COLUMNS]))
        for number_, row in enumerate(predictor.stream(images)):
            # All blank pictures look the same, and one is as useless as the other.
            compared = row.ok and Reason.BLANK.value not in row.extra["gate_reasons"].split("|")
            first = seen.first_like(row.image, row.extra[SIGNATURE]) if compared else ""
            file.write(csv_bytes([_cells(row, first)]))
            _count(summary, row)
            summary.duplicates += bool(first)
            if row.ok and row.extra["gate"] != "ok":
                # The heap gives up its smallest, hence the signs.
                rank = (-_RANK[row.extra["gate"]], -row.extra["p_familiar"])
                (heapq.heappush if len(worst) < WORST else heapq.heappushpop)(worst, (rank, -number_, row))
            if progress is not None:
                progress(number_ + 1)
    if page is not None:
        rows = [row for _, _, row in sorted(worst, key=lambda x: x[:2], reverse=True)]
        with writing(page), page.open("w", encoding="utf-8", errors="backslashreplace") as out:
            out.writelines(_page(rows, summary))
    return summary


def _cells(row: Prediction, first: str) -> list[str]:
    values = [row.extra.get(name) for name in (*GATE_COLUMNS, *NAMES)]
    return [
        printable(row.image),
        *(number(v) if isinstance(v, float) else v or "" for v in values),
        printable(first),
        row.status,
        row.error,
    ]


def _count(summary: GateSummary, row: Prediction) -> None:
    if not row.ok:
        summary.failed += 1
        return
    summary.verdicts[row.extra["gate"]] += 1
    summary.reasons.update(filter(None, row.extra["gate_reasons"].split("|")))


def _page(rows: list[Prediction], summary: GateSummary) -> Iterator[str]:
    counts = ", ".join(
        f"{n} {word}" for word, n in sorted(summary.verdicts.items(), key=lambda x: _RANK[x[0]])
    )
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield f"<title>Image gate</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>Image gate</h1>\n"
    if summary.duplicates:
        counts += f"; {summary.duplicates} that look the same as an earlier image"
    yield f"<p>{counts or 'No images'}; {summary.failed} could not be read. The strangest come first. {NOTICE}</p>\n"
    yield "<main>\n"
    for row in rows:
        reasons = [Reason(word) for word in row.extra["gate_reasons"].split("|")]
        said = "; ".join(SENTENCES[reason] for reason in reasons)
        yield (
            f'<figure class="{row.extra["gate"]}">\n{_thumbnail(row.image)}<figcaption>'
            f"<code>{escape(row.image)}</code>: "
            f"<strong>{row.extra['gate']}</strong>, p {row.extra['p_familiar']:.3f}; {escape(said)}.</figcaption>\n"
            "</figure>\n"
        )
    yield "</main>\n</body>\n</html>\n"


def _thumbnail(image: str) -> str:
    try:
        picture = load_picture(image)
    except ImageError as error:  # it was there when it was measured
        return f"<p>{escape(str(error))}</p>\n"
    picture.thumbnail((_SIZE, _SIZE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/jpeg;base64,{data}" alt="{escape(image)}">\n'
