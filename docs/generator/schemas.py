"""The JSON schema of a row, made from its columns, and the page that lists the schemas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from generator import words
from generator.tables import column_types, status_words

FOLDER = Path(__file__).resolve().parents[1] / "schemas"
_KINDS = {"str": "string", "float": "number", "int": "integer", "bool": "boolean"}
#: Columns that no row leaves empty.
_FILLED = ("image", "status", "error")
_PATTERNS = {
    "p_<code>": "^p_.+$",
    "top<i>_class": "^top[0-9]+_class$",
    "top<i>_name": "^top[0-9]+_name$",
    "top<i>_probability": "^top[0-9]+_probability$",
}
_PROBABILITIES = ("probability_malignant", "threshold", "p_<code>", "top<i>_probability")


def pages() -> dict[str, str]:
    """The page, and the schema of a row beside the handwritten ones."""
    return {"schemas.md": _page(), "../schemas/row.json": json.dumps(row_schema(), indent=2) + "\n"}


def row_schema() -> dict[str, Any]:
    """Schema of one line of a JSONL table."""
    properties: dict[str, Any] = {}
    patterns: dict[str, Any] = {}
    for name, kind in column_types().items():
        field: dict[str, Any] = {
            "description": words.COLUMNS[name],
            "type": _KINDS[kind] if name in _FILLED else [_KINDS[kind], "null"],
        }
        if name in _PROBABILITIES:
            field |= {"minimum": 0, "maximum": 1}
        if name == "status":
            field["enum"] = status_words()
        if name in _PATTERNS:
            patterns[_PATTERNS[name]] = field
        else:
            properties[name] = field
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "row of predictions",
        "description": "One line of a JSONL table of `skinclf predict`. New columns may appear.",
        "type": "object",
        "properties": properties,
        "patternProperties": patterns,
        "required": [*list(properties)[:6], "status", "error"],
    }


def _page() -> str:
    rows = []
    for path in sorted({*FOLDER.glob("*.json"), FOLDER / "row.json"}):
        schema = row_schema() if path.name == "row.json" else json.loads(path.read_text(encoding="utf-8"))
        rows.append(
            f"| [{path.name}](../schemas/{path.name}) | {schema['title']} | {schema['description']} |\n"
        )
    return (
        "# JSON schemas\n\nThe files that skinclf writes, as JSON Schema (draft 2020-12). The tests validate\n"
        "real outputs of every kind against them, with no further keys allowed; readers should\n"
        "ignore keys that they do not know.\n\n"
        f"| schema | file | written by |\n|---|---|---|\n{''.join(rows)}\n"
        "The API of `skinclf serve` is described by [openapi.json](../../skinclf/serve/openapi.json), which\n"
        "the server also answers at `/openapi.json`.\n"
    )
