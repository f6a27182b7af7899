"""Locating a model's files on this machine, after a download where needed."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from skinclf.errors import HubError, InvalidArgumentError, ModelError
from skinclf.models.bundle import CONFIG, WEIGHTS
from skinclf.models.formats.detect import folder_kind
from skinclf.models.hub.fetch import fetch, read_source, resolve
from skinclf.models.options import HubOptions
from skinclf.models.reference import ModelReference

if TYPE_CHECKING:
    from skinclf.models.registry import PublishedModel

logger = logging.getLogger("skinclf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A model on this machine.

    Attributes:
        path: Folder or file of the model.
        name: Name of the model.
        source: `builtin`, a repository id or a path.
        revision: Commit sha on the Hub.
        entry: Entry of the registry, or of the note beside downloaded files; None without either.
        complete: Whether the weights are among the files.
    """

    path: Path
    name: str
    source: str
    revision: str | None = None
    entry: PublishedModel | None = None
    complete: bool = True


def locate(model: str | Path | None, hub: HubOptions, *, config_only: bool) -> Place:
    """Find a model, and fetch it when it lies on the Hub.

    Args:
        model: Model text or path, see `skinclf.models.reference.ModelReference.parse`.
        hub: Revision, cache and token for the Hub.
        config_only: Whether the weights stay on the Hub when the configuration records everything.

    Raises:
        ModelError: No model of this name or path exists.
        InvalidArgumentError: A revision was given for something that is not on the Hub.
    """
    reference = ModelReference.parse(model)
    if reference.path is not None:
        if hub.revision is not None:
            raise InvalidArgumentError(
                f"`revision` {hub.revision}: {model or reference.name} is not on the Hub and has no revisions.",
                parameter="revision",
            )
        if reference.kind == "builtin":
            return Place(path=reference.path, name=reference.name, source="builtin")
        return _local(reference.path)
    hub = replace(hub, revision=hub.revision or reference.revision)
    if reference.entry is not None:
        return _registered(reference.entry, hub)
    if config_only and reference.file is None:
        found = _config_alone(reference.name, hub)
        if found is not None:
            return found
    result = resolve(reference, hub=hub)
    whole = reference.file is None and CONFIG in result.files
    path = result.folder if whole else list(result.files.values())[-1]
    return Place(path=path, name=reference.name, source=reference.name, revision=result.revision)


def _registered(entry: PublishedModel, hub: HubOptions) -> Place:
    result = resolve(entry, hub=hub)
    path = result.folder if entry.adapter in {"bundle", "timm"} else result.files[entry.filename]
    known = entry if hub.revision is None else entry.replace(sha256=None)
    return Place(path=path, name=entry.name, source=entry.source, revision=result.revision, entry=known)


def _local(path: Path) -> Place:
    if path.is_file() and path.name in {WEIGHTS, "pytorch_model.bin"} and (path.parent / CONFIG).is_file():
        path = path.parent
    if path.is_file():
        return Place(path=path, name=path.stem, source=str(path))
    entry = read_source(path)
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
    """The configuration of a repository, when its format records everything; else None."""
    try:
        files = ["config.json", "preprocessor_config*.json"]
        result = fetch(repo_id, files, hub=hub)
        folder_kind(result.folder)
    except HubError:
        return None  # `resolve` explains the error better
    except ModelError as error:
        logger.debug("%s: its configuration is not enough: %s", repo_id, error)
        return None
    return Place(path=result.folder, name=repo_id, source=repo_id, revision=result.revision, complete=False)
