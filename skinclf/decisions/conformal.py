"""Split-conformal label sets, class-conditional: sets that hold the true class at a stated rate.

For label y the set of an image holds y when 1 - p_y is at most the threshold of y's group, the
ceil((n + 1) * coverage)-th smallest of 1 - p_true over n held-out images whose true class is in that group.
Within each group the true class is then in the set at least that often, on average over
exchangeable images (Vovk 2012, Mondrian conformal prediction; Sadinle et al. 2019).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf._utils.files import write_text
from skinclf.errors import InvalidArgumentError
from skinclf.inference.conformal_sets import ConformalSets, Group
from skinclf.labels import LabelSet


def fit_conformal(
    truth: Sequence[str],
    probabilities: npt.ArrayLike,
    labels: LabelSet,
    *,
    coverage: float = 0.9,
    group: Group = "malignant",
    model: Mapping[str, Any] | None = None,
) -> ConformalSets:
    """Fit label sets on held-out predictions.

    Args:
        truth: True class code of each image, length N.
        probabilities: Shape (N, K), in label order.
        labels: The model's labels.
        coverage: In (0, 1).
        group: See `ConformalSets`.
        model: The model's fingerprint (`ModelSpec.fingerprint`).

    Raises:
        InvalidArgumentError: Coverage out of range, an unknown class, unusable probabilities, or malignancy
            that the labels do not declare.
    """
    if not 0 < coverage < 1:
        raise InvalidArgumentError(
            f"`coverage` lies between 0 and 1; received {coverage}.", parameter="coverage"
        )
    values = np.asarray(probabilities, np.float32)
    if values.shape != (len(truth), len(labels)) or not np.isfinite(values).all():
        raise InvalidArgumentError(
            f"Expected finite probabilities of shape ({len(truth)}, {len(labels)}); received {values.shape}."
        )
    true = np.asarray([labels.position(code) for code in truth], np.intp)
    if group == "class":
        of_label = np.arange(len(labels))
    elif group == "malignant":
        malignant = labels.malignant_indices
        if malignant is None:
            raise InvalidArgumentError(
                f"{labels.name} does not say which classes are malignant; use `group` 'class'.",
                parameter="group",
            )
        of_label = np.isin(np.arange(len(labels)), malignant).astype(np.intp)
    else:
        raise InvalidArgumentError(
            f"`group` is 'malignant' or 'class'; received {group!r}.", parameter="group"
        )
    score = np.float32(1) - values[np.arange(len(true)), true]
    limits: list[float] = []
    counts: list[int] = []
    for label in range(len(labels)):
        selected = np.sort(score[of_label[true] == of_label[label]])
        rank = math.ceil((len(selected) + 1) * coverage - 1e-9)
        limits.append(float(selected[rank - 1]) if rank <= len(selected) else math.inf)
        counts.append(len(selected))
    return ConformalSets(coverage, group, labels.codes, tuple(limits), tuple(counts), model)


def write_conformal(path: Path, sets: ConformalSets) -> None:
    """Write label sets as JSON, whole or not at all.

    Raises:
        OutputError: The file cannot be written.
    """
    write_text(path, json.dumps(sets.to_dict(), indent=2) + "\n")


def read_conformal(path: Path) -> ConformalSets:
    """Read label sets.

    Raises:
        InvalidArgumentError: Not such a file.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        rows = data["labels"]
        return ConformalSets(
            float(data["coverage"]),
            data["group"],
            tuple(str(x["code"]) for x in rows),
            tuple(math.inf if x["limit"] is None else float(x["limit"]) for x in rows),
            tuple(int(x["n"]) for x in rows),
            data.get("model"),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidArgumentError(
            f"{path}: not a file of label sets, as `skinclf.decisions.conformal.write_conformal` writes it: {error}."
        ) from None


def coverage_by(
    sets: ConformalSets,
    truth: Sequence[str],
    probabilities: npt.ArrayLike,
    groups: Mapping[str, Sequence[str]],
) -> list[dict[str, Any]]:
    """Coverage and mean set size, by each value of each grouping (class, age band, ...).

    Args:
        sets: Fitted label sets.
        truth: True class codes, length N.
        probabilities: Shape (N, K).
        groups: Name of a grouping to one value per image.

    Returns:
        Rows with `group`, `value`, `n`, `covered`, `coverage` and its exact 95 % interval, and `mean_size`.
    """
    from skinclf.metrics.intervals import clopper_pearson

    inside = sets.members(probabilities)
    index = np.asarray([sets.codes.index(code) for code in truth], np.intp)
    hit = inside[np.arange(len(index)), index]
    rows: list[dict[str, Any]] = []
    for name, values in {"all": ["all"] * len(index), **groups}.items():
        column = np.asarray(values)
        for value in sorted(set(column.tolist())):
            selected = column == value
            n, covered = int(selected.sum()), int(hit[selected].sum())
            low, high = clopper_pearson(covered, n)
            rows.append(
                {
                    "group": name,
                    "value": value,
                    "n": n,
                    "covered": covered,
                    "coverage": covered / n,
                    "interval": [float(low), float(high)],
                    "mean_size": float(inside[selected].sum(axis=1).mean()),
                }
            )
    return rows
