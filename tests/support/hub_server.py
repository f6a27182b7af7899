"""A Hugging Face Hub on the loopback interface, for the real huggingface_hub client.

It speaks as much of the Hub's HTTP protocol as downloading and publishing models take: model
information, trees, `resolve` with redirects of large files to a second origin (as the Hub's CDN),
ranges, tokens, private and gated repositories, branches and pull requests, and the upload side
(create, preupload, LFS batch, PUT, verify, commit). Requests are logged, and faults can be injected.

    with HubServer() as hub:
        sha = hub.add_repo("user/repo", {"config.json": b"{}", "model.safetensors": data})
        use_hub(monkeypatch, hub, tmp_path)
        hub.fail("GET /lfs/", cut_at=1000)
        ...
        assert hub.seen("GET /lfs/")[1].headers["range"] == "bytes=1000-"
"""

from __future__ import annotations

import contextlib
import socket
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.hub_handler import Handler
from support.hub_store import LFS_BYTES, LFS_SUFFIXES, Blob, Fault, Repo, Request, User


class HubServer:
    """The server; also a context manager. `url` is what HF_ENDPOINT would be."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}  # the LFS store, by SHA-256
        self.users: dict[str, User] = {}
        self.log: list[Request] = []
        self.faults: list[Fault] = []
        self.lock = threading.RLock()
        self._connections: set[socket.socket] = set()
        self._servers = [self._serve("hub"), self._serve("cdn")]
        self.url, self.cdn_url = (f"http://127.0.0.1:{server.server_port}" for server in self._servers)

    def _serve(self, origin: str) -> ThreadingHTTPServer:
        handler = type("BoundHandler", (Handler,), {"hub": self, "origin": origin})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return server

    def __enter__(self) -> HubServer:  # noqa: PYI034 - Self is new in Python 3.11
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close the ports and every open connection."""
        for server in self._servers:
            server.shutdown()
            server.server_close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    # What tests say.

    def add_repo(
        self,
        repo_id: str,
        files: dict[str, bytes] | None = None,
        *,
        private: bool = False,
        gated: bool = False,
    ) -> str:
        """Make a repository and return the sha of its first commit on `main`."""
        self.repos[repo_id] = Repo(private, gated)
        return self.commit(repo_id, files or {}, title="initial commit")

    def commit(
        self, repo_id: str, files: dict[str, bytes], *, branch: str = "main", title: str = "update"
    ) -> str:
        """Add or replace files on a branch (made from `main` when new) and return the commit's sha."""
        with self.lock:
            repo = self.repos[repo_id]
            base = repo.find(branch) or repo.find("main")
            blobs = dict(base.files) if base else {}
            for name, data in files.items():
                blobs[name] = Blob(data, lfs=name.endswith(LFS_SUFFIXES) or len(data) > LFS_BYTES)
                if blobs[name].lfs:
                    self.objects[blobs[name].sha256] = data
            return repo.commit(branch, blobs, title).sha

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        """Content of a revision."""
        commit = self.repos[repo_id].find(revision)
        assert commit is not None, f"{repo_id} has no revision {revision}"
        return {name: blob.data for name, blob in commit.files.items()}

    def add_token(
        self, token: str, *, user: str = "user", write: bool = True, gated: tuple[str, ...] = ()
    ) -> str:
        """A token of `user`, who may write to repositories under the own name and enter `gated` ones."""
        self.users[token] = User(user, write, frozenset(gated))
        return token

    def fail(self, match: str, *, times: int | None = 1, **what: Any) -> None:
        """Spoil the next `times` requests (None: all) whose `METHOD /path` contains `match`; see `Fault`.

        `cut_at` closes the connection after so many bytes of the answer's body, or, for an upload,
        after so many bytes of the request's.
        """
        self.faults.append(Fault(match, times, **what))

    def seen(self, match: str) -> list[Request]:
        """Logged requests whose `METHOD /path` contains `match`, oldest first."""
        with self.lock:
            return [request for request in self.log if match in request.line]

    # What the handler asks.

    def take_fault(self, line: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.match in line:
                    if fault.times is not None:
                        fault.times -= 1
                        if fault.times <= 0:
                            self.faults.remove(fault)
                    return fault
        return None


def use_hub(monkeypatch: Any, server: HubServer, home: Path, *, token: str | None = None) -> Path:
    """Point huggingface_hub of this process at a server and at an empty cache, which is returned.

    The client reads HF_ENDPOINT and its like when it is imported; its constants are set instead.
    """
    from huggingface_hub import constants, file_download

    cache = home / "hub"
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    for module in (constants, file_download):  # clients before 1.0 keep a copy in the second
        if hasattr(module, "HUGGINGFACE_CO_URL_TEMPLATE"):
            monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("SKINCLF_CACHE", str(home / "skinclf"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    return cache


def hub_environment(server: HubServer, home: Path) -> dict[str, str]:
    """The same for a subprocess, through the client's own environment variables."""
    return {
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(home),
        "SKINCLF_CACHE": str(home / "skinclf"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
