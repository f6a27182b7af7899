"""Labels of a source translated to the classes that are trained, by declared crosswalks only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from skinclf.errors import InvalidArgumentError
from skinclf.labels import CROSSWALKS, TAXONOMIES, Crosswalk, LabelSet, crosswalk
from skinclf.tables.diagnosis_names import class_in, fold, same_class
from skinclf.tables.label_columns import is_class_name
from skinclf.tables.label_truth import positive_index
from skinclf_training.data.reading.metadata import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Records whose labels are codes of one taxonomy.

    Attributes:
        records: Records with `label` in `labels` and `origin` in the taxonomy of the source.
        labels: Classes that are trained, in output order.
        crosswalk: Crosswalk from the codes of the source.
        dropped: Number of images left out, by class.
    """

    records: tuple[Record, ...]
    labels: LabelSet
    crosswalk: Crosswalk
    dropped: Mapping[str, int]


def to_taxonomy(
    records: Sequence[Record],
    target: LabelSet,
    *,
    source: LabelSet | None = None,
    drop: Sequence[str] = (),
    dropped_before: Mapping[str, int] | None = None,
) -> Targets:
    """Translate the labels of records to a taxonomy.

    Two-class targets take any taxonomy with a declared crosswalk. Between multi-class ones a crosswalk that
    loses something is used only when `source` asks for it by name.

    Args:
        records: Records as read.
        target: Taxonomy to train.
        source: Taxonomy of the labels; None finds the one that has them all.
        drop: Classes whose images are left out; they leave the target, even when no image has them.
        dropped_before: Number of images by label that the reader has left out already.

    Raises:
        InvalidArgumentError: A label has no class in the target, or a name to leave out is neither a class nor a label.
    """
    dropped: Counter[str] = Counter(dropped_before or {})
    kept: list[Record] = []
    for record in records:
        hit = next((name for name in drop if same_class(name, record.label)), None)
        if hit is not None:
            dropped[fold(hit)] += 1
        else:
            kept.append(record)
    absent = [
        name for name in drop if fold(name) not in dropped and not is_class_name(name, source or target)
    ]
    if absent:
        found = ", ".join(sorted({record.label for record in records}))
        raise InvalidArgumentError(
            f"`drop_classes` names {', '.join(absent)}, which no image has; found {found}.",
            parameter="drop_classes",
        )
    counts = Counter(record.label for record in kept)
    walk, codes = _interpret(counts, target, source)
    translated = tuple(replace(r, origin=codes[r.label], label=walk.mapping[codes[r.label]]) for r in kept)
    return Targets(
        records=translated,
        labels=_without(target, drop, {r.label for r in translated}),
        crosswalk=walk,
        dropped=dict(dropped),
    )


def _interpret(
    counts: Mapping[str, int], target: LabelSet, source: LabelSet | None
) -> tuple[Crosswalk, dict[str, str]]:
    """The first taxonomy that knows all labels and has a way to the target; raw label to its code."""
    candidates = [source] if source is not None else [target, *TAXONOMIES.values()]
    for taxonomy in candidates:
        try:
            walk = crosswalk(taxonomy, target)
        except InvalidArgumentError:
            if source is not None:
                raise
            continue
        if walk.lossy and len(target) > 2 and source is None:
            continue
        codes = {text: _resolve(text, taxonomy, numbers=taxonomy.codes == target.codes) for text in counts}
        if all(code in walk.mapping for code in codes.values()):
            return walk, {text: code for text, code in codes.items() if code is not None}
    unknown, named = min(
        ((_without_code(counts, taxonomy), taxonomy) for taxonomy in _with_a_way(candidates, target)),
        key=lambda found: len(found[0]),
    )
    raise InvalidArgumentError(_unknown(unknown or counts, counts, named, target))


def _with_a_way(candidates: Sequence[LabelSet], target: LabelSet) -> list[LabelSet]:
    ways = {source for source, end in CROSSWALKS if end == target.name}
    return [
        x
        for x in candidates
        if x is candidates[0] or (x.name in ways and target.name in {"malignant", "melanoma"})
    ]


def _without_code(counts: Mapping[str, int], taxonomy: LabelSet) -> dict[str, int]:
    return {text: n for text, n in counts.items() if _resolve(text, taxonomy, numbers=True) is None}


def _unknown(unknown: Mapping[str, int], counts: Mapping[str, int], named: LabelSet, target: LabelSet) -> str:
    found = ", ".join(f"{text.lower()!r} ({n} rows)" for text, n in sorted(unknown.items()))
    hint = ""
    for taxonomy in TAXONOMIES.values():
        knows = all(_resolve(text, taxonomy, numbers=False) for text in counts)
        try:
            walk = crosswalk(taxonomy, target) if knows else None
        except InvalidArgumentError:
            walk = None
        if walk is not None:
            hint = f", translate them with `from_labels={taxonomy.name}` ({walk.lossy})"
            break
    return (
        f"Labels outside {named.name}: {found}. Expected {', '.join(named.codes)}; "
        f"leave them out with `drop_classes`, give them a class with `map_labels`{hint}, or choose another taxonomy "
        "with `labels`."
    )


def _without(target: LabelSet, dropped: Sequence[str], present: set[str]) -> LabelSet:
    """The target without the classes that were dropped and that nothing else maps to."""
    gone = {x.code for x in target if any(same_class(name, x.code) for name in dropped)} - present
    rest = tuple(x for x in target if x.code not in gone)
    if len(rest) == len(target):
        return target
    if len(rest) < 2:
        raise InvalidArgumentError(
            f"{target.name} without {', '.join(sorted(dropped))} has fewer than two classes."
        )
    return next((t for t in TAXONOMIES.values() if t.labels == rest), LabelSet("custom", rest))


def _resolve(text: str, taxonomy: LabelSet, *, numbers: bool) -> str | None:
    """Code of a label by code, by display name or by another name in use; 0 and 1 for two classes."""
    code = class_in(text, taxonomy)
    if code is None and numbers and len(taxonomy) == 2 and text in {"0", "1"}:
        one = positive_index(taxonomy)
        return taxonomy.codes[one if text == "1" else 1 - one]
    return code
