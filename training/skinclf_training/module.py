"""The Lightning module: augmentation, loss, optimiser, averaged weights, validation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from skinclf.labels import LabelSet
from skinclf_training.augment import augment, mix
from skinclf_training.config import Config
from skinclf_training.loader import Batch
from skinclf_training.losses import build_loss
from skinclf_training.metrics import validation_metrics
from skinclf_training.network import head_names


def learning_rate_factor(step: int, *, warmup: int, total: int, floor: float) -> float:
    """Linear warm-up, then half a cosine from 1 to `floor` (Loshchilov and Hutter 2017)."""
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, total - warmup))
    return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2


class Classifier(pl.LightningModule):  # type: ignore[misc]
    """Trains one network.

    Args:
        config: The run.
        network: What to train.
        labels: Labels in output order.
        weights: Class weights of the loss, shape (K,).
        steps_per_epoch: Optimiser steps of an epoch.
    """

    def __init__(
        self,
        config: Config,
        network: nn.Module,
        labels: LabelSet,
        weights: npt.NDArray[np.float32],
        *,
        steps_per_epoch: int,
    ) -> None:
        super().__init__()
        self.config, self.labels, self.steps_per_epoch = config, labels, steps_per_epoch
        if config.optim.channels_last:
            network = network.to(memory_format=torch.channels_last)
        self.network = network
        self.ema: ModelEmaV3 | None = None
        if config.optim.ema > 0:
            self.ema = ModelEmaV3(network, decay=config.optim.ema, use_warmup=True, warmup_power=0.75)
            self.ema.requires_grad_(False)
        self.loss = build_loss(config.loss, torch.from_numpy(weights), len(labels))
        a, b = config.preprocess.build().affine()
        self.register_buffer("factor", torch.from_numpy(a)[:, None, None], persistent=False)
        self.register_buffer("offset", torch.from_numpy(b)[:, None, None], persistent=False)
        self._bgr = config.preprocess.build().color == "bgr"
        #: Sums over the epoch so far; saved, so that a resumed epoch reports like an uninterrupted one.
        self.sums: dict[str, float] = {"loss": 0.0, "correct": 0.0, "images": 0.0}
        self.figures: dict[str, float] = {}
        self._outputs: list[tuple[Tensor, Tensor]] = []

    def _scaled(self, pixels: Tensor) -> Tensor:
        x: Tensor = (pixels.flip(1) if self._bgr else pixels) * self.factor + self.offset
        return x.contiguous(memory_format=torch.channels_last) if self.config.optim.channels_last else x

    def on_train_epoch_start(self) -> None:
        """Start the epoch's sums."""
        self.sums = dict.fromkeys(self.sums, 0.0)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002
        """Augment a batch, which knows its place in the run, and return its loss."""
        seed = [self.config.seed, batch.epoch, batch.index]
        rng = np.random.default_rng(seed)
        # Dropout draws from torch's generator: seeded here, a resumed run equals an uninterrupted one.
        torch.manual_seed(int(rng.integers(2**62)))
        with torch.autocast(self.device.type, enabled=False):
            pixels = augment(batch.images, self.config.augment, rng)
            soft = F.one_hot(batch.targets, len(self.labels)).float()
            soft, pixels = mix(soft, pixels, self.config.augment, rng)
            x = self._scaled(pixels)
        logits = self.network(x).float()
        loss: Tensor = self.loss(logits, soft)
        size = len(batch.targets)
        self.sums["loss"] += float(loss.detach()) * size
        self.sums["correct"] += float((logits.detach().argmax(1) == soft.argmax(1)).sum())
        self.sums["images"] += size
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and update the averaged weights at once, before any checkpoint of the step is written."""
        super().optimizer_step(*args, **kwargs)
        if self.ema is not None:
            self.ema.update(self.network, step=self.global_step + 1)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        """Collect the scores of the averaged weights."""
        network = self.network if self.ema is None else self.ema.module
        x = self._scaled(batch.images.permute(0, 3, 1, 2).float())
        self._outputs.append((network(x).float().cpu(), batch.targets.cpu()))

    def on_validation_epoch_end(self) -> None:
        """Turn collected scores into figures; each is also logged for checkpoints that monitor one."""
        logits, targets = (torch.cat(parts) for parts in zip(*self._outputs, strict=True))
        self._outputs.clear()
        probabilities = logits.double().softmax(dim=1).numpy()
        self.figures = validation_metrics(probabilities, targets.numpy(), self.labels)
        self.log_dict(self.figures)

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW; the classifier has its own rate, vectors have no weight decay; schedule by step."""
        o = self.config.optim
        head = head_names(self.network)
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in self.network.named_parameters():
            groups.setdefault((name in head, parameter.ndim > 1), []).append(parameter)
        optimizer = torch.optim.AdamW(
            [
                {
                    "params": parameters,
                    "lr": o.head_lr if is_head else o.lr,
                    "weight_decay": o.weight_decay if is_matrix else 0.0,
                    "name": f"{'head' if is_head else 'body'}/{'matrices' if is_matrix else 'vectors'}",
                }
                for (is_head, is_matrix), parameters in sorted(groups.items())
            ]
        )
        total = o.epochs * self.steps_per_epoch
        warmup = max(1, round(o.warmup_epochs * self.steps_per_epoch))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(step, warmup=warmup, total=total, floor=o.min_lr)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the epoch's sums."""
        checkpoint["skinclf_sums"] = dict(self.sums)

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Take the epoch's sums back."""
        self.sums = dict(checkpoint["skinclf_sums"])
