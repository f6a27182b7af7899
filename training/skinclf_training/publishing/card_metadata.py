"""Front matter of a model card, which the Hub indexes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from skinclf.errors import InvalidArgumentError
from skinclf.evaluation.report.style import positive_name
from skinclf.models.spec import ModelSpec
from skinclf_training.publishing.card_text import About

_TAGS = ("image-classification", "dermatology", "dermoscopy", "skin-lesion", "medical", "safetensors")
_WANTED = ("license", "library_name", "pipeline_tag", "tags", "metrics", "model_name", "eval_results")


def front_matter(spec: ModelSpec, metrics: Mapping[str, Any], about: About) -> str:
    """The card's YAML, without its fences."""
    results = list(eval_results(metrics, about))
    known = bool(spec.license) and " " not in spec.license  # an SPDX id, not words
    by_timm = timm_reference(spec, None) is not None
    card = ModelCardData(
        language="en",
        license=spec.license.lower() if known else "other",
        license_name=None if known else spec.license,
        license_link=None if known else about.data.license_url,
        library_name="timm" if by_timm else "skinclf",
        pipeline_tag="image-classification",
        tags=["skinclf", *(["timm"] if by_timm else []), *_TAGS],
        datasets=list(about.data.hub) or None,
        base_model=about.base_model,
        metrics=list(dict.fromkeys(result.metric_type for result in results)),
        model_name=spec.name,
        eval_results=results,
    )
    return card.to_yaml().strip()


def eval_results(metrics: Mapping[str, Any], about: About) -> Iterator[EvalResult]:
    """The headline figures for `model-index`, exactly as they stand in `metrics.json`."""
    found: list[tuple[str, str, Any]] = []
    if overall := metrics["multiclass"]:
        found += [
            ("accuracy", "Accuracy", overall["accuracy"]),
            ("balanced_accuracy", "Balanced accuracy", overall["balanced_accuracy"]),
            ("f1", "Macro F1", overall["macro_f1"]),
            ("roc_auc", "Macro ROC-AUC", overall["roc_auc_macro"]),
            ("matthews_correlation", "Matthews correlation", overall["mcc"]),
        ]
    if binary := metrics["binary"]:
        name = positive_name(metrics).lower()
        found += [
            ("roc_auc", f"ROC-AUC, {name}", binary["roc_auc"]),
            ("average_precision", f"PR-AUC, {name}", binary["pr_auc"]),
            ("brier_score", f"Brier score, {name}", binary["brier"]),
            ("expected_calibration_error", f"Expected calibration error, {name}", binary["ece"]),
        ]
        if point := metrics["operating_point"]:
            at = f"{name}, at threshold {metrics['threshold']['value']:.4f}, by image"
            found += [
                ("recall", f"Sensitivity, {at}", point["image"]["sensitivity"]),
                ("specificity", f"Specificity, {at}", point["image"]["specificity"]),
            ]
    for kind, title, item in found:
        if item is not None and item["value"] is not None:
            yield EvalResult(
                task_type="image-classification",
                dataset_type=about.data.id,
                dataset_name=about.data.name,
                dataset_split=metrics["data"]["split"],
                metric_type=kind,
                metric_name=title,
                metric_value=item["value"],
            )


def timm_reference(spec: ModelSpec, repo_id: str | None) -> str | None:
    """Name of the model in timm; None when the network is not one of timm."""
    if spec.architecture.startswith("skinclf/"):
        return None
    return f"hf-hub:{repo_id}" if repo_id else "local-dir:model"


def check_card(text: str) -> None:
    """Check the front matter of a card without the Hub.

    Raises:
        InvalidArgumentError: The front matter cannot be parsed, or a required key is missing.
    """
    try:
        data = ModelCard(text).data
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise InvalidArgumentError(f"The card's front matter cannot be read: {error}.") from None
    named = ("license_name", "license_link") if data.get("license") == "other" else ()
    missing = [name for name in (*_WANTED, *named) if not data.get(name)]
    if missing:
        raise InvalidArgumentError(f"The card's front matter lacks {', '.join(missing)}.")
