"""What was measured of a served model and lies beside it: figures by subgroup, and checks of its maps.

`metrics.json` of an evaluation and `explanation.json` of checks of maps are read from the bundle's folder. Built-in
models bring the parts of them that are shown; `skinclf_training.publishing.evidence` writes those.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skinclf._utils.json import read_json
from skinclf.errors import InvalidArgumentError
from skinclf.explanation.checks.files import FILE as CHECKS
from skinclf.explanation.checks.files import read_checks
from skinclf.explanation.checks.run import CHECKS as NAMES
from skinclf.explanation.checks.run import check_words
from skinclf.models.identity import ModelIdentity
from skinclf.models.loaded import LoadedModel
from skinclf.models.spec import ModelSpec

METRICS = "metrics.json"
_KIND, _SCHEMA = "skinclf-metrics", 1
_FIGURES = ("sensitivity", "specificity", "roc_auc")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about one model beside its predictions.

    Attributes:
        subgroups: Figures by subgroup with the data they come from; None where none were measured.
        checks: Checks of maps, with the method and target that they are of; None where none were made.
        about: Sentences of the model's card: `limitations`, `failure_modes` and `citation`.
        notices: Sentences on files that cannot be shown.
    """

    subgroups: Mapping[str, Any] | None = None
    checks: Mapping[str, Any] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: LoadedModel) -> Evidence:
        """Read what lies in the folder of a bundle; nothing for any other model."""
        if model.folder is None:
            return cls()
        notices: list[str] = []
        found: dict[str, Any] = {}
        for name, read in ((METRICS, _read_metrics), (CHECKS, read_checks)):
            path = model.folder / name
            if not path.is_file():
                continue
            try:
                content = read(path)
                _check_model(content, model.spec, path)
                if name == METRICS:
                    found["about"], found[name] = _about(content), _subgroups(content)
                else:
                    found[name] = _checks(content)
            except (InvalidArgumentError, KeyError, TypeError, ValueError, AttributeError) as error:
                text = str(error) if isinstance(error, InvalidArgumentError) else f"{path}: {error!r}."
                notices.append(f"Not shown beside the model: {text}")
        return cls(found.get(METRICS), found.get(CHECKS), found.get("about", {}), tuple(notices))

    def checks_of(self, method: str, target: str) -> Mapping[str, Any] | None:
        """Checks of the maps of a method and target; None where they were not made of these."""
        if self.checks is None or (method, target) != (self.checks["method"], self.checks["target"]):
            return None
        return self.checks

    @property
    def limits(self) -> list[str]:
        """Sentences on what the model cannot do, from its card."""
        return list(self.about.get("limitations", ()))

    def to_dict(self) -> dict[str, Any]:
        """JSON form: some keys of a model of `/v1/models`."""
        return {
            "failures": list(self.about.get("failure_modes", ())),
            "citation": self.about.get("citation"),
            "subgroups": self.subgroups,
            "map_checks": self.checks,
        }


def _check_model(content: Mapping[str, Any], spec: ModelSpec, path: Path) -> None:
    made_for = ModelIdentity.from_dict(content.get("model") or {})
    if other := made_for.differences(spec.identity):
        raise InvalidArgumentError(f"{path}: of another model: other {', '.join(other)}.")


def _read_metrics(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if content.get("kind") != _KIND or content.get("schema") != _SCHEMA:
        raise InvalidArgumentError(f"{path}: no evaluation (schema {_SCHEMA}).")
    return content


def _about(content: Mapping[str, Any]) -> dict[str, Any]:
    about = content.get("about") or {}
    found: dict[str, Any] = {
        key: [str(x) for x in about.get(key, ())] for key in ("limitations", "failure_modes")
    }
    if about.get("citation"):
        found["citation"] = str(about["citation"])
    return found


def _subgroups(content: Mapping[str, Any]) -> dict[str, Any] | None:
    rows = content.get("subgroups")
    if not rows:
        return None
    data, threshold = content["data"], content.get("threshold") or {}
    return {
        "data": Path(str(data.get("labels_file") or "")).name or None,
        "split": data.get("split"),
        "n": data.get("n"),
        "lesions": data.get("lesions"),
        "confidence": (content.get("settings") or {}).get("confidence"),
        "threshold": threshold.get("value"),
        "rows": [
            {
                "column": str(row["column"]),
                "value": str(row["value"]),
                "n": row["n"],
                "n_positive": row.get("n_positive"),
                **{name: _estimate(row.get(name)) for name in _FIGURES},
            }
            for row in rows
        ],
    }


def _estimate(figure: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if figure is None or figure.get("value") is None:
        return None
    return {"estimate": figure["value"], "low": figure.get("low"), "high": figure.get("high")}


def _checks(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "method": str(content["method"]),
        "target": str(content["target"]),
        "passed": {name: bool(content[name]["passed"]) for name in NAMES if name in content},
        "sentences": check_words(content),
    }
