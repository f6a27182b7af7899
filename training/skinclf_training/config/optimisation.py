"""Training schedule: optimiser, phases of freezing, early stopping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Part of the network that is trained from an epoch on.

    Attributes:
        epoch: First epoch, counted from 0.
        trainable: Part that is trained: `all`, `head`, `last=N` (the last N layers of the backbone, with the head),
            or `stages=N` (the last N of its stages, with the head). Frozen layers keep their running statistics too.
        lr: Factor on all learning rates.
        body_lr: Further factor on the learning rate of the backbone.
    """

    epoch: int = 0
    trainable: str = "all"
    lr: float = 1.0
    body_lr: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """Optimiser, learning-rate schedule and numerical precision.

    Attributes:
        epochs: Number of passes over the training part.
        optimizer: Optimiser: `adamw`, `adam` or `sgd` (Nesterov momentum 0.9).
        lr: Peak learning rate of the backbone.
        head_lr: Peak learning rate of the classifier.
        weight_decay: Weight decay of `adamw`; not applied to vectors (biases, normalisation).
        schedule: Learning-rate schedule: `cosine` (after warm-up), `constant`, `plateau` (on `select`),
            `warm_restarts` or `onecycle`.
        warmup_epochs: Epochs of linear warm-up of `cosine`; share `warmup_epochs / epochs` of `onecycle`.
        min_lr: Final learning rate of `cosine` as a share of the peak (`plateau`, `warm_restarts`: the floor).
        factor: Factor of `plateau` on the learning rate.
        patience: Epochs without a better figure before `plateau` acts, counted as the framework counts them.
        restart_epochs: Epochs of the first cycle of `warm_restarts`.
        restart_factor: Ratio of the lengths of successive cycles.
        phases: Freezing schedule; empty trains everything throughout.
        batchnorm: Batch normalisation of the backbone: `train`; `frozen` freezes all of it; `frozen_affine` updates
            only the statistics.
        clip: Largest gradient norm, 0 for none.
        accumulate: Number of batches whose gradients are accumulated for a step; the rest of an epoch is a step too.
        ema: Decay of the exponential moving average of weights that is validated and exported; 0 for none.
        init_share: Share of the starting weights (`model.init`) in the exported ones, the rest being the trained ones;
            0 for none. A model that was fine-tuned for other pictures keeps more of what it knew before.
            Source: Wortsman et al., "Robust fine-tuning of zero-shot models", 2022 (WiSE-FT).
        refresh_images: Number of training images for new batch-normalisation statistics at export; 0 for none.
        channels_last: Whether activations are stored channels last.
        compile: Whether the network runs through `torch.compile` (TensorFlow: XLA).
        tf32: Whether float32 matrix products may use TF32 on GPUs that have it.
        deterministic: Whether operations without a deterministic implementation are refused.
        precision: Lightning's precision, such as `bf16-mixed` or `32-true`.
        accelerator: Lightning's accelerator: `cpu`, `gpu`, `mps` or `auto`.
        devices: Number of processes of data-parallel training (started with torchrun).
        checkpoint_steps: Number of steps between checkpoints within an epoch, 0 for epochs only.
    """

    epochs: int = 12
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = 5e-4
    head_lr: float = 2e-3
    weight_decay: float = 0.05
    schedule: Literal["cosine", "constant", "plateau", "warm_restarts", "onecycle"] = "cosine"
    warmup_epochs: float = 1.0
    min_lr: float = 0.01
    factor: float = 0.5
    patience: int = 3
    restart_epochs: int = 10
    restart_factor: int = 2
    phases: tuple[Phase, ...] = ()
    batchnorm: Literal["train", "frozen", "frozen_affine"] = "train"
    clip: float = 1.0
    accumulate: int = 1
    ema: float = 0.997
    init_share: float = 0.0
    refresh_images: int = 0
    channels_last: bool = True
    compile: bool = False
    tf32: bool = False
    deterministic: bool = False
    precision: Literal["bf16-mixed", "16-mixed", "32-true"] = "bf16-mixed"
    accelerator: str = "auto"
    devices: int = 1
    checkpoint_steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StopConfig:
    """Early stopping on the figure of `Config.select`.

    Attributes:
        patience: Epochs without a better figure before training stops, 0 for never. Counted from zero in every phase;
            only the last phase can end early.
        min_delta: Smallest improvement that counts as better.
    """

    patience: int = 0
    min_delta: float = 0.0
