"""Cache of compiled networks: its folder and its keys.

An artefact is bound to the weights, the preprocessing, the options and the versions that made it;
a change in any of them gives another folder, never a stale artefact. The hashes of its files lie beside them,
so that one that is incomplete or damaged is made again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from skinclf._utils.environment import cache_root
from skinclf._utils.files import sha256_file
from skinclf._version import __version__
from skinclf.models.spec import ModelSpec

_HASHES = "sha256.json"


def artefact_folder(spec: ModelSpec, kind: str, **options: str) -> Path | None:
    """Folder of a compiled artefact; None for a model without a weights hash, which is not cached."""
    if spec.weights_sha256 is None:
        return None
    network = [spec.architecture, dict(spec.model_args), spec.activation]
    key = json.dumps([spec.fingerprint, network, __version__, options], sort_keys=True)
    return cache_root() / "compiled" / f"{kind}-{hashlib.sha256(key.encode()).hexdigest()[:24]}"


def intact(folder: Path) -> bool:
    """Whether an artefact is there, complete and as it was made; a damaged one is removed."""
    if not folder.is_dir():
        return False
    try:
        hashes = json.loads((folder / _HASHES).read_text(encoding="utf-8"))
        if hashes and all(sha256_file(folder / name) == hashes[name] for name in hashes):
            return True
    except (OSError, ValueError, TypeError):
        pass  # as damaged as a file with another hash
    shutil.rmtree(folder, ignore_errors=True)
    return False


def read_intact(folder: Path, name: str) -> bytes | None:
    """A file of an artefact, the very bytes whose hash is as recorded; None, and the artefact removed, otherwise."""
    if not folder.is_dir():
        return None
    try:
        data = (folder / name).read_bytes()
        hashes = json.loads((folder / _HASHES).read_text(encoding="utf-8"))
        if hashes[name] == hashlib.sha256(data).hexdigest():
            return data
    except (OSError, ValueError, TypeError, KeyError):
        pass  # as damaged as a file with another hash
    shutil.rmtree(folder, ignore_errors=True)
    return None


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
        hashes = {path.name: sha256_file(path) for path in partial.iterdir() if path.is_file()}
        (partial / _HASHES).write_text(json.dumps(hashes), encoding="utf-8")
        partial.rename(folder)
    except OSError:
        return folder.is_dir()
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return True
