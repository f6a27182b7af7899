"""One comparison: skinclf beside other ways on the same files, with the limit of the machine.

In the first round every way runs once. In further rounds, interleaved, run skinclf, the way that all are compared with
and the fastest other way, so that their medians come from the same minutes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import (
    NETWORKS,
    make_images,
    make_keras_model,
    make_photographs,
    markdown,
    measure,
    medians,
)
from benchmarks.results import write  # noqa: F401 - for scaling.py

#: The ways of `contenders.py`: name to words for tables.
WAYS = {
    "keras_batch": "Keras, batches of 32, OpenCV",
    "keras_per_image": "Keras, one image at a time, OpenCV",
    "torch_dataloader": "torch, DataLoader with a worker per core",
    "timm_inference": "timm's inference script",
    "transformers_pipeline": "transformers' pipeline",
    "pybioclip": "as pybioclip reads files",
    "torchxrayvision": "as torchxrayvision reads files",
}
SKINCLF = {"skinclf": "skinclf", "skinclf_full": "skinclf, JPEGs decoded in full"}
#: Of this way the ratios of small files are given.
BASE = "keras_batch"
PHOTOGRAPH = (6000, 4000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Files and a network for all ways.

    Attributes:
        key: Short name in the results.
        network: timm's name of the network; that of the built-in MobileNetV2 for photographs.
        kind: `small` or `photographs`.
        count: Number of files for skinclf and Keras' batches.
        fewer: Number of files for the other ways.
        batch: Images per call of the network for the other ways.
    """

    key: str
    network: str
    kind: str
    count: int
    fewer: int
    batch: int = 32


SMALL = (
    Comparison(key="resnet50", network="resnet50", kind="small", count=96, fewer=64),
    Comparison(key="efficientnet_b0", network="efficientnet_b0", kind="small", count=192, fewer=64),
)
# Batches of 4, or one of a loader's two workers would have nothing to do.
PHOTOGRAPHS = Comparison(
    key="photographs", network="mobilenetv2_100", kind="photographs", count=64, fewer=16, batch=4
)


def compare(case: Comparison, work: Path, *, repeat: int, ways: Sequence[str]) -> dict[str, Any]:
    """Results of one comparison, in JSON types."""
    folder = work / ("images" if case.kind == "small" else "photographs")
    make = make_images if case.kind == "small" else make_photographs
    files = make(folder, max(case.count, case.fewer))
    model = make_keras_model(work, case.network)
    os.environ["BENCH_BATCH"] = str(case.batch)
    common = {"images": str(folder), "kind": case.kind}
    found: dict[str, list[dict[str, Any]]] = {}

    def other(name: str) -> None:
        count = case.count if name == BASE and case.kind == "small" else case.fewer
        given = {"way": name, "count": count, "network": case.network, "model_file": str(model)}
        found.setdefault(name, []).append({**measure("other", **common, **given), "images": count})

    def ours() -> None:
        if case.kind == "small":
            given = {
                "network": case.network,
                "model_file": str(model),
                "runtime": "auto",
                "precision": "fp32",
            }
            row = measure("skinclf", images=str(folder), count=case.count, **given)
            found.setdefault("skinclf", []).append({**row, "images": case.count})
            return
        for name, ratio, count in (("skinclf", 2, case.count), ("skinclf_full", 0, case.fewer)):
            row = measure("builtin", **common, count=count, scaled_decoding=ratio)
            found.setdefault(name, []).append({**row, "images": count})

    for number in range(repeat):
        ours()
        chosen = list(ways)
        if number:
            best = max(ways, key=lambda name: found[name][0]["images_per_s"]) if ways else None
            chosen = [name for name in ways if name in {BASE if case.kind == "small" else None, best}]
        for name in chosen:
            other(name)
    width, height = PHOTOGRAPH if case.kind == "photographs" else (600, 450)
    return {
        "key": case.key,
        "network": NETWORKS[case.network][0],
        "model": "built-in" if case.kind == "photographs" else "Keras file, random weights",
        "width": width,
        "height": height,
        "megabytes": round(sum(path.stat().st_size for path in files[:4]) / 4e6, 3),
        "ways": {name: {**_rounded(medians(rows)), "runs": len(rows)} for name, rows in found.items()},
    }


def memory(work: Path) -> list[dict[str, Any]]:
    """Peak memory with 20 photographs decoded in full by 20 threads, and as `skinclf predict` does it."""
    make_photographs(work / "photographs", 20)
    rows = []
    for workers, ratio in ((20, 0), (20, 2), (2, 0)):
        row = measure(
            "memory", images=str(work / "photographs"), count=20, scaled_decoding=ratio, workers=workers
        )
        rows.append({"workers": workers, "scaled_decoding": ratio, "peak_mb": round(row["peak_mb"])})
    return rows


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 2) if isinstance(value, float) else value for key, value in row.items()}


def show(result: dict[str, Any]) -> str:
    """A comparison as a table in Markdown."""
    ways = result["ways"]
    best = max((w for w in ways if w not in SKINCLF), key=lambda w: ways[w]["images_per_s"], default=None)
    bases = [b for b in dict.fromkeys((BASE, "skinclf_full", best)) if b in ways]
    header = ["way", "images/s", *(f"times {b}" for b in bases), "of the limit", "decode", "network", "limit"]
    rows = []
    for name, row in sorted(ways.items(), key=lambda item: item[1]["images_per_s"]):
        rate = row["images_per_s"]
        line = [name, f"{rate:.1f}", *(f"{rate / ways[b]['images_per_s']:.2f}" for b in bases)]
        if "limit" in row:
            line += [f"{rate / row['limit']:.0%}", *(f"{row[k]:.1f}" for k in ("decode", "network", "limit"))]
        rows.append([*line, *[""] * (len(header) - len(line))])
    size = f"{result['width']} x {result['height']}"
    title = f"{result['network']} ({result['model']}), JPEGs of {size}, {result['megabytes']:.2f} MB each"
    return f"{title}\n\n{markdown(header, rows)}\n"
