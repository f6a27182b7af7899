"""Loss functions: cross-entropy, focal and binary cross-entropy, all on logits and soft targets.

All three are one formula, averaged over the images of a batch:

    loss = -alpha * sum_c target_c * weight_c * (1 - pt_c) ** gamma * log p_c

with `alpha` 1 and `gamma` 0 but for the focal loss. For `bce`, p is (1 - sigmoid, sigmoid) of one logit; for
the others it is the softmax. A soft target (from label smoothing, mixup or cutmix) gives the expected loss
under the labels it stands for. Nothing is clipped and no probability is logged: gradients stay finite, and do
not vanish where the network is most wrong.

Label smoothing `s` is that of Szegedy et al. 2016 and of torch: the target becomes 1 - s + s/K, every other
class s/K. Where a project gives 1 - s to the target and s/(K - 1) to the others (Dermalyze), the same targets
come from `s * K / (K - 1)`: 0.1 among 7 classes is 0.1167 here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skinclf.errors import InvalidArgumentError
from skinclf_training.config.schema import LossConfig

# Lower bound of 1 - pt, so that a gamma under 1 has no infinite slope at pt = 1.
_EPS = 1e-7
# Logit of a class that a data set does not tell apart: finite, so that 0 times its log-probability is 0.
_NEVER = -1e4


def build_loss(
    config: LossConfig, weights: Tensor | None, classes: int, *, weighted_targets: bool = False
) -> Loss:
    """Build the loss of a configuration.

    Args:
        config: Configuration of the loss.
        weights: Factor of each class, shape (K,), from `recipes.class_balance.class_weights`; None for 1.
        classes: Number of classes K.
        weighted_targets: Whether the sum of a row of targets is the weight of its image in the loss, instead of 1.

    Returns:
        A callable of logits and soft targets; see `Loss.forward`.

    Raises:
        InvalidArgumentError: The loss is `bce` and there are other than two classes, weights have another shape or
            are not positive, or a number is out of its range.
    """
    if config.kind == "bce" and classes != 2:
        raise InvalidArgumentError(
            f"Loss `bce` has one output and two classes; the data have {classes} classes. "
            "Use `loss.kind: cross_entropy` or `focal`."
        )
    if not 0 <= config.label_smoothing < 1 or config.gamma < 0 or config.alpha <= 0:
        raise InvalidArgumentError(
            f"Received label_smoothing {config.label_smoothing}, gamma {config.gamma}, alpha {config.alpha}; "
            "expected 0 <= label_smoothing < 1, gamma >= 0 and alpha > 0."
        )
    if weights is None:
        weights = torch.ones(classes)
    if weights.shape != (classes,) or not bool((torch.isfinite(weights) & (weights > 0)).all()):
        raise InvalidArgumentError(
            f"Received class weights {weights.tolist()}; expected {classes} finite numbers above 0."
        )
    return Loss(config, weights, weighted_targets=weighted_targets)


class Loss(nn.Module):
    """Loss function as a module, whose weights follow the network to its device.

    Args:
        config: Configuration of the loss.
        weights: Factor of each class, shape (K,).
        weighted_targets: Whether the sum of a row of targets is the weight of its image.
    """

    weights: Tensor

    def __init__(self, config: LossConfig, weights: Tensor, *, weighted_targets: bool = False) -> None:
        super().__init__()
        self._weighted = weighted_targets
        self.config = config
        self.register_buffer("weights", weights.float(), persistent=False)

    def forward(self, logits: Tensor, soft: Tensor, known: Tensor | None = None) -> Tensor:
        """Compute the loss of a batch.

        Args:
            logits: Logits, shape (N, K), for `bce` (N, 1).
            soft: Soft targets, shape (N, K), rows sum to 1 (with `weighted_targets` to the weight of the image); for
                `bce` class 1 is the positive one.
            known: Labels that the source of each image tells apart, shape (N, K), bool; None for all. The softmax and
                label smoothing of a row are over these, so that other logits get no gradient.

        Returns:
            Scalar, float32.

        Raises:
            InvalidArgumentError: Logits or targets have an unexpected shape.
        """
        classes = len(self.weights)
        outputs = 1 if self.config.kind == "bce" else classes
        if logits.shape != (len(logits), outputs) or soft.shape != (len(logits), classes):
            raise InvalidArgumentError(
                f"Received logits of shape {tuple(logits.shape)} and targets of shape {tuple(soft.shape)}; "
                f"expected (N, {outputs}) and (N, {classes})."
            )
        logits, soft = logits.float(), soft.float()
        if known is not None:
            logits = logits.masked_fill(~known, _NEVER)
        elif self.config.kind == "cross_entropy" and not self._weighted:
            smoothing = self.config.label_smoothing
            return F.cross_entropy(logits, soft, weight=self.weights, label_smoothing=smoothing)
        if self.config.kind == "bce":
            log_p = F.logsigmoid(torch.cat([-logits, logits], dim=1))
        else:
            log_p = F.log_softmax(logits, dim=1)
        terms = -log_p * self.weights
        if self.config.kind == "focal":
            log_pt = log_p if self.config.focal_pt == "unweighted" else -terms
            terms = self.config.alpha * (-torch.expm1(log_pt)).clamp_min(_EPS) ** self.config.gamma * terms
        total = soft.sum(dim=1, keepdim=True) if self._weighted else 1.0
        return (smooth(soft, self.config.label_smoothing, known, total) * terms).sum(dim=1).mean()


def smooth(soft: Tensor, share: float, known: Tensor | None = None, total: Tensor | float = 1.0) -> Tensor:
    """Apply label smoothing: spread `share` of the mass evenly over all K classes, or over the known ones.

    Args:
        soft: Soft targets, shape (N, K), rows sum to 1.
        share: Share that is spread, in [0, 1].
        known: Classes that receive a share, shape (N, K), bool; None for all.
        total: Sum of each row, shape (N, 1), where it is not 1.

    Returns:
        Shape (N, K), with the row sums of `soft`.
    """
    if known is None:
        return soft * (1 - share) + share / soft.shape[1] * total
    return soft * (1 - share) + share * known / known.sum(dim=1, keepdim=True) * total
