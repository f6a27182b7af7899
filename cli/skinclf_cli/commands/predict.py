"""`skinclf predict`: classify images and write one row for each."""

from __future__ import annotations

import sys
import time
from itertools import islice
from pathlib import Path

import click

from skinclf_cli import console
from skinclf_cli.types import Device, OutputFile


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--image-dir", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Folder of images.")
@click.option("--from-file", type=click.File("r"), help="List of paths, one a line; - for stdin.")
@click.option("--output", type=OutputFile(), default="-", show_default=True, help="Table to write; - for stdout.")
@click.option("--model", help="Name, Hub repository, bundle folder or file. Default: the built-in model.")
@click.option("--device", type=Device(), default="auto", show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1))
@click.option("--workers", type=click.IntRange(min=0))
@click.option("--recursive", is_flag=True)
@click.option("--threshold", type=click.FloatRange(0, 1))
@click.option("--top-k", type=click.IntRange(min=0), default=0)
def predict(
    paths, image_dir, from_file, output, model, device, batch_size, workers, recursive, threshold, top_k
):
    """Classify images and write one row for each."""
    from skinclf.inputs import expand, read_list, scan_directory
    from skinclf.predictor import Predictor
    from skinclf.records import CsvWriter

    started = time.perf_counter()
    if image_dir is not None:
        sources = scan_directory(image_dir, recursive=recursive)
    elif from_file is not None:
        sources = read_list(from_file)
    elif paths:
        sources = expand(paths, recursive=recursive)
    else:
        raise click.UsageError("Nothing to predict: give PATHS, --image-dir or --from-file.")
    predictor = Predictor(model, device=device, batch_size=batch_size, workers=workers, threshold=threshold)
    done = failed = 0
    file = sys.stdout if str(output) == "-" else output.open("w", encoding="utf-8", newline="")
    try:
        writer = CsvWriter(file, predictor.spec.labels, top_k=top_k)
        stream = predictor.stream(sources)
        while rows := list(islice(stream, 16)):
            writer.write(rows)
            done += len(rows)
            failed += sum(not r.ok for r in rows)
    finally:
        if file is not sys.stdout:
            file.close()
    seconds = time.perf_counter() - started
    console.talk(f"{done} images, {failed} failed, {done / max(seconds, 1e-9):.1f} img/s")
    return 3 if failed else 0
