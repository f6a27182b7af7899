"""The HTML page: one file, no scripts, nothing fetched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinclf._utils.files import replace_file, writing
from skinclf.errors import InvalidArgumentError
from skinclf.evaluation.report import class_figures, curve_figures, forest_figures, style
from skinclf.evaluation.report.checklist import checklist
from skinclf.evaluation.report.maps import ErrorMap, error_maps
from skinclf.evaluation.report.pictures import data_uri, find_files, thumbnails
from skinclf.explanation.overlay import SENTENCE

if TYPE_CHECKING:
    from skinclf.explanation.explainer import Explainer

Draw = Callable[[Mapping[str, Any], Path], "str | None"]
#: Figure name, which is also its file name, to what draws it and the words for those who cannot see it.
FIGURES: Mapping[str, tuple[Draw, str]] = {
    "roc": (curve_figures.roc, "ROC curves"),
    "precision_recall": (curve_figures.precision_recall, "Precision-recall curves"),
    "confusion": (class_figures.confusion, "Confusion matrices, as counts and in per cent"),
    "per_class": (class_figures.per_class, "Sensitivity, precision, F1 and ROC-AUC by class"),
    "scores": (curve_figures.scores, "Histogram of predicted probabilities by reference"),
    "flagged": (forest_figures.flagged, "Share of each class that is flagged"),
    "reliability": (class_figures.reliability, "Reliability diagrams"),
    "decision_curve": (curve_figures.decision_curve, "Decision curve"),
    "risk_coverage": (curve_figures.risk_coverage, "Risk-coverage curve"),
    "subgroups": (forest_figures.subgroups, "Sensitivity, specificity and ROC-AUC by subgroup"),
    "differences": (forest_figures.differences, "Differences between two models"),
}


def write_report(
    metrics: Mapping[str, Any],
    folder: Path,
    *,
    images: Path | Mapping[str, Path] | None = None,
    explainer: Explainer | None = None,
    explain: int = 0,
) -> list[Path]:
    """Draw the figures and write the page.

    Args:
        metrics: Content of `metrics.json`.
        folder: Gets `report.html` and `figures/*.png`; must exist.
        images: Folder of the images, or files by image name, for small pictures of the errors.
        explainer: Explainer of the model that made the predictions, for maps of errors.
        explain: How many of the most confident errors get a map.

    Returns:
        The files written.

    Raises:
        InvalidArgumentError: `images` cannot be listed, or maps are asked for without images or explainer.
        MismatchError: The explainer's model did not make the predictions.
        OutputError: A file cannot be written.
    """
    files = _files(metrics, images)
    maps: Mapping[str, ErrorMap] = {}
    if explain:
        if explainer is None or images is None:
            raise InvalidArgumentError(
                "Maps of errors need the images and an explainer; name both, or set `explain` to 0.",
                parameter="explain",
            )
        maps = error_maps(metrics, files, explainer, explain)
    with writing(folder):
        figures = draw(metrics, folder / "figures")
        page = folder / "report.html"
        replace_file(page, render(metrics, figures, files=files, maps=maps).encode())
    return [page, *(path for path, _ in figures.values())]


def draw(metrics: Mapping[str, Any], folder: Path) -> dict[str, tuple[Path, str]]:
    """Draw every figure that the metrics allow; name to file and caption. Stale ones are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {}
    for name, (function, _) in FIGURES.items():
        path = folder / f"{name}.png"
        path.unlink(missing_ok=True)
        caption = function(metrics, path)
        if caption is not None:
            drawn[name] = path, caption
    return drawn


def render(
    metrics: Mapping[str, Any],
    figures: Mapping[str, tuple[Path, str]],
    *,
    files: Mapping[str, Path] | None = None,
    maps: Mapping[str, ErrorMap] | None = None,
) -> str:
    """The page as text.

    Args:
        metrics: Content of `metrics.json`.
        figures: From `draw`.
        files: Image files by name, for small pictures of the errors.
        maps: Maps of errors by image name.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "number": style.number,
        "estimate": style.estimate,
        "percent": percent,
        "share": share,
        "interval": interval,
        "pvalue": p_value,
        "column": style.column_name,
    }
    template = _resource("report.html.j2")
    page: str = environment.from_string(template).render(
        css=stylesheet(),
        m=metrics,
        names={label["code"]: label["name"] for label in metrics["data"]["labels"]},
        positive=style.positive_name(metrics) if metrics["binary"] else "",
        figures={
            name: {
                "uri": data_uri(path.read_bytes(), "image/png"),
                "caption": caption,
                "alt": FIGURES[name][1],
            }
            for name, (path, caption) in figures.items()
        },
        tiles=list(_tiles(metrics)),
        pictures=thumbnails(files or {}),
        maps=maps or {},
        sentence=SENTENCE,
        checklist=checklist(metrics),
        few=style.FEW,
    )
    return page


def _files(metrics: Mapping[str, Any], images: Path | Mapping[str, Path] | None) -> Mapping[str, Path]:
    names = dict.fromkeys(row["image"] for rows in metrics["errors"].values() for row in rows)
    if images is None:
        return {}
    if isinstance(images, Path):
        return find_files(names, images)
    return {name: images[name] for name in names if name in images}


def stylesheet() -> str:
    """The look of every page, to stand between `<style>` and `</style>`."""
    return _resource("page.css")


def _resource(name: str) -> str:
    return resources.files("skinclf.evaluation.report").joinpath(name).read_text(encoding="utf-8")


def _tiles(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """The few figures at the top: title, estimate, whether it reads in per cent."""
    point, binary, overall = metrics["operating_point"], metrics["binary"], metrics["multiclass"]
    if point:
        unit = "lesion" if point["lesion"] and metrics["threshold"]["unit"] == "lesion" else "image"
        yield f"Sensitivity, by {unit}", point[unit]["sensitivity"], True
        yield f"Specificity, by {unit}", point[unit]["specificity"], True
    if binary:
        yield f"ROC-AUC, {style.positive_name(metrics).lower()}", binary["roc_auc"], False
    if overall and len(metrics["data"]["labels"]) > 2:
        yield "Balanced accuracy", overall["balanced_accuracy"], True
        yield "Macro ROC-AUC", overall["roc_auc_macro"], False
    if binary:
        yield f"Calibration error, {style.positive_name(metrics).lower()}", binary["ece"], False


def percent(value: float | None, digits: int = 1) -> str:
    """A proportion in per cent."""
    return "\u2013" if value is None else f"{100 * value:.{digits}f}\u2009%"


def share(item: Mapping[str, Any] | None) -> str:
    """A proportion with its interval in per cent, such as `91.2 % (89.4-92.8)`."""
    if item is None or item["value"] is None:
        return "\u2013"
    if item["low"] is None or item["high"] is None:
        return percent(item["value"])
    return f"{percent(item['value'])} ({interval(item, in_percent=True)})"


def interval(item: Mapping[str, Any], in_percent: bool) -> str:  # noqa: FBT001 - a filter's argument
    """The bounds alone."""
    if item["low"] is None or item["high"] is None:
        return ""
    factor, digits = (100, 1) if in_percent else (1, 3)
    return f"{factor * item['low']:.{digits}f}\u2013{factor * item['high']:.{digits}f}"


def p_value(value: float) -> str:
    """A p-value to two digits, or that it is small."""
    return "< 0.001" if value < 0.001 else f"= {value:.2g}"
