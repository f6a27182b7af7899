"""One repository of the Hub at one revision: its commit, its files, and their integrity.

Files come from huggingface_hub's cache when they are there, and are compared with the hash that the
Hub declares for them before they are read.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from skinclf._utils.files import copy_file, hash_file
from skinclf._version import __version__
from skinclf.errors import HubError
from skinclf.models.hub.errors import translated, unreachable
from skinclf.models.options import HubOptions

#: From the names in a commit to the wanted ones in the order of fetching; `HubError` when one is missing.
Pick: TypeAlias = "Callable[[Iterable[str]], list[str]]"

_FULL_SHA = re.compile(r"[0-9a-f]{40}")
_logger = logging.getLogger("skinclf")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchResult:
    """Files of one commit, on this machine and checked.

    Attributes:
        repo_id: Repository; `builtin` for a bundle that ships with skinclf.
        revision: Full commit sha; None for a built-in bundle.
        folder: Folder that holds the files under their names in the repository.
        files: Name in the repository to path, in the order of fetching.
        sha256: Name in the repository to hash of the content.
    """

    repo_id: str
    revision: str | None
    folder: Path
    files: Mapping[str, Path]
    sha256: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of one commit: name to the hash the Hub declares (SHA-256, git's SHA-1, or None)."""

    revision: str
    files: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository at one revision, seen through cache and network.

    Attributes:
        repo_id: `user/repo`.
        hub: Revision, cache and token.
    """

    repo_id: str
    hub: HubOptions

    @property
    def revision(self) -> str:
        """Branch, tag or full commit sha."""
        return self.hub.revision or "main"

    def fetch(self, pick: Pick, local_dir: Path | None) -> FetchResult:
        """Fetch the picked files of one commit into the cache, or into `local_dir`.

        Raises:
            HubError: A file is missing, forbidden, unreachable or damaged.
        """
        constants = client_constants()
        offline = self.hub.offline or constants.HF_HUB_OFFLINE
        with translated(self.repo_id, self.revision), hub_progress():
            listing, names = self._choose(pick, offline=offline)
            paths: dict[str, Path] = {}
            sha256: dict[str, str] = {}
            for name in names:
                paths[name], sha256[name] = self._get(name, listing, local_dir, offline=offline)
            if local_dir is None and not offline:
                self._remember(names[0], listing.revision)
        depth = len(PurePosixPath(names[0]).parts)
        folder = local_dir or paths[names[0]].parents[depth - 1]
        return FetchResult(
            repo_id=self.repo_id, revision=listing.revision, folder=folder, files=paths, sha256=sha256
        )

    def commit(self) -> str:
        """Commit that the revision leads to, asked of the Hub.

        Raises:
            HubError: The repository or revision is missing or forbidden, or the Hub does not answer.
        """
        with translated(self.repo_id, self.revision):
            return self._online().revision

    def _choose(self, pick: Pick, *, offline: bool) -> tuple[Listing, list[str]]:
        if offline or _FULL_SHA.fullmatch(self.revision):
            cached = self._cached(pick)
            if cached is not None:
                return cached
        if offline:
            raise HubError(
                f"{self.repo_id} at {self.revision} is not in the cache, or not all of it, and skinclf is "
                "offline. Load it once with network."
            )
        try:
            listing = self._online()
        except Exception as error:
            cached = self._cached(pick) if unreachable(error) else None
            if cached is None:
                raise
            sha = cached[0].revision
            _logger.warning(
                "The Hub does not answer; using %s at commit %s from the cache.", self.repo_id, sha
            )
            return cached
        return listing, pick(listing.files)

    def _cached(self, pick: Pick) -> tuple[Listing, list[str]] | None:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            # With no pattern at all this only finds the folder of the commit.
            snapshot = snapshot_download(
                self.repo_id,
                revision=self.revision,
                cache_dir=self.hub.cache_dir,
                local_files_only=True,
                allow_patterns=[],
            )
        except LocalEntryNotFoundError:
            return None
        folder = Path(snapshot)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        found = {path.relative_to(folder).as_posix(): _blob_hash(path) for path in paths}
        try:
            return Listing(folder.name, found), pick(found)
        except HubError:
            return None

    def _online(self) -> Listing:
        from huggingface_hub import HfApi, constants

        api = HfApi(token=self.hub.token, library_name="skinclf", library_version=__version__)
        no_hub = f"{constants.ENDPOINT} does not answer as a Hugging Face Hub does. Check HF_ENDPOINT."
        try:
            info = api.model_info(
                self.repo_id,
                revision=self.revision,
                files_metadata=True,
                timeout=constants.HF_HUB_ETAG_TIMEOUT,
            )
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError):
            raise HubError(no_hub) from None
        if not info.sha:
            raise HubError(no_hub)
        files = {
            entry.rfilename: entry.lfs.sha256 if entry.lfs else entry.blob_id
            for entry in info.siblings or ()
            if ".." not in PurePosixPath(entry.rfilename).parts
        }
        return Listing(info.sha, files)

    def _get(self, name: str, listing: Listing, local_dir: Path | None, *, offline: bool) -> tuple[Path, str]:
        from huggingface_hub import try_to_load_from_cache

        declared = listing.files[name]
        target = None if local_dir is None else local_dir / name
        if target is not None and declared is not None and target.is_file():
            sha256, ok = hash_file(target, declared)
            if ok:
                return target, sha256
            target.unlink()
        cached = try_to_load_from_cache(
            self.repo_id, name, cache_dir=self.hub.cache_dir, revision=listing.revision
        )
        if isinstance(cached, str):
            path = Path(cached)
            sha256, ok = hash_file(path, declared or _blob_hash(path))
            if ok:
                return path if target is None else copy_file(path, target), sha256
            if offline:
                raise HubError(
                    f"{path}: half-written or damaged: its SHA-256 {sha256[:12]}... is not what the Hub "
                    "declared. Run once with network to fetch it again."
                )
            _logger.warning("%s: half-written or damaged; fetching it again.", path)
            _remove(path)
        path = self._download(name, listing.revision, local_dir)
        sha256, ok = hash_file(path, declared or _blob_hash(path))
        if not ok:
            _remove(path)
            raise HubError(
                f"{self.repo_id}: {name} arrived with a wrong checksum (SHA-256 {sha256[:12]}...): something "
                "on the way, such as a proxy or a mirror, changes it. Nothing was kept; check HF_ENDPOINT."
            )
        return path, sha256

    def _download(self, name: str, revision: str, local_dir: Path | None = None) -> Path:
        from huggingface_hub import hf_hub_download

        return Path(
            hf_hub_download(
                self.repo_id,
                name,
                revision=revision,
                cache_dir=self.hub.cache_dir,
                local_dir=local_dir,
                token=self.hub.token,
                library_name="skinclf",
                library_version=__version__,
            )
        )

    def _remember(self, name: str, sha: str) -> None:
        """Record in the cache which commit a branch led to, so that the branch is found without network."""
        from huggingface_hub import try_to_load_from_cache

        known = try_to_load_from_cache(
            self.repo_id, name, cache_dir=self.hub.cache_dir, revision=self.revision
        )
        if not isinstance(known, str) or sha not in Path(known).parts:
            self._download(name, self.revision)


def client_constants() -> Any:
    """The client's settings, which it reads from the environment when it is imported."""
    try:
        from huggingface_hub import constants
    except ValueError as error:
        raise HubError(
            f"the Hub's client cannot read its settings ({error}). Check HF_ENDPOINT and the other variables HF_... ."
        ) from error
    return constants


def _blob_hash(path: Path) -> str | None:
    """The declared hash of a cached file: the name of the blob that it links to (None without links)."""
    if not path.is_symlink():
        return None
    name = path.readlink().name
    return name if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", name) else None


def _remove(path: Path) -> None:
    """Drop a file whose content is wrong, with every link that leads to it."""
    while path.is_symlink():
        target = path.parent / path.readlink()
        path.unlink()
        path = target
    path.unlink(missing_ok=True)


@contextmanager
def hub_progress() -> Iterator[None]:
    """Show the Hub's progress bars on stderr, unless warnings are off or stderr is no terminal."""
    from huggingface_hub import constants
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # documented, but no `__all__` says so
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    shown = sys.stderr is not None and sys.stderr.isatty() and _logger.isEnabledFor(logging.WARNING)
    decided = constants.HF_HUB_DISABLE_PROGRESS_BARS is not None or are_progress_bars_disabled()
    hide = not shown and not decided
    if hide:
        disable_progress_bars()
    try:
        yield
    finally:
        if hide:
            enable_progress_bars()
