"""Resumable HTTP download of one file: a broken connection continues, now or in a later run."""

from __future__ import annotations

import errno
import re
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skinclf.errors import OutputError

if TYPE_CHECKING:
    import requests

_BLOCK = 1 << 16  # largest loss of a broken connection
_TIMEOUT = (15, 60)  # seconds to connect, and to wait for the next bytes


class ResumingDownload:
    """Downloader for pooch that resumes partial files.

    The bytes so far are in `<name>.part`, the server's mark of their version in `<name>.part.tag`. A later
    request asks for the rest of that version only (RFC 9110, Range and If-Range), and begins anew when the
    file has changed.
    """

    def __init__(
        self,
        part: Path,
        *,
        headers: Mapping[str, str] | None = None,
        attempts: int = 5,
        pause: float = 2.0,
        progress: Callable[[int, int | None], None] | None = None,
    ) -> None:
        """Describe a download.

        Args:
            part: File for the bytes so far.
            headers: Headers of each request.
            attempts: Number of attempts in a row without a byte before the download fails.
            pause: Seconds before the second attempt, doubled with each one without a byte.
            progress: Function that is called with bytes so far and in all (None: unknown).
        """
        self.part, self._headers = part, dict(headers or {})
        self._tag = part.with_name(f"{part.name}.tag")
        self._attempts, self._pause, self._progress = attempts, pause, progress

    def __call__(self, url: str, output_file: str | Path, pooch: Any, check_only: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - pooch's protocol
        """Fetch a URL to a file.

        Raises:
            requests.RequestException: The server cannot be reached, refuses, or cuts the connection again
                and again.
            OutputError: The disk is full or cannot be written.
        """
        import requests

        idle = 0
        while True:
            before = self._size()
            try:
                self._stream(url)
                break
            except requests.RequestException as error:
                if not _passing(error):
                    raise
                idle = 0 if self._size() > before else idle + 1
                if idle >= self._attempts:
                    raise
                time.sleep(self._pause * 2 ** max(0, idle - 1))
            except OutputError:
                raise
            except OSError as error:
                raise self._unwritable(error) from None
        self.part.replace(output_file)
        self._tag.unlink(missing_ok=True)

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def _stream(self, url: str) -> None:
        import requests

        have = self._size()
        tag = self._tag.read_text(encoding="ascii") if self._tag.is_file() else ""
        headers = {**self._headers, "Accept-Encoding": "identity"}
        if have and tag:
            headers |= {"Range": f"bytes={have}-", "If-Range": tag}
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            span = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+)", response.headers.get("Content-Range", ""))
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                if span is not None and int(span[2]) == have:
                    return  # all of it was there
                self._tag.unlink(missing_ok=True)
                raise requests.ConnectionError("the file has changed on the server")
            response.raise_for_status()
            going_on = response.status_code == requests.codes.partial_content
            if going_on and (span is None or span[1] is None or int(span[1]) != have):
                self._tag.unlink(missing_ok=True)
                raise requests.ConnectionError("the server sent another part than was asked for")
            self._write(response, have if going_on else 0)

    def _write(self, response: requests.Response, start: int) -> None:
        import requests

        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        free = shutil.disk_usage(self.part.parent).free
        if total is not None and total - start > free:
            raise OutputError(
                f"{self.part.parent}: {(total - start) / 1e9:.1f} GB are still to come and {free / 1e9:.1f} GB free. "
                "Make room and download again; it continues where it stopped."
            )
        self._tag.write_text(_version(response.headers), encoding="ascii")
        size = start
        with self.part.open("r+b" if start else "wb") as file:
            file.seek(start)
            for block in response.iter_content(_BLOCK):
                file.write(block)
                size += len(block)
                if self._progress is not None:
                    self._progress(size, total)
        if total is not None and size < total:
            raise requests.ConnectionError(f"the connection ended after {size:,} of {total:,} bytes")

    def _unwritable(self, error: OSError) -> OutputError:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return OutputError(
                f"{self.part.parent}: the disk is full after {self._size() / 1e9:.1f} GB. Make room and "
                "download again; it continues where it stopped."
            )
        return OutputError(f"{self.part}: cannot be written: {error.strerror or error}.")


def _passing(error: requests.RequestException) -> bool:
    """Whether another attempt may succeed: no or a broken connection, or an overloaded server."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        code = error.response.status_code
        return code >= 500 or code == 429
    return isinstance(
        error, (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    )


def _version(headers: Mapping[str, str]) -> str:
    """What names this version of the file in If-Range: a strong ETag or a date; empty when there is none."""
    tag = headers.get("ETag", "")
    chosen = tag if tag.startswith('"') else headers.get("Last-Modified", "")
    return chosen if chosen.isascii() else ""
