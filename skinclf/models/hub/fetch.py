"""Models from the Hugging Face Hub: pinned to a commit, checked against their hashes, offline when cached.

Everything goes through huggingface_hub, with its cache, its token rules and its environment
(HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE, ...). A commit that is in the cache needs no network.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from skinclf._utils.files import copy_file, sha256_file, writing
from skinclf._version import __version__
from skinclf.errors import HubError, ModelError
from skinclf.models.bundle import CONFIG, is_recipe, read_spec, write_spec
from skinclf.models.hub.pins import read_pin, say_if_moved, write_pin
from skinclf.models.hub.repository import FetchResult, Repository
from skinclf.models.options import HubOptions
from skinclf.models.recipe import changed_member
from skinclf.models.reference import ModelReference
from skinclf.models.registry import PublishedModel, get_model

__all__ = ["SOURCE", "FetchResult", "download_to", "fetch", "read_source", "resolve", "update"]

#: Beside the files of a downloaded model: what is known of them, so that no option is needed again.
SOURCE = "skinclf-source.json"
_MAX_SOURCE_BYTES = 1 << 20
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_SINGLE = (".keras", ".h5", ".hdf5", ".onnx", ".pth", ".pt")
_BESIDE = ("README.md", "preprocessor_config.json", "golden/*", "int8/*", "gate.safetensors")


def fetch(
    repo_id: str,
    files: str | Sequence[str],
    *,
    hub: HubOptions = HubOptions(),
    local_dir: Path | None = None,
) -> FetchResult:
    """Fetch files of a repository, all from one commit.

    Args:
        repo_id: Repository, `user/repo`.
        files: Names, and patterns such as `golden/*`. A name must exist; a pattern may match nothing.
        hub: Revision, cache and token.
        local_dir: Folder for the files; None leaves them in the cache.

    Returns:
        Paths and hashes of the files, and the commit that the revision led to.

    Raises:
        HubError: A file is missing, forbidden, unreachable or damaged.
    """
    wanted = [files] if isinstance(files, str) else list(files)
    repo = Repository(repo_id, hub)
    return repo.fetch(lambda names: _match(wanted, names, repo_id), local_dir)


def resolve(
    model: ModelReference | PublishedModel | str,
    *,
    hub: HubOptions = HubOptions(),
    local_dir: Path | None = None,
) -> FetchResult:
    """Fetch the files that a model needs to run: configuration first, weights last.

    Args:
        model: Registered name, `[hf-hub:]user/repo[/file][@revision]`, or their parsed form.
        hub: Revision, cache and token; its revision overrides the model's own.
        local_dir: Folder for the files; None leaves them in the cache.

    The branch of a registered model is pinned to its commit on first use, see `skinclf.models.hub.pins`.

    Raises:
        HubError: The errors of `fetch`; or the repository holds no model file, or several and none was named.
        ModelError: No model is known by that name.
    """
    reference = _reference(model)
    entry, repo_id = reference.entry, reference.repo_id
    if repo_id is None:
        return _builtin(reference, local_dir, hub.revision)
    asked = hub.revision or reference.revision
    branch = entry.revision if entry is not None and asked is None else None
    pin = read_pin(repo_id, branch)
    if pin is not None:
        say_if_moved(pin, hub)
    repo = Repository(repo_id, replace(hub, revision=pin.commit if pin is not None else asked or branch))
    listed: list[str] = []

    def pick(names: Iterable[str]) -> list[str]:
        listed[:] = names
        return _model_files(listed, repo_id, reference.file)

    result = repo.fetch(pick, local_dir)
    if list(result.files)[-1] == CONFIG and not is_recipe(result.folder):
        raise _nothing(repo_id, listed)
    if branch is not None and pin is None and branch != result.revision:
        write_pin(repo_id, branch, str(result.revision))
    return result


def update(name: str, *, hub: HubOptions = HubOptions()) -> tuple[str | None, str]:
    """Fetch what the branch of a registered model leads to today, and pin that commit.

    Args:
        name: Registered name or repository.
        hub: Cache and token.

    Returns:
        The commit that was pinned before (None for none) and the one that is pinned now.

    Raises:
        HubError: A file is missing, forbidden, unreachable or damaged; the old pin stays.
        ModelError: No such model is known, or its entry names no branch.
    """
    entry = get_model(name)
    if entry.repo_id is None or entry.revision is None:
        raise ModelError(f"{entry.name} ships with skinclf; there is no branch to follow.")
    before = read_pin(entry.repo_id, entry.revision)
    result = resolve(entry, hub=replace(hub, revision=entry.revision))
    commit = str(result.revision)
    if commit != entry.revision and (before is None or before.commit != commit):
        write_pin(entry.repo_id, entry.revision, commit)
    return None if before is None else before.commit, commit


def download_to(
    model: ModelReference | PublishedModel | str,
    folder: Path,
    *,
    hub: HubOptions = HubOptions(),
) -> FetchResult:
    """Download a model into a folder, which loads on a machine without network.

    After an interruption, another call fetches what is missing or damaged.

    Args:
        model: Registered name, `[hf-hub:]user/repo[/file][@revision]`, or their parsed form.
        folder: Folder for the files and `skinclf-source.json`; made when missing. The members of a recipe that are on
            the Hub come into its folder `members`.
        hub: Revision, cache and token; its revision overrides the model's own.

    Raises:
        HubError: A file is missing, forbidden, unreachable or damaged, or the model file is ambiguous.
        ModelError: No model is known by that name.
        MismatchError: A member of a recipe has changed since the recipe was made.
        OutputError: The folder cannot be written.
    """
    from skinclf._utils.files import replace_file

    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        result = resolve(model, hub=hub, local_dir=folder)
        if result.revision is not None and is_recipe(folder):
            result = _with_members(result, folder, hub)
        if result.revision is not None:  # a built-in bundle records everything
            entry = _reference(model).entry or _unknown(result)
            entry = entry.replace(
                revision=result.revision,
                sha256=result.sha256[entry.filename],
                variants={name: entry.preprocess(name).to_dict() for name in entry.variants},
            )
            note = {"schema": 1, "skinclf_version": __version__, **entry.to_dict()}
            replace_file(folder / SOURCE, (json.dumps(note, indent=2) + "\n").encode())
    return result


def _with_members(result: FetchResult, folder: Path, hub: HubOptions) -> FetchResult:
    """Download the members of a recipe that are on the Hub, and name them by their folders from now on."""
    spec = read_spec(folder)
    assert spec.recipe is not None
    members, files, sha256 = [], dict(result.files), dict(result.sha256)
    for number, member in enumerate(spec.recipe.members, 1):
        own = member
        if member.model is not None and member.revision is not None:
            reference = ModelReference.parse(member.model, local=False)
            path = f"members/{number}-{reference.name.rsplit('/', 1)[-1]}"
            found = download_to(reference, folder / path, hub=replace(hub, revision=member.revision))
            if member.fingerprint["weights_sha256"] not in found.sha256.values():
                raise changed_member(spec.name, member, ["weights_sha256"])
            files |= {f"{path}/{name}": place for name, place in found.files.items()}
            sha256 |= {f"{path}/{name}": value for name, value in found.sha256.items()}
            own = replace(member, model=None, revision=None, path=path)
        members.append(own)
    write_spec(folder, spec.replace(recipe=replace(spec.recipe, members=tuple(members))))
    sha256[CONFIG] = sha256_file(folder / CONFIG)
    return replace(result, files=files, sha256=sha256)


def read_source(folder: Path) -> PublishedModel | None:
    """Read the note of `download_to` beside the files: labels, preprocessing, file name, commit sha and hash.

    Returns:
        The model, with the full commit sha as its `revision` and this `folder`; None without a note.

    Raises:
        ModelError: The note is damaged, or was written by a newer skinclf.
    """
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


def _reference(model: ModelReference | PublishedModel | str) -> ModelReference:
    if isinstance(model, ModelReference):
        return model
    return ModelReference.parse(model, local=False) if isinstance(model, str) else ModelReference.of(model)


def _match(wanted: Sequence[str], names: Iterable[str], repo_id: str) -> list[str]:
    """Names and patterns to names, `config.json` first: that is what the Hub counts as a download."""
    there = list(names)
    missing = [name for name in wanted if not any(c in name for c in "*?[") and name not in there]
    found = [name for name in there if any(fnmatchcase(name, pattern) for pattern in wanted)]
    if missing or not found:
        listing = ", ".join(there[:20]) or "no file at all"
        raise HubError(f"{repo_id} has no file {', '.join(missing or wanted)}; it has {listing}.")
    return sorted(found, key=lambda name: name != "config.json")


def _model_files(names: list[str], repo_id: str, filename: str | None) -> list[str]:
    """The files that make up a model; weights last, so that their presence proves the rest complete."""
    config = [CONFIG] if CONFIG in names else []
    weights = filename or next((name for name in _WEIGHTS if config and name in names), None)
    if weights is None:
        single = [name for name in names if name.endswith(_SINGLE)]
        if len(single) > 1:
            choice = ", ".join(f"{repo_id}/{name}" for name in single)
            raise HubError(f"{repo_id} holds several model files; name one: {choice}.")
        if not single and not config:
            raise _nothing(repo_id, names)
        # A configuration alone may be a recipe.
        weights = single[0] if single else CONFIG
    beside = [name for name in names if any(fnmatchcase(name, pattern) for pattern in _BESIDE)]
    _match([weights], names, repo_id)
    return [*(name for name in (*config, *beside) if name != weights), weights]


def _nothing(repo_id: str, names: Sequence[str]) -> HubError:
    return HubError(f"{repo_id} holds no model file that skinclf knows; it has {', '.join(names[:20])}.")


def _unknown(result: FetchResult) -> PublishedModel:
    """An entry for a repository outside the registry; labels and preprocessing come from its files or the user."""
    return PublishedModel(
        name=result.repo_id,
        repo_id=result.repo_id,
        revision=result.revision,
        filename=list(result.files)[-1],
        adapter="auto",
        license="see the repository",
        labels=None,
        variants={},
        verified=False,
        description="",
        task="",
    )


def _builtin(model: ModelReference, local_dir: Path | None, revision: str | None) -> FetchResult:
    folder = model.path
    if folder is None or revision is not None:
        raise HubError(f"{model.name} ships with skinclf: it is in no repository and has no revisions.")
    paths = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
    if local_dir is not None:
        paths = {name: copy_file(path, local_dir / name) for name, path in paths.items()}
    sha256 = {name: sha256_file(path) for name, path in paths.items()}
    return FetchResult(
        repo_id="builtin", revision=None, folder=local_dir or folder, files=paths, sha256=sha256
    )
