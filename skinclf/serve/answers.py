"""Answers: errors as one JSON object, predictions as JSON, JSON lines or CSV."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from skinclf.inference.prediction import Prediction
from skinclf.inference.schema import Schema
from skinclf.jobs.formats import CsvFormat, JsonlFormat

_LINES = ("application/x-ndjson", "application/jsonl", "application/x-jsonlines")
_KINDS: Mapping[str, str] = {
    "application/json": "json",
    "text/csv": "csv",
    **dict.fromkeys(_LINES, "jsonl"),
    "image/png": "png",
}


class RequestError(Exception):
    """A request that is refused as a whole.

    Attributes:
        status: HTTP status.
        code: Machine-readable word.
        message: One sentence.
        headers: Further headers of the answer.
    """

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers = dict(headers or {})

    @property
    def response(self) -> Response:
        """The answer."""
        return json_response(
            {"error": {"code": self.code, "message": self.message}}, self.status, self.headers
        )


def json_response(
    content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """An object as JSON in UTF-8."""
    text = json.dumps(content, allow_nan=False, ensure_ascii=False)
    return Response(text.encode("utf-8", "backslashreplace"), status, dict(headers or {}), "application/json")


def accepted(header: str | None, offered: Sequence[str]) -> str:
    """The kind of answer that a header `Accept` prefers.

    Args:
        header: Content of the header; None accepts everything.
        offered: Kinds (`json`, `csv`, `jsonl`, `png`), the default first.

    Returns:
        One of `offered`; the default where none is accepted, since an answer is of more use than a refusal.
    """
    best, weight = offered[0], 0.0
    for part in (header or "").split(","):
        name, *parameters = (text.strip().lower() for text in part.split(";"))
        kind = _KINDS.get(name, "")
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        if kind in offered and quality > weight:
            best, weight = kind, quality
    return best


def predictions_response(
    kind: str,
    schema: Schema,
    predictions: Sequence[Prediction],
    facts: Mapping[str, Any],
    *,
    cells: bool,
    contributions: Sequence[Mapping[str, float] | None] | None = None,
) -> Response:
    """Predictions in one of three formats.

    Args:
        kind: `json`, `jsonl` or `csv`.
        schema: Columns of the table.
        predictions: Rows in the order of the files.
        facts: What JSON carries beside the rows: model, threshold, notice.
        cells: Whether JSON rows carry their CSV cells too.
        contributions: Shares in the log-odds of malignancy that JSON rows carry; None for none.
    """
    table, lines = CsvFormat(schema), JsonlFormat(schema)
    if kind == "csv":
        return Response(table.header() + table.encode(predictions), media_type="text/csv; charset=utf-8")
    if kind == "jsonl":
        return Response(lines.encode(predictions), media_type="application/x-ndjson")
    rows = [lines.row(prediction) for prediction in predictions]
    columns = {}
    if cells:
        rows = [row | {"cells": table.cells(p)} for row, p in zip(rows, predictions, strict=True)]
        columns = {"columns": list(schema.columns)}
    if contributions is not None:
        rows = [row | {"contributions": parts} for row, parts in zip(rows, contributions, strict=True)]
    return json_response({"predictions": rows, **columns, **facts})
