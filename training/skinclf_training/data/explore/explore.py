"""Exploration of a prepared data set: counts, sizes, ages, sites and colours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from skinclf._utils.columns import find
from skinclf._utils.files import writing
from skinclf._utils.json import write_json
from skinclf._version import __version__
from skinclf.errors import InvalidArgumentError
from skinclf_training.data.check import JOURNAL, ImageCheck, check_images
from skinclf_training.data.explore.page import write_page
from skinclf_training.data.prepared import Prepared
from skinclf_training.data.split import SPLITS

#: Column names in use for the same thing.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "age": ("age", "age_approx"),
    "sex": ("sex", "gender"),
    "site": ("localization", "anatom_site_general", "site"),
}
_UNKNOWN = frozenset({"", "unknown", "nan", "none", "na"})


def explore(
    prepared: Prepared,
    output: Path,
    *,
    samples: int = 5,
    seed: int = 0,
    workers: int = 4,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Describe a prepared data set in `explore.json`, `explore.html` and `figures/*.png`.

    Args:
        prepared: Prepared data set.
        output: Output folder, created when missing.
        samples: Number of pictures of each class on the sample sheet.
        seed: Random seed of the sample.
        workers: Number of decoding threads, for images that `prepare` has not decoded.
        progress: Function that is called with (checked, total) at intervals.

    Returns:
        Content of `explore.json`.

    Raises:
        InvalidArgumentError: An image can no longer be read.
        OutputError: The folder cannot be written.
    """
    index = dict(zip(prepared.images, prepared.paths, strict=True))
    journal = prepared.cache.parent / JOURNAL
    found = check_images(prepared.images, index, workers=workers, journal=journal, progress=progress)
    if found.rejected:
        image, reason = next(iter(found.rejected.items()))
        raise InvalidArgumentError(
            f"{len(found.rejected)} images cannot be read, such as {image} ({reason})."
        )
    numbers = describe(prepared, found)
    with writing(output):
        (output / "figures").mkdir(parents=True, exist_ok=True)
    write_json(output / "explore.json", numbers)
    write_page(numbers, output, sample_files(prepared, count=samples, seed=seed))
    return numbers


def describe(prepared: Prepared, found: ImageCheck) -> dict[str, Any]:
    """All figures of the report, in JSON's types.

    Args:
        prepared: Prepared data set.
        found: Result of the image check.
    """
    codes = prepared.labels.codes
    of_class = [codes[t] for t in prepared.targets]
    lesions = {
        code: len({g for g, c in zip(prepared.lesions, of_class, strict=True) if c == code}) for code in codes
    }
    counts = Counter(of_class)
    classes: list[dict[str, Any]] = [
        {
            "code": label.code,
            "name": label.name,
            "malignant": label.malignant,
            "images": counts[label.code],
            "lesions": lesions[label.code],
            "share": counts[label.code] / len(of_class),
            "parts": {
                p: sum(c == label.code and q == p for c, q in zip(of_class, prepared.parts, strict=True))
                for p in SPLITS
            },
        }
        for label in prepared.labels
    ]
    malignant = [x["images"] for x in classes if x["malignant"]]
    people = {key: _cells(prepared, names) for key, names in COLUMNS.items()}
    facts = [found.facts[image] for image in prepared.images]
    near = prepared.manifest.get("near_duplicates", {})
    return {
        "skinclf_version": __version__,
        "split_sha256": prepared.hash,
        "images": len(of_class),
        "lesions": len(set(prepared.lesions)),
        "images_without_lesion_id": prepared.manifest.get("images_without_lesion_id", 0),
        "classes": classes,
        "imbalance": max(counts.values()) / max(1, min(counts[code] for code in codes)),
        "malignant_share": sum(malignant) / len(of_class) if malignant else None,
        "parts": {
            part: {
                "images": prepared.parts.count(part),
                "lesions": len(
                    {g for g, p in zip(prepared.lesions, prepared.parts, strict=True) if p == part}
                ),
            }
            for part in SPLITS
        },
        "lesions_in_several_parts": prepared.manifest.get("lesions_in_several_parts", 0),
        "images_per_lesion": _counted(Counter(Counter(prepared.lesions).values())),
        "age": _ages(people["age"], of_class, codes),
        "sex": _table(people["sex"], of_class, codes),
        "site": _table(people["site"], of_class, codes),
        "sizes": dict(found.sizes.most_common()),
        "aspect": _counted(Counter(round(f.width / f.height, 2) for f in facts)),
        "colour": {
            code: np.mean([f.mean for f, c in zip(facts, of_class, strict=True) if c == code], axis=0)
            .round(1)
            .tolist()
            for code in codes
            if counts[code]
        },
        "brightness": {
            code: _spread([sum(f.mean) / 3 for f, c in zip(facts, of_class, strict=True) if c == code])
            for code in codes
            if counts[code]
        },
        "identical_files": len(prepared.manifest.get("identical_files", [])),
        "near_duplicates": near.get("pairs"),
        "near_duplicates_across_parts": near.get("across_parts", []),
    }


def sample_files(prepared: Prepared, *, count: int, seed: int) -> dict[str, list[Path]]:
    """Some images of each class, each of another lesion, chosen by the seed."""
    rng = np.random.default_rng(seed)
    chosen: dict[str, list[Path]] = {}
    for i, code in enumerate(prepared.labels.codes):
        seen: set[str] = set()
        files = chosen.setdefault(code, [])
        for row in rng.permutation(np.flatnonzero(prepared.targets == i)):
            if len(files) < count and prepared.lesions[row] not in seen:
                seen.add(prepared.lesions[row])
                files.append(prepared.paths[row])
    return chosen


def _cells(prepared: Prepared, names: Sequence[str]) -> list[str | None] | None:
    """One value per image, None where unknown; None when there is no such column."""
    column = find(prepared.columns, names)
    if column is None:
        return None
    return [None if cell.strip().lower() in _UNKNOWN else cell.strip() for cell in prepared.columns[column]]


def _ages(
    cells: Sequence[str | None] | None, of_class: Sequence[str], codes: Sequence[str]
) -> dict[str, Any] | None:
    """Five-year bins in all, and the spread in each class."""
    if cells is None:
        return None
    ages: list[tuple[float, str]] = []
    for cell, code in zip(cells, of_class, strict=True):
        try:
            ages.append((float(cell), code)) if cell is not None else None
        except ValueError:
            continue
    if not ages:
        return None
    bins = {code: _counted(Counter(5 * int(age // 5) for age, c in ages if c == code)) for code in codes}
    return {
        "known": len(ages),
        "unknown": len(cells) - len(ages),
        "bins": bins,
        "spread": {code: _spread([age for age, c in ages if c == code]) for code in codes},
    }


def _table(
    cells: Sequence[str | None] | None, of_class: Sequence[str], codes: Sequence[str]
) -> dict[str, Any] | None:
    """Counts of each value in each class, the most frequent value first."""
    if cells is None:
        return None
    values = [value for value, _ in Counter(cell for cell in cells if cell is not None).most_common()]
    counts = Counter(zip(cells, of_class, strict=True))
    return {
        "known": sum(cell is not None for cell in cells),
        "unknown": sum(cell is None for cell in cells),
        "values": {value: {code: counts[value, code] for code in codes} for value in values},
    }


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    """Five-number summary between the 5th and the 95th percentile."""
    if not values:
        return None
    names = ("p5", "p25", "p50", "p75", "p95")
    return dict(
        zip(names, (float(v) for v in np.percentile(values, (5, 25, 50, 75, 95)).round(2)), strict=True)
    )


def _counted(counter: Counter[Any]) -> dict[str, int]:
    return {str(key): counter[key] for key in sorted(counter)}
