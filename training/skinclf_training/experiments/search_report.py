"""Results of a search: tables, the best configuration, figures and a page."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinclf._utils.files import write_text
from skinclf._utils.json import write_json
from skinclf._utils.notice import NOTICE
from skinclf._version import __version__
from skinclf_training.config.schema import Config
from skinclf_training.experiments.search_space import Space

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Slice plots side by side.
_COLUMNS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRow:
    """One finished trial.

    Attributes:
        number: Number of the trial; its folder is `trials/NNN`.
        state: State: `complete`, `pruned` or `failed`.
        value: Best figure of its epochs; None unless complete.
        best_epoch: Epoch of the best figure, counted from 1.
        seconds: Seconds of training.
        params: Value by key; lists and mappings as JSON text.
        figures: Validation figure by epoch.
        error: Reason of a failure; empty otherwise.
    """

    number: int
    state: str
    value: float | None
    best_epoch: int | None
    seconds: float | None
    params: Mapping[str, Any]
    figures: Mapping[int, float]
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """State of a search.

    Attributes:
        figure: Validation figure that is the objective.
        direction: Direction of the objective: `minimize` or `maximize`.
        asked: Settings of the search: `config`, `space`, `split_sha256`, `sampler`, `pruner` and `seed`.
        trials: Finished trials by number.
        importance: By key, its share of the figure's variance (fANOVA); empty with fewer than three
            figures, or while the search goes on.
    """

    figure: str
    direction: str
    asked: Mapping[str, Any]
    trials: tuple[TrialRow, ...]
    importance: Mapping[str, float] = field(default_factory=dict)
    skinclf_version: str = __version__

    @property
    def best(self) -> TrialRow | None:
        """The complete trial with the best figure, the first of equals."""
        return next((t for t in self.ranked() if t.value is not None), None)

    def ranked(self) -> list[TrialRow]:
        """Best first; trials without a figure last, by number."""
        sign = 1 if self.direction == "minimize" else -1
        return sorted(self.trials, key=lambda t: (math.inf if t.value is None else sign * t.value, t.number))

    def to_dict(self) -> dict[str, Any]:
        """JSON form, the content of `study.json`."""
        best = self.best
        return {
            "schema": 1,
            "kind": "skinclf-search",
            "skinclf_version": self.skinclf_version,
            "objective": self.figure,
            "direction": self.direction,
            **self.asked,
            "best": None if best is None else asdict(best),
            "importance": dict(self.importance),
            "trials": [asdict(trial) for trial in self.trials],
        }


def write_tables(outcome: Outcome, folder: Path, config: Config, space: Space) -> None:
    """Write `study.json`, `trials.csv` and, when a trial is complete, `best.yaml`.

    Args:
        outcome: State of the search.
        folder: Folder of the search.
        config: Configuration that every trial started from.
        space: Search space.

    Raises:
        OutputError: A file cannot be written.
    """
    write_json(folder / "study.json", outcome.to_dict())
    keys = list(space.distributions)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["trial", "state", outcome.figure, "best_epoch", "epochs", "seconds", *keys, "error"])
    for t in outcome.trials:
        tried = [t.params.get(key) for key in keys]
        writer.writerow(
            [t.number, t.state, t.value, t.best_epoch, len(t.figures), t.seconds, *tried, t.error]
        )
    write_text(folder / "trials.csv", buffer.getvalue())
    if (best := outcome.best) is not None:
        text = space.config(config, best.params).to_yaml()
        write_text(
            folder / "best.yaml",
            f"# Trial {best.number} of {len(outcome.trials)}: {outcome.figure} {best.value:.4f} on the validation "
            f"part at epoch {best.best_epoch}.\n"
            f"# `skinclf export` makes a bundle of the run in trials/{best.number:03d}; `skinclf train` with this "
            f"configuration trains it again.\n{text}",
        )


def write_page(outcome: Outcome, folder: Path, space: Space) -> list[Path]:
    """Draw the figures and write `report.html`, one file without scripts.

    Returns:
        The files written.

    Raises:
        OutputError: A file cannot be written.
    """
    from jinja2 import Environment, StrictUndefined

    from skinclf.evaluation.report.page import stylesheet
    from skinclf.evaluation.report.pictures import data_uri
    from skinclf.evaluation.report.style import number

    drawn = _draw(outcome, folder / "figures", space)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "short": short}
    template = (
        resources.files("skinclf_training.experiments").joinpath("search.html.j2").read_text(encoding="utf-8")
    )
    states = [t.state for t in outcome.trials]
    best = outcome.best
    page = environment.from_string(template).render(
        css=stylesheet(),
        o=outcome,
        notice=NOTICE,
        ranked=outcome.ranked(),
        keys=list(space.distributions),
        tiles=[
            (f"Best {outcome.figure}", number(None if best is None else best.value, 4)),
            *((state.capitalize(), str(states.count(state))) for state in ("complete", "pruned", "failed")),
            ("Training, hours", f"{sum(t.seconds or 0 for t in outcome.trials) / 3600:.2f}"),
        ],
        sections=[
            ("Trial by trial", "history", False),
            ("Epoch by epoch", "curves", False),
            ("What matters", "importance", False),
            ("Key by key", "slices", True),
        ],
        figures={
            name: {"uri": data_uri(path.read_bytes(), "image/png"), "caption": caption}
            for name, (path, caption) in drawn.items()
        },
    )
    write_text(folder / "report.html", page)
    return [folder / "report.html", *(path for path, _ in drawn.values())]


def short(value: Any) -> str:
    """Short text of a parameter: four digits of a float, other values unchanged."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _draw(outcome: Outcome, folder: Path, space: Space) -> dict[str, tuple[Path, str]]:
    """Draw every figure that the trials allow, and remove stale ones; file and caption by name."""
    folder.mkdir(parents=True, exist_ok=True)
    figures: Mapping[str, Callable[[Outcome, Path, Space], str | None]] = {
        "history": _history,
        "curves": _curves,
        "importance": _importance,
        "slices": _slices,
    }
    drawn = {}
    for name, function in figures.items():
        path = folder / f"{name}.png"
        path.unlink(missing_ok=True)
        if (caption := function(outcome, path, space)) is not None:
            drawn[name] = path, caption
    return drawn


def _complete(outcome: Outcome) -> list[tuple[TrialRow, float]]:
    return [(t, t.value) for t in outcome.trials if t.value is not None]


def _history(outcome: Outcome, path: Path, _space: Space) -> str | None:
    from skinclf.evaluation.report import style

    points = _complete(outcome)
    if not points:
        return None
    better = min if outcome.direction == "minimize" else max
    so_far = [points[0][1]]
    for _, value in points[1:]:
        so_far.append(better(so_far[-1], value))
    pruned = [(t.number, better(t.figures.values())) for t in outcome.trials if t.state == "pruned"]
    with style.canvas(path, height=3.8) as (_, axes):
        numbers = [t.number for t, _ in points]
        axes.step(numbers, so_far, where="post", color=style.MAIN, label="Best so far")
        axes.plot(numbers, [v for _, v in points], "o", ms=5, color=style.MAIN, label="Complete")
        if pruned:
            axes.plot(*zip(*pruned, strict=True), "o", ms=5, mfc="white", mec=style.OTHER, label="Pruned")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("Trial")
        axes.set_ylabel(outcome.figure)
        axes.legend(loc="best")
    return "Every trial's best epoch, and the best of all so far; of pruned trials the best epoch before the stop."


def _curves(outcome: Outcome, path: Path, _space: Space) -> str | None:
    from skinclf.evaluation.report import style

    curves = [t for t in outcome.trials if len(t.figures) > 1]
    if not curves:
        return None
    with style.canvas(path, height=3.8) as (_, axes):
        best = outcome.best
        for t in curves:
            if t != best:
                axes.plot(
                    list(t.figures),
                    list(t.figures.values()),
                    color=style.MUTED,
                    lw=1,
                    alpha=0.45,
                    ls="-" if t.state == "complete" else ":",
                )
        if best is not None:
            axes.plot(
                list(best.figures),
                list(best.figures.values()),
                color=style.MAIN,
                label=f"Trial {best.number}",
            )
            axes.legend(loc="best")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("Epoch")
        axes.set_ylabel(outcome.figure)
    return "The figure by epoch; the best trial in colour, dotted ones did not end."


def _importance(outcome: Outcome, path: Path, _space: Space) -> str | None:
    from skinclf.evaluation.report import style

    if not outcome.importance:
        return None
    items = sorted(outcome.importance.items(), key=lambda item: item[1])
    with style.canvas(path, height=0.4 * len(items) + 1.0) as (_, axes):
        axes.barh([key for key, _ in items], [share for _, share in items], 0.6, color=style.MAIN)
        axes.grid(visible=False, axis="y")
        style.percent_axes(axes, y=False)
        axes.set_xlabel("Share of the variance")
    return (
        f"How much of the figure's variance over {len(_complete(outcome))} complete trials each key explains by "
        "itself (fANOVA, Hutter et al. 2014), scaled to 100 % in all. With few trials this is a guess."
    )


def _slices(outcome: Outcome, path: Path, space: Space) -> str | None:
    from matplotlib.colors import LinearSegmentedColormap

    from skinclf.evaluation.report import style

    points = _complete(outcome)
    if len(points) < 2:
        return None
    keys = list(space.distributions)
    columns = min(_COLUMNS, len(keys))
    rows = math.ceil(len(keys) / columns)
    colours = LinearSegmentedColormap.from_list("trials", style.HEAT[1:])
    with style.canvas(path, width=3.4 * columns, height=2.9 * rows, columns=columns, rows=rows) as (_, axes):
        panels = list(getattr(axes, "flat", [axes]))
        for panel, key in zip(panels, keys, strict=False):
            _places(panel, key, space)
            panel.scatter(
                [_place(t.params[key], key, space) for t, _ in points],
                [v for _, v in points],
                c=[t.number for t, _ in points],
                cmap=colours,
                s=30,
                edgecolors=style.INK,
                linewidths=0.4,
            )
            panel.set_title(key)
            panel.set_ylabel(outcome.figure)
        for panel in panels[len(keys) :]:
            panel.set_axis_off()
    return "Every complete trial's figure against each key; darker points are later trials."


def _place(value: Any, key: str, space: Space) -> float:
    if "choices" in space.source[key]:
        return float(list(space.distributions[key].choices).index(value))
    return float(value)


def _places(axes: Axes, key: str, space: Space) -> None:
    """Ticks of a key: its choices by name, a logarithmic axis where it is drawn so."""
    along = space.distributions[key]
    if "choices" in space.source[key]:
        axes.set_xticks(range(len(along.choices)), [short(c) for c in along.choices], rotation=20)
        axes.set_xlim(-0.5, len(along.choices) - 0.5)
    elif along.log:
        axes.set_xscale("log")
