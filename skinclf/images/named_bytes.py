"""`NamedBytes`: an encoded image in memory that messages call by the name of its file."""

from __future__ import annotations

from typing import Self


class NamedBytes(bytes):
    """Encoded bytes that messages call by the name of the file that they came from.

    Attributes:
        name: Name of the file.
    """

    name: str

    def __new__(cls, data: bytes, name: str) -> Self:
        """The bytes `data` under a name."""
        made = super().__new__(cls, data)
        made.name = name
        return made

    def __getnewargs__(self) -> tuple[bytes, str]:  # type: ignore[override]  # decode processes receive both
        return bytes(self), self.name

    def __str__(self) -> str:
        return self.name
