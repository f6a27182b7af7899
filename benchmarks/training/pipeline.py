"""Rates of the augmentation and of training, to see whether training waits: `python -m benchmarks.training.pipeline`.

Pictures come from the decoded store, as in `skinclf train`; each preset prepares them on all cores, then networks
take training steps (forward, backward, AdamW) on pictures that are there already.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

from benchmarks.common import machine
from benchmarks.results import json_option, report, rounded, write

NETWORKS = ("mobilenetv2_100", "efficientnet_b0", "resnet50")


def rate(step: Callable[[int], int], seconds: float) -> float:
    """Images per second of a step that returns how many it did, after one warm-up step."""
    step(0)
    done, start, number = 0, time.perf_counter(), 1
    while time.perf_counter() - start < seconds:
        done += step(number)
        number += 1
    return done / (time.perf_counter() - start)


@click.command()
@click.option("--size", default=224, show_default=True, help="Pixels.")
@click.option("--batch-size", default=32, show_default=True)
@click.option("--seconds", default=10.0, show_default=True, help="Per measurement.")
@json_option
@click.option("--precision", type=click.Choice(["bf16", "fp32"]), default="bf16", show_default=True)
def main(size: int, batch_size: int, seconds: float, precision: str, output: Path | None) -> None:
    """Print images per second of every preset and of networks that train."""
    import timm
    import torch

    from skinclf.images.synthetic import synthetic_lesion
    from skinclf_training.augment.batch import augment
    from skinclf_training.augment.presets import PRESETS
    from skinclf_training.config.schema import AugmentConfig
    from skinclf_training.recipes.memory import keep_freed_memory

    keep_freed_memory()
    print(json.dumps(machine()))
    store = torch.from_numpy(
        np.stack([synthetic_lesion(i, width=320, height=240) for i in range(batch_size)])
    )
    presets: dict[str, float] = {}
    networks: dict[str, float] = {}
    for preset in ("batch", *sorted(PRESETS)):
        config = AugmentConfig(preset=preset, size=size)

        def prepare(number: int, config: AugmentConfig = config) -> int:
            return len(augment(store, config, np.random.default_rng(number)))

        presets[preset] = rate(prepare, seconds)
        print(f"{preset}: {presets[preset]:.0f} images/s", flush=True)
    pictures = augment(store, AugmentConfig(size=size), np.random.default_rng(0)) / 127.5 - 1
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    targets = torch.arange(batch_size) % 7
    for name in NETWORKS:
        network = timm.create_model(name, num_classes=7).to(memory_format=torch.channels_last).train()
        optimizer = torch.optim.AdamW(network.parameters())

        def learn(_: int, network=network, optimizer=optimizer) -> int:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
                scores = network(pictures)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(scores.float(), targets).backward()
            optimizer.step()
            return batch_size

        networks[name] = rate(learn, seconds)
        print(f"{name}: {networks[name]:.1f} images/s, {precision}", flush=True)
    settings = {"size": size, "batch_size": batch_size, "precision": precision}
    write(output, report(rounded({**settings, "presets": presets, "networks": networks}, 1)))


if __name__ == "__main__":
    main()
