"""Every exception that skinclf raises on purpose.

    SkinclfError
    ├── InvalidArgumentError    (also ValueError)   an argument has an unusable value
    ├── ImageError              (also ValueError)   one input could not be turned into an image
    ├── ModelError                                  a model cannot be loaded
    │   ├── UnsafeModelError                        its file would run code
    │   └── HubError                                the Hub, its cache or the network failed
    ├── MissingExtraError       (also ImportError)  an optional dependency is not installed
    ├── DeviceError                                 the device or runtime is not available
    ├── MismatchError                               an artefact belongs to another model or run
    ├── InsufficientDataError                       the data are too few for the target
    ├── LeakageError                                test data were used in training or tuning
    ├── DivergenceError                             training ran into numbers that are none
    └── OutputError             (also OSError)      an output cannot be written

A message is one sentence or two: what was received, what was expected, what to do. It names parameters of the Python
interface, in backticks; the command line prints its own option for each.
"""

from __future__ import annotations

from typing import Any


class SkinclfError(Exception):
    """Base of every error that skinclf raises on purpose.

    Attributes:
        parameter: Name of the parameter whose value is at fault or would help, such as `preprocess`; None when
            there is no single one.
    """

    def __init__(self, *args: object, parameter: str | None = None) -> None:
        super().__init__(*args)
        self.parameter = parameter

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword arguments are not in `args`; the attributes travel as state.
        return type(self), self.args, self.__dict__


class InvalidArgumentError(SkinclfError, ValueError):
    """An argument has a value that cannot be used."""


class ImageError(SkinclfError, ValueError):
    """One input could not be turned into an image.

    Attributes:
        code: Machine-readable word for the column `status`, one of
            `missing`, `unreadable`, `empty`, `not_an_image`, `truncated`, `too_large`,
            `zero_size`, `lfs_pointer`, `unsupported`, `enhancement_failed`, `not_finite`, `no_map`, `gated` or
            `worker_died`; of DICOM files also `no_pixels`, `multi_frame`, `codec_missing` or `not_dermoscopy`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, str(self))


class ModelError(SkinclfError):
    """A model cannot be loaded: unknown name, incomplete contract, or weights that do not fit."""


class UnsafeModelError(ModelError):
    """A model file requires something that skinclf never does, such as running code while loading."""


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

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.extra, self.what)


class DeviceError(SkinclfError):
    """The requested device or runtime is not available."""


class MismatchError(SkinclfError):
    """An artefact (threshold file, partial output, calibration) belongs to another model, run or data set."""


class InsufficientDataError(SkinclfError):
    """The data are too few for the requested target; the message says what would be enough."""


class LeakageError(SkinclfError):
    """Test data were also used to train, tune or calibrate the model under test."""


class DivergenceError(SkinclfError):
    """Training diverged: its loss or its weights are not finite numbers any more."""


class OutputError(SkinclfError, OSError):
    """An output cannot be written."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""
