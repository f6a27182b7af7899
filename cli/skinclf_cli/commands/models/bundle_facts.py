"""What `skinclf models show` prints of a bundle's folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skinclf.models.recipe import Recipe
    from skinclf.models.spec import ModelSpec


def bundle_rows(spec: ModelSpec, folder: Path) -> list[tuple[str, str]]:
    """Fields and values of a bundle."""
    flags = {True: " (malignant)", False: "", None: " (?)"}
    labels = [f"{label.code}: {label.name}{flags[label.malignant]}" for label in spec.labels]
    points = [f"{name}: {float(point['threshold']):.4g}" for name, point in spec.operating_points.items()]
    return [
        ("name", spec.name),
        ("folder", str(folder)),
        ("architecture", spec.architecture),
        *(() if spec.recipe is None else recipe_rows(spec.recipe)),
        ("input", f"{spec.preprocess.width} x {spec.preprocess.height} px"),
        ("license", spec.license or "not stated"),
        *zip(("labels", *[""] * len(labels)), labels, strict=False),
        ("calibration", "none" if spec.calibration is None else spec.calibration.method),
        *zip(("operating points", *[""] * len(points)), points or ["none"], strict=False),
        ("flagged", _flagged(spec)),
        ("predicted class", "the most probable one" if spec.decision is None else f"by {spec.decision}"),
    ]


def recipe_rows(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Members with their weights, mean and views."""
    title = "members"
    for member, weight in zip(recipe.members, recipe.weights, strict=True):
        revision = "" if member.revision is None else f"@{member.revision[:12]}"
        sha256 = str(member.fingerprint["weights_sha256"])[:12]
        yield title, f"{member.named}{revision}, weight {weight:.4g}, SHA-256 {sha256}..."
        title = ""
    yield "mean of", recipe.average
    yield "views", recipe.tta


def _flagged(spec: ModelSpec) -> str:
    if spec.default_operating_point is not None:
        return (
            f"from {spec.threshold:.4g} of P(malignant), the operating point {spec.default_operating_point}"
        )
    if spec.recipe is not None:
        return "where malignant is the more probable side; no threshold was measured"
    return "from 0.5 of P(malignant); no operating point is stored"
