"""Files that pages start from, small: those of five published systems for "Coming from ...", and tables of users."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from skinclf.models.architectures.published import PublishedNetwork
from support.keras_fixtures import layer, sequential, write_h5

IMAGES = Path(__file__).parents[2] / "examples" / "images"
ISIC = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC")
HAM = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
#: Number of images of each kind of table: two of a lesion, two lesions of a class and part.
_EACH = 12


def write(page: str, folder: Path) -> None:
    """Write what the page of a system, or another page, starts from, into a folder with images in `imgs/`."""
    if page in _WRITERS:
        _WRITERS[page](folder)


def _table(path: Path, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])


def pictures(folder: Path, names: Sequence[str]) -> None:
    """Pictures under their names, different by a byte of their comment."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = sorted(IMAGES.glob("*.jpg"))
    for n, name in enumerate(names):
        shutil.copy(sources[n % len(sources)], folder / f"{name}.jpg")


def keras_file(path: Path, outputs: int) -> None:
    """A whole-model `.h5` with a convolution, pooling and a sigmoid or softmax."""
    rng = np.random.default_rng(0)
    config = sequential(
        layer(
            "Conv2D", "conv", filters=4, kernel_size=[3, 3], strides=[2, 2], padding="same", activation="relu"
        ),
        layer("GlobalAveragePooling2D", "pool"),
        layer("Dense", "out", units=outputs, activation="sigmoid" if outputs == 1 else "softmax"),
        size=64,
    )
    shapes = {
        "conv": {"kernel": (3, 3, 3, 4), "bias": (4,)},
        "out": {"kernel": (4, outputs), "bias": (outputs,)},
    }
    weights = {
        name: {key: rng.normal(0, 0.02, shape).astype(np.float32) for key, shape in group.items()}
        for name, group in shapes.items()
    }
    write_h5(path, config, weights)


def network(design: str, variant: str, outputs: int) -> nn.Module:
    """A network of a published design with random weights."""
    torch.manual_seed(0)
    return PublishedNetwork(design, variant, outputs).eval()


def isic_tables(folder: Path) -> list[str]:
    """Ground truth and metadata of ISIC 2019; names of its images."""
    names = [f"ISIC_{n:07d}" for n in range(_EACH * len(ISIC))]
    labels = [ISIC[n // _EACH] for n in range(len(names))]
    _table(
        folder / "ISIC_2019_Training_GroundTruth.csv",
        ["image", *ISIC, "UNK"],
        [[n, *(float(c == label) for c in ISIC), 0.0] for n, label in zip(names, labels, strict=True)],
    )
    _table(
        folder / "ISIC_2019_Training_Metadata.csv",
        ["image", "age_approx", "anatom_site_general", "lesion_id", "sex"],
        [[name, 55, "anterior torso", f"BCN_{n // 2:07d}", "female"] for n, name in enumerate(names)],
    )
    return names


def _skinsight(folder: Path) -> None:
    names = isic_tables(folder / "data" / "metadata")
    pictures(folder / "data" / "images" / "ISIC_2019_Training_Input", names)
    (folder / "models").mkdir()
    keras_file(folder / "models" / "skin_lesion_model_image_only_finetuned.h5", 7)


def _devatreya(folder: Path) -> None:
    names = [f"ISIC_{n:07d}" for n in range(_EACH * len(HAM))]
    pictures(folder / "data" / "HAM10000_images_part_1", names)
    head = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization", "label", "split"]
    rows = []
    for n, name in enumerate(names):
        dx, part = HAM[n // _EACH], ("train", "train", "val", "test")[n // 2 % 4]
        malignant = int(dx in {"akiec", "bcc", "mel"})
        rows.append([f"HAM_{n // 2:07d}", name, dx, "histo", 50, "male", "back", malignant, part])
    _table(folder / "data" / "labels_binary_split.csv", head, rows)
    _table(folder / "data" / "HAM10000_metadata.csv", head[:-2], [row[:-2] for row in rows])
    outputs = folder / "outputs"
    (outputs / "models").mkdir(parents=True)
    keras_file(outputs / "models" / "resnet50_best.h5", 1)
    rng = np.random.default_rng(0)
    truth = rng.random(200) < 0.3
    scores = np.clip(rng.normal(0.3 + 0.4 * truth, 0.15), 0, 1)
    np.savez(outputs / "val_probs.npz", y_true=truth.astype(np.int64), y_prob=scores)
    counts = {"tp": 54, "tn": 120, "fp": 20, "fn": 6}
    rates = {"threshold": 0.42, "sensitivity": 0.9, "specificity": 0.857, "ppv": 0.73, "npv": 0.952}
    found = {**rates, "accuracy": 0.87, "f1_score": 0.806, **counts}
    (outputs / "threshold.json").write_text(json.dumps(found, indent=2))


def _assistant(folder: Path) -> None:
    names = isic_tables(folder / "data" / "raw")
    pictures(folder / "data" / "raw" / "ISIC_2019_Training_Input", names)
    model = network("skin-condition-assistant", "efficientnet_b0", 8)
    models = folder / "outputs" / "saved_models"
    models.mkdir(parents=True)
    torch.save(
        {
            "epoch": 3,
            "model_state_dict": model.state_dict(),
            "val_acc": 74.4,
            "frozen_layers": 7,
            "config": {"batch_size": 96, "lr": 5e-5, "epochs": 100},
        },
        models / "best_model_gradual.pth",
    )


def _analyzer(folder: Path) -> None:
    columns = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
    names = [f"ISIC_{n:07d}" for n in range(_EACH * len(columns))]
    rows = [
        [name, *("1.0" if c == columns[n // _EACH] else "0.0" for c in columns)]
        for n, name in enumerate(names)
    ]
    _table(folder / "GroundTruth.csv", ["image", *columns], rows)
    pictures(folder / "images", names)
    for n, name in enumerate(names):
        part, kind = ("train", "train", "val", "test")[n // 2 % 4], "mel" if n < _EACH else "nomel"
        target = folder / "prepared_dataset" / part
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "images" / f"{name}.jpg", target / f"{kind}_{name}.jpg")
    torch.save(network("melanoma-analyzer", "efficientnet_v2_s", 2).state_dict(), folder / "best_model.pth")


def _dermalyze(folder: Path) -> None:
    names = [f"ISIC_{n:07d}" for n in range(_EACH * len(HAM))]
    data = folder / "data" / "HAM10000"
    pictures(data / "images", names)
    rows = [[name, HAM[n // _EACH], f"HAM_{n // 2:07d}"] for n, name in enumerate(names)]
    _table(data / "labels.csv", ["image_id", "label", "lesion_id"], rows)
    run = folder / "outputs" / "run_20250101_000000"
    run.mkdir(parents=True)
    torch.save(
        {
            "epoch": 3,
            "model_state_dict": network("dermalyze", "efficientnet_v2_s", 7).state_dict(),
            "metrics": {"train_loss": 0.5, "train_acc": 0.8, "val_loss": 0.6, "val_acc": 0.78},
            "config": {
                "model": {"name": "efficientnet_v2", "size": "small", "num_classes": 7, "image_size": 224}
            },
        },
        run / "checkpoint_best.pt",
    )


def _training(folder: Path) -> None:
    """Tables and images that docs/training.md names: HAM10000, a split of one's own, ISIC 2017."""
    names = [f"ISIC_{n:07d}" for n in range(_EACH * len(HAM))]
    pictures(folder / "images", names)
    labels = [HAM[n // _EACH] for n in range(len(names))]
    lesions = [f"HAM_{n // 2:07d}" for n in range(len(names))]
    head = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"]
    rows = list(zip(lesions, names, labels, strict=True))
    table = [[*row, "histo", 50, "male", "back"] for row in rows]
    _table(folder / "HAM10000_metadata.csv", head, table)
    parts = [("train", "train", "val", "test")[n // 2 % 4] for n in range(len(names))]
    theirs = [[*row, part] for row, part in zip(rows, parts, strict=True)]
    _table(folder / "their_split.csv", [*head[:3], "split"], theirs)
    further = [f"ISIC_{n:07d}" for n in range(100, 100 + 3 * _EACH)]
    pictures(folder / "isic2017", further)
    kinds = [[name, ("mel", "bkl", "nv")[n % 3]] for n, name in enumerate(further)]
    _table(folder / "isic2017_labels.csv", ["image_id", "label"], kinds)


def _weights(folder: Path) -> None:
    """A Keras file with two classes, as docs/weights.md names it."""
    keras_file(folder / "old.h5", 1)


def _clinic(folder: Path) -> None:
    """DICOM files of a clinic, and a table of its patients, for images in `imgs/`."""
    from skinclf.images.synthetic import synthetic_lesion
    from support.dicom_files import encoded, of_array

    (folder / "export").mkdir()
    for n in range(2):
        array = synthetic_lesion(n, width=160, height=120)
        (folder / "export" / f"lesion-{n}.dcm").write_bytes(encoded(of_array(array)))


def _patients(folder: Path) -> None:
    """Age, sex and site for images in `imgs/`."""
    names = sorted(path.stem for path in (folder / "imgs").glob("*.jpg"))
    rows = [[name, 30 + n, ("female", "male")[n % 2], "back"] for n, name in enumerate(names)]
    _table(folder / "patients.csv", ["image", "age", "sex", "site"], rows)


_WRITERS: Mapping[str, Callable[[Path], None]] = {
    "skinsight": _skinsight,
    "devatreya": _devatreya,
    "skin-condition-assistant": _assistant,
    "melanoma-analyzer": _analyzer,
    "dermalyze": _dermalyze,
    "training": _training,
    "weights": _weights,
    "dicom": _clinic,
    "explain": _patients,
    "metadata": _patients,
}
