"""Upload of a folder to a repository of the Hub: one commit, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from skinclf._version import __version__
from skinclf.errors import HubError, InvalidArgumentError
from skinclf.models.hub.errors import unreachable
from skinclf.models.hub.repository import hub_progress

if TYPE_CHECKING:
    from huggingface_hub import HfApi

#: Files of earlier commits that would contradict the new ones: weights in pickles, other golden samples,
#: other quantised networks.
_STALE = ("pytorch_model.bin", "golden/*", "int8/*")
_MAIN = "main"
_TOKEN = "log in with `hf auth login`, or set HF_TOKEN, with a token that may write"  # noqa: S105 - words


@dataclass(frozen=True, slots=True)
class Target:
    """Destination of an upload.

    Attributes:
        repo_id: Repository, `user/repo`.
        revision: Branch; None is `main`.
        private: Whether the repository must be private.
        create_pr: Whether the commit is proposed as a pull request.
    """

    repo_id: str
    revision: str | None = None
    private: bool = False
    create_pr: bool = False

    def __post_init__(self) -> None:
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils._validators import validate_repo_id

        try:
            validate_repo_id(self.repo_id)
        except HFValidationError as error:
            raise InvalidArgumentError(f"{self.repo_id!r} is no repository id: {error}") from None
        if self.repo_id.count("/") != 1:
            raise InvalidArgumentError(f"{self.repo_id!r} is no repository id; expected user/repo.")
        if self.create_pr and self.revision is not None:
            raise InvalidArgumentError("A pull request goes to `main`: leave out `revision` or `create_pr`.")


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit on the Hub.

    Attributes:
        sha: Full sha.
        url: Page of the commit or of the pull request.
    """

    sha: str
    url: str


def upload(folder: Path, target: Target, *, message: str, token: str | None = None) -> Commit:
    """Upload a folder in one commit on top of the branch as it is now.

    A repository or branch that was created for the upload is deleted when it fails.

    Args:
        folder: Folder whose files are added or replaced; other files of the repository stay, except weights in
            pickles and golden samples.
        target: Destination.
        message: Commit message.
        token: Access token; None for the Hub's own rules.

    Raises:
        HubError: The Hub refused the upload; the message says what to do.
        InvalidArgumentError: The repository is public and must be private.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token, library_name="skinclf", library_version=__version__)
    branch = target.revision or _MAIN
    made, head = _Created(target.repo_id, branch), None
    try:
        with hub_progress():
            head = _prepare(api, target, branch, made)
            info = api.upload_folder(
                repo_id=target.repo_id,
                folder_path=folder,
                commit_message=message,
                revision=None if target.create_pr else branch,
                create_pr=target.create_pr,
                parent_commit=head,
                delete_patterns=list(_STALE),
            )
    except (InvalidArgumentError, HubError):
        raise
    except Exception as error:
        state = made.roll_back(api, head)
        raise HubError(f"{_explain(error, target)} {state}") from error
    except BaseException:
        made.roll_back(api, head)
        raise
    return Commit(info.oid, info.pr_url or info.commit_url)


@dataclass(slots=True)
class _Created:
    """Repository and branch that an upload created before its commit.

    Attributes:
        repo_id: Repository.
        branch: Branch that the commit is for.
        new_repo: Whether the upload created the repository.
        new_branch: Whether the upload created the branch.
    """

    repo_id: str
    branch: str
    new_repo: bool = False
    new_branch: bool = False

    def roll_back(self, api: HfApi, head: str | None) -> str:
        """Delete what was created unless the branch has a new commit; return the state of the repository in words."""
        if head is None and not (self.new_repo or self.new_branch):
            return "Nothing was published."
        try:
            now = api.model_info(self.repo_id, revision=self.branch, timeout=10).sha
            if head is not None and now != head:
                return (
                    f"{self.repo_id} is at commit {now} now, by this push or another: look at it before you "
                    "push again."
                )
            if self.new_repo:
                api.delete_repo(self.repo_id)
            elif self.new_branch:
                api.delete_branch(self.repo_id, branch=self.branch)
        except Exception:
            if not (self.new_repo or self.new_branch):
                return "Nothing was published, as far as can be told."
            what = "repository" if self.new_repo else f"branch {self.branch}"
            return f"The new {what} {self.repo_id} stays, without a model; delete it or push again."
        return "Nothing was published."


def _prepare(api: HfApi, target: Target, branch: str, made: _Created) -> str | None:
    """Find or create the repository and the branch; return the commit at the head of the branch."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        info = api.model_info(target.repo_id)
    except RepositoryNotFoundError:
        api.create_repo(target.repo_id, private=target.private)
        made.new_repo = True
        info = api.model_info(target.repo_id)
    if target.private and not info.private:
        raise InvalidArgumentError(
            f"{target.repo_id} exists and is public: leave out `private`, or make the repository private on its "
            "settings page first.",
            parameter="private",
        )
    if branch == _MAIN:
        return info.sha
    try:
        return api.model_info(target.repo_id, revision=branch).sha
    except RevisionNotFoundError:
        api.create_branch(target.repo_id, branch=branch)
        made.new_branch = True
        return info.sha


def _explain(error: BaseException, target: Target) -> str:
    """Error and remedy in one sentence."""
    from huggingface_hub import constants

    host, repo_id = constants.ENDPOINT, target.repo_id
    chain = list(_causes(error))
    status = next(
        (s for s in (getattr(getattr(e, "response", None), "status_code", None) for e in chain) if s), None
    )
    reason = next((str(s) for s in (getattr(e, "server_message", None) for e in chain) if s), str(error))
    reason = " ".join(reason.split())[:300]
    if status == 401:
        return f"{host} wants to know who pushes to {repo_id} (401): {_TOKEN}."
    if status == 403:
        return f"The token may not write to {repo_id} (403): {_TOKEN} there, or propose the commit with `create_pr`."
    if status in {409, 412}:
        return (
            f"{repo_id} was changed meanwhile ({status}: {reason}): look at what is there, then push again."
        )
    if any(unreachable(e) or isinstance(e, (ConnectionError, TimeoutError)) for e in chain):
        return f"The upload to {host} broke off ({reason}): push again, what arrived there is not sent twice."
    if status is not None:
        return f"{host} refuses this push to {repo_id} ({status}: {reason})."
    return f"The push to {repo_id} failed ({type(error).__name__}: {reason})."


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
