"""Models: specification, bundle, registry, Hub, and the readers that turn files into networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = [
    "HubOptions",
    "LoadedModel",
    "ModelIdentity",
    "ModelOptions",
    "ModelReference",
    "ModelSpec",
    "download_to",
    "list_models",
    "load_model",
    "load_spec",
]

if TYPE_CHECKING:
    from skinclf.models.hub.fetch import download_to
    from skinclf.models.identity import ModelIdentity
    from skinclf.models.load import load_model, load_spec
    from skinclf.models.loaded import LoadedModel
    from skinclf.models.options import HubOptions, ModelOptions
    from skinclf.models.reference import ModelReference
    from skinclf.models.registry import list_models
    from skinclf.models.spec import ModelSpec
else:
    from skinclf._utils.lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "skinclf.models.hub.fetch": ["download_to"],
            "skinclf.models.identity": ["ModelIdentity"],
            "skinclf.models.load": ["load_model", "load_spec"],
            "skinclf.models.loaded": ["LoadedModel"],
            "skinclf.models.options": ["HubOptions", "ModelOptions"],
            "skinclf.models.reference": ["ModelReference"],
            "skinclf.models.registry": ["list_models"],
            "skinclf.models.spec": ["ModelSpec"],
        },
    )
