"""`ClassDecision`: how probabilities become one class where the most probable class is not the rule.

Sources: Elkan, "The foundations of cost-sensitive learning", IJCAI 2001 (least expected cost); Collell et
al., Neurocomputing 2018 (dividing probabilities by per-class thresholds).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Floats, Ints
from skinclf.errors import InvalidArgumentError, MismatchError


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassDecision:
    """A rule from probabilities to one class: exactly one of `costs` and `thresholds`.

    It is immutable, comparable and hashable, and has a JSON form for threshold files and bundles.

    Attributes:
        codes: Class codes in label order, length K.
        costs: `costs[i][j]` is the cost of deciding j when i is true, (K, K); the class of least expected cost is
            decided. A cost per missed class, c, is the matrix with c[i] in row i and 0 on the diagonal.
        thresholds: One threshold per class, length K, none negative; the class whose probability is the largest
            multiple of its threshold is decided.
    """

    codes: tuple[str, ...]
    costs: tuple[tuple[float, ...], ...] | None = None
    thresholds: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if (self.costs is None) == (self.thresholds is None):
            raise InvalidArgumentError("A decision among classes has either `costs` or `thresholds`.")
        k = len(self.codes)
        if k < 2 or len({code.lower() for code in self.codes}) != k:
            raise InvalidArgumentError(
                f"`codes` are at least two different class codes; received {', '.join(self.codes) or 'none'}.",
                parameter="codes",
            )
        if self.costs is not None:
            checked_costs(self.costs, k)
        if self.thresholds is not None:
            checked_thresholds(self.thresholds, k)

    @property
    def rule(self) -> Literal["least_cost", "class_thresholds"]:
        """Name of the rule."""
        return "class_thresholds" if self.costs is None else "least_cost"

    def decide(self, probabilities: npt.ArrayLike) -> Ints:
        """Index of the decided class of each row, shape (N,), from probabilities of shape (N, K).

        Raises:
            InvalidArgumentError: `probabilities` does not have K columns.
        """
        values = np.asarray(probabilities, np.float32)
        if values.ndim != 2 or values.shape[1] != len(self.codes):
            raise InvalidArgumentError(
                f"Expected probabilities of shape (N, {len(self.codes)}); received shape {values.shape}.",
                parameter="probabilities",
            )
        if self.costs is not None:
            return decide_by_cost(values, np.asarray(self.costs, np.float64))
        return decide_by_thresholds(values, self.thresholds or ())

    def in_order(self, codes: Sequence[str]) -> ClassDecision:
        """The same rule with its classes in the order of `codes` (compared without case).

        Raises:
            MismatchError: `codes` are other classes.
        """
        places = {code.lower(): i for i, code in enumerate(self.codes)}
        wanted = [code.lower() for code in codes]
        if sorted(places) != sorted(wanted):
            raise MismatchError(
                f"The decision is among {', '.join(self.codes)}; the model has {', '.join(codes)}."
            )
        order = [places[code] for code in wanted]
        return ClassDecision(
            codes=tuple(codes),
            costs=None
            if self.costs is None
            else tuple(tuple(self.costs[i][j] for j in order) for i in order),
            thresholds=None if self.thresholds is None else tuple(self.thresholds[i] for i in order),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "rule": self.rule,
            "codes": list(self.codes),
            **({} if self.costs is None else {"costs": [list(row) for row in self.costs]}),
            **({} if self.thresholds is None else {"thresholds": list(self.thresholds)}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ClassDecision:
        """Read the JSON form.

        Raises:
            InvalidArgumentError: A key is missing, contradicts another one, or holds a value of the wrong type.
        """
        try:
            costs, thresholds = data.get("costs"), data.get("thresholds")
            made = cls(
                codes=tuple(map(str, data["codes"])),
                costs=None if costs is None else tuple(tuple(map(float, row)) for row in costs),
                thresholds=None if thresholds is None else tuple(map(float, thresholds)),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidArgumentError(
                f"A decision among classes needs 'codes' and 'costs' or 'thresholds': {error!r}."
            ) from None
        if data.get("rule", made.rule) != made.rule:
            raise InvalidArgumentError(
                f"Expected the rule {made.rule!r} for these keys; received {data['rule']!r}."
            )
        return made

    def __str__(self) -> str:
        if self.thresholds is None:
            return "least expected cost"
        pairs = zip(self.codes, self.thresholds, strict=True)
        return "thresholds per class (" + ", ".join(f"{code} {value:.4g}" for code, value in pairs) + ")"


def checked_costs(costs: npt.ArrayLike, k: int) -> Floats:
    """Costs as an array of shape (K, K).

    Raises:
        InvalidArgumentError: `costs` is not (K, K) of finite numbers.
    """
    try:
        table = np.asarray(costs, np.float64)
    except ValueError:  # rows of different lengths
        table = np.empty(0)
    if table.shape != (k, k) or not np.isfinite(table).all():
        raise InvalidArgumentError(
            f"Costs are a {k} by {k} table of finite numbers; received shape {table.shape}."
        )
    return table


def checked_thresholds(thresholds: Sequence[float], k: int) -> Floats:
    """Thresholds as an array of shape (K,).

    Raises:
        InvalidArgumentError: Not one threshold per class, or a negative one.
    """
    limits = np.asarray(thresholds, np.float64)
    if limits.shape != (k,) or not (limits >= 0).all():
        raise InvalidArgumentError(f"Expected {k} thresholds from 0 to 1; received {thresholds}.")
    return limits


def decide_by_thresholds(probabilities: npt.NDArray[np.float32], thresholds: Sequence[float]) -> Ints:
    """The class whose probability is the largest multiple of its threshold, shape (N,).

    Where exactly one class reaches its threshold, it is that one; where none does, the nearest to it.

    Args:
        probabilities: Shape (N, K).
        thresholds: One per class, length K, none negative.

    Raises:
        InvalidArgumentError: Not one threshold per class, or a negative one.
    """
    limits = checked_thresholds(thresholds, probabilities.shape[1])
    tiny = np.finfo(np.float32).tiny
    return np.asarray((probabilities / np.maximum(limits, tiny)).argmax(axis=1), np.intp)


def decide_by_cost(probabilities: npt.NDArray[np.float32], costs: Floats) -> Ints:
    """The decision of least expected cost, shape (N,); needs calibrated probabilities to be optimal.

    Args:
        probabilities: Shape (N, K).
        costs: `costs[i, j]` is the cost of deciding j when i is true, shape (K, K).

    Raises:
        InvalidArgumentError: `costs` is not (K, K) of finite numbers.
    """
    table = checked_costs(costs, probabilities.shape[1])
    return np.asarray((probabilities.astype(np.float64) @ table).argmin(axis=1), np.intp)
