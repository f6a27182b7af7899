"""From a folder of images and a table of labels to a report.

Run `python examples/folder_to_report.py IMAGES LABELS OUTPUT`. Without arguments it takes the synthetic example images,
whose figures mean nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

from skinclf import Predictor, evaluate, write_predictions
from skinclf.labels import HAM10000


def report(images: Path, labels: Path, output: Path) -> Path:
    """Predict a folder with the built-in model, evaluate it at the model's own threshold, and write the report.

    Args:
        images: Folder of JPEG files.
        labels: Table with the image names, what they show, and where known their lesions.
        output: Folder that is made.

    Returns:
        Path of `report.html`.
    """
    output.mkdir(parents=True)
    predictor = Predictor()
    summary = write_predictions(predictor, sorted(images.glob("*.jpg")), output / "predictions.csv")
    print(f"{summary.rows} images, {summary.failed} failed")
    evaluation = evaluate(output / "predictions.csv", labels, threshold=predictor.threshold)
    print(f"sensitivity {evaluation.sensitivity}, specificity {evaluation.specificity}")
    evaluation.write(output / "evaluation")
    return output / "evaluation" / "report.html"


def example_labels(images: Path, file: Path) -> Path:
    """Labels for the synthetic images: two images a lesion, the classes in turn."""
    file.parent.mkdir(parents=True, exist_ok=True)
    names = [path.stem for path in sorted(images.glob("*.jpg"))]
    rows = [f"{name},L{n // 2},{HAM10000.codes[n // 2 % 7]}" for n, name in enumerate(names)]
    file.write_text("\n".join(["image,lesion_id,dx", *rows]) + "\n", encoding="utf-8")
    return file


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(report(*map(Path, sys.argv[1:])))
    else:
        folder = Path(__file__).parent / "images"
        target = Path(sys.argv[1] if len(sys.argv) == 2 else "example-report")
        print(report(folder, example_labels(folder, target.with_name(f"{target.name}-labels.csv")), target))
