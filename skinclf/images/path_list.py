"""Lists of paths: one per line or separated by NUL; UTF-8, or UTF-16 and UTF-32 as Windows writes them."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from itertools import chain
from typing import IO

from skinclf._utils.lfs import ADVICE, is_pointer
from skinclf.errors import InvalidArgumentError

# The marks of UTF-32 begin with those of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LONGEST_MARK = 4
_BLOCK = 1 << 16


def read_list(file: IO[bytes]) -> Iterator[str]:
    """Paths in a binary stream, one per line, or separated by NUL as `find -print0` writes them.

    Blank lines are skipped, spaces inside names kept. Double quotes around a line are taken off, as Windows copies
    paths with them; names that have such quotes themselves are listed with NUL. A byte order mark at the start says
    whether the text is UTF-8, UTF-16 or UTF-32, and is dropped; without one, the text is UTF-8 unless every other byte
    is the NUL of UTF-16.

    Raises:
        InvalidArgumentError: The text is UTF-16 or UTF-32 and not whole, or the list is a Git LFS pointer.
    """
    separator, rest = b"\n", b""
    for block in _utf8(file):
        if b"\0" in block and separator == b"\n":
            separator = b"\0"
        *lines, rest = (rest + block).split(separator)
        yield from filter(None, (_path(line, separator) for line in lines))
    if name := _path(rest, separator):
        yield name


def _path(line: bytes, separator: bytes) -> str:
    if separator == b"\n":
        line = line.rstrip(b"\r")
        if len(line) > 2 and line.startswith(b'"') and line.find(b'"', 1) == len(line) - 1:
            line = line[1:-1]
    return line.decode("utf-8", "surrogateescape") if line.strip() else ""


def _utf8(file: IO[bytes]) -> Iterator[bytes]:
    """The stream's blocks in UTF-8, without a byte order mark."""
    # `read1` returns what a slow producer has written so far.
    read = getattr(file, "read1", file.read)
    first = b""
    while len(first) < _LONGEST_MARK and (block := read(_BLOCK)):
        first += block
    if is_pointer(first):
        raise InvalidArgumentError(f"The list of paths is {ADVICE}")
    mark, encoding = next(((m, e) for m, e in _MARKS if first.startswith(m)), (b"", _unmarked(first)))
    blocks = chain([first[len(mark) :]], iter(lambda: read(_BLOCK), b""))
    if encoding == "utf-8":  # bytes that are none belong to names of the file system
        yield from blocks
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for block in blocks:
            yield decoder.decode(block).encode()
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise InvalidArgumentError(
            f"The list begins as {encoding.upper()} and is damaged; expected whole text, best in UTF-8."
        ) from None


def _unmarked(first: bytes) -> str:
    """Encoding of text without a mark.

    In UTF-16 every second byte of plain letters is NUL. A list separated by NUL looks so only when each of its names
    has one letter, and then none of them is a dot, a slash or a line feed.
    """
    for start, encoding in ((0, "utf-16-le"), (1, "utf-16-be")):
        letters, zeros = first[start::2], first[1 - start :: 2]
        if zeros and not zeros.strip(b"\0") and b"\0" not in letters and set(letters) & set(b"./\\\n"):
            return encoding
    return "utf-8"
