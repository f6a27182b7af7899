"""The upload side of the test Hub: create, branch, preupload, LFS batch and commit."""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

from support.hub_answers import Answers
from support.hub_store import LFS_BYTES, LFS_SUFFIXES, Blob, Repo


class Publishing(Answers):
    """The requests that write."""

    def _create(self) -> None:
        asked = json.loads(self.body)
        user = self._user()
        namespace = asked.get("organization") or (user.name if user else "")
        self._may_write(namespace)
        repo_id = f"{namespace}/{asked['name']}"
        if repo_id in self.hub.repos:
            self._json(
                {"error": "You already created this model repo", "url": f"{self.hub.url}/{repo_id}"}, 409
            )
        private = bool(asked.get("private")) or asked.get("visibility") == "private"
        self.hub.add_repo(repo_id, {".gitattributes": b"*.safetensors filter=lfs\n"}, private=private)
        self._json({"url": f"{self.hub.url}/{repo_id}", "name": repo_id, "id": repo_id})

    def _branch(self, repo_id: str, repo: Repo, branch: str) -> None:
        if self.command == "DELETE":
            del repo.refs[branch]
            self._json({})
        if branch in repo.refs:
            self._error(409, "", f"Reference already exists: {branch}")
        start = json.loads(self.body or b"{}").get("startingPoint") or "main"
        repo.refs[branch] = self._at(repo, start).sha
        self._json({"ref": f"refs/heads/{branch}"})

    def _preupload(self, repo_id: str, repo: Repo, revision: str) -> None:
        commit = self._at(repo, revision)
        answer = []
        for file in json.loads(self.body)["files"]:
            lfs = file["path"].endswith(LFS_SUFFIXES) or file["size"] > LFS_BYTES
            old = commit.files.get(file["path"])
            answer.append(
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if lfs else "regular",
                    "shouldIgnore": False,
                    "oid": old.etag if old else None,
                }
            )
        self._json({"files": answer})

    def _lfs_batch(self, repo_id: str) -> None:
        user = self._user()
        self._repo(repo_id)
        if user is None or not user.write:
            self._error(403, "", "Forbidden")
        objects = []
        for item in json.loads(self.body)["objects"]:
            entry: dict[str, Any] = {"oid": item["oid"], "size": item["size"], "authenticated": True}
            if item["oid"] not in self.hub.objects:
                entry["actions"] = {
                    "upload": {"href": f"{self.hub.cdn_url}/upload/{item['oid']}", "header": {}},
                    "verify": {"href": f"{self.hub.url}/lfs-verify", "header": {}},
                }
            objects.append(entry)
        self._json({"transfer": "basic", "objects": objects})

    def _commit(self, repo_id: str, repo: Repo, revision: str) -> None:
        lines = [json.loads(line) for line in self.body.splitlines() if line.strip()]
        header = lines[0]["value"]
        base = self._at(repo, revision)
        if header.get("parentCommit") not in {None, base.sha}:
            self._error(412, "", "A commit has happened since. Please refresh and try again.")
        files = dict(base.files)
        for line in lines[1:]:
            kind, value = line["key"], line["value"]
            if kind == "file":
                files[value["path"]] = Blob(base64.b64decode(value["content"]), lfs=False)
            elif kind == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    self._error(400, "", f"{value['path']}: LFS pointer to a file that does not exist")
                files[value["path"]] = Blob(self.hub.objects[value["oid"]], lfs=True)
            elif kind == "deletedFile":
                files.pop(value["path"], None)
            elif kind == "deletedFolder":
                files = {n: b for n, b in files.items() if not n.startswith(value["path"].rstrip("/") + "/")}
        answer: dict[str, Any] = {"success": True, "hookOutput": ""}
        if "create_pr" in self.query:
            number = next(n for n in itertools.count(1) if f"refs/pr/{n}" not in repo.refs)
            revision = f"refs/pr/{number}"
            repo.refs[revision] = base.sha
            answer["pullRequestUrl"] = f"{self.hub.url}/{repo_id}/discussions/{number}"
        commit = repo.commit(revision, files, header["summary"])
        answer |= {"commitUrl": f"{self.hub.url}/{repo_id}/commit/{commit.sha}", "commitOid": commit.sha}
        self._json(answer)
