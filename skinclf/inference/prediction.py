"""`Prediction`: probabilities, class and decision for one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from skinclf.errors import ImageError
from skinclf.labels import LabelSet


@dataclass(frozen=True, slots=True)
class Prediction:
    """The outcome for one input: probabilities, or why there are none.

    Attributes:
        image: Name of the input (path as given, or `image-<n>`).
        labels: The model's labels, in output order.
        values: Probabilities in label order (each a float32 value); None when the input failed.
        threshold: Threshold on the probability of malignancy that `flagged` used.
        status: `ok`, or the short word of `ImageError.code`.
        error: A sentence; empty when ok.
        extra: Values of further columns by name, such as the spread of an ensemble.
        decided: Index of the class that a rule among classes has decided for (thresholds per class, costs); None
            where there is no such rule.
        embedding: What entered the network's last layer, shape (D,), float32, when it was asked for.
    """

    image: str
    labels: LabelSet
    values: tuple[float, ...] | None
    threshold: float
    status: str = "ok"
    error: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    decided: int | None = None
    embedding: npt.NDArray[np.float32] | None = field(default=None, repr=False, compare=False)

    @property
    def ok(self) -> bool:
        """Whether there are probabilities."""
        return self.values is not None

    def _need(self) -> tuple[float, ...]:
        if self.values is None:
            raise ImageError(self.status, self.error)
        return self.values

    @property
    def probabilities(self) -> Mapping[str, float]:
        """Probability by class code, in label order.

        Raises:
            ImageError: The input failed (as for every property below).
        """
        return dict(zip(self.labels.codes, self._need(), strict=True))

    @property
    def probability_malignant(self) -> float | None:
        """Probability of malignancy (float32), see `LabelSet.malignant`; None when the labels declare none."""
        p = self.labels.malignant(np.asarray(self._need(), np.float32))
        return None if p is None else float(p)

    @property
    def flagged(self) -> bool | None:
        """Whether the probability of malignancy reaches the threshold; both compared as float32."""
        p = self.probability_malignant
        return None if p is None else bool(np.float32(p) >= np.float32(self.threshold))

    @property
    def index(self) -> int:
        """Predicted label: `decided`; else `flagged` for two labels with one malignant; else the most probable."""
        if self.decided is not None:
            return self.decided
        indices = self.labels.malignant_indices
        if len(self.labels) == 2 and indices is not None and len(indices) == 1:
            return indices[0] if self.flagged else 1 - indices[0]
        values = self._need()
        return values.index(max(values))

    @property
    def label(self) -> str:
        """Code of the predicted label."""
        return self.labels[self.index].code

    @property
    def name(self) -> str:
        """Display name of the predicted label."""
        return self.labels[self.index].name

    def top_k(self, k: int = 3) -> list[tuple[str, float]]:
        """The `k` most probable (code, probability) pairs, the most probable first."""
        pairs = zip(self.labels.codes, self._need(), strict=True)
        return sorted(pairs, key=lambda pair: -pair[1])[:k]

    def to_dict(self) -> dict[str, Any]:
        """JSON form, with the names of the predictions table."""
        head: dict[str, Any] = {"image": self.image, "status": self.status, "error": self.error}
        if self.values is None:
            return head | dict(self.extra)
        return head | {
            "probability_malignant": self.probability_malignant,
            "predicted_label": self.index,
            "predicted_class": self.name,
            "threshold": self.threshold,
            "flagged": self.flagged,
            "probabilities": self.probabilities,
            **self.extra,
        }

    def __str__(self) -> str:
        if self.values is None:
            return f"{self.image}: {self.status}: {self.error}"
        classes = ", ".join(f"{code} {p:.3f}" for code, p in self.top_k())
        p = self.probability_malignant
        verdict = (
            ""
            if p is None
            else f"; P(malignant) {p:.3f} {'>=' if self.flagged else '<'} {self.threshold:.3f}"
            f"{', flagged' if self.flagged else ''}"
        )
        gate = ""
        if self.extra.get("gate") == "unfit":
            gate = f"; unfit by the image gate ({self.extra['gate_reasons'].replace('|', ', ')})"
        return f"{self.image}: {self.name} ({classes}){verdict}{gate}"
