"""Distillation: what other models say of the very pictures that the student is trained on.

The teachers see each augmented (and mixed) picture as the student does, so that the student learns a function, not a
table of answers: Beyer et al., "Knowledge distillation: a good teacher is patient and consistent", CVPR 2022;
the loss is that of Hinton et al., "Distilling the knowledge in a neural network", 2015.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skinclf.errors import InvalidInputError, MismatchError
from skinclf.labels import LabelSet
from skinclf.loading import load_model
from skinclf.preprocess import Preprocess
from skinclf.runtimes.fuse import fuse_batchnorm
from skinclf_training.schema import DistillConfig


class Teachers:
    """Frozen models whose mean probabilities are the target; no part of the student's state.

    Args:
        config: `teachers`, `temperature` and `size`.
        labels: The student's labels, which every teacher must share.
        device: Where pixels will be.

    Raises:
        InvalidInputError: No teacher is named, or one is no softmax classifier.
        MismatchError: A teacher has other labels or another order of them.
    """

    def __init__(self, config: DistillConfig, labels: LabelSet, device: torch.device | str = "cpu") -> None:
        if not config.teachers:
            raise InvalidInputError("distill.weight is above 0 but distill.teachers names no model.")
        self.temperature, self.size = config.temperature, config.size
        self._members: list[tuple[nn.Module, Tensor, Tensor, bool]] = []
        for name in config.teachers:
            model = load_model(name)
            spec = model.spec
            if spec.labels.codes != labels.codes:
                raise MismatchError(
                    f"Teacher {name}: its labels are {', '.join(spec.labels.codes)}; "
                    f"the student's are {', '.join(labels.codes)}."
                )
            if spec.activation != "softmax":
                raise InvalidInputError(f"Teacher {name}: expected a softmax model, found {spec.activation}.")
            network = fuse_batchnorm(model.torch_network()).to(device).requires_grad_(False)
            network = network.to(memory_format=torch.channels_last)
            self._members.append((network.eval(), *_affine(spec.preprocess, device)))

    @torch.no_grad()
    def probabilities(self, pixels: Tensor) -> Tensor:
        """Mean over the teachers of the softmax at the temperature.

        Args:
            pixels: Shape (N, 3, H, W), RGB, values 0 to 255: the student's pictures before its own scaling.

        Returns:
            Shape (N, K), float32, rows sum to 1.
        """
        if self.size and pixels.shape[-1] != self.size:
            pixels = F.interpolate(
                pixels, size=(self.size, self.size), mode="bilinear", antialias=True, align_corners=False
            )
        total: Tensor | None = None
        for network, factor, offset, bgr in self._members:
            x = (pixels.flip(1) if bgr else pixels) * factor + offset
            logits = network(x.contiguous(memory_format=torch.channels_last)).float()
            answer = (logits / self.temperature).softmax(dim=1)
            total = answer if total is None else total + answer
        assert total is not None
        return total / len(self._members)


def distillation_loss(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of the student from the teachers, times the squared temperature.

    Args:
        logits: The student's, shape (N, K).
        teacher: Probabilities at the same temperature, shape (N, K).
        temperature: See `DistillConfig`.

    Returns:
        Mean over the batch, a scalar; 0 when both agree.
    """
    student = (logits.float() / temperature).log_softmax(dim=1)
    return F.kl_div(student, teacher, reduction="batchmean") * temperature**2


def _affine(preprocess: Preprocess, device: torch.device | str) -> tuple[Tensor, Tensor, bool]:
    a, b = preprocess.affine()
    factor, offset = (torch.from_numpy(v)[:, None, None].to(device) for v in (a, b))
    return factor, offset, preprocess.color == "bgr"
