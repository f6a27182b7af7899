"""One look for every figure: colours that colour-blind readers can tell apart, quiet axes, few words.

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
    from matplotlib.figure import Figure

INK = "#1f2933"
MUTED = "#66727f"
GRID = "#e4e8ec"
#: The model at hand, what it is compared with, a warning.
MAIN, OTHER, ALERT = "#0072B2", "#8a5a00", "#D55E00"
_WARM = ("#D55E00", "#E69F00", "#CC79A7", "#8c2d04", "#7a3b69")
_COOL = ("#0072B2", "#56B4E9", "#009E73", "#332288", "#5c6670", "#0b6e4f")
#: Pale to deep blue, even in lightness; prints well in grey.
HEAT = ("#f5f9fc", "#d5e5f1", "#9fc5e0", "#5b9bc8", "#2171a8", "#0b4272")

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
    "axes.titleweight": "semibold",
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
    warm = cool = 0
    for label in labels:
        if label["malignant"]:
            styles[label["code"]] = {"color": _WARM[warm % len(_WARM)], "linestyle": "-"}
            warm += 1
        else:
            styles[label["code"]] = {"color": _COOL[cool % len(_COOL)], "linestyle": (0, (5, 1.6))}
            cool += 1
    return styles


@contextmanager
def canvas(
    path: Path, *, width: float = 6.4, height: float = 4.2, columns: int = 1, rows: int = 1
) -> Iterator[tuple[Figure, Any]]:
    """A figure in the house style, written to `path` on leaving; the caller's own style is untouched.

    Args:
        path: PNG file.
        width: Inches.
        height: Inches.
        columns: Panels side by side.
        rows: Panels one above the other.

    Yields:
        The figure and its axes: one, or an array of them.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({**mpl.rcParamsDefault, **_RC}):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, figure.subplots(rows, columns)
        figure.savefig(path, format="png", metadata={"Software": None})


def percent_axes(axes: Axes, *, x: bool = True, y: bool = True) -> None:
    """Label an axis of proportions in per cent and keep it at 0 to 1."""
    from matplotlib.ticker import PercentFormatter

    for wanted, axis, limits in ((x, axes.xaxis, axes.set_xlim), (y, axes.yaxis, axes.set_ylim)):
        if wanted:
            axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            limits(-0.01, 1.01)
