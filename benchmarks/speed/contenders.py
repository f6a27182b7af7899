"""The ways that skinclf is compared with, in public APIs: one function per way, images in, CSV out, seconds returned.

Every way reads the same JPEG files, runs the same network (random weights: only speed is compared) and
writes one row per image. Start-up (imports, building or loading the network, one warm-up batch) is not counted.
Where a way is named after another tool, the file handling is that tool's, written out from its public API, and the
network is the one that all ways run; its own network would be slower (CLIP) or has other classes (chest X-rays).
"""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.common import cores

SIZE = 224
#: Images per call of the network, where the tool itself does not say otherwise.
BATCH = int(os.environ.get("BENCH_BATCH", "32"))


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
    prepare = {
        "resnet50": keras.applications.resnet50.preprocess_input,
        "efficientnet_b0": keras.applications.efficientnet.preprocess_input,
        "mobilenetv2_100": keras.applications.mobilenet_v2.preprocess_input,
    }[network]

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


def timm_inference(
    files: Sequence[Path], classes: int, network: str, output: Path, device: str = "cpu"
) -> float:
    """timm's inference script: its dataset of the folder, its loader with two workers, top 1 into a table of pandas.

    The script's batch is 256; here it is that of the others, so that both workers have work.
    """
    import pandas as pd
    import torch
    from timm.data import create_dataset, create_loader, resolve_model_data_config

    model, _ = _timm(network, classes, device)
    dataset = create_dataset(name="", root=str(files[0].parent), split="validation")
    wanted = {str(path) for path in files}
    dataset.reader.samples = [sample for sample in dataset.reader.samples if sample[0] in wanted]
    with torch.inference_mode():
        model(torch.zeros(BATCH, 3, SIZE, SIZE, device=device))
        start = time.perf_counter()
        loader = create_loader(
            dataset,
            batch_size=BATCH,
            use_prefetcher=device != "cpu",
            num_workers=2,
            device=torch.device(device),
            **resolve_model_data_config(model),
        )
        best = [model(images.to(device)).softmax(-1).topk(1) for images, _ in loader]
    table = {
        "filename": dataset.filenames(basename=True),
        "index": torch.cat([index for _, index in best]).squeeze(1).cpu().numpy(),
        "prob": torch.cat([value for value, _ in best]).squeeze(1).cpu().numpy(),
    }
    pd.DataFrame(table).set_index("filename").to_csv(output)
    return time.perf_counter() - start


def pybioclip(files: Sequence[Path], classes: int, network: str, output: Path, device: str = "cpu") -> float:
    """pybioclip's `predict` in batches of 10: a whole batch is opened as RGB, made tensors at full size and resized.

    Tensors first, then torchvision's antialiased `Resize` to a square, then the normalisation of CLIP; the network is
    compiled by `torch.compile` there, and eager here, where there is no compiler.
    """
    import torch
    from PIL import Image
    from torchvision import transforms

    model, _ = _timm(network, classes, device)
    transform = transforms.Compose(
        [
            transforms.ToTensor(),
            transforms.Resize((SIZE, SIZE), antialias=True),
            transforms.Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        ]
    )
    size, scores = min(10, BATCH), []
    with torch.no_grad():
        model(torch.zeros(size, 3, SIZE, SIZE, device=device))
        start = time.perf_counter()
        for at in range(0, len(files), size):
            pictures = [Image.open(path).convert("RGB") for path in files[at : at + size]]
            batch = torch.stack([transform(picture).to(device) for picture in pictures])
            scores += model(batch).softmax(1).tolist()
    write_rows([p.name for p in files], scores, output)
    return time.perf_counter() - start


def torchxrayvision(
    files: Sequence[Path], classes: int, network: str, output: Path, device: str = "cpu"
) -> float:
    """torchxrayvision's way: one picture at a time, an array scaled to float, cropped to a square, resized, predicted.

    It scales the whole picture to -1024 to 1024 as float32, crops the centre and resizes the array with OpenCV's
    `INTER_AREA` (its engine `cv2`, the faster of its two); colour is kept here, where an X-ray has one channel.
    """
    import cv2
    import numpy as np
    import torch
    from PIL import Image

    model, _ = _timm(network, classes, device)
    scores = []
    with torch.no_grad():
        model(torch.zeros(1, 3, SIZE, SIZE, device=device))
        start = time.perf_counter()
        for path in files:
            pixels = np.asarray(Image.open(path).convert("RGB"))
            pixels = (2 * (pixels.astype(np.float32) / 255) - 1.0) * 1024
            side = min(pixels.shape[:2])
            top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
            square = pixels[top : top + side, left : left + side]
            small = cv2.resize(square, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
            batch = torch.from_numpy(small).permute(2, 0, 1)[None].to(device)
            scores += model(batch).softmax(1).tolist()
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
