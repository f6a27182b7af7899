"""Model cards: one template, filled from a bundle and its evaluation alone, with its figures beside it."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from skinclf._utils.files import replace_file, writing
from skinclf._utils.json import read_json
from skinclf._utils.public import without_paths
from skinclf.errors import InvalidArgumentError, MismatchError
from skinclf.evaluation.robustness.files import FILE as ROBUSTNESS
from skinclf.evaluation.robustness.files import read_robustness
from skinclf.explanation.checks.files import FILE as CHECKS
from skinclf.explanation.checks.files import read_checks
from skinclf.explanation.checks.run import check_words
from skinclf.models.bundle import CARD, read_spec
from skinclf.models.identity import ModelIdentity
from skinclf.models.registry import list_models
from skinclf.models.spec import ModelSpec
from skinclf_training.publishing.card_metadata import check_card, front_matter, timm_reference
from skinclf_training.publishing.card_text import About, cards_dir, find_about, read_about, without_blank_runs
from skinclf_training.publishing.other_data import other_files, other_rows

METRICS = "metrics.json"
#: Alternative text of each figure, by file name.
FIGURES: Mapping[str, str] = {
    "roc.png": "ROC curves on the test part",
    "reliability.png": "Reliability diagrams on the test part",
    "confusion.png": "Confusion matrices on the test part, as counts and in per cent",
}
#: Key of PNG files for the hash of the evaluation that they were drawn from.
DRAWN_FROM = "skinclf-metrics-sha256"
_TEMPLATE = "template.md.jinja"
_KIND, _SCHEMA = "skinclf-metrics", 1
#: Keys of the provenance that the template uses; converted models lack some of them.
_PROVENANCE = ("split_sha256", "versions", "hardware", "minutes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Model card with its figures and evaluation.

    Attributes:
        text: Content of `README.md`.
        figures: PNG data by file name.
        metrics: Content of `metrics.json`.
        beside: Further measurements by file name: `explanation.json`, `robustness.json`, `other-*.json`.
    """

    text: str
    figures: Mapping[str, bytes]
    metrics: bytes
    beside: Mapping[str, bytes] = field(default_factory=dict)

    def write(self, folder: Path) -> list[Path]:
        """Write the card, its figures and its evaluation; the card comes last.

        Raises:
            OutputError: The folder cannot be written.
        """
        files = {**self.figures, METRICS: self.metrics, **self.beside, CARD: self.text.encode()}
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                replace_file(folder / name, content)
        return [folder / name for name in files]


def make_card(
    bundle: Path,
    metrics: Path,
    *,
    about: Path | About | None = None,
    repo_id: str | None = None,
    checks: Path | None = None,
    robustness: Path | None = None,
) -> Card:
    """Fill the template for a bundle and draw the figures.

    Args:
        bundle: Folder of the bundle.
        metrics: File `metrics.json` of an evaluation of this bundle.
        about: Text of the card, or its YAML file (`read_about`); None takes the text that comes with skinclf for the
            training data.
        repo_id: Repository of the model on the Hub; None names the model as this installation does.
        checks: File `explanation.json` of checks of this bundle's maps; None takes the one beside `metrics`, if there
            is one.
        robustness: File `robustness.json` of `skinclf.evaluation.robustness.measure.measure_robustness`; None takes the
            one beside `metrics`, if there is one, as all evaluations on further data (`other_data.PREFIX`) are.

    Raises:
        InvalidArgumentError: The evaluation is missing, or no limitations are stated.
        MismatchError: The evaluation or another measurement belongs to another model.
        ModelError: The bundle is damaged.
    """
    spec, written = read_spec(bundle), read_evaluation(metrics)
    evaluation = without_paths(written)
    check_same_model(evaluation, spec, metrics)
    found: dict[str, Mapping[str, Any]] = {}
    beside = {}
    for name, given, read in ((CHECKS, checks, read_checks), (ROBUSTNESS, robustness, read_robustness)):
        path = given or metrics.parent / name
        if given is not None or path.is_file():
            found[name], beside[name] = read(path), path.read_bytes()
            check_same_model(found[name], spec, path)
    others: dict[str, Mapping[str, Any]] = {}
    for name, path in other_files(metrics.parent).items():
        others[name], beside[path.name] = read_evaluation(path), path.read_bytes()
        check_same_model(others[name], spec, path)
    if not isinstance(about, About):
        about = find_about(spec) if about is None else read_about(about)
    # An evaluation of an earlier version may name folders of the machine that made it.
    content = metrics.read_bytes() if evaluation == written else json.dumps(evaluation, indent=1).encode()
    digest = hashlib.sha256(content).hexdigest()
    figures = {name: _signed(png, digest) for name, png in _draw(evaluation).items()}
    text = render_card(
        spec,
        evaluation,
        about,
        figures=tuple(figures),
        repo_id=repo_id,
        folder=bundle.resolve().name,
        checks=found.get(CHECKS),
        robustness=found.get(ROBUSTNESS),
        others=others,
    )
    return Card(text=text, figures=figures, metrics=content, beside=beside)


def read_evaluation(path: Path) -> dict[str, Any]:
    """Read `metrics.json`.

    Raises:
        InvalidArgumentError: The file holds no evaluation of a classifier, or one that measured nothing.
    """
    if not path.is_file():
        raise InvalidArgumentError(
            f"{path}: no such file. A card needs an evaluation: `skinclf.evaluate` gives one."
        )
    content = read_json(path)
    if content.get("kind") != _KIND or content.get("schema") != _SCHEMA:
        raise InvalidArgumentError(f"{path}: not a metrics.json of an evaluation (schema {_SCHEMA}).")
    if not content["data"]["n"] or not (content["multiclass"] or content["binary"]):
        raise InvalidArgumentError(
            f"{path}: the evaluation measured nothing; evaluate on labelled test images."
        )
    return content


def check_same_model(evaluation: Mapping[str, Any], spec: ModelSpec, source: Path) -> None:
    """Refuse an evaluation of other weights, preprocessing, labels or calibration.

    Raises:
        MismatchError: The evaluation belongs to another model, or does not record which.
    """
    tested = evaluation["model"]
    if not tested:
        raise MismatchError(
            f"{source}: does not record which model it measured. Evaluate predictions that lie beside their "
            ".run.json, or with a threshold file of this model."
        )
    identity = ModelIdentity.from_dict(tested)
    wrong = spec.identity.differences(identity)
    if wrong or "weights_sha256" not in identity.bound:
        raise MismatchError(
            f"{source}: measured {tested.get('name')}, not {spec.name}: other "
            f"{', '.join(wrong) or 'weights, as far as is recorded'}. Evaluate this bundle's own predictions."
        )


def render_card(
    spec: ModelSpec,
    metrics: Mapping[str, Any],
    about: About,
    *,
    figures: tuple[str, ...] = (),
    repo_id: str | None = None,
    folder: str | None = None,
    checks: Mapping[str, Any] | None = None,
    robustness: Mapping[str, Any] | None = None,
    others: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """The card as text: YAML front matter and Markdown.

    Args:
        spec: Contract of the bundle.
        metrics: Content of `metrics.json`.
        about: Text of the card.
        figures: Names of the figures beside the card.
        repo_id: Repository of the model on the Hub.
        folder: Name of the bundle's folder, by which commands load a model that is neither on the Hub nor known by
            name; None takes the name of the model.
        checks: Content of `explanation.json`; None leaves its section out.
        robustness: Content of `robustness.json`; None leaves its section out.
        others: Evaluations on further data, by the name of the data.

    Raises:
        InvalidArgumentError: The limitations are empty, or the front matter is not what the Hub takes.
    """
    from jinja2 import Environment, StrictUndefined

    from skinclf.evaluation.report import page, style

    if not about.limitations:
        raise InvalidArgumentError(f"{spec.name}: a card without limitations is no card; write them down.")
    environment = Environment(  # noqa: S701 - Markdown, not HTML
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {
        "percent": page.percent,
        "share": page.share,
        "number": style.number,
        "estimate": style.estimate,
        "column": style.column_name,
        "count": _count,
        "cell": _cell,
    }
    spec = spec.replace(name=without_paths(spec.name))
    template = (cards_dir() / _TEMPLATE).read_text(encoding="utf-8")
    training = public_training(spec.training)
    known = spec.name if any(model.name == spec.name for model in list_models()) else None
    text = environment.from_string(template).render(
        header=front_matter(spec, metrics, about),
        m=metrics,
        spec=spec,
        about=about,
        t=dict.fromkeys(_PROVENANCE) | training,
        kind="Binary" if len(spec.labels) == 2 else f"{len(spec.labels)}-class",
        positive=style.positive_name(metrics) if metrics["binary"] else "",
        preprocess=_words(spec.preprocess.to_dict()),
        points=list(_operating_points(spec)),
        procedure=_procedure(spec, training),
        recipe=yaml.safe_dump(training["config"], sort_keys=False).strip() if training.get("config") else "",
        also=[Path(x).name for x in ((training.get("config") or {}).get("data") or {}).get("also") or ()],
        columns={row["column"] for row in metrics["subgroups"]},
        figures={name: FIGURES[name] for name in figures},
        checks=checks,
        robustness=robustness,
        others=list(other_rows(others or {})),
        check_words=[] if checks is None else check_words(checks),
        reference=repo_id or known or folder or spec.name,
        beside=None if repo_id or known else folder,
        published=repo_id is not None,
        timm_name=timm_reference(spec, repo_id),
    )
    text = without_blank_runs(text)
    check_card(text)
    return text


def public_training(training: Mapping[str, Any]) -> dict[str, Any]:
    """Provenance of a model without the folders of the machine that trained or converted it."""
    told = dict(without_paths(json.loads(json.dumps(dict(training)))))
    model = (told.get("config") or {}).get("model") or {}
    if model.get("init"):
        model["init"] = Path(model["init"]).name
    return told


def _operating_points(spec: ModelSpec) -> Iterator[dict[str, Any]]:
    from skinclf.evaluation.report.page import share

    for name, point in spec.operating_points.items():
        shown = dict(point.get("intervals") or {})
        rates = {
            key: share(shown.get(key) or {"value": point.get(key), "low": None, "high": None})
            for key in ("sensitivity", "specificity")
        }
        yield {
            "name": name,
            "default": name == spec.default_operating_point,
            "threshold": point["threshold"],
            "claim": str(point.get("claim") or ""),
            **rates,
        }


def _procedure(spec: ModelSpec, training: Mapping[str, Any]) -> dict[str, str]:
    """Training procedure that the bundle records, in the order of the card; missing facts are left out."""
    words = {
        "data": "Data",
        "init": "Starting weights",
        "seed": "Seed",
        "epochs": "Epochs",
        "epoch": "Epoch of these weights",
        "selected_by": "Selected by",
        "code": "Code",
    }
    told = {title: str(training[key]) for key, title in words.items() if training.get(key) is not None}
    if spec.decision is not None:
        told["Predicted class"] = str(spec.decision)
    origin = training.get("converted_from")
    if origin:
        told["Converted from"] = f"{origin.get('source')} at {origin.get('revision') or 'no stated revision'}"
    return {"Architecture": f"`{spec.architecture}`", **told} if told else {}


def _draw(evaluation: Mapping[str, Any]) -> dict[str, bytes]:
    """Draw the figures of the card that the evaluation allows."""
    from skinclf.evaluation.report.page import FIGURES as DRAWERS

    drawn = {}
    with TemporaryDirectory() as folder:
        for name in FIGURES:
            path = Path(folder) / name
            if DRAWERS[path.stem][0](evaluation, path) is not None:
                drawn[name] = path.read_bytes()
    return drawn


def _signed(png: bytes, digest: str) -> bytes:
    """Add the hash of the evaluation to a PNG."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    note, buffer = PngInfo(), io.BytesIO()
    note.add_text(DRAWN_FROM, digest)
    with Image.open(io.BytesIO(png)) as image:
        image.save(buffer, "PNG", optimize=True, pnginfo=note)
    return buffer.getvalue()


def _words(values: Mapping[str, Any]) -> dict[str, str]:
    return {
        key: json.dumps(value) if isinstance(value, (list, dict)) else str(value)
        for key, value in values.items()
    }


def _count(value: int | None) -> str:
    return "\u2013" if value is None else f"{value:,}"


def _cell(text: Any) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")
