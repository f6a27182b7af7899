"""Do the places that a map names matter to the model? Insertion and deletion, beside orders that know nothing of it.

Pixels are taken in the order of a map: inserted into a blurred picture (the sooner the probability rises, the better),
or replaced by the mean colour (the sooner it falls, the better). The figure is the area under the curve of the
target's probability. Every scorer works.

Source: Petsiuk et al., "RISE", BMVC 2018.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Floats
from skinclf.errors import InvalidArgumentError
from skinclf.explanation.checks.baselines import centred, chance, edges
from skinclf.explanation.checks.sample import Case, Progress, Sample, mean_estimate
from skinclf.explanation.explainer import Explainer
from skinclf.explanation.geometry import enlarge
from skinclf.explanation.perturbation import Canvas
from skinclf.explanation.target import Target

#: Steps of a curve.
STEPS = 50
#: Standard deviation of the blur, as a share of the shorter side.
_BLUR = 0.05
OTHERS = ("random", "sobel", "centre")


def check_faithfulness(
    explainer: Explainer, sample: Sample, *, steps: int = STEPS, progress: Progress | None = None
) -> dict[str, Any]:
    """Compare insertion and deletion by the map with a random order, edges and a centred Gaussian.

    Args:
        explainer: Method under test.
        sample: Images.
        steps: Steps of each curve.
        progress: Function called after each image.

    Returns:
        For `insertion` and `deletion`: the mean area by order (`map`, `random`, `sobel`, `centre`), and `differences`
        of the map from each other order, paired by image, with `better`: True where the interval lies on the good
        side, False on the bad one, None where it holds 0. `passed`: better than all in both.

    Raises:
        InvalidArgumentError: No image could be read, or `steps` is below 2.
    """
    if steps < 2 or not sample.cases:
        raise InvalidArgumentError(
            f"Insertion and deletion need an image and at least 2 steps; received {len(sample.cases)} readable "
            f"image(s) and {steps} steps.",
            parameter="steps" if steps < 2 else "inputs",
        )
    areas: dict[str, dict[str, list[float]]] = {
        kind: {name: [] for name in ("map", *OTHERS)} for kind in ("insertion", "deletion")
    }
    for number, case in enumerate(sample.cases):
        for name, values in _orders(explainer, case, number).items():
            areas["insertion"][name].append(insertion(case.canvas, case.target, values, steps))
            areas["deletion"][name].append(deletion(case.canvas, case.target, values, steps))
        if progress is not None:
            progress(number + 1, len(sample.cases))
    found = {
        kind: _compared(by_order, sign=1 if kind == "insertion" else -1) for kind, by_order in areas.items()
    }
    passed = all(row["better"] for kind in found.values() for row in kind["differences"].values())
    return {"images": len(sample.cases), "steps": steps, **found, "passed": passed}


def insertion(canvas: Canvas, target: Target, order: npt.NDArray[Any], steps: int) -> float:
    """Area under the probability as pixels return to the blurred picture, the highest of `order` first.

    Args:
        canvas: Image.
        target: Quantity whose probability is measured.
        order: Shape (H, W), as the canvas.
        steps: Steps of the curve.
    """
    from scipy.ndimage import gaussian_filter

    pixels = canvas.pixels.astype(np.float64)
    sigma = _BLUR * min(pixels.shape[:2])
    blurred = gaussian_filter(pixels, (sigma, sigma, 0))
    return _area(canvas.targets(_shown(order, steps), target, fill=blurred))


def deletion(canvas: Canvas, target: Target, order: npt.NDArray[Any], steps: int) -> float:
    """Area under the probability as pixels become the mean colour, the highest of `order` first; as `insertion`."""
    return _area(canvas.targets((1 - mask for mask in _shown(order, steps)), target))


def _area(log_odds: Floats) -> float:
    values = 1 / (1 + np.exp(-log_odds))
    return float((values[1:] + values[:-1]).sum() / 2 / (len(values) - 1))


def _shown(order: npt.NDArray[Any], steps: int) -> Iterator[Floats]:
    """Masks of the pixels that were taken, from none to all."""
    rank = np.empty(order.size, np.intp)
    rank[np.argsort(-order, axis=None, kind="stable")] = np.arange(order.size)
    grid = rank.reshape(order.shape)
    for step in range(steps + 1):
        yield (grid < round(order.size * step / steps)).astype(np.float64)


def _orders(explainer: Explainer, case: Case, seed: int) -> dict[str, Floats]:
    pixels = case.canvas.pixels
    rows, cols = pixels.shape[:2]
    found = explainer.on_canvas(case.canvas, case.target, case.probabilities)
    return {
        "map": enlarge(found, rows, cols),
        "random": chance(rows, cols, seed),
        "sobel": edges(pixels),
        "centre": centred(rows, cols),
    }


def _compared(by_order: dict[str, list[float]], *, sign: int) -> dict[str, Any]:
    differences = {}
    for name in OTHERS:
        gap = mean_estimate(np.subtract(by_order["map"], by_order[name]))
        low, high = sorted((sign * gap.low, sign * gap.high))
        better = True if low > 0 else False if high < 0 else None
        differences[name] = {**gap.to_dict(), "better": better}
    areas = {name: mean_estimate(values).to_dict() for name, values in by_order.items()}
    return {"area": areas, "differences": differences}
