"""Figures of the exploration report, in the house style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinclf.evaluation.report import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Numbers = Mapping[str, Any]
_TILE = (240, 180)  # pixels of a picture on the sample sheet


def classes(n: Numbers, path: Path) -> str:
    """Images and lesions of each class."""
    rows = sorted(n["classes"], key=lambda row: -row["images"])
    styles = style.line_styles(n["classes"])
    with style.canvas(path, width=7.6, height=0.42 * len(rows) + 1.2) as (_, axes):
        for i, row in enumerate(rows):
            colour = styles[row["code"]]["color"]
            axes.barh(i - 0.18, row["images"], 0.34, color=colour)
            axes.barh(i + 0.18, row["lesions"], 0.34, color=colour, alpha=0.35)
            text = f" {row['images']:,} images, {row['lesions']:,} lesions"
            axes.text(row["images"], i, text, va="center", fontsize=8, color=style.MUTED)
        _rows(axes, [_named(row) for row in rows])
        axes.set_xlim(0, max(row["images"] for row in rows) * 1.75)
        _thousands(axes)
        axes.set_title("Images (full) and lesions (pale) by class")
    return "Warm colours are malignant classes, cool ones benign."


def people(n: Numbers, path: Path) -> str | None:
    """Age, sex and site of all images, benign and malignant apart."""
    drawn = [key for key in ("age", "sex", "site") if n[key]]
    if not drawn:
        return None
    groups = _groups(n)
    tallest = max([4, *(min(12, len(n[key]["values"])) for key in drawn if key != "age")])
    with style.canvas(
        path, width=3.5 * len(drawn) + 0.6, height=max(3.0, 0.26 * tallest + 1.3), columns=len(drawn)
    ) as (figure, grid):
        panels = grid if len(drawn) > 1 else [grid]
        for axes, key in zip(panels, drawn, strict=True):
            if key == "age":
                _age_histogram(axes, n, groups)
            else:
                _stacked(axes, n[key]["values"], groups, rows=tallest)
            axes.set_title(f"{key.capitalize()} ({n[key]['unknown']:,} unknown)")
        handles, names = panels[0].get_legend_handles_labels()
        if len(names) > 1:
            figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    return "Number of images."


def by_class(n: Numbers, path: Path) -> str | None:
    """Age, sex and site within each class."""
    drawn = [key for key in ("age", "sex", "site") if n[key]]
    if not drawn:
        return None
    codes = [row["code"] for row in n["classes"]]
    styles = style.line_styles(n["classes"])
    sites = list(n["site"]["values"])[:10] if n["site"] else []
    widths = {"age": 3.0, "sex": 3.0, "site": 0.42 * len(sites) + 2.2}
    with style.canvas(
        path, width=sum(widths[key] for key in drawn), height=0.38 * len(codes) + 2.0, columns=len(drawn)
    ) as (_, grid):
        panels = grid if len(drawn) > 1 else [grid]
        panels[0].get_gridspec().set_width_ratios([widths[key] for key in drawn])
        for k, (axes, key) in enumerate(zip(panels, drawn, strict=True)):
            if key == "age":
                _boxes(axes, n["age"]["spread"], codes, styles)
                axes.set_title("Age in years")
            elif key == "sex":
                _shares(axes, n["sex"]["values"], codes)
                axes.set_title("Sex")
            else:
                _heat(axes, n["site"]["values"], sites, codes)
                axes.set_title("Site, per cent of the class")
            _rows(axes, codes if k == 0 else [""] * len(codes))
    return (
        "Boxes span the middle half, whiskers 5 to 95 per cent; images whose value is unknown are left out."
    )


def pictures(n: Numbers, path: Path) -> str:
    """Sizes, and brightness and mean colour of each class."""
    sizes = sorted(n["sizes"].items(), key=lambda item: -item[1])
    shown = sizes[:8]
    codes = [code for code in (row["code"] for row in n["classes"]) if code in n["brightness"]]
    styles = style.line_styles(n["classes"])
    height = max(0.36 * max(len(shown), len(codes)) + 1.3, 2.6)
    with style.canvas(path, width=8.6, height=height, columns=2) as (_, (left, right)):
        left.barh(range(len(shown)), [count for _, count in shown], 0.6, color=style.MAIN)
        for i, (_, count) in enumerate(shown):
            left.text(count, i, f" {count:,}", va="center", fontsize=8, color=style.MUTED)
        _rows(left, [_size(size) for size, _ in shown])
        left.set_ylim(max(len(shown), len(codes)) - 0.5, -0.5)
        left.set_xlim(0, shown[0][1] * 1.2)
        _thousands(left)
        left.set_title("Size in pixels, aspect")
        _boxes(right, n["brightness"], codes, styles)
        low = min(n["brightness"][code]["p5"] for code in codes)
        high = max(n["brightness"][code]["p95"] for code in codes)
        patch = (high - low) * 0.11
        for i, code in enumerate(codes):
            colour = [value / 255 for value in n["colour"][code]]
            right.barh(i, patch, 0.62, left=high + 0.6 * patch, color=colour)
        right.set_xlim(low - 0.5 * patch, high + 1.9 * patch)
        _rows(right, codes)
        right.set_title("Brightness (0 to 255), mean colour")
    return "Patches show the mean colour of all pixels of a class."


def lesions(n: Numbers, path: Path) -> str:
    """How many images a lesion has."""
    counts = n["images_per_lesion"]
    with style.canvas(path, width=4.8, height=2.9) as (_, axes):
        axes.bar(range(len(counts)), list(counts.values()), 0.64, color=style.MAIN)
        for i, count in enumerate(counts.values()):
            axes.text(i, count, f"{count:,}", ha="center", va="bottom", fontsize=8, color=style.MUTED)
        axes.set_xticks(range(len(counts)), list(counts))
        axes.grid(visible=False, axis="x")
        axes.set_ylim(0, max(counts.values()) * 1.12)
        axes.set_xlabel("Images of a lesion")
        axes.set_ylabel("Lesions")
        axes.yaxis.set_major_formatter("{x:,.0f}")
    return "A split by image would put lesions with several images into several parts."


def samples(n: Numbers, path: Path, files: Mapping[str, Sequence[Path]]) -> str | None:
    """A sheet of pictures, one row per class; None when there are no pictures."""
    import numpy as np
    from PIL import Image, ImageOps

    from skinclf.images.decode import load_image

    columns = max((len(chosen) for chosen in files.values()), default=0)
    if not columns:
        return None
    rows = [row for row in n["classes"] if files.get(row["code"])]
    with style.canvas(
        path, width=1.55 * columns + 1.5, height=1.2 * len(rows) + 0.1, columns=columns, rows=len(rows)
    ) as (figure, grid):
        _pack(figure)
        panels = np.asarray(grid).reshape(len(rows), columns)
        for row, line in zip(rows, panels, strict=True):
            for k, axes in enumerate(line):
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
                axes.grid(visible=False)
                if k < len(files[row["code"]]):
                    picture = Image.fromarray(load_image(files[row["code"]][k], draft=_TILE))
                    axes.imshow(np.asarray(ImageOps.fit(picture, _TILE, Image.Resampling.LANCZOS)))
            line[0].set_ylabel(_wrapped(row["name"]), rotation=0, ha="right", va="center", fontsize=8.5)
    return "Chosen at random, each of another lesion, cut to one shape."


def _pack(figure: Figure) -> None:
    """Leave next to nothing between the panels."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure.set_layout_engine(ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01))


def _groups(n: Numbers) -> list[tuple[str, str, list[str]]]:
    """Name, colour and codes of what is stacked: benign and malignant, where that is known."""
    if any(row["malignant"] is None for row in n["classes"]):
        return [("all", style.MAIN, [row["code"] for row in n["classes"]])]
    return [
        (name, colour, [row["code"] for row in n["classes"] if row["malignant"] is flag])
        for name, colour, flag in (("benign", style.MAIN, False), ("malignant", style.ALERT, True))
    ]


def _age_histogram(axes: Axes, n: Numbers, groups: Sequence[tuple[str, str, list[str]]]) -> None:
    bins = n["age"]["bins"]
    starts = sorted({int(start) for counts in bins.values() for start in counts})
    below = [0] * len(starts)
    for name, colour, codes in groups:
        counts = [sum(bins[code].get(str(start), 0) for code in codes) for start in starts]
        axes.bar([s + 2.5 for s in starts], counts, 4.4, bottom=below, color=colour, label=name)
        below = [a + b for a, b in zip(below, counts, strict=True)]
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("Years")
    axes.yaxis.set_major_formatter("{x:,.0f}")


def _stacked(
    axes: Axes,
    values: Mapping[str, Mapping[str, int]],
    groups: Sequence[tuple[str, str, list[str]]],
    *,
    rows: int,
) -> None:
    shown = list(values)[:12]
    left = [0] * len(shown)
    for name, colour, codes in groups:
        counts = [sum(values[value][code] for code in codes) for value in shown]
        axes.barh(range(len(shown)), counts, 0.64, left=left, color=colour, label=name)
        left = [a + b for a, b in zip(left, counts, strict=True)]
    _rows(axes, shown)
    axes.set_ylim(rows - 0.5, -0.5)
    _thousands(axes)


def _boxes(
    axes: Axes,
    spread: Mapping[str, Mapping[str, float] | None],
    codes: Sequence[str],
    styles: Mapping[str, Any],
) -> None:
    for i, code in enumerate(codes):
        box, colour = spread[code], styles[code]["color"]
        if box is None:
            axes.text(0.02, i, "unknown", transform=axes.get_yaxis_transform(), va="center", fontsize=8)
            continue
        axes.plot([box["p5"], box["p95"]], [i, i], color=colour, lw=1.4)
        axes.barh(i, box["p75"] - box["p25"], 0.5, left=box["p25"], color=colour, alpha=0.4)
        axes.plot([box["p50"]] * 2, [i - 0.25, i + 0.25], color=colour, lw=2.4, solid_capstyle="butt")


def _shares(axes: Axes, values: Mapping[str, Mapping[str, int]], codes: Sequence[str]) -> None:
    colours = (style.MAIN, "#9fc5e0", style.MUTED, style.GRID)
    left = [0.0] * len(codes)
    for (value, counts), colour in zip(list(values.items())[:4], colours, strict=False):
        totals = [sum(values[v][code] for v in values) for code in codes]
        widths = [counts[code] / total if total else 0.0 for code, total in zip(codes, totals, strict=True)]
        axes.barh(range(len(codes)), widths, 0.62, left=left, color=colour, label=value)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.set_xlim(0, 1)
    style.percent_ticks(axes.xaxis)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)


def _heat(
    axes: Axes, values: Mapping[str, Mapping[str, int]], shown: Sequence[str], codes: Sequence[str]
) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    totals = {code: sum(values[value][code] for value in values) for code in codes}
    shares = [
        [values[site][code] / totals[code] if totals[code] else 0.0 for site in shown] for code in codes
    ]
    axes.imshow(shares, cmap=LinearSegmentedColormap.from_list("heat", style.HEAT), vmin=0, aspect="auto")
    peak = max((max(row) for row in shares if row), default=0)
    for i, row in enumerate(shares):
        for j, share in enumerate(row):
            ink = "white" if share > 0.6 * peak else style.INK
            text = f"{100 * share:.0f}" if share >= 0.005 else "·"
            axes.text(j, i, text, ha="center", va="center", fontsize=8, color=ink)
    axes.set_xticks(range(len(shown)), shown, rotation=40, ha="right", rotation_mode="anchor")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def _thousands(axes: Axes) -> None:
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.locator_params(axis="x", nbins=5)


def _named(row: Mapping[str, Any]) -> str:
    return f"{row['name']} ({row['code']})" if row["name"].lower() != row["code"] else str(row["name"])


def _wrapped(name: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(name, 16))


def _size(text: str) -> str:
    width, height = (int(x) for x in text.split("x"))
    return f"{width} \u00d7 {height}  {width / height:.2f}"
