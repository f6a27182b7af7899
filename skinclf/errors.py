"""Everything skinclf raises on purpose.

A message is one sentence or two: what was received, what was expected, what to do.
The command line prints the message and exits with `exit_code`; nothing else is ever guessed.
"""

from __future__ import annotations


class SkinclfError(Exception):
    """Base of every error that skinclf raises on purpose."""

    exit_code = 1


class InvalidArgumentError(SkinclfError, ValueError):
    """An argument or an option has a value that cannot be used (exit code 2)."""

    exit_code = 2


class ImageError(SkinclfError, ValueError):
    """One input could not be turned into an image.

    Attributes:
        code: Short machine word that lands in the `status` column, one of
            `missing`, `unreadable`, `empty`, `not_an_image`, `truncated`, `too_large`,
            `zero_size`, `unsupported`, `enhancement_failed`, `not_finite` or `worker_died`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str]]:
        return type(self), (self.code, str(self))


class ModelError(SkinclfError):
    """A model cannot be loaded: unknown name, incomplete contract, or weights that do not fit."""


class UnsafeModelError(ModelError):
    """A model file asks for something skinclf never does, such as running code while loading."""


class HubError(ModelError):
    """The Hugging Face Hub, its cache or the network did not deliver."""


class MissingExtraError(SkinclfError, ImportError):
    """An optional dependency is not installed; the message holds the line that installs it."""

    def __init__(self, extra: str, what: str) -> None:
        super().__init__(
            f"{what} needs an optional dependency. Install it with: pip install 'skinclf[{extra}]'"
        )
        self.extra = extra
        self.what = what

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        return type(self), (self.extra, self.what)


class DeviceError(SkinclfError):
    """The device or runtime that was asked for is not available."""


class MismatchError(SkinclfError):
    """An artefact (threshold file, partial output, calibration) was made for something else."""


class InsufficientDataError(SkinclfError):
    """The data at hand cannot support the target that was asked for; the message says what would."""


class LeakageError(SkinclfError):
    """Data under test were also used to train, tune or calibrate what is tested."""


class OutputError(SkinclfError, OSError):
    """An output cannot be written."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""
