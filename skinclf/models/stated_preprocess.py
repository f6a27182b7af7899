"""Preprocessing as a user states it: a name, a variant of a registered model, or JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinclf.errors import InvalidArgumentError
from skinclf.images.preprocess import RESIZES, SCALINGS, Preprocess, is_scaling, scaling
from skinclf.models.spec import read_config

if TYPE_CHECKING:
    from skinclf.models.registry import PublishedModel


def read_preprocess(given: Preprocess | str | Path, entry: PublishedModel | None) -> Preprocess:
    """A `Preprocess` from itself, a registered variant's name, a scaling's name, or JSON.

    JSON may be text or the path of a file. It holds every field of `Preprocess`, or `scaling` (a name), `height`,
    `width` and what else differs, as `skinclf models show` prints it; also inside a whole `config.json` of a bundle
    or the whole JSON of `skinclf models show`.

    Args:
        given: What was stated.
        entry: Registered model whose variants may be named.

    Raises:
        InvalidArgumentError: The name is unknown, or the text is no JSON object.
        ModelError: The JSON lacks a field of `Preprocess` or has a wrong one.
    """
    if isinstance(given, Preprocess):
        return given
    variants = list(entry.variants) if entry is not None else []
    if entry is not None and given in variants:
        return entry.preprocess(str(given))
    if is_scaling(given):
        return scaling(str(given))
    if str(given).lstrip().startswith("{"):
        return _from_json(_parsed(str(given)))
    path = Path(given).expanduser()
    if not path.is_file():
        names = ", ".join([*variants, *SCALINGS])
        raise InvalidArgumentError(
            f"`preprocess` {given}: expected {names}, one of these five scalings with its resize "
            f"({', '.join(f'caffe-{key}' for key in RESIZES)}), or JSON with the fields of Preprocess.",
            parameter="preprocess",
        )
    return _from_json(read_config(path))


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        data: Mapping[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"`preprocess` is no JSON: {error}.", parameter="preprocess") from None
    return data


def _from_json(data: Mapping[str, Any]) -> Preprocess:
    for key in ("skinclf", "preprocess"):
        if isinstance(data.get(key), Mapping):
            data = data[key]
    if data and all(isinstance(value, Mapping) for value in data.values()):  # variants of a registered model
        if len(data) > 1:
            raise InvalidArgumentError(
                f"`preprocess` holds {len(data)} variants, {', '.join(map(str, data))}; state one of them.",
                parameter="preprocess",
            )
        data = next(iter(data.values()))
    if "scaling" not in data:
        return Preprocess.from_dict(data)
    rest = {str(key): value for key, value in data.items() if key != "scaling"}
    if not {"height", "width"} <= rest.keys():
        raise InvalidArgumentError(
            "`preprocess` as JSON states `height` and `width`; without them, give the scaling's name alone.",
            parameter="preprocess",
        )
    whole = scaling(str(data["scaling"])).to_dict()
    return Preprocess.from_dict({**whole, **rest})


def input_size(given: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """Height and width as one pair.

    Raises:
        InvalidArgumentError: The size is not one or two whole numbers, 8 to 4096.
    """
    if given is None:
        return None
    size = (given, given) if isinstance(given, int) else tuple(given)
    if len(size) != 2 or not all(type(x) is int and 8 <= x <= 4096 for x in size):
        raise InvalidArgumentError(
            f"`input_size` {given!r}: expected one or two whole numbers, 8 to 4096.", parameter="input_size"
        )
    return size
