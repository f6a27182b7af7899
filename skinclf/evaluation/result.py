"""The outcome of an evaluation: headline figures as attributes, and everything else by key."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinclf._utils.json import write_json
from skinclf.metrics.estimate import Estimate

if TYPE_CHECKING:
    from skinclf.explanation.explainer import Explainer


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Metrics of predictions against reference labels.

    The properties are the figures that most readers look for, on images; `metrics` holds all of them.

    Attributes:
        metrics: Content of `metrics.json`, in JSON's own types (see `docs/metrics.md`).
    """

    metrics: Mapping[str, Any]

    @property
    def roc_auc(self) -> Estimate | None:
        """Area under the ROC curve of P(malignant); None where the labels declare no malignancy."""
        return self._estimate("binary", "roc_auc")

    @property
    def pr_auc(self) -> Estimate | None:
        """Area under the precision-recall curve of P(malignant), as average precision; None as for `roc_auc`."""
        return self._estimate("binary", "pr_auc")

    @property
    def sensitivity(self) -> Estimate | None:
        """Sensitivity at the threshold; None as for `roc_auc`."""
        return self._estimate("operating_point", "image", "sensitivity")

    @property
    def specificity(self) -> Estimate | None:
        """Specificity at the threshold; None as for `roc_auc`."""
        return self._estimate("operating_point", "image", "specificity")

    @property
    def accuracy(self) -> Estimate | None:
        """Share of images whose predicted class is the reference class; None where the labels name no classes."""
        return self._estimate("multiclass", "accuracy")

    @property
    def balanced_accuracy(self) -> Estimate | None:
        """Mean recall over the classes; None as for `accuracy`."""
        return self._estimate("multiclass", "balanced_accuracy")

    @property
    def roc_auc_macro(self) -> Estimate | None:
        """Mean over the classes of the area under the ROC curve, one class against the rest; None as for `accuracy`."""
        return self._estimate("multiclass", "roc_auc_macro")

    @property
    def ece(self) -> Estimate | None:
        """Expected calibration error of the most probable class; None as for `accuracy`."""
        return self._estimate("multiclass", "ece_top_label")

    def _estimate(self, *path: str) -> Estimate | None:
        found: Any = self.metrics
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping) or found.get("value") is None:
            return None
        # JSON has no NaN and no infinity: an unknown bound is null there.
        value, low, high = (
            math.nan if found[key] is None else found[key] for key in ("value", "low", "high")
        )
        return Estimate(value, low, high)

    def write(
        self,
        folder: Path | str,
        *,
        images: Path | str | Mapping[str, Path] | None = None,
        explainer: Explainer | None = None,
        explain: int = 0,
    ) -> list[Path]:
        """Write `metrics.json`, `report.html` and `figures/*.png`.

        Args:
            folder: Made when it is not there.
            images: Folder of the images under test, or files by image name; the report then shows the errors as small
                pictures.
            explainer: Explainer of the model that made the predictions, for maps of errors.
            explain: How many of the most confident errors get a map in the report.

        Returns:
            The files written.

        Raises:
            InvalidArgumentError: Maps are asked for without images or explainer.
            MismatchError: The explainer's model did not make the predictions.
            OutputError: A file cannot be written.
        """
        from skinclf.evaluation.report import write_report

        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        path = target / "metrics.json"
        write_json(path, self.metrics)
        files = Path(images) if isinstance(images, (str, Path)) else images
        return [path, *write_report(self.metrics, target, images=files, explainer=explainer, explain=explain)]
