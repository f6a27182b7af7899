"""Familiarity of an image: Mahalanobis distances from a model's training images, and their conformal p-values.

A covariance is shrunk after Ledoit & Wolf (J. Multivariate Analysis 2004) and kept as its largest components and one
variance for all other directions, which keeps the file small. Features of the network are scaled to length 1 before
(Mueller & Hein, "Mahalanobis++", ICML 2025).

A p-value is conformal (Vovk et al. 2005; Bates et al., Annals of Statistics 2023): among images like the calibration
images for which the same class is predicted, at most a share p looks as strange or stranger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf._utils.arrays import Float32, Floats
from skinclf.errors import InvalidArgumentError, ModelError

#: Components of a covariance that are kept.
COMPONENTS = 128
#: Classes predicted for fewer calibration images than this are calibrated together.
LEAST_CLASS = 200
#: Multiplications of a matrix product that OpenBLAS does in one thread, and fewest rows that are worth a call.
_ONE_THREAD, _FEWEST_ROWS = 250_000, 4
#: Fewest images that a Gaussian, and a p-value, are estimated from.
LEAST_IMAGES = 50


@dataclass(frozen=True, slots=True)
class Gaussian:
    """A Gaussian, with the spread of the distances of what it was fitted on.

    Attributes:
        mean: Shape (D,), float32.
        scale: Divisors of each value before the distance, shape (D,), float32.
        basis: Components of the covariance, shape (D, C), float32, orthonormal columns.
        variances: Variance along each component, shape (C,), float32.
        rest: Variance along every other direction.
        spread: Standard deviation of the logarithm of the distance, over the images of the fit.
    """

    mean: Float32
    scale: Float32
    basis: Float32
    variances: Float32
    rest: float
    spread: float = 1.0

    def distance(self, values: npt.ArrayLike, *, together: int = 1) -> Floats:
        """Squared Mahalanobis distances, shape (N,), of values (N, D); none depends on other rows.

        Args:
            values: Shape (N, D).
            together: Number of neighbouring rows that always come together, a divisor of N, which are then computed
                together.

        Raises:
            ModelError: The values have another width.
        """
        x = np.asarray(values, np.float32)
        if x.ndim != 2 or x.shape[1] != len(self.mean):
            raise ModelError(
                f"The image gate is for {len(self.mean)} values of an image; received {x.shape[1:]}."
            )
        centred = (x - self.mean) / self.scale
        along = _product(centred, self.basis, together).astype(np.float64) ** 2
        outside = np.einsum("nd,nd->n", centred, centred, dtype=np.float64) - along.sum(axis=1)
        inside = np.einsum("nc,c->n", along, 1 / self.variances.astype(np.float64))
        return np.asarray(inside + np.maximum(outside, 0) / self.rest)

    def strangeness(self, values: npt.ArrayLike) -> Floats:
        """Logarithm of the distance in units of its spread, shape (N,)."""
        return np.asarray(np.log(np.maximum(self.distance(values), 1e-12)) / self.spread)

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays to store; the basis in float16."""
        return {
            "mean": self.mean,
            "scale": self.scale,
            "basis": self.basis.astype(np.float16),
            "variances": self.variances,
            "rest": np.asarray([self.rest, self.spread], np.float64),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, npt.NDArray[Any]], prefix: str) -> Gaussian:
        """Read what `tensors` gives, under names with a prefix.

        Raises:
            ModelError: An array is missing, or has another shape or impossible values.
        """
        try:
            mean, scale, basis, variances = (
                tensors[f"{prefix}.{name}"].astype(np.float32)
                for name in ("mean", "scale", "basis", "variances")
            )
            rest, spread = (float(x) for x in tensors[f"{prefix}.rest"].tolist())
        except (KeyError, ValueError, TypeError) as error:
            raise ModelError(f"The image gate's statistics are incomplete: {error!r}.") from None
        whole = mean.ndim == variances.ndim == 1 and basis.shape == (len(mean), len(variances))
        finite = all(np.isfinite(a).all() for a in (mean, scale, basis, variances, rest, spread))
        positive = rest > 0 and spread > 0 and bool((variances > 0).all() and (scale > 0).all())
        if not (whole and finite and positive and scale.shape == mean.shape):
            raise ModelError("The image gate's statistics have shapes or values that do not fit together.")
        return cls(mean, scale, basis, variances, rest, spread)


def _product(values: Float32, basis: Float32, together: int) -> Float32:
    """`values @ basis`, in one thread.

    So small a product is no faster in several threads, and those of the BLAS library go on spinning between batches, on
    cores that the network and the decoders need. They take no part in blocks of a few rows, which are parts of those
    that come together, so that no row's bits depend on its place.
    """
    rows = next(
        n
        for n in range(together, 0, -1)
        if together % n == 0 and n * basis.size <= max(_ONE_THREAD, basis.size)
    )
    if rows < _FEWEST_ROWS:
        return np.asarray(np.einsum("nd,dc->nc", values, basis), np.float32)
    blocks = values.reshape(-1, rows, values.shape[1]) @ basis
    return np.asarray(blocks.reshape(len(values), basis.shape[1]), np.float32)


def fit_gaussian(values: npt.ArrayLike, *, scaled: bool, components: int = COMPONENTS) -> Gaussian:
    """Fit a Gaussian.

    Args:
        values: Shape (N, D).
        scaled: Whether each column is divided by its standard deviation.
        components: Largest number of components of the covariance to keep.

    Raises:
        InvalidArgumentError: There are fewer than `LEAST_IMAGES` rows.
    """
    from sklearn.covariance import ledoit_wolf

    x = np.asarray(values, np.float64)
    if len(x) < LEAST_IMAGES:
        raise InvalidArgumentError(
            f"{len(x)} readable images to fit the image gate on; {LEAST_IMAGES} or more are needed.",
            parameter="images",
        )
    mean = x.mean(axis=0).astype(np.float32)
    scale = (np.maximum(x.std(axis=0), 1e-6) if scaled else np.ones(x.shape[1])).astype(np.float32)
    covariance, _ = ledoit_wolf((x - mean) / scale, assume_centered=True)
    found, vectors = np.linalg.eigh(covariance)
    found, vectors = found[::-1], vectors[:, ::-1]
    kept = min(components, len(found) - 1)
    basis = vectors[:, :kept].astype(np.float16).astype(np.float32)  # as it is stored
    variances = np.maximum(found[:kept], 1e-12).astype(np.float32)
    rest = float(max(found[kept:].mean(), 1e-12))
    logs = Gaussian(mean, scale, basis, variances, rest).strangeness(x)
    return Gaussian(mean, scale, basis, variances, rest, float(max(logs.std(), 1e-6)))


@dataclass(frozen=True, slots=True)
class Calibration:
    """Strangeness of images that nothing was fitted on, by predicted class.

    Attributes:
        groups: Group of each class, in label order: an index of `values`.
        values: Sorted strangeness of the calibration images of each group, float64.
    """

    groups: tuple[int, ...]
    values: tuple[Floats, ...]

    def p_values(self, strangeness: Floats, predicted: npt.NDArray[np.intp]) -> Float32:
        """Conformal p-values, shape (N,), in (0, 1].

        Args:
            strangeness: Shape (N,).
            predicted: Index of the most probable class of each image, shape (N,).
        """
        groups = np.asarray(self.groups, np.intp)[predicted]
        pairs = zip(groups, strangeness, strict=True)
        return np.asarray([conformal_p(self.values[group], value) for group, value in pairs], np.float32)

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays to store."""
        return {
            "groups": np.asarray(self.groups, np.int32),
            **{f"calibration.{i}": values for i, values in enumerate(self.values)},
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, npt.NDArray[Any]]) -> Calibration:
        """Read what `tensors` gives.

        Raises:
            ModelError: An array is missing, or has impossible values.
        """
        try:
            groups = tuple(int(x) for x in tensors["groups"].tolist())
            values = tuple(
                tensors[f"calibration.{i}"].astype(np.float64) for i in range(max(groups, default=-1) + 1)
            )
        except (KeyError, ValueError, TypeError) as error:
            raise ModelError(f"The image gate's statistics are incomplete: {error!r}.") from None
        if min(groups, default=-1) < 0 or not all(np.isfinite(v).all() and v.ndim == 1 for v in values):
            raise ModelError("The image gate's statistics have shapes or values that do not fit together.")
        return cls(groups, tuple(np.sort(v) for v in values))


def conformal_p(calibration: Floats, value: float) -> float:
    """`(1 + #{calibration >= value}) / (n + 1)`, for sorted calibration values."""
    n = len(calibration)
    return float(1 + n - np.searchsorted(calibration, value, side="left")) / (n + 1)


def fit_calibration(strangeness: Floats, predicted: npt.NDArray[np.intp], *, classes: int) -> Calibration:
    """Sort calibration images into groups by their predicted class; rare classes share one.

    Args:
        strangeness: Shape (M,).
        predicted: Index of the most probable class of each image, shape (M,).
        classes: Number of classes.

    Raises:
        InvalidArgumentError: There are fewer than `LEAST_IMAGES` images.
    """
    if len(strangeness) < LEAST_IMAGES:
        raise InvalidArgumentError(
            f"{len(strangeness)} readable images to calibrate the image gate on; {LEAST_IMAGES} or more are needed.",
            parameter="calibration",
        )
    counts = np.bincount(predicted, minlength=classes)
    own = [k for k in range(classes) if counts[k] >= LEAST_CLASS]
    rare = [k for k in range(classes) if counts[k] < LEAST_CLASS]
    if own and rare and counts[rare].sum() < LEAST_CLASS:
        rare.append(own.pop(int(np.argmin(counts[own]))))
    members = [[k] for k in own] + ([rare] if rare else [])
    groups = tuple(next(i for i, m in enumerate(members) if k in m) for k in range(classes))
    return Calibration(groups, tuple(np.sort(strangeness[np.isin(predicted, m)]) for m in members))
