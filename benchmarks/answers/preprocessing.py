"""Effect of another decoder or resize on a model's probabilities.

    $ python -m benchmarks.answers.preprocessing --image-dir DIR

The same network, the same images; only the decoder or the resize differs from what the model declares. A file that
cannot say its labels and preprocessing takes `--labels` and `--preprocess`, as `skinclf predict` does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from benchmarks.results import json_option, report, rounded, write
from skinclf.images.decode import load_image
from skinclf.images.discovery import scan_directory
from skinclf.images.preprocess import Preprocess
from skinclf.models.load import load_model
from skinclf.models.options import ModelOptions
from skinclf.models.probabilities import probabilities
from skinclf.runtimes.create import create_runtime


def alternatives(own: Preprocess) -> dict[str, Preprocess]:
    """The declared preprocessing and its neighbours."""
    full = replace(own, scaled_decoding=0)
    plain = replace(full, library="pillow")
    return {
        "as declared": own,
        **{
            f"Pillow {x}": replace(plain, interpolation=x)
            for x in ("bilinear", "bicubic", "lanczos", "nearest")
        },
        "OpenCV bilinear": replace(full, library="opencv", interpolation="bilinear"),
        "TensorFlow bilinear": replace(full, library="tensorflow", interpolation="bilinear"),
        "squashed, not cropped": replace(full, fit="squash", crop_pct=1.0),
        "scaled JPEG decoding": replace(plain, scaled_decoding=2),
    }


@click.command()
@click.option("--image-dir", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", default=None)
@click.option("--labels", default=None)
@click.option("--preprocess", default=None)
@click.option("--limit", default=None, type=int, help="Take so many images only.")
@json_option
def main(
    image_dir: Path,
    model: str | None,
    labels: str | None,
    preprocess: str | None,
    limit: int | None,
    output: Path | None,
) -> None:
    """Print how far pixels and P(malignant) move, and how many decisions change at the model's threshold."""
    loaded = load_model(model, options=ModelOptions(labels=labels, preprocess=preprocess))
    runtime = create_runtime(loaded, runtime="torch", device="cpu")
    files = [Path(p) for p in scan_directory(image_dir)][:limit]
    spec = loaded.spec
    malignant = list(spec.labels.malignant_indices or ())

    def score(preprocess: Preprocess, decode: Callable[[Path], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """P(malignant) of each image, and the mean difference of its pixels from the declared ones in grey levels."""
        rows, moved = [], []
        for at in range(0, len(files), 32):
            some = files[at : at + 32]
            pixels = np.stack([preprocess.pixels(decode(f)) for f in some]).astype(np.float32)
            declared = np.stack([spec.preprocess.pixels(load_image(f)) for f in some]).astype(np.float32)
            moved.append(np.abs(pixels - declared).mean(axis=(1, 2, 3)))
            rows.append(probabilities(runtime.run(pixels), spec.activation, spec.calibration))
        return np.concatenate(rows)[:, malignant].sum(axis=1), np.concatenate(moved)

    base, _ = score(spec.preprocess, load_image)
    cases = {
        **{name: (p, load_image) for name, p in alternatives(spec.preprocess).items()},
        "decoded by OpenCV": (spec.preprocess, _opencv),
    }
    rows = []
    for name, (changed, decode) in cases.items():
        values, moved = score(changed, decode)
        gap = np.abs(values - base)
        flips = int(((values >= spec.threshold) != (base >= spec.threshold)).sum())
        found = {"grey": float(moved.mean()), "mean": float(gap.mean()), "largest": float(gap.max())}
        rows.append({"name": name, **found, "changed": flips})
        print(rounded(rows[-1]), flush=True)
    about = {"model": spec.name, "images": len(files), "threshold": spec.threshold}
    write(output, report(rounded({**about, "rows": rows})))


def _opencv(path: Path) -> np.ndarray:
    import cv2

    return np.ascontiguousarray(cv2.imread(str(path))[:, :, ::-1])


if __name__ == "__main__":
    main()
