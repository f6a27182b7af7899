"""Maps from gradients: Grad-CAM, saliency, SmoothGrad and integrated gradients on the torch network.

The network is a copy of its own with nothing folded and nothing in place: the runtime's folds BatchNorm and lets
activations overwrite their inputs, which would corrupt what a hook keeps (meta-pytorch/captum#156). Gradients are taken
from `Target.of_logits`, so they do not vanish where the probability saturates. Maps of input methods are taken at the
pixels, before the model's scaling, whose factors differ between channels.

captum has the same methods; these are few lines, need no further package, keep sums in float64 and start at the pixels.
Tests hold both together, and Grad-CAM with TensorFlow's gradients.

Sources: Selvaraju et al., "Grad-CAM", ICCV 2017; Simonyan et al., "Deep inside convolutional networks", 2013; Smilkov
et al., "SmoothGrad", 2017; Sundararajan et al., "Axiomatic attribution for deep networks", ICML 2017.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from skinclf._utils.arrays import Floats
from skinclf.errors import ModelError
from skinclf.explanation.layers import Layer, choose_layer, first_tensor, spatial_layers
from skinclf.explanation.target import Target
from skinclf.models.loaded import LoadedModel
from skinclf.models.metadata_encoding import need_picture_alone
from skinclf.models.probabilities import probabilities

#: Largest difference between the probability of this pass and that of the runtime. float32 runtimes differ by about
#: 1e-6; anything beyond the bound is another network.
MAX_DIFFERENCE = 1e-4
#: Noisy copies of SmoothGrad, and their standard deviation as a share of the range of pixel values.
_COPIES, _NOISE = 16, 0.1
#: Steps of integrated gradients from the mean colour to the image.
_STEPS = 32
_TINY = 1e-12


class GradientNetwork:
    """A private copy of a model's network for passes with gradients.

    Attributes:
        layers: Layers that Grad-CAM can take, from input to output.
    """

    def __init__(self, model: LoadedModel) -> None:
        """Copy the network, on the CPU, with nothing in place.

        Raises:
            ModelError: The model has no torch network, or takes metadata beside the image.
        """
        need_picture_alone(model.spec.encoding, model.spec.name, "an explanation by gradients")
        self.spec = model.spec
        self._network = _without_in_place(model.torch_network())
        a, b = model.spec.preprocess.affine()
        self._scale, self._shift = (torch.from_numpy(x).view(1, 3, 1, 1) for x in (a, b))
        self._lock = threading.Lock()
        size = (model.spec.preprocess.height, model.spec.preprocess.width)
        self.layers: list[Layer] = spatial_layers(self._network, torch.zeros(1, 3, *size))

    def layer(self, name: str | None) -> Layer:
        """The layer of a name; None takes the automatic one.

        Raises:
            InvalidArgumentError: No layer has that name; the message lists those that exist.
            ModelError: The network has no layer that Grad-CAM can take.
        """
        return choose_layer(self.layers, self._network, name)

    def grad_cam(
        self, pixels: npt.NDArray[Any], target: Target, layer: Layer, expected: Sequence[float] | None = None
    ) -> Floats:
        """Grad-CAM with its sign: the channels of a layer, weighted by the mean gradient of each, summed.

        Where it is positive, the place raises the target; the published method cuts off what is negative, which
        `Explanation` does for drawing.

        Args:
            pixels: Output of `Preprocess.pixels`, shape (H, W, 3).
            target: Quantity to explain.
            layer: One of `layers`.
            expected: Probabilities by label that the runtime gave; None compares none.

        Returns:
            Shape `layer.grid`, float64.

        Raises:
            ModelError: The pass gives other probabilities than the runtime.
        """
        kept: list[Tensor] = []

        def keep(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            # Detached: no graph is recorded before the layer, and nothing later can change what is kept.
            tensor = first_tensor(output)
            if tensor is None:
                return output
            value = tensor.detach().clone().requires_grad_()
            kept[:] = [value]
            given = value.clone()
            return (given, *output[1:]) if isinstance(output, (tuple, list)) else given

        with self._lock, torch.enable_grad():
            handle = self._network.get_submodule(layer.name).register_forward_hook(keep)
            try:
                raw = self._network(self._input(_batch(pixels)))
            finally:
                handle.remove()
            if expected is not None:
                self._check(raw, expected)
            (gradient,) = torch.autograd.grad(
                target.of_logits(self._logits(raw)).sum(), kept, allow_unused=True, materialize_grads=True
            )
        values, slopes = layer.to_grid(kept[0].detach()).double(), layer.to_grid(gradient).double()
        weights = slopes.mean(dim=(2, 3), keepdim=True)
        return np.asarray((weights * values).sum(dim=1)[0].numpy())

    def saliency(
        self, pixels: npt.NDArray[Any], target: Target, expected: Sequence[float] | None = None
    ) -> Floats:
        """Largest absolute gradient over the channels of each pixel, shape (H, W); arguments as for `grad_cam`."""
        return np.asarray(self._slopes(_batch(pixels), target, expected).abs().amax(dim=1)[0].numpy())

    def smooth_grad(
        self, pixels: npt.NDArray[Any], target: Target, expected: Sequence[float] | None = None
    ) -> Floats:
        """Mean saliency of noisy copies of the image, shape (H, W); arguments as for `grad_cam`.

        The noise is the same for every image.
        """
        clean = _batch(pixels)
        if expected is not None:  # noisy copies have other probabilities
            self._slopes(clean, target, expected)
        noise = np.random.default_rng(0).normal(0, 255 * _NOISE, (_COPIES, *clean.shape[1:]))
        total = torch.zeros(clean.shape[2:], dtype=torch.float64)
        for one in noise.astype(np.float32):
            total += self._slopes(clean + torch.from_numpy(one), target).abs().amax(dim=1)[0]
        return np.asarray((total / _COPIES).numpy())

    def integrated_gradients(
        self, pixels: npt.NDArray[Any], target: Target, expected: Sequence[float] | None = None
    ) -> Floats:
        """Integrated gradients from the image's mean colour, summed over channels, shape (H, W), with sign.

        Their total is the difference of the target between the image and a plain one of its mean colour.
        Arguments as for `grad_cam`.
        """
        clean = _batch(pixels)
        if expected is not None:
            self._slopes(clean, target, expected)
        start = clean.mean(dim=(2, 3), keepdim=True).expand_as(clean)
        total = torch.zeros(clean.shape, dtype=torch.float64)
        for step in range(_STEPS):
            total += self._slopes(start + (clean - start) * ((step + 0.5) / _STEPS), target)
        return np.asarray((total / _STEPS * (clean - start)).sum(dim=1)[0].numpy())

    def _slopes(self, batch: Tensor, target: Target, expected: Sequence[float] | None = None) -> Tensor:
        """Gradients of the target at pixels, shape (1, 3, H, W), float64."""
        with self._lock, torch.enable_grad():
            at = batch.detach().requires_grad_()
            raw = self._network(self._input(at))
            if expected is not None:
                self._check(raw, expected)
            (gradient,) = torch.autograd.grad(target.of_logits(self._logits(raw)).sum(), at)
        return gradient.double()

    def _input(self, batch: Tensor) -> Tensor:
        ordered = batch.flip(1) if self.spec.preprocess.color == "bgr" else batch
        return ordered * self._scale + self._shift

    def _logits(self, raw: Tensor) -> Tensor:
        """Logits over labels, calibrated as far as the calibration is a scale and an offset."""
        raw = raw.double()
        if self.spec.activation == "sigmoid":
            raw = torch.cat([torch.zeros_like(raw), raw], dim=1)
        elif self.spec.activation == "identity":
            raw = (torch.cat([1 - raw, raw], dim=1) if raw.shape[1] == 1 else raw).clamp(min=_TINY).log()
        calibration = self.spec.calibration
        if calibration is None:
            return raw
        raw = raw.log_softmax(dim=1) * raw.new_tensor(calibration.scale)
        return raw + raw.new_tensor(calibration.offset) if calibration.offset else raw

    def _check(self, raw: Tensor, expected: Sequence[float]) -> None:
        """The map belongs to the model that answered: its probabilities come out again."""
        own = probabilities(raw.detach().numpy(), self.spec.activation, self.spec.calibration)[0]
        difference = float(np.abs(own - np.asarray(expected, np.float32)).max())
        if not difference <= MAX_DIFFERENCE:
            raise ModelError(
                f"{self.spec.name}: the pass with gradients gives probabilities that differ from the runtime's by "
                f"{difference:.2g} (at most {MAX_DIFFERENCE:g}), so its map would belong to another model; use "
                "`method='occlusion'`, which asks the runtime itself.",
                parameter="method",
            )


def _batch(pixels: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels[None].transpose(0, 3, 1, 2), np.float32))


def _without_in_place(network: nn.Module) -> nn.Module:
    """A copy in eval mode whose modules do not work in place and whose weights need no gradients."""
    copied = copy.deepcopy(network).cpu().eval().requires_grad_(requires_grad=False)
    for module in copied.modules():
        if getattr(module, "inplace", None) is True:
            module.inplace = False  # type: ignore[assignment]
    return copied
