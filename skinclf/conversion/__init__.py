"""Models rewritten and checked: bundles, files of other libraries, verification, int8, measured precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "Exported",
    "VerifyReport",
    "convert_model",
    "export_model",
    "measure_precision",
    "measure_scaled_decoding",
    "quantize_model",
    "verify_model",
]

if TYPE_CHECKING:
    from skinclf.conversion.convert import convert_model
    from skinclf.conversion.export import Exported, export_model
    from skinclf.conversion.precision_loss import measure_precision, measure_scaled_decoding
    from skinclf.conversion.quantize import quantize_model
    from skinclf.conversion.verify import VerifyReport, verify_model
else:
    from skinclf._utils.lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "skinclf.conversion.convert": ["convert_model"],
            "skinclf.conversion.export": ["Exported", "export_model"],
            "skinclf.conversion.precision_loss": ["measure_precision", "measure_scaled_decoding"],
            "skinclf.conversion.quantize": ["quantize_model"],
            "skinclf.conversion.verify": ["VerifyReport", "verify_model"],
        },
    )
