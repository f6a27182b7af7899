"""Errors of the Hub's client as one sentence each: what happened, and what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from skinclf.errors import HubError, SkinclfError

# By name, because the client changed its HTTP library twice: requests, httpx, httpx2.
_TIMEOUT = frozenset({"Timeout", "TimeoutException"})
_BROKEN = frozenset({"ChunkedEncodingError", "ProtocolError", "ReadError"})
_NETWORK = _TIMEOUT | _BROKEN | {"ConnectionError", "NetworkError", "ProxyError"}
#: An address, a proxy or a header that the HTTP library cannot use, whatever the network does.
_UNUSABLE = frozenset(
    {
        "UnsupportedProtocol",
        "InvalidURL",
        "LocalProtocolError",
        "InvalidSchema",
        "MissingSchema",
        "InvalidHeader",
    }
)
_TOKEN = "log in with `hf auth login` or set HF_TOKEN"  # noqa: S105 - words, no secret


@contextmanager
def translated(repo_id: str, revision: str) -> Iterator[None]:
    """Turn the client's errors into `HubError`; an unknown one passes unchanged.

    Args:
        repo_id: Requested repository.
        revision: Requested branch, tag or commit.

    Raises:
        HubError: The Hub, its cache or the network did not deliver.
    """
    try:
        yield
    except SkinclfError:
        raise
    except Exception as error:
        sentence = _explain(error, repo_id, revision)
        if sentence is None:
            raise
        raise HubError(sentence) from error


def unreachable(error: BaseException) -> bool:
    """Whether an error means that the Hub is temporarily unreachable, so that a cached copy may be used."""
    status = _status(error)
    return bool(_names(error) & _NETWORK) or status == 429 or (status is not None and status >= 500)


def _names(error: BaseException | None) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None)


def _explain(error: Exception, repo_id: str, revision: str) -> str | None:
    from huggingface_hub import constants
    from huggingface_hub import errors as hub

    where = f"{repo_id} at {revision}"
    host = constants.ENDPOINT
    if isinstance(error, hub.GatedRepoError):
        return f"{repo_id} is gated: ask for access at {host}/{repo_id}, then {_TOKEN}."
    if isinstance(error, hub.RepositoryNotFoundError):
        return f"{repo_id} was not found on {host}. Check the spelling; for a private repository, {_TOKEN}."
    if isinstance(error, hub.RevisionNotFoundError):
        return f"{repo_id} has no revision {revision!r}; expected a branch, a tag or a full commit sha."
    if isinstance(error, hub.OfflineModeIsEnabled):
        return f"{where} is not in the cache and HF_HUB_OFFLINE is set. Fetch it once with network."
    if isinstance(error, hub.LocalEntryNotFoundError):
        cause = error.__cause__
        if cause is not None and (sentence := _explain_network(cause, host)):
            return f"{where} is not in the cache, and {sentence}"
        return f"{where} is not in the cache. Fetch it once with network."
    if isinstance(error, hub.EntryNotFoundError):
        return f"{where} lacks a file: {_last_line(error)}"
    if isinstance(error, hub.HFValidationError):
        return f"{repo_id!r} is no repository id; expected user/repo."
    if isinstance(error, hub.FileMetadataError):
        return f"{host} does not answer as a Hugging Face Hub does. Check HF_ENDPOINT and any proxy."
    return _explain_network(error, host) or _explain_disk(error, where) or _explain_settings(error, host)


def _explain_network(error: BaseException, host: str) -> str | None:
    status = _status(error)
    if status == 401:
        return f"{host} does not accept the token (401): {_TOKEN}."
    if status == 403:
        return f"{host} forbids this (403): the token lacks the right; {_TOKEN} with one that has it."
    if status == 429:
        return f"{host} asks to slow down (429, too many requests). Wait a few minutes and run again."
    if status is not None and status < 500:
        reason = getattr(error, "server_message", None) or "no reason given"
        return f"{host} refuses this ({status}: {' '.join(reason.split())})."
    if status is not None:
        return f"{host} failed with HTTP status {status}. Run again later; what was fetched is kept."
    if _names(error) & _TIMEOUT:
        return (
            f"{host} did not answer in time. Run again, or raise HF_HUB_ETAG_TIMEOUT and "
            "HF_HUB_DOWNLOAD_TIMEOUT (seconds)."
        )
    if _names(error) & _BROKEN:
        return f"the connection to {host} broke ({_last_line(error)}). Run again; whole files are kept."
    if _names(error) & _NETWORK:
        return (
            f"{host} cannot be reached ({_last_line(error)}). Check the network, HF_ENDPOINT and any proxy."
        )
    return None


def _explain_settings(error: Exception, host: str) -> str | None:
    """An environment that the client cannot use; HTTP libraries raise ValueError for it as well."""
    if not (_names(error) & _UNUSABLE or isinstance(error, ValueError)):
        return None
    return (
        f"the Hub's client cannot work with its settings ({_last_line(error)}). Check HF_ENDPOINT ({host}), which "
        "starts with https:// or http://, the proxies (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY) and the token (HF_TOKEN)."
    )


def _explain_disk(error: Exception, where: str) -> str | None:
    from huggingface_hub import constants

    if not isinstance(error, OSError):
        return None
    at = f" ({error.filename})" if error.filename else ""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"{where}: the disk is full{at}. Free some space, or choose another `cache_dir` (or HF_HOME)."
    if error.filename and str(error.filename) == constants.HF_TOKEN_PATH:
        return f"the token file cannot be read: {error.strerror}{at}. Make it readable, or set HF_TOKEN."
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return f"{where}: {error.strerror}{at}. Choose a folder that can be written: `cache_dir` or HF_HOME."
    if "Consistency check failed" in str(error):
        return f"{where}: a file arrived incomplete and was dropped. Run again."
    if error.errno is None:
        return None
    return (
        f"{where}: the cache cannot be used: {error.strerror}{at}. Choose a folder that can be written: "
        "`cache_dir` or HF_HOME."
    )


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__).rstrip(".")
