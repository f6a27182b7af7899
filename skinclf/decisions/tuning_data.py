"""What a threshold was tuned on: names, counts, a digest, and hashes of images and lesions in a file beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from skinclf._utils.files import write_text
from skinclf._utils.json import read_json
from skinclf.errors import MismatchError
from skinclf.tables.names import Key, fuller, identified_by_file_name, parse_name
from skinclf.tables.predictions import Joined, stem

_HASHES = ("image_hashes", "image_end_hashes", "lesion_hashes")
#: Longest end of a path, in folders and file name, whose hash is kept beside that of the whole.
_END = 3


def data_identity(joined: Joined, truth: Any, score: Any, *, predictions: str, labels: str) -> dict[str, Any]:
    """What a threshold was tuned on: names, counts, and hashes that show any overlap with a test set.

    Args:
        joined: The rows.
        truth: 0 or 1 per row, shape (N,).
        score: Shape (N,), float32.
        predictions: Name of the predictions' source.
        labels: Name of the labels' source.
    """
    images = [stem(name) for name in joined.predictions.ids]
    rows = zip(images, truth, score, strict=True)
    lines = sorted(f"{name}\t{int(y)}\t{np.float32(p)}" for name, y, p in rows)
    lesions = sorted(set(joined.labels.lesion_id or ()))
    keys = [
        parse_name(fuller(*names)).key
        for names in zip(joined.predictions.ids, joined.labels.ids, strict=True)
    ]
    wholes = {"/".join(key) for key in keys}
    if identified_by_file_name(wholes):
        wholes |= {key[-1] for key in keys}
    return {
        "predictions": predictions,
        "labels": labels,
        "images": len(images),
        "lesions": len(lesions) or None,
        "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
        "image_hashes": " ".join(sorted(map(_hash, wholes))),
        "image_end_hashes": " ".join(sorted({_hash(end) for key in keys for end in _ends(key)[1:][-_END:]})),
        "lesion_hashes": " ".join(sorted(map(_hash, lesions))),
    }


def seen(made: Mapping[str, Any], *, images: Iterable[str], lesions: Iterable[str]) -> tuple[str, ...]:
    """Those of the images and lesions that are among the hashes, as named here, without repeats.

    Images are compared by the end of their paths, as `skinclf.tables.names` pairs them: an image was seen where its
    whole name ends that of one of those hashed, or is ended by it. Where no file name occurred twice among those
    hashed, the file name alone says that an image was seen.
    """
    known = {kind: set(str(made.get(kind, "")).split()) for kind in _HASHES}
    hits = [name for name in lesions if _hash(name) in known["lesion_hashes"]]
    for name in images:
        key = parse_name(name).key
        whole = any(_hash(end) in known["image_hashes"] for end in _ends(key))
        if whole or _hash("/".join(key)) in known["image_end_hashes"]:
            hits.append(name)
    return tuple(dict.fromkeys(hits))


def _ends(key: Key) -> list[str]:
    """The ends of a path, from the whole to the file name."""
    return ["/".join(key[k:]) for k in range(len(key))]


def without_hashes(made: Mapping[str, Any]) -> dict[str, Any]:
    """The description without the hashes."""
    return {key: value for key, value in made.items() if key not in _HASHES}


def write_hashes(made: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Write the hashes into a file beside a threshold file.

    Args:
        made: From `data_identity`.
        path: Path of the threshold file.

    Returns:
        The description for the threshold file, with name and digest of the other file instead of the hashes.

    Raises:
        OutputError: The file cannot be written.
    """
    hashes = {key: made[key] for key in _HASHES if made.get(key)}
    if not hashes:
        return without_hashes(made)
    beside = path.with_name(f"{path.stem}.hashes.json")
    write_text(beside, json.dumps(hashes, indent=2) + "\n")
    return {**without_hashes(made), "hashes_file": beside.name, "hashes_sha256": _digest(hashes)}


def with_hashes(made: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The description with the hashes from the file beside a threshold file, where it is still there.

    Raises:
        MismatchError: The file holds other hashes than the threshold file names.
    """
    name, digest = made.get("hashes_file"), made.get("hashes_sha256")
    if not isinstance(name, str) or Path(name).name != name or not path.with_name(name).is_file():
        return dict(made)
    hashes = read_json(path.with_name(name))
    if _digest(hashes) != digest:
        raise MismatchError(
            f"{path.with_name(name)}: not the hashes that {path.name} names, which say what the threshold was "
            "tuned on. Put the file back that was written with it, or tune again."
        )
    return {**made, **hashes}


def hashes_missing(made: Mapping[str, Any]) -> bool:
    """Whether the description names a file of hashes that was not beside the threshold file."""
    return "hashes_file" in made and not any(key in made for key in _HASHES)


def _digest(hashes: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(dict(hashes), sort_keys=True).encode()).hexdigest()


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:10]
