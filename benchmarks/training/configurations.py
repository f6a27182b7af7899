"""Short training of every configuration on real images, end to end: `python -m benchmarks.training.configurations`.

Small pictures from random weights: this shows that a configuration trains, exports and predicts, not how well it does.
A run that is there already is not repeated; the table is printed from the runs' own histories.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import click

from benchmarks.results import json_option, report, rounded, write

SETS = {"malignant": "malignant", "melanoma": "melanoma", "isic2019": "ham10000", "isic2019-7": "ham10000"}
SKIPPED = (
    "ham10000-mobilenetv2",
    "ham10000-efficientnetb0",
    "devatreya-resnet50-distilled",
)  # trained in full


def skinclf(*words: str, log: Path) -> int:
    with log.open("a") as file:
        return subprocess.run(
            [sys.executable, "-m", "skinclf", *words], stdout=file, stderr=subprocess.STDOUT, check=False
        ).returncode


def sample(metadata: Path, every: int, output: Path) -> Path:
    """Write a table with a sample of the lesions, of all classes, with all their images."""
    rows = list(csv.DictReader(metadata.open()))
    chosen: set[str] = set()
    for label in sorted({row["dx"] for row in rows}):
        lesions = sorted({row["lesion_id"] for row in rows if row["dx"] == label})
        # More of the rare classes, or a small sample has none in validation.
        chosen |= set(lesions[:: every if len(lesions) > 700 else max(2, every // 10)])
    with output.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row for row in rows if row["lesion_id"] in chosen)
    return output


@click.command()
@click.option("--metadata", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--image-dir", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--work", type=click.Path(path_type=Path), default=Path("runs/configurations"), show_default=True
)
@click.option("--size", default=64, show_default=True, help="Pixels.")
@click.option("--epochs", default=3, show_default=True)
@click.option("--batch-size", default=16, show_default=True)
@click.option(
    "--every", default=10, show_default=True, help="Take one in so many lesions of the common classes."
)
@json_option
@click.argument("names", nargs=-1)
def main(
    metadata: Path,
    image_dir: Path,
    work: Path,
    size: int,
    epochs: int,
    batch_size: int,
    every: int,
    output: Path | None,
    names: tuple[str, ...],
) -> None:
    """Train each configuration briefly and print its losses, validation figure and minutes."""
    from skinclf_training.config.read import config_dirs, load_config

    known = sorted(path.stem for path in config_dirs()[0].glob("*.yaml"))
    wanted = [n for n in names or known if names or not n.startswith(SKIPPED)]
    work.mkdir(parents=True, exist_ok=True)
    table = sample(metadata, every, work / "sample.csv")
    rows = []
    for name in wanted:
        config = load_config(name)
        labels = SETS.get(config.labels, "ham10000")
        data, run = work / f"data-{labels}", work / name
        log = work / f"{name}.log"
        if not (data / "split.json").is_file():
            words = ("data", "prepare", "--metadata", str(table), "--image-dir", str(image_dir))
            assert skinclf(*words, "--labels", labels, "--output", str(data), log=log) == 0, log.read_text()[
                -2000:
            ]
        side = max(size, 96) if "inception" in name else size  # it takes no less than 75
        small = {
            "labels": "any",
            "preprocess.height": side,
            "preprocess.width": side,
            "augment.size": side,
            "data.store_height": side * 3 // 2,
            "data.store_width": side * 2,
            "data.batch_size": batch_size,
            "optim.epochs": epochs,
            "optim.accelerator": "cpu",
            "optim.precision": "bf16-mixed" if config.framework == "torch" else "32-true",
            "optim.warmup_epochs": 0.2,
            "optim.channels_last": "true",
            "model.pretrained": "false",
            "log.report": "false",
            # Frozen statistics of a random network send every picture to the same point.
            "optim.batchnorm": "train",
        }
        # One phase an epoch, in their order.
        phases = [asdict(replace(p, epoch=i)) for i, p in enumerate(config.optim.phases[:epochs])]
        small["optim.phases"] = json.dumps(phases)
        if "vit" in name:
            small["model.args.img_size"] = size
        sets = [word for key, value in small.items() for word in ("--set", f"{key}={value}")]
        if not (run / "bundle" / "config.json").is_file():
            code = skinclf(
                "train", "--config", name, "--data", str(data), "--output", str(run), *sets, log=log
            )
            if code != 0:
                raise SystemExit(f"{name} failed with exit code {code}: see {log}.")
        pictures = sorted(image_dir.glob("*.jpg"))[:4]
        code = skinclf(
            "predict",
            *map(str, pictures),
            "--model",
            str(run / "bundle"),
            "--output",
            str(run / "preds.csv"),
            "--overwrite",
            log=log,
        )
        history = json.loads((run / "history.json").read_text())
        spent = sum(row["seconds"] for row in history) / 60
        if code != 0:
            raise SystemExit(f"The bundle of {name} does not predict, exit code {code}: see {log}.")
        rows.append(
            {
                "name": name,
                "network": config.model.args.get("variant", config.model.architecture),
                "steps": int(history[-1]["step"]),
                "losses": [history[0]["train_loss"], history[-1]["train_loss"]],
                "val_macro_auc": max(row["val_macro_auc"] or 0 for row in history),
                "minutes": spent,
            }
        )
        print(rounded(rows[-1], 3), flush=True)
    write(output, report(rounded({"rows": rows}, 3)))


if __name__ == "__main__":
    main()
