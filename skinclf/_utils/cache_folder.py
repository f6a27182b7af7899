"""Folder of what skinclf keeps for this user between runs."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path


def cache_root() -> Path:
    """The folder: `$SKINCLF_CACHE`, or skinclf's folder in the user's cache."""
    own = os.environ.get("SKINCLF_CACHE")
    return Path(own) if own else user_cache_path("skinclf", appauthor=False)
