"""Classification of dermoscopic skin-lesion images from published weights.

The names below are imported when they are first used, as are the rooms (`skinclf.metrics`, `skinclf.decisions`, ...),
each with further names in its own `__all__`; what is in no `__all__` is private.

For research and education; not a medical device and never a diagnosis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skinclf._version import __version__

__all__ = [
    "HubOptions",
    "ModelOptions",
    "ModelSpec",
    "Prediction",
    "Predictor",
    "Preprocess",
    "SkinclfError",
    "Threshold",
    "__version__",
    "evaluate",
    "explain",
    "list_models",
    "load_image",
    "load_model",
    "tune_threshold",
    "write_predictions",
]

if TYPE_CHECKING:
    from skinclf import conversion as conversion
    from skinclf import decisions as decisions
    from skinclf import evaluation as evaluation
    from skinclf import explanation as explanation
    from skinclf import images as images
    from skinclf import inference as inference
    from skinclf import jobs as jobs
    from skinclf import labels as labels
    from skinclf import metrics as metrics
    from skinclf import models as models
    from skinclf import runtimes as runtimes
    from skinclf import serve as serve
    from skinclf import tables as tables
    from skinclf.decisions.threshold_file import Threshold
    from skinclf.decisions.thresholds import tune_threshold
    from skinclf.errors import SkinclfError
    from skinclf.evaluation.evaluate import evaluate
    from skinclf.explanation.explainer import explain
    from skinclf.images.decode import load_image
    from skinclf.images.preprocess import Preprocess
    from skinclf.inference.prediction import Prediction
    from skinclf.inference.predictor import Predictor
    from skinclf.jobs.run import write_predictions
    from skinclf.models.load import load_model
    from skinclf.models.options import HubOptions, ModelOptions
    from skinclf.models.registry import list_models
    from skinclf.models.spec import ModelSpec
else:
    from skinclf._utils.lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "skinclf.decisions.threshold_file": ["Threshold"],
            "skinclf.decisions.thresholds": ["tune_threshold"],
            "skinclf.errors": ["SkinclfError"],
            "skinclf.evaluation.evaluate": ["evaluate"],
            "skinclf.explanation.explainer": ["explain"],
            "skinclf.images.decode": ["load_image"],
            "skinclf.images.preprocess": ["Preprocess"],
            "skinclf.inference.prediction": ["Prediction"],
            "skinclf.inference.predictor": ["Predictor"],
            "skinclf.jobs.run": ["write_predictions"],
            "skinclf.models.load": ["load_model"],
            "skinclf.models.options": ["HubOptions", "ModelOptions"],
            "skinclf.models.registry": ["list_models"],
            "skinclf.models.spec": ["ModelSpec"],
        },
        submodules=(
            "conversion",
            "decisions",
            "evaluation",
            "explanation",
            "images",
            "inference",
            "jobs",
            "labels",
            "metrics",
            "models",
            "runtimes",
            "serve",
            "tables",
        ),
    )
