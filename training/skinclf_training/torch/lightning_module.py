"""The Lightning module: augmentation, loss, optimiser, phases, averaged weights, validation."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.special import softmax
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from skinclf.errors import DivergenceError
from skinclf.labels import LabelSet
from skinclf.models.probabilities import Activation, to_logits
from skinclf_training.augment.batch import augment, mix
from skinclf_training.config.read import Config
from skinclf_training.config.schema import LossConfig
from skinclf_training.recipes.losses import build_loss
from skinclf_training.recipes.run_failures import diverged
from skinclf_training.recipes.schedule import Watch, learning_rates, phase_at, schedule_factor
from skinclf_training.recipes.validation_metrics import validation_metrics
from skinclf_training.torch.distill import Teachers, distillation_loss, resized
from skinclf_training.torch.distributed import gather, share_buffers
from skinclf_training.torch.loader import Batch
from skinclf_training.torch.networks.freezing import Freezer
from skinclf_training.torch.optim import build_optimizer, set_rates

log = logging.getLogger("skinclf")


def activation(config: LossConfig) -> Activation:
    """Activation of the outputs of a network trained with a loss."""
    return "sigmoid" if config.kind == "bce" else "softmax"


class Classifier(pl.LightningModule):  # type: ignore[misc]
    """Lightning module that trains one network.

    Args:
        config: Configuration of the run.
        network: Network to train.
        labels: Labels in output order.
        weights: Class weights of the loss, shape (K,).
        batches_per_epoch: Number of batches of an epoch; every `optim.accumulate` of them, and the rest, make a step.
    """

    def __init__(
        self,
        config: Config,
        network: nn.Module,
        labels: LabelSet,
        weights: npt.NDArray[np.float32],
        *,
        batches_per_epoch: int,
    ) -> None:
        super().__init__()
        o = config.optim
        self.config, self.labels, self.batches_per_epoch = config, labels, batches_per_epoch
        self.steps_per_epoch = -(-batches_per_epoch // o.accumulate)
        if o.channels_last:
            network = network.to(memory_format=torch.channels_last)
        self.network = network
        self.ema: ModelEmaV3 | None = None
        if o.ema > 0:
            self.ema = ModelEmaV3(network, decay=o.ema, use_warmup=True, warmup_power=0.75)
            self.ema.requires_grad_(False)
        self.freezer = Freezer(network, o)
        weighted = config.data.weight_column is not None
        self.loss = build_loss(config.loss, torch.from_numpy(weights), len(labels), weighted_targets=weighted)
        preprocess = config.preprocess.build()
        a, b = preprocess.affine()
        self.register_buffer("factor", torch.from_numpy(a)[:, None, None], persistent=False)
        self.register_buffer("offset", torch.from_numpy(b)[:, None, None], persistent=False)
        self._bgr = preprocess.color == "bgr"
        #: Sums over the epoch so far; saved, so that a resumed epoch reports like an uninterrupted one.
        self.sums: dict[str, float] = {"loss": 0.0, "correct": 0.0, "images": 0.0}
        self.figures: dict[str, float] = {}
        self.frozen_layers = 0
        self.watch = Watch()
        self._teachers: Teachers | None = None
        self._outputs: list[tuple[Tensor, Tensor]] = []
        if o.compile:
            network.compile()
        self.train()

    def train(self, mode: bool = True) -> Classifier:  # noqa: FBT001, FBT002 - torch's signature
        """Switch the mode; frozen batch normalisation stays in eval mode."""
        super().train(mode)
        if mode:
            self.freezer.settle()
        return self

    def on_train_start(self) -> None:
        """Enter the phase of a resumed run; a run that had stopped early stays stopped."""
        learning = self.freezer.enter(phase_at(self.config.optim, self.trainer.current_epoch))
        self.frozen_layers = learning.frozen_layers
        if self.config.distill.weight > 0:
            self._teachers = Teachers(self.config.distill, self.labels, self.device)
        if self.watch.stopped:
            self.trainer.should_stop = True

    def on_train_epoch_start(self) -> None:
        """Reset the sums of the epoch, and enter its phase."""
        self.sums = dict.fromkeys(self.sums, 0.0)
        epoch = self.trainer.current_epoch
        phase = phase_at(self.config.optim, epoch)
        learning = self.freezer.enter(phase)
        self.frozen_layers = learning.frozen_layers
        if phase.epoch == epoch and self.config.optim.phases:
            log.info(
                "Epoch %d: %s learns, with %d of %d stages; %d of %d numbers",
                epoch + 1,
                phase.trainable,
                learning.stages,
                learning.of_stages,
                learning.parameters,
                learning.of_parameters,
            )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002
        """Augment a batch and return its loss."""
        # Dropout draws from torch's generator: seeded here, a resumed run equals an uninterrupted one.
        torch.manual_seed(batch.seed)
        config = self.config
        with torch.autocast(self.device.type, enabled=False):
            pixels = batch.images
            if pixels.dtype == torch.uint8:
                pixels = augment(pixels, config.augment, batch.rng)
            soft = F.one_hot(batch.targets, len(self.labels)).float()
            if batch.weights is not None:
                soft = soft * batch.weights[:, None]
            mixed, pixels = mix(soft, pixels, config.augment, batch.rng)
            known = batch.known
            if known is not None and mixed is not soft:
                # A mixed picture shows what either of its two data sets tells apart.
                known = known | known.flip(0)
            soft = mixed
            x = self._scaled(resized(pixels, config.distill.student_size))
        scores = self.network(x).float()
        loss: Tensor = self.loss(scores, soft, known)
        logits = F.pad(scores, (1, 0)) if scores.shape[1] == 1 else scores
        if self._teachers is not None:
            answers = self._teachers.probabilities(pixels)
            share = config.distill.weight
            learnt = distillation_loss(logits, answers, config.distill.temperature)
            loss = (1 - share) * loss + share * learnt
        size = len(batch.targets)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise self._diverged("the loss", batch.index + 1)
        self.sums["loss"] += value * size
        self.sums["correct"] += float((logits.detach().argmax(1) == soft.argmax(1)).sum())
        self.sums["images"] += size
        return loss * self._window_factor(batch.index)

    def _window_factor(self, index: int) -> float:
        """Factor on the loss: Lightning divides by `accumulate`, but the last step may cover fewer batches."""
        accumulate = self.config.optim.accumulate
        rest = self.batches_per_epoch % accumulate
        return accumulate / rest if index >= self.batches_per_epoch - rest else 1.0

    def _scaled(self, pixels: Tensor) -> Tensor:
        x: Tensor = (pixels.flip(1) if self._bgr else pixels) * self.factor + self.offset
        return x.contiguous(memory_format=torch.channels_last) if self.config.optim.channels_last else x

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, closure: Any = None) -> None:
        """Step at the rate of the schedule, and update the averaged weights before any checkpoint is written."""
        o = self.config.optim
        factor = schedule_factor(o, step=self.global_step, steps_per_epoch=self.steps_per_epoch)
        set_rates(optimizer, learning_rates(o, phase_at(o, epoch), factor * self.watch.factor))
        super().optimizer_step(epoch, batch_idx, optimizer, closure)
        if self.ema is not None:
            self.ema.update(self.network, step=self.global_step + 1)

    def on_validation_start(self) -> None:
        """Give all processes the same weights to validate."""
        share_buffers(self.network if self.ema is None else self.ema)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        """Collect the scores of the averaged weights."""
        if not len(batch.targets):
            return  # a process without a share of the last batch
        network = self.network if self.ema is None else self.ema.module
        x = self._scaled(batch.images.permute(0, 3, 1, 2).float())
        self._outputs.append((network(x).float().cpu(), batch.targets.cpu()))

    def on_validation_epoch_end(self) -> None:
        """Compute the validation figures, update plateau and early stopping, and log the figures for checkpoints."""
        scores, targets = (torch.cat(parts).numpy() for parts in zip(*self._outputs, strict=True))
        self._outputs.clear()
        scores, targets = (np.concatenate(parts) for parts in zip(*gather((scores, targets)), strict=True))
        if not np.isfinite(scores).all():
            raise self._diverged("the network's output on the validation part")
        probabilities = softmax(to_logits(scores, activation(self.config.loss)), axis=1)
        self.figures = validation_metrics(probabilities, targets, self.labels)
        self.watch.update(self.config, self.figures, self.trainer.current_epoch)
        if self.watch.stopped:
            log.info("No better %s for %d epochs; stopping", self.config.select, self.watch.stop.waited)
            self.trainer.should_stop = True
        epoch = float(self.trainer.current_epoch + 1)
        self.log_dict({**self.figures, "epoch_number": epoch}, logger=False)

    def _diverged(self, what: str, batch: int | None = None) -> DivergenceError:
        run = Path(self.trainer.default_root_dir)
        return diverged(run, what, epoch=self.trainer.current_epoch + 1, batch=batch)

    def totals(self) -> dict[str, float]:
        """Sums of the epoch over all processes; all processes must call it."""
        every = gather(self.sums)
        return {key: sum(sums[key] for sums in every) for key in self.sums}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Build the optimiser; its rates are set at every step."""
        return build_optimizer(self.network, self.config.optim)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the sums of the epoch, and the state of plateau and early stopping, after a check of the weights.

        Raises:
            DivergenceError: A weight is not a finite number; the checkpoint before stays.
        """
        if not all(bool(torch.isfinite(p).all()) for p in self.network.parameters()):
            raise self._diverged("a weight")
        checkpoint["skinclf_sums"] = self.totals()
        checkpoint["skinclf_watch"] = self.watch.to_dict()

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Restore that state; the sums, which are over all processes, go to the first one."""
        sums = dict(checkpoint["skinclf_sums"])
        self.sums = sums if self.trainer.is_global_zero else dict.fromkeys(sums, 0.0)
        self.watch = Watch.from_dict(checkpoint["skinclf_watch"])
