"""Training state of a Keras model: optimisers, averaged weights, loss scale, sums."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf.errors import ModelError
from skinclf_training.config.optimisation import Phase
from skinclf_training.config.schema import Config
from skinclf_training.keras.data import scaled
from skinclf_training.keras.framework import tf
from skinclf_training.keras.model import Built, set_trainable
from skinclf_training.keras.optim import make_optimizer

Arrays = dict[str, npt.NDArray[Any]]
# Dynamic loss scale of float16, as Keras' LossScaleOptimizer has it.
_SCALE, _SCALE_STEPS = 2.0**15, 2000


class Learner:
    """Training steps of a model, with their state.

    Args:
        config: Configuration of the run.
        built: Model, whose outputs are logits.
        loss: Function of logits and soft targets.
    """

    def __init__(self, config: Config, built: Built, loss: Callable[[Any, Any], Any]) -> None:
        self.config, self.built, self._loss = config, built, loss
        self.sums = tf.Variable(np.zeros(3), dtype=tf.float64, name="sums")
        self._half = built.backbone.compute_dtype == "float16"
        self._scale = tf.Variable([_SCALE if self._half else 1.0, 0.0], dtype=tf.float32, name="scale")
        self._floats = [v for v in built.model.weights if str(v.dtype).startswith("float")]
        # Averaged weights, which are validated and exported.
        self._average = [tf.Variable(v) for v in self._floats] if config.optim.ema else []
        self._optimizers: dict[str, Any] = {}
        #: Number of backbone layers with weights of which none is trained.
        self.frozen_layers = 0
        self._step: Any = None
        p = config.preprocess
        self._forward = tf.function(
            lambda images: built.model(scaled(images, config), training=False),
            input_signature=[tf.TensorSpec((None, p.height, p.width, 3), tf.uint8)],
        )

    def enter(self, phase: Phase) -> int:
        """Enter a phase with new optimisers; return the number of trainable parameters."""
        o, side = self.config.optim, self.config.augment.size
        variables = set_trainable(self.built, phase.trainable, o.batchnorm)
        weighted = [layer for layer in self.built.backbone.layers if layer.weights]
        self.frozen_layers = sum(not layer.trainable_weights for layer in weighted)
        inside = {id(v) for v in self.built.backbone.variables}
        groups = {
            "body": [v for v in variables if id(v) in inside],
            "head": [v for v in variables if id(v) not in inside],
        }
        self._optimizers = {name: make_optimizer(o, group) for name, group in groups.items() if group}
        kept = [groups[name] for name in self._optimizers]
        self._step = tf.function(
            lambda pixels, soft, decay: self._train(pixels, soft, decay, kept),
            jit_compile=o.compile,
            input_signature=[
                tf.TensorSpec((None, side, side, 3), tf.float32),
                tf.TensorSpec((None, None), tf.float32),
                tf.TensorSpec((), tf.float32),
            ],
        )
        return sum(int(np.prod(v.shape)) for v in variables)

    def step(self, pixels: Any, soft: Any, rates: Mapping[str, float], number: int) -> None:
        """Make one optimiser step.

        Args:
            pixels: Pixels, shape (N, size, size, 3), float32, 0 to 255.
            soft: Soft targets, shape (N, K), float32.
            rates: Learning rates of `body` and `head`.
            number: Number of this step, counted from 1, for the warm-up of averaging (Inception's rule, as in timm).
        """
        for name, optimizer in self._optimizers.items():
            optimizer.learning_rate.assign(rates[name])
        decay = min(self.config.optim.ema, 1 - (1 + number) ** -0.75)
        self._step(pixels, soft, tf.constant(decay, tf.float32))

    def _train(self, pixels: Any, soft: Any, decay: Any, groups: list[list[Any]]) -> None:
        variables = [v for group in groups for v in group]
        with tf.GradientTape() as tape:
            logits = self.built.model(scaled(pixels, self.config), training=True)
            loss = self._loss(logits, soft)
            objective = loss * self._scale[0] if self._half else loss
        gradients = tape.gradient(objective, variables)
        if self._half:
            gradients = [g / self._scale[0] for g in gradients]
            finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in gradients])
            tf.cond(finite, lambda: self._apply(gradients, groups), lambda: None)
            self._rescale(finite)
        else:
            self._apply(gradients, groups)
        for average, value in zip(self._average, self._floats, strict=False):
            average.assign(average * decay + tf.cast(value, average.dtype) * (1 - decay))
        answers = logits[:, 0] > 0 if self.config.loss.kind == "bce" else tf.argmax(logits, 1)
        right = tf.equal(tf.cast(answers, tf.int64), tf.argmax(soft, 1))
        size = tf.cast(tf.shape(soft)[0], tf.float64)
        correct = tf.reduce_sum(tf.cast(right, tf.float64))
        self.sums.assign_add(tf.stack([tf.cast(loss, tf.float64) * size, correct, size]))

    def _apply(self, gradients: list[Any], groups: list[list[Any]]) -> None:
        if self.config.optim.clip:
            gradients, _ = tf.clip_by_global_norm(gradients, self.config.optim.clip)
        for optimizer, group in zip(self._optimizers.values(), groups, strict=True):
            optimizer.apply(gradients[: len(group)], group)
            gradients = gradients[len(group) :]

    def _rescale(self, finite: Any) -> None:
        """Halve the loss scale after an overflow, double it after many steps without one."""
        scale, good = self._scale[0], self._scale[1] + 1
        grow = good >= _SCALE_STEPS
        grown = tf.where(grow, scale * 2, scale)
        self._scale.assign(
            tf.where(finite, tf.stack([grown, tf.where(grow, 0.0, good)]), tf.stack([scale / 2, 0.0]))
        )

    def scores(self, images: npt.NDArray[np.uint8], batch: int) -> npt.NDArray[np.float32]:
        """Logits of preprocessed images, shape (N, outputs), with the weights that would be exported."""
        own = [v.numpy() for v in self._floats] if self._average else []
        self._assign(self._floats, [v.numpy() for v in self._average])
        parts = [
            self._forward(tf.constant(images[i : i + batch])).numpy() for i in range(0, len(images), batch)
        ]
        self._assign(self._floats, own)
        return np.concatenate(parts)

    def weights(self) -> Arrays:
        """Weights that are validated and exported, by their position in `model.weights`."""
        values = dict(zip(map(id, self._floats), self._average, strict=False))
        return _numbered("weights", [values.get(id(v), v) for v in self.built.model.weights])

    def arrays(self) -> Arrays:
        """State that a resumed run needs, random seeds of dropout included."""
        return {
            key: value
            for name, group in self._state().items()
            for key, value in _numbered(name, group).items()
        }

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Restore the state that `arrays` returned, in the same phase.

        Raises:
            ModelError: The arrays belong to another model.
        """
        state = {f"{name}/{i:04}": v for name, group in self._state().items() for i, v in enumerate(group)}
        fits = state.keys() == arrays.keys() and all(
            tuple(v.shape) == arrays[key].shape for key, v in state.items()
        )
        if not fits:
            raise ModelError("The checkpoint does not fit the model that its configuration describes.")
        self._assign(list(state.values()), [arrays[key] for key in state])

    def _state(self) -> dict[str, list[Any]]:
        optimizers = {f"optimizer/{name}": list(o.variables) for name, o in self._optimizers.items()}
        return {
            "model": list(self.built.model.variables),
            "average": self._average,
            "training": [self.sums, self._scale],
            **optimizers,
        }

    @staticmethod
    def _assign(variables: list[Any], values: list[npt.NDArray[Any]]) -> None:
        for variable, value in zip(variables, values, strict=False):
            variable.assign(value)


def _numbered(name: str, variables: list[Any]) -> Arrays:
    return {f"{name}/{i:04}": np.asarray(v.numpy(), order="C") for i, v in enumerate(variables)}
