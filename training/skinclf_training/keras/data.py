"""Batches for TensorFlow, augmented on torch tensors as in PyTorch training, ahead of the model.

Each batch depends on (seed, epoch, number) only and is made in background threads; neither a resumed run nor the
order of threads changes it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from skinclf_training.augment.batch import augment, mix
from skinclf_training.config.schema import Config
from skinclf_training.keras.framework import tf
from skinclf_training.recipes.class_balance import epoch_rows

_AHEAD = 2


class Batches:
    """Training batches of every epoch.

    Args:
        config: Configuration of the run.
        store: Decoded images, shape (M, H, W, 3), uint8.
        rows: Rows of the store that every epoch has.
        targets: Label of every row of the store.
        classes: Number of classes.
        weights: Weight of every row of the store in the loss, float32; None for 1.
    """

    def __init__(
        self,
        config: Config,
        store: npt.NDArray[np.uint8],
        rows: npt.NDArray[np.int64],
        targets: npt.NDArray[np.int64],
        classes: int,
        weights: npt.NDArray[np.float32] | None = None,
    ) -> None:
        self.weights = weights
        self.config, self.store, self.rows, self.targets, self.classes = config, store, rows, targets, classes
        self.size = min(config.data.batch_size, len(rows))

    def __len__(self) -> int:
        full, tail = divmod(len(self.rows), self.size)
        return full + (tail > 0 and not self.config.data.drop_last)

    def epoch(self, epoch: int, *, first: int = 0) -> Any:
        """Batches of an epoch as a `tf.data.Dataset`.

        Args:
            epoch: Epoch, counted from 0; each has an order of its own.
            first: Number of the first batch, for a resumed epoch.

        Returns:
            Dataset of pixels, (N, size, size, 3) float32, 0 to 255, RGB; and soft targets, (N, K) float32, whose rows
            sum to 1, or to the weight of the image.
        """
        order = self.order(epoch)
        side = self.config.augment.size

        def make(number: Any) -> Any:
            pixels, soft = tf.numpy_function(
                lambda i: self.make(epoch, int(i), order), [number], [tf.float32, tf.float32]
            )
            return tf.ensure_shape(pixels, (None, side, side, 3)), tf.ensure_shape(soft, (None, self.classes))

        return (
            tf.data.Dataset.range(first, len(self))
            .map(make, num_parallel_calls=max(1, self.config.data.workers), deterministic=True)
            .prefetch(_AHEAD)
        )

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Rows of the store in the order of an epoch."""
        rng = np.random.default_rng([self.config.seed, epoch])
        sampler = self.config.data.sampler
        return epoch_rows(self.rows, self.targets, self.classes, sampler=sampler, rng=rng)

    def make(
        self, epoch: int, number: int, order: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """One batch: pixels (N, size, size, 3) and soft targets (N, K), both float32."""
        rng = np.random.default_rng([self.config.seed, epoch, number])
        taken = order[number * self.size : (number + 1) * self.size]
        pixels = augment(torch.from_numpy(self.store[taken]), self.config.augment, rng)
        soft = F.one_hot(torch.from_numpy(self.targets[taken]), self.classes).float()
        if self.weights is not None:
            soft = soft * torch.from_numpy(self.weights[taken])[:, None]
        soft, pixels = mix(soft, pixels, self.config.augment, rng)
        return pixels.permute(0, 2, 3, 1).contiguous().numpy(), soft.numpy()


def scaled(pixels: Any, config: Config) -> Any:
    """Scale pixels 0 to 255, (N, H, W, 3) RGB of any dtype, to the input of the network, float32."""
    preprocess = config.preprocess.build()
    factor, offset = preprocess.affine()
    values = tf.cast(pixels, tf.float32)
    return (values[..., ::-1] if preprocess.color == "bgr" else values) * factor + offset
