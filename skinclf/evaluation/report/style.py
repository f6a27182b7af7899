"""Style of the figures: colours that colour-blind readers can tell apart, axes, sizes.

Colours are Okabe and Ito's (2008). Warm hues and solid lines are malignant classes, cool hues and
dashed lines benign ones, so that no meaning hangs on hue alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

INK = "#1f2933"
MUTED = "#66727f"
GRID = "#e4e8ec"
#: The model at hand, what it is compared with, a warning.
MAIN, OTHER, ALERT = "#0072B2", "#8a5a00", "#D55E00"
_KNOWN: Mapping[str, str] = {
    "mel": "#D55E00",
    "bcc": "#E69F00",
    "akiec": "#CC79A7",
    "ak": "#CC79A7",
    "scc": "#8c2d04",
    "nv": "#0072B2",
    "bkl": "#56B4E9",
    "df": "#009E73",
    "vasc": "#332288",
}
_WARM = ("#D55E00", "#E69F00", "#CC79A7", "#8c2d04", "#7a3b69")
_COOL = ("#0072B2", "#56B4E9", "#009E73", "#332288", "#5c6670", "#0b6e4f")
#: Pale to deep blue, even in lightness; prints well in grey.
HEAT = ("#f5f9fc", "#d5e5f1", "#9fc5e0", "#5b9bc8", "#2171a8", "#0b4272")

#: A share of fewer images than this is an anecdote, and drawn hollow.
FEW = 10
_COLUMNS = {
    "age_band": "Age",
    "sex": "Sex",
    "localization": "Site",
    "anatom_site_general": "Site",
    "dx_type": "Diagnosis by",
}
_RC: Mapping[str, Any] = {
    "figure.facecolor": "white",
    "figure.dpi": 100,
    "savefig.dpi": 170,
    "font.family": "sans-serif",
    "font.sans-serif": ["Inter", "Source Sans 3", "Helvetica Neue", "Arial", "DejaVu Sans"],
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#b6bfc8",
    "axes.linewidth": 0.8,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}


def line_styles(labels: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Colour and dash of each class, by code.

    Args:
        labels: Mappings with `code` and `malignant` (True, False or None), in label order.
    """
    styles: dict[str, dict[str, Any]] = {}
    free = {True: list(_WARM), False: list(_COOL)}
    for label in labels:
        bad = bool(label["malignant"])
        colour = _KNOWN.get(label["code"]) or free[bad][0]
        free[bad] = [*(c for c in free[bad] if c != colour), colour]
        styles[label["code"]] = {"color": colour, "linestyle": "-" if bad else (0, (5, 1.6))}
    return styles


@contextmanager
def canvas(
    path: Path,
    *,
    width: float = 6.4,
    height: float = 4.2,
    columns: int = 1,
    rows: int = 1,
    heights: Sequence[float] | None = None,
) -> Iterator[tuple[Figure, Any]]:
    """A figure in the house style, written to `path` on leaving; the caller's own style is untouched.

    Args:
        path: PNG file.
        width: Inches.
        height: Inches.
        columns: Panels side by side.
        rows: Panels one above the other.
        heights: Their relative heights.

    Yields:
        The figure and its axes: one, or an array of them.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({**mpl.rcParamsDefault, **_RC}):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, figure.subplots(rows, columns, height_ratios=heights)
        figure.savefig(path, format="png", metadata={"Software": None})


def percent_axes(axes: Axes, *, x: bool = True, y: bool = True) -> None:
    """Label axes of proportions in per cent and keep them at 0 to 1."""
    for wanted, axis, limits in ((x, axes.xaxis, axes.set_xlim), (y, axes.yaxis, axes.set_ylim)):
        if wanted:
            percent_ticks(axis)
            limits(-0.01, 1.01)


def percent_ticks(axis: Axis) -> None:
    """Label an axis of proportions in per cent."""
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1.0))


def number(value: float | None, digits: int = 3) -> str:
    """A figure as people read it; a dash where it is undefined."""
    return "\u2013" if value is None else f"{value:.{digits}f}"


def estimate(item: Mapping[str, Any], digits: int = 3) -> str:
    """A figure with its interval, such as `0.912 (0.894-0.928)`."""
    if item["value"] is None:
        return "\u2013"
    text = number(item["value"], digits)
    if item["low"] is None or item["high"] is None:
        return text
    return f"{text} ({number(item['low'], digits)}\u2013{number(item['high'], digits)})"


def positive_name(metrics: Mapping[str, Any]) -> str:
    """Name of the positive side of the two-class view."""
    codes = set(metrics["binary"]["positive"])
    if codes == {label["code"] for label in metrics["data"]["labels"] if label["malignant"]}:
        return "Malignant"
    return " + ".join(metrics["binary"]["positive"])


def column_name(column: str) -> str:
    """Name of a column of the labels table in print."""
    return _COLUMNS.get(column, column.replace("_", " ").capitalize())
