"""Search space: the keys of a configuration that vary, and their values."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import yaml
from optuna import distributions

from skinclf.errors import InvalidArgumentError
from skinclf_training.config.read import read_config
from skinclf_training.config.schema import Config

#: Keys in which the runs of one search must agree, or they could not be compared.
_FIXED = frozenset({"name", "about", "framework", "labels", "select"})
_FORMS = "{low, high}, {low, high, log: true}, {low, high, step} or {choices: [...]}"


@dataclass(frozen=True, slots=True)
class Space:
    """Keys of a configuration with their possible values.

    Attributes:
        source: Mapping as it was written.
        distributions: Optuna's distribution by key, such as `optim.lr`.
    """

    source: Mapping[str, Any]
    distributions: Mapping[str, distributions.BaseDistribution]

    def config(self, base: Config, params: Mapping[str, Any]) -> Config:
        """The base configuration with the parameters of a trial.

        Raises:
            InvalidArgumentError: The parameters do not fit the schema.
        """
        return read_config(_changed(base, {key: self.value(key, given) for key, given in params.items()}))

    def value(self, key: str, given: Any) -> Any:
        """Value of a parameter of Optuna: itself, or the list or mapping whose name it is."""
        choices = self.source[key].get("choices")
        return given if choices is None else choices[[_name(choice) for choice in choices].index(given)]

    def grid(self) -> list[dict[str, Any]]:
        """Every combination as Optuna's parameters, the last key fastest.

        Raises:
            InvalidArgumentError: A range has no step, so that its values cannot be listed.
        """
        axes = [[(key, value) for value in self._values(key)] for key in self.distributions]
        return [dict(point) for point in itertools.product(*axes)]

    def _values(self, key: str) -> list[Any]:
        along = self.distributions[key]
        if "choices" in self.source[key]:
            return list(along.choices)
        if self.source[key].get("step") is None:
            raise InvalidArgumentError(
                f"Search space, {key}: a grid needs `step` or `choices`; received {self.source[key]}."
            )
        count = round((along.high - along.low) / along.step) + 1
        # Rounded, so that 0.1 + 2 * 0.1 reads as 0.3.
        return [type(along.low)(round(along.low + i * along.step, 12)) for i in range(count)]


def load_space(path: Path, base: Config) -> Space:
    """Read a search space from a YAML file.

    Raises:
        InvalidArgumentError: The file cannot be read, a key is unknown, or a value or its form does not fit.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InvalidArgumentError(f"{path}: no readable YAML: {error}.") from None
    if not isinstance(data, dict) or not data:
        raise InvalidArgumentError(f"{path}: expected keys such as optim.lr, each with {_FORMS}.")
    return read_space(data, base)


def read_space(data: Mapping[str, Any], base: Config) -> Space:
    """Check a search space against the schema of configurations.

    Args:
        data: Values by dotted key: `{low, high}`, `{low, high, log: true}`, `{low, high, step}` or `{choices: [...]}`.
        base: Configuration that gives the other keys.

    Raises:
        InvalidArgumentError: A key is unknown, or a value or its form does not fit.
    """
    return Space(dict(data), {str(key): _distribution(str(key), given, base) for key, given in data.items()})


def _distribution(key: str, given: Any, base: Config) -> distributions.BaseDistribution:
    where = f"Search space, {key}"
    if key in _FIXED:
        raise InvalidArgumentError(
            f"{where}: one search compares runs of one {key}; state it in the configuration or with `overrides`."
        )
    known = (
        {"choices"} if isinstance(given, Mapping) and "choices" in given else {"low", "high", "step", "log"}
    )
    if not isinstance(given, Mapping) or not set(given) <= known or len({"low", "high"} & set(given)) == 1:
        raise InvalidArgumentError(f"{where}: expected {_FORMS}; received {given!r}.")
    if "choices" in given:
        return _categorical(where, key, given["choices"], base)
    if "low" not in given:
        raise InvalidArgumentError(f"{where}: expected {_FORMS}; received {given!r}.")
    low, high = (_checked(where, key, given[end], base) for end in ("low", "high"))
    step, log = given.get("step"), given.get("log", False)
    if any(isinstance(end, bool) or not isinstance(end, (int, float)) for end in (low, high)):
        raise InvalidArgumentError(f"{where}: low and high are for numbers; list its values as `choices`.")
    if not low < high or (log and low <= 0) or not isinstance(log, bool):
        raise InvalidArgumentError(
            f"{where}: low is below high, and above 0 where log is true; received {dict(given)}."
        )
    whole = isinstance(low, int)
    if isinstance(step, str):  # YAML 1.1 reads `1e-3` as text
        with suppress(ValueError):
            step = float(step)
    if step is not None:
        fits = isinstance(step, int if whole else (int, float)) and not isinstance(step, bool) and step > 0
        if log or not fits or abs((high - low) / step - round((high - low) / step)) > 1e-9:
            raise InvalidArgumentError(
                f"{where}: a step divides high - low, is whole where the values are, and goes without log; "
                f"received {dict(given)}."
            )
    if whole:
        return distributions.IntDistribution(low, high, log=log, step=step or 1)
    return distributions.FloatDistribution(low, high, log=log, step=step)


def _categorical(where: str, key: str, choices: Any, base: Config) -> distributions.BaseDistribution:
    if not isinstance(choices, list) or not choices:
        raise InvalidArgumentError(
            f"{where}: choices are a list of at least one value; received {choices!r}."
        )
    for choice in choices:
        _checked(where, key, choice, base)
    names = [_name(choice) for choice in choices]
    if len({repr(name) for name in names}) < len(names):
        raise InvalidArgumentError(f"{where}: a choice is listed twice in {choices!r}.")
    return distributions.CategoricalDistribution(names)


def _name(choice: Any) -> Any:
    """Form that Optuna can store: lists and mappings as JSON text."""
    return json.dumps(choice, sort_keys=True) if isinstance(choice, (list, dict)) else choice


def _checked(where: str, key: str, value: Any, base: Config) -> Any:
    """The value after validation by the schema."""
    try:
        config: Any = read_config(_changed(base, {key: value}))
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{where}: {error}") from None
    return reduce(
        lambda node, name: node[name] if isinstance(node, Mapping) else getattr(node, name),
        key.split("."),
        config,
    )


def _changed(base: Config, changes: Mapping[str, Any]) -> dict[str, Any]:
    data = base.to_dict()
    for key, value in changes.items():
        *parents, last = key.split(".")
        node: Any = data
        for parent in parents:
            node = node.setdefault(parent, {}) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            raise InvalidArgumentError(f"Unknown configuration key {key!r}.")
        node[last] = copy.deepcopy(value)
    return data
