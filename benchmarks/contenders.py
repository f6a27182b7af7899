"""The ways that skinclf is compared with, in public APIs: one function per way, images in, CSV out, seconds returned.

Every way reads the same JPEG files, runs the same network (random weights: only speed is compared) and
writes one row per image. Start-up (imports, building or loading the network, one warm-up batch) is not counted.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from common import cores

SIZE = 224
BATCH = 32


def write_rows(names: Sequence[str], scores: Sequence[Sequence[float]], output: Path) -> None:
    with output.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *(f"p{i}" for i in range(len(scores[0])))])
        writer.writerows([name, *map(float, row)] for name, row in zip(names, scores, strict=True))


def _keras(model_file: Path, network: str) -> tuple[Callable[[object], object], Callable[[Path], object]]:
    import cv2
    import keras
    import numpy as np

    model = keras.models.load_model(model_file, compile=False)
    prepare = (
        keras.applications.resnet50.preprocess_input
        if network == "resnet50"
        else keras.applications.efficientnet.preprocess_input
    )

    def read(path: Path) -> object:
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        return prepare(cv2.resize(image, (SIZE, SIZE)).astype(np.float32))

    return lambda batch: model.predict(batch, verbose=0), read


def keras_per_image(files: Sequence[Path], model_file: Path, network: str, output: Path) -> float:
    """The README of devatreya's project: read one image, predict one image."""
    import numpy as np

    predict, read = _keras(model_file, network)
    predict(np.stack([read(files[0])]))
    start = time.perf_counter()
    scores = [predict(np.stack([read(path)]))[0] for path in files]
    write_rows([p.name for p in files], scores, output)
    return time.perf_counter() - start


def keras_batch(files: Sequence[Path], model_file: Path, network: str, output: Path) -> float:
    """The folder mode of devatreya's project: batches of 32 with OpenCV decoding."""
    import numpy as np

    predict, read = _keras(model_file, network)
    predict(np.stack([read(path) for path in files[:BATCH]]))
    start = time.perf_counter()
    scores: list[object] = []
    for at in range(0, len(files), BATCH):
        scores.extend(predict(np.stack([read(path) for path in files[at : at + BATCH]])))
    write_rows([p.name for p in files], scores, output)
    return time.perf_counter() - start


def _timm(network: str, classes: int, device: str) -> tuple[object, object]:
    import timm
    from timm.data import create_transform, resolve_model_data_config

    model = timm.create_model(network, num_classes=classes).eval().to(device)
    return model, create_transform(**resolve_model_data_config(model), is_training=False)


def torch_dataloader(
    files: Sequence[Path], classes: int, network: str, output: Path, device: str = "cpu"
) -> float:
    """A plain torch loop: PIL, torchvision transforms, a DataLoader with a worker per core, eager float32."""
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    model, _ = _timm(network, classes, device)
    transform = transforms.Compose(
        [
            transforms.Resize((SIZE, SIZE)),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )

    class Files(Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, index: int) -> object:
            return transform(Image.open(files[index]).convert("RGB"))

    with torch.inference_mode():
        model(torch.zeros(BATCH, 3, SIZE, SIZE, device=device))
        start = time.perf_counter()
        loader = DataLoader(Files(), batch_size=BATCH, num_workers=cores(), pin_memory=device != "cpu")
        scores = torch.cat([model(batch.to(device, non_blocking=True)).softmax(1) for batch in loader])
    write_rows([p.name for p in files], scores.tolist(), output)
    return time.perf_counter() - start


def timm_eager(files: Sequence[Path], classes: int, network: str, output: Path, device: str = "cpu") -> float:
    """timm's own transform and model, batch 32, eager float32, no workers."""
    import torch
    from PIL import Image

    model, transform = _timm(network, classes, device)
    scores = []
    with torch.inference_mode():
        model(torch.zeros(BATCH, 3, SIZE, SIZE, device=device))
        start = time.perf_counter()
        for at in range(0, len(files), BATCH):
            batch = torch.stack([transform(Image.open(p).convert("RGB")) for p in files[at : at + BATCH]])
            scores += model(batch.to(device)).softmax(1).tolist()
    write_rows([p.name for p in files], scores, output)
    return time.perf_counter() - start


def transformers_pipeline(
    files: Sequence[Path], classes: int, network: str, output: Path, device: str = "cpu"
) -> float:
    """transformers' image-classification pipeline over the same timm network, batches of 32."""
    import timm
    from transformers import (
        TimmWrapperConfig,
        TimmWrapperForImageClassification,
        TimmWrapperImageProcessor,
        pipeline,
    )

    cfg = timm.create_model(network, num_classes=classes).pretrained_cfg
    config = TimmWrapperConfig(architecture=network, num_labels=classes, pretrained_cfg=cfg)
    model = TimmWrapperForImageClassification(config).eval()
    processor = TimmWrapperImageProcessor(pretrained_cfg=cfg, architecture=network)
    pipe = pipeline("image-classification", model=model, image_processor=processor, device=device)
    pipe([str(p) for p in files[:BATCH]], batch_size=BATCH, top_k=classes)
    start = time.perf_counter()
    results = pipe([str(p) for p in files], batch_size=BATCH, top_k=classes)
    write_rows([p.name for p in files], [[x["score"] for x in row] for row in results], output)
    return time.perf_counter() - start
