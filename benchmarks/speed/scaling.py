"""Where skinclf stops scaling on many cores: `python -m benchmarks.speed.scaling`.

Stage times are measured here, in processor seconds of one image, and 2 to 64 cores are simulated from them
(`skinclf.inference.sharing.simulation`, which a run takes its number of decode workers from). The part of decoding that
holds Python's lock is what is left of a decode worker's processor time when the calls that release it, Pillow's decoder
and resize, are taken off.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from benchmarks.common import builtin_model, machine, make_images, make_photographs, markdown
from benchmarks.speed.compare import write
from skinclf import Predictor, write_predictions
from skinclf.images.decode import ImageSource
from skinclf.inference.decode_limits import IN_FLIGHT
from skinclf.inference.decode_workers import MAX_THREADS, MAX_WORKERS, Decoder
from skinclf.inference.scorer import ModelScorer, Pixels, Slot
from skinclf.inference.sharing.simulation import Setting, Stages, best, rate

CORES = (2, 4, 8, 16, 32, 64)


class _Nothing(ModelScorer):
    """A scorer whose decoding and network cost nothing: what is left is the engine, the rows and the table."""

    @classmethod
    def of(cls, scorer: ModelScorer) -> _Nothing:
        made = cls(scorer.spec, scorer.runtime)
        made.prepare = Nothing()
        return made

    @property
    def layout(self) -> tuple[Slot, ...]:
        return (Slot((1,), np.uint8),)

    def score(self, batch: Pixels) -> Any:
        (pixels,) = batch
        width = len(self.spec.labels)
        from skinclf.inference.scorer import ScoredBatch

        return ScoredBatch(np.full((len(pixels), width), 1 / width, np.float32))


class Nothing:
    """`prepare` without work; a class, so that processes can be given it."""

    def __call__(self, _: ImageSource) -> Pixels:
        return (np.zeros(1, np.uint8),)


@contextmanager
def _released(total: list[float]) -> Iterator[None]:
    """Count the processor seconds of this thread within Pillow's decoder and resize, which release Python's lock."""
    getdecoder, resize = Image._getdecoder, Image.Image.resize

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            start = time.thread_time()
            try:
                return call(*arguments, **options)
            finally:
                total[0] += time.thread_time() - start

        return run

    class Proxy:
        def __init__(self, decoder: Any) -> None:
            self._decoder, self.decode = decoder, timed(decoder.decode)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._decoder, name)

    Image._getdecoder = lambda *arguments: Proxy(getdecoder(*arguments))
    Image.Image.resize = timed(resize)
    try:
        yield
    finally:
        Image._getdecoder, Image.Image.resize = getdecoder, resize


def measure(predictor: Predictor, files: Sequence[Path]) -> Stages:
    """Stage times of one image."""
    scorer = predictor.scorer.bare
    assert isinstance(scorer, ModelScorer)
    scorer.prepare(files[0])
    released = [0.0]
    start = time.thread_time()
    with _released(released):
        pixels = [scorer.prepare(path)[0] for path in files]
    whole = (time.thread_time() - start) / len(files)
    decode = released[0] / len(files)

    count = 2000
    rows = _rows(_Nothing.of(scorer), count)
    process = max(0.0, _submit(processes=True, count=count) - _submit(processes=False, count=count))

    batch = np.stack(pixels)[np.arange(16) % len(pixels)]
    scorer.runtime.run(batch)
    start, mine = time.process_time(), time.thread_time()
    rounds = 12
    for _ in range(rounds):
        scorer.runtime.run(batch)
    network = (time.process_time() - start) / (rounds * len(batch))
    network_lock = (time.thread_time() - mine) / (rounds * len(batch))
    return Stages(
        decode=decode,
        decode_lock=whole - decode,
        process_lock=process,
        network=network - network_lock,
        network_lock=network_lock,
        rows=rows,
    )


def _rows(scorer: _Nothing, count: int) -> float:
    """Processor seconds of Python for one image that costs nothing to decode and to score."""
    predictor = Predictor(scorer, workers=1)
    names = [f"image-{number:07d}.jpg" for number in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        write_predictions(predictor, names, Path(folder) / "out.csv")
        return (time.process_time() - start) / count


def _submit(*, processes: bool, count: int) -> float:
    """Processor seconds of this process for handing one image to a worker."""
    decoder = Decoder(Nothing(), (Slot((1,), np.uint8),), workers=1, processes=processes)
    try:
        buffer = decoder.buffer(16)
        decoder.submit("first", buffer, 0).result()
        start = time.process_time()
        for future in [decoder.submit("name", buffer, number % 16) for number in range(count)]:
            future.result()
        return (time.process_time() - start) / count
    finally:
        decoder.close()


def first(cores: int, most: int) -> Setting:
    """What a run of the command line begins with: one worker per core, at most 16, processes beyond six."""
    workers = min(MAX_WORKERS, cores)
    return Setting(workers=min(workers, most), processes=workers > MAX_THREADS, streams=cores)


def table(stages: Stages, most: int) -> tuple[list[list[str]], list[dict[str, Any]]]:
    """Rows of the table, and the same as JSON types; at most so many pictures are decoded at once.

    `threads` is one thread for each core, `first` what a run begins with, `tuned` what it then chooses
    (`skinclf.inference.sharing.tuner`), and `best` may choose threads instead of processes as well.
    """
    rows, results = [], []
    for cores in CORES:
        limit = cores / (stages.decode + stages.decode_lock + stages.network)
        threads = Setting(workers=min(cores, most), processes=False, streams=cores)
        begins = first(cores, most)
        found = {
            "threads": (threads, rate(stages, cores, threads)),
            "first": (begins, rate(stages, cores, begins)),
            "tuned": best(stages, cores, most, ways=(begins.processes,)),
            "best": best(stages, cores, most),
        }
        cells = [f"{_words(setting)}: {speed:.0f} ({speed / limit:.0%})" for setting, speed in found.values()]
        rows.append([str(cores), f"{limit:.0f}", *cells])
        ways = {
            way: {**asdict(setting), "images_per_s": round(speed, 1)}
            for way, (setting, speed) in found.items()
        }
        results.append({"cores": cores, "limit": round(limit, 1), **ways})
    return rows, results


def _words(setting: Setting) -> str:
    return f"{setting.workers} {'processes' if setting.processes else 'threads'}"


def stops(results: Sequence[dict[str, Any]], way: str, *, share: float = 0.8) -> int | None:
    """The first number of cores that give less than `share` of the limit; None where all give it."""
    return next((r["cores"] for r in results if r[way]["images_per_s"] < share * r["limit"]), None)


@click.command()
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/bench"), show_default=True)
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path), default=None)
def main(work: Path, output: Path | None) -> None:
    """Print measured stage times, and simulated images per second of 2 to 64 cores, with the built-in model."""
    print(f"{json.dumps(machine())}\n")
    kinds = {
        "600 x 450": (make_images(work / "images", 64), 0, 1000),
        "6000 x 4000, scaled decoding": (make_photographs(work / "photographs", 12), 2, 1000),
        "6000 x 4000, in full": (
            make_photographs(work / "photographs", 6),
            0,
            IN_FLIGHT // (4 * 6000 * 4000),
        ),
    }
    found = []
    for title, (files, ratio, most) in kinds.items():
        stages = measure(Predictor(builtin_model(ratio), device="cpu", runtime="auto", gate="off"), files)
        print(f"JPEGs of {title}, processor milliseconds of one image:\n")
        names = {
            "decode": "decode and resize, without the lock",
            "decode_lock": "decode, with the lock",
            "process_lock": "added in the main process by a decode process",
            "network": "network",
            "network_lock": "network, with the lock",
            "rows": "engine, row and table, with the lock",
        }
        values = asdict(stages)
        print(
            markdown(["stage", "ms"], [[words, f"{1000 * values[key]:.3f}"] for key, words in names.items()])
        )
        rows, results = table(stages, most)
        header = ["cores", "limit", "threads, one a core", "at first", "tuned", "best"]
        print(f"\nSimulated, images/s:\n\n{markdown(header, rows)}\n")
        for way, words in (
            ("threads", "Threads alone"),
            ("first", "What a run begins with"),
            ("tuned", "What a run chooses"),
            ("best", "The best choice"),
        ):
            at = stops(results, way)
            end = (
                f"falls below 80 % of the limit at {at} cores"
                if at
                else f"keeps 80 % of it to {CORES[-1]} cores"
            )
            print(f"- {words}: {end}.")
        print(flush=True)
        found.append({"files": title, "stages": values, "cores": results})
    write(output, {"machine": machine(), "scaling": found})


if __name__ == "__main__":
    main()
