"""Models from the Hugging Face Hub: pinned to a commit, checked against their hashes, offline when cached.

Everything goes through huggingface_hub, with its cache, its token rules and its environment
(HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE, ...). A commit that is in the cache needs no network.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias

from skinclf._hub_errors import translated, unreachable
from skinclf._version import __version__
from skinclf.errors import HubError, ModelError, OutputError

if TYPE_CHECKING:
    from skinclf.registry import PublishedModel

#: Beside the files of a downloaded model: what is known of them, so that nothing need be stated again.
SOURCE = "skinclf-source.json"
_MAX_SOURCE_BYTES = 1 << 20
_FULL_SHA = re.compile(r"[0-9a-f]{40}")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_SINGLE = (".keras", ".h5", ".hdf5", ".onnx", ".pth", ".pt")
_BESIDE = ("README.md", "preprocessor_config.json", "golden/*")

_logger = logging.getLogger("skinclf")
_Pick: TypeAlias = "Callable[[Iterable[str]], list[str]]"


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchResult:
    """Files of one commit, on this machine and checked.

    Attributes:
        repo_id: Repository; `builtin` for a bundle that ships with skinclf.
        revision: Full commit sha; None for a built-in bundle.
        folder: Where the files lie, under their names in the repository.
        files: Name in the repository to path.
        sha256: Name in the repository to hash of the content.
    """

    repo_id: str
    revision: str | None
    folder: Path
    files: Mapping[str, Path]
    sha256: Mapping[str, str]


def fetch(
    repo_id: str,
    files: str | Sequence[str],
    *,
    revision: str | None = None,
    offline: bool = False,
    cache_dir: Path | None = None,
    token: str | None = None,
    local_dir: Path | None = None,
) -> FetchResult:
    """Fetch files of a repository, all from one commit.

    Args:
        repo_id: `user/repo`.
        files: Names, and patterns such as `golden/*`. A name must be there; a pattern may match nothing.
        revision: Branch, tag or full commit sha; None is the branch `main`.
        offline: Use the cache alone.
        cache_dir: None for the Hub's own cache.
        token: None for the Hub's own rules (HF_TOKEN, `hf auth login`).
        local_dir: Put the files into this folder instead of the cache.

    Returns:
        Where they are, and the commit that the revision led to.

    Raises:
        HubError: Something is not there, not allowed, not reachable or damaged.
    """
    wanted = [files] if isinstance(files, str) else list(files)
    repo = _Repo(repo_id, revision or "main", offline, cache_dir, token)
    return repo.fetch(lambda names: _match(wanted, names, repo_id), local_dir)


def resolve(
    model: PublishedModel | str,
    *,
    revision: str | None = None,
    offline: bool = False,
    cache_dir: Path | None = None,
    token: str | None = None,
    local_dir: Path | None = None,
) -> FetchResult:
    """Fetch what it takes to run a model.

    Args:
        model: Entry of the registry, or `[hf-hub:]user/repo[/file][@revision]`.
        revision: Overrides the model's own.
        offline: Use the cache alone.
        cache_dir: None for the Hub's own cache.
        token: None for the Hub's own rules.
        local_dir: Put the files into this folder instead of the cache.

    Raises:
        HubError: As `fetch`, or the repository holds no model file, or several and none was named.
    """
    if isinstance(model, str):
        repo_id, filename, own = parse_reference(model)
    elif model.folder is not None:
        return _builtin(model.folder, local_dir)
    else:
        repo_id, filename, own = model.repo_id or "", model.filename, model.revision
    repo = _Repo(repo_id, revision or own or "main", offline, cache_dir, token)
    return repo.fetch(lambda names: _model_files(list(names), repo_id, filename), local_dir)


def download_to(
    model: PublishedModel | str,
    folder: Path,
    *,
    revision: str | None = None,
    offline: bool = False,
    cache_dir: Path | None = None,
    token: str | None = None,
) -> FetchResult:
    """Make a folder that `--model FOLDER` takes on a machine without network; run again, it completes itself.

    Args:
        model: Entry of the registry, or `[hf-hub:]user/repo[/file][@revision]`.
        folder: Made when missing; gets the files and `skinclf-source.json`.
        revision: Overrides the model's own.
        offline: Copy from the cache alone.
        cache_dir: None for the Hub's own cache.
        token: None for the Hub's own rules.

    Raises:
        HubError: As `resolve`.
        OutputError: The folder cannot be written.
    """
    from skinclf.bundle import replace_file
    from skinclf.registry import PublishedModel

    try:
        folder.mkdir(parents=True, exist_ok=True)
        result = resolve(
            model, revision=revision, offline=offline, cache_dir=cache_dir, token=token, local_dir=folder
        )
        if result.revision is None:  # a built-in bundle says everything itself
            return result
        if isinstance(model, str):
            entry = PublishedModel(
                name=result.repo_id,
                repo_id=result.repo_id,
                revision=None,
                filename="",
                adapter="auto",
                license="see the repository",
                labels=None,
                variants={},
                verified=False,
                description="",
                task="unknown",
            )
        else:
            entry = model
        main = entry.filename or list(result.files)[-1]
        entry = entry.replace(revision=result.revision, filename=main, sha256=result.sha256[main])
        text = json.dumps({"schema": 1, "skinclf_version": __version__, **entry.to_dict()}, indent=2)
        replace_file(folder / SOURCE, (text + "\n").encode())
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{folder}: cannot be written: {error.strerror or error}.") from None
    return result


def read_source(folder: Path) -> PublishedModel | None:
    """What `download_to` noted beside the files: labels, preprocessing, file name, commit sha and hash.

    Returns:
        The model, its `revision` a full commit sha and `folder` set to `folder`; None when nothing was noted.

    Raises:
        ModelError: The note is damaged, or was written by a newer skinclf.
    """
    from skinclf.registry import PublishedModel

    path = folder / SOURCE
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > _MAX_SOURCE_BYTES:
            raise ModelError(f"{path}: larger than {_MAX_SOURCE_BYTES:,} bytes; skinclf did not write that.")
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not readable as JSON: {error}.") from None
    if not isinstance(data, dict) or data.get("schema") != 1:
        raise ModelError(f"{path}: expected schema 1. Update skinclf, or download the model again.")
    return PublishedModel.from_dict(data).replace(folder=folder)


def parse_reference(text: str) -> tuple[str, str | None, str | None]:
    """Split `[hf-hub:]user/repo[/file][@revision]` into repository, file and revision.

    Raises:
        HubError: There is no `user/repo` in it.
    """
    rest = re.sub(r"^(hf-hub:|hf_hub:|hf://)", "", text)
    rest, _, revision = rest.partition("@")
    parts = rest.split("/", 2)
    if len(parts) < 2 or not all(parts):
        raise HubError(f"{text!r} is no repository on the Hub; expected user/repo, user/repo@revision or user/repo/file.")
    return "/".join(parts[:2]), parts[2] if len(parts) == 3 else None, revision or None


@dataclass(frozen=True, slots=True)
class _Listing:
    """The files of one commit by name, with the hash that the Hub declares: SHA-256, or git's SHA-1, or None."""

    revision: str
    files: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class _Repo:
    """One repository at one revision, seen through cache and network."""

    repo_id: str
    revision: str
    offline: bool
    cache_dir: Path | None
    token: str | None

    def fetch(self, pick: _Pick, local_dir: Path | None) -> FetchResult:
        from huggingface_hub import constants

        offline = self.offline or constants.HF_HUB_OFFLINE
        with translated(self.repo_id, self.revision), _progress():
            listing, names = self._choose(pick, offline=offline)
            paths: dict[str, Path] = {}
            hashes: dict[str, str] = {}
            for name in names:
                paths[name], hashes[name] = self._get(name, listing, local_dir, offline=offline)
        first = names[0]
        folder = local_dir or Path(*paths[first].parts[: -len(PurePosixPath(first).parts)])
        return FetchResult(
            repo_id=self.repo_id, revision=listing.revision, folder=folder, files=paths, sha256=hashes
        )

    def _choose(self, pick: _Pick, *, offline: bool) -> tuple[_Listing, list[str]]:
        pinned = _FULL_SHA.fullmatch(self.revision) is not None
        cached = self._cached(pick) if offline or pinned else None
        if cached is not None:
            return cached
        if offline:
            raise HubError(
                f"{self.repo_id} at {self.revision} is not (completely) in the cache, and skinclf is offline. "
                "Fetch it once with network, for example with `skinclf download`."
            )
        try:
            listing = self._online()
        except Exception as error:
            cached = self._cached(pick) if unreachable(error) else None
            if cached is None:
                raise
            _logger.warning(
                "The Hub cannot be reached; using %s at commit %s from the cache.", self.repo_id, cached[0].revision
            )
            return cached
        return listing, pick(listing.files)

    def _cached(self, pick: _Pick) -> tuple[_Listing, list[str]] | None:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            # No pattern: the folder of the commit, without a word on what is in it.
            snapshot = snapshot_download(
                self.repo_id,
                revision=self.revision,
                cache_dir=self.cache_dir,
                local_files_only=True,
                allow_patterns=[],
            )
        except LocalEntryNotFoundError:
            return None
        folder = Path(snapshot)
        found = {p.relative_to(folder).as_posix(): _blob_hash(p) for p in sorted(folder.rglob("*")) if p.is_file()}
        try:
            return _Listing(folder.name, found), pick(found)
        except HubError:
            return None

    def _online(self) -> _Listing:
        from huggingface_hub import HfApi, constants

        api = HfApi(token=self.token, library_name="skinclf", library_version=__version__)
        info = api.model_info(
            self.repo_id, revision=self.revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
        )
        files = {
            entry.rfilename: entry.lfs.sha256 if entry.lfs else entry.blob_id
            for entry in info.siblings or ()
            if ".." not in PurePosixPath(entry.rfilename).parts
        }
        if not info.sha:
            raise HubError(f"{constants.ENDPOINT} does not say which commit {self.repo_id} is at. Check HF_ENDPOINT.")
        return _Listing(info.sha, files)

    def _get(self, name: str, listing: _Listing, local_dir: Path | None, *, offline: bool) -> tuple[Path, str]:
        path = self._place(name, listing, local_dir, offline=offline, force=False)
        declared = listing.files[name] or _blob_hash(path)
        sha256, ok = _digest(path, declared)
        if not ok and not offline:
            _logger.warning("%s: damaged in the cache; fetching it again.", path)
            path = self._place(name, listing, local_dir, offline=offline, force=True)
            sha256, ok = _digest(path, declared)
            if not ok:
                _remove(path)
                raise HubError(
                    f"{self.repo_id}: {name} has SHA-256 {sha256[:12]}..., but the Hub declares {str(declared)[:12]}.... "
                    "Something on the way changes the file; nothing was kept."
                )
        if not ok:
            raise HubError(
                f"{path}: half-written or damaged: it does not have the hash {str(declared)[:12]}... that the Hub "
                "declared. Run once with network to fetch it again."
            )
        return path, sha256

    def _place(self, name: str, listing: _Listing, local_dir: Path | None, *, offline: bool, force: bool) -> Path:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache

        declared = listing.files[name]
        target = None if local_dir is None else local_dir / name
        if target is not None and declared and not force and target.is_file() and _digest(target, declared)[1]:
            return target
        cached = try_to_load_from_cache(
            self.repo_id, name, cache_dir=self.cache_dir, revision=listing.revision
        )
        if isinstance(cached, str) and not force:
            return Path(cached) if target is None else _copy(Path(cached), target)
        return Path(
            hf_hub_download(
                self.repo_id,
                name,
                revision=listing.revision,
                cache_dir=self.cache_dir,
                local_dir=local_dir,
                token=self.token,
                force_download=force,
                local_files_only=offline,
                library_name="skinclf",
                library_version=__version__,
            )
        )
