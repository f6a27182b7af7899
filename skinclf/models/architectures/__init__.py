"""Networks by name: timm's, and skinclf's own under `skinclf/...`."""

from __future__ import annotations

from skinclf.models.architectures.build import build_named, build_network, load_tensors, restore_network

__all__ = ["build_named", "build_network", "load_tensors", "restore_network"]
