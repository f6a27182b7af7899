"""Guarantees of an operating point: grades of evidence, sample sizes, and the claim in words.

Sources: Angelopoulos et al., "Conformal risk control", ICLR 2024 (expected grade); the exact binomial bound
of Clopper & Pearson 1934, which for a monotone rate holds for the chosen threshold too (Angelopoulos et
al., "Learn then test", 2021; guaranteed grade).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal, TypeAlias

from skinclf.decisions.operating_point import OperatingPoint, lower_bound
from skinclf.decisions.sample import DecisionSample
from skinclf.metrics.intervals import one_sided_lower

Grade: TypeAlias = Literal["empirical", "expected", "guaranteed"]
GRADES: tuple[Grade, ...] = ("empirical", "expected", "guaranteed")
#: A sample this many times larger is worth mentioning.
_PLAUSIBLE = 20


def allowed_misses(n: int, target: float, *, grade: Grade = "empirical", confidence: float = 0.95) -> int:
    """How many of `n` positives may be missed for this sensitivity; -1 when even no miss is too many."""
    if grade == "expected":
        # (misses + 1) / (n + 1) <= 1 - target; the margin undoes the rounding of 1 - target.
        return max(-1, math.floor((1 - target) * (n + 1) - 1 + 1e-9))

    def fits(misses: int) -> bool:
        if grade == "empirical":
            return (n - misses) / n >= target
        return bool(one_sided_lower(n - misses, n, confidence=confidence) >= target)

    low, high = -1, n + 1
    while high - low > 1:
        middle = (low + high) // 2
        if middle <= n and fits(middle):
            low = middle
        else:
            high = middle
    return low


def positives_needed(
    target: float, *, observed: float = 1.0, grade: Grade = "guaranteed", confidence: float = 0.95
) -> int | None:
    """How many positives it takes to claim `target` when the sample shows a sensitivity of `observed`.

    Returns:
        The smallest such number, or None when no number would do.
    """
    if observed <= target:
        return None

    def fits(n: int) -> bool:
        if grade == "expected":
            return (n * (1 - observed) + 1) / (n + 1) <= 1 - target + 1e-12
        return bool(one_sided_lower(observed * n, n, confidence=confidence) >= target)

    high = 1
    while not fits(high):
        high *= 2
        if high > 1 << 40:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def with_claim(point: OperatingPoint, sample: DecisionSample) -> OperatingPoint:
    """Add the bound on the targeted rate and say in words what it supports."""
    target = point.target
    if target is None or point.criterion not in {"sensitivity", "specificity"}:
        return replace(point, claim="Chosen on these data; the intervals say how well each figure is known.")
    sensitivity = point.criterion == "sensitivity"
    bound = lower_bound(
        sample,
        point.threshold,
        of="sensitivity" if sensitivity else "specificity",
        confidence=point.confidence,
    )
    value = (point.sensitivity if sensitivity else point.specificity).value
    n, kind = (point.tp + point.fn, "positives") if sensitivity else (point.tn + point.fp, "negatives")
    with_level = f"with {point.confidence:.0%} confidence"
    rate = f"the {point.criterion} for {point.unit}s like these is at least {target:g}"
    if bound >= target:
        text = f"One may claim {with_level} that {rate}."
    else:
        needs = _what_it_takes(point, n, value, kind, independent=sample.clusters is None)
        text = (
            f"That {rate} cannot be claimed {with_level}: {value:.3f} of {n:,} {kind} shows at least "
            f"{bound:.3f}. {needs}"
        )
    if point.grade == "expected":
        text = f"On average over samples of {n:,} {kind}, {rate}. {text}"
    return replace(point, lower_bound=bound, claim=text)


def _what_it_takes(point: OperatingPoint, n: int, value: float, kind: str, *, independent: bool) -> str:
    target = point.target or 1.0
    ways = []
    misses = allowed_misses(n, target, grade="guaranteed", confidence=point.confidence)
    if not independent:
        ways.append("the guaranteed grade with one decision per lesion")
    elif misses >= 0:
        ways.append(f"at most {misses} errors among {n:,} (grade guaranteed)")
    else:
        fewest = positives_needed(target, confidence=point.confidence)
        ways += [f"at least {fewest:,} {kind} without an error"] if fewest else []
    many = positives_needed(target, observed=value, confidence=point.confidence)
    if many is not None and many <= _PLAUSIBLE * n:
        ways.append(f"about {many:,} independent {kind} at this {point.criterion}")
    if not ways:
        return f"It would take a higher {point.criterion}; no number of {kind} makes up for that."
    return f"It would take {', or '.join(ways)}."
