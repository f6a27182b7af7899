"""Loss functions of `skinclf_training.recipes.losses` in TensorFlow; a test compares the two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from skinclf_training.config.schema import LossConfig
from skinclf_training.keras.framework import tf
from skinclf_training.recipes.losses import build_loss as build_torch_loss

# As in `skinclf_training.recipes.losses`: lower bound of 1 - pt.
_EPS = 1e-7


def build_loss(
    config: LossConfig, weights: npt.NDArray[np.float32], classes: int, *, weighted_targets: bool = False
) -> Callable[[Any, Any], Any]:
    """Build the loss of a configuration.

    Args:
        config: Configuration of the loss.
        weights: Factor of each class, shape (K,), from `skinclf_training.recipes.class_balance.class_weights`.
        classes: Number of classes K.
        weighted_targets: Whether the sum of a row of targets is the weight of its image in the loss, instead of 1.

    Returns:
        A function of logits, shape (N, K) or for `bce` (N, 1), and soft targets, shape (N, K), whose rows sum
        to 1 or to the weight, that gives the mean loss, a float32 scalar. Nothing is clipped and no probability is
        logged.

    Raises:
        InvalidArgumentError: The configuration or the weights are invalid
            (`skinclf_training.recipes.losses.build_loss`).
    """
    build_torch_loss(config, torch.from_numpy(weights), classes)  # checks configuration and weights
    factors = tf.constant(weights)

    def loss(logits: Any, soft: Any) -> Any:
        log_p = log_probabilities(logits, config.kind)
        terms = -log_p * factors
        if config.kind == "focal":
            log_pt = log_p if config.focal_pt == "unweighted" else -terms
            terms *= config.alpha * tf.maximum(-tf.math.expm1(log_pt), _EPS) ** config.gamma
        total = tf.reduce_sum(soft, axis=1, keepdims=True) if weighted_targets else 1.0
        smooth = soft * (1 - config.label_smoothing) + config.label_smoothing / classes * total
        return tf.reduce_mean(tf.reduce_sum(smooth * terms, axis=1))

    return loss


def log_probabilities(logits: Any, kind: str) -> Any:
    """Logarithms of the class probabilities, shape (N, K), float32."""
    logits = tf.cast(logits, tf.float32)
    if kind == "bce":
        return tf.math.log_sigmoid(tf.concat([-logits, logits], axis=1))
    return tf.nn.log_softmax(logits)
