"""Operating points that a bundle stores by name."""

from __future__ import annotations

from pathlib import Path

from skinclf.decisions.threshold_file import Threshold
from skinclf.models.bundle import CONFIG, read_spec, write_spec

#: Keys of a threshold file that a stored operating point keeps beside its threshold.
EVIDENCE = (
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "tp",
    "fn",
    "fp",
    "tn",
    "unit",
    "grade",
    "target",
    "n",
    "confidence",
    "intervals",
    "claim",
    "date",
)
#: What it keeps about the data it was chosen on: names and counts, no hashes.
DATA = ("predictions", "labels", "images", "lesions")


def store_operating_point(bundle: Path, threshold: Threshold, *, name: str | None = None) -> Path:
    """Store a threshold in a bundle as a named operating point; the first one becomes the default.

    The rule for the predicted class that was tuned with it (`Threshold.decision`) becomes the bundle's.

    Args:
        bundle: Folder of the bundle, whose `config.json` is replaced.
        threshold: Threshold with its evidence.
        name: Name of the operating point; None takes the one in the threshold's data.

    Returns:
        Path of the configuration that was written.

    Raises:
        ModelError: `bundle` is not a complete bundle.
        OutputError: The configuration cannot be written.
    """
    spec = read_spec(bundle)
    name = name or str(threshold.data.get("name") or threshold.source)
    data = threshold.data.get("data") or {}
    point = {
        "threshold": threshold.value,
        **{key: threshold.data[key] for key in EVIDENCE if key in threshold.data},
        "data": {key: data[key] for key in DATA if key in data},
    }
    default = spec.default_operating_point or name
    write_spec(
        bundle,
        spec.replace(
            operating_points={**spec.operating_points, name: point},
            default_operating_point=default,
            decision=threshold.decision or spec.decision,
        ),
    )
    return bundle / CONFIG
