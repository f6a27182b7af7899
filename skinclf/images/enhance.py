"""Named enhancements that a `Preprocess` may declare: applied to the decoded image, before the resize.

An enhancement runs only when a model's `Preprocess` declares it, in the declared order.
CLAHE and hair removal need OpenCV (extra `enhance`).
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from skinclf.errors import ImageError, MissingExtraError, ModelError

if TYPE_CHECKING:
    from skinclf.images.decode import RGBArray


@dataclass(frozen=True, slots=True)
class Step:
    """A named enhancement with its parameters, applied to the decoded image before the resize.

    Attributes:
        name: Key of `STEPS`.
        params: Name to value of the parameters; those left out take their defaults.
    """

    name: str
    params: Mapping[str, float]

    def __hash__(self) -> int:
        return hash((self.name, tuple(sorted(self.params.items()))))


@dataclass(frozen=True, slots=True)
class _Param:
    """A parameter of a step.

    Attributes:
        low: Least value.
        high: Greatest value.
        default: Value when the parameter is left out; None when it is required.
        whole: Whether only whole numbers are allowed.
    """

    low: float
    high: float
    default: float | None = None
    whole: bool = True


def apply_steps(image: RGBArray, steps: Iterable[Step]) -> RGBArray:
    """Apply enhancement steps in order.

    Args:
        image: Shape (H, W, 3), dtype uint8, RGB.
        steps: Steps to apply, in this order.

    Returns:
        Shape (H', W', 3), dtype uint8, RGB; the size changes only with `resize`.

    Raises:
        ImageError: `enhancement_failed`, when a step cannot be applied to this image.
        ModelError: A step or a parameter is unknown or out of range.
        MissingExtraError: A step needs OpenCV.
    """
    for step in steps:
        image = STEPS[step.name][0](image, **_params(step))
    return image


def check_steps(steps: Iterable[Step]) -> None:
    """Check names and parameters of steps without an image; OpenCV is not imported.

    Raises:
        ModelError: A step or a parameter is unknown, missing or out of range.
    """
    for step in steps:
        _params(step)


def _params(step: Step) -> dict[str, Any]:
    if step.name not in STEPS:
        raise ModelError(f"Unknown enhancement {step.name!r}; skinclf has {', '.join(sorted(STEPS))}.")
    declared = STEPS[step.name][1]
    unknown = sorted(set(step.params) - set(declared))
    if unknown:
        raise ModelError(f"Enhancement {step.name!r} has no {unknown}; it takes {', '.join(declared)}.")
    values: dict[str, Any] = {}
    for key, param in declared.items():
        value: Any = step.params.get(key, param.default)
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not param.low <= value <= param.high or (param.whole and value != int(value)):
            kind = "a whole number" if param.whole else "a number"
            raise ModelError(
                f"Enhancement {step.name!r}: {key} is {kind} from {param.low:g} to {param.high:g}; "
                f"received {value!r}."
            )
        values[key] = int(value) if param.whole else float(value)
    return values


def resize(image: RGBArray, *, height: int, width: int) -> RGBArray:
    """Antialiased bilinear resize (Pillow) to `height` x `width` pixels, ignoring the aspect ratio."""
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def jpeg(image: RGBArray, *, quality: int) -> RGBArray:
    """Encode as JPEG and decode again, for models that were trained on re-saved images.

    Args:
        image: Shape (H, W, 3), dtype uint8, RGB.
        quality: JPEG quality, 1 to 100.

    Raises:
        ImageError: `enhancement_failed`, when the image cannot be encoded.
    """
    buffer = io.BytesIO()
    try:
        Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    except (OSError, ValueError) as error:
        raise ImageError("enhancement_failed", f"jpeg: {error}.") from None
    return np.asarray(Image.open(buffer).convert("RGB"))


def clahe(image: RGBArray, *, clip_limit: float, tile: int) -> RGBArray:
    """Contrast-limited adaptive histogram equalisation of the L channel in CIE L*a*b*.

    Args:
        image: Shape (H, W, 3), dtype uint8, RGB.
        clip_limit: Contrast limit of a histogram bin.
        tile: Number of regions per side.

    Source: Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV, 1994.
    """
    cv2 = _opencv("clahe")

    def run() -> RGBArray:
        lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
        lab[..., 0] = cv2.createCLAHE(clipLimit=clip_limit, tileGridSize=(tile, tile)).apply(
            np.ascontiguousarray(lab[..., 0])
        )
        return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB))

    return _guard("clahe", cv2.error, run)


def hair_mask(image: RGBArray, *, kernel: int = 17, threshold: int = 10, dilate: int = 3) -> RGBArray:
    """Mask of dark thin structures: black-hat, threshold, dilation.

    Source: Lee et al., "DullRazor", Comput. Biol. Med. 1997 (closing-based hair detection).

    Args:
        image: Shape (H, W, 3), dtype uint8, RGB.
        kernel: Side of the square structuring element, in pixels.
        threshold: Least difference between closing and image at a hair, in grey levels.
        dilate: Side of the square structuring element that dilates the mask, in pixels.

    Returns:
        Shape (H, W), dtype uint8: 255 where a hair is, else 0.

    Raises:
        MissingExtraError: OpenCV is not installed.
    """
    cv2 = _opencv("hair_removal")
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    box = cv2.getStructuringElement(cv2.MORPH_RECT, (kernel, kernel))
    blackhat = cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, box)
    mask = cv2.threshold(blackhat, threshold, 255, cv2.THRESH_BINARY)[1]
    return np.asarray(cv2.dilate(mask, np.ones((dilate, dilate), np.uint8), iterations=1))


def hair_removal(
    image: RGBArray, *, kernel: int, threshold: int, dilate: int, radius: int, max_area: float
) -> RGBArray:
    """Remove hairs by inpainting (Telea 2004).

    Args:
        image: Shape (H, W, 3), dtype uint8, RGB.
        kernel: As for `hair_mask`.
        threshold: As for `hair_mask`.
        dilate: As for `hair_mask`.
        radius: Inpainting radius, in pixels.
        max_area: Greatest share of the image that may be inpainted, 0 to 1; a black-hat also finds a lesion's dark
            texture.

    Raises:
        ImageError: `enhancement_failed`, when the mask covers more than `max_area`.
    """
    cv2 = _opencv("hair_removal")

    def run() -> RGBArray:
        mask = hair_mask(image, kernel=kernel, threshold=threshold, dilate=dilate)
        area = float(np.count_nonzero(mask)) / mask.size
        if area > max_area:
            raise ImageError(
                "enhancement_failed",
                f"hair_removal would paint over {area:.1%} of the picture; this model allows {max_area:.1%}.",
            )
        return np.asarray(cv2.inpaint(np.ascontiguousarray(image), mask, radius, cv2.INPAINT_TELEA))

    return _guard("hair_removal", cv2.error, run)


def shades_of_gray(image: RGBArray, *, p: float) -> RGBArray:
    """Colour constancy (shades of gray): equal Minkowski `p`-means of all channels, at unchanged mean power.

    Args:
        image: Shape (H, W, 3), dtype uint8, RGB.
        p: Order of the Minkowski mean, 1 or more; 6 in the paper.

    Source: Finlayson and Trezzi, "Shades of gray and colour constancy", CIC 2004 (p = 6).

    Raises:
        ImageError: `enhancement_failed`, when a channel is black everywhere.
    """
    values = image.astype(np.float64) / 255
    light = np.mean(values**p, axis=(0, 1)) ** (1 / p)
    if not light.min() > 0:
        raise ImageError("enhancement_failed", "shades_of_gray: a colour channel is black everywhere.")
    gain = np.linalg.norm(light) / (math.sqrt(3) * light)
    return np.asarray(np.rint(np.clip(values * gain, 0, 1) * 255), np.uint8)


def _opencv(what: str) -> Any:
    try:
        import cv2
    except ImportError:
        raise MissingExtraError("enhance", f"The enhancement {what!r}") from None
    return cv2


def _guard(name: str, error_type: type[Exception], run: Callable[[], RGBArray]) -> RGBArray:
    try:
        return run()
    except error_type as error:
        reason = " ".join(str(error).split())
        raise ImageError("enhancement_failed", f"{name}: OpenCV cannot apply it: {reason}") from None


#: Step name to function and parameters.
STEPS: Mapping[str, tuple[Callable[..., RGBArray], Mapping[str, _Param]]] = {
    "resize": (resize, {"height": _Param(8, 4096), "width": _Param(8, 4096)}),
    "jpeg": (jpeg, {"quality": _Param(1, 100)}),
    "clahe": (clahe, {"clip_limit": _Param(0.1, 100, 2.0, whole=False), "tile": _Param(1, 64, 8)}),
    "hair_removal": (
        hair_removal,
        {
            "kernel": _Param(3, 255, 17),
            "threshold": _Param(0, 254, 10),
            "dilate": _Param(1, 31, 3),
            "radius": _Param(1, 50, 3),
            "max_area": _Param(0, 1, 1.0, whole=False),
        },
    ),
    "shades_of_gray": (shades_of_gray, {"p": _Param(1, 100, 6.0, whole=False)}),
}
