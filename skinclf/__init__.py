"""skinclf: classify dermoscopic skin-lesion images from published weights.

For research and education; not a medical device and never a diagnosis.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from skinclf._version import __version__

if TYPE_CHECKING:
    from skinclf.errors import SkinclfError as SkinclfError
    from skinclf.evaluation import evaluate as evaluate
    from skinclf.images import load_image as load_image
    from skinclf.prediction import Prediction as Prediction
    from skinclf.predictor import Predictor as Predictor
    from skinclf.preprocess import Preprocess as Preprocess
    from skinclf.registry import list_models as list_models
    from skinclf.spec import ModelSpec as ModelSpec
    from skinclf.threshold_file import Threshold as Threshold
    from skinclf.thresholds import tune_threshold as tune_threshold

_LAZY = {
    "SkinclfError": "skinclf.errors",
    "evaluate": "skinclf.evaluation",
    "load_image": "skinclf.images",
    "Prediction": "skinclf.prediction",
    "Predictor": "skinclf.predictor",
    "Preprocess": "skinclf.preprocess",
    "list_models": "skinclf.registry",
    "Threshold": "skinclf.threshold_file",
    "ModelSpec": "skinclf.spec",
    "tune_threshold": "skinclf.thresholds",
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
