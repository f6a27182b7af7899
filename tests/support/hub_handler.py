"""The HTTP side of the test Hub: one handler for the Hub itself and for its CDN."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from support.hub_answers import Answered
from support.hub_store import Commit, Repo, Request, git_sha1
from support.hub_upload import Publishing


class Handler(Publishing):
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.hub._connections.add(self.connection)

    def finish(self) -> None:
        self.hub._connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, *args: Any) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            super().handle()

    def do_GET(self) -> None:  # noqa: N802 - a name of the standard library
        self._handle()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - names of the standard library

    def _handle(self) -> None:
        line = f"{self.command} {self.path}"
        self.fault = self.hub.take_fault(line)
        try:
            if self.fault and self.fault.delay:
                time.sleep(self.fault.delay)
            self.body = self._read_body()
            headers = {key.lower(): value for key, value in self.headers.items()}
            with self.hub.lock:
                self.hub.log.append(Request(self.command, self.path, headers, self.body, self.origin))
            if self.fault and self.fault.status:
                self._error(self.fault.status, "", "injected by the test", **self.fault.headers)
            url = urlsplit(self.path)
            self.query = parse_qs(url.query, keep_blank_values=True)
            if self.origin == "cdn":
                self._cdn(url.path)
            else:
                with self.hub.lock:
                    self._route([unquote(part) for part in url.path.strip("/").split("/")], url.path)
            self._error(404, "", f"the test server knows no {line}")
        except Answered:
            pass

    def _read_body(self) -> bytes:
        cut = self.fault.cut_at if self.fault and self.command in {"PUT", "POST"} else None
        if cut is not None:
            self.rfile.read(min(cut, int(self.headers.get("Content-Length", cut))))
            self._hang_up()
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _writable(self, repo_id: str) -> Repo:
        repo = self._repo(repo_id)
        self._may_write(repo_id.partition("/")[0], pull_request="create_pr" in self.query)
        return repo

    def _route(self, parts: list[str], raw: str) -> None:
        if parts[0] == "api":
            self._api(parts[1:])
        elif len(parts) > 4 and parts[2] == "resolve":
            self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        elif raw.endswith(".git/info/lfs/objects/batch"):
            self._lfs_batch("/".join(parts[:2]).removesuffix(".git"))
        elif parts[0] == "lfs-verify":
            asked = json.loads(self.body)
            found = self.hub.objects.get(asked["oid"])
            self._answer(200 if found is not None and len(found) == asked["size"] else 404)

    def _api(self, parts: list[str]) -> None:
        if parts == ["whoami-v2"]:
            user = self._user()
            if user is None:
                self._error(401, "", "Invalid username or password.")
            else:
                role = "write" if user.write else "read"
                auth = {"type": "access_token", "accessToken": {"displayName": "test", "role": role}}
                self._json({"type": "user", "id": user.name, "name": user.name, "orgs": [], "auth": auth})
        elif parts == ["models"]:
            public = [repo_id for repo_id, repo in self.hub.repos.items() if not repo.private]
            self._json([{"id": repo_id, "modelId": repo_id} for repo_id in public])
        elif parts == ["validate-yaml"]:
            self._json({"errors": [], "warnings": []})
        elif parts == ["repos", "create"]:
            self._create()
        elif parts[:2] == ["repos", "delete"]:
            asked = json.loads(self.body)
            self._may_write(asked["organization"])
            self.hub.repos.pop(f"{asked['organization']}/{asked['name']}", None)
            self._json({})
        elif parts[0] == "models" and len(parts) >= 3:
            self._model("/".join(parts[1:3]), parts[3:])

    def _model(self, repo_id: str, rest: list[str]) -> None:
        action, revision = (rest[0], rest[1]) if len(rest) > 1 else (rest[0] if rest else "revision", "main")
        if action in {"preupload", "commit", "branch"}:
            repo = self._writable(repo_id)
            getattr(self, f"_{action}")(repo_id, repo, revision)
        repo = self._repo(repo_id)
        if action == "refs":
            refs = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": s} for n, s in repo.refs.items()]
            branches = [ref for ref in refs if not ref["name"].startswith("refs/")]
            self._json({"branches": branches, "tags": [], "converts": []})
        commit = self._at(repo, revision)
        if action == "revision":
            self._info(repo_id, repo, commit)
        elif action == "tree":
            self._tree(commit, "/".join(rest[2:]))
        elif action == "paths-info":
            paths = parse_qs(self.body.decode()).get("paths", [])
            found = [p for p in paths if p in commit.files]
            self._json([{"type": "file", "path": p, **commit.files[p].describe()} for p in found])

    # Reading.

    def _info(self, repo_id: str, repo: Repo, commit: Commit) -> None:
        siblings = []
        for name, blob in commit.files.items():
            entry: dict[str, Any] = {"rfilename": name}
            if "blobs" in self.query:
                entry |= {"size": len(blob.data), "blobId": blob.oid}
                if blob.lfs:
                    entry["lfs"] = {
                        "sha256": blob.sha256,
                        "size": len(blob.data),
                        "pointerSize": len(blob.pointer),
                    }
            siblings.append(entry)
        info = {"id": repo_id, "modelId": repo_id, "author": repo_id.partition("/")[0], "sha": commit.sha}
        flags = {"private": repo.private, "gated": "auto" if repo.gated else False, "disabled": False}
        self._json({**info, **flags, "downloads": 0, "likes": 0, "tags": [], "siblings": siblings})

    def _tree(self, commit: Commit, under: str) -> None:
        prefix = f"{under}/" if under else ""
        inside = {name: blob for name, blob in commit.files.items() if name.startswith(prefix)}
        if under and not inside:
            self._error(404, "EntryNotFound", f"{under} does not exist")
        folders: set[str] = set()
        entries = []
        for name, blob in inside.items():
            tail = name[len(prefix) :].split("/")[:-1]
            folders |= {prefix + "/".join(tail[: i + 1]) for i in range(len(tail))}
            if not tail or "recursive" in self.query:
                entries.append({"type": "file", "path": name, **blob.describe()})
        shown = [f for f in sorted(folders) if "recursive" in self.query or "/" not in f[len(prefix) :]]
        self._json(
            [{"type": "directory", "path": f, "oid": git_sha1("tree", f.encode()), "size": 0} for f in shown]
            + entries
        )

    def _resolve(self, repo_id: str, revision: str, name: str) -> None:
        commit = self._at(self._repo(repo_id, content=True), revision)
        blob = commit.files.get(name)
        if blob is None:
            self._error(404, "EntryNotFound", f"{name} does not exist", X_Repo_Commit=commit.sha)
        assert blob is not None
        named = {"X_Repo_Commit": commit.sha, "ETag": f'"{blob.etag}"'}
        if blob.lfs:
            linked = {"X_Linked_ETag": f'"{blob.etag}"', "X_Linked_Size": str(len(blob.data))}
            self._answer(302, Location=f"{self.hub.cdn_url}/lfs/{blob.sha256}", **named, **linked)
        self._content(blob.data, **named)

    def _cdn(self, path: str) -> None:
        kind, _, oid = path.strip("/").partition("/")
        if kind == "lfs" and oid in self.hub.objects:
            self._content(self.hub.objects[oid], ETag=f'"{oid}"')
        elif kind == "upload" and self.command == "PUT":
            if hashlib.sha256(self.body).hexdigest() != oid:
                self._error(400, "", "content does not match the oid")
            self.hub.objects[oid] = self.body
            self._answer(200, ETag=f'"{oid}"')
