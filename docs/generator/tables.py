"""Pages of columns, status words, exit codes, errors and models."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from generator import words
from skinclf import errors
from skinclf.errors import ImageError, SkinclfError
from skinclf.explanation.folder import COLUMNS as MAPS
from skinclf.inference.schema import Schema
from skinclf.labels import HAM10000
from skinclf.models.registry import DEFAULT, list_models
from skinclf_cli.errors import DONE, EXIT_CODES, FAILED, INTERRUPTED, PARTLY_FAILED, USAGE, exit_code

ROOT = Path(__file__).resolve().parents[2]
SDK = ROOT / "skinclf"
_TYPES = {"str", "float", "int", "bool"}
_MEANINGS = {
    DONE: "done",
    FAILED: "failed; a sentence on stderr says what was received, what was expected and what to do",
    USAGE: "wrong usage: an unknown option, a missing or impossible value",
    PARTLY_FAILED: "done, but some inputs failed: the table is complete and their rows say why",
    INTERRUPTED: "interrupted (Ctrl-C); a run of `predict` or `train` goes on with `--resume`",
}


def pages() -> dict[str, str]:
    """Name of a page to its text."""
    return {
        "columns.md": _columns(),
        "status.md": _status(),
        "exit-codes.md": _exit_codes(),
        "models.md": _models(),
    }


def column_types(folder: Path = SDK) -> dict[str, str]:
    """Every column of the predictions table that the code declares, to the name of its type.

    Declarations are mappings of names to `str`, `float`, `int` or `bool`, wherever they stand in the SDK.
    """
    fixed = {
        re.sub(r"^p_\w+$", "p_<code>", re.sub(r"^top1", "top<i>", name)): kind.__name__
        for name, kind in Schema(HAM10000, top_k=1).columns.items()
    }
    tail = {name: fixed.pop(name) for name in ("status", "error")}
    further = {n: kind for n, kind in _declared(folder)[0].items() if n not in fixed and n not in tail}
    return {**fixed, **further, **tail}


def status_words(folder: Path = SDK) -> list[str]:
    """Every word that the code gives an `ImageError`, and those of its docstring."""
    documented = re.findall(r"`(\w+)`", (ImageError.__doc__ or "").partition("one of")[2])
    return ["ok", *sorted({*documented, *_declared(folder)[1]})]


@cache
def _declared(folder: Path) -> tuple[dict[str, str], frozenset[str]]:
    """Columns with their types, and status words, in the source of a folder."""
    columns: dict[str, str] = {}
    found: set[str] = set()
    nodes = [
        node
        for path in sorted(folder.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    ]
    constants = {
        node.targets[0].id: node.value
        for node in nodes
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for node in nodes:
        if isinstance(node, ast.Dict) and node.keys:
            keys = [constants.get(k.id, k) if isinstance(k, ast.Name) else k for k in node.keys]
            names = [k.value for k in keys if isinstance(k, ast.Constant) and isinstance(k.value, str)]
            kinds = [v.id for v in node.values if isinstance(v, ast.Name) and v.id in _TYPES]
            if len(names) == len(kinds) == len(node.keys):
                columns |= dict(zip(names, kinds, strict=True))
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ImageError":
            parts = (n for argument in node.args[:1] for n in ast.walk(argument))
            found |= {n.value for n in parts if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return columns, frozenset(found)


def _explained(names: Iterable[str], meanings: Mapping[str, Any], what: str) -> None:
    problems = [f"no meaning for {n}" for n in sorted(set(names) - meanings.keys())]
    if problems:
        raise SystemExit(f"docs/generator/words.py, {what}: {'; '.join(problems)}.")


def _columns() -> str:
    types = column_types()
    _explained(types, words.COLUMNS, "COLUMNS")
    _explained(MAPS, words.MAPS, "MAPS")
    predictions = "".join(f"| `{n}` | {t} | {words.COLUMNS[n]} |\n" for n, t in types.items())
    maps = "".join(f"| `{name}` | {words.MAPS[name]} |\n" for name in MAPS)
    return (
        "# Columns\n\n## Predictions\n\n"
        "One row for each input, in the order of the inputs, from `skinclf predict` and `skinclf.write_predictions`.\n"
        "A row that failed has `image`, `status` and `error`; its other cells are empty. Numbers parse back to the\n"
        "same float32, and booleans are 0 and 1.\n\n"
        f"| column | type | meaning |\n|---|---|---|\n{predictions}\n"
        f"## Maps\n\n`maps.csv` of `skinclf explain`.\n\n| column | meaning |\n|---|---|\n{maps}"
    )


def _status() -> str:
    found = status_words()
    _explained(found, words.STATUS, "STATUS")
    rows = "".join(f"| `{w}` | {words.STATUS[w][0]} | {words.STATUS[w][1]} |\n" for w in found)
    return (
        "# Status words\n\n"
        "The column `status` of every table, and `ImageError.code` in Python. The column `error` beside it holds a\n"
        "sentence with the details. A failed input costs its own row and no other.\n\n"
        f"| word | meaning | what to do |\n|---|---|---|\n{rows}"
    )


def _exit_codes() -> str:
    codes = "".join(f"| {code} | {text} |\n" for code, text in _MEANINGS.items())
    assert set(EXIT_CODES.values()) <= _MEANINGS.keys()
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SkinclfError)
    ]
    rows = "".join(f"| `{k.__name__}` | {_code(k)} | {_first_line(k)} |\n" for k in kinds)
    return (
        f"# Exit codes and errors\n\n| exit code | meaning |\n|---|---|\n{codes}\n"
        "In Python the same failures are exceptions, all of them a `SkinclfError`. On the command line each ends with\n"
        "the code of its class; `SKINCLF_DEBUG=1` prints the traceback.\n\n"
        f"| `skinclf.errors` | exit code | when |\n|---|---|---|\n{rows}"
    )


def _code(kind: type[SkinclfError]) -> int:
    return exit_code(kind.__new__(kind))


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0]


def _models() -> str:
    blocks = []
    for model in list_models():
        default = " (default)" if model.name == DEFAULT else ""
        place = "built in" if model.repo_id is None else f"Hub repository `{model.repo_id}`"
        blocks.append(
            f"## {model.name}{default}\n\n{model.description}\n\n{place}; {model.task}; licence {model.license}.\n"
        )
        metrics = ROOT / "model_cards" / model.name / "metrics.json"
        if metrics.is_file():
            blocks.append(_figures(json.loads(metrics.read_text(encoding="utf-8"))))
        if (metrics.parent / "README.md").is_file():
            blocks.append(f"The whole card: [{model.name}](../project/card-{model.name}.md).\n")
    return (
        "# Models\n\nWhat `--model` takes by name. Every figure is read from the `metrics.json` of the\n"
        "model's card, which `skinclf evaluate` wrote.\n\n" + "\n".join(blocks)
    )


FIGURES = (
    ("ROC-AUC, malignant", "binary", "roc_auc"),
    ("PR-AUC, malignant", "binary", "pr_auc"),
    ("sensitivity at the default threshold", "operating_point", "image", "sensitivity"),
    ("specificity at the default threshold", "operating_point", "image", "specificity"),
    ("accuracy, all classes", "multiclass", "accuracy"),
    ("balanced accuracy, all classes", "multiclass", "balanced_accuracy"),
    ("macro ROC-AUC", "multiclass", "roc_auc_macro"),
    ("expected calibration error, top label", "multiclass", "ece_top_label"),
)


def _figures(metrics: Mapping[str, Any]) -> str:
    data, rows = metrics["data"], []
    for title, *path in FIGURES:
        value: Any = metrics
        for key in path:
            value = value[key]
        rows.append(f"| {title} | {value['value']:.3f} | {value['low']:.3f} to {value['high']:.3f} |\n")
    confidence = f"{metrics['settings']['confidence']:.0%}"
    lesions = f", {data['lesions']:,} lesions" if data["lesions"] else ""
    return (
        f"On {data['n']:,} images{lesions} of the split `{data['split']}`, taxonomy `{data['taxonomy']}`:\n\n"
        f"| | value | {confidence} interval |\n|---|---|---|\n{''.join(rows)}"
    )
