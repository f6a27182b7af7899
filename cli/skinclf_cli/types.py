"""Parameter types that check a value before any work starts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skinclf.errors import SkinclfError

if TYPE_CHECKING:
    from skinclf.jobs.shards import Shard


class Device(click.ParamType):  # type: ignore[type-arg]  # generic only in newer click
    """Name of a device: `auto`, `cpu`, `cuda[:n]` or `mps`."""

    name = "device"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the form of the name; whether the device exists is checked when torch is loaded."""
        from skinclf.runtimes.device import check_device_name

        try:
            return check_device_name(value)
        except SkinclfError as error:
            self.fail(str(error), param, ctx)


class OutputFile(click.ParamType):  # type: ignore[type-arg]  # generic only in newer click
    """A file that can be written, or `-` for stdout; the check creates nothing."""

    name = "file"

    def __init__(self, *, folders: bool = False) -> None:
        self._folders = folders

    def convert(self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Check that the file or its folder exists and is writable."""
        path = Path(value)
        if str(path) == "-":
            return path
        parent = path.parent
        if path.is_dir() and not self._folders:
            self.fail(f"{path} is a folder; expected a file.", param, ctx)
        if not parent.is_dir():
            self.fail(f"The folder {parent} does not exist.", param, ctx)
        if not os.access(path if path.exists() else parent, os.W_OK):
            self.fail(f"{path} cannot be written: permission denied.", param, ctx)
        return path


class ShardPart(click.ParamType):  # type: ignore[type-arg]  # generic only in newer click
    """Part i of n, written `i/n`."""

    name = "shard"

    def convert(self, value: str | Shard, param: click.Parameter | None, ctx: click.Context | None) -> Shard:
        """Read and check both numbers."""
        from skinclf.jobs.shards import Shard

        try:
            return value if isinstance(value, Shard) else Shard.parse(value)
        except SkinclfError as error:
            self.fail(str(error), param, ctx)


class InputSize(click.ParamType):  # type: ignore[type-arg]  # generic only in newer click
    """Height and width in pixels, written `224` or `450x600`."""

    name = "size"

    def convert(
        self, value: str | int | tuple[int, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Read one or two whole numbers."""
        if isinstance(value, tuple):
            return value
        parts = str(value).lower().replace("*", "x").split("x")
        try:
            numbers = [int(part) for part in parts]
        except ValueError:
            numbers = []
        if len(numbers) not in {1, 2} or not all(8 <= n <= 4096 for n in numbers):
            self.fail(
                f"{value!r}: expected one number or height x width, 8 to 4096, such as 224 or 450x600.",
                param,
                ctx,
            )
        return numbers[0], numbers[-1]


class ByteSize(click.ParamType):  # type: ignore[type-arg]  # generic only in newer click
    """Number of bytes, written `1000000`, `500K`, `50M` or `1G` (powers of 1024)."""

    name = "bytes"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read a number with or without a unit."""
        text = str(value).strip().upper().removesuffix("IB").removesuffix("B")
        unit = {"K": 1024, "M": 1024**2, "G": 1024**3}.get(text[-1:], 1)
        digits = text[:-1] if unit > 1 else text
        if not (digits.isascii() and digits.isdigit()):
            self.fail(f"{value!r}: expected a number of bytes such as 500K, 50M or 1G.", param, ctx)
        return int(digits) * unit


class Codes(click.ParamType):  # type: ignore[type-arg]  # generic only in newer click
    """Comma-separated label codes."""

    name = "codes"

    def convert(
        self, value: str | tuple[str, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Split at commas."""
        if isinstance(value, tuple):
            return value
        codes = tuple(part.strip() for part in value.split(",") if part.strip())
        if not codes:
            self.fail("Expected codes such as 'mel,bcc'.", param, ctx)
        return codes


class Numbers(click.ParamType):  # type: ignore[type-arg]  # generic only in newer click
    """Comma-separated numbers."""

    name = "numbers"

    def convert(
        self, value: str | tuple[float, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Split at commas."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in value.split(","))
        except ValueError:
            self.fail(f"Expected numbers such as '0.7,0.3'; received {value!r}.", param, ctx)


class LabelMapping(click.ParamType):  # type: ignore[type-arg]  # generic only in newer click
    """A label of a table and its new name, written `OLD=NEW`."""

    name = "mapping"

    def convert(
        self, value: str | tuple[str, str], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Split at the last `=`."""
        if isinstance(value, tuple):
            return value
        old, _, new = value.rpartition("=")
        if not old.strip() or not new.strip():
            self.fail(f"Expected OLD=NEW such as 'lentigo NOS=bkl'; received {value!r}.", param, ctx)
        return old.strip(), new.strip()
