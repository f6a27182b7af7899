"""Speed, scale, resuming and start-up (`make bench`): ratios within one run, with a description of the machine.

`python -m benchmarks.speed.run plan --json docs/measured/speed.json` makes the figures of README and docs/speed.md in
about eight minutes on two cores; `python docs/generate.py` then writes tables and picture from that file.

Not a test: it asserts nothing. Repetitions are interleaved (A B C A B C ...), medians are shown, as tables for
docs/speed.md.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.common import (
    NETWORKS,
    machine,
    make_images,
    make_int8_bundle,
    make_keras_model,
    markdown,
    measure,
    medians,
)
from benchmarks.results import json_option, report, rounded, write
from benchmarks.speed import compare
from benchmarks.speed.startup import first_rows, predictors

WAYS = tuple(compare.WAYS)
SMALL_NETWORKS = ("resnet50", "efficientnet_b0")
MODES = ("torch:fp32", "onnxruntime:fp32", "openvino:fp32", "torch:bf16", "openvino:bf16", "openvino:int8")
GPU_MODES = ("torch:fp32", "torch:bf16", "torch:fp16", "torch-compile:fp16")
#: Of `skinclf predict` as a command, in a process that says at its end how much memory it had at most.
PREDICT = (
    "import resource, sys\n"
    "from skinclf_cli.main import run\n"
    "status = run(sys.argv[1:])\n"
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)\n"
    "sys.exit(status)\n"
)


@click.group()
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/bench"), show_default=True)
@click.pass_context
def bench(ctx: click.Context, work: Path) -> None:
    """Benchmarks of skinclf; every figure is printed with the machine it came from."""
    work.mkdir(parents=True, exist_ok=True)
    ctx.obj = work
    click.echo(f"{json.dumps(machine())}\n")


@bench.command()
@click.option("--network", type=click.Choice(list(NETWORKS)), multiple=True, default=SMALL_NETWORKS)
@click.option("--count", default=256, show_default=True, help="Images per measurement; more on a GPU.")
@click.option("--repeat", default=3, show_default=True)
@click.option("--way", type=click.Choice([*WAYS, "none"]), multiple=True, default=WAYS, help="Default: all.")
@click.option("--mode", multiple=True, metavar="RUNTIME:PRECISION", help=f"Default: {', '.join(MODES)}.")
@click.option("--device", default="cpu", show_default=True, help="cpu, or cuda for all that can use it.")
@json_option
@click.pass_obj
def speed(
    work: Path,
    network: tuple[str, ...],
    count: int,
    repeat: int,
    way: tuple[str, ...],
    mode: tuple[str, ...],
    device: str,
    output: Path | None,
) -> None:
    """Images per second, end to end, beside other ways and the limit of decoding and network."""
    files = make_images(work / "images", count)
    modes, networks = mode or (MODES if device == "cpu" else GPU_MODES), {}
    for net in network:
        model = make_keras_model(work, net)
        if any(chosen.endswith("int8") for chosen in modes):
            make_int8_bundle(work, net, files)
        common = {"images": str(work / "images"), "count": count, "network": net, "model_file": str(model)}
        common["device"] = device
        rates: dict[str, list[dict[str, float]]] = {}
        for _ in range(repeat):
            for name in way:
                if name != "none":
                    rates.setdefault(name, []).append(measure("other", way=name, **common))
            for chosen in modes:
                runtime, _, precision = chosen.partition(":")
                how = {"runtime": runtime, "precision": precision}
                rates.setdefault(f"skinclf {chosen}", []).append(measure("skinclf", **common, **how))
        networks[net] = {name: medians(rows) for name, rows in rates.items()}
        _show(f"{net} on {device}", networks[net])
    write(output, report(rounded({"device": device, "images": count, "networks": networks}, 2)))


def _show(title: str, rates: dict[str, dict[str, float]]) -> None:
    bases = [w for w in ("keras_batch", "keras_per_image") if w in rates]
    header = ["way", "images/s", *(f"times {b}" for b in bases), "of the limit", "decode", "network", "limit"]
    rows = []
    for name, row in rates.items():
        rate = row["images_per_s"]
        line = [name, f"{rate:.1f}", *(f"{rate / rates[b]['images_per_s']:.2f}" for b in bases)]
        if "limit" in row:
            parts = (f"{row[key]:.1f}" for key in ("decode", "network", "limit"))
            line += [f"{rate / row['limit']:.0%}", *parts]
        rows.append([*line, *[""] * (len(header) - len(line))])
    click.echo(f"{title}\n\n{markdown(header, rows)}\n")


_REPEAT = click.option("--repeat", default=3, show_default=True, help="Rounds.")
_WAY = click.option(
    "--way", type=click.Choice([*WAYS, "none"]), multiple=True, default=WAYS, help="Default: all."
)


@bench.command()
@json_option
@_REPEAT
@_WAY
@click.pass_obj
def plan(work: Path, output: Path | None, repeat: int, way: tuple[str, ...]) -> None:
    """All figures of README and docs/speed.md: small files, photographs, memory, in about eight minutes."""
    _compare(work, (*compare.SMALL, compare.PHOTOGRAPHS), output, repeat, way, peaks=True)


@bench.command()
@json_option
@_REPEAT
@_WAY
@click.pass_obj
def photographs(work: Path, output: Path | None, repeat: int, way: tuple[str, ...]) -> None:
    """Built-in model on JPEGs of 6000 x 4000, scaled and in full, beside other ways; memory with 20 in flight.

    The photographs are stand-ins that the benchmark makes: synthetic lesions enlarged with noise and compressed again.
    """
    _compare(work, (compare.PHOTOGRAPHS,), output, repeat, way, peaks=True)


def _compare(
    work: Path,
    cases: Sequence[compare.Comparison],
    output: Path | None,
    repeat: int,
    way: Sequence[str],
    *,
    peaks: bool,
) -> None:
    results = []
    ways = [name for name in way if name != "none"]
    for case in cases:
        results.append(compare.compare(case, work, repeat=repeat, ways=ways))
        click.echo(compare.show(results[-1]))
    rows = compare.memory(work) if peaks else []
    lines = [[str(r["workers"]), "2" if r["scaled_decoding"] else "in full", str(r["peak_mb"])] for r in rows]
    click.echo(markdown(["decode threads, 20 photographs", "scaled decoding", "peak MB"], lines) + "\n")
    content = report({"comparisons": results, "memory": rows})
    click.echo(f"{content['seconds']} seconds, load before {content['load_before']}")
    write(output, content)


@bench.command()
@click.option("--sizes", default="1000,10000,100000", show_default=True)
@click.option("--model", default=None, help="Model; the built-in one by default.")
@json_option
@click.pass_obj
def scale(work: Path, sizes: str, model: str | None, output: Path | None) -> None:
    """Time and peak memory of `skinclf predict` by number of inputs (links to a few files)."""
    found = []
    _compile(work, model)
    for count in map(int, sizes.split(",")):
        folder = work / f"images-{count}"
        make_images(folder, count)
        seconds, peak = _predict(folder, work / "scale.csv", "--overwrite", model=model)
        found.append({"inputs": count, "seconds": seconds, "peak_mb": peak})
        shutil.rmtree(folder)
        click.echo(f"{count:,} inputs: {seconds:.1f} s, {1000 * seconds / count:.2f} ms each, {peak:.0f} MB")
    write(output, report(rounded({"scale": found}, 2)))


@bench.command()
@click.option("--count", default=4000, show_default=True, help="Inputs.")
@click.option("--model", default=None, help="Model; the built-in one by default.")
@json_option
@click.pass_obj
def resume(work: Path, count: int, model: str | None, output: Path | None) -> None:
    """Cost of a kill -9 half way: images computed twice, additional seconds, and whether the table is the same."""
    folder = work / f"images-{count}"
    make_images(folder, count)
    whole, part = work / "whole.csv", work / "part.csv"
    _compile(work, model)
    try:
        seconds, _ = _predict(folder, whole, "--overwrite", model=model)
        before, there = _killed(folder, part, count // 2, model)
        after, _ = _predict(folder, part, "--resume", model=model)
        counts = json.loads(part.with_name(f"{part.name}.run.json").read_text())["counts"]
        again, _ = _predict(folder, part, "--resume", model=model)
    finally:
        shutil.rmtree(folder)
    found = {
        "inputs": count,
        "rows_at_kill": there,
        "uninterrupted": seconds,
        "until_kill": before,
        "resumed": after,
        "computed_twice": there + counts["computed"] - count,
        "complete_again": again,
        "same_bytes": whole.read_bytes() == part.read_bytes(),
    }
    click.echo(json.dumps(rounded(found, 2), indent=1))
    write(output, report({"resume": rounded(found, 2)}))


@bench.command()
@click.option("--repeat", default=5, show_default=True)
@json_option
@click.pass_obj
def startup(work: Path, repeat: int, output: Path | None) -> None:
    """Seconds of `--version`, `--help`, a ten-image folder, the first row and `Predictor()`, cold and warm."""
    make_images(work / "images-10", 10)
    table = str(work / "startup.csv")
    ten = ["predict", "--image-dir", str(work / "images-10"), "--output", table, "--overwrite"]
    commands = []
    for name, arguments in {
        "--version": ["--version"],
        "--help": ["--help"],
        "predict, ten images": ten,
    }.items():
        seconds = []
        for _ in range(repeat):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-m", "skinclf", *arguments], check=True, capture_output=True)
            seconds.append(time.perf_counter() - start)
        commands.append({"command": name, "first": seconds[0], "best": min(seconds)})
    found = {
        "commands": commands,
        "first_rows": first_rows(work, repeat),
        "predictors": predictors(work, repeat),
    }
    click.echo(json.dumps(rounded(found), indent=1))
    write(output, report(rounded(found)))


@bench.command()
@click.option(
    "--images",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="Folder of images, or a list of paths: like those that will be predicted.",
)
@click.option("--model", default=None, help="Model; the built-in one by default.")
@click.option("--limit", default=2300, show_default=True, help="At most so many images.")
@click.pass_obj
def int8(work: Path, images: Path, model: str | None, limit: int) -> None:
    """Effect of bf16 and int8 on a model's probabilities, on the same images; int8 is calibrated on 300 others."""
    from skinclf.conversion.precision_loss import choose_images, measure_precision
    from skinclf.conversion.quantize import CALIBRATION, quantize_model
    from skinclf.images.discovery import Inputs
    from skinclf.models.load import load_model

    loaded = load_model(model)
    inputs = Inputs([images], recursive=True) if images.is_dir() else Inputs(listing=images)
    chosen = choose_images(inputs, limit)
    folder = work / "int8-bundle"
    shutil.rmtree(folder, ignore_errors=True)
    quantised = quantize_model(loaded, chosen, folder)
    taken = set(choose_images(chosen, min(CALIBRATION, len(chosen) // 2)))
    rest = [path for path in chosen if path not in taken]
    rows = []
    for loss in (
        measure_precision(loaded, rest, precision="bf16", runtime="openvino", device="cpu"),
        quantised,
    ):
        band = "" if loss.band is None else f"{loss.band:.4f}"
        changed = "" if loss.decisions_changed is None else f"{loss.decisions_changed:,}"
        rows.append(
            [
                loss.key,
                f"{loss.images:,}",
                f"{loss.mean_change:.4f}",
                band,
                changed,
                f"{loss.agreement:.1%}",
            ]
        )
    header = ["", "images", "mean change of P(malignant)", "largest", "decisions changed", "same class"]
    click.echo(f"{loaded.spec.name}, threshold {loaded.spec.threshold:.3f}\n\n{markdown(header, rows)}")


def _command(folder: Path, output: Path, *options: str, model: str | None) -> list[str]:
    arguments = ["-q", "predict", "--image-dir", str(folder), "--output", str(output), *options]
    return [sys.executable, "-c", PREDICT, *arguments, *(["--model", model] if model else [])]


def _compile(work: Path, model: str | None) -> None:
    """Fill the cache of compiled networks, so that no measured run compiles."""
    make_images(work / "images-10", 10)
    _predict(work / "images-10", work / "compile.csv", "--overwrite", model=model)


def _predict(folder: Path, output: Path, *options: str, model: str | None) -> tuple[float, float]:
    """Seconds and peak resident memory (MB) of one whole `skinclf predict` process."""
    start = time.perf_counter()
    command = _command(folder, output, *options, model=model)
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(f"skinclf predict ended with {done.returncode}: {done.stderr.strip()}")
    return time.perf_counter() - start, int(done.stderr.strip().splitlines()[-1]) / 1024


def _killed(folder: Path, output: Path, rows: int, model: str | None) -> tuple[float, int]:
    """Start a run, kill it when it has at least `rows` rows; returns the seconds until then and the rows written."""
    output.unlink(missing_ok=True)
    start = time.perf_counter()
    process = subprocess.Popen(
        _command(folder, output, "--overwrite", model=model),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and not (output.exists() and output.read_bytes().count(b"\n") > rows):
        time.sleep(0.05)
    process.kill()
    process.wait()
    return time.perf_counter() - start, output.read_bytes().count(b"\n") - 1


if __name__ == "__main__":
    bench()
