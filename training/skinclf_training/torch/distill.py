"""Knowledge distillation: probabilities of teacher models on the augmented pictures of the student.

The teachers see each augmented (and mixed) picture as the student does, so that the student learns a function, not a
table of answers: Beyer et al., "Knowledge distillation: a good teacher is patient and consistent", CVPR 2022;
the loss is that of Hinton et al., "Distilling the knowledge in a neural network", 2015.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skinclf.errors import InvalidArgumentError, MismatchError
from skinclf.images.preprocess import Preprocess
from skinclf.labels import LabelSet, crosswalk
from skinclf.models.load import load_model
from skinclf.runtimes.fuse import fuse_batchnorm
from skinclf_training.config.schema import DistillConfig
from skinclf_training.recipes.starting_weights import BUILTIN_PREFIX, weights_path


class Teachers:
    """Frozen teacher models, whose mean probabilities are the target; not part of the state of the student.

    Args:
        config: Configuration with `teachers`, `temperature` and `size`.
        labels: Labels of the student; a teacher has the same in any order, or a declared crosswalk leads from all of
            its own to all of these. Probabilities of merged labels are added.
        device: Device of the pixels.

    Raises:
        InvalidArgumentError: No teacher is named, or a teacher is not a softmax classifier.
        MismatchError: A teacher has other labels, and no crosswalk leads from them to those of the student.
    """

    def __init__(self, config: DistillConfig, labels: LabelSet, device: torch.device | str = "cpu") -> None:
        if not config.teachers:
            raise InvalidArgumentError("distill.weight is above 0 but distill.teachers names no model.")
        self.temperature, self.size, self._classes = config.temperature, config.size, len(labels)
        self._members: list[tuple[nn.Module, Tensor, Tensor, bool, Tensor]] = []
        for name in config.teachers:
            model = load_model(str(weights_path(name)) if name.startswith(BUILTIN_PREFIX) else name)
            spec = model.spec
            columns = _columns(name, spec.labels, labels).to(device)
            if spec.activation != "softmax":
                raise InvalidArgumentError(
                    f"Teacher {name}: expected a softmax model, found {spec.activation}."
                )
            network = fuse_batchnorm(model.torch_network()).to(device).requires_grad_(False)
            network = network.to(memory_format=torch.channels_last)
            self._members.append((network.eval(), *_affine(spec.preprocess, device), columns))

    @torch.no_grad()
    def probabilities(self, pixels: Tensor) -> Tensor:
        """Compute the mean softmax of the teachers at the temperature.

        Args:
            pixels: Pictures of the student before its scaling, shape (N, 3, H, W), RGB, values 0 to 255.

        Returns:
            Shape (N, K), float32, rows sum to 1.
        """
        pixels = resized(pixels, self.size)
        total: Tensor | None = None
        for network, factor, offset, bgr, columns in self._members:
            x = (pixels.flip(1) if bgr else pixels) * factor + offset
            logits = network(x.contiguous(memory_format=torch.channels_last)).float()
            own = (logits / self.temperature).softmax(dim=1)
            answer = own.new_zeros(len(own), self._classes).index_add_(1, columns, own)
            total = answer if total is None else total + answer
        assert total is not None
        return total / len(self._members)


def resized(pixels: Tensor, side: int) -> Tensor:
    """Resize square pictures, antialiased; a side of 0 leaves them unchanged.

    Args:
        pixels: Pictures, shape (N, 3, S, S).
        side: Side in pixels.
    """
    if not side or pixels.shape[-1] == side:
        return pixels
    return F.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True, align_corners=False)


def distillation_loss(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of the student from the teachers, times the squared temperature.

    Args:
        logits: Logits of the student, shape (N, K).
        teacher: Probabilities of the teachers at the same temperature, shape (N, K).
        temperature: See `DistillConfig`.

    Returns:
        Mean over the batch, a scalar; 0 when both agree.
    """
    student = (logits.float() / temperature).log_softmax(dim=1)
    return F.kl_div(student, teacher, reduction="batchmean") * temperature**2


def _columns(name: str, source: LabelSet, target: LabelSet) -> Tensor:
    """Label index of the student for each label of the teacher, shape (labels of the teacher,), int64."""
    try:
        same = set(source.codes) == set(target.codes)
        mapping = {c: c for c in source.codes} if same else crosswalk(source, target).mapping
    except InvalidArgumentError:
        mapping = {}
    # The student would unlearn a label that a teacher cannot answer.
    if set(mapping) != set(source.codes) or set(mapping.values()) != set(target.codes):
        raise MismatchError(
            f"Teacher {name}: its labels are {', '.join(source.codes)}, from which no crosswalk leads to all of "
            f"the student's: {', '.join(target.codes)}."
        )
    return torch.tensor([target.position(mapping[code]) for code in source.codes])


def _affine(preprocess: Preprocess, device: torch.device | str) -> tuple[Tensor, Tensor, bool]:
    a, b = preprocess.affine()
    factor, offset = (torch.from_numpy(v)[:, None, None].to(device) for v in (a, b))
    return factor, offset, preprocess.color == "bgr"
