"""Labels of a foreign model from its class names, and the activation that its outputs need."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from skinclf.errors import ModelError
from skinclf.labels import TAXONOMIES, Label, LabelSet
from skinclf.models.probabilities import Activation

# Spellings in circulation, as slugs, beside the codes and names of the taxonomies themselves.
_ALIASES = {
    "melanocytic_nevi": "nv",
    "nevus": "nv",
    "benign_keratosis_like_lesions": "bkl",
    "actinic_keratoses": "ak",
    "vascular_lesions": "vasc",
}
_PLACEHOLDER = re.compile(r"label_?\d+|class_?\d+|\d+")
_WORDNET = re.compile(r"n\d{8}")


def labels_from_names(
    names: Sequence[str] | Mapping[Any, str] | None, outputs: int, *, name: str
) -> LabelSet | None:
    """Labels from class names, in output order.

    Names that are codes or names of a known taxonomy's classes get its codes and malignant flags; for any
    other name the flag stays unknown.

    Args:
        names: A list, or a mapping from output index (number or digits) to name.
        outputs: Width of the network's last layer.
        name: Name of the model, for messages.

    Returns:
        None when there are no names, or only placeholders such as `LABEL_0`.

    Raises:
        ModelError: The number of names is wrong, or they are the classes of ImageNet.
    """
    ordered = _ordered(names, name)
    if outputs >= 1000 or (ordered and all(_WORDNET.fullmatch(x) for x in ordered)):
        raise ModelError(
            f"{name}: its {outputs} outputs look like ImageNet's classes, so it was pretrained but not "
            "trained on skin lesions. Fine-tune it with `skinclf train`, or take another model."
        )
    if not ordered or all(_PLACEHOLDER.fullmatch(x.lower()) for x in ordered):
        return None
    if len(ordered) != outputs:
        raise ModelError(
            f"{name}: {outputs} outputs but {len(ordered)} class names: {', '.join(ordered[:10])}."
        )
    known = _known()
    slugs = [_slug(x) for x in ordered]
    for taxonomy in TAXONOMIES.values():
        codes = [_ALIASES.get(s, s) for s in slugs]
        if tuple(known[c].code if c in known else c for c in codes) == taxonomy.codes:
            return taxonomy
    labels = []
    for slug, text in zip(slugs, ordered, strict=True):
        match = known.get(_ALIASES.get(slug, slug))
        labels.append(Label(slug, text, None) if match is None else Label(slug, match.name, match.malignant))
    return LabelSet("custom", tuple(labels))


def activation_for(outputs: int, labels: LabelSet, name: str) -> Activation:
    """Activation for a number of outputs and labels: `softmax`, or `sigmoid` for one output and two labels.

    Raises:
        ModelError: The numbers of outputs and labels do not fit.
    """
    if outputs == len(labels):
        return "softmax"
    if outputs == 1 and len(labels) == 2:
        return "sigmoid"
    raise ModelError(
        f"{name}: the network has {outputs} outputs but there are {len(labels)} labels "
        f"({', '.join(labels.codes)}). State `labels` in output order.",
        parameter="labels",
    )


def _ordered(names: Sequence[str] | Mapping[Any, str] | None, name: str) -> list[str]:
    if isinstance(names, Mapping):
        try:
            by_index = {int(key): str(value) for key, value in names.items()}
        except (TypeError, ValueError):
            raise ModelError(
                f"{name}: class names are keyed by {list(names)[:3]}; expected output indices."
            ) from None
        if sorted(by_index) != list(range(len(by_index))):
            raise ModelError(f"{name}: class names have gaps; found indices {sorted(by_index)[:10]}.")
        return [by_index[i] for i in range(len(by_index))]
    if names is None:
        return []
    if not isinstance(names, (list, tuple)):
        raise ModelError(f"{name}: class names are a {type(names).__name__}; expected a list.")
    return [str(x) for x in names]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "unnamed"


def _known() -> dict[str, Label]:
    """Label by code and by the slug of its name; the first taxonomy that has one wins."""
    found: dict[str, Label] = {}
    for taxonomy in TAXONOMIES.values():
        for label in taxonomy:
            found.setdefault(label.code, label)
            found.setdefault(_slug(label.name), label)
    return found
