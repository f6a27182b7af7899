"""Export of a PyTorch run: the weights of the best epoch in float16, calibrated, with predictions."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from skinclf.errors import InvalidArgumentError
from skinclf.models.architectures import build_network, load_tensors
from skinclf.models.spec import ModelSpec
from skinclf_training.config.schema import Config
from skinclf_training.data.prepare import Prepared
from skinclf_training.recipes.bundle_export import (
    Export,
    half_precision,
    provenance,
    read_run,
    write_calibrated,
)
from skinclf_training.recipes.memory import keep_freed_memory
from skinclf_training.recipes.run_folder import BEST
from skinclf_training.recipes.starting_weights import weights_path
from skinclf_training.torch.lightning_module import activation
from skinclf_training.torch.networks.batchnorm import refresh_batchnorm
from skinclf_training.torch.networks.build import architecture

log = logging.getLogger("skinclf")


def export_run(
    run: Path,
    prepared: Prepared,
    output: Path,
    *,
    golden_image: Path | None = None,
    name: str | None = None,
    license: str = "CC-BY-NC-4.0",  # noqa: A002 - key of the bundle
    data_name: str = "HAM10000",
    test_part: bool = False,
) -> Export:
    """Write the bundle of the best epoch of a run, and the predictions of that bundle.

    The bundle is written and read back as a user would load it before it predicts; the temperature is fitted on the
    validation part. `predictions_val.csv` is also stored in the bundle, both files in the folder of the run.

    Args:
        run: Folder of the run.
        prepared: Data and split of the run.
        output: Folder of the bundle.
        golden_image: Image for the golden sample; None draws a synthetic picture.
        name: Name of the model; None takes that of the configuration.
        license: Licence of the weights, which follows from the data.
        data_name: Name of the training data, for the record.
        test_part: Whether the test part is predicted too; False leaves it unseen.

    Raises:
        InvalidArgumentError: The run has no best checkpoint yet.
        MismatchError: The run was trained on another split.
    """
    config, facts = read_run(run, prepared)
    checkpoint = run / BEST
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    built, args = architecture(config.model)
    spec = ModelSpec(
        name=name or config.name,
        architecture=built,
        labels=prepared.labels,
        preprocess=config.preprocess.build(),
        activation=activation(config.loss),
        model_args=args,
        training=provenance(run, config, facts, epoch=int(state["epoch"]) + 1, data_name=data_name),
        license=license,
        source=str(output),
    )
    keep_freed_memory()
    if config.threads:
        torch.set_num_threads(config.threads)
    trained = network_weights(state["state_dict"])
    if config.optim.init_share:
        trained = with_init(trained, config)
    network = load_tensors(build_network(spec), trained, name=str(checkpoint))
    if config.optim.refresh_images:
        rows = np.random.default_rng(config.seed).permutation(prepared.rows("train"))[
            : config.optim.refresh_images
        ]
        refresh_batchnorm(network, spec.preprocess, [prepared.paths[i] for i in rows])
    tensors = half_precision(network.state_dict())
    return write_calibrated(
        run, prepared, output, spec, tensors, golden_image=golden_image, test_part=test_part
    )


def network_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the network in the state of a module: the averaged ones where there are any."""
    for prefix in ("ema.module.", "network."):
        found = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if found:
            return found
    raise InvalidArgumentError("The checkpoint holds no network; expected one of a PyTorch run.")


def with_init(trained: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """Weights between the ones that a run started from and those that it ended with, see `OptimConfig.init_share`.

    Args:
        trained: Tensors of the trained network.
        config: Configuration of the run; `model.init` has all of these tensors.

    Raises:
        InvalidArgumentError: The starting weights are not those of the same network.
    """
    share, path = config.optim.init_share, config.model.init
    start = {} if path is None else load_file(weights_path(path))
    # Counters of batches, the only tensors that are no floats, are not in every file.
    floats = {name: value for name, value in trained.items() if value.is_floating_point()}
    if any(name not in start or start[name].shape != value.shape for name, value in floats.items()):
        raise InvalidArgumentError(
            f"optim.init_share {share} needs starting weights of the very same network, last layer included; "
            f"model.init is {path!r}.",
            parameter="overrides",
        )
    mixed = {
        name: share * start[name].to(value.dtype) + (1 - share) * value for name, value in floats.items()
    }
    return {**trained, **mixed}
