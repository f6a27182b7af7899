"""`Target`: the quantity that a map explains, as log-odds over the labels of a model.

Every target is a difference of two log-sum-exps of logits, which is the same number whether it is computed from logits
or from the probabilities of a softmax. So gradients of a network and scores of any runtime explain the same quantity,
and no gradient vanishes where a probability saturates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Floats
from skinclf.errors import InvalidArgumentError
from skinclf.labels import LabelSet

if TYPE_CHECKING:
    from torch import Tensor

#: Probabilities below this count as this, so that log-odds stay finite.
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Target:
    """The log-odds of some labels against others.

    Attributes:
        name: Text that names it, such as `malignant`, `mel` or `mel-nv`.
        above: Output indices whose probability the target rises with.
        below: Output indices whose probability the target falls with.
    """

    name: str
    above: tuple[int, ...]
    below: tuple[int, ...]

    def of_probabilities(self, values: npt.NDArray[Any]) -> Floats:
        """Log-odds from probabilities, shape (N, K) to (N,), float64."""
        clipped = np.clip(np.asarray(values, np.float64), _TINY, None)
        above, below = clipped[:, list(self.above)].sum(axis=1), clipped[:, list(self.below)].sum(axis=1)
        return np.asarray(np.log(above) - np.log(below))

    def of_logits(self, logits: Tensor) -> Tensor:
        """Log-odds from logits of a softmax, shape (N, K) to (N,)."""
        above, below = logits[:, list(self.above)], logits[:, list(self.below)]
        return above.logsumexp(dim=1) - below.logsumexp(dim=1)

    def probability(self, values: Sequence[float]) -> float:
        """Probability of the labels above, as float32."""
        chosen = np.asarray([values[i] for i in self.above], np.float32)
        return float(np.sum(chosen, dtype=np.float32))

    def describe(self, labels: LabelSet) -> str:
        """Words for a legend."""
        codes = labels.codes
        above = (
            "malignant" if self.above == labels.malignant_indices else "+".join(codes[i] for i in self.above)
        )
        if len(self.above) + len(self.below) == len(codes):
            return f"log-odds of {above}"
        return f"log-odds of {above} against {'+'.join(codes[i] for i in self.below)}"


def check_target(text: str, labels: LabelSet) -> None:
    """Check a target before any image is read.

    Raises:
        InvalidArgumentError: The target is unknown, or needs malignant classes that the labels do not declare.
    """
    if text != "predicted":
        _parse(text, labels)


def make_target(text: str, labels: LabelSet, predicted: int) -> Target:
    """The target that a text names.

    Args:
        text: `malignant`, `predicted`, a label code, or two codes as `A-B`.
        labels: Labels of the model.
        predicted: Output index of the label predicted for the image.

    Raises:
        InvalidArgumentError: The target is unknown, or needs malignant classes that the labels do not declare.
    """
    return _against_rest(labels, (predicted,)) if text == "predicted" else _parse(text, labels)


def default_target(labels: LabelSet) -> str:
    """`malignant` where the labels say what is malignant and what is not, else `predicted`."""
    indices = labels.malignant_indices
    return "malignant" if indices and len(indices) < len(labels) else "predicted"


def _parse(text: str, labels: LabelSet) -> Target:
    lower = {code.lower(): i for i, code in enumerate(labels.codes)}
    wanted = text.strip().lower()
    # A label's own code comes first: labels may be called "malignant", or hold a hyphen.
    if wanted in lower:
        return _against_rest(labels, (lower[wanted],))
    if wanted == "malignant":
        indices = labels.malignant_indices
        if not indices or len(indices) == len(labels):
            raise InvalidArgumentError(
                "The labels of this model do not say which classes are malignant. State `malignant`, or choose a "
                f"`target`: predicted, {', '.join(labels.codes)}, or two of them as A-B.",
                parameter="target",
            )
        return Target("malignant", indices, tuple(i for i in range(len(labels)) if i not in indices))
    for at, sign in enumerate(wanted):
        first, second = wanted[:at], wanted[at + 1 :]
        if sign == "-" and first in lower and second in lower and first != second:
            one, other = lower[first], lower[second]
            return Target(f"{labels[one].code}-{labels[other].code}", (one,), (other,))
    raise InvalidArgumentError(
        f"Unknown target {text!r}; expected malignant, predicted, one of {', '.join(labels.codes)}, or two "
        "different ones of them as A-B.",
        parameter="target",
    )


def _against_rest(labels: LabelSet, indices: tuple[int, ...]) -> Target:
    name = labels[indices[0]].code
    return Target(name, indices, tuple(i for i in range(len(labels)) if i not in indices))
