"""`deployable`: a network from pixels to calibrated probabilities, for files that run without skinclf."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from skinclf.errors import ModelError

if TYPE_CHECKING:
    from skinclf.models.loaded import LoadedModel
    from skinclf.models.spec import ModelSpec

#: Least probability that becomes a logit, as in `skinclf.models.probabilities`.
_TINY = 1e-12


class Deployable(nn.Module):
    """A network with channel order, scaling, activation and calibration inside; the resize stays outside.

    It ends in a softmax over the labels, or in one sigmoid for each label of an `independent` model.
    """

    a: Tensor
    b: Tensor
    factor: Tensor
    offset: Tensor

    def __init__(self, network: nn.Module, spec: ModelSpec) -> None:
        """Wrap a network.

        Raises:
            ModelError: The calibration is isotonic, which is no layer of a network.
        """
        super().__init__()
        calibration = spec.calibration
        if calibration is not None and calibration.method == "isotonic":
            raise ModelError(
                f"{spec.name}: its isotonic calibration is a table, not a layer, so it cannot be part of an exported "
                "network. Export the model without calibration, or calibrate it with the method temperature or vector."
            )
        a, b = spec.preprocess.affine()
        self.network = network
        self.bgr = spec.preprocess.color == "bgr"
        self.activation = spec.activation
        self.centred = calibration is not None and calibration.method == "vector"
        self.calibrated = calibration is not None
        numbers = {
            "a": torch.from_numpy(a).reshape(1, 3, 1, 1),
            "b": torch.from_numpy(b).reshape(1, 3, 1, 1),
            "factor": torch.tensor(calibration.scale if calibration else (1.0,)),
            "offset": torch.tensor(calibration.offset if calibration and calibration.offset else (0.0,)),
        }
        for name, value in numbers.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Probabilities by label.

        Args:
            pixels: Shape (N, height, width, 3), float32, RGB, 0 to 255.

        Returns:
            Shape (N, labels), float32.
        """
        x = pixels.permute(0, 3, 1, 2)
        if self.bgr:
            x = x[:, [2, 1, 0]]
        scores = self.network(x * self.a + self.b)
        if self.activation == "independent":
            return torch.sigmoid(scores)
        if self.activation == "identity":
            if scores.shape[1] == 1:
                scores = torch.cat([1 - scores, scores], 1)
            scores = scores.clamp(min=_TINY).log()
        elif self.activation == "sigmoid":
            scores = torch.cat([torch.zeros_like(scores), scores], 1)
        if self.centred:
            scores = scores.log_softmax(1)
        if self.calibrated:
            scores = scores * self.factor + self.offset
        result: Tensor = scores.softmax(1)
        return result


def deployable(model: LoadedModel) -> Deployable:
    """The network of a model, in eval mode on the CPU, with everything after the resize inside.

    Raises:
        ModelError: The model has no torch network, or its calibration is isotonic.
    """
    return Deployable(model.torch_network().cpu().float().eval(), model.spec).eval()
