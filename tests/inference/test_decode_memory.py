"""Memory of decoding: pixels in flight are bounded, whatever the number of workers and the size of the pictures."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skinclf.images.decode import admission, load_picture
from skinclf.images.preprocess import Preprocess
from skinclf.images.synthetic import synthetic_lesion
from skinclf.inference import decode_workers
from skinclf.inference.decode_limits import DecodeMemory
from skinclf.inference.decode_workers import Decoder
from skinclf.inference.scorer import LoadPixels, Slot

MB = 1024**2
PREDICT = """
import sys
from dataclasses import replace
from pathlib import Path
from skinclf import Predictor
from skinclf.models.load import load_model

model = load_model()
preprocess = replace(model.spec.preprocess, scaled_decoding=0)
predictor = Predictor(replace(model, spec=replace(model.spec, preprocess=preprocess)), device="cpu", workers=20)
assert all(prediction.ok for prediction in predictor.stream(sys.argv[1:]))
# Not `getrusage`, whose peak includes that of the parent before this program was started.
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


class Recorded(DecodeMemory):
    """A `DecodeMemory` that remembers how much was held at most."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.peak = self.asked = 0

    def take(self, count: int) -> None:
        super().take(count)
        self.asked += 1
        self.peak = max(self.peak, self._held)


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """A JPEG of 6000 x 4000."""
    lesion = Image.fromarray(synthetic_lesion(1, width=600, height=400))
    path = tmp_path / "photograph.jpg"
    lesion.resize((6000, 4000), Image.Resampling.BILINEAR).save(path, quality=75)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory of a process is read as Linux counts it")
def test_twenty_photographs_in_flight_take_less_than_a_gigabyte(photograph: Path) -> None:
    paths = [photograph.with_name(f"{number}.jpg") for number in range(20)]
    for path in paths:
        os.link(photograph, path)
    command = [sys.executable, "-c", PREDICT]
    # The conversion of the network, which loads torch, is not what is measured.
    subprocess.run([*command, str(photograph)], capture_output=True, check=True)
    command += map(str, paths)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    peak = int(done.stdout) / 1024
    # Twenty at once would be 1,920 MB of pixels alone.
    assert 96 < peak < 1000


def test_what_is_held_stays_below_the_most_and_all_get_their_turn() -> None:
    memory = Recorded(100 * MB)
    sizes = [random.Random(0).choice([1, 20, 60, 99, 300]) for _ in range(200)]

    def work(size: int) -> int:
        with memory.share() as share:
            share.ask(size * MB)
            assert memory._held <= 100 * MB
            share.ask(size * MB // 2)  # never less
            share.ask(2 * size * MB)
            return size

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, sizes)) == sizes
    assert memory._held == 0
    assert memory.peak <= 100 * MB


def test_a_large_one_is_not_overtaken_for_ever() -> None:
    memory = DecodeMemory(100)
    memory.take(60)
    order: list[str] = []

    def wait(name: str, count: int) -> threading.Thread:
        def run() -> None:
            memory.take(count)
            order.append(name)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    large = wait("large", 90)
    while len(memory._waiting) < 1:
        pass
    small = wait("small", 10)
    memory.give(60)
    large.join(10)
    small.join(10)
    assert order == ["large", "small"]


def test_a_failed_image_gives_back_what_it_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "truncated.jpg"
    Image.new("RGB", (3000, 1000)).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    memory = Recorded(1)
    monkeypatch.setattr(decode_workers, "DecodeMemory", lambda: memory)
    for processes in (False, True):
        decoder = Decoder(
            LoadPixels(Preprocess(height=8, width=8)),
            (Slot((8, 8, 3), np.uint8),),
            workers=2,
            processes=processes,
        )
        try:
            buffer = decoder.buffer(4)
            errors = [f.result() for f in [decoder.submit(path, buffer, i) for i in range(4)]]
        finally:
            decoder.close()
        assert [e.code for e in errors if e is not None] == ["truncated"] * 4
        assert memory.asked >= 4
        assert memory._held == 0
        memory.asked = 0


def test_processes_ask_this_one_for_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.png"
    Image.new("RGB", (3000, 1000), "red").save(path)
    memory = Recorded(1)
    monkeypatch.setattr(decode_workers, "DecodeMemory", lambda: memory)
    prepare = LoadPixels(Preprocess(height=8, width=8))
    decoder = Decoder(prepare, (Slot((8, 8, 3), np.uint8),), workers=2, processes=True)
    try:
        buffer = decoder.buffer(6)
        assert [f.result() for f in [decoder.submit(path, buffer, i) for i in range(6)]] == [None] * 6
        assert (buffer.arrays[0] == [255, 0, 0]).all()
    finally:
        decoder.close()
    assert memory.asked == 6
    assert memory._held == 0


def test_progressive_files_count_whole_and_scaled_ones_by_what_is_left(tmp_path: Path) -> None:
    asked: list[int] = []
    picture = Image.new("RGB", (1600, 800))
    for progressive in (False, True):
        path = tmp_path / f"{progressive}.jpg"
        picture.save(path, progressive=progressive)
        with admission(asked.append):
            load_picture(path, draft=Preprocess(height=50, width=100, scaled_decoding=2).reduction)
    assert asked == [4 * 200 * 100, 4 * 200 * 100 + 6 * 1600 * 800]
