r"""Names of images in two tables, paired by the longest common end of their paths.

Tables name the same image in many ways: `D:\study\P001\1.jpg`, `P001/1.jpg`, `https://host/P001/1.jpg`, `1`. Two
names can mean one image only where one is the end of the other, folder by folder, without regard to the image
ending. So `P001/1.jpg` and `P002/1.jpg` never do, whatever else the tables hold, and a name that two others could
mean is ambiguous. Absolute paths of two machines may also differ by one root on either side.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import unquote

from skinclf.errors import InvalidArgumentError
from skinclf.images.decode import EXTENSIONS

Key: TypeAlias = tuple[str, ...]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_ABSOLUTE = re.compile(r"[A-Za-z]:[\\/]|[\\/]")
#: Folders of users, which differ between machines although their parent is the same.
_HOMES = frozenset({"home", "Users"})
#: Share of the smaller table that two roots must pair before they are believed.
_ROOT_SHARE = 0.95


def stem(name: str) -> str:
    """File name without folder and image ending; dots inside a name stay."""
    return split_ending(re.split(r"[\\/]", name)[-1])[0]


def split_ending(base: str) -> tuple[str, str]:
    """File name without its image ending, and the ending in lower case; empty when there is none."""
    head, dot, tail = base.rpartition(".")
    ending = f".{tail.lower()}"
    return (head, ending) if head and dot and ending in EXTENSIONS else (base, "")


class ImageName(NamedTuple):
    """Name of an image in parts.

    Attributes:
        key: Folders from the outermost, then the file name without image ending; case as stored.
        ending: Image ending in lower case; empty when the name has none.
        absolute: Whether the name starts at a root: a slash, a drive or a host.
    """

    key: Key
    ending: str
    absolute: bool


def parse_name(text: str) -> ImageName:
    """Parts of a name as tables hold it: a path of any system, a URL, or an id.

    `.` is left out, `..` takes the folder before it away, and letters with accents are composed.
    """
    name = text.strip()
    if not name.isascii():
        name = unicodedata.normalize("NFC", name)
    url = _URL.match(name) if "://" in name else None
    if url is not None:
        name = unquote(re.split(r"[?#]", name[url.end() :])[0])
    absolute = url is not None or _ABSOLUTE.match(name) is not None
    parts = name.replace("\\", "/").split("/")
    folders: list[str] = []
    for part in parts[:-1]:
        if part == "..":
            del folders[-1:]
        elif part not in {"", "."}:
            folders.append(part)
    base, ending = split_ending(parts[-1])
    return ImageName((*folders, base), ending, absolute)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """Partners of the names of one table in another.

    Attributes:
        partners: Row of the other table for each name, or None.
        ambiguous: Name of either table to the two or more names that it could mean.
        conflict: Two pairs that need different folders to be left out, in words; empty when there are none.
        elsewhere: A name without a partner, and one of the same file name in another folder; None when there is none.
    """

    partners: tuple[int | None, ...]
    ambiguous: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    conflict: str = ""
    elsewhere: tuple[str, str] | None = None


def pair_names(left: Sequence[str], right: Sequence[str]) -> Pairing:
    """Pair two tables' names by the longest common end of their paths.

    Args:
        left: Names of one table.
        right: Names of the other.
    """
    return _pair(left, right, *([parse_name(name) for name in names] for names in (left, right)))


def _pair(
    left: Sequence[str], right: Sequence[str], ours: Sequence[ImageName], theirs: Sequence[ImageName]
) -> Pairing:
    forward, backward = _best(ours, theirs), _best(theirs, ours)
    chosen = [set(rows) for rows in backward]
    mutual = [[j for j in rows if i in chosen[j]] for i, rows in enumerate(forward)]
    wanted_by: dict[int, list[int]] = {}
    for i, rows in enumerate(mutual):
        for j in rows:
            wanted_by.setdefault(j, []).append(i)
    ambiguous = {left[i]: tuple(right[j] for j in rows) for i, rows in enumerate(mutual) if len(rows) > 1}
    ambiguous |= {right[j]: tuple(left[i] for i in rows) for j, rows in wanted_by.items() if len(rows) > 1}
    partners = [rows[0] if len(rows) == 1 and len(wanted_by[rows[0]]) == 1 else None for rows in mutual]
    conflict = ""
    if wanted_by:
        conflict = _conflict(left, right, ours, theirs, partners)
    else:
        partners = _below_roots(ours, theirs)
    return Pairing(
        partners=tuple(partners),
        ambiguous=ambiguous,
        conflict=conflict,
        elsewhere=_elsewhere(left, right, partners, ours, theirs),
    )


def pair_tables(
    left: Sequence[str], right: Sequence[str], ours: str, theirs: str, *, asked: Container[int] | None = None
) -> Pairing:
    """Pair two tables' names, and refuse what is ambiguous.

    Args:
        left: Names of one table; each may occur once.
        right: Names of the other; those with a partner may occur once.
        ours: What the first table is called in messages.
        theirs: What the second is called.
        asked: Rows of `right` that are preferred where a name could mean several; None means all.

    Raises:
        InvalidArgumentError: An image occurs twice, a name could mean several, or pairs contradict each other.
    """
    parsed = [parse_name(name) for name in left]
    if twice := _repeated(left, parsed):
        raise InvalidArgumentError(
            f"{len(twice)} images occur more than once in the {ours}: {listed(twice)}. Each may occur once."
        )
    pairing = _pair(left, right, parsed, [parse_name(name) for name in right])
    if pairing.ambiguous and asked is not None:
        pairing = _of_those_asked(left, right, pairing, asked)
    if pairing.ambiguous:
        raise InvalidArgumentError(_ambiguity(left, right, pairing, ours, theirs))
    if pairing.conflict:
        raise InvalidArgumentError(
            f"The names of {ours} and {theirs} fit together in two ways that exclude each other: "
            f"{pairing.conflict}. Write both tables' names from the same folder on."
        )
    return pairing


def _of_those_asked(
    left: Sequence[str], right: Sequence[str], pairing: Pairing, asked: Container[int]
) -> Pairing:
    """A name that could mean several means the one of them that is asked for, or none of them."""
    place = {name: j for j, name in enumerate(right)}
    partners, ambiguous = list(pairing.partners), dict(pairing.ambiguous)
    for i, name in enumerate(left):
        found = [place[other] for other in ambiguous.get(name, ()) if other in place]
        wanted = [j for j in found if j in asked]
        if partners[i] is None and found and len(wanted) <= 1:
            partners[i] = (wanted or found)[0]
            del ambiguous[name]
    return replace(pairing, partners=tuple(partners), ambiguous=ambiguous)


def _ambiguity(left: Sequence[str], right: Sequence[str], pairing: Pairing, ours: str, theirs: str) -> str:
    same = {parse_name(name).key: name for name in repeated(right)}
    twice = [name for name in pairing.ambiguous if name in set(left) and parse_name(name).key in same]
    if twice:
        return (
            f"{len(twice)} images occur more than once in the {theirs}: {listed(twice)}. Each may occur once."
        )
    name, found = next(iter(pairing.ambiguous.items()))
    where, there = (ours, theirs) if name in set(left) else (theirs, ours)
    return (
        f"{len(pairing.ambiguous)} names could each mean several images: {name} of the {where} is {listed(found)} of "
        f"the {there}. Name the images with enough folders to tell them apart."
    )


def candidates(names: Iterable[str], known: Sequence[str]) -> list[list[int]]:
    """Rows of the known names that each name could mean: none, one, or several where it is ambiguous.

    Args:
        names: Names to look up.
        known: Names of the other table.
    """
    return _best([parse_name(name) for name in names], [parse_name(name) for name in known])


def fuller(a: str, b: str) -> str:
    """Of two names of one image, the one with more folders; the first of equals."""
    return b if len(parse_name(b).key) > len(parse_name(a).key) else a


def identified_by_file_name(names: Iterable[str]) -> bool:
    """Whether no file name stands for two of these images, so that folders are not needed to tell them apart.

    Checks for leakage then take the same file name in another folder for the same image: to miss one is worse than to
    ask. Joins never do.
    """
    keys = {parse_name(name).key for name in names}
    return len({key[-1] for key in keys}) == len(keys)


def repeated(names: Sequence[str]) -> tuple[str, ...]:
    r"""Names that occur more than once, however they are written (`./a/1.jpg` and `a\1.JPG`)."""
    return _repeated(names, [parse_name(name) for name in names])


def _repeated(names: Sequence[str], parsed: Sequence[ImageName]) -> tuple[str, ...]:
    keys = [(name.key, name.ending) for name in parsed]
    count = Counter(keys)
    return tuple(dict.fromkeys(name for name, key in zip(names, keys, strict=True) if count[key] > 1))


def _best(names: Sequence[ImageName], others: Sequence[ImageName]) -> list[list[int]]:
    """Rows of `others` with the longest common end with each name; empty where there is none."""
    lengths = {len(name.key) for name in names}
    whole: dict[Key, list[int]] = {}
    ends: dict[Key, list[int]] = {}
    for j, other in enumerate(others):
        whole.setdefault(other.key, []).append(j)
        for length in lengths:
            if length < len(other.key):
                ends.setdefault(other.key[-length:], []).append(j)
    known = sorted({len(other.key) for other in others}, reverse=True)
    result = []
    for name in names:
        same, longer = whole.get(name.key, []), ends.get(name.key, [])
        if name.key[-1] == "":
            rows: list[int] = []
        elif same and any(_likeness(name, others[j]) for j in same):
            rows = same
        elif same or longer:
            rows = [*same, *longer]
        else:
            shorter = (whole.get(name.key[-length:]) for length in known if length < len(name.key))
            rows = next((found for found in shorter if found), [])
        if len(rows) > 1:
            best = max(_likeness(name, others[j]) for j in rows)
            rows = [j for j in rows if _likeness(name, others[j]) == best]
        result.append(rows)
    return result


def _likeness(a: ImageName, b: ImageName) -> int:
    """2 for the same ending, 1 where one name has none, 0 for different ones (a converted image)."""
    if a.ending == b.ending:
        return 2
    return 0 if a.ending and b.ending else 1


def _conflict(
    left: Sequence[str],
    right: Sequence[str],
    ours: Sequence[ImageName],
    theirs: Sequence[ImageName],
    partners: Sequence[int | None],
) -> str:
    """Two pairs of which one drops more folders below the same root than the other.

    `d/c/1` for `c/1` says that names are relative to `d`; then `d/e/2` is `e/2` and not `2`. Where a table names no
    folder at all, nothing is said about folders.
    """
    pairs = [(i, j) for i, j in enumerate(partners) if j is not None]
    for turned in (False, True):
        short = ours if turned else theirs
        if all(len(name.key) == 1 for name in short):
            continue
        dropped: dict[Key, tuple[int, int]] = {}
        for i, j in pairs:
            long, end = (theirs[j].key, ours[i].key) if turned else (ours[i].key, theirs[j].key)
            dropped.setdefault(long[: max(len(long) - len(end), 0)], (i, j))
        for folders, (i, j) in dropped.items():
            for k in range(len(folders)):
                if folders[:k] in dropped:
                    a, b = dropped[folders[:k]]
                    return f"{left[a]} for {right[b]} and {left[i]} for {right[j]}"
    return ""


def _below_roots(ours: Sequence[ImageName], theirs: Sequence[ImageName]) -> list[int | None]:
    """Partners of absolute paths below one root on either side, which must pair nearly all of the smaller table.

    At least one folder below the roots agrees. Roots with a common beginning are folders of one machine, and so
    different folders, except those of its users.
    """
    nothing: list[int | None] = [None] * len(ours)
    if not all(name.absolute for name in (*ours, *theirs)):
        return nothing
    ends: dict[Key, list[int]] = {}
    for j, other in enumerate(theirs):
        for k in range(len(other.key) - 1):
            ends.setdefault(other.key[k:], []).append(j)
    found: dict[int, tuple[int, Key, Key]] = {}
    for i, name in enumerate(ours):
        hits = (
            (ends[name.key[k:]], len(name.key) - k) for k in range(len(name.key) - 1) if name.key[k:] in ends
        )
        rows, length = next(hits, ([], 0))
        if len(rows) == 1:
            found[i] = rows[0], name.key[:-length], theirs[rows[0]].key[:-length]
    roots = Counter((a, b) for _, a, b in found.values()).most_common(1)
    if not roots:
        return nothing
    (a, b), count = roots[0]
    if not a or not b or (a[0] == b[0] and a[0] not in _HOMES):
        return nothing
    pairs = {i: j for i, (j, *root) in found.items() if tuple(root) == (a, b)}
    if count < _ROOT_SHARE * min(len(ours), len(theirs)) or len(set(pairs.values())) < count:
        return nothing
    return [pairs.get(i) for i in range(len(ours))]


def _elsewhere(
    left: Sequence[str],
    right: Sequence[str],
    partners: Sequence[int | None],
    ours: Sequence[ImageName],
    theirs: Sequence[ImageName],
) -> tuple[str, str] | None:
    place = {name.key[-1]: j for j, name in reversed(list(enumerate(theirs)))}
    for i, partner in enumerate(partners):
        j = place.get(ours[i].key[-1])
        if partner is None and j is not None and len(ours[i].key) > 1 and len(theirs[j].key) > 1:
            return left[i], right[j]
    return None


def listed(names: Sequence[Any], limit: int = 5) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(str, names[:limit])) + more
