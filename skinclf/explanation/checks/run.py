"""Checks of one method on one model: their results as JSON, and in words."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from skinclf._utils.environment import now
from skinclf._utils.notice import NOTICE
from skinclf._version import __version__
from skinclf.errors import InvalidArgumentError
from skinclf.explanation.checks.faithfulness import OTHERS, STEPS, check_faithfulness
from skinclf.explanation.checks.localisation import check_masks
from skinclf.explanation.checks.sample import Sample, spread_evenly
from skinclf.explanation.explainer import Explainer
from skinclf.explanation.masks import Masks
from skinclf.tables.names import pair_names
from skinclf.tables.reference import read_labels

CHECKS = ("randomisation", "faithfulness", "masks")
KIND, SCHEMA = "skinclf-explanation-checks", 1
#: Function of the name of a check, the images (or stages) done and their total.
CheckProgress: TypeAlias = Callable[[str, int, int], None]
_WORDS = {"random": "a random order", "sobel": "edges", "centre": "a centred Gaussian"}


def check_explanations(
    explainer: Explainer,
    inputs: Iterable[str | os.PathLike[str]],
    checks: Sequence[str] = CHECKS[:2],
    *,
    masks: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | None = None,
    most: int = 50,
    steps: int = STEPS,
    progress: CheckProgress | None = None,
) -> dict[str, Any]:
    """Check maps of one method on one model.

    Args:
        explainer: Model and method under test.
        inputs: Paths of images.
        checks: Some of `CHECKS`: `randomisation` (the map changes when weights are randomised), `faithfulness`
            (insertion and deletion) and `masks` (the map lies on the lesion).
        masks: Folder of lesion masks, named as the images; for the check `masks`.
        labels: Reference labels, for figures by class and intervals over lesions of the check `masks`.
        most: Number of images, evenly from the inputs, for the first two checks; `masks` takes all that have a mask.
        steps: Steps of the curves of insertion and deletion.
        progress: Function called as the checks go on.

    Returns:
        JSON types: the model, method, layer and target, and the result of each check under its name.

    Raises:
        InvalidArgumentError: A check is unknown, lacks its masks or images, or cannot be made of this model.
        ModelError: The pass with gradients gives other probabilities than the runtime.
    """
    unknown = [name for name in checks if name not in CHECKS]
    if unknown or not checks:
        raise InvalidArgumentError(
            f"Unknown check {', '.join(map(repr, unknown)) or '(none)'}; expected some of {', '.join(CHECKS)}.",
            parameter="checks",
        )
    if ("masks" in checks) != (masks is not None):
        raise InvalidArgumentError(
            "The check 'masks' and the folder `masks` go together; received only one of them.",
            parameter="masks",
        )
    if "randomisation" in checks:
        explainer.one_model  # noqa: B018 - refuses early what has no weights
    found_masks = None if masks is None else Masks.of(Path(masks))
    images = [os.fspath(path) for path in inputs]

    def shown(name: str) -> Callable[[int, int], None] | None:
        return None if progress is None else lambda done, total: progress(name, done, total)

    results: dict[str, Any] = {}
    failed: dict[str, str] = {}
    if set(checks) & {"randomisation", "faithfulness"}:
        sample = Sample.of(explainer, spread_evenly(images, most))
        failed = sample.failed
        if "randomisation" in checks:
            from skinclf.explanation.checks.randomisation import check_randomisation

            results["randomisation"] = check_randomisation(explainer, sample, progress=shown("randomisation"))
        if "faithfulness" in checks:
            results["faithfulness"] = check_faithfulness(
                explainer, sample, steps=steps, progress=shown("faithfulness")
            )
    if found_masks is not None:
        classes, groups = ({}, None) if labels is None else _reference(images, Path(labels), explainer)
        results["masks"] = check_masks(
            explainer, images, found_masks, classes=classes, groups=groups, progress=shown("masks")
        )
    spec = explainer.predictor.spec
    return {
        "kind": KIND,
        "schema": SCHEMA,
        "notice": NOTICE,
        "skinclf_version": __version__,
        "created": now(),
        "model": spec.identity.to_dict(),
        "run": {key: explainer.predictor.scorer.info[key] for key in ("runtime", "precision")},
        "method": explainer.method,
        "layer": explainer.layer,
        "target": explainer.target,
        "failed": failed,
        **results,
    }


def check_words(found: Mapping[str, Any]) -> list[str]:
    """The results in sentences, one for each figure that decides.

    Args:
        found: Result of `check_explanations`.
    """
    return [
        *(_randomisation(found["randomisation"]) if "randomisation" in found else ()),
        *(_faithfulness(found["faithfulness"]) if "faithfulness" in found else ()),
        *(_masks(found["masks"]) if "masks" in found else ()),
    ]


def _randomisation(r: Mapping[str, Any]) -> list[str]:
    last, base = r["stages"][-1], r["baseline_ssim"]
    verdict = "passed" if r["passed"] else "failed"
    compared = "below" if r["passed"] else "not below"
    sentence = (
        f"Randomised weights: {verdict}. With all weights random, the SSIM to the trained model's maps is "
        f"{_number(last['ssim'])}, {compared} that of {r['pairs']} pairs of different images, {_number(base)}; "
        f"Spearman's rank correlation is {_number(last['spearman'])} ({r['images']} images)."
    )
    return [sentence]


def _faithfulness(f: Mapping[str, Any]) -> list[str]:
    lines = [f"Insertion and deletion: {'passed' if f['passed'] else 'failed'} ({f['images']} images)."]
    for kind in ("insertion", "deletion"):
        part = f[kind]
        against = []
        for name in OTHERS:
            word = {True: "better than", False: "worse than", None: "not shown to differ from"}
            against.append(f"{word[part['differences'][name]['better']]} {_WORDS[name]}")
        good = "higher" if kind == "insertion" else "lower"
        lines.append(
            f"{kind.capitalize()} ({good} is better): area {_number(part['area']['map'])}; {', '.join(against)}."
        )
    return lines


def _masks(m: Mapping[str, Any]) -> list[str]:
    whole = m["all"]
    lines = [f"Lesion masks: {'passed' if m['passed'] else 'failed'} ({m['images']} images)."]
    for name, words in (
        ("pointing", "The maximum lies in the lesion in a share of"),
        ("energy", "The share of the map inside the lesion is"),
        ("iou_0.5", "The IoU at half of the maximum is"),
    ):
        row = whole[name]
        lines.append(
            f"{words} {_number(row['map'])}; a centred Gaussian {row['centre']['value']:.3f}, chance "
            f"{row['chance']:.3f}."
        )
    return lines


def _number(item: Mapping[str, float | None]) -> str:
    if item["low"] is None or item["high"] is None:
        return f"{item['value']:.3f}"
    return f"{item['value']:.3f} ({item['low']:.3f} to {item['high']:.3f})"


def _reference(
    images: Sequence[str], labels: Path, explainer: Explainer
) -> tuple[dict[str, str], dict[str, str] | None]:
    """Class and lesion of each image, by path."""
    table = read_labels(labels, explainer.predictor.spec.labels)
    partners = pair_names(list(images), list(table.ids)).partners
    found = {image: j for image, j in zip(images, partners, strict=True) if j is not None}
    if not found:
        raise InvalidArgumentError(f"{labels}: names none of the images.", parameter="labels")
    codes, lesions = table.codes, table.lesion_id
    return (
        {} if codes is None else {image: codes[j] for image, j in found.items()},
        None if lesions is None else {image: lesions[j] for image, j in found.items()},
    )
