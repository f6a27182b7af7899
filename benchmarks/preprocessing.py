"""What another decoder or resize does to a model's answers: `python benchmarks/preprocessing.py --image-dir DIR`.

The same network, the same images; only the decoder or the resize differs from what the model declares.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from skinclf.images import load_image
from skinclf.inputs import scan_directory
from skinclf.loading import load_model
from skinclf.preprocess import Preprocess
from skinclf.runtimes import create_runtime
from skinclf.scores import probabilities


def alternatives(own: Preprocess) -> dict[str, Preprocess]:
    """The declared preprocessing and its neighbours."""
    plain = replace(own, library="pillow")
    return {
        "as declared": own,
        **{
            f"Pillow {x}": replace(plain, interpolation=x)
            for x in ("bilinear", "bicubic", "lanczos", "nearest")
        },
        "OpenCV bilinear": replace(own, library="opencv", interpolation="bilinear"),
        "TensorFlow bilinear": replace(own, library="tensorflow", interpolation="bilinear"),
        "squashed, not cropped": replace(own, fit="squash", crop_pct=1.0),
        "scaled JPEG decoding": replace(own, draft=True),
    }


@click.command()
@click.option("--image-dir", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", default=None)
def main(image_dir: Path, model: str | None) -> None:
    """Print how far P(malignant) moves, and how many decisions change at the model's threshold."""
    loaded = load_model(model)
    runtime = create_runtime(loaded, runtime="torch", device="cpu")
    files = [Path(p) for p in scan_directory(image_dir)]
    spec = loaded.spec
    malignant = list(spec.labels.malignant_indices or ())

    def score(preprocess: Preprocess, decode=load_image) -> np.ndarray:
        rows = []
        for at in range(0, len(files), 32):
            pixels = np.stack([preprocess.pixels(decode(f)) for f in files[at : at + 32]])
            if pixels.dtype != np.uint8:  # the runtime was made for this model's own dtype
                pixels = pixels.astype(np.float32)
            rows.append(probabilities(runtime.run(pixels), spec.activation, spec.calibration))
        return np.concatenate(rows)[:, malignant].sum(axis=1)

    def opencv(path: Path) -> np.ndarray:
        import cv2

        return np.ascontiguousarray(cv2.imread(str(path))[:, :, ::-1])

    base = score(spec.preprocess)
    print(f"{spec.name}, {len(files)} images, threshold {spec.threshold:.3f}; change of P(malignant)")
    cases = {name: score(p) for name, p in alternatives(spec.preprocess).items()}
    cases["decoded by OpenCV"] = score(spec.preprocess, opencv)
    for name, values in cases.items():
        gap = np.abs(values - base)
        changed = int(((values >= spec.threshold) != (base >= spec.threshold)).sum())
        print(f"  {name:24s} mean {gap.mean():.5f}  largest {gap.max():.5f}  decisions changed {changed}")


if __name__ == "__main__":
    main()
