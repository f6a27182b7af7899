"""Blocks of docs/speed.md and docs/training.md from the results of single benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from generator.markdown import machine_of, table

_NAMES = {"resnet50": "ResNet50", "efficientnet_b0": "EfficientNetB0", "mobilenetv2_100": "MobileNetV2"}
_MOVED = {
    "grey": "pixels of the input, grey levels",
    "malignant": "P(malignant)",
    "class": "class probability that moves most",
}


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
    """What scaled decoding moves."""
    runs = results["runs"]
    head = ["difference, mean (largest)"]
    for run in runs:
        divisors = ", ".join(map(str, run["divided_by"]))
        head.append(f"{run['images']} of {run['what'].replace('x', ' x ')}, divided by {divisors}")
    rows = []
    for key, words in _MOVED.items():
        digits = 3 if key == "grey" else 5
        cells = [run["moved"][key] for run in runs]
        rows.append([words, *(f"{c['mean']:.{digits}f} ({c['largest']:.{digits}f})" for c in cells)])
    words = f"decisions at the threshold {results['threshold']:.3f} that change"
    rows.append([words, *(str(run["decisions_changed"]) for run in runs)])
    text = f"`{results['model']}`, in full against with the ratio {results['ratio']}: `python {results['command']}`."
    return f"{text}\n\n{table(head, rows)}"


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


#: Name of a block to its maker and the file of results.
BLOCKS = {
    "precisions": (precisions, "precisions.json"),
    "scale": (scale, "scale.json"),
    "resume": (resume, "resume.json"),
    "startup": (startup, "startup.json"),
    "scaled decoding": (decoding, "scaled-decoding.json"),
    "pipeline": (pipeline, "pipeline.json"),
    "metadata cost": (metadata_cost, "metadata-cost.json"),
}
