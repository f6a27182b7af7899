"""Reading the arguments of operations: types and ranges are checked before anything is built from them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from skinclf.errors import ModelError

#: Largest width, kernel, size and so on that any argument may ask for.
MAX_INT = 1 << 24
_REQUIRED = object()


class Arguments:
    """Arguments of one operation; each is read once, and `done` refuses those that were not read."""

    def __init__(self, owner: str, values: Mapping[str, Any]) -> None:
        self.owner = owner
        self._left = dict(values)

    def _take(self, key: str, default: Any, what: str) -> Any:
        value = self._left.pop(key, default)
        if value is _REQUIRED:
            raise ModelError(f"{self.owner}: argument {key!r} is missing; expected {what}.")
        return value

    def _fail(self, key: str, value: Any, what: str) -> ModelError:
        return ModelError(f"{self.owner}: argument {key!r} is {str(value)[:80]!r}; expected {what}.")

    def integer(self, key: str, default: Any = _REQUIRED, *, low: int = 1, high: int = MAX_INT) -> int:
        """A whole number in [low, high]."""
        what = f"a whole number from {low} to {high}"
        value = self._take(key, default, what)
        if type(value) is not int or not low <= value <= high:
            raise self._fail(key, value, what)
        return value

    def integers(
        self, key: str, count: int | None, default: Any = _REQUIRED, *, low: int = 1, high: int = MAX_INT
    ) -> tuple[int, ...]:
        """Whole numbers in [low, high], `count` of them (None: 1 to 8)."""
        what = f"{count or '1 to 8'} whole numbers from {low} to {high}"
        value = self._take(key, default, what)
        good = isinstance(value, (list, tuple)) and all(type(x) is int and low <= x <= high for x in value)
        if not good or not (len(value) == count if count else 1 <= len(value) <= 8):
            raise self._fail(key, value, what)
        return tuple(value)

    def pair(self, key: str, default: Any = _REQUIRED, *, low: int = 1) -> tuple[int, int]:
        """Two whole numbers from `low`: rows, columns."""
        rows, columns = self.integers(key, 2, default, low=low)
        return rows, columns

    def number(self, key: str, default: Any = _REQUIRED) -> float:
        """A finite number."""
        value = self._take(key, default, "a finite number")
        if type(value) not in {int, float} or not math.isfinite(value):
            raise self._fail(key, value, "a finite number")
        return float(value)

    def numbers(self, key: str, *, most: int) -> list[float]:
        """One to `most` finite numbers."""
        what = f"1 to {most} finite numbers"
        value = self._take(key, _REQUIRED, what)
        good = isinstance(value, list) and 1 <= len(value) <= most
        if not good or not all(type(x) in {int, float} and math.isfinite(x) for x in value):
            raise self._fail(key, value, what)
        return [float(x) for x in value]

    def flag(self, key: str, default: Any = _REQUIRED) -> bool:
        """True or false."""
        value = self._take(key, default, "true or false")
        if type(value) is not bool:
            raise self._fail(key, value, "true or false")
        return value

    def choice(self, key: str, options: Collection[str], default: Any = _REQUIRED) -> str:
        """One of some words."""
        what = f"one of {', '.join(sorted(options))}"
        value = self._take(key, default, what)
        if not isinstance(value, str) or value not in options:
            raise self._fail(key, value, what)
        return value

    def done(self) -> None:
        """Refuse arguments that were not read."""
        if self._left:
            raise ModelError(f"{self.owner}: unknown arguments {', '.join(map(repr, list(self._left)[:5]))}.")
