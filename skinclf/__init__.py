"""skinclf: classify dermoscopic skin-lesion images from published weights.

For research and education; not a medical device and never a diagnosis.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from skinclf._version import __version__

if TYPE_CHECKING:
    from skinclf.decisions.threshold_file import Threshold as Threshold
    from skinclf.decisions.thresholds import tune_threshold as tune_threshold
    from skinclf.errors import SkinclfError as SkinclfError
    from skinclf.evaluation.evaluate import evaluate as evaluate
    from skinclf.images.decode import load_image as load_image
    from skinclf.images.preprocess import Preprocess as Preprocess
    from skinclf.inference.prediction import Prediction as Prediction
    from skinclf.inference.predictor import Predictor as Predictor
    from skinclf.models.registry import list_models as list_models
    from skinclf.models.spec import ModelSpec as ModelSpec

_LAZY = {
    "SkinclfError": "skinclf.errors",
    "evaluate": "skinclf.evaluation.evaluate",
    "load_image": "skinclf.images.decode",
    "Prediction": "skinclf.inference.prediction",
    "Predictor": "skinclf.inference.predictor",
    "Preprocess": "skinclf.images.preprocess",
    "list_models": "skinclf.models.registry",
    "Threshold": "skinclf.decisions.threshold_file",
    "ModelSpec": "skinclf.models.spec",
    "tune_threshold": "skinclf.decisions.thresholds",
}
__all__ = [
    "ModelSpec",
    "Prediction",
    "Predictor",
    "Preprocess",
    "SkinclfError",
    "Threshold",
    "__version__",
    "evaluate",
    "list_models",
    "load_image",
    "tune_threshold",
]


def __getattr__(name: str) -> Any:
    # Lazy, so that `skinclf --version` imports neither numpy nor torch.
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'skinclf' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
