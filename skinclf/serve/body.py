"""The body of a request: limited in size, number of files and time, and never on disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any

from python_multipart.exceptions import FormParserError
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope

from skinclf.images.named_bytes import NamedBytes
from skinclf.serve.answers import RequestError
from skinclf.serve.settings import ServeSettings

#: Bytes of a multipart body beside its files, for each of them.
_PER_FILE = 4096
#: Bodies of the largest allowed size that may be in memory at once.
_BODIES = 4
_NO_FILE = "Send 1 or more images as the multipart field `files`, or one image as the body."
_RAW = ("application/octet-stream", "application/dicom")


class _InMemory(MultiPartParser):
    """Keeps files in memory, where Starlette would write those above 1 MiB to a temporary file."""

    spool_max_size = 2**62
    ended = False

    def on_end(self) -> None:
        """Note the last boundary: without it, the body lacks what came after its last whole part."""
        self.ended = True


class Bodies:
    """Reads bodies, and refuses what would take more memory than is meant for them.

    Args:
        settings: Limits of the server.
        arriving: Context in which the body of a request is read, such as `Batcher.arriving`.
    """

    def __init__(self, settings: ServeSettings, arriving: Callable[[], AbstractContextManager[None]]) -> None:
        self._settings, self._arriving = settings, arriving
        self._held = 0

    @asynccontextmanager
    async def images(
        self, scope: Scope, receive: Receive, *, most: int, texts: dict[str, str] | None = None
    ) -> AsyncIterator[list[NamedBytes]]:
        """The images of a request, as long as the context lasts.

        Args:
            scope: ASGI scope.
            receive: ASGI receive function.
            most: Files that are accepted.
            texts: Gets the field `metadata` of a form; None refuses that field.

        Raises:
            RequestError: The body is too large, too slow, malformed or of an unknown type.
            ClientDisconnect: The client went away.
        """
        headers = Headers(scope=scope)
        limit = self._settings.max_upload + _PER_FILE * (most + 1)
        claimed = self._claimed(headers, limit)
        if self._held + claimed > _BODIES * limit:
            raise RequestError(
                503, "busy", "Too many uploads at once; try again later.", {"Retry-After": "2"}
            )
        self._held += claimed
        try:
            try:
                with self._arriving():
                    async with asyncio.timeout(self._settings.timeout):
                        found = await _read(headers, _counted(receive, limit, self._too_large), most, texts)
            except TimeoutError:
                raise RequestError(
                    408,
                    "upload_timeout",
                    f"The body was not complete after {self._settings.timeout:g} seconds.",
                ) from None
            if sum(map(len, found)) > self._settings.max_upload:
                raise self._too_large()
            yield found
        finally:
            self._held -= claimed

    def _claimed(self, headers: Headers, limit: int) -> int:
        """Bytes that the header declares; the most that is allowed where it declares none."""
        declared = headers.get("content-length")
        if declared is None:
            return limit if headers.get("transfer-encoding") else 0
        if not declared.isascii() or not declared.isdigit():
            raise RequestError(400, "bad_request", "Content-Length is a whole number.")
        if int(declared) > limit:
            raise self._too_large()
        return int(declared)

    def _too_large(self) -> RequestError:
        size = self._settings.max_upload
        return RequestError(413, "too_large", f"A request holds at most {size:,} bytes of images.")


async def _counted(receive: Receive, limit: int, too_large: Any) -> AsyncGenerator[bytes, None]:
    """The chunks of a body, as long as they are not too many."""
    total = 0
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        total += len(chunk)
        if total > limit:
            raise too_large()
        if chunk:
            yield chunk
        if not message.get("more_body", False):
            return


async def _read(
    headers: Headers, chunks: AsyncGenerator[bytes, None], most: int, texts: dict[str, str] | None
) -> list[NamedBytes]:
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding not in {"", "identity"}:
        raise RequestError(415, "unsupported_encoding", "Bodies are not compressed; send the image as it is.")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _multipart(headers, chunks, most, texts)
    if kind.startswith("image/") or kind in _RAW:
        data = b"".join([chunk async for chunk in chunks])
        return [NamedBytes(data, "image-0")]
    raise RequestError(
        415,
        "unsupported_type",
        "Send multipart/form-data, or one image with the Content-Type image/*, application/dicom or "
        "application/octet-stream.",
    )


async def _multipart(
    headers: Headers, chunks: AsyncGenerator[bytes, None], most: int, texts: dict[str, str] | None
) -> list[NamedBytes]:
    fields, size = (0, 0) if texts is None else (1, _PER_FILE // 4 * (most + 1))
    parser = _InMemory(headers, chunks, max_files=most, max_fields=fields, max_part_size=size)
    try:
        form = await parser.parse()
    except FormParserError:  # starlette 1.6 lets it through
        raise RequestError(400, "bad_multipart", "The multipart body is malformed.") from None
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise RequestError(413, "too_many_files", f"At most {most} files in one request.") from None
        if error.message.startswith(("Too many fields", "Part exceeded")):
            raise _unknown_field(texts) from None
        raise RequestError(400, "bad_multipart", "The multipart body is malformed.") from None
    try:
        if not parser.ended:
            raise RequestError(400, "bad_multipart", "The multipart body ends before its last boundary.")
        found: list[NamedBytes] = []
        for field, part in form.multi_items():
            if field == "metadata" and isinstance(part, str) and texts is not None:
                texts[field] = part
                continue
            if field != "files" or not isinstance(part, UploadFile):
                raise _unknown_field(texts)
            found.append(NamedBytes(await part.read(), part.filename or f"image-{len(found)}"))
    finally:
        await form.close()
    if not found:
        raise RequestError(422, "no_files", _NO_FILE)
    return found


def _unknown_field(texts: dict[str, str] | None) -> RequestError:
    more = (
        "" if texts is None else f" and one field `metadata` of at most {_PER_FILE // 4} bytes for each file,"
    )
    return RequestError(
        422, "unknown_field", f"A multipart body holds files of the field `files`{more} and nothing else."
    )
