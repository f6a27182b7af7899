"""`make bench`: ratios in one run, against other ways and against the machine's limit; the machine is printed.

Not a test: it asserts nothing. Repetitions are interleaved (A B C A B C ...), medians are shown.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import click
from common import NETWORKS, machine, make_images, make_keras_model, measure, medians

WAYS = ("keras_per_image", "keras_batch", "torch_dataloader", "timm_eager", "transformers_pipeline")
MODES = ("torch:fp32", "openvino:fp32", "onnxruntime:fp32", "torch:bf16", "openvino:bf16")


@click.group()
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/bench"), show_default=True)
@click.pass_context
def bench(ctx: click.Context, work: Path) -> None:
    """Benchmarks of skinclf; every figure is printed with the machine it came from."""
    work.mkdir(parents=True, exist_ok=True)
    ctx.obj = work
    click.echo(json.dumps(machine()))


@bench.command()
@click.option("--network", type=click.Choice(list(NETWORKS)), multiple=True, default=list(NETWORKS))
@click.option("--count", default=256, show_default=True, help="Images per measurement.")
@click.option("--repeat", default=3, show_default=True)
@click.option("--way", type=click.Choice(WAYS), multiple=True, default=WAYS, help="Default: all.")
@click.option("--mode", multiple=True, default=MODES, show_default=True, metavar="RUNTIME:PRECISION")
@click.pass_obj
def speed(
    work: Path, network: tuple[str, ...], count: int, repeat: int, way: tuple[str, ...], mode: tuple[str, ...]
) -> None:
    """End to end against other ways, and against the limit of decoding plus network."""
    make_images(work / "images", count)
    for net in network:
        model = make_keras_model(work, net)
        common = {"images": str(work / "images"), "count": count, "network": net, "model_file": str(model)}
        rates: dict[str, list[dict[str, float]]] = {}
        for _ in range(repeat):
            for name in way:
                rates.setdefault(name, []).append(measure("other", way=name, **common))
            for chosen in mode:
                runtime, precision = chosen.split(":")
                how = {"runtime": runtime, "precision": precision}
                rates.setdefault(f"skinclf {runtime} {precision}", []).append(
                    measure("skinclf", **common, **how)
                )
                rates.setdefault(f"limit {runtime} {precision}", []).append(
                    measure("limits", **common, **how)
                )
        _show(net, {name: medians(rows) for name, rows in rates.items()})


def _show(network: str, rates: dict[str, dict[str, float]]) -> None:
    bases = [w for w in ("keras_batch", "keras_per_image") if w in rates]
    click.echo(f"\n{network}: images/s, and how many times {', '.join(bases)}")
    for name, row in rates.items():
        if name.startswith("limit "):
            continue
        rate = row["images_per_s"]
        line = f"  {name:28s} {rate:7.1f}   "
        line += "  ".join(f"{rate / rates[base]['images_per_s']:5.2f}x" for base in bases)
        if name.startswith("skinclf") and (limit := rates.get(name.replace("skinclf", "limit"))):
            parts = (
                f"decode {limit['decode']:.0f}, network {limit['model']:.0f}, together {limit['limit']:.1f}"
            )
            line += (
                f"   {rate / limit['limit']:5.0%} of the limit ({parts})"
                if name.startswith("skinclf")
                else ""
            )
        click.echo(line)


@bench.command()
@click.option("--sizes", default="1000,10000,100000", show_default=True)
@click.option("--model", default=None, help="Model; the built-in one by default.")
@click.pass_obj
def scale(work: Path, sizes: str, model: str | None) -> None:
    """Time and peak memory of `skinclf predict` by number of inputs (links to a few files)."""
    click.echo("inputs  seconds  images/s  peak MB  ms/image")
    for count in map(int, sizes.split(",")):
        folder = work / f"images-{count}"
        make_images(folder, count)
        seconds, peak = _predict(folder, work / "scale.csv", model)
        click.echo(
            f"{count:6d}  {seconds:7.1f}  {count / seconds:8.1f}  {peak:7.1f}  {1000 * seconds / count:8.2f}"
        )
        shutil.rmtree(folder)


@bench.command()
@click.option("--repeat", default=5, show_default=True)
@click.pass_obj
def startup(work: Path, repeat: int) -> None:
    """Seconds of `--version`, `--help`, and of a ten-image folder from start to end."""
    make_images(work / "images-10", 10)
    output = str(work / "startup.csv")
    commands = {
        "--version": ["--version"],
        "--help": ["--help"],
        "predict, ten images": [
            "predict",
            "--image-dir",
            str(work / "images-10"),
            "--output",
            output,
            "--overwrite",
        ],
    }
    for name, arguments in commands.items():
        seconds = []
        for _ in range(repeat):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-m", "skinclf", *arguments], check=True, capture_output=True)
            seconds.append(time.perf_counter() - start)
        click.echo(f"{name:22s} first {seconds[0]:.2f} s, best {min(seconds):.2f} s")


def _predict(folder: Path, output: Path, model: str | None) -> tuple[float, float]:
    """Seconds and peak resident memory (MB) of one whole `skinclf predict`."""
    code = (
        "import resource, sys, runpy; sys.argv[0] = 'skinclf'\n"
        "from skinclf_cli.main import run\n"
        "status = run(sys.argv[1:])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)\n"
        "sys.exit(status)\n"
    )
    arguments = ["-q", "predict", "--image-dir", str(folder), "--output", str(output), "--overwrite"]
    arguments += ["--model", model] if model else []
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True
    )
    return time.perf_counter() - start, int(done.stderr.strip().splitlines()[-1]) / 1024


if __name__ == "__main__":
    bench()
