"""Where a model lies: built-in, registered, on the Hub, a folder or a file; fetched when need be."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from skinclf.errors import HubError, InvalidArgumentError, ModelError
from skinclf.models.bundle import CONFIG, WEIGHTS
from skinclf.models.formats.detect import folder_kind
from skinclf.models.options import HubOptions

if TYPE_CHECKING:
    from skinclf.models.registry import PublishedModel

logger = logging.getLogger("skinclf")
_SUFFIXES = frozenset({".h5", ".hdf5", ".keras", ".onnx", ".pth", ".pt", ".bin", ".safetensors", ".ckpt"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A model on this machine.

    Attributes:
        path: Its folder or file.
        name: What to call it.
        source: `builtin`, a repository id or a path.
        revision: Commit sha on the Hub.
        entry: What the registry, or the note beside downloaded files, says about it.
        complete: Whether the weights are there too.
    """

    path: Path
    name: str
    source: str
    revision: str | None = None
    entry: PublishedModel | None = None
    complete: bool = True


def locate(model: str | Path | None, hub: HubOptions, *, config_only: bool) -> Place:
    """Find a model, and fetch it when it lies on the Hub.

    Something that exists on this machine is never looked for on the Hub, unless it is written
    `hf-hub:user/repo`; a name without a slash that the registry knows is always the registry's.

    Args:
        model: As `skinclf.models.load.load_model`.
        hub: Revision, cache and token for the Hub.
        config_only: Leave the weights where they are when the configuration says everything.

    Raises:
        ModelError: There is no such model.
        InvalidArgumentError: A revision was given for something that is not on the Hub.
    """
    from skinclf.models import registry
    from skinclf.models.hub import fetch

    text = registry.DEFAULT if model is None else str(model)
    explicit = text.startswith(("hf-hub:", "hf_hub:", "hf://"))
    entry = None if explicit or isinstance(model, Path) else registry.find_model(text)
    path = Path(text).expanduser()
    if entry is not None and entry.folder is not None:
        _no_revision(hub.revision, text)
        return Place(path=entry.folder, name=entry.name, source="builtin")
    if not explicit and (path.exists() if entry is None or "/" in text else False):
        _no_revision(hub.revision, text)
        return _local(path)
    if entry is not None:
        return _registered(entry, hub)
    if not explicit and (isinstance(model, Path) or _is_path(path, text)):
        raise ModelError(f"{path}: no such file or folder (a Hub repository is written hf-hub:user/repo).")
    if "/" not in text:
        registry.get_model(text)  # raises, with the names that are spelt alike
    repo_id, file, own = fetch.parse_reference(text)
    hub = replace(hub, revision=hub.revision or own)
    known = registry.find_model(repo_id)
    if known is not None and file in {None, known.filename}:
        return _registered(known, hub)
    if config_only and file is None:
        found = _config_alone(repo_id, hub)
        if found is not None:
            return found
    result = fetch.resolve(text, hub=hub)
    whole = file is None and CONFIG in result.files
    path = result.folder if whole else list(result.files.values())[-1]
    return Place(path=path, name=repo_id, source=repo_id, revision=result.revision)


def _registered(entry: PublishedModel, hub: HubOptions) -> Place:
    from skinclf.models.hub import fetch

    result = fetch.resolve(entry, hub=hub)
    path = result.folder if entry.adapter in {"bundle", "timm"} else result.files[entry.filename]
    known = entry if hub.revision is None else entry.replace(sha256=None)
    return Place(path=path, name=entry.name, source=entry.source, revision=result.revision, entry=known)


def _local(path: Path) -> Place:
    from skinclf.models.hub import fetch

    if path.is_file() and path.name in {WEIGHTS, "pytorch_model.bin"} and (path.parent / CONFIG).is_file():
        path = path.parent
    if path.is_file():
        return Place(path=path, name=path.stem, source=str(path))
    entry = fetch.read_source(path)
    if entry is None:
        return Place(path=path, name=path.resolve().name, source=str(path))
    whole = (path / CONFIG).is_file() and entry.adapter in {"auto", "bundle", "timm"}
    return Place(
        path=path if whole else path / entry.filename,
        name=entry.name,
        source=entry.source,
        revision=entry.revision,
        entry=entry,
    )


def _config_alone(repo_id: str, hub: HubOptions) -> Place | None:
    """The configuration of a repository, when it is of a kind that says everything."""
    from skinclf.models.hub import fetch

    try:
        files = ["config.json", "preprocessor_config*.json"]
        result = fetch.fetch(repo_id, files, hub=hub)
        folder_kind(result.folder)
    except HubError:
        return None  # `resolve` says better what is wrong
    except ModelError as error:
        logger.debug("%s: its configuration says too little: %s", repo_id, error)
        return None
    return Place(path=result.folder, name=repo_id, source=repo_id, revision=result.revision, complete=False)


def _is_path(path: Path, text: str) -> bool:
    """Whether something that is not there was meant as a path."""
    marked = text.startswith((".", "/", "~")) or "\\" in text or path.is_absolute()
    likely = ("/" in text and path.parent.is_dir()) or (text.count("/") < 2 and path.suffix in _SUFFIXES)
    return marked or likely


def _no_revision(revision: str | None, text: str) -> None:
    if revision is not None:
        raise InvalidArgumentError(f"--revision {revision}: {text} is not on the Hub and has no revisions.")
