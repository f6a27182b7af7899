"""`Preprocess`: the preprocessing of a model, from a decoded image to the network's input.

It is stored with the weights and used unchanged by training, evaluation and prediction; its hash is in every output.
Enhancement, resize, crop and padding run on the CPU and give pixel values 0 to 255 (`uint8`, so that little crosses
process borders); the runtime applies the affine scaling on its device.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from skinclf.errors import ImageError, InvalidArgumentError, ModelError
from skinclf.images.decode import MAX_PIXELS, RGBArray
from skinclf.images.enhance import Step, apply_steps, check_steps
from skinclf.images.resample import bilinear

Fit: TypeAlias = Literal["squash", "crop", "pad"]
Library: TypeAlias = Literal["pillow", "opencv", "tensorflow"]

_PILLOW = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Placement(NamedTuple):
    """Size of an image after its resize, and where in it the network's input begins, in pixels.

    Attributes:
        height: Height of the resized image.
        width: Width of the resized image.
        top: First row of the input in the resized image; negative where rows of padding come before it.
        left: First column of the input in the resized image; negative where columns of padding come before it.
    """

    height: int
    width: int
    top: int
    left: int


@dataclass(frozen=True, slots=True)
class Preprocess:
    """Preprocessing of an RGB image for a network.

    Attributes:
        height: Height of the network's input, in pixels.
        width: Width of the network's input, in pixels.
        fit: `squash` resizes both sides, ignoring the aspect ratio; `crop` resizes the shorter side to
            `floor(size / crop_pct)` and takes the centre, as timm does; `pad` resizes the longer
            side and centres on `fill`.
        crop_pct: Share of the shorter side that a `crop` keeps, 0.1 to 1.
        interpolation: `nearest`, `box`, `bilinear`, `hamming`, `bicubic` or `lanczos`.
        library: Library whose resize is reproduced: `pillow` (antialiased), `opencv` (bilinear without
            antialiasing, integer rounding of cv2.INTER_LINEAR) or `tensorflow` (bilinear without
            antialiasing, not rounded).
        color: Channel order of the input, `rgb` or `bgr`.
        scale: Factor on pixel values 0 to 255, before `mean` and `std`.
        mean: Values that are subtracted after `scale`, in the input's channel order.
        std: Divisors after `mean`, in the input's channel order.
        fill: Grey level of the padding, 0 to 255.
        scaled_decoding: Least ratio, 2 or more, of decoded to resized size in both directions that libjpeg's scaled
            decoding of JPEGs must keep; 0 decodes them in full. Only an antialiased resize without enhancement
            steps may declare it.
        steps: Enhancements before the resize, in order.
    """

    height: int = 224
    width: int = 224
    fit: Fit = "squash"
    crop_pct: float = 1.0
    interpolation: str = "bilinear"
    library: Library = "pillow"
    color: Literal["rgb", "bgr"] = "rgb"
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    fill: int = 0
    scaled_decoding: int = 0
    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        def need(ok: bool, what: str) -> None:  # noqa: FBT001
            if not ok:
                raise ModelError(f"Preprocess: {what}. Received {self.to_dict()}.")

        need(
            all(type(x) is int and 8 <= x <= 4096 for x in (self.height, self.width)),
            "height and width are 8 to 4096",
        )
        need(self.fit in {"squash", "crop", "pad"}, "fit is squash, crop or pad")
        need(0.1 <= self.crop_pct <= 1, "crop_pct is 0.1 to 1")
        need(self.interpolation in _PILLOW, f"interpolation is one of {', '.join(_PILLOW)}")
        need(self.library in {"pillow", "opencv", "tensorflow"}, "library is pillow, opencv or tensorflow")
        need(
            self.library == "pillow" or self.interpolation == "bilinear",
            f"{self.library} resizing is bilinear only",
        )
        need(self.color in {"rgb", "bgr"}, "color is rgb or bgr")
        numbers = (self.scale, *self.mean, *self.std)
        need(len(self.mean) == 3 and len(self.std) == 3, "mean and std have three values")
        need(all(math.isfinite(x) for x in numbers), "scale, mean and std are finite")
        need(self.scale != 0 and all(x != 0 for x in self.std), "scale and std are not zero")
        need(type(self.fill) is int and 0 <= self.fill <= 255, "fill is a whole number, 0 to 255")
        check_steps(self.steps)
        ratio = self.scaled_decoding
        need(type(ratio) is int and (ratio == 0 or 2 <= ratio <= 64), "scaled_decoding is 0 or 2 to 64")
        need(
            ratio == 0 or (self.library == "pillow" and self.interpolation != "nearest" and not self.steps),
            "scaled_decoding is for antialiased resizing (pillow, not nearest) without steps",
        )

    def pixels(self, image: RGBArray | Image.Image) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
        """Enhance, resize and crop or pad one image.

        Args:
            image: Shape (H, W, 3), dtype uint8, RGB; or an RGB PIL image.

        Returns:
            Shape (height, width, 3), RGB, values 0 to 255; dtype uint8, or float32 for TensorFlow's
            resize, which does not round.

        Raises:
            ImageError: An enhancement step cannot be applied to this image, or a `crop` would enlarge a very
                narrow image beyond `MAX_PIXELS`.
            MissingExtraError: A declared enhancement needs OpenCV.
        """
        if self.steps:
            image = apply_steps(np.asarray(image), self.steps)
        place = self.placement(*_sides(image))
        resized = self._resize(image, place.height, place.width)
        if self.fit == "squash":
            return resized
        if self.fit == "crop":
            return np.ascontiguousarray(
                resized[place.top : place.top + self.height, place.left : place.left + self.width]
            )
        canvas = np.full((self.height, self.width, 3), self.fill, dtype=resized.dtype)
        canvas[-place.top : place.height - place.top, -place.left : place.width - place.left] = resized
        return canvas

    def placement(self, rows: int, cols: int) -> Placement:
        """Place of the network's input in an image that was resized for it.

        Args:
            rows: Height of the image, in pixels.
            cols: Width of the image, in pixels.

        Raises:
            ImageError: A `crop` would enlarge a very narrow image beyond `MAX_PIXELS`.
        """
        height, width = self.height, self.width
        if self.fit == "squash":
            return Placement(height, width, 0, 0)
        new_h, new_w = self._target(rows, cols)
        if self.fit == "crop":
            if new_h * new_w > MAX_PIXELS:
                raise ImageError("unsupported", f"An image of {cols} x {rows} pixels is too narrow to crop.")
            return Placement(new_h, new_w, round((new_h - height) / 2.0), round((new_w - width) / 2.0))
        return Placement(new_h, new_w, -((height - new_h) // 2), -((width - new_w) // 2))

    def _target(self, rows: int, cols: int) -> tuple[int, int]:
        """Height and width that an image of so many rows and columns is resized to."""
        height, width = self.height, self.width
        if self.fit == "squash":
            return height, width
        if self.fit == "pad":
            factor = min(height / rows, width / cols)
            return max(1, min(height, round(rows * factor))), max(1, min(width, round(cols * factor)))
        target_h, target_w = math.floor(height / self.crop_pct), math.floor(width / self.crop_pct)
        if target_h != target_w:  # timm: both sides are rounded
            ratio = min(rows / target_h, cols / target_w)
            return max(height, round(rows / ratio)), max(width, round(cols / ratio))
        # torchvision: the side that fits exactly is set, the other truncated
        if rows <= cols:
            return target_h, max(width, int(target_h * cols / rows))
        return max(height, int(target_w * rows / cols)), target_w

    def _resize(self, image: RGBArray | Image.Image, height: int, width: int) -> npt.NDArray[Any]:
        if self.library != "pillow":
            return bilinear(np.asarray(image), height, width, fixed_point=self.library == "opencv")
        if _sides(image) == (height, width):
            return np.asarray(image)
        picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
        return np.asarray(picture.resize((width, height), _PILLOW[self.interpolation]))

    def affine(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Coefficients `(a, b)` of input = pixel * a + b, each of shape (3,), float32, in the input's channel order."""
        mean, std = np.asarray(self.mean, np.float64), np.asarray(self.std, np.float64)
        return (self.scale / std).astype(np.float32), (-mean / std).astype(np.float32)

    def normalize(self, batch: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Scale pixels to the network's input; the reference for what runtimes do on their device.

        Args:
            batch: Shape (N, height, width, 3), RGB, values 0 to 255.

        Returns:
            Shape (N, 3, height, width), float32.
        """
        a, b = self.affine()
        ordered = batch[..., ::-1] if self.color == "bgr" else batch
        return np.ascontiguousarray((ordered.astype(np.float32) * a + b).transpose(0, 3, 1, 2))

    def reduction(self, width: int, height: int) -> int:
        """Divisor 1, 2, 4 or 8 of both sides of an upright JPEG that `scaled_decoding` allows; pass it as `draft`.

        Args:
            width: Width of the upright picture, in pixels.
            height: Height of the upright picture, in pixels.
        """
        if self.scaled_decoding:
            for by in (8, 4, 2):
                rows, cols = -(-height // by), -(-width // by)
                new_h, new_w = self._target(rows, cols)
                if rows >= self.scaled_decoding * new_h and cols >= self.scaled_decoding * new_w:
                    return by
        return 1

    @property
    def pixel_dtype(self) -> type[np.uint8 | np.float32]:
        """The dtype that `pixels` returns."""
        return np.float32 if self.library == "tensorflow" else np.uint8

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        data = asdict(self)
        data["mean"], data["std"] = list(self.mean), list(self.std)
        data["steps"] = [{"name": s.name, "params": dict(s.params)} for s in self.steps]
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Preprocess:
        """Read the JSON form, which must have every key and no other.

        `scaled_decoding` may be missing, as it is in files that are older than the key: JPEGs are decoded in full.

        Raises:
            ModelError: A key is unknown or missing, or a value is out of range.
        """
        if not isinstance(data, Mapping):
            raise ModelError(f"Preprocess: expected an object, received {type(data).__name__}.")
        data = dict(data)
        if data.pop("draft", False) is not False:
            raise ModelError("Preprocess: the key draft was replaced; expected `scaled_decoding`, such as 2.")
        data.setdefault("scaled_decoding", 0)
        names = {f.name for f in fields(cls)}
        unknown, missing = sorted(set(data) - names), sorted(names - set(data))
        if unknown or missing:
            raise ModelError(f"Preprocess: unknown keys {unknown}, missing keys {missing}.")
        try:
            values = dict(data)
            values["mean"], values["std"] = _triple(data["mean"]), _triple(data["std"])
            values["steps"] = tuple(Step(str(s["name"]), dict(s["params"])) for s in data["steps"])
            return cls(**values)
        except (TypeError, KeyError, ValueError) as error:
            raise ModelError(f"Preprocess: {error!r}.") from None

    @property
    def fingerprint(self) -> str:
        """Short hash of every field; equal exactly when two preprocessings are the same."""
        data = self.to_dict()
        if not data["scaled_decoding"]:
            # The hash from before the key, so that thresholds and tables of that time still fit their model.
            data = {key: value for key, value in data.items() if key != "scaled_decoding"} | {"draft": False}
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def _sides(image: RGBArray | Image.Image) -> tuple[int, int]:
    """Height and width, in pixels."""
    return (image.height, image.width) if isinstance(image, Image.Image) else (image.shape[0], image.shape[1])


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    r, g, b = (float(v) for v in values)
    return r, g, b


#: Input scalings by the names of Keras' `preprocess_input` modes and of torchvision.
SCALINGS: Mapping[str, Mapping[str, Any]] = {
    "caffe": {"color": "bgr", "scale": 1.0, "mean": (103.939, 116.779, 123.68)},
    "tf": {"scale": 1 / 127.5, "mean": (1.0, 1.0, 1.0)},
    "torch": {"scale": 1 / 255, "mean": IMAGENET_MEAN, "std": IMAGENET_STD},
    "unit": {"scale": 1 / 255},
    "raw": {"scale": 1.0},
}


#: Resizes by name: those that networks are commonly trained with.
RESIZES: Mapping[str, Mapping[str, Any]] = {
    "pillow": {"library": "pillow", "interpolation": "bilinear"},
    "pillow-nearest": {"library": "pillow", "interpolation": "nearest"},
    "pillow-bicubic": {"library": "pillow", "interpolation": "bicubic"},
    "pillow-lanczos": {"library": "pillow", "interpolation": "lanczos"},
    "opencv": {"library": "opencv"},
    "tensorflow": {"library": "tensorflow"},
}


def scaling(name: str, **geometry: Any) -> Preprocess:
    """A `Preprocess` with the scaling of a common name, such as `caffe` or, with its resize, `caffe-opencv`.

    Args:
        name: Key of `SCALINGS`, alone (Pillow's bilinear resize) or followed by `-` and a key of `RESIZES`.
        **geometry: Other fields of `Preprocess`, such as `height`, `width`, `fit`.

    Raises:
        InvalidArgumentError: The name is unknown.
    """
    colour, _, resize = name.partition("-")
    try:
        return Preprocess(**{**SCALINGS[colour], **(RESIZES[resize] if resize else {}), **geometry})
    except KeyError:
        raise InvalidArgumentError(
            f"Unknown preprocessing {name!r}; expected one of {', '.join(SCALINGS)}, alone or with one of "
            f"{', '.join(f'-{key}' for key in RESIZES)}.",
            parameter="preprocess",
        ) from None


def is_scaling(name: object) -> bool:
    """Whether `scaling` knows a name."""
    if not isinstance(name, str):
        return False
    colour, dash, resize = name.partition("-")
    return colour in SCALINGS and (resize in RESIZES if dash else True)
