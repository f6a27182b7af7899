"""Cache of compiled networks: its folder and its keys.

An artefact is bound to the weights, the preprocessing, the options and the versions that made it;
a change in any of them gives another folder, never a stale artefact.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from platformdirs import user_cache_path

from skinclf._version import __version__
from skinclf.models.spec import ModelSpec


def cache_root() -> Path:
    """Folder of compiled artefacts: `$SKINCLF_CACHE`, or skinclf's folder in the user's cache."""
    own = os.environ.get("SKINCLF_CACHE")
    return Path(own) if own else user_cache_path("skinclf", appauthor=False)


def artefact_folder(spec: ModelSpec, kind: str, **options: str) -> Path | None:
    """Folder of a compiled artefact; None for a model without a weights hash, which is not cached."""
    if spec.weights_sha256 is None:
        return None
    network = [spec.architecture, dict(spec.model_args), spec.activation]
    key = json.dumps([spec.fingerprint, network, __version__, options], sort_keys=True)
    return cache_root() / "compiled" / f"{kind}-{hashlib.sha256(key.encode()).hexdigest()[:24]}"


def publish(folder: Path, build: Callable[[Path], None]) -> bool:
    """Fill a cache folder atomically; two processes may race, one wins.

    Args:
        folder: Final place.
        build: Writes the files into the temporary folder it is given.

    Returns:
        Whether the folder is there afterwards (False when the cache cannot be written: a cache is
        a convenience, so a read-only home is no error).
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError:
        return False
    try:
        build(partial)
        partial.rename(folder)
    except OSError:
        return folder.is_dir()
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return True
