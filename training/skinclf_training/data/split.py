"""Splits grouped by lesion and stratified by class, and their checks."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from skinclf.errors import InvalidArgumentError
from skinclf.tables.column_names import PART_NAMES, SPLITS

__all__ = ["PART_NAMES", "SPLITS"]


def parse_ratios(text: str) -> dict[str, float]:
    """Shares of train, val and test from `70/15/15`.

    Raises:
        InvalidArgumentError: The text does not hold three positive numbers.
    """
    try:
        numbers = [float(part) for part in text.split("/")]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or min(numbers, default=0) <= 0:
        raise InvalidArgumentError(f"Ratios {text!r}: expected three positive numbers such as 70/15/15.")
    return {name: n / sum(numbers) for name, n in zip(SPLITS, numbers, strict=True)}


def grouped_split(
    groups: Sequence[str], labels: Sequence[str], *, shares: Mapping[str, float], seed: int
) -> list[str]:
    """Assign whole groups to parts so that every class is shared out in proportion.

    Within each class the groups are shuffled, then dealt from the largest to the smallest, each to the part
    that lacks most of its share; so parts agree in class mix and in images per lesion.

    Args:
        groups: Group (lesion) of every image.
        labels: Class of every image; a group with several classes counts as its most frequent one.
        shares: Part name to its share; shares sum to 1.
        seed: Random seed of the shuffle.

    Returns:
        Part name of every image, in input order.
    """
    members: dict[str, list[str]] = {}
    for group, label in zip(groups, labels, strict=True):
        members.setdefault(group, []).append(label)
    by_class: dict[str, list[tuple[str, int]]] = {}
    for group in sorted(members):
        label = min(Counter(members[group]).items(), key=lambda kv: (-kv[1], kv[0]))[0]
        by_class.setdefault(label, []).append((group, len(members[group])))
    part_of: dict[str, str] = {}
    for label in sorted(by_class):
        # Seeded by class, so that a change in one class leaves the others where they are.
        digest = hashlib.sha256(f"{seed}/{label}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
        todo = by_class[label]
        todo = [todo[i] for i in rng.permutation(len(todo))]
        todo.sort(key=lambda item: -item[1])
        total = sum(size for _, size in todo)
        filled = dict.fromkeys(shares, 0.0)
        for group, size in todo:
            part = max(shares, key=lambda p: 1 - (filled[p] + size / 2) / (shares[p] * total))
            part_of[group] = part
            filled[part] += size
    return [part_of[group] for group in groups]


def fold_splits(
    groups: Sequence[str], labels: Sequence[str], *, folds: int, val_share: float, seed: int
) -> list[list[str]]:
    """Cross-validation: every image is tested in exactly one of several splits.

    Folds are dealt by `grouped_split`; what is left of each is split again into train and val.

    Args:
        groups: Group (lesion) of every image.
        labels: Class of every image.
        folds: Number of splits, at least 2.
        val_share: Share of val in what is not tested, above 0 and below 1.
        seed: Decides the shuffles.

    Returns:
        For each fold the part name of every image, in input order.

    Raises:
        InvalidArgumentError: Fewer than two folds.
    """
    names, of = _dealt(groups, labels, folds=folds, seed=seed)
    splits = []
    for name in names:
        rest = [i for i, fold in enumerate(of) if fold != name]
        inner = grouped_split(
            [groups[i] for i in rest],
            [labels[i] for i in rest],
            shares={"train": 1 - val_share, "val": val_share},
            seed=seed,
        )
        parts = ["test"] * len(of)
        for i, part in zip(rest, inner, strict=True):
            parts[i] = part
        splits.append(parts)
    return splits


def folds_beside_test(
    groups: Sequence[str], labels: Sequence[str], *, folds: int, parts: Sequence[str], seed: int
) -> list[list[str]]:
    """Cross-validation beside one untouched test part: every other image is in `val` of exactly one of several splits.

    Args:
        groups: Group (lesion) of every image.
        labels: Class of every image.
        folds: Number of splits, at least 2.
        parts: Part of every image, of which only `test` counts; it is the same in every split.
        seed: Random seed of the shuffles.

    Returns:
        For each fold the part name of every image, in input order.

    Raises:
        InvalidArgumentError: Fewer than two folds.
    """
    rest = [i for i, part in enumerate(parts) if part != "test"]
    names, dealt = _dealt([groups[i] for i in rest], [labels[i] for i in rest], folds=folds, seed=seed)
    fold_of = dict(zip(rest, dealt, strict=True))
    return [
        ["test" if i not in fold_of else "val" if fold_of[i] == name else "train" for i in range(len(parts))]
        for name in names
    ]


def _dealt(
    groups: Sequence[str], labels: Sequence[str], *, folds: int, seed: int
) -> tuple[list[str], list[str]]:
    """Names of equal folds, and that of every image."""
    if folds < 2:
        raise InvalidArgumentError(f"{folds} folds: expected at least 2.")
    names = [f"fold{i}" for i in range(folds)]
    return names, grouped_split(groups, labels, shares=dict.fromkeys(names, 1 / folds), seed=seed)


def split_hash(images: Sequence[str], parts: Sequence[str]) -> str:
    """SHA-256 of the assignment, independent of row order."""
    lines = sorted(f"{image},{part}\n" for image, part in zip(images, parts, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def shared_groups(groups: Sequence[str], parts: Sequence[str]) -> int:
    """Number of groups that appear in more than one part; 0 for an honest split."""
    seen: dict[str, set[str]] = {}
    for group, part in zip(groups, parts, strict=True):
        seen.setdefault(group, set()).add(part)
    return sum(len(found) > 1 for found in seen.values())
