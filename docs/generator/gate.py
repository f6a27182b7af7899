"""Page of the image gate: the columns of `gate check`, and what the gates of the built-in models cost and catch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from generator import words
from skinclf.inference.gate.picture import NAMES

DOCS = Path(__file__).resolve().parents[1]


def pages() -> dict[str, str]:
    """Name of a page to its text."""
    reports = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(DOCS.glob("gate-ham10000-*.json"))
    ]
    missing = sorted(set(NAMES) ^ words.GATE.keys())
    if missing:
        raise SystemExit(f"docs/generator/words.py, GATE: {', '.join(missing)}.")
    columns = "".join(f"| `{name}` | {words.GATE[name]} |\n" for name in NAMES)
    return {
        "gate.md": (
            "# The image gate in numbers\n\n"
            "What the gate is: [The image gate](../gate.md).\n\n"
            "## Columns of `gate check`\n\n"
            "Beside `image`, `gate`, `gate_reasons`, `p_familiar`, `status` and `error`. `duplicate_of` names the\n"
            "first image of the run that looks the same: recompressed, at another size or brightness, but not turned\n"
            "or mirrored.\n\n"
            f"| column | meaning |\n|---|---|\n{columns}\n" + "\n".join(map(_model, reports))
        )
    }


def _share(value: Mapping[str, Any]) -> str:
    low, high = 100 * value["low"], 100 * value["high"]
    return f"{value['k']:,} of {value['n']:,} | {100 * value['share']:.1f} % ({low:.1f} to {high:.1f})"


def _model(report: Mapping[str, Any]) -> str:
    test, other = report["test"], report["other_cameras"]
    kept = {"test part, all": test["all"], "malignant": test["malignant"]}
    kept |= {f"`{code}`": value for code, value in test["by_class"].items()}
    kept |= {f"marked `{word}`": value for word, value in test["by_artefact"].items()}
    kept["ISIC 2017, other cameras"] = other["refused"]
    if "malignant" in other:
        kept["ISIC 2017, malignant"] = other["malignant"]
    kept |= {f"ISIC 2017, marked `{word}`": value for word, value in other["by_artefact"].items()}
    caught = {"photographs of things, animals, scenes": report["photographs"]["refused"]}
    caught |= {f"drawn: {kind}": value for kind, value in report["drawn"]["by_kind"].items()}
    reasons = "".join(
        f"| `{word}` | {_percent(test['reasons'], word)} | {_percent(other['reasons'], word)} |\n"
        for word in {**test["reasons"], **other["reasons"]}
    )
    fit, aurocs = report["fit"], (report["photographs"]["auroc"], report["drawn"]["auroc"])
    return (
        f"## {report['model']}\n\n"
        f"Fitted on the model's {fit['images']:,} training images, calibrated on {fit['calibration_images']:,}\n"
        "of the validation part of HAM10000; no image below was used for either. Exact\n"
        f"95 % intervals; the limit of `p_familiar` is {report['alpha']:.4g}.\n\n"
        f"| refused, though they are dermoscopy | images | share |\n|---|---|---|\n{_rows(kept)}\n"
        f"| refused, as they should be | images | share |\n|---|---|---|\n{_rows(caught)}\n"
        f"AUROC against the test part: {aurocs[0]:.4f} for the photographs, {aurocs[1]:.4f} for the drawn pictures.\n\n"
        f"| reason | test part | ISIC 2017 |\n|---|---|---|\n{reasons}"
    )


def _rows(shares: Mapping[str, Mapping[str, Any]]) -> str:
    return "".join(f"| {name} | {_share(value)} |\n" for name, value in shares.items())


def _percent(reasons: Mapping[str, Mapping[str, Any]], word: str) -> str:
    return f"{100 * reasons[word]['share']:.1f} %" if word in reasons else "none"
