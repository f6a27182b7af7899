"""The training configuration: frozen, checked, and printable in full.

A YAML file states what differs from the defaults; an unknown key is an error, never ignored.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from skinclf.errors import InvalidInputError
from skinclf.preprocess import Preprocess, scaling


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The network.

    Attributes:
        architecture: timm name.
        init: Safetensors file with starting weights, or None; a classifier of another shape is dropped.
        pretrained: Take timm's own pretrained weights (needs the network once).
        drop_rate: Dropout before the classifier.
        drop_path_rate: Stochastic depth, 0 for none.
        args: Further arguments of `timm.create_model`.
    """

    architecture: str = "mobilenetv2_100"
    init: str | None = None
    pretrained: bool = False
    drop_rate: float = 0.2
    drop_path_rate: float = 0.0
    args: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessConfig:
    """How images reach the network at validation and ever after; training crops share the scaling.

    Attributes:
        scaling: `tf`, `torch`, `unit`, `caffe` or `raw`.
        height: Rows.
        width: Columns.
        fit: `squash`, `crop` or `pad`.
        crop_pct: Share of the shorter side that `crop` keeps.
        interpolation: Pillow filter.
    """

    scaling: str = "tf"
    height: int = 224
    width: int = 224
    fit: Literal["squash", "crop", "pad"] = "crop"
    crop_pct: float = 0.93
    interpolation: str = "lanczos"

    def build(self) -> Preprocess:
        """The `Preprocess` that travels with the weights."""
        return scaling(
            self.scaling,
            height=self.height,
            width=self.width,
            fit=self.fit,
            crop_pct=self.crop_pct if self.fit == "crop" else 1.0,
            interpolation=self.interpolation,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """The decoded store that training crops are cut from.

    Attributes:
        store_height: Rows of a stored image.
        store_width: Columns of a stored image.
        batch_size: Images per step.
        val_batch_size: Images per validation step.
        workers: Threads that decode the store once.
    """

    store_height: int = 240
    store_width: int = 320
    batch_size: int = 64
    val_batch_size: int = 64
    workers: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """Random changes of a training image, drawn uniformly; see `skinclf_training.augment`.

    Attributes:
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
    """

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


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """Cross-entropy.

    Attributes:
        class_weights: `balanced` (inverse frequency), `sqrt` (its square root) or `none`.
        label_smoothing: Share given to all classes alike.
    """

    class_weights: Literal["none", "sqrt", "balanced"] = "sqrt"
    label_smoothing: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """AdamW with warm-up and cosine decay, both by step.

    Attributes:
        epochs: Passes over the training part.
        lr: Peak learning rate of the body.
        head_lr: Peak learning rate of the classifier.
        weight_decay: Not applied to vectors (biases, normalisation).
        warmup_epochs: Linear warm-up.
        min_lr: Final learning rate as a share of the peak.
        clip: Largest gradient norm, 0 for none.
        ema: Decay of the averaged weights that are validated and exported; 0 for none.
        refresh_images: Training images over which batch normalisation is estimated anew for the export, as
            prediction sees them; 0 keeps the running statistics.
        channels_last: Memory layout of activations.
        precision: Lightning's precision, such as `bf16-mixed` or `32-true`.
        accelerator: Lightning's accelerator: `cpu`, `gpu`, `mps` or `auto`.
        checkpoint_steps: Also write `last.ckpt` every so many steps, 0 for epochs only.
    """

    epochs: int = 12
    lr: float = 5e-4
    head_lr: float = 2e-3
    weight_decay: float = 0.05
    warmup_epochs: float = 1.0
    min_lr: float = 0.01
    clip: float = 1.0
    ema: float = 0.997
    refresh_images: int = 0
    channels_last: bool = True
    precision: Literal["bf16-mixed", "16-mixed", "32-true"] = "bf16-mixed"
    accelerator: str = "auto"
    checkpoint_steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One reproducible run.

    Attributes:
        name: Names the model.
        seed: Of order, augmentation, dropout and the new classifier.
        select: Validation metric whose best epoch is exported, larger is better.
        threads: Torch's CPU threads, 0 for its own choice.
    """

    name: str = "run"
    seed: int = 42
    select: str = "macro_auc"
    threads: int = 0
    model: ModelConfig = field(default_factory=ModelConfig)
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)

    def to_dict(self) -> dict[str, Any]:
        """Every key, resolved; tuples as lists."""
        data: dict[str, Any] = _plain(dataclasses.asdict(self))
        return data

    def to_yaml(self) -> str:
        """The resolved configuration as YAML."""
        return str(yaml.safe_dump(self.to_dict(), sort_keys=False))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Config:
        """Check a mapping against the schema.

        Raises:
            InvalidInputError: An unknown key or a value of the wrong type, named by its full path.
        """
        result: Config = _build(cls, data, "")
        return result


def load_config(source: str, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration.

    Args:
        source: A YAML file, or the name of one that comes with skinclf.
        overrides: `key.sub=value`, values in YAML.

    Raises:
        InvalidInputError: No such configuration, or it does not fit the schema.
    """
    path = Path(source)
    if path.suffix not in {".yaml", ".yml"}:
        path = next((d / f"{source}.yaml" for d in config_dirs() if (d / f"{source}.yaml").is_file()), path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError:
        known = ", ".join(sorted({p.stem for d in config_dirs() for p in d.glob("*.yaml")})) or "none"
        raise InvalidInputError(
            f"No configuration {source!r}: expected a YAML file or one of: {known}."
        ) from None
    except yaml.YAMLError as error:
        raise InvalidInputError(f"{path}: not valid YAML: {error}.") from None
    if not isinstance(data, dict):
        raise InvalidInputError(f"{path}: expected keys and values, found {type(data).__name__}.")
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InvalidInputError(f"--set {text!r}: expected key.sub=value.")
        node = data
        *parents, last = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise InvalidInputError(f"--set {text!r}: {parent!r} holds no keys.")
        try:
            node[last] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InvalidInputError(f"--set {text!r}: not valid YAML: {error}.") from None
    return Config.from_dict(data)


def config_dirs() -> list[Path]:
    """Folders of the configurations that come with skinclf: installed, and in a source checkout."""
    here = Path(__file__).resolve().parent
    return [d for d in (here / "configs", here.parent / "configs") if d.is_dir()]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _build(cls: type[Any], data: Any, path: str) -> Any:
    if not isinstance(data, Mapping):
        raise InvalidInputError(
            f"Configuration {path or 'file'}: expected keys and values, received {data!r}."
        )
    hints = get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]
    unknown = [str(k) for k in data if k not in names]
    if unknown:
        where = f"in {path!r}" if path else "at the top level"
        raise InvalidInputError(
            f"Unknown configuration keys {where}: {', '.join(unknown)}. Known: {', '.join(names)}."
        )
    values = {k: _value(hints[k], v, f"{path}.{k}" if path else k) for k, v in data.items()}
    return cls(**values)


def _value(hint: Any, value: Any, path: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)
        return _build(hint, value, path)
    if origin in {types.UnionType, Union}:
        if value is None and type(None) in args:
            return None
        return _value(next(a for a in args if a is not type(None)), value, path)
    if origin is Literal and value in args:
        return value
    if origin is tuple and isinstance(value, (list, tuple)) and len(value) == len(args):
        return tuple(_value(a, v, path) for a, v in zip(args, value, strict=True))
    if origin is dict and isinstance(value, Mapping):
        return dict(value)
    if hint is float and not isinstance(value, bool):
        # YAML 1.1 reads `1e-3` as text.
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    elif isinstance(hint, type) and type(value) is hint:
        return value
    expected = " or ".join(map(repr, args)) if origin is Literal else getattr(hint, "__name__", str(hint))
    raise InvalidInputError(f"Configuration {path!r}: expected {expected}, received {value!r}.")
