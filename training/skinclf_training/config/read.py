"""Training configurations read from YAML and checked against the schema.

A file states what differs from the defaults; an unknown key is an error, never ignored.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from skinclf.errors import InvalidArgumentError
from skinclf_training.config.optimisation import OptimConfig, Phase, StopConfig
from skinclf_training.config.schema import (
    AugmentConfig,
    Config,
    DataConfig,
    DistillConfig,
    LogConfig,
    LossConfig,
    ModelConfig,
    PreprocessConfig,
)

__all__ = [
    "AugmentConfig",
    "Config",
    "DataConfig",
    "DistillConfig",
    "LogConfig",
    "LossConfig",
    "ModelConfig",
    "OptimConfig",
    "Phase",
    "PreprocessConfig",
    "StopConfig",
    "config_dirs",
    "known_configs",
    "load_config",
    "read_config",
]


def load_config(source: str, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration.

    Args:
        source: Path of a YAML file, or name of a configuration that comes with skinclf.
        overrides: Changes in the form `key.sub=value`, with values in YAML.

    Raises:
        InvalidArgumentError: The configuration does not exist or does not fit the schema.
    """
    path = Path(source)
    if path.suffix not in {".yaml", ".yml"}:
        path = next((d / f"{source}.yaml" for d in config_dirs() if (d / f"{source}.yaml").is_file()), path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError:
        known = ", ".join(sorted({p.stem for d in config_dirs() for p in d.glob("*.yaml")})) or "none"
        raise InvalidArgumentError(
            f"No configuration {source!r}: expected a YAML file or one of: {known}."
        ) from None
    except yaml.YAMLError as error:
        raise InvalidArgumentError(f"{path}: not valid YAML: {error}.") from None
    if not isinstance(data, dict):
        raise InvalidArgumentError(f"{path}: expected keys and values, found {type(data).__name__}.")
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InvalidArgumentError(
                f"`overrides` holds {text!r}; expected key.sub=value.", parameter="overrides"
            )
        node = data
        *parents, last = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise InvalidArgumentError(
                    f"`overrides` holds {text!r}, but {parent!r} holds no keys.", parameter="overrides"
                )
        try:
            node[last] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InvalidArgumentError(
                f"`overrides` holds {text!r}, whose value is not valid YAML: {error}.", parameter="overrides"
            ) from None
    return read_config(data)


def read_config(data: Mapping[str, Any]) -> Config:
    """Check a mapping against the schema.

    Raises:
        InvalidArgumentError: A key is unknown or a value has the wrong type; the message names its full path.
    """
    result: Config = _build(Config, data, "")
    return result


def known_configs() -> list[Config]:
    """The configurations that come with skinclf, by name."""
    paths = {p.stem: p for d in reversed(config_dirs()) for p in d.glob("*.yaml")}
    return [load_config(str(paths[name])) for name in sorted(paths)]


def config_dirs() -> list[Path]:
    """Folders of the configurations that come with skinclf: installed, and in a source checkout."""
    here = Path(__file__).resolve().parents[1]
    return [d for d in (here / "configs", here.parent / "configs") if d.is_dir()]


def _build(cls: type[Any], data: Any, path: str) -> Any:
    if not isinstance(data, Mapping):
        raise InvalidArgumentError(
            f"Configuration {path or 'file'}: expected keys and values, received {data!r}."
        )
    hints = get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]
    unknown = [str(k) for k in data if k not in names]
    if unknown:
        where = f"in {path!r}" if path else "at the top level"
        raise InvalidArgumentError(
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
    if origin is tuple and isinstance(value, (list, tuple)) and args[-1] is Ellipsis:
        return tuple(_value(args[0], v, f"{path}[{i}]") for i, v in enumerate(value))
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
    raise InvalidArgumentError(f"Configuration {path!r}: expected {expected}, received {value!r}.")
