"""Schema of training configurations: frozen dataclasses with defaults, one for each concern.

Both frameworks read the same keys; a key that only one of them supports is refused by the other, by name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from skinclf.images.enhance import Step
from skinclf.images.preprocess import Preprocess, scaling
from skinclf_training.config.optimisation import OptimConfig, StopConfig

#: Value of `Config.select` that exports the last epoch.
LAST_EPOCH = "last"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The network.

    Attributes:
        architecture: Name of the network: a timm name, `simple_cnn`, or `skinclf/...` (see
            `skinclf.models.architectures.build`); for TensorFlow the name of a function of `keras.applications`, or
            `simple_cnn`.
        head: Steps between the pooled features and the last layer, such as `dropout=0.5`, `dense=256`, `relu`,
            `batchnorm`; empty for the architecture's own classifier.
        init: Safetensors file with starting weights, or None; a classifier of another shape is dropped.
        transplant: Safetensors file of a MobileNetV2 that starts an EfficientNet-B0, or None.
        pretrained: Whether to start from ImageNet weights of the framework's source (needs network access once).
        drop_rate: Dropout rate before the classifier, where `head` is empty.
        drop_path_rate: Rate of stochastic depth, 0 for none.
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
    """Preprocessing at validation and prediction; training pictures share its steps and scaling.

    Attributes:
        scaling: Scaling of pixel values: `tf`, `torch`, `unit`, `caffe` or `raw`.
        height: Height of the input in pixels.
        width: Width of the input in pixels.
        fit: Fit to the input size: `squash`, `crop` or `pad`.
        crop_pct: Share of the shorter side that `crop` keeps.
        interpolation: Filter of the resize.
        library: Library whose resize is reproduced: `pillow`, `opencv` or `tensorflow`.
        scaled_decoding: Least ratio, 2 or more, of decoded to resized size that scaled decoding of large JPEGs
            keeps; 0 decodes them in full. For `pillow` without `steps` only.
        steps: Enhancements before the resize, each `{name: ..., <parameter>: ...}` (see `skinclf.images.enhance`).
    """

    scaling: str = "tf"
    height: int = 224
    width: int = 224
    fit: Literal["squash", "crop", "pad"] = "crop"
    crop_pct: float = 0.93
    interpolation: str = "lanczos"
    library: Literal["pillow", "opencv", "tensorflow"] = "pillow"
    scaled_decoding: int = 0
    steps: tuple[dict[str, Any], ...] = ()

    def build(self) -> Preprocess:
        """The `Preprocess` that is stored with the weights."""
        return scaling(
            self.scaling,
            height=self.height,
            width=self.width,
            fit=self.fit,
            crop_pct=self.crop_pct if self.fit == "crop" else 1.0,
            interpolation=self.interpolation,
            library=self.library,
            scaled_decoding=self.scaled_decoding,
            steps=tuple(
                Step(str(x["name"]), {k: v for k, v in x.items() if k != "name"}) for x in self.steps
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Decoded store of training pictures, and the order of batches.

    Attributes:
        store_height: Height of a stored image in pixels.
        store_width: Width of a stored image in pixels.
        batch_size: Number of images per step.
        val_batch_size: Number of images per validation step.
        workers: Number of threads that decode the store.
        sampler: Order of an epoch: `shuffle` (every image once), `weighted` (as many draws with replacement,
            classes equally likely) or `copies` (every image, those of rarer classes several times, so that all classes
            have as many as the largest; the epoch is longer).
        weight_column: Column of `split.csv` with the weight of each training image in the loss, scaled to an average
            of 1; a weight of 0 leaves the image out. None for no weights.
        drop_last: Whether to leave out an incomplete last batch of an epoch.
        also: Folders of further prepared data sets, each with some of the run's labels, whose training parts are
            added; their loss is over their own labels only.
    """

    store_height: int = 240
    store_width: int = 320
    batch_size: int = 64
    val_batch_size: int = 64
    workers: int = 4
    sampler: Literal["shuffle", "weighted", "copies"] = "shuffle"
    weight_column: str | None = None
    drop_last: bool = True
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """Random changes of a training image.

    `preset: batch` draws uniformly from the ranges below, a whole batch at once; any other preset is a fixed list
    (`skinclf_training.augment.presets`), beside which only `size` and the mixing keys count.

    Attributes:
        preset: Name of a list of changes: `batch`, `none`, `light`, `medium`, `heavy`, or that of a published project.
        size: Side of the square crop in pixels.
        rotate: Largest rotation in degrees, either way.
        scale: Range of the zoom, drawn log-uniformly; above 1 enlarges.
        aspect: Largest stretch of one side against the other, 0.1 for 10 %.
        shear: Largest shear angle in degrees.
        shift: Largest shift as a share of the crop's side.
        flip: Whether to mirror with probability one half.
        interpolation: Filter of the resampling: `bilinear`, or `bicubic`, whose crops are about as sharp as
            validation pictures.
        brightness: Largest relative change of brightness.
        contrast: Largest relative change of contrast.
        saturation: Largest relative change of saturation.
        hue: Largest rotation of the hue as a share of the full circle.
        white_balance: Largest gain of one channel against the others, 0.2 for 20 % more or as much less.
        gamma: Largest relative change of the exponent of the tone curve, 0.25 for exponents of 1 / 1.25 to 1.25.
        blur: Probability of a Gaussian blur.
        blur_sigma: Range of the standard deviation of the blur in crop pixels, drawn log-uniformly.
        noise: Probability of Gaussian noise.
        noise_levels: Largest standard deviation of the noise in levels of 255.
        jpeg: Probability of JPEG compression.
        jpeg_quality: Range of the JPEG quality on the scale of libjpeg.
        cutout: Probability that one rectangle is greyed out.
        cutout_size: Range of the sides of that rectangle as a share of the crop's side.
        mixup: Alpha of the Beta distribution of mixup, 0 for none.
        mixup_prob: Probability of mixup for a batch.
        cutmix: Alpha of the Beta distribution of cutmix, 0 for none.
        cutmix_prob: Probability of cutmix for a batch without mixup.
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
    white_balance: float = 0.0
    gamma: float = 0.0
    blur: float = 0.0
    blur_sigma: tuple[float, float] = (0.4, 1.6)
    noise: float = 0.0
    noise_levels: float = 8.0
    jpeg: float = 0.0
    jpeg_quality: tuple[float, float] = (30.0, 90.0)
    cutout: float = 0.5
    cutout_size: tuple[float, float] = (0.2, 0.4)
    mixup: float = 0.0
    mixup_prob: float = 0.0
    cutmix: float = 0.0
    cutmix_prob: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """Loss function.

    Attributes:
        kind: Loss: `cross_entropy`, `focal`, or `bce` (two classes, one sigmoid output).
        class_weights: Weights of classes: `none`, `balanced` (inverse frequency), `sqrt` (its root) or `pos_weight`
            (negatives / positives).
        label_smoothing: Share of the target that is spread evenly over all classes.
        gamma: Focusing exponent of the focal loss.
        alpha: Factor on the whole focal loss (it balances no classes).
        focal_pt: Source of p_t in the focal loss: the `unweighted` or (one published project) `weighted` entropy.
    """

    kind: Literal["cross_entropy", "focal", "bce"] = "cross_entropy"
    class_weights: Literal["none", "sqrt", "balanced", "pos_weight"] = "sqrt"
    label_smoothing: float = 0.05
    gamma: float = 2.0
    alpha: float = 1.0
    focal_pt: Literal["unweighted", "weighted"] = "unweighted"


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillConfig:
    """Knowledge distillation from other models, on the same augmented pictures.

    Attributes:
        teachers: Bundles with the same labels, or with a declared crosswalk to them; their probabilities are averaged.
        weight: Share of the divergence from the teachers in the loss, 0 for none; the rest is `loss`.
        temperature: Divisor of the logits of both sides; its square multiplies the divergence (Hinton et al. 2015).
        size: Side in pixels at which teachers see the crop, 0 for that of `augment.size`.
        student_size: Side in pixels at which the student sees the crop, 0 for that of `augment.size`; teachers may see
            more detail.
    """

    teachers: tuple[str, ...] = ()
    weight: float = 0.0
    temperature: float = 1.0
    size: int = 0
    student_size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """Outputs of a run beside history and checkpoints.

    Attributes:
        tensorboard: Whether to write event files to `tensorboard/`.
        report: Whether to draw curves and evaluate the validation and test parts.
        keep_epochs: Number of checkpoints of the latest epochs kept beside the last and the best.
    """

    tensorboard: bool = False
    report: bool = True
    keep_epochs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Configuration of one reproducible run.

    Attributes:
        name: Name of the model.
        about: Description in one sentence.
        framework: Framework: `torch` or `tensorflow`.
        labels: Taxonomy that the prepared data must have; `any` accepts all.
        seed: Random seed of order, augmentation, dropout and the new classifier.
        select: Validation figure whose best epoch is exported: `loss` (smaller is better) or `accuracy`,
            `balanced_accuracy`, `macro_auc`, `malignant_auc`, `malignant_pr_auc` (larger is better); `last` exports
            the last epoch, so that the validation part selects nothing.
        threads: Number of CPU threads of torch, 0 for its default.
        model: Network.
        preprocess: Preprocessing at validation and prediction.
        data: Decoded store and order of batches.
        augment: Random changes of training images.
        loss: Loss function.
        distill: Knowledge distillation.
        optim: Optimiser, schedule and precision.
        stop: Early stopping.
        log: Further outputs.
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

    def score(self, figures: Mapping[str, float], epoch: int) -> float:
        """Value of an epoch under `select`: larger is better.

        Args:
            figures: Validation figures of the epoch by name.
            epoch: Epoch, counted from 0.
        """
        if self.select == LAST_EPOCH:
            return float(epoch)
        return figures[self.select] * (-1 if self.select == "loss" else 1)

    def to_yaml(self) -> str:
        """The resolved configuration as YAML."""
        return str(yaml.safe_dump(self.to_dict(), sort_keys=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
