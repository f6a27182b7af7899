"""`ModelReference`: the meaning of a model text (name, repository or path), decided in one place.

Something that exists on this machine is never looked for on the Hub, unless it is written `hf-hub:user/repo`; a name
without a slash that the registry knows is always the registry's.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import unquote

from skinclf.errors import HubError, ModelError
from skinclf.models import registry
from skinclf.models.registry import PublishedModel

Kind: TypeAlias = Literal["builtin", "registered", "hub", "path"]

_PREFIX = re.compile(r"^(hf-hub:|hf_hub:|hf://)")
_ADDRESS = re.compile(r"^(https?://)?(www\.)?(huggingface\.co|hf\.co)/", re.IGNORECASE)
_SUFFIXES = frozenset({".h5", ".hdf5", ".keras", ".onnx", ".pth", ".pt", ".bin", ".safetensors", ".ckpt"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReference:
    """The meaning of a model text.

    Attributes:
        kind: `builtin` (ships with skinclf), `registered` (on the Hub and known by name), `hub` (any other
            repository) or `path` (on this machine).
        name: Short name, repository id or path, for messages.
        repo_id: `user/repo` of a `registered` or `hub` model; else None.
        file: Name of the model file in the repository; None when the repository's files decide.
        revision: Branch, tag or commit written in the text (`@revision`); else None.
        path: Folder or file of a `builtin` or `path` model; else None.
        entry: The registry's entry of a `builtin` or `registered` model; else None.
    """

    kind: Kind
    name: str
    repo_id: str | None = None
    file: str | None = None
    revision: str | None = None
    path: Path | None = None
    entry: PublishedModel | None = None

    @classmethod
    def parse(cls, model: str | Path | None, *, local: bool = True) -> ModelReference:
        """Read a model text.

        Args:
            model: None for the default model; a registered name; `[hf-hub:]user/repo[/file][@revision]`; or the path
                of a folder or file. A `Path` is always a path.
            local: Whether files and folders on this machine are considered.

        Raises:
            ModelError: The text names no known model and no existing file or folder.
            HubError: The text should name a repository, but is not of the form `user/repo`.
        """
        text = registry.DEFAULT if model is None else str(model)
        if not isinstance(model, Path):
            text = _from_address(text)
        explicit = _PREFIX.match(text) is not None
        entry = None if explicit or isinstance(model, Path) else registry.find_model(text)
        if entry is not None and entry.folder is not None:
            return cls.of(entry)
        if local and not explicit:
            path = Path(text).expanduser()
            if (entry is None or "/" in text) and path.exists():
                return cls(kind="path", name=text, path=path)
            if entry is None and (isinstance(model, Path) or _looks_like_path(path, text)):
                raise ModelError(
                    f"{path}: no such file or folder (a Hub repository is written hf-hub:user/repo)."
                )
        if entry is not None:
            return cls.of(entry)
        if "/" not in text:
            registry.get_model(text)  # raises, with the names that are spelt alike
        repo_id, file, revision = _split(text)
        known = registry.find_model(repo_id)
        if known is not None and file in {None, known.filename}:
            return cls.of(known, revision)
        return cls(kind="hub", name=repo_id, repo_id=repo_id, file=file, revision=revision)

    @classmethod
    def of(cls, entry: PublishedModel, revision: str | None = None) -> ModelReference:
        """The reference of a registry entry, at its own revision or another one."""
        return cls(
            kind="builtin" if entry.repo_id is None else "registered",
            name=entry.name,
            repo_id=entry.repo_id,
            file=entry.filename,
            revision=revision,
            path=entry.folder if entry.repo_id is None else None,
            entry=entry,
        )


def _from_address(text: str) -> str:
    """`hf-hub:user/repo[/file][@revision]` for an address pasted from a browser; any other text as it is."""
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") + "/"
    if (found := _ADDRESS.match(text)) is not None:
        rest = text[found.end() :]
    elif len(endpoint) > 1 and text.startswith(endpoint):
        rest = text.removeprefix(endpoint)
    elif re.match(r"^https?://", text):
        raise ModelError(
            f"{text}: not an address of the Hugging Face Hub. Download the file and give its path, or name a "
            "repository as user/repo."
        )
    else:
        return text
    parts = [unquote(part) for part in re.split(r"[?#]", rest)[0].strip("/").split("/")]
    if len(parts) < 2 or not all(parts) or parts[0] in {"datasets", "spaces"}:
        raise HubError(f"{text}: the address names no model; expected https://huggingface.co/user/repo.")
    repo_id, kind, rest_parts = "/".join(parts[:2]), parts[2:3], parts[3:]
    if kind and (kind[0] not in {"tree", "blob", "resolve", "raw", "commit"} or not rest_parts):
        raise HubError(
            f"{text}: expected the page of a repository, of a branch (/tree/main) or of a file (/blob/main/model.onnx)."
        )
    file = "/".join(rest_parts[1:]) if kind and kind[0] != "tree" else ""
    revision = f"@{rest_parts[0]}" if rest_parts and rest_parts[0] != "main" else ""
    return f"hf-hub:{repo_id}{'/' + file if file else ''}{revision}"


def _split(text: str) -> tuple[str, str | None, str | None]:
    """Repository, file and revision of `[hf-hub:]user/repo[/file][@revision]`."""
    rest, _, revision = _PREFIX.sub("", text, count=1).partition("@")
    parts = rest.split("/", 2)
    if len(parts) < 2 or not all(parts):
        raise HubError(
            f"{text!r} names no repository; expected user/repo, user/repo@revision or user/repo/file."
        )
    return "/".join(parts[:2]), parts[2] if len(parts) == 3 else None, revision or None


def _looks_like_path(path: Path, text: str) -> bool:
    """Whether a text was meant as a path although nothing is there."""
    marked = text.startswith((".", "/", "~")) or "\\" in text or path.is_absolute()
    likely = ("/" in text and path.parent.is_dir()) or (text.count("/") < 2 and path.suffix in _SUFFIXES)
    return marked or likely
