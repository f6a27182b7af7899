"""Blocks of docs/speed.md and docs/training.md from the results of single benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from generator.markdown import machine_of, table
from skinclf.models.bundle import read_spec
from skinclf.models.registry import BUILTIN
from skinclf.models.spec import DECODING, SCALED

_NAMES = {"resnet50": "ResNet50", "efficientnet_b0": "EfficientNetB0", "mobilenetv2_100": "MobileNetV2"}


def precisions(results: Mapping[str, Any], page: Path) -> str:  # noqa: ARG001 - the form of all makers
    """Ways and precisions of each network beside each other."""
    parts = [f"{machine_of(results)} `python {results['command']}`.\n"]
    for network, ways in results["networks"].items():
        base = ways.get("keras_batch")
        rows = []
        for name, row in ways.items():
            rate = row["images_per_s"]
            ratio = "" if base is None else f"{rate / base['images_per_s']:.2f}"
            limit = f"{rate / row['limit']:.0%}" if "limit" in row else ""
            rows.append([f"`{name}`", f"{rate:.1f}", ratio, limit])
        header = ("way", "images/s", "times `keras_batch`", "of the limit")
        parts.append(f"\n{_NAMES[network]}, {results['images']} images:\n\n{table(header, rows)}")
    return "".join(parts)


def builtin_models(results: Mapping[str, Any], page: Path) -> str:  # noqa: ARG001
    """Images per second of whole runs of the built-in models."""
    rows = [
        [
            f"`{row['model']}`",
            f"{row['images']:,}",
            *(
                f"{rate['median']:.1f} ({rate['low']:.1f}-{rate['high']:.1f})"
                for rate in (row["images_per_s"][gate] for gate in ("without", "with"))
            ),
        ]
        for row in results["models"]
    ]
    head = ("600 x 450 JPEGs", "files", "images/s with `--gate off`", "images/s with the gate")
    return f"{machine_of(results)} `python {results['command']}`.\n\n{table(head, rows)}"


def scale(results: Mapping[str, Any], page: Path) -> str:  # noqa: ARG001
    """Time and memory by number of inputs."""
    rows = [
        [
            f"{row['inputs']:,}",
            f"{row['seconds']:.1f}",
            f"{row['inputs'] / row['seconds']:.1f}",
            f"{1000 * row['seconds'] / row['inputs']:.2f}",
            f"{row['peak_mb']:.0f}",
        ]
        for row in results["scale"]
    ]
    head = ("inputs", "seconds", "images/s", "ms for each", "peak MB")
    return f"{machine_of(results)}\n\n{table(head, rows)}"


def resume(results: Mapping[str, Any], page: Path) -> str:  # noqa: ARG001
    """What a kill costs."""
    found = results["resume"]
    lost = found["until_kill"] + found["resumed"] - found["uninterrupted"]
    rows = [
        ["uninterrupted, seconds", f"{found['uninterrupted']:.1f}"],
        [f"until the kill, seconds ({found['rows_at_kill']:,} rows there)", f"{found['until_kill']:.1f}"],
        ["resumed, seconds", f"{found['resumed']:.1f}"],
        ["cost of the interruption, seconds", f"{lost:.1f}"],
        ["computed twice, images", f"{found['computed_twice']:,}"],
        ["`--resume` of the complete table, seconds", f"{found['complete_again']:.1f}"],
        ["same bytes as the uninterrupted run", "yes" if found["same_bytes"] else "no"],
    ]
    head = (f"`kill -9` in a run of {found['inputs']:,}", "")
    return f"{machine_of(results)}\n\n{table(head, rows)}"


def startup(results: Mapping[str, Any], page: Path) -> str:  # noqa: ARG001
    """Seconds of commands, first rows and single images."""
    commands = [[r["command"], f"{r['first']:.2f}", f"{r['best']:.2f}"] for r in results["commands"]]
    first = [
        [f"{r['model']}, {r['state']}", f"{r['median']:.2f}", f"{r['best']:.2f}"]
        for r in results["first_rows"]
    ]
    predictors = [
        [
            f"{r['model']}, {r['state']}",
            *(f"{r[key]:.2f}" for key in ("import", "construct", "first")),
            *(f"{1000 * r[key]:.1f}" for key in ("further", "decode", "network")),
            f"{r['further'] / (r['decode'] + r['network']) - 1:+.0%}",
        ]
        for r in results["predictors"]
    ]
    head = (
        "`Predictor`",
        "import, s",
        "construct, s",
        "first image, s",
        "further, ms",
        "decode and resize, ms",
        "network, ms",
        "over the two",
    )
    return (
        f"{machine_of(results)}\n\n"
        + table(("command", "first, seconds", "best, seconds"), commands)
        + "\n"
        + table(("`predict`, first row", "median, seconds", "best, seconds"), first)
        + "\n"
        + table(head, predictors)
    )


def decoding(results: Mapping[str, Any], page: Path) -> str:  # noqa: ARG001
    """What scaled decoding moves: by size and divisor, by class, and by the ratio that a model may declare."""
    runs, names, ratio = results["runs"], list(results["thresholds"]), results["ratio"]
    where = " --textures FOLDER" if results["textures"] else ""
    parts = [f"`python {results['command']}{where}`\n"]
    for name in names:
        rows = []
        for run in runs:
            for found in run["divisors"]:
                moved = found["models"][name]
                pairs = (
                    (moved[f"{key}_mean"], moved[f"{key}_largest"])
                    for key in ("most", "control", "malignant")
                )
                rows.append(
                    [
                        f"{run['images']} of {_size(run)}, divided by {found['divided_by']}",
                        f"{found['kept']:.1f}",
                        f"{found['grey']:.2f}",
                        *(f"{mean:.4f} ({largest:.3f})" for mean, largest in pairs),
                        str(moved["decisions_changed"]),
                    ]
                )
        head = (
            f"`{name}`",
            "times the resized size",
            "values moved, grey levels",
            "class that moves most, mean (largest)",
            "the same for grey levels moved at random",
            "P(malignant), mean (largest)",
            f"decisions at {results['thresholds'][name]:.3f} changed",
        )
        parts.append(table(head, rows))
    chosen = [_divisor(run, ratio) for run in runs]
    classes = list(runs[0]["divisors"][0]["models"][names[0]]["by_class"])
    rows = [
        [f"`{code}`", *(f"{max(_of(x, name, 'by_class')[code] for x in chosen if x):.3f}" for name in names)]
        for code in classes
    ]
    head = (f"largest change of the probability at the ratio {ratio}", *(f"`{name}`" for name in names))
    parts.append(table(head, rows))
    rows = []
    for declared in (2, 3, 4, 8):
        taken = [_divisor(run, declared) for run in runs]
        cells = []
        for name in names:
            moved = [_of(x, name, "most_mean") for x in taken if x]
            largest = max((_of(x, name, "most_largest") for x in taken if x), default=0.0)
            cells.append(f"{sum(moved) / len(runs):.4f} ({largest:.3f})")
        times = (f"{x['ms'] if x else run['ms']:.0f}" for run, x in zip(runs, taken, strict=True))
        rows.append([str(declared), *cells, *times])
    head = (
        "declared ratio",
        *(f"`{name}`, class that moves most" for name in names),
        *(f"{_size(run)}, ms" for run in runs),
    )
    rows.append(["in full", *("0" for _ in names), *(f"{run['ms']:.0f}" for run in runs)])
    parts.append(table(head, rows))
    return "\n".join(parts)


def _size(run: Mapping[str, Any]) -> str:
    return str(run["what"]).replace("x", " x ")


def _divisor(run: Mapping[str, Any], ratio: int) -> Mapping[str, Any] | None:
    """What a declared ratio takes: the largest divisor that keeps it; None decodes in full."""
    kept = [found for found in run["divisors"] if found["kept"] >= ratio]
    return max(kept, key=lambda found: found["divided_by"]) if kept else None


def _of(found: Mapping[str, Any], name: str, key: str) -> Any:
    return found["models"][name][key]


def pipeline(results: Mapping[str, Any], page: Path) -> str:  # noqa: ARG001
    """Rates of augmentation and of networks that train."""
    presets = [[f"`{name}`", f"{rate:.0f}"] for name, rate in results["presets"].items()]
    networks = [[name, f"{rate:.1f}"] for name, rate in results["networks"].items()]
    trains = f"network that trains, {results['precision']}, batch of {results['batch_size']}"
    slowest = min(results["presets"], key=lambda name: results["presets"][name])
    fastest = max(results["networks"], key=lambda name: results["networks"][name])
    times = results["presets"][slowest] / results["networks"][fastest]
    return (
        f"{machine_of(results)}\n\n"
        + table((f"pictures of {results['size']} px, preset", "images/s"), presets)
        + "\n"
        + table((trains, "images/s"), networks)
        + f"\nThe slowest preset, `{slowest}`, gives pictures {times:.1f} times as fast as {fastest} takes them.\n"
    )


def metadata_cost(results: Mapping[str, Any], page: Path) -> str:  # noqa: ARG001
    """What a table of metadata costs."""
    ends = ("median", "low", "high")
    found, share, ratios = results["parts"], results["share"], results["whole"]["ratios"]
    count = f"{results['count']:,} rows"
    rows = [
        [f"{words}, processor seconds for {count}", *(f"{found[key][end]:.2f}" for end in ends)]
        for key, words in (("join", "reading and joining"), ("rows", "fusing and writing"), ("both", "both"))
    ]
    rows.append(["both, of a run without metadata", *(f"{share[end]:.1%}" for end in ends)])
    for key, words in (("with_cpu", "with / without"), ("control_cpu", "without / without, the noise")):
        line = f"`predict` on {results['images']:,} images, {words}, processor seconds"
        rows.append([line, *(f"{ratios[key][end]:.3f}" for end in ends)])
    head = (f"{results['pairs']} alternating runs", "median", "from", "to")
    return f"{machine_of(results)}\n\n{table(head, rows)}"


def scaled_marks() -> str:
    """Which rows are marked after scaled decoding: the record in each built-in model."""
    rows = []
    for path in sorted(BUILTIN.glob("*/config.json")):
        spec = read_spec(path.parent)
        record = spec.precisions.get(f"{DECODING}:{SCALED}")
        if record is None:
            continue
        changed = f"{record['decisions_changed']} at {record['threshold']:.3f}"
        rows.append(
            [
                f"`{spec.name}`",
                f"{record['images']:,}",
                f"{record['mean_change']:.4f} ({record['band']:.3f})",
                changed,
                f"{record['band_log_odds']:.2f}",
                f"{record['marked']:.1%}",
                f"{record['band_share']:.1%}",
            ]
        )
    head = (
        "model",
        "pictures decoded down",
        "P(malignant) moves, mean (largest)",
        "decisions that change",
        "band in log-odds",
        "rows marked",
        "decisions that change unmarked, at most (95 %)",
    )
    return table(head, rows)


#: Blocks that need no file of results.
OWN = {"scaled marks": scaled_marks}
#: Name of a block to its maker and the file of results.
BLOCKS = {
    "built in models": (builtin_models, "builtin-models.json"),
    "precisions": (precisions, "precisions.json"),
    "scale": (scale, "scale.json"),
    "resume": (resume, "resume.json"),
    "startup": (startup, "startup.json"),
    "scaled decoding": (decoding, "scaled-decoding.json"),
    "pipeline": (pipeline, "pipeline.json"),
    "metadata cost": (metadata_cost, "metadata-cost.json"),
}
