"""Does a map lie on the lesion? Pointing game, energy inside and IoU, beside chance and a centred Gaussian.

Lesions lie in the middle of most pictures, so a map that is merely central scores high; only what exceeds the centred
Gaussian is the model's own. Chance is the mask's share of what the network saw.

Sources: Zhang et al., "Top-down neural attention by excitation backprop", IJCV 2018 (pointing game, without tolerance);
Wang et al., "Score-CAM", CVPRW 2020 (energy); Saporta et al., Nature Machine Intelligence 2022 (IoU).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Floats
from skinclf.errors import ImageError, InvalidArgumentError
from skinclf.explanation.checks.baselines import centred
from skinclf.explanation.checks.sample import Progress, mean_estimate
from skinclf.explanation.explainer import Explainer
from skinclf.explanation.masks import Masks

#: Shares of the maximum at which a map is cut for the IoU.
CUTS = (0.3, 0.5, 0.7)
MEASURES = ("pointing", "energy", *(f"iou_{cut}" for cut in CUTS))


@dataclass(frozen=True, slots=True)
class _Row:
    """Figures of one image: by measure for the map, the Gaussian and chance."""

    image: str
    size: float
    map: Mapping[str, float]
    centre: Mapping[str, float]
    chance: Mapping[str, float]


def check_masks(
    explainer: Explainer,
    images: Sequence[str],
    masks: Masks,
    *,
    classes: Mapping[str, str] | None = None,
    groups: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compare maps with expert masks.

    Args:
        explainer: Method under test.
        images: Paths; those without a mask are left out.
        masks: Masks of lesions.
        classes: Class code by path, for figures by class; None leaves them out.
        groups: Lesion by path, so that intervals draw whole lesions; None takes images as independent.
        progress: Function called after each image.

    Returns:
        `all`, `size_terciles` and `classes`, each with `images` and, by measure, means of `map`, `centre` and `chance`
        and the paired difference `map_minus_centre`; `failed`, the error by name of images without a map; `passed`:
        pointing and energy exceed those of the centred Gaussian, with their intervals.

    Raises:
        InvalidArgumentError: No image has a mask and a map.
    """
    rows, failed = [], {}
    for number, image in enumerate(images):
        try:
            row = _row(explainer, image, masks)
        except ImageError as error:
            failed[Path(image).name] = error.code
        else:
            if row is not None:
                rows.append(row)
        if progress is not None:
            progress(number + 1, len(images))
    if not rows:
        raise InvalidArgumentError(
            f"{masks.folder}: no image has both a mask and a map; masks are named as the images, with or without "
            "_segmentation.",
            parameter="masks",
        )
    whole = _summary(rows, groups)
    sizes = np.array([row.size for row in rows])
    low, high = np.quantile(sizes, [1 / 3, 2 / 3])
    parts = {"small": sizes <= low, "medium": (sizes > low) & (sizes <= high), "large": sizes > high}
    by_class = (
        {
            code: _summary([row for row in rows if classes[row.image] == code], groups)
            for code in sorted({classes[row.image] for row in rows if row.image in classes})
        }
        if classes
        else {}
    )
    return {
        "images": len(rows),
        "failed": failed,
        "all": whole,
        "size_terciles": {
            name: _summary([row for row, chosen in zip(rows, at, strict=True) if chosen], groups)
            for name, at in parts.items()
            if at.any()
        },
        "classes": by_class,
        "passed": all((whole[name]["map_minus_centre"]["low"] or 0) > 0 for name in ("pointing", "energy")),
    }


def figures(values: npt.NDArray[Any], mask: npt.NDArray[Any]) -> dict[str, float]:
    """Figures of one map against one mask.

    Args:
        values: Map, shape (h, w), 0 or more, not all 0.
        mask: Share of lesion of each pixel, shape (h, w), 0 to 1.
    """
    inside = mask >= 0.5
    found = {
        "pointing": float(inside.flat[int(values.argmax())]),
        "energy": float((values * mask).sum() / values.sum()),
    }
    for cut in CUTS:
        region = values >= cut * values.max()
        found[f"iou_{cut}"] = float((region & inside).sum() / (region | inside).sum())
    return found


def by_chance(
    values: npt.NDArray[Any], mask: npt.NDArray[Any], seen: npt.NDArray[np.bool_]
) -> dict[str, float]:
    """The figures that a map of the same sizes at a random place would have: that of what the network saw.

    Args:
        values: Map, shape (h, w).
        mask: Share of lesion of each pixel, shape (h, w).
        seen: Whether the network saw each pixel.
    """
    total, visible = seen.sum(), mask[seen]
    share = float(visible.mean())
    found = {"pointing": float((visible >= 0.5).mean()), "energy": share}
    lesion = float((mask >= 0.5).sum())
    for cut in CUTS:
        area = float((values >= cut * values.max()).sum())
        common = area * float((visible >= 0.5).sum()) / total
        found[f"iou_{cut}"] = common / (area + lesion - common)
    return found


def _row(explainer: Explainer, image: str, masks: Masks) -> _Row | None:
    if Path(image).stem not in masks.files:
        return None
    found = explainer.explain(image)
    shown: Floats = found.shown.astype(np.float64)
    mask = masks.find(image, *shown.shape)
    if mask is None:
        return None
    if not (mask >= 0.5).any():
        raise ImageError("unsupported", f"{image}: its mask marks no lesion.")
    seen = found.geometry.seen(*shown.shape)
    centre = np.where(seen, centred(*shown.shape), 0)
    return _Row(
        image, float(mask.mean()), figures(shown, mask), figures(centre, mask), by_chance(shown, mask, seen)
    )


def _summary(rows: Sequence[_Row], groups: Mapping[str, str] | None) -> dict[str, Any]:
    units = None if groups is None else [groups.get(row.image, row.image) for row in rows]
    result: dict[str, Any] = {"images": len(rows)}
    for name in MEASURES:
        ours, centre = [row.map[name] for row in rows], [row.centre[name] for row in rows]
        result[name] = {
            "map": mean_estimate(ours, units).to_dict(),
            "centre": mean_estimate(centre, units).to_dict(),
            "chance": float(np.mean([row.chance[name] for row in rows])),
            "map_minus_centre": mean_estimate(np.subtract(ours, centre), units).to_dict(),
        }
    return result
