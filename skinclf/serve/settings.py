"""`ServeSettings`: address, limits and protection of the server."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from skinclf.errors import InvalidArgumentError

#: Files in one request.
MAX_FILES = 64
_SHORTEST_TOKEN = 16
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """Address, limits and protection of the server.

    Attributes:
        host: Address to listen on; a loopback address cannot be reached from other machines.
        port: Port; 0 takes a free one.
        max_upload: Bytes of one request, all files together.
        max_queue: Images that may wait or be in hand; requests beyond it are answered 503.
        max_wait: Milliseconds that an image waits for uploads that are being received, to share a call of the network;
            an image alone does not wait.
        timeout: Seconds for a request's upload, and again for its answer.
        grace: Seconds that requests in hand may take after a signal to stop.
        token: Token that requests of the API must carry, at least 16 characters; None asks for none.
        no_token: Whether an address that other machines reach may do without a token.
        allow_host: Further host names in the header `Host` that are answered.
        allow_frame: Origins, such as `https://example.org`, whose pages may show the page in a frame; without one no
            page may.
        metrics: Whether `/metrics` is there.
        explanations: Whether overlays are offered.
        allow_ungated: Whether a request may ask for the probability of an image that the gate refuses.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    max_upload: int = 50 * 1024**2
    max_queue: int = 256
    max_wait: float = 5.0
    timeout: float = 60.0
    grace: float = 30.0
    token: str | None = None
    no_token: bool = False
    allow_host: tuple[str, ...] = ()
    allow_frame: tuple[str, ...] = ()
    metrics: bool = False
    explanations: bool = True
    allow_ungated: bool = False

    def __post_init__(self) -> None:
        for name, least in (("max_upload", 1024), ("max_queue", 1), ("max_wait", 0)):
            value = getattr(self, name)
            if value < least:
                raise InvalidArgumentError(f"`{name}` is at least {least}; received {value}.", parameter=name)
        for name in ("timeout", "grace"):
            if not getattr(self, name) > 0:
                raise InvalidArgumentError(
                    f"`{name}` is a positive number of seconds; received {getattr(self, name)}.",
                    parameter=name,
                )
        for origin in self.allow_frame:
            if not _ORIGIN.fullmatch(origin):
                raise InvalidArgumentError(
                    f"`allow_frame` is an origin such as https://example.org, without a path; received {origin!r}.",
                    parameter="allow_frame",
                )
        if self.token is not None and (
            len(self.token) < _SHORTEST_TOKEN or not self.token.isascii() or not self.token.isprintable()
        ):
            raise InvalidArgumentError(
                f"A token has at least {_SHORTEST_TOKEN} printable ASCII characters; received {len(self.token)} "
                "characters.",
                parameter="token_file",
            )
        if self.token is None and not self.loopback and not self.no_token:
            raise InvalidArgumentError(
                f"Other machines reach {self.host}, so the server needs a token: give `token_file`, or `no_token` to "
                "answer everyone in the network.",
                parameter="token_file",
            )

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches the address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def max_files(self) -> int:
        """Files in one request."""
        return min(MAX_FILES, self.max_queue)


def read_token(path: Path) -> str:
    """The token in a file, without surrounding blanks.

    Raises:
        InvalidArgumentError: The file cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InvalidArgumentError(
            f"{path}: the token cannot be read: {reason}.", parameter="token_file"
        ) from None
