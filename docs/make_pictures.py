"""Draw the pictures of README and tutorial again: `python docs/make_pictures.py`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image

from skinclf.explanation import Explainer, write_explanations
from skinclf_cli.main import run

PICTURES = Path(__file__).resolve().parent / "pictures"
EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "images"


def small(source: Path, target: Path, width: int) -> None:
    """Write a picture at a width, in 128 colours."""
    with Image.open(source) as picture:
        height = round(picture.height * width / picture.width)
        resized = picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    resized.quantize(128).save(target, optimize=True)


def main() -> None:
    """The analysis of the tutorial's threshold, and a map of a synthetic image."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = ["--target-sensitivity", "0.9", "--grade", "guaranteed", "--group-by", "lesion_id"]
        run(["-q", "tune-threshold", *options, "--output", str(folder / "threshold.json")])
        (plot,) = folder.glob("*.png")
        small(plot, PICTURES / "threshold.png", 900)
        write_explanations(Explainer(method="gradcam"), [str(EXAMPLES / "synthetic-09.jpg")], folder / "maps")
        small(folder / "maps" / "synthetic-09.png", PICTURES / "map.png", 500)


if __name__ == "__main__":
    main()
