"""What every request to the test Hub needs: an answer, the user, the repository, the commit."""

from __future__ import annotations

import contextlib
import json
import socket
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from support.hub_store import Commit, Fault, Repo, User

if TYPE_CHECKING:
    from support.hub_server import HubServer


class Answered(Exception):  # noqa: N818 - control flow
    """The request has its answer."""


class Answers(BaseHTTPRequestHandler):
    """Base of the handler."""

    hub: HubServer
    origin: str
    fault: Fault | None
    body: bytes
    query: dict[str, list[str]]

    # Answers; each ends the request.

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        raise Answered

    def _answer(self, status: int, body: bytes = b"", /, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            cut = self.fault.cut_at if self.fault and status < 300 else None
            if cut is not None and cut < len(body):
                self.wfile.write(body[:cut])
                self.wfile.flush()
                self._hang_up()
            self.wfile.write(body)
        raise Answered

    def _json(self, value: Any, status: int = 200, **headers: str) -> None:
        self._answer(status, json.dumps(value).encode(), Content_Type="application/json", **headers)

    def _error(self, status: int, code: str, message: str, **headers: str) -> None:
        if code:
            headers["X_Error_Code"] = code
        self._json({"error": message}, status, X_Error_Message=message, **headers)

    def _content(self, data: bytes, **headers: str) -> None:
        """Bytes, or the part of them that a Range header asks for."""
        if self.fault and self.fault.content is not None:
            data = self.fault.content
        wanted = self.headers.get("Range")
        if wanted is None:
            self._answer(200, data, Accept_Ranges="bytes", **headers)
        start_text, _, end_text = str(wanted).removeprefix("bytes=").partition("-")
        start, end = int(start_text), int(end_text) if end_text else len(data) - 1
        if start >= len(data):
            self._answer(416, Content_Range=f"bytes */{len(data)}")
        part = data[start : end + 1]
        self._answer(206, part, Content_Range=f"bytes {start}-{start + len(part) - 1}/{len(data)}", **headers)

    # Who asks, and what for.

    def _user(self) -> User | None:
        given = self.headers.get("Authorization", "")
        if not given:
            return None
        user = self.hub.users.get(given.removeprefix("Bearer "))
        if user is None:
            self._error(401, "", "Invalid credentials in Authorization header")
        return user

    def _repo(self, repo_id: str, *, content: bool = False) -> Repo:
        user = self._user()
        repo = self.hub.repos.get(repo_id)
        owner = user is not None and repo_id.startswith(f"{user.name}/")
        if repo is None or (repo.private and not owner):
            # Without a token the Hub does not tell a private repository from a missing one.
            self._error(404 if user else 401, "RepoNotFound", "Repository not found")
        assert repo is not None
        if content and repo.gated and not owner and not (user and repo_id in user.gated):
            message = f"Access to model {repo_id} is restricted."
            self._error(403 if user else 401, "GatedRepo", message)
        return repo

    def _may_write(self, namespace: str, *, pull_request: bool = False) -> None:
        user = self._user()
        if user is None:
            self._error(401, "", "Invalid username or password.")
        elif not user.write or (namespace != user.name and not pull_request):
            self._error(403, "", f"Forbidden: you must have write access to {namespace}")

    def _at(self, repo: Repo, revision: str) -> Commit:
        commit = repo.find(revision)
        if commit is None:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        assert commit is not None
        return commit
