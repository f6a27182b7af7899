"""What the test Hub keeps: repositories as commits of blobs, users, requests and faults."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

#: Stored by LFS whatever their size, as the Hub's default .gitattributes has it.
LFS_SUFFIXES = (".safetensors", ".h5", ".keras", ".onnx", ".bin", ".pt", ".pth", ".png", ".jpg", ".npz")
LFS_BYTES = 10_000_000


def git_sha1(kind: str, data: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data).hexdigest()


@dataclass(frozen=True)
class Blob:
    data: bytes
    lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def pointer(self) -> bytes:
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.data)}\n".encode()

    @property
    def oid(self) -> str:
        return git_sha1("blob", self.pointer if self.lfs else self.data)

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid

    def describe(self) -> dict[str, Any]:
        entry: dict[str, Any] = {"size": len(self.data), "oid": self.oid}
        if self.lfs:
            entry["lfs"] = {"oid": self.sha256, "size": len(self.data), "pointerSize": len(self.pointer)}
        return entry


@dataclass(frozen=True)
class Commit:
    sha: str
    parent: str | None
    files: dict[str, Blob]
    title: str


@dataclass
class Repo:
    private: bool
    gated: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)  # "main", "refs/pr/1", ... to sha

    def find(self, revision: str) -> Commit | None:
        return self.commits.get(self.refs.get(revision, revision))

    def commit(self, ref: str, files: dict[str, Blob], title: str) -> Commit:
        parent = self.refs.get(ref)
        tree = "".join(f"{name} {blob.oid}\n" for name, blob in sorted(files.items()))
        sha = git_sha1("commit", f"{parent}\n{title}\n{len(self.commits)}\n{tree}".encode())
        self.commits[sha] = Commit(sha, parent, files, title)
        self.refs[ref] = sha
        return self.commits[sha]


@dataclass(frozen=True)
class User:
    name: str
    write: bool
    gated: frozenset[str]


@dataclass(frozen=True)
class Request:
    method: str
    path: str  # with the query
    headers: dict[str, str]  # lower-case names
    body: bytes
    origin: str  # "hub" or "cdn"

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Fault:
    """What happens to matching requests: an answer of one's own, another body, a cut, or a delay."""

    match: str
    times: int | None
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    cut_at: int | None = None
    delay: float = 0.0
