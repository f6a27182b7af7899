"""Content that may leave this machine: names and relative paths, never the folders of its user.

One rule: a relative path stays as it is; of an absolute one (also `~`, drives, UNC, `file://`) or one that climbs out
by `..`, only the last name is kept. Image names of a table, which have to stay different, keep as many folders as that
takes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

#: Start of a path that says where it lies: `file://`, drive, UNC, home, or a climb out of the folder.
_PLACE = r"(?:file:/+|[A-Za-z]:[\\/]|\\\\|~[^\s/\\]*[\\/]|(?:\.\.[\\/])+)"
_ABSOLUTE = re.compile(rf"{_PLACE}|/")
_PART = r"[^\s/\\\"'`,;:()<>|\[\]{}]"
#: The same inside a sentence, up to a blank, quote or list mark; web addresses are no paths.
_INSIDE = re.compile(rf"(?<![\w:/\\.~-])(?:{_PLACE}(?:{_PART}+[\\/]+)*|/(?:{_PART}+/+)+)(?P<name>{_PART}*)")


def is_private(path: str) -> bool:
    """Whether a path says where on the machine it lies."""
    return bool(_ABSOLUTE.match(path)) or ".." in re.split(r"[\\/]", path)


def short_names(names: Sequence[str]) -> list[str]:
    """Names of images without the folders of the machine, as different as they were.

    Relative names stay. When one of them is private, each gets the shortest ending of its path that no other name has.
    """
    if not any(map(is_private, names)):
        return list(names)
    parts = [[part for part in re.split(r"[\\/]+", name) if part not in {"", ".", ".."}] for name in names]
    lengths = [1] * len(parts)
    # Every round lengthens the endings that several different names share, until none does.
    while True:
        endings = ["/".join(p[-n:]) for p, n in zip(parts, lengths, strict=True)]
        owners = Counter(ending for ending, _ in {(e, tuple(p)) for e, p in zip(endings, parts, strict=True)})
        longer = [i for i, e in enumerate(endings) if owners[e] > 1 and lengths[i] < len(parts[i])]
        if not longer:
            return endings
        for i in longer:
            lengths[i] += 1


def without_paths(value: Any) -> Any:
    """JSON content with private paths shortened to their last name, also inside sentences; keys stay."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [without_paths(item) for item in value]
    return value


def _text(text: str) -> str:
    whole = text.strip()
    if "\n" not in whole and is_private(whole) and _looks_whole(whole):
        return re.split(r"[\\/]", whole.rstrip("/\\"))[-1]
    return _INSIDE.sub(lambda match: match["name"] or _last(match[0]), text)


def _looks_whole(text: str) -> bool:
    """Whether a text is one path, perhaps with blanks in its folders, and no sentence that starts with one."""
    tail = re.split(r"[\\/]", text.rstrip("/\\"))[-1]
    return not re.search(r":\s|[.;,]\s", text) and len(tail) < len(text)


def _last(path: str) -> str:
    return re.split(r"[\\/]+", path.rstrip("/\\"))[-1]
