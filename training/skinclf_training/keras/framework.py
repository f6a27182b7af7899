"""Import of TensorFlow and Keras, and their settings of a run: device, precision, supported keys."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from skinclf.errors import DeviceError, InvalidArgumentError
from skinclf.runtimes.keras import import_tensorflow
from skinclf_training.config.schema import Config

tf: Any = import_tensorflow("Training in TensorFlow")
import keras  # noqa: E402 - after TensorFlow: the import order that works together with torch

__all__ = ["check_supported", "device", "keras", "policy", "tf", "using_policy"]

log = logging.getLogger("skinclf")
_POLICIES = {"32-true": "float32", "bf16-mixed": "mixed_bfloat16", "16-mixed": "mixed_float16"}


def check_supported(config: Config) -> None:
    """Check that a configuration uses no key that only PyTorch training supports.

    Raises:
        InvalidArgumentError: A key is not supported; the message names all such keys.
    """
    m, o = config.model, config.optim
    refused = {
        "model.transplant": m.transplant is not None,
        "model.drop_path_rate": m.drop_path_rate > 0,
        "data.also": bool(config.data.also),
        "distill.weight": config.distill.weight > 0,
        "optim.accumulate": o.accumulate != 1,
        "optim.init_share": o.init_share > 0,
        "optim.refresh_images": o.refresh_images > 0,
        "optim.devices": o.devices != 1,
        "optim.phases, stages=": any(p.trainable.startswith("stages=") for p in o.phases),
        f"optim.weight_decay with {o.optimizer}": o.optimizer != "adamw" and o.weight_decay > 0,
    }
    if names := [name for name, asked in refused.items() if asked]:
        raise InvalidArgumentError(
            f"Training in TensorFlow does not support {', '.join(names)}; leave it at its default "
            "or use framework: torch."
        )


def device(config: Config) -> str:
    """TensorFlow's name of the device to train on; GPU memory is set to grow as needed.

    Raises:
        DeviceError: A GPU is requested, and TensorFlow sees none.
        InvalidArgumentError: The accelerator is not one of TensorFlow.
    """
    wanted = config.optim.accelerator
    if wanted not in {"auto", "cpu", "gpu"}:
        raise InvalidArgumentError(
            f"optim.accelerator {wanted!r}: TensorFlow trains on cpu or gpu; auto takes a GPU when there is one."
        )
    gpus = [] if wanted == "cpu" else tf.config.list_physical_devices("GPU")
    if wanted == "gpu" and not gpus:
        raise DeviceError(f"TensorFlow {tf.__version__} sees no GPU. Set optim.accelerator: cpu.")
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, enable=True)
        except RuntimeError:  # in use already, in the way it was first used
            log.debug("Memory growth of %s stays as it is.", gpu.name)
    return "/GPU:0" if gpus else "/CPU:0"


def policy(config: Config, place: str) -> str:
    """Dtype policy of Keras for a run; without a GPU, float16 becomes float32, as in the published projects."""
    name = _POLICIES[config.optim.precision]
    if name == "mixed_float16" and "GPU" not in place:
        log.info("Precision 16-mixed: computing in float32, since float16 is faster on GPUs only.")
        return "float32"
    return name


@contextmanager
def using_policy(name: str) -> Iterator[None]:
    """Build layers with a dtype policy, then restore the former one."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
