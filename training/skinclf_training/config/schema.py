"""What a training configuration may say: frozen dataclasses with their defaults, one for each concern.

Both frameworks read the same words; what only one of them can do is refused by the other, by name.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from skinclf.images.enhance import Step
from skinclf.images.preprocess import Preprocess, scaling


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The network.

    Attributes:
        architecture: timm name, `simple_cnn`, or `skinclf/...` (see `skinclf.models.architectures.build`); for
            TensorFlow the name of a class of `keras.applications`, or `simple_cnn`.
        head: Steps between the pooled features and the last layer, such as `dropout=0.5`, `dense=256`, `relu`,
            `batchnorm`; empty for the architecture's own classifier.
        init: Safetensors file with starting weights, or None; a classifier of another shape is dropped.
        transplant: Safetensors file of a MobileNetV2 that starts an EfficientNet-B0, or None.
        pretrained: Take ImageNet weights from the framework's source (needs the network once).
        drop_rate: Dropout before the classifier, where `head` is empty.
        drop_path_rate: Stochastic depth, 0 for none.
        args: Further arguments of the architecture.
    """

    architecture: str = "mobilenetv2_100"
    head: tuple[str, ...] = ()
    init: str | None = None
    transplant: str | None = None
    pretrained: bool = False
    drop_rate: float = 0.2
    drop_path_rate: float = 0.0
    args: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessConfig:
    """How images reach the network at validation and ever after; training pictures share steps and scaling.

    Attributes:
        scaling: `tf`, `torch`, `unit`, `caffe` or `raw`.
        height: Rows.
        width: Columns.
        fit: `squash`, `crop` or `pad`.
        crop_pct: Share of the shorter side that `crop` keeps.
        interpolation: Filter of the resize.
        library: Whose resize semantics: `pillow`, `opencv` or `tensorflow`.
        steps: Enhancements before the resize, each `{name: ..., <parameter>: ...}` (see `skinclf.images.enhance`).
    """

    scaling: str = "tf"
    height: int = 224
    width: int = 224
    fit: Literal["squash", "crop", "pad"] = "crop"
    crop_pct: float = 0.93
    interpolation: str = "lanczos"
    library: Literal["pillow", "opencv", "tensorflow"] = "pillow"
    steps: tuple[dict[str, Any], ...] = ()

    def build(self) -> Preprocess:
        """The `Preprocess` that travels with the weights."""
        return scaling(
            self.scaling,
            height=self.height,
            width=self.width,
            fit=self.fit,
            crop_pct=self.crop_pct if self.fit == "crop" else 1.0,
            interpolation=self.interpolation,
            library=self.library,
            steps=tuple(
                Step(str(x["name"]), {k: v for k, v in x.items() if k != "name"}) for x in self.steps
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """The decoded store that training pictures are cut from, and the order they come in.

    Attributes:
        store_height: Rows of a stored image.
        store_width: Columns of a stored image.
        batch_size: Images per step.
        val_batch_size: Images per validation step.
        workers: Threads that decode the store once.
        sampler: `shuffle` (every image once) or `weighted` (as many draws with replacement, classes equally likely).
        drop_last: Leave out an epoch's incomplete last batch.
    """

    store_height: int = 240
    store_width: int = 320
    batch_size: int = 64
    val_batch_size: int = 64
    workers: int = 4
    sampler: Literal["shuffle", "weighted"] = "shuffle"
    drop_last: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """Random changes of a training image.

    `preset: batch` draws uniformly from the ranges below, a whole batch at once; any other preset is a fixed list
    (`skinclf_training.augment.presets`), beside which only `size` and the mixing keys count.

    Attributes:
        preset: `batch`, `none`, `light`, `medium`, `heavy`, or a published project's list.
        size: Side of the square crop in pixels.
        rotate: Largest turn in degrees, either way.
        scale: Zoom range; above 1 enlarges. Drawn log-uniformly.
        aspect: Largest stretch of one side against the other, 0.1 for 10 %.
        shear: Largest shear angle in degrees.
        shift: Largest shift as a share of the crop's side.
        flip: Mirror with probability one half.
        interpolation: `bilinear`, or `bicubic`, whose crops are about as sharp as the pictures validated on.
        brightness: Largest relative change.
        contrast: Largest relative change.
        saturation: Largest relative change.
        hue: Largest turn of the hue as a share of the full circle.
        cutout: Probability of greying out one rectangle.
        cutout_size: Range of its sides as a share of the crop's side.
        mixup: Alpha of the Beta distribution, 0 for none.
        mixup_prob: Probability that a batch is mixed.
        cutmix: Alpha of the Beta distribution, 0 for none.
        cutmix_prob: Probability that a batch is cut and mixed, where it was not mixed up.
    """

    preset: str = "batch"
    size: int = 192
    rotate: float = 180.0
    scale: tuple[float, float] = (0.75, 1.25)
    aspect: float = 0.1
    shear: float = 5.0
    shift: float = 0.1
    flip: bool = True
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.03
    cutout: float = 0.5
    cutout_size: tuple[float, float] = (0.2, 0.4)
    mixup: float = 0.0
    mixup_prob: float = 0.0
    cutmix: float = 0.0
    cutmix_prob: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """What is minimised.

    Attributes:
        kind: `cross_entropy`, `focal`, or `bce` (two classes, one sigmoid output).
        class_weights: `none`, `balanced` (inverse frequency), `sqrt` (its root), `pos_weight` (negatives / positives).
        label_smoothing: Share given to all classes alike.
        gamma: Focusing exponent of the focal loss.
        alpha: One factor on the whole focal loss (it balances nothing).
        focal_pt: The p_t of the focal loss from the `unweighted` or (one published project) `weighted` entropy.
    """

    kind: Literal["cross_entropy", "focal", "bce"] = "cross_entropy"
    class_weights: Literal["none", "sqrt", "balanced", "pos_weight"] = "sqrt"
    label_smoothing: float = 0.05
    gamma: float = 2.0
    alpha: float = 1.0
    focal_pt: Literal["unweighted", "weighted"] = "unweighted"


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillConfig:
    """Learning from the answers of other models to the very same augmented pictures.

    Attributes:
        teachers: Bundles with the same labels, or with a declared crosswalk to them; their probabilities average.
        weight: Share of the loss that is the divergence from the teachers; the rest is `loss`. 0 for none.
        temperature: Divides both sides' logits; its square multiplies the divergence (Hinton et al. 2015).
        size: Side in pixels at which teachers see the crop, 0 for that of `augment.size`.
        student_size: Side at which the student sees it, 0 for that of `augment.size`; teachers may see more detail.
    """

    teachers: tuple[str, ...] = ()
    weight: float = 0.0
    temperature: float = 1.0
    size: int = 0
    student_size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Which part of the network learns from an epoch on.

    Attributes:
        epoch: First epoch, counted from 0.
        trainable: `all`, `head`, `last=N` (the last N layers of the backbone, with the head), or `stages=N` (the
            last N of its stages, with the head). What is frozen keeps its running statistics too.
        lr: Factor on all learning rates.
        body_lr: Further factor on those of the backbone.
    """

    epoch: int = 0
    trainable: str = "all"
    lr: float = 1.0
    body_lr: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """The optimiser, its schedule, and the arithmetic.

    Attributes:
        epochs: Passes over the training part.
        optimizer: `adamw`, `adam` or `sgd` (Nesterov momentum 0.9).
        lr: Peak learning rate of the body.
        head_lr: Peak learning rate of the classifier.
        weight_decay: Of `adamw`; not applied to vectors (biases, normalisation).
        schedule: `cosine` (after warm-up), `constant`, `plateau` (on `select`), `warm_restarts` or `onecycle`.
        warmup_epochs: Linear warm-up of `cosine`; share `warmup_epochs / epochs` of `onecycle`.
        min_lr: Final learning rate of `cosine` as a share of the peak (`plateau`, `warm_restarts`: the floor).
        factor: `plateau` multiplies by it.
        patience: Epochs without a better figure that `plateau` waits, counted as the framework counts them.
        restart_epochs: Length of the first cycle of `warm_restarts`.
        restart_factor: Each further cycle is longer by it.
        phases: Freezing schedule; empty trains everything throughout.
        batchnorm: Of the backbone: `train`; `frozen` keeps all of it; `frozen_affine` lets the statistics follow.
        clip: Largest gradient norm, 0 for none.
        accumulate: Batches whose gradients are added up before a step; an epoch's rest makes a step of its own.
        ema: Decay of the averaged weights that are validated and exported; 0 for none.
        refresh_images: Training images over which batch normalisation is estimated anew for the export; 0 for none.
        channels_last: Memory layout of activations.
        compile: Run the network through `torch.compile` (TensorFlow: XLA).
        tf32: Let float32 matrix products use TF32 on GPUs that have it.
        deterministic: Refuse operations without a deterministic implementation.
        precision: Lightning's precision, such as `bf16-mixed` or `32-true`.
        accelerator: Lightning's accelerator: `cpu`, `gpu`, `mps` or `auto`.
        devices: Processes of data-parallel training (start them with torchrun).
        checkpoint_steps: Also write `last.ckpt` every so many steps, 0 for epochs only.
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
        patience: Epochs without a better figure before training stops, 0 for never. Counted anew in every phase;
            only the last phase is cut short.
        min_delta: What counts as better.
    """

    patience: int = 0
    min_delta: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """What a run leaves behind beside history and checkpoints.

    Attributes:
        tensorboard: Event files in `tensorboard/`.
        report: Curves, and evaluation reports of the validation and test parts.
        keep_epochs: Checkpoints of the latest epochs that are kept beside the last and the best.
    """

    tensorboard: bool = False
    report: bool = True
    keep_epochs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One reproducible run.

    Attributes:
        name: Names the model.
        about: One sentence: what the run is, and what it follows.
        framework: `torch` or `tensorflow`.
        labels: Taxonomy that the prepared data must have; `any` takes what it has.
        seed: Of order, augmentation, dropout and the new classifier.
        select: Validation figure whose best epoch is exported: `loss` (smaller is better) or `accuracy`,
            `balanced_accuracy`, `macro_auc`, `malignant_auc`, `malignant_pr_auc` (larger is better).
        threads: Torch's CPU threads, 0 for its own choice.
    """

    name: str = "run"
    about: str = ""
    framework: Literal["torch", "tensorflow"] = "torch"
    labels: str = "any"
    seed: int = 42
    select: str = "macro_auc"
    threads: int = 0
    model: ModelConfig = field(default_factory=ModelConfig)
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    stop: StopConfig = field(default_factory=StopConfig)
    log: LogConfig = field(default_factory=LogConfig)

    def to_dict(self) -> dict[str, Any]:
        """Every key, resolved; tuples as lists."""
        data: dict[str, Any] = _plain(dataclasses.asdict(self))
        return data

    def to_yaml(self) -> str:
        """The resolved configuration as YAML."""
        return str(yaml.safe_dump(self.to_dict(), sort_keys=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
