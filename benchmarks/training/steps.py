"""Training on the CPU: skinclf's input pipeline and step beside a plain torch loop, in about three minutes.

    $ python -m benchmarks.training.steps --json docs/measured/training.json

The plain loop is what one writes first: Pillow and torchvision's random transforms in a `DataLoader` with a worker per
core, the network as timm makes it, AdamW, float32. skinclf takes the pictures from its decoded store, which is written
once before training, augments a batch at a time, and runs the step of `skinclf_training.torch.lightning_module`. Each
line is a process of its own. The last two lines are one network twice: with TensorFlow's padding, which adds a row and
a column at one end before each convolution that halves the picture, and with PyTorch's symmetric one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.common import cores, machine, make_images, markdown
from benchmarks.results import json_option, report, write

CLASSES = 7
#: Words, network, and what the step does.
LINES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("plain torch loop", "mobilenetv2_100", {"way": "plain"}),
    ("skinclf, freed memory returned", "mobilenetv2_100", {"keep_memory": False}),
    ("skinclf", "mobilenetv2_100", {}),
    ("skinclf, TensorFlow's padding", "tf_efficientnet_b0", {}),
    ("skinclf, symmetric padding", "efficientnet_b0", {}),
)


def per_second(step: Callable[[], int], seconds: float) -> float:
    """Images per second of a step that returns how many it did, after two that warm up."""
    step()
    step()
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        done += step()
    return done / (time.perf_counter() - start)


def endless(make: Callable[[int], Iterator[Any]]) -> Iterator[Any]:
    """Batches of one epoch after another."""
    epoch = 0
    while True:
        yield from make(epoch)
        epoch += 1


def plain(files: Sequence[Path], network: str, size: int, batch: int, seconds: float) -> dict[str, float]:
    """The plain loop: rate of its input alone, and of training."""
    import timm
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(size, scale=(0.5, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.RandomRotation(180),
            transforms.ColorJitter(0.2, 0.2, 0.2, 0.03),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )

    class Files(Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, index: int) -> tuple[Any, int]:
            return transform(Image.open(files[index]).convert("RGB")), index % CLASSES

    loader = DataLoader(
        Files(), batch_size=batch, shuffle=True, drop_last=True, num_workers=cores(), persistent_workers=True
    )
    batches = endless(lambda _: iter(loader))
    alone = per_second(lambda: len(next(batches)[1]), seconds / 2)
    model = timm.create_model(network, num_classes=CLASSES).train()
    optimizer = torch.optim.AdamW(model.parameters())

    def step() -> int:
        images, targets = next(batches)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), targets).backward()
        optimizer.step()
        return len(targets)

    return {"input": alone, "train": per_second(step, seconds)}


def ours(
    files: Sequence[Path],
    network: str,
    size: int,
    batch: int,
    seconds: float,
    *,
    keep_memory: bool = True,
) -> dict[str, float]:
    """skinclf_training's loader, augmentation and step: rate of input and augmentation alone, and of training."""
    from skinclf.images.decode import load_picture
    from skinclf.images.preprocess import Preprocess
    from skinclf.labels import HAM10000
    from skinclf_training.augment.batch import augment
    from skinclf_training.config.schema import (
        AugmentConfig,
        Config,
        DataConfig,
        ModelConfig,
        OptimConfig,
        PreprocessConfig,
    )
    from skinclf_training.recipes.memory import keep_freed_memory
    from skinclf_training.torch.lightning_module import Classifier
    from skinclf_training.torch.loader import StoreLoader
    from skinclf_training.torch.networks.build import build_network

    if keep_memory:
        keep_freed_memory()
    config = Config(
        model=ModelConfig(architecture=network),
        data=DataConfig(batch_size=batch),
        augment=AugmentConfig(size=size),
        preprocess=PreprocessConfig(height=size, width=size),
        optim=OptimConfig(accelerator="cpu", channels_last=True),
    )
    stored = Preprocess(height=config.data.store_height, width=config.data.store_width)
    store = np.stack([stored.pixels(load_picture(path)) for path in files])
    rows, targets = np.arange(len(files)), np.arange(len(files)) % CLASSES

    def shuffled(epoch: int) -> Any:
        return np.random.default_rng(epoch).permutation(rows)

    loader = StoreLoader(store, rows, targets, batch_size=batch, order=shuffled, drop_last=True)

    def epoch_of(number: int) -> Iterator[Any]:
        loader.set_epoch(number)
        return iter(loader)

    batches = endless(epoch_of)

    def prepare() -> int:
        made = next(batches)
        return len(augment(made.images, config.augment, made.rng))

    alone = per_second(prepare, seconds / 2)
    built, _ = build_network(config.model, CLASSES)
    module = Classifier(config, built, HAM10000, np.ones(CLASSES, np.float32), batches_per_epoch=len(loader))
    optimizer = module.configure_optimizers()

    def step() -> int:
        made = next(batches)
        optimizer.zero_grad()
        module.training_step(made, made.index).backward()
        optimizer.step()
        return len(made.targets)

    return {"input": alone, "train": per_second(step, seconds)}


def in_process(work: Path, network: str, options: dict[str, Any], common: dict[str, Any]) -> dict[str, float]:
    """One line of the table, in a process of its own."""
    given = json.dumps({"work": str(work), "network": network, **common, **options})
    command = [sys.executable, "-m", "benchmarks.training.steps", "--one", given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"{network} {options}: {done.stderr[-2000:]}")
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def one(work: str, images: int, way: str = "ours", **options: Any) -> dict[str, float]:
    """What `--one` runs."""
    files = make_images(Path(work) / "images", images)
    return {"plain": plain, "ours": ours}[way](files, **options)


@click.command()
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/bench"), show_default=True)
@click.option("--size", default=128, show_default=True, help="Pixels of a side.")
@click.option("--batch-size", default=32, show_default=True)
@click.option("--images", default=256, show_default=True)
@click.option("--seconds", default=10.0, show_default=True, help="Per line.")
@json_option
@click.option("--one", "single", default=None, hidden=True)
def main(
    work: Path,
    size: int,
    batch_size: int,
    images: int,
    seconds: float,
    output: Path | None,
    single: str | None,
) -> None:
    """Print images per second and core of training, skinclf beside a plain torch loop."""
    if single is not None:
        print(json.dumps(one(**json.loads(single))))
        return
    print(f"{json.dumps(machine())}\n")
    common = {"size": size, "batch": batch_size, "images": images, "seconds": seconds}
    found = []
    for words, network, options in LINES:
        row = in_process(work, network, options, common)
        found.append({"way": words, "network": network, **{k: round(v, 2) for k, v in row.items()}})
        print(f"{words}, {network}: {row['train']:.1f} images/s", flush=True)
    base = found[0]["train"]
    rows = [
        [
            row["way"],
            row["network"],
            f"{row['input']:.0f}",
            f"{row['train']:.1f}",
            f"{row['train'] / cores():.1f}",
            f"{row['train'] / base:.2f}" if row["network"] == found[0]["network"] else "",
        ]
        for row in found
    ]
    header = ["training", "network", "input alone, images/s", "images/s", "a core", "times plain loop"]
    print(f"\n{size} px, batches of {batch_size}\n\n{markdown(header, rows)}")
    write(output, report({"size": size, "batch_size": batch_size, "training": found}))


if __name__ == "__main__":
    main()
