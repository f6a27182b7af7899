"""Pins: the commit that the branch of a registered model led to when it was first used on this machine.

Later runs take that commit until `update` is called, so that results change only when they are meant to. A revision
that is named in a call or in the model's text is taken as it is and pins nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sys
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from skinclf._utils.environment import cache_root
from skinclf._utils.files import write_text
from skinclf.errors import HubError, ModelError, OutputError
from skinclf.models.hub.repository import Repository, client_constants
from skinclf.models.options import HubOptions

_FULL_SHA = re.compile(r"[0-9a-f]{40}")
_logger = logging.getLogger("skinclf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """The commit that a branch of a repository stands for.

    Attributes:
        endpoint: Address of the Hub.
        repo_id: Repository, `user/repo`.
        branch: Branch or tag that the registry names.
        commit: Full commit sha.
        since: Date and time of the first use, ISO 8601 in UTC.
    """

    endpoint: str
    repo_id: str
    branch: str
    commit: str
    since: str


def read_pin(repo_id: str, branch: str | None) -> Pin | None:
    """The pin of a branch; None before the first use, and for a commit, which needs none.

    Raises:
        ModelError: The file of the pin is damaged.
    """
    if branch is None or _FULL_SHA.fullmatch(branch):
        return None
    endpoint = _endpoint()
    path = _path(endpoint, repo_id, branch)
    try:
        pin = Pin(**json.loads(path.read_text(encoding="utf-8")))
        whose, commit = (pin.endpoint, pin.repo_id, pin.branch), _FULL_SHA.fullmatch(pin.commit)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(
            f"{path}: the pinned commit of {repo_id} cannot be read ({error}). Delete the file to pin the branch "
            f"{branch} anew."
        ) from None
    if whose != (endpoint, repo_id, branch) or commit is None:
        raise ModelError(
            f"{path}: the pinned commit of {repo_id} is damaged. Delete the file to pin the branch {branch} anew."
        )
    return pin


def write_pin(repo_id: str, branch: str, commit: str) -> None:
    """Pin a branch to a commit; where the cache folder cannot be written, a warning says so."""
    endpoint = _endpoint()
    since = datetime.now(UTC).isoformat(timespec="seconds")
    pin = Pin(endpoint=endpoint, repo_id=repo_id, branch=branch, commit=commit, since=since)
    path = _path(endpoint, repo_id, branch)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(asdict(pin), indent=2) + "\n")
    except (OSError, OutputError) as error:
        _logger.warning("%s at commit %s could not be pinned: %s", repo_id, commit, error)
        return
    _logger.info("%s: the branch %s is pinned to commit %s.", repo_id, branch, commit)


def say_if_moved(pin: Pin, hub: HubOptions) -> None:
    """Warn when the branch has moved on since it was pinned; without an answer of the Hub nothing is said."""
    if hub.offline or client_constants().HF_HUB_OFFLINE:
        return
    try:
        now = Repository(pin.repo_id, replace(hub, revision=pin.branch)).commit()
    except HubError as error:
        _logger.debug("%s: the branch %s was not compared: %s", pin.repo_id, pin.branch, error)
        return
    if now != pin.commit:
        _logger.warning(
            "%s: the branch %s has moved to commit %s; commit %s is used, as pinned on %s, until "
            "`skinclf models update` takes the new one.",
            pin.repo_id,
            pin.branch,
            now[:12],
            pin.commit[:12],
            pin.since[:10],
        )


def _endpoint() -> str:
    """Address of the Hub, as its client reads it when it is imported, which showing a pin should not do."""
    client = sys.modules.get("huggingface_hub.constants")
    if client is not None:
        return str(client.ENDPOINT)
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _path(endpoint: str, repo_id: str, branch: str) -> Path:
    key = hashlib.sha256(json.dumps([endpoint, repo_id, branch]).encode()).hexdigest()[:24]
    return cache_root() / "pins" / f"{key}.json"
