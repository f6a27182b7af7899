"""The state dict within a checkpoint: under any key, behind any common prefix, plain or averaged.

One mapping of named tensors is unambiguous wherever it lies. Of several, a common name decides; where none does, the
file is refused with the names.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from skinclf.errors import ModelError

logger = logging.getLogger("skinclf")

_HOLDERS = ("model_state_dict", "state_dict", "model", "net", "weights")
#: Averaged weights that timm itself prefers (`load_state_dict(use_ema=True)`), in its order.
_PREFERRED = ("state_dict_ema", "model_ema")
_AVERAGED = re.compile(r"(^|[_.\-])(ema|swa|avg|averaged?|shadow)([_.\-]|$)", re.IGNORECASE)
_WRAPPERS = ("module.", "_orig_mod.")
#: Tensors that a trainer keeps beside its network: class weights of a loss, counters of a metric.
_METRIC = r"(\w+_)?(metrics?|acc|accuracy|auc|auroc|f1|f1_score|confmat)(_\w+)?"
_BESIDE = re.compile(rf"^(criterion|criteria|loss|loss_\w+|\w+_loss|{_METRIC})(\.|$)", re.IGNORECASE)
_DEEPEST = 3


def find_state(
    content: Mapping[Any, Any], path: Path, key: str | None = None
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The state dict of a checkpoint, and the values beside it.

    Args:
        content: What the file holds.
        path: Path of the file, for messages.
        key: Key of the state dict to take; None takes the only one, or the one that is named as usual.

    Raises:
        ModelError: There is no state dict, none under `key`, or several and none is named as usual.
    """
    if key is not None:
        return _named(content, path, key)
    if content and all(_is_plain(name, value) for name, value in content.items()):
        return _unwrapped(content, path), {}
    found = dict(_candidates(content))
    averaged = {key: value for key, value in found.items() if _AVERAGED.search(key)}
    plain = {key: value for key, value in found.items() if key not in averaged}
    chosen = _choose(averaged, plain, path)
    if chosen is None:
        keys = ", ".join(str(key) for key in list(content)[:8])
        bad: Mapping[Any, Any] = next(
            (content[x] for x in _HOLDERS if isinstance(content.get(x), Mapping)), {}
        )
        unusable = [str(name) for name, value in bad.items() if not _is_plain(name, value)]
        raise ModelError(
            f"{path}: found no state dict of plain tensors. Its keys are {keys or 'none'}"
            + (f"; unusable: {', '.join(unusable[:5])}." if unusable else ".")
        )
    _say(chosen, averaged, plain, content, path)
    return _unwrapped(found[chosen], path), _beside(content, chosen)


def _named(
    content: Mapping[Any, Any], path: Path, key: str
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The state dict under a key that the user names; one inside another mapping has a dot in its key."""
    found = dict(_candidates(content))
    if key not in found:
        raise ModelError(
            f"{path}: no state dict under `state_key` {key}; those that it holds are "
            f"{', '.join(list(found)[:8]) or 'none'}.",
            parameter="state_key",
        )
    return _unwrapped(found[key], path), _beside(content, key)


def _beside(content: Mapping[Any, Any], key: str) -> dict[str, Any]:
    """What a checkpoint holds beside its state dict."""
    return {str(name): value for name, value in content.items() if str(name) != key.split(".", maxsplit=1)[0]}


def without_common_prefix(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor] | None:
    """The tensors without the first part of their names, when all share it; else None."""
    first = {name.partition(".")[0] for name in tensors}
    if len(first) != 1 or not all("." in name for name in tensors):
        return None
    return {name.partition(".")[2]: value for name, value in tensors.items()}


def _candidates(
    content: Mapping[Any, Any], at: str = "", depth: int = 1
) -> Iterator[tuple[str, Mapping[str, torch.Tensor]]]:
    """Every mapping that could be a network: named plain tensors, at least one of them a matrix."""
    for name, value in content.items():
        if not isinstance(value, Mapping) or not value:
            continue
        key = f"{at}{name}"
        if all(_is_plain(x, y) for x, y in value.items()):
            if any(tensor.ndim > 1 for tensor in value.values()):
                yield key, value
        elif depth < _DEEPEST:
            yield from _candidates(value, f"{key}.", depth + 1)


def _choose(averaged: Mapping[str, Any], plain: Mapping[str, Any], path: Path) -> str | None:
    for names, among in ((_PREFERRED, averaged), (_HOLDERS, plain)):
        if (key := next((name for name in names if name in among), None)) is not None:
            return key
    for among in (plain, averaged):
        if len(among) > 1:
            raise ModelError(
                f"{path}: holds several state dicts ({', '.join(list(among)[:6])}) and none of them is named as "
                f"usual ({', '.join(_HOLDERS)}). Name the one to use as `state_key`.",
                parameter="state_key",
            )
        if among:
            return next(iter(among))
    return None


def _say(
    key: str, averaged: Mapping[str, Any], plain: Mapping[str, Any], content: Mapping[Any, Any], path: Path
) -> None:
    """Say which weights are used where a file holds averaged ones and plain ones."""
    others = [
        str(name)
        for name in content
        if _AVERAGED.search(str(name)) and isinstance(content[name], (list, tuple))
    ]
    if key in averaged and plain:
        logger.warning(
            "%s: the averaged weights (%s) are used, as timm does; the file also holds plain ones (%s).",
            path.name,
            key,
            ", ".join(plain),
        )
    elif key in plain and (averaged or others):
        logger.warning(
            "%s: the file also holds averaged weights (%s); the plain ones (%s) are used.",
            path.name,
            ", ".join([*averaged, *others]),
            key,
        )


def _unwrapped(state: Mapping[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """The tensors of the network: without wrappers, counters, losses, metrics, or a plain copy beside averages."""
    tensors = {name: value for name, value in state.items() if not _BESIDE.match(name)} or dict(state)
    counters = {"n_averaged", "initted", "step", "num_updates", "decay"}
    if any("." in name for name in tensors) and counters & set(tensors):
        tensors = {
            name: value for name, value in tensors.items() if name not in counters or value.numel() != 1
        }
    tensors = _averaged_half(tensors, path)
    while prefix := next((x for x in _WRAPPERS if all(name.startswith(x) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _averaged_half(tensors: dict[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """The averaged network of a module that holds itself twice (`online_model.*` and `ema_model.*`)."""
    groups = {name.partition(".")[0] for name in tensors}
    averaged = sorted(group for group in groups if _AVERAGED.search(group))
    if len(groups) != 2 or len(averaged) != 1:
        _refuse_two_networks(tensors, sorted(groups), path)
        return tensors
    (plain,) = groups - set(averaged)
    halves = [
        {
            name.partition(".")[2].removeprefix("module."): value
            for name, value in tensors.items()
            if name.startswith(f"{group}.")
        }
        for group in (averaged[0], plain)
    ]
    if set(halves[0]) - {"n_averaged"} != set(halves[1]):
        return tensors
    logger.warning(
        "%s: the averaged weights (%s) are used; the file also holds plain ones (%s).",
        path.name,
        averaged[0],
        plain,
    )
    return {name: value for name, value in halves[0].items() if name in halves[1]}


def _refuse_two_networks(tensors: Mapping[str, torch.Tensor], groups: Sequence[str], path: Path) -> None:
    inside = [
        {name.partition(".")[2] for name in tensors if name.startswith(f"{group}.")} for group in groups
    ]
    if len(groups) > 1 and all(names == inside[0] for names in inside) and any("." in x for x in inside[0]):
        raise ModelError(
            f"{path}: one state dict holds {len(groups)} networks of the same layers ({', '.join(groups[:6])}), and "
            "nothing says which of them is meant. Save the state_dict of one of them."
        )


def _is_plain(name: Any, value: Any) -> bool:
    """Whether this is a named dense tensor with memory for every element."""
    if not isinstance(name, str) or type(value) not in {torch.Tensor, torch.nn.Parameter}:
        return False
    if value.layout is not torch.strided or value.device.type != "cpu" or value.is_quantized:
        return False
    stored: int = value.untyped_storage().nbytes()
    return int(value.numel()) * int(value.element_size()) <= stored
