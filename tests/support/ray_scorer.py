"""A scorer for the Ray workers of test_ray.py, in a module of its own so that they import no pytest."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from skinclf.images.decode import ImageSource
from skinclf.inference.scorer import ModelScorer, Pixels, Prepare
from skinclf.models.load import load_model
from skinclf.runtimes.create import create_runtime


class Dangerous:
    """Decodes; at one file it waits to be killed, the first time; another file always kills its process."""

    def __init__(self, prepare: Prepare, folder: Path) -> None:
        self.prepare, self.folder = prepare, folder

    def __call__(self, source: ImageSource) -> Pixels:
        flag = self.folder / "waiting"
        if Path(str(source)).name == "a-wait.jpg" and not flag.exists():
            (self.folder / "part").write_text(str(os.getpid()))
            (self.folder / "part").rename(flag)
            time.sleep(300)
        if Path(str(source)).name == "poison.jpg":
            with (self.folder / "poisoned").open("a") as file:
                file.write(f"{os.getpid()}\n")
            os.kill(os.getpid(), signal.SIGKILL)
        return self.prepare(source)


def make_scorer(bundle: Path, folder: Path) -> ModelScorer:
    model = load_model(bundle)
    scorer = ModelScorer(model.spec, create_runtime(model, runtime="torch", device="cpu"))
    scorer.prepare = Dangerous(scorer.prepare, folder)
    (folder / f"worker-{os.getpid()}").touch()
    return scorer
